import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from faust.types import TP

from processors import refinery as module
from processors.dedupe import Allowance, Window
from processors.limit import DeadLetterLimit
from processors.partitions import Partitions
from processors.progress import Progress
from processors.refine import Source, refine
from processors.refinery import Refinery
from runtime.devices import PlaceTable
from runtime.publisher import Broken, Overloaded
from schemas import codec, reading_block
from schemas.dead_letter import DeadLetter
from schemas.reading_block import Span
from tests.support.raw import LOGGED_AT, Raw, garbage, record

TOPIC = "raw-thingsboard"
HERE, THERE = TP(TOPIC, 3), TP(TOPIC, 4)


@dataclass
class Chunk:
    """A chunk as `processors.chunks` delivers it."""

    value: list[Raw]
    since: int
    moves: int = 0
    generation_id: int = 1
    topic: str = TOPIC
    partition: int = 3
    tp: TP = HERE

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.value[0].offset

    @property
    def offset(self) -> int:
        """Offset of the last record."""
        return self.value[-1].offset


def chunk(first, last, *, since=None, **fields: Any):
    """A chunk of these offsets, the last included."""
    records = [record(offset) for offset in range(first, last + 1)]
    return Chunk(records, first if since is None else since, **fields)


@dataclass
class FakeOffsets:
    """Remembers what it is told."""

    generation: int = 1
    was_committed: int | None = 100
    seeks: list[tuple[TP, int]] = field(default_factory=list)
    holds: list[TP] = field(default_factory=list)
    reported: list[tuple[TP, int, int]] = field(default_factory=list)

    async def committed(self, tp: TP) -> int | None:
        """See `processors.partitions.Offsets`."""
        return self.was_committed

    async def seek(self, partition: TP, offset: int) -> None:
        """See `processors.partitions.Offsets`."""
        self.seeks.append((partition, offset))

    def processed(self, tp: TP, offset: int, generation: int) -> None:
        """See `processors.partitions.Offsets`."""
        self.reported.append((tp, offset, generation))

    def hold(self, tp: TP) -> None:
        """See `processors.partitions.Offsets`."""
        self.holds.append(tp)


@dataclass
class FakeLog:
    """Keeps what is sent; takes it at once, unless told otherwise."""

    acknowledges: bool = True
    full: int = 0
    """How many more sends find the queue full."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    futures: list[asyncio.Future[None]] = field(default_factory=list)

    def send(self, topic: str, value: bytes | None, **options: Any) -> asyncio.Future[None]:
        """See `runtime.publisher.Log`."""
        if self.full:
            self.full -= 1
            raise Overloaded
        self.sent.append({"topic": topic, "value": value} | options)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.acknowledges:
            future.set_result(None)
        self.futures.append(future)
        return future

    def spans(self) -> list[tuple[int, int]]:
        """First and last offset of each block."""
        blocks = [Span.of(sent["headers"]) for sent in self.sent if sent["topic"] == "readings"]
        return [(span.first, span.last) for span in blocks]


@pytest.fixture(name="offsets")
def _offsets():
    """100 is committed, in generation 1."""
    return FakeOffsets()


@pytest.fixture(name="log")
def _log():
    """A log that takes everything at once."""
    return FakeLog()


@pytest.fixture(name="partitions")
async def _partitions(offsets):
    """Two partitions that were assigned in generation 1, their windows empty; a count of ten dead letters in twenty."""

    async def source_of(tp):
        return Source(dialect="thingsboard", topic=tp.topic, topic_id="T", partition=tp.partition)

    with ThreadPoolExecutor(1) as threads:
        partitions = Partitions(
            offsets,
            source_of,
            lambda *_: Window(seconds=60),
            lambda: DeadLetterLimit(share=0.5, window=20),
            threads=threads,
            start=asyncio.create_task,
            progress=Progress(time.monotonic),
        )
        partitions.assigned([HERE, THERE])
        for tp in (HERE, THERE):
            await partitions.owned(tp, 1)
        offsets.seeks.clear()
        yield partitions
        partitions.abandon()


@pytest.fixture(name="progress")
def _progress():
    """Of the offsets."""
    return Progress(time.monotonic)


@pytest.fixture(name="refinery")
def _refinery(offsets, log, partitions, progress):
    """A refinery whose windows begin empty."""
    return Refinery(offsets, partitions, log, PlaceTable(), allowance=Allowance(1 << 20), progress=progress)


async def test_a_chunk_becomes_a_block(refinery, log):
    """A block is on its way to the raw record's own partition, stamped with the log's time."""
    await (await refinery.take(chunk(100, 109))).delivered

    (sent,) = log.sent
    assert ("readings", 3, LOGGED_AT) == (sent["topic"], sent["partition"], sent["timestamp_ms"])
    assert [(100, 109)] == log.spans()


async def test_chunks_follow_each_other(refinery, log, offsets):
    """Chunks in the order of the log are all processed."""
    for first in (100, 110, 120):
        await refinery.take(chunk(first, first + 9))

    assert ([(100, 109), (110, 119), (120, 129)], []) == (log.spans(), offsets.seeks)


async def test_a_redelivery_is_dropped(refinery, log):
    """A chunk that was processed leads to nothing, and nothing has to be waited for."""
    await refinery.take(chunk(100, 109))

    assert await refinery.take(chunk(100, 109)) is None
    assert [(100, 109)] == log.spans()


async def test_what_is_committed_is_not_processed_again(refinery, log):
    """Delivery that begins before the committed offset is dropped up to it."""
    assert await refinery.take(chunk(80, 99)) is None
    assert [] == log.sent


async def test_an_overlap_is_trimmed(refinery, log):
    """Of a chunk that overlaps the one before, the rest is processed."""
    await refinery.take(chunk(100, 109))
    await refinery.take(chunk(105, 114))

    assert [(100, 109), (110, 114)] == log.spans()


async def test_a_gap_is_answered_by_one_seek(refinery, log, offsets):
    """However many chunks were fetched behind a gap, delivery starts over once, and none of them is processed."""
    for first in (110, 120, 130):
        assert await refinery.take(chunk(first, first + 9)) is None

    assert ([(HERE, 100)], []) == (offsets.seeks, log.sent)


async def test_delivery_goes_on_after_a_seek(refinery, log, offsets):
    """What comes after the seek is processed, in the order of the log."""
    await refinery.take(chunk(110, 119))
    await refinery.take(chunk(100, 109, moves=1))
    await refinery.take(chunk(110, 119, moves=1))

    assert ([(100, 109), (110, 119)], [(HERE, 100)]) == (log.spans(), offsets.seeks)


async def test_a_gap_after_a_seek_is_a_gap_again(refinery, log, offsets):
    """If what was sought is lost on the way too, it is sought again: a gap is no hole because it came twice."""
    await refinery.take(chunk(110, 119))

    assert await refinery.take(chunk(110, 119, moves=1)) is None
    assert ([(HERE, 100), (HERE, 100)], []) == (offsets.seeks, log.sent)


async def test_two_gaps_are_two_seeks(refinery, offsets):
    """A second gap behind a first one is answered like the first."""
    await refinery.take(chunk(110, 119))
    await refinery.take(chunk(100, 109, moves=1))
    await refinery.take(chunk(130, 139, moves=1))

    assert [(HERE, 100), (HERE, 110)] == offsets.seeks


async def test_a_hole_in_the_log_is_stepped_over(refinery, log, offsets):
    """Where a fetch that began at the missing offset found nothing before a later one, Kafka has nothing there."""
    await refinery.take(chunk(110, 119))
    await refinery.take(chunk(115, 119, since=100, moves=1))

    assert ([(115, 119)], [(HERE, 100)]) == (log.spans(), offsets.seeks)


async def test_a_new_group_begins_where_an_old_log_does(refinery, log, offsets, partitions):
    """With nothing committed, a log that begins beyond 0 is read from its beginning."""
    offsets.was_committed = None
    partitions.assigned([HERE])
    await refinery.take(chunk(37, 40))
    await refinery.take(chunk(37, 40, since=0, moves=1))

    assert [(37, 40)] == log.spans()


async def test_an_old_generation_is_ignored(refinery, log, offsets):
    """A chunk that was fetched for an earlier generation of the group is not ours to process."""
    offsets.generation = 2

    assert await refinery.take(chunk(100, 109, generation_id=1)) is None
    assert [] == log.sent


async def test_a_partition_that_is_not_ours_is_ignored(refinery, log):
    """A chunk of a partition that was lost leads to nothing."""
    assert await refinery.take(chunk(100, 109, partition=5, tp=TP(TOPIC, 5))) is None
    assert [] == log.sent


async def test_a_dead_letter_is_sent_before_its_block(refinery, log):
    """A dead letter goes out, under the key of its record, before the block that says it is dead."""
    bad = garbage(100)
    await refinery.take(Chunk([bad, record(101)], 100))

    letter = codec.decode(DeadLetter, log.sent[0]["value"])
    assert ["dead-letters", "readings"] == [sent["topic"] for sent in log.sent]
    assert (b"who/knows", bad.value, 100) == (log.sent[0]["key"], letter.value, letter.offset)


async def test_the_loop_goes_on_while_a_large_chunk_is_processed(refinery, log, monkeypatch):
    """A chunk that takes longer than the group waits for a sign of life keeps nobody else waiting."""
    loop, begun, seen = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def watched(*arguments):
        loop.call_soon_threadsafe(begun.set)
        assert seen.wait(10)
        return refine(*arguments)

    monkeypatch.setattr(module, "refine", watched)
    monkeypatch.setattr(module, "LARGE_BYTES", sum(len(each.value) for each in chunk(100, 102).value))
    taking = asyncio.ensure_future(refinery.take(chunk(100, 103)))
    await begun.wait()
    seen.set()
    await taking
    assert [(100, 103)] == log.spans()

    monkeypatch.setattr(module, "refine", lambda *_: pytest.fail(threading.current_thread().name))
    with pytest.raises(pytest.fail.Exception, match="MainThread"):
        await refinery.take(chunk(104, 106))


async def test_a_chunk_is_done_when_everything_is_acknowledged(refinery, log):
    """Both the dead letter and the block are waited for."""
    log.acknowledges = False
    done = (await refinery.take(Chunk([garbage(100)], 100))).delivered
    log.futures[0].set_result(None)
    await asyncio.wait([done], timeout=0)
    half = done.done()
    log.futures[1].set_result(None)
    await done

    assert (False, True) == (half, done.done())


async def test_a_delivery_that_fails_is_passed_on(refinery, log):
    """Whoever waits for a chunk is told that one of its records is not on the log."""
    log.acknowledges = False
    done = (await refinery.take(Chunk([garbage(100)], 100))).delivered
    log.futures[0].set_exception(Broken("gone"))

    with pytest.raises(Broken):
        await done


async def test_a_full_queue_is_waited_for(refinery, log, monkeypatch):
    """More than the producer holds is sent as it makes room, in order, nothing left out."""
    monkeypatch.setattr("runtime.publisher.QUEUE_FULL_SECONDS", 0)
    log.full = 3
    await (await refinery.take(Chunk([garbage(100), record(101)], 100))).delivered

    assert ["dead-letters", "readings"] == [sent["topic"] for sent in log.sent]


async def test_partitions_do_not_meet(refinery, log):
    """Each partition has offsets and a window of its own."""
    await refinery.take(chunk(100, 109))
    await refinery.take(chunk(100, 109, partition=4, tp=THERE))

    assert [3, 4] == [sent["partition"] for sent in log.sent]
    fates = [reading_block.decode(sent["value"]).column("fate").to_pylist() for sent in log.sent]
    assert [["stored"] * 10] * 2 == fates


def dead(first, count, **fields: Any):
    """A chunk of records that nobody can use."""
    return Chunk([garbage(offset) for offset in range(first, first + count)], first, **fields)


async def test_too_many_dead_letters_hold_a_partition(refinery, log, offsets):
    """The chunk that goes beyond the limit leaves no block, no dead letter and nothing to commit, nor does what follows."""
    await refinery.take(dead(100, 10))
    before = len(log.sent)
    taken = [await refinery.take(dead(110, 5)), await refinery.take(chunk(115, 119))]

    assert ([None, None], before, {HERE}) == (taken, len(log.sent), set(offsets.holds))


async def test_a_held_partition_holds_no_other(refinery, log):
    """Other partitions go on."""
    await refinery.take(dead(100, 11))

    assert await refinery.take(chunk(100, 109, partition=4, tp=THERE)) is not None
    assert [(100, 109)] == log.spans()


async def test_a_held_partition_says_why(refinery, partitions):
    """The sentence for the operator names the partition, the count, the reason and the way out."""
    await refinery.take(dead(100, 11))

    (trouble,) = partitions.troubles()
    assert trouble.startswith(
        "raw-thingsboard [3] is held: 11 of the last 11 messages were dead letters (most of them undecodable); "
    )
    assert "HEADRACE_PROCESS__DEAD_LETTER_LIMIT" in trouble


async def test_a_held_partition_is_not_stuck(refinery, progress):
    """The watchdog does not mistake it for one that hangs."""
    progress.taken(HERE, 111)
    await refinery.take(dead(100, 11))

    assert "" == progress.trouble(-1)
