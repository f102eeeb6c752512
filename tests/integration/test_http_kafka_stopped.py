"""A broker that stands still (SIGSTOP) while a client posts over HTTP: 503, the client's own retries, and one message."""

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from azure.core.credentials import AccessToken
from azure.digitaltwins.core import DigitalTwinsClient

from producers.outbox import Delivery, KafkaOutbox
from runtime.publisher import Publisher, PublishError
from schemas.raw_message import RawMessage
from schemas.topics import RAW_TOPICS
from tests.support.broker import Broker, broker
from tests.support.edge import TOKEN, edge

TOPIC = RAW_TOPICS["digital_twins"]


@pytest.fixture(name="broker")
def _broker() -> Iterator[Broker]:
    with broker(TOPIC) as started:
        yield started


class WatchedOutbox(KafkaOutbox):
    """An outbox that counts what was acknowledged, and tells when something was not."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher)
        self.acknowledged = 0
        self.failed = asyncio.Event()

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `Outbox.put`."""
        return asyncio.ensure_future(self._watched(super().put(messages)))

    async def _watched(self, delivery: Delivery) -> None:
        try:
            await delivery
        except PublishError:
            self.failed.set()
            raise
        self.acknowledged += 1


class Credential:
    """Any object with `get_token` is a credential to the SDK."""

    def get_token(self, *_: str, **__: object) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(TOKEN, 4102444800)


async def test_a_client_outlasts_a_broker_that_stands_still(broker: Broker):
    """While the broker stands still the SDK hears 503; it repeats until the broker is back, and is stored once."""
    async with Publisher(broker.kafka, delivery_timeout=1, max_queued_bytes=1 << 20) as publisher:
        outbox = WatchedOutbox(publisher)
        async with edge(outbox, retry_after=1) as served:
            sdk = DigitalTwinsClient(str(served.url.origin()), Credential(), retry_total=10)
            publish = (sdk.publish_telemetry, "myTwinId", {"temperature": 21.5})
            await asyncio.to_thread(*publish, message_id="before", enforce_https=False)

            broker.stop()
            publishing = asyncio.to_thread(*publish, message_id="while", enforce_https=False)
            waiting = asyncio.create_task(publishing)
            await asyncio.wait_for(outbox.failed.wait(), 20)
            assert outbox.acknowledged == 1
            assert not waiting.done()

            broker.go_on()
            await waiting
            sdk._client.close()
    assert outbox.acknowledged == 2
    # What was refused may be on the log all the same: under the same identity, so that it is stored once.
    assert len(set(await asyncio.to_thread(broker.identities))) == 2
