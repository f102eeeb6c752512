"""A broker that stands still (SIGSTOP) while devices post: no 2.01 for what is not on the log, and no message twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from producers.coap.server import Ports, serving
from producers.outbox import KafkaOutbox
from producers.settings import CoapSettings, EdgeSettings
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from schemas.topics import RAW_TOPICS
from tests.support.broker import Broker, broker
from tests.support.coap import TOKEN, coap_client, fleet

TOPIC = RAW_TOPICS["thingsboard"]
BODY = '{"ts":1451649600512,"values":{"temperature":%s}}'


@pytest.fixture(name="broker")
def _broker() -> Iterator[Broker]:
    with broker(TOPIC) as started:
        yield started


@contextlib.asynccontextmanager
async def edge(kafka: KafkaSettings) -> AsyncIterator[Ports]:
    """An edge in front of Kafka, with one device, that waits a second for Kafka."""
    settings = EdgeSettings(delivery_timeout=1, retry_after=7)
    async with (
        Publisher(kafka, delivery_timeout=1, max_queued_bytes=1 << 20) as publisher,
        serving(KafkaOutbox(publisher), fleet(), CoapSettings(port=0), settings) as ports,
    ):
        yield ports


async def test_stopped_broker(broker: Broker):
    """While the broker stands still a device hears 5.03 in time; later it posts again, and is stored once."""
    async with edge(broker.kafka) as ports:
        where = f"coap://127.0.0.1:{ports.coap}/api/v1/{TOKEN}/telemetry"
        assert "c:2.01" in await coap_client("notls", where, body=BODY % 1)

        broker.stop()
        refused = await coap_client("notls", where, body=BODY % 2)
        assert "c:5.03" in refused
        assert "Max-Age:7" in refused
        assert "c:2.01" not in refused

        broker.go_on()
        while "c:2.01" not in (again := await coap_client("notls", where, body=BODY % 2)):
            assert "c:5.03" in again
    # What was refused may be on the log all the same: under the same identity, so that it is stored once.
    assert len(set(await asyncio.to_thread(broker.identities))) == 2
