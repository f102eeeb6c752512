"""deploy/compose.yaml names settings that there are, and none of an edge's settings is out of its reach."""

from pathlib import Path

import pytest
import yaml

import sinks.settings  # noqa: F401 - for its sections, as the two above
from producers.settings import CoapSettings, EdgeSettings, HttpSettings
from runtime.settings import Section

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
IN_THE_IMAGE = {"HOST", "PORT", "DTLS_PORT"}
"""What the image says, and what is mapped to other ports outside."""


def variables(section: type[Section], *, but: set[str] = frozenset()) -> set[str]:
    """The variables that a section reads."""
    prefix = str(section.model_config["env_prefix"])
    return {prefix + name.upper() for name in section.model_fields if name.upper() not in but}


def named(service: str) -> set[str]:
    """The variables of Headrace's that a service is given."""
    return {name for name in SERVICES[service].get("environment", {}) if name.startswith("HEADRACE_")}


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_is_a_setting(service):
    """No service is given a variable that it would refuse, or that nobody reads."""
    assert set() == named(service) - set().union(*map(variables, Section.__subclasses__()))


@pytest.mark.parametrize(("service", "section"), [("http", HttpSettings), ("coap", CoapSettings)])
def test_no_setting_of_an_edge_is_forgotten(service, section):
    """Whatever can be set of an edge can be set from outside, but for where it listens inside its container."""
    assert variables(section, but=IN_THE_IMAGE) | variables(EdgeSettings) <= named(service)


@pytest.mark.parametrize("service", ["http", "coap"])
def test_a_setting_of_an_edge_is_optional(service):
    """Without a value of its own a variable is passed on if it is set, and is not there if it is not: no default is said twice."""
    prefixes = tuple(
        str(section.model_config["env_prefix"]) for section in (HttpSettings, CoapSettings, EdgeSettings)
    )
    environment = SERVICES[service]["environment"]
    assert {None} == {value for name, value in environment.items() if name.startswith(prefixes)}


@pytest.mark.parametrize("service", ["http", "coap"])
def test_credentials_come_as_a_folder(service):
    """Both edges see the folder in which credentials are renewed, and cannot write to it."""
    assert SERVICES[service]["volumes"] == ["${HEADRACE_CREDENTIALS:-./credentials}:/credentials:ro"]
