import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from processors.dedupe import Window
from processors.limit import DeadLetterLimit
from processors.partitions import Partitions
from processors.progress import Progress
from processors.rebuild import Abandoned
from processors.refine import Source
from tests.support.processes import until

HERE, THERE = TP("raw-thingsboard", 3), TP("raw-thingsboard", 4)


class FakeOffsets:
    """Knows what is committed, and remembers what it is told."""

    def __init__(self) -> None:
        self.generation = 1
        self.was_committed: int | None = 100
        self.reported = []
        self.sought = []

    async def committed(self, tp):
        """See `processors.partitions.Offsets`."""
        return self.was_committed

    async def seek(self, partition, offset):
        """See `processors.partitions.Offsets`."""
        self.sought.append((partition, offset))

    def hold(self, tp):
        """See `processors.partitions.Offsets`."""

    def processed(self, tp, offset, generation):
        """See `processors.partitions.Offsets`."""
        self.reported.append((tp, offset, generation))


class Rebuilds:
    """Rebuilds a window at once, unless it is told to wait; remembers as of which offset."""

    def __init__(self) -> None:
        self.asked = []
        self.abandoned = []
        self.hanging = False
        self.fails_with = None

    def __call__(self, source, committed, abandoned) -> Window:
        """See `processors.partitions.Rebuild`."""
        self.asked.append((source.partition, committed))
        if self.fails_with:
            raise self.fails_with
        if self.hanging:
            abandoned.wait()
            self.abandoned.append(source.partition)
            raise Abandoned
        return Window(seconds=60)


@pytest.fixture(name="offsets")
def _offsets():
    """100 is committed, in generation 1."""
    return FakeOffsets()


@pytest.fixture(name="rebuilds")
def _rebuilds():
    """At once."""
    return Rebuilds()


@pytest.fixture(name="progress")
def _progress():
    """Of the offsets."""
    return Progress(time.monotonic)


@pytest.fixture(name="partitions")
async def _partitions(offsets, rebuilds, progress):
    """Nothing is assigned yet."""

    async def source_of(tp):
        return Source(dialect="thingsboard", topic=tp.topic, topic_id="T", partition=tp.partition)

    with ThreadPoolExecutor(2) as threads:
        made = Partitions(
            offsets,
            source_of,
            rebuilds,
            lambda: DeadLetterLimit(share=0.5, window=10),
            threads=threads,
            start=asyncio.create_task,
            progress=progress,
        )
        yield made
        made.abandon()
        await asyncio.sleep(0)


async def assigned(partitions, offsets, generation, *tps):
    """The first of these partitions, in this generation, as soon as its window is there."""
    offsets.generation = generation
    partitions.assigned(tps)
    return await partitions.owned(tps[0], generation)


async def test_windows_are_rebuilt_on_assignment(partitions, rebuilds):
    """Every window is rebuilt as of its committed offset, without a record having come."""
    partitions.assigned([HERE, THERE])
    await until(lambda: len(rebuilds.asked) == 2)

    assert {(3, 100), (4, 100)} == set(rebuilds.asked)


async def test_what_is_ours_is_shown_and_nothing_else(partitions, offsets):
    """A partition that another processor has now is no longer among those whose windows are counted here."""
    await assigned(partitions, offsets, 1, HERE)
    before = remembered(HERE)
    await assigned(partitions, offsets, 2, THERE)

    assert (0, None, 0) == (before, remembered(HERE), remembered(THERE))


def remembered(tp):
    """How many identities of a partition are shown; None where it is not."""
    labels = {"dialect": "thingsboard", "partition": str(tp.partition)}
    return REGISTRY.get_sample_value("headrace_process_remembered_identities", labels)


async def test_a_partition_goes_on_at_its_committed_offset(partitions, offsets):
    """What is committed is not processed again."""
    assert 100 == (await assigned(partitions, offsets, 1, HERE)).next


async def test_delivery_starts_where_a_partition_goes_on(partitions, offsets):
    """Also what Faust has fetched and dropped around a rebalance is delivered, on a log where nothing more arrives."""
    await assigned(partitions, offsets, 1, HERE)

    assert [(HERE, 100)] == offsets.sought


async def test_a_new_group_begins_at_the_beginning(partitions, offsets, rebuilds):
    """With nothing committed, everything that is there is processed."""
    offsets.was_committed = None
    owned = await assigned(partitions, offsets, 1, HERE)

    assert (0, [(3, None)]) == (owned.next, rebuilds.asked)


async def test_a_partition_that_stays_keeps_its_window(partitions, offsets, rebuilds):
    """In the very next generation nobody else can have had it: nothing is rebuilt, and it goes on where it was."""
    before = await assigned(partitions, offsets, 1, HERE)
    before.next = 120
    after = await assigned(partitions, offsets, 2, HERE)

    assert (True, 120, 1) == (after is before, after.next, len(rebuilds.asked))


async def test_a_generation_that_was_missed_is_a_rebuild(partitions, offsets, rebuilds):
    """Somebody else may have had the partition in between."""
    before = await assigned(partitions, offsets, 1, HERE)
    after = await assigned(partitions, offsets, 3, HERE)

    assert (False, 2) == (after is before, len(rebuilds.asked))


async def test_a_group_that_starts_over_is_a_rebuild(partitions, offsets, rebuilds):
    """A group that Kafka forgot counts its generations from 1 again."""
    await assigned(partitions, offsets, 7, HERE)
    await assigned(partitions, offsets, 1, HERE)

    assert 2 == len(rebuilds.asked)


async def test_an_offset_beyond_ours_is_a_rebuild(partitions, offsets, rebuilds):
    """If more is committed than we did, somebody else did it."""
    await assigned(partitions, offsets, 1, HERE)
    offsets.was_committed = 150
    owned = await assigned(partitions, offsets, 2, HERE)

    assert (150, 2) == (owned.next, len(rebuilds.asked))


async def test_a_partition_that_comes_back_is_a_rebuild(partitions, offsets, rebuilds):
    """What was ours two generations ago is of no use."""
    await assigned(partitions, offsets, 1, HERE)
    await assigned(partitions, offsets, 2, THERE)
    await assigned(partitions, offsets, 3, HERE)

    assert [3, 4, 3] == [partition for partition, _ in rebuilds.asked]


async def test_what_is_acknowledged_may_be_committed(partitions, offsets):
    """A block that is on the log moves the offset of its partition."""
    owned = await assigned(partitions, offsets, 1, HERE)
    partitions.acknowledged(owned, HERE, 119)

    assert [(HERE, 119, 1)] == offsets.reported


async def test_what_is_kept_is_reported_again(partitions, offsets):
    """What was acknowledged but not committed before a rebalance is committed after it, though it is not done again."""
    owned = await assigned(partitions, offsets, 1, HERE)
    owned.next = 120
    partitions.acknowledged(owned, HERE, 119)
    await assigned(partitions, offsets, 2, HERE)

    assert [(HERE, 119, 1), (HERE, 119, 2)] == offsets.reported


async def test_what_is_acknowledged_after_a_rebalance_counts(partitions, offsets):
    """A block that was in flight during a rebalance moves the offset of a partition that stayed, in the new generation."""
    owned = await assigned(partitions, offsets, 1, HERE)
    owned.next = 120
    await assigned(partitions, offsets, 2, HERE)
    partitions.acknowledged(owned, HERE, 119)

    assert [(HERE, 119, 2)] == offsets.reported


async def test_what_is_acknowledged_after_a_loss_does_not_count(partitions, offsets):
    """A partition that was lost is the next owner's to commit, even if it has come back."""
    owned = await assigned(partitions, offsets, 1, HERE)
    await assigned(partitions, offsets, 2, THERE)
    await assigned(partitions, offsets, 3, HERE)
    partitions.acknowledged(owned, HERE, 119)

    assert [] == offsets.reported


async def test_a_rebuild_that_nobody_wants_ends(partitions, rebuilds):
    """Losing the partition, or stopping, ends its rebuild at once; who waits for it gets nothing."""
    rebuilds.hanging = True
    partitions.assigned([HERE])
    waiting = asyncio.create_task(partitions.owned(HERE, 1))
    await until(lambda: rebuilds.asked)
    partitions.abandon()

    assert await asyncio.wait_for(waiting, 10) is None
    await until(lambda: rebuilds.abandoned == [3])


async def test_a_rebuild_is_no_standstill(partitions, rebuilds, progress):
    """While a window is rebuilt, nobody takes the partition for stuck."""
    rebuilds.hanging = True
    progress.taken(HERE, 200)
    partitions.assigned([HERE])
    await until(lambda: rebuilds.asked)

    assert "" == progress.trouble(-1)


async def test_a_window_that_cannot_be_rebuilt_fails(partitions, rebuilds):
    """Without its window no partition is processed: the failure reaches who asks for it."""
    rebuilds.fails_with = RuntimeError("Kafka stopped answering")
    partitions.assigned([HERE])

    with pytest.raises(RuntimeError, match="stopped answering"):
        await partitions.owned(HERE, 1)


async def test_a_chunk_of_another_generation_has_no_partition(partitions, offsets):
    """What was fetched for another generation is not processed, though the partition is ours."""
    await assigned(partitions, offsets, 2, HERE)

    assert await partitions.owned(HERE, 1) is None
