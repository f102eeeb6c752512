"""A broker that stands still (SIGSTOP) while a client posts over HTTP: 503, the client's own retries, and one message."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest
from azure.core.credentials import AccessToken
from azure.digitaltwins.core import DigitalTwinsClient
from confluent_kafka import Consumer, TopicPartition

from producers.outbox import KafkaOutbox
from runtime.publisher import Publisher, PublishError
from runtime.settings import KafkaSettings
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.topics import RAW_TOPICS
from tests.support.edge import TOKEN, edge

TOPIC = RAW_TOPICS["digital_twins"]
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


@pytest.fixture(name="broker")
def _broker() -> Iterator[subprocess.Popen[str]]:
    """A broker that can be stopped and continued."""
    command = (sys.executable, "-c", BROKER, TOPIC)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.send_signal(signal.SIGCONT)
        process.kill()


class WatchedOutbox(KafkaOutbox):
    """An outbox that counts what was acknowledged, and tells when something was not."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher)
        self.acknowledged = 0
        self.failed = asyncio.Event()

    async def put(self, messages: Iterable[RawMessage]) -> None:
        """See `Outbox.put`."""
        try:
            await super().put(messages)
        except PublishError:
            self.failed.set()
            raise
        self.acknowledged += 1


class Credential:
    """Any object with `get_token` is a credential to the SDK."""

    def get_token(self, *_: str, **__: object) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(TOKEN, 4102444800)


def on_the_log(kafka: KafkaSettings) -> list[bytes]:
    """The identities on the log, the broker's own first record left out."""
    options = {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap} | options)
    found: list[bytes] = []
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


async def test_a_client_outlasts_a_broker_that_stands_still(broker: subprocess.Popen[str]):
    """While the broker stands still the SDK hears 503; it repeats until the broker is back, and is stored once."""
    assert broker.stdout is not None
    kafka = KafkaSettings(bootstrap=(await asyncio.to_thread(broker.stdout.readline)).strip())
    async with Publisher(kafka, delivery_timeout=1, max_queued_bytes=1 << 20) as publisher:
        outbox = WatchedOutbox(publisher)
        async with edge(outbox, retry_after=1) as served:
            sdk = DigitalTwinsClient(str(served.url.origin()), Credential(), retry_total=10)
            publish = (sdk.publish_telemetry, "myTwinId", {"temperature": 21.5})
            await asyncio.to_thread(*publish, message_id="before", enforce_https=False)

            os.kill(broker.pid, signal.SIGSTOP)
            publishing = asyncio.to_thread(*publish, message_id="while", enforce_https=False)
            waiting = asyncio.create_task(publishing)
            await asyncio.wait_for(outbox.failed.wait(), 20)
            assert outbox.acknowledged == 1
            assert not waiting.done()

            os.kill(broker.pid, signal.SIGCONT)
            await waiting
            sdk._client.close()
    assert outbox.acknowledged == 2
    # What was refused may be on the log all the same: under the same identity, so that it is stored once.
    assert len(set(await asyncio.to_thread(on_the_log, kafka))) == 2
