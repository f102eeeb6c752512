import ssl

import pytest

from headrace.stack.pki import ensure_pki
from processors.app import build
from processors.settings import ProcessSettings
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings


def test_a_failed_agent_ends_the_process():
    """The agent's supervisor does not start it again; and nothing is waited for at the end."""
    conf = build(KafkaSettings(), ProcessSettings(), PlaceTable()).conf

    assert ("CrashingSupervisor", False) == (conf.agent_supervisor.__name__, conf.stream_wait_empty)


def test_every_broker_is_used():
    """A list of brokers stays a list, IPv6 addresses among them."""
    kafka = KafkaSettings(bootstrap="one:9092, [::1]:9093")

    assert ["kafka://one:9092", "kafka://[::1]:9093"] == [
        str(url) for url in build(kafka, ProcessSettings(), PlaceTable()).conf.broker
    ]


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "PLAIN"), ("SASL_SSL", "SCRAM-SHA-256")],
)
def test_faust_proves_the_same_identity(protocol, mechanism):
    """Faust's own Kafka client logs in as every other client of ours does."""
    kafka = KafkaSettings(
        security_protocol=protocol, sasl_mechanism=mechanism, sasl_username="me", sasl_password="secret"
    )
    credentials = build(kafka, ProcessSettings(), PlaceTable()).conf.broker_credentials

    assert (protocol, mechanism, "me", "secret") == (
        credentials.protocol.value,
        credentials.mechanism.value,
        credentials.username,
        credentials.password,
    )


def test_faust_checks_the_brokers_certificate(tmp_path):
    """With TLS, a broker has to show a certificate of the authority that the settings name, for its own name."""
    pki = ensure_pki(tmp_path)
    kafka = KafkaSettings(security_protocol="SSL", ca_location=str(pki.authority))
    context = build(kafka, ProcessSettings(), PlaceTable()).conf.broker_credentials.context

    assert (True, ssl.CERT_REQUIRED, 1) == (
        context.check_hostname,
        context.verify_mode,
        context.cert_store_stats()["x509_ca"],
    )
