import pytest
from pydantic import SecretStr, ValidationError

from runtime.settings import HealthSettings, KafkaSettings, LogSettings, Section

SECRET = "correct horse battery staple"


class KettleSettings(Section, env_prefix="HEADRACE_KETTLE__"):
    litres: int = 1
    key: SecretStr = SecretStr("")


@pytest.mark.parametrize("section", [KafkaSettings, HealthSettings, LogSettings])
def test_every_setting_has_a_default(section):
    """A process starts on a laptop with nothing set."""
    assert section()


def test_a_variable_sets_its_setting(monkeypatch):
    """The variable's name is the section's prefix and the setting's name."""
    monkeypatch.setenv("HEADRACE_KETTLE__LITRES", "3")

    assert 3 == KettleSettings().litres


def test_an_unknown_variable_is_refused(monkeypatch):
    """A typing mistake is named, together with what would have been right."""
    monkeypatch.setenv("HEADRACE_KETTLE__LITERS", "3")

    with pytest.raises(ValidationError, match=r"HEADRACE_KETTLE__LITERS.*HEADRACE_KETTLE__LITRES"):
        KettleSettings()


def test_an_unknown_argument_is_refused():
    """A setting that is given in code has to exist as well."""
    with pytest.raises(ValidationError, match="liters"):
        KettleSettings(liters=3)


def test_variables_of_other_sections_do_not_matter(monkeypatch):
    """A section looks at nothing but its own prefix."""
    monkeypatch.setenv("HEADRACE_TEAPOT__LITERS", "3")

    assert 1 == KettleSettings().litres


def test_a_section_does_not_change():
    """What was read once holds until the process ends."""
    settings = KettleSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.litres = 2


@pytest.mark.parametrize("show", [str, repr, lambda settings: str(settings.model_dump())])
def test_a_secret_is_not_shown(show):
    """Printing settings does not print a password."""
    assert SECRET not in show(KafkaSettings(sasl_username="u", sasl_password=SECRET))


def test_a_secret_is_not_in_an_error(monkeypatch):
    """An error about one setting does not print the others."""
    monkeypatch.setenv("HEADRACE_KETTLE__KEY", SECRET)
    monkeypatch.setenv("HEADRACE_KETTLE__LITERS", "3")

    with pytest.raises(ValidationError) as refused:
        KettleSettings()

    assert SECRET not in str(refused.value)


def test_sasl_needs_a_user():
    """A half-configured login is an error at start, not at the first connection."""
    with pytest.raises(ValidationError, match="HEADRACE_KAFKA__SASL_USERNAME"):
        KafkaSettings(security_protocol="SASL_SSL")


def test_plaintext_needs_no_credentials():
    """The default names the brokers and nothing else."""
    options = KafkaSettings(bootstrap="kafka:9092").librdkafka()

    assert {"bootstrap.servers": "kafka:9092", "security.protocol": "PLAINTEXT"}.items() <= options.items()
    assert not [name for name in options if name.startswith("sasl")]


def test_librdkafka_gets_the_credentials():
    """Everything that proves who we are reaches the client."""
    settings = KafkaSettings(
        bootstrap="kafka:9093",
        security_protocol="SASL_SSL",
        sasl_username="edge",
        sasl_password=SECRET,
        ca_location="/etc/ca.pem",
    )

    assert {
        "bootstrap.servers": "kafka:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "edge",
        "sasl.password": SECRET,
        "ssl.ca.location": "/etc/ca.pem",
    }.items() <= settings.librdkafka().items()
