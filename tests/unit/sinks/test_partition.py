"""One partition as a sink owns it."""

import math
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reading_block import Span
from sinks.clickhouse.tables import tables
from sinks.partition import BLOCK_BYTES, Partition
from sinks.progress import Pending, Progress
from sinks.sink import Batch, Block
from tests.support.blocks import origins, run, span

FULL = {"rows": 1 << 30, "size": 1 << 30}
BYTES = 100
"""Of a message in a block."""
NEVER = {**FULL, "seconds": 1e9}
NOW = 100.0
"""When a clock of these tests begins."""


@dataclass
class Clock:
    """A clock that a test turns."""

    now: float = NOW

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def _partition(progress: Progress | None = None, position: int = 0, clock: Clock | None = None) -> Partition:
    return Partition(3, position, progress or Progress(topic_id="r"), monotonic=clock or Clock())


def _batch(partition: Partition, *, rows: int, size: int) -> tuple[Batch, Progress]:
    return partition.batch(partition.pending(rows=rows, size=size))


def _add(partition: Partition, *borders: tuple[int, int]) -> None:
    """Blocks that cover these raw offsets, one behind the other."""
    for first, last in borders:
        _take(partition, span(first, last), run(first, last))


def _take(partition: Partition, covered: Span, messages: pa.RecordBatch) -> None:
    block = Block(offset=partition.position, span=covered, messages=messages)
    partition.add(block, BYTES * messages.num_rows, since=NOW)


def test_nothing_is_due_when_nothing_came():
    """Without a block there is nothing to write, however old the partition is."""
    clock = Clock()
    partition = _partition(clock=clock)
    clock.now += 1e6

    assert not partition.due(rows=1, size=1, seconds=1)


def test_rows_make_it_due():
    """As many readings as fill a batch make it due."""
    partition = _partition()
    _add(partition, (0, 4))

    assert [partition.due(**NEVER | {"rows": rows}) for rows in (5, 6)] == [True, False]


def test_messages_without_readings_count_as_rows():
    """Messages that have no reading fill a batch too: they are rows of another table."""
    partition = _partition()
    bare = run(0, 4).drop_columns(["readings"])
    empty = pa.array([[]] * 5, run(0, 0).schema.field("readings").type)
    _take(partition, span(0, 4), bare.append_column("readings", empty))

    assert partition.rows == 5


def test_bytes_make_it_due():
    """As many bytes as fill a batch make it due."""
    partition = _partition()
    _add(partition, (0, 4))

    assert [partition.due(**NEVER | {"size": partition.bytes + more}) for more in (0, 1)] == [True, False]


def test_age_makes_it_due():
    """The age of the oldest block makes it due, whatever came behind it."""
    clock = Clock()
    partition = _partition(clock=clock)
    _add(partition, (0, 0))
    clock.now += 1
    _add(partition, (1, 1))

    assert [partition.due(**FULL, seconds=seconds) for seconds in (1, 1.1)] == [True, False]


def test_a_batch_ends_with_the_block_that_fills_it():
    """However much has gathered, a batch is no larger than the block that fills it makes it."""
    partition = _partition()
    _add(partition, (0, 1), (2, 3), (4, 5))

    batch, _ = _batch(partition, rows=3, size=1 << 30)

    assert (batch.first, batch.last) == (0, 1)


def test_a_batch_ends_with_the_block_that_has_its_last_byte():
    """Bytes bound a batch as rows do."""
    partition = _partition()
    _add(partition, (0, 1), (2, 3))

    batch, _ = _batch(partition, rows=1 << 30, size=1)

    assert (batch.first, batch.last) == (0, 0)


def test_what_is_done_is_forgotten():
    """A stored batch leaves the blocks behind it, and their size, and nothing else."""
    partition = _partition()
    _add(partition, (0, 1), (2, 6))
    batch, after = _batch(partition, rows=1, size=1)

    partition.done(batch, after, since=NOW)

    assert (partition.rows, partition.bytes) == (5, 5 * BYTES)


def test_a_small_block_takes_more_than_its_columns():
    """What is held counts what each block takes however small it is; what fills a batch does not."""
    partition = _partition()
    _add(partition, (0, 0), (1, 1))

    assert partition.held == partition.bytes + 2 * BLOCK_BYTES


def test_the_rest_of_a_batch_ages_anew():
    """What is left over is due by age when another batch could have gathered since this one was begun."""
    clock = Clock()
    partition = _partition(clock=clock)
    _add(partition, (0, 0), (1, 1))
    clock.now += 5
    partition.done(*_batch(partition, rows=1, size=1), since=clock.now - 0.25)

    assert (partition.due(**FULL, seconds=1), partition.rest(1)) == (False, 0.75)


def test_what_age_does_not_make_due_is_not_waited_for():
    """An empty partition never becomes due by age, nor one whose recorded batch is not complete."""
    recorded = _partition(Progress(topic_id="r", pending=Pending(first=0, last=1)))
    _add(recorded, (0, 0))

    assert (_partition().rest(1), recorded.rest(1)) == (math.inf, math.inf)


def test_a_recorded_range_waits_for_its_last_block():
    """A range that an earlier owner recorded is due once its last block is here, and not before."""
    partition = _partition(Progress(topic_id="r", pending=Pending(first=5, last=6)), position=5)

    due = []
    for borders in ((0, 0), (1, 1)):
        _add(partition, borders)
        due.append(partition.due(rows=1, size=1, seconds=0))

    assert due == [False, True]


def test_a_recorded_range_is_written_exactly():
    """A recorded range is written as it was recorded, whatever the limits are now and whatever came behind it."""
    partition = _partition(Progress(topic_id="r", pending=Pending(first=5, last=6)), position=5)
    _add(partition, (0, 0), (1, 1), (2, 2))

    batch, after = _batch(partition, rows=1, size=1)

    assert (batch.first, batch.last, origins(batch)) == (
        5,
        6,
        [("id of raw-graph", 0), ("id of raw-graph", 1)],
    )
    assert after.pending is None


def test_a_repeat_with_other_borders_is_dropped():
    """Of a run that was emitted again with other borders, exactly what is new stays."""
    partition = _partition()
    _add(partition, (0, 9), (5, 12), (3, 8), (13, 13))

    batch, after = _batch(partition, **FULL)

    assert [offset for _, offset in origins(batch)] == list(range(14))
    assert after.stored == {"id of raw-graph": 13}


def test_raw_topics_do_not_mix():
    """Equal offsets of two raw topics, or of a topic that was created anew, are different messages."""
    partition = _partition(Progress(topic_id="r", stored={"old": 100}))
    _take(partition, span(0, 1, topic_id="new"), run(0, 1))
    _take(partition, span(0, 1, topic_id="other"), run(0, 1))

    batch, after = _batch(partition, **FULL)

    assert origins(batch) == [("new", 0), ("new", 1), ("other", 0), ("other", 1)]
    assert after.stored == {"old": 100, "new": 1, "other": 1}


@pytest.mark.parametrize("taken", [0, 1])
def test_looking_at_a_batch_changes_nothing(taken: int):
    """A batch that could not be written is the same batch the next time."""
    partition = _partition()
    _add(partition, (0, 4), (2, 7))
    first, _ = _batch(partition, **FULL)
    _add(partition, *[(8, 9)] * taken)

    again, _ = _batch(partition, rows=first.blocks[0].messages.num_rows + 1, size=1 << 30)

    assert origins(again) == origins(first)


CRASHES = ("before the record", "after the record", "after the insert", "after the commit", "never", "never")


@st.composite
def _logs(draw: st.DrawFn) -> list[Span]:
    """What processors emit: runs without gaps, each beginning anew at or before the end of what was emitted."""
    ends = {"a": -1, "b": -1}
    emitted = []
    for _ in range(draw(st.integers(1, 14))):
        topic = draw(st.sampled_from(sorted(ends)))
        first = draw(st.integers(max(0, ends[topic] - 6), ends[topic] + 1))
        last = draw(st.integers(first, first + 5))
        ends[topic] = max(ends[topic], last)
        emitted.append(span(first, last, topic_id=topic))
    return emitted


@dataclass
class _World:
    """What outlives a sink: the log, the committed offset, and what is stored under each token."""

    log: list[Span]
    committed: tuple[int, str] = (0, "")
    stored: dict[tuple[int, int], dict[str, pa.Table]] = field(default_factory=dict)

    def live(self, draws: list[tuple[int, int, str]]) -> None:
        """One sink after the other: how many blocks it fetches, how large its batches are, and when it is killed."""
        for fetched, rows, crash in draws:
            offset, metadata = self.committed
            partition = _partition(Progress.decode(metadata), offset)
            killed = False
            while not killed and partition.position < len(self.log):
                killed = self._round(partition, fetched, rows, crash)

    def _round(self, partition: Partition, fetched: int, rows: int, crash: str) -> bool:
        for at in range(partition.position, min(partition.position + fetched, len(self.log))):
            _take(partition, self.log[at], run(self.log[at].first, self.log[at].last))
        while partition.due(rows=rows, size=1 << 30, seconds=0):
            if crash == "before the record":
                return True
            pending = partition.pending(rows=rows, size=1 << 30)
            batch, after = partition.batch(pending)
            before = msgspec.structs.replace(partition.progress, pending=pending)
            self.committed = (batch.first, before.encode())
            if crash == "after the record":
                return True
            content = tables(batch)
            assert self.stored.setdefault((batch.first, batch.last), content) == content
            if crash == "after the insert":
                return True
            self.committed = (batch.last + 1, after.encode())
            if crash == "after the commit":
                return True
            partition.done(batch, after, since=NOW)
        return False


@settings(deadline=None, max_examples=60)
@given(
    log=_logs(), draws=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20), st.sampled_from(CRASHES)))
)
def test_each_message_is_stored_once(log: list[Span], draws: list[tuple[int, int, str]]):
    """Whatever is emitted again, wherever batches end, whenever sinks are killed: each message is stored once."""
    world = _World(log)
    world.live([*draws, (len(log), 1 << 30, "never")])

    found = Counter(
        (row["origin_topic_id"], row["origin_offset"])
        for content in world.stored.values()
        for row in content.get("messages", pa.table({})).to_pylist()
    )

    assert found == Counter({(s.topic_id, offset) for s in log for offset in range(s.first, s.last + 1)})
