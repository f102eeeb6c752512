import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from processors.app import build
from processors.settings import ProcessSettings
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings

HERE, THERE = TP("raw-graph", 0), TP("raw-graph", 1)
OTHER = TP("elsewhere", 0)


def run(first, last):
    """Records as aiokafka hands them out."""
    return [SimpleNamespace(offset=n, timestamp=1000 + n, timestamp_type=1) for n in range(first, last + 1)]


class FakeThread:
    """Kafka's client thread: fetches what was prepared, and remembers what it was told."""

    def __init__(self) -> None:
        self.assigned = {HERE, THERE}
        self.fetches: list[dict[TP, list[SimpleNamespace]]] = []
        self.seeks: list[tuple[TP, int]] = []
        self.asked: list[set[TP]] = []
        self.meanwhile = lambda: None

    async def call_thread(self, call, *args):
        """Run a function on the thread."""
        return await call(*args)

    async def getmany(self, active, timeout):  # noqa: ASYNC109 - Faust's signature
        """The next fetch; something may happen while it is under way."""
        self.asked.append(active)
        self.meanwhile()
        return self.fetches.pop(0) if self.fetches else {}

    async def seek_to_committed(self):
        """Nothing was committed."""
        return {}

    def assignment(self):
        """The partitions that are ours."""
        return self.assigned

    def seek(self, tp, offset):
        """Deliver from an offset on."""
        self.seeks.append((tp, offset))

    def highwater(self, tp):
        """Where the log of a partition ends; one that is not ours has no end."""
        assert tp in self.assigned
        return 1000


@pytest.fixture(name="thread")
def _thread():
    """Kafka's client."""
    return FakeThread()


@pytest.fixture(name="consumer")
async def _consumer(thread):
    """The consumer of a processor that owns two partitions in generation 1."""
    app = build(KafkaSettings(), ProcessSettings(chunk_messages=10), PlaceTable())
    app.consumer_generation_id = 1
    consumer = app.consumer
    # The real one would ask Kafka.
    consumer._thread = thread
    consumer._active_partitions = {HERE, THERE}
    return consumer


async def fetch(consumer):
    """The chunks of one fetch: first, last, since."""
    return [(chunk.first, chunk.offset, chunk.since) async for _, chunk in consumer.getmany(1.0)]


async def test_a_run_of_records_is_cut_into_chunks(consumer, thread):
    """A fetch is delivered in chunks of at most so many records, each with its records, in the order of the log."""
    thread.fetches = [{HERE: run(100, 124)}]
    chunks = [(tp, chunk) async for tp, chunk in consumer.getmany(1.0)]

    assert [(HERE, 100, 109), (HERE, 110, 119), (HERE, 120, 124)] == [
        (tp, chunk.first, chunk.offset) for tp, chunk in chunks
    ]
    assert list(range(100, 125)) == [record.offset for _, chunk in chunks for record in chunk.value]


async def test_a_partition_that_is_not_ours_is_not_delivered(consumer, thread):
    """What a fetch brought of a partition that is paused or was lost meanwhile is left out."""
    thread.fetches = [{OTHER: run(0, 5), HERE: run(100, 105)}]

    assert [(100, 105, 100)] == await fetch(consumer)


async def test_a_partition_without_its_window_waits_alone(consumer, thread):
    """Nothing is fetched of a partition whose window is being rebuilt; the others are delivered meanwhile."""
    awaited = {THERE}
    consumer.app.successor = SimpleNamespace(awaited=lambda: awaited)
    await fetch(consumer)
    awaited.clear()
    await fetch(consumer)

    assert [{HERE}, {HERE, THERE}] == thread.asked


async def test_nothing_is_fetched_before_a_window_is_there(consumer, thread):
    """While all partitions wait for their windows, Kafka is not asked."""
    consumer.app.successor = SimpleNamespace(awaited=lambda: {HERE, THERE})

    assert ([], []) == (await fetch(consumer), thread.asked)


async def test_a_chunk_knows_its_generation(consumer, thread):
    """A chunk carries the generation of the group that it was fetched for."""
    thread.fetches = [{HERE: run(100, 105)}]
    chunks = [chunk async for _, chunk in consumer.getmany(1.0)]

    assert [1] == [chunk.generation_id for chunk in chunks]


async def test_a_fetch_that_a_rebalance_crosses_is_dropped(consumer, thread):
    """What was fetched for an earlier generation is not delivered as the new one's."""
    thread.fetches = [{HERE: run(100, 105)}]

    def rebalance():
        consumer.app.consumer_generation_id = 2
        thread.assigned = set()

    thread.meanwhile = rebalance

    assert [] == await fetch(consumer)


async def test_a_fetch_during_a_rebalance_is_dropped(consumer, thread):
    """While the flow is stopped nothing is delivered, and nothing that could fail is tried."""
    thread.fetches = [{HERE: run(100, 105)}]
    thread.meanwhile = consumer.stop_flow

    assert [] == await fetch(consumer)


async def test_a_seek_waits_for_the_task_that_fetches(consumer, thread):
    """A seek is made before the next fetch, and not while one is under way."""
    await consumer.seek(HERE, 90)
    asked = list(thread.seeks)
    await fetch(consumer)

    assert ([], [(HERE, 90)]) == (asked, thread.seeks)


async def test_the_first_chunk_after_a_seek_proves_what_is_missing(consumer, thread):
    """The first chunk that comes after a seek says where Kafka was asked to begin; a later one does not."""
    await consumer.seek(HERE, 90)
    thread.fetches = [{HERE: run(95, 110)}, {HERE: run(115, 119)}]

    assert [(95, 104, 90), (105, 110, 105)] == await fetch(consumer)
    assert [(115, 119, 115)] == await fetch(consumer)


async def test_a_fetch_before_the_seek_proves_nothing(consumer, thread):
    """A seek that is asked for while a fetch is under way says nothing about that fetch."""
    thread.fetches = [{HERE: run(100, 105)}, {HERE: run(95, 99)}]
    thread.meanwhile = lambda: consumer._wanted.setdefault(HERE, 90)

    assert [(100, 105, 100)] == await fetch(consumer)
    assert [(95, 99, 90)] == await fetch(consumer)


async def test_a_seek_holds_until_its_partition_delivers(consumer, thread):
    """Chunks of other partitions, and fetches that bring nothing, leave the proof for the right one."""
    await consumer.seek(HERE, 90)
    thread.fetches = [{THERE: run(5, 9)}, {}, {HERE: run(95, 99)}]

    assert [(5, 9, 5)] == await fetch(consumer)
    assert [] == await fetch(consumer)
    assert [(95, 99, 90)] == await fetch(consumer)


async def test_a_dropped_chunk_proves_nothing_afterwards(consumer, thread):
    """If what came first after a seek was dropped, what comes next does not stand for it."""
    await consumer.seek(HERE, 90)
    thread.fetches = [{HERE: run(90, 99)}, {HERE: run(100, 105)}]
    thread.meanwhile = lambda: setattr(consumer.app, "consumer_generation_id", 2)
    await fetch(consumer)

    assert [(100, 105, 100)] == await fetch(consumer)


async def test_a_seek_to_the_committed_offsets_ends_a_proof(consumer, thread):
    """Once Faust has moved delivery itself, the offset that was sought says nothing any more."""
    await consumer.seek(HERE, 90)
    await fetch(consumer)
    await consumer.perform_seek()
    thread.fetches = [{HERE: run(100, 105)}]

    assert [(100, 105, 100)] == await fetch(consumer)


async def test_chunks_after_a_seek_are_told_apart(consumer, thread):
    """Chunks that were fetched before and after a seek carry different numbers."""
    thread.fetches = [{HERE: run(100, 105)}, {HERE: run(90, 99)}]
    (before,) = [chunk async for _, chunk in consumer.getmany(1.0)]
    await consumer.seek(HERE, 90)
    (after,) = [chunk async for _, chunk in consumer.getmany(1.0)]

    assert before.moves != after.moves


async def test_nothing_is_sought_in_a_partition_that_is_lost(consumer, thread):
    """A partition that a rebalance took is left alone."""
    thread.assigned = {THERE}
    await consumer.seek(HERE, 90)
    await fetch(consumer)

    assert [] == thread.seeks


async def test_what_is_sought_is_delivered_again(consumer):
    """After a seek, Faust does not take what comes for a redelivery."""
    consumer._read_offset[HERE] = 150
    await consumer.seek(HERE, 90)
    await fetch(consumer)

    assert consumer._read_offset[HERE] is None


async def test_nothing_is_committed_before_it_is_processed(consumer, thread):
    """Acknowledging a chunk commits nothing."""
    thread.fetches = [{HERE: run(100, 105)}]
    (chunk,) = [chunk async for _, chunk in consumer.getmany(1.0)]
    consumer.ack(chunk)
    tps = list(consumer._filter_tps_with_pending_acks())

    assert {} == consumer._filter_committable_offsets(tps)


async def test_what_is_processed_is_committed(consumer):
    """The offset after the last processed one is what a commit writes, for this partition alone."""
    consumer.processed(HERE, 105, 1)
    tps = list(consumer._filter_tps_with_pending_acks())

    assert {HERE: 106} == consumer._filter_committable_offsets(tps)


async def test_a_commit_never_goes_back(consumer):
    """What is committed already is not committed again, and nothing smaller is."""
    consumer._committed_offset[HERE] = 106
    consumer.processed(HERE, 105, 1)

    assert {} == consumer._filter_committable_offsets([HERE])


async def test_what_an_earlier_generation_processed_is_not_committed(consumer):
    """A chunk whose block is acknowledged after a rebalance is the next owner's to commit."""
    consumer.processed(HERE, 105, 0)

    assert [] == list(consumer._filter_tps_with_pending_acks())


async def test_a_rebalance_forgets_what_was_processed(consumer):
    """Under a new assignment nothing of the old one is committed, and nothing is sought."""
    consumer.processed(HERE, 105, 1)
    await consumer.seek(HERE, 90)
    consumer._on_partitions_revoked = lambda _: _nothing()
    await consumer.on_partitions_revoked({HERE, THERE})

    assert ([], {}) == (list(consumer._filter_tps_with_pending_acks()), consumer._wanted)


async def _nothing():
    """Do nothing."""


async def test_partitions_that_come_are_announced(consumer):
    """Whoever takes partitions over hears of them before anything is delivered, in the new generation."""
    heard = []
    consumer.app.successor = SimpleNamespace(assigned=heard.append)
    consumer._on_partitions_assigned = lambda *_: _nothing()
    consumer.app.on_rebalance_return = lambda: None
    await consumer.on_partitions_assigned({HERE}, 2)

    assert ([{HERE}], {HERE}) == (heard, consumer.owned)


async def test_partitions_that_go_are_handed_over_first(consumer):
    """What is acknowledged while partitions are handed over is committed before they are gone."""
    committed = []

    class Successor:
        async def hand_over(self):
            consumer.processed(HERE, 105, 1)

    async def commit(offsets):
        committed.append(offsets)
        return True

    async def revoke(_):
        await consumer.app._consumer_wait_empty(consumer, None)

    consumer.app.successor = Successor()
    consumer._commit_offsets = lambda offsets, **_: commit(offsets)
    consumer._on_partitions_revoked = revoke
    await consumer.on_partitions_revoked({HERE, THERE})

    assert [{HERE: 106}] == committed


async def test_a_hand_over_has_an_end(consumer):
    """What is never acknowledged holds up no rebalance and no stop for longer than half of the grace."""

    class Successor:
        async def hand_over(self):
            await asyncio.Event().wait()

    consumer.app.successor, consumer.app.grace_seconds = Successor(), 0.1
    await asyncio.wait_for(consumer.app._consumer_wait_empty(consumer, None), 10)


async def test_what_is_delivered_counts_as_taken(consumer, thread):
    """From delivery on the watchdog waits for the offset."""
    thread.fetches = [{HERE: run(100, 105)}]
    await fetch(consumer)

    assert "records up to offset 105" in consumer.app.progress.trouble(-1)


async def test_a_commit_is_progress(consumer, thread):
    """What Kafka has taken of the offsets, the watchdog hears."""
    thread.fetches = [{HERE: run(100, 105)}]
    thread.commit = lambda _: _true()
    await fetch(consumer)
    await consumer._commit({HERE: 106})

    assert "" == consumer.app.progress.trouble(-1)


async def test_a_held_partition_is_not_fetched(consumer):
    """A partition that is held is not asked for any more, and the others are."""
    consumer.hold(HERE)

    assert {THERE} == consumer._get_active_partitions()


async def test_a_fetcher_that_ended_quietly_is_noticed(consumer, thread):
    """A part of Faust that is gone without an error is a sentence for the watchdog; before it has begun it is none."""
    thread._consumer = SimpleNamespace(_coordinator=None)
    before = consumer.app.vital()
    consumer.app._fetcher._started.set()
    consumer.app._fetcher.set_shutdown()

    assert ("", "Faust fetches no more") == (before, consumer.app.vital())


async def test_a_client_that_left_the_group_quietly_is_noticed(consumer, thread):
    """So is a Kafka client whose place in the group is kept by nobody."""
    gone = asyncio.get_running_loop().create_future()
    thread._consumer = SimpleNamespace(_coordinator=SimpleNamespace(_coordination_task=gone))
    before = consumer.app.vital()
    gone.set_result(None)

    assert ("", "the Kafka client has left the group") == (before, consumer.app.vital())


async def test_a_rebalance_that_does_not_end_is_noticed(consumer, thread):
    """While partitions are on their way, that is said; the watchdog has the patience."""
    thread._consumer = SimpleNamespace(_coordinator=None)
    consumer.app.rebalancing = True

    assert "a rebalance does not end" == consumer.app.vital()


async def _true():
    """Done."""
    return True


async def test_full_buffers_are_a_short_wait(consumer, monkeypatch):
    """While every partition's buffer is full nothing is fetched, and nothing sleeps for a second."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(consumer, "sleep", sleep)
    consumer._active_partitions = set()

    assert [] == await fetch(consumer)
    assert [0.01] == slept
