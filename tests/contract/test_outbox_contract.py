"""One suite for every outbox: the fake that other tests use, and Kafka's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from producers.outbox import Delivery, KafkaOutbox, Outbox
from runtime.publisher import Publisher, PublishError, Undelivered
from runtime.settings import KafkaSettings
from schemas.topics import RAW_TOPICS
from tests.support.broker import broker
from tests.support.fakes import MemoryOutbox
from tests.support.raw import message


@dataclass
class Door:
    """An outbox, one that cannot deliver, and what the first put on the log."""

    outbox: Outbox
    broken: Outbox
    identities: Callable[[], list[bytes]]


@pytest_asyncio.fixture(name="door", params=["memory", "kafka"])
async def _door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """Each outbox."""
    if request.param == "memory":
        outbox, broken = MemoryOutbox(), MemoryOutbox()
        broken.fail_with = Undelivered("timed out")
        yield Door(outbox, broken, lambda: [kept.identity() for kept in outbox.messages])
        return
    nowhere = KafkaSettings(bootstrap="127.0.0.1:1")
    with broker(RAW_TOPICS["thingsboard"]) as started:
        async with (
            Publisher(started.kafka, delivery_timeout=10) as publisher,
            Publisher(nowhere, delivery_timeout=0.2) as mute,
        ):
            yield Door(KafkaOutbox(publisher), KafkaOutbox(mute), started.identities)


async def test_what_is_done_is_on_the_log(door: Door):
    """Once it was waited for, every message of a put is on the log, in order."""
    messages = [message(message_id=f"m-{number}") for number in range(3)]
    await door.outbox.put(iter(messages))
    assert door.identities() == [each.identity() for each in messages]


async def test_nothing_is_done_at_once(door: Door):
    """There is nothing to wait for in no messages."""
    await door.outbox.put([])
    assert door.identities() == []


async def test_a_failure_is_told_to_who_waits(door: Door):
    """Putting itself does not fail for want of Kafka: who waits for what was not delivered hears so."""
    delivery = door.broken.put([message()])
    with pytest.raises(PublishError):
        await delivery


async def test_what_became_of_a_put_is_told(door: Door):
    """Who does not want to wait is called back, and can ask then what became of it."""
    for outbox, failed in ((door.outbox, False), (door.broken, True)):
        told: asyncio.Queue[Delivery] = asyncio.Queue()
        delivery = outbox.put([message()])
        delivery.add_done_callback(told.put_nowait)
        assert await told.get() is delivery
        assert isinstance(delivery.exception(), PublishError) is failed


async def test_who_stops_waiting_takes_nothing_back(door: Door):
    """A client that goes away leaves its message on its way, and those of others unharmed."""
    gone = asyncio.ensure_future(door.outbox.put([message(message_id="gone")]))
    await asyncio.sleep(0)
    gone.cancel()
    await door.outbox.put([message(message_id="stays")])
    identities = [message(message_id=name).identity() for name in ("gone", "stays")]
    assert door.identities() == identities


async def test_puts_are_awaited_together(door: Door):
    """Many puts are under way at once, and each has its own end."""
    puts = [door.outbox.put([message(message_id=f"m-{number}")]) for number in range(20)]
    await asyncio.gather(*puts)
    assert len(door.identities()) == 20
