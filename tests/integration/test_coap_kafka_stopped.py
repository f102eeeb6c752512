"""A broker that stands still (SIGSTOP) while devices post: no 2.01 for what is not on the log, and no message twice."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from producers.coap.server import Ports, serving
from producers.outbox import KafkaOutbox
from producers.settings import CoapSettings, EdgeSettings
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from schemas.raw_message import IDENTITY_HEADER
from schemas.topics import RAW_TOPICS
from tests.support.coap import TOKEN, coap_client, fleet

TOPIC = RAW_TOPICS["thingsboard"]
BODY = '{"ts":1451649600512,"values":{"temperature":%s}}'
# librdkafka's mock cluster speaks the real protocol; in a process of its own it can be stopped.
BROKER = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
producer.produce(sys.argv[1], b"", partition=0)
assert producer.flush(10) == 0
broker, = producer.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def broker() -> Iterator[subprocess.Popen[str]]:
    """A broker that can be stopped and continued."""
    command = (sys.executable, "-c", BROKER, TOPIC)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.send_signal(signal.SIGCONT)
        process.kill()


@contextlib.asynccontextmanager
async def edge(kafka: KafkaSettings) -> AsyncIterator[Ports]:
    """An edge in front of Kafka, with one device, that waits a second for Kafka."""
    settings = EdgeSettings(delivery_timeout=1, retry_after=7)
    async with (
        Publisher(kafka, delivery_timeout=1, max_queued_bytes=1 << 20) as publisher,
        serving(KafkaOutbox(publisher), fleet(), CoapSettings(port=0), settings) as ports,
    ):
        yield ports


def on_the_log(kafka: KafkaSettings) -> list[Any]:
    """The identities on the log, the broker's own first record left out."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "none",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found = []
    try:
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        consumer.assign([TopicPartition(TOPIC, number, 0) for number in partitions])
        ended = 0
        while ended < len(partitions):
            for message in consumer.consume(100, 1):
                ended += message.error() is not None
                found += [value for name, value in message.headers() or () if name == IDENTITY_HEADER]
    finally:
        consumer.close()
    return found


async def test_stopped_broker(broker):
    """While the broker stands still a device hears 5.03 in time; later it posts again, and is stored once."""
    kafka = KafkaSettings(bootstrap=(await asyncio.to_thread(broker.stdout.readline)).strip())
    async with edge(kafka) as ports:
        where = f"coap://127.0.0.1:{ports.coap}/api/v1/{TOKEN}/telemetry"
        assert "c:2.01" in await coap_client("notls", where, body=BODY % 1)

        os.kill(broker.pid, signal.SIGSTOP)
        refused = await coap_client("notls", where, body=BODY % 2)
        assert "c:5.03" in refused
        assert "Max-Age:7" in refused
        assert "c:2.01" not in refused

        os.kill(broker.pid, signal.SIGCONT)
        while "c:2.01" not in (again := await coap_client("notls", where, body=BODY % 2)):
            assert "c:5.03" in again
    # What was refused may be on the log all the same: under the same identity, so that it is stored once.
    assert len(set(await asyncio.to_thread(on_the_log, kafka))) == 2
