"""A batch on its way, with messages that are refused, crashes and cures in every order."""

from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letter import Reason
from sinks.delivery import FORGOTTEN, Delivery
from sinks.progress import MOST_UNWRITABLE, Pending, Piece
from sinks.sink import Batch, Retryable, SinkError, Unwritable
from tests.support.blocks import batch, message, origins, whole
from tests.support.fakes import MemoryDeadLetters, MemorySink

TOPIC = "id of raw-graph"
PENDING = Pending(first=0, last=0, epoch="0")


class KilledError(Exception):
    """The process ends here."""


class Crashing:
    """What outlives a process, and a process that is killed at the so-manieth thing it does."""

    def __init__(self, sink: MemorySink) -> None:
        self.sink = sink
        self.letters = MemoryDeadLetters()
        self.recorded = PENDING
        self.held: list[str] = []
        self.now = 0.0
        self.steps = 1 << 30

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise KilledError

    def record(self, pending: Pending) -> None:
        """See `sinks.delivery.Keeper.record`; it may be killed before or after."""
        self._step()
        self.recorded = pending
        self._step()

    def hold(self, error: SinkError, seconds: float) -> None:
        """See `sinks.delivery.Keeper.hold`."""
        self.held.append(str(error))
        self.now += seconds
        self._step()

    def breathe(self) -> None:
        """See `sinks.delivery.Keeper.breathe`."""

    def write(self, some: Batch, piece: Piece) -> None:
        """See `sinks.sink.Sink.write`; it may be killed before or after."""
        self._step()
        self.sink.write(some, piece)
        self._step()

    def excuse(self, some: Batch, piece: Piece, error: Unwritable) -> str:
        """See `sinks.sink.Sink.excuse`."""
        return self.sink.excuse(some, piece, error)

    def stored(self, partition: int) -> Mapping[str, int]:
        """See `sinks.sink.Sink.stored`."""
        return self.sink.stored(partition)

    def account(self, some: Batch) -> None:
        """See `sinks.sink.Sink.account`; it may be killed before or after."""
        self._step()
        self.sink.account(some)
        self._step()

    def live(self, some: Batch, *, steps: int = 1 << 30, replayed: bool = True) -> bool:
        """Deliver until the end, or until it is killed; True at the end."""
        self.steps = steps
        delivery = Delivery(self, self.letters, self, doubt=60, monotonic=lambda: self.now)
        try:
            delivery.deliver(some, self.recorded, replayed=replayed)
        except KilledError:
            return False
        return True


def _batch(messages: int) -> Batch:
    """Messages in blocks of three."""
    rows = [message(offset) for offset in range(messages)]
    return batch(*[rows[at : at + 3] for at in range(0, messages, 3)])


def _guilty(*offsets: int) -> MemorySink:
    sink = MemorySink()
    sink.guilty = {(TOPIC, offset) for offset in offsets}
    return sink


def _stored(sink: MemorySink) -> list[int]:
    return sorted(offset for part in sink.pieces.values() for _, offset in origins(part))


def _dead(sink: MemorySink) -> list[int]:
    return sorted(
        row["offset"]
        for account in sink.batches.values()
        for block in account.blocks
        for row in block.messages.to_pylist()
        if row["fate"] == "dead_letter"
    )


@settings(deadline=None, max_examples=300)
@given(data=st.data(), messages=st.integers(1, 24))
def test_each_message_has_one_fate(data: st.DataObject, messages: int):
    """Whoever is guilty, whenever a sink is killed, whatever is cured or breaks: each message is stored, or dead, once."""
    some = _batch(messages)
    offsets = st.sets(st.integers(0, messages - 1))
    world = Crashing(MemorySink())
    for steps in data.draw(st.lists(st.integers(0, 30), max_size=8)):
        world.sink.guilty = {(TOPIC, offset) for offset in data.draw(offsets)}
        world.sink.broken = data.draw(st.sampled_from(["", "", "a view fails"]))
        if world.live(some, steps=steps):
            break
    world.sink.broken = ""
    if not world.live(some, steps=1000):
        # What was stored and is refused since then can only wait for its cure.
        world.sink.guilty.clear()
        assert world.live(some, steps=1000)

    dead = _dead(world.sink)
    fates = Counter(_stored(world.sink)) + Counter(dead)
    assert fates == Counter(range(messages))
    assert set(dead) <= {letter.offset for letter in world.letters.letters}


@pytest.mark.parametrize("guilty", [(0,), (7,), (15,), (3, 4), tuple(range(16)), ()])
def test_exactly_the_guilty_die(guilty: tuple[int, ...]):
    """Without a crash exactly the messages that are refused become dead letters."""
    world = Crashing(_guilty(*guilty))

    world.live(_batch(16), replayed=False)

    assert (_dead(world.sink), world.held) == (list(guilty), [])
    assert _stored(world.sink) == [offset for offset in range(16) if offset not in guilty]


def test_a_dead_letter_explains_itself():
    """It has the raw record untouched, its place, and what ClickHouse said."""
    world = Crashing(_guilty(4))

    world.live(_batch(6), replayed=False)

    (letter,) = world.letters.letters
    assert (letter.topic, letter.topic_id, letter.partition, letter.offset) == ("raw-graph", TOPIC, 0, 4)
    assert (letter.reason, letter.error) == (Reason.UNWRITABLE, "constraint violated")
    assert (letter.key, letter.value, letter.headers) == (b"acme/boiler-7", b"raw 4", {"id": b"4"})
    (account,) = world.sink.batches.values()
    (row,) = (
        row
        for block in account.blocks
        for row in block.messages.to_pylist()
        if row["offset"] == letter.offset
    )
    assert (row["reason"], row["error"], row["body"], row["readings"]) == (
        *("unwritable", "constraint violated", b"raw 4"),
        [],
    )
    assert (row["message_id"], row["tenant"], row["device"]) == ("m-4", "acme", "boiler-7")


def test_a_raw_record_that_is_gone_is_said_to_be():
    """When the log has the raw record no more, the dead letter says so."""
    world = Crashing(_guilty(4))
    world.letters.gone = {4}

    world.live(_batch(6), replayed=False)

    (letter,) = world.letters.letters
    assert (letter.value, letter.error) == (None, "constraint violated; its raw record is gone")


def test_a_reason_that_was_forgotten_is_said_to_be():
    """A sink that goes on where another one gave a message up does not know why it did."""
    world = Crashing(_guilty(0))
    world.recorded = Pending(first=0, last=0, epoch="0", done=1, unwritable=(0,))

    world.live(_batch(1))

    assert [letter.error for letter in world.letters.letters] == [FORGOTTEN]


def _until_held(world: Crashing, times: int, cure: Callable[[], None]) -> None:
    """Have something cured when nothing could be written so many times."""
    hold = world.hold

    def and_cure(error: SinkError, seconds: float) -> None:
        hold(error, seconds)
        if len(world.held) == times:
            cure()

    world.hold = and_cure  # type: ignore[method-assign]


def test_nothing_is_cut_while_an_earlier_attempt_may_run():
    """For as long as an insert may run whose answer nobody saw, the batch is only tried again."""
    world = Crashing(_guilty(1))

    world.live(_batch(3))

    assert all(text.startswith("an earlier attempt may not have ended yet") for text in world.held)
    assert (world.now >= 60, _dead(world.sink)) == (True, [1])


def test_an_attempt_that_may_have_succeeded_is_waited_for():
    """After an attempt whose outcome is not known, too, nothing is cut for so long."""
    sink = _guilty(1)
    sink.failures = [Retryable("no answer", code="connection")]
    world = Crashing(sink)

    world.live(_batch(3), replayed=False)

    assert (world.now >= 60, _dead(world.sink)) == (True, [1])


def test_too_many_guilty_wait_for_a_cure():
    """Beyond the messages that one batch may give up, nothing more is given up: a person has to look."""
    messages = MOST_UNWRITABLE + 20
    world = Crashing(_guilty(*range(messages)))
    _until_held(world, 3, world.sink.guilty.clear)

    world.live(_batch(messages), replayed=False)

    assert len(_dead(world.sink)) == MOST_UNWRITABLE
    assert (
        world.held[0]
        == f"{MOST_UNWRITABLE} messages of one batch were given up, and more would be: constraint violated"
    )


def test_an_account_that_is_refused_waits():
    """When the account of a batch is refused nothing is given up: its readings are stored."""
    sink = MemorySink()
    world = Crashing(sink)
    write = sink.write

    def and_break(some: Batch, piece: Piece) -> None:
        write(some, piece)
        sink.broken = "no such column"

    sink.write = and_break  # type: ignore[method-assign]
    _until_held(world, 3, lambda: setattr(sink, "broken", ""))

    world.live(_batch(3), replayed=False)

    assert (world.held, world.recorded, _dead(sink)) == (["no such column"] * 3, PENDING, [])


@pytest.mark.parametrize("call", [0, 1])
def test_kafka_is_waited_for(call: int):
    """When Kafka gives no raw record, or takes no dead letter, the account waits for it."""
    world = Crashing(_guilty(0))
    fail, calls = world.letters._fail, iter(range(9))
    failures: list[SinkError] = [Retryable("no answer", code="kafka")]

    def and_fail() -> None:
        if next(calls) == call:
            raise failures.pop()
        fail()

    world.letters._fail = and_fail  # type: ignore[method-assign]

    world.live(_batch(1), replayed=False)

    assert (world.held, _dead(world.sink)) == (["no answer"], [0])


def test_a_batch_without_messages_is_accounted_for():
    """A batch of which nothing is new has no piece to write."""
    world = Crashing(MemorySink())

    world.live(batch(), replayed=False)

    assert (list(world.sink.pieces), len(world.sink.batches)) == ([], 1)


def test_what_nothing_is_wrong_with_is_one_piece():
    """A batch of which every message is taken is written as a whole, and no decision is recorded."""
    world, some = Crashing(MemorySink()), _batch(9)

    world.live(some, replayed=False)

    assert [piece for _, piece in world.sink.pieces] == [whole(some)]
    assert world.recorded is PENDING
