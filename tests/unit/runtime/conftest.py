"""librdkafka's mock cluster: a broker in this process that speaks the real protocol."""

import pytest
from confluent_kafka import Producer

from runtime.settings import KafkaSettings


@pytest.fixture(name="broker")
def _broker():
    """A producer that owns a mock broker, which is gone when the producer is."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    yield producer
    producer.flush(10)


@pytest.fixture(name="kafka")
def _kafka(broker):
    """Settings that lead to the mock broker."""
    (address,) = broker.list_topics(timeout=10).brokers.values()
    return KafkaSettings(bootstrap=f"{address.host}:{address.port}")


@pytest.fixture(name="nowhere")
def _nowhere():
    """Settings that lead to a port where nobody answers."""
    return KafkaSettings(bootstrap="127.0.0.1:1")
