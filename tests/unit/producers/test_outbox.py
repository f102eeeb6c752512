"""An outbox sends everything first, waits for every outcome, and says of several failures the first."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import pytest

from producers import outbox as module
from producers.outbox import Delivery, KafkaOutbox
from runtime.faults import Moment
from runtime.publisher import Outgoing, Overloaded, Publisher, PublishError, Settled, TooLarge, Undelivered
from schemas.codec import decode
from schemas.raw_message import RawMessage
from tests.support.raw import message


@dataclass
class MemoryPublisher:
    """A publisher whose acknowledgements are the test's to give; records of a refused body are not queued."""

    refused: dict[bytes, PublishError] = field(default_factory=dict)
    sent: list[Settled] = field(default_factory=list)

    def post(self, records: Iterable[Outgoing], settled: Settled) -> None:
        """See `runtime.publisher.Publisher.post`."""
        for topic, value, key, headers in records:
            assert value is not None
            record = decode(RawMessage, value)
            assert (topic, key) == ("raw-thingsboard", b"acme/boiler-7")
            assert headers == [("identity", record.identity())]
            if record.body in self.refused:
                settled(self.refused[record.body])
            else:
                self.sent.append(settled)

    def outbox(self) -> KafkaOutbox:
        """An outbox that sends through it."""
        return KafkaOutbox(cast("Publisher", self))


@pytest.fixture(name="moments")
def _moments(monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """The moments that were reached."""
    found: list[Moment] = []
    monkeypatch.setattr(module, "reached", found.append)
    return found


async def test_every_record_is_sent_before_one_is_waited_for():
    """A put is done with the last acknowledgement, in whatever order they come."""
    publisher, told = MemoryPublisher(), list[Delivery]()
    delivery = publisher.outbox().put(message(b"%d" % number) for number in range(3))
    delivery.add_done_callback(told.append)
    for settled in reversed(publisher.sent):
        assert told == []
        settled(None)
    assert told == [delivery]
    assert delivery.exception() is None


async def test_the_first_error_is_told_once_all_outcomes_are_known():
    """Of several failures the one counts that was known first."""
    publisher, told = MemoryPublisher(), list[Delivery]()
    delivery = publisher.outbox().put([message(b"a"), message(b"b"), message(b"c")])
    delivery.add_done_callback(told.append)
    publisher.sent[2](TooLarge("third"))
    publisher.sent[1](Undelivered("second"))
    assert told == []
    publisher.sent[0](None)
    assert told == [delivery]
    assert str(delivery.exception()) == "third"


async def test_a_record_that_cannot_be_sent_is_one_more_outcome():
    """The others are sent all the same, and waited for."""
    publisher = MemoryPublisher(refused={b"b": Overloaded("full")})
    waiting = asyncio.ensure_future(publisher.outbox().put([message(b"a"), message(b"b"), message(b"c")]))
    await asyncio.sleep(0)
    first, third = publisher.sent
    first(None)
    assert not waiting.done()
    third(Undelivered("third"))
    with pytest.raises(Overloaded, match="full"):
        await waiting


async def test_nothing_that_is_sent_is_known_at_once():
    """Who asks what became of a put that failed before it began is told so there and then."""
    publisher, told = MemoryPublisher(refused={b"a": Overloaded("full")}), list[Delivery]()
    delivery = publisher.outbox().put([message(b"a")])
    delivery.add_done_callback(told.append)
    assert told == [delivery]


async def test_nobody_waits_any_more():
    """An acknowledgement for a client that has gone does no harm, and an error none either."""
    publisher = MemoryPublisher()
    outbox = publisher.outbox()
    for number, error in enumerate([None, Undelivered("late")]):
        waiting = asyncio.ensure_future(outbox.put([message()]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        publisher.sent[number](error)


async def test_moments(moments: list[Moment]):
    """A test may strike after the last acknowledgement, before anybody knows; not where something failed."""
    publisher, told = MemoryPublisher(), list[Delivery]()
    outbox = publisher.outbox()
    done, failed = outbox.put([message(b"a"), message(b"b")]), outbox.put([message(b"c")])
    done.add_done_callback(lambda _: told.extend([done] * (moments[-1] == Moment.EDGE_ACKNOWLEDGED)))
    publisher.sent[0](None)
    publisher.sent[2](Undelivered("third"))
    assert moments == [Moment.EDGE_RECEIVED] * 2
    publisher.sent[1](None)
    assert moments[2:] == [Moment.EDGE_ACKNOWLEDGED]
    assert told == [done]
    with pytest.raises(Undelivered):
        await failed
