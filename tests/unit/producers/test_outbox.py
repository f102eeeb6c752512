"""An outbox sends everything first, waits for every outcome, and says of several failures the first."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from producers import outbox as module
from producers.outbox import KafkaOutbox
from runtime.faults import Moment
from runtime.publisher import Overloaded, Publisher, PublishError, Settled, TooLarge, Undelivered
from schemas.codec import decode
from schemas.raw_message import RawMessage
from tests.support.raw import message


@dataclass
class MemoryPublisher:
    """A publisher whose acknowledgements are the test's to give; records of a refused body raise."""

    refused: dict[bytes, PublishError] = field(default_factory=dict)
    sent: list[Settled] = field(default_factory=list)

    def telling(self, settled: Settled) -> Settled:
        """See `runtime.publisher.Publisher.telling`."""
        return settled

    def post(self, topic: str, value: bytes, settled: Settled, *, key: bytes, headers: Any) -> None:
        """See `runtime.publisher.Publisher.post`."""
        record = decode(RawMessage, value)
        assert (topic, key) == ("raw-thingsboard", b"acme/boiler-7")
        assert headers == [("identity", record.identity())]
        if record.body in self.refused:
            raise self.refused[record.body]
        self.sent.append(settled)

    def future(self) -> asyncio.Future[None]:
        """See `runtime.publisher.Publisher.future`."""
        return asyncio.get_running_loop().create_future()

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
    publisher = MemoryPublisher()
    done = publisher.outbox().put(message(b"%d" % number) for number in range(3))
    for settled in reversed(publisher.sent):
        assert not done.done()
        settled(None)
    assert done.done()
    await done


async def test_the_first_error_is_raised_once_all_outcomes_are_known():
    """Of several failures the one counts that was known first."""
    publisher = MemoryPublisher()
    done = publisher.outbox().put([message(b"a"), message(b"b"), message(b"c")])
    publisher.sent[2](TooLarge("third"))
    publisher.sent[1](Undelivered("second"))
    assert not done.done()
    publisher.sent[0](None)
    with pytest.raises(TooLarge, match="third"):
        await done


async def test_a_record_that_cannot_be_sent_is_one_more_outcome():
    """The others are sent all the same, and waited for."""
    publisher = MemoryPublisher(refused={b"b": Overloaded("full")})
    done = publisher.outbox().put([message(b"a"), message(b"b"), message(b"c")])
    first, third = publisher.sent
    first(None)
    assert not done.done()
    third(Undelivered("third"))
    with pytest.raises(Overloaded, match="full"):
        await done


async def test_nobody_waits_any_more(moments: list[Moment]):
    """An acknowledgement for a client that has gone does no harm, and an error none either."""
    publisher = MemoryPublisher()
    outbox = publisher.outbox()
    for _ in range(2):
        outbox.put([message()]).cancel()
    publisher.sent[0](None)
    publisher.sent[1](Undelivered("late"))
    assert moments == [Moment.EDGE_RECEIVED] * 2


async def test_moments(moments: list[Moment]):
    """A test may strike after the last acknowledgement, before anybody knows; not where something failed."""
    publisher = MemoryPublisher()
    outbox = publisher.outbox()
    done, failed = outbox.put([message(b"a"), message(b"b")]), outbox.put([message(b"c")])
    publisher.sent[0](None)
    publisher.sent[2](Undelivered("third"))
    assert moments == [Moment.EDGE_RECEIVED] * 2
    publisher.sent[1](None)
    assert moments[2:] == [Moment.EDGE_ACKNOWLEDGED]
    await done
    with pytest.raises(Undelivered):
        await failed
