"""Chunks: Faust events that carry a run of records of one partition, and offsets that are committed only when we say so.

Stock faust-streaming 0.15.3 spends about 60 µs on each record before an agent sees it, acknowledges what an agent failed
to process, and may deliver a record twice or leave one out around a rebalance. Here one event carries a run of records
(3 µs a record), and nothing counts as processed until `ChunkConsumer.processed` was called.

These internals of faust-streaming 0.15.3 and aiokafka 0.14.0 are overridden; tests/contract/test_faust_internals.py fails when one has moved:

- `App._new_transport`, `Transport.Consumer`: to put our consumer in place. A setting for the consumer class would do.
- `Consumer._new_consumer_thread`: to put our `processors.fetches.FetchTask` in place. A setting for its class would do.
- `Consumer.getmany`, `Consumer._wait_next_records`: to yield chunks, and not to sleep a second when buffers are full.
  Upstream: a batch-wise `getmany`.
- `Consumer._getmany`: to fetch nothing of a partition before its window is there. Upstream: a pause that lasts over the
  assignment.
- `Consumer.seek`, `Consumer.perform_seek`: stock Faust seeks from another thread, while a fetch or a delivery may be under
  way that undoes it. Upstream: seeks that the fetcher itself makes.
- `Consumer.ack`, `Consumer._new_offset`, `Consumer._should_commit`, `Consumer._filter_tps_with_pending_acks`,
  `Consumer._add_gap`: to commit what was processed instead of what was acknowledged. Upstream: public manual commits.
- `Consumer._commit`: to note what is committed, and the moment after, for tests that kill there. Upstream: a sensor's
  callback for it.
- `Consumer.on_partitions_assigned`, `Consumer.on_partitions_revoked`: to take partitions over, and to forget what the old
  assignment processed. Upstream: signals that carry the generation.
- `App._consumer_wait_empty`: stock Faust waits for every acknowledgement without an end, or not at all; here for as long as
  the grace allows, when the flow has been stopped on a rebalance and at the end. Upstream: a timeout of `stream_wait_empty`.
- `App.on_stop`: to know when the grace begins.
- `App._create_directories`: Faust makes folders for tables, which we have none of, in a working folder that may be read-only.
  Upstream: to make them when a table is there.
- `App._fetcher`, `AIOKafkaConsumerThread._consumer` and its `_coordinator._coordination_task`, `App.rebalancing`: read only, to notice
  that a part has ended quietly or never finishes. mode drops a task that was cancelled without a word. Upstream: to crash then.
- `Schema.compile`: to hand a chunk to the stream undecoded.
- `aiokafka.consumer.fetcher.PartitionRecords._consumer_record`: to deliver a record as aiokafka's reader made it, which is all of
  a `processors.refine.RawRecord`. Its copy in a dataclass of eleven fields is an eighth of what a processor does for a
  message. Upstream: a setting for the class of records.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, cast

import faust
import structlog
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

from processors.fetches import FetchTask
from processors.progress import Progress
from runtime.faults import Moment, reached

log = structlog.get_logger()

BUFFERS_FULL_SECONDS = 0.01


class Successor(Protocol):
    """Who is told of partitions that come and go."""

    def assigned(self, tps: Iterable[Any]) -> None:
        """These are ours, and no other."""

    def awaited(self) -> frozenset[Any]:
        """Those of them that are not ready yet: delivered now, they would keep the others waiting."""

    async def hand_over(self) -> None:
        """Return when what is in flight is acknowledged; no more will be delivered."""

    def troubles(self) -> list[str]:
        """A sentence for each partition that stands still; any thread may ask."""


class Chunk(ConsumerMessage):
    """A run of records of one partition, as one Faust message; its value is the list of records."""

    first: int
    """Offset of the first record; `offset` is that of the last."""
    since: int
    """Kafka has nothing from this offset up to `first`. Below `first` only where a seek to it had just been made."""
    moves: int
    """Differs from an earlier chunk's if delivery was moved to another offset in between."""


class ChunkSchema(faust.Schema):  # type: ignore[type-arg]  # not subscriptable at run time
    """Leaves a chunk as it is."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Faust's decoder of a topic: message in, event out."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust passes it
            return app.create_event(None, message.value, None, message)

        return decode


class ChunkConsumer(Consumer):
    """Faust's consumer, delivering chunks of the app's chunk topics."""

    app: "ChunkApp"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._processed: dict[Any, int] = {}
        self._wanted: dict[Any, int] = {}
        self._sought: dict[Any, int] = {}
        self._moves = 0
        self._owned: frozenset[Any] = frozenset()
        super().__init__(*args, **kwargs)

    @property
    def generation(self) -> int:
        """Of the group, as of now."""
        generation: int = self.app.consumer_generation_id
        return generation

    def processed(self, tp: Any, offset: int, generation: int) -> None:
        """Everything up to and including the offset has had its effect, and may be committed.

        What was processed for an earlier generation of the group is not ours to commit any more.
        """
        if generation == self.generation:
            self._processed[tp] = offset + 1

    @property
    def owned(self) -> frozenset[Any]:
        """The partitions that are assigned to us."""
        return self._owned

    def hold(self, tp: Any) -> None:
        """Fetch no more of this partition, until the next rebalance."""
        self.pause_partitions([tp])

    async def commit_processed(self) -> None:
        """Commit everything that is processed by now, also what a commit under way has left out."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    async def committed(self, tp: Any) -> int | None:
        """The group's committed offset of a partition, asked of Kafka; None if there is none that can be of this log."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001 - see the module's docstring
        partition = TopicPartition(tp.topic, tp.partition)
        offset: int | None = await self._thread.call_thread(consumer.committed, partition)
        ends = await self._thread.call_thread(consumer.end_offsets, [partition])
        if offset is None or offset <= ends[partition]:
            return offset
        # A commit that was on its way when the topic was deleted and created again; or the log has lost its end. Starting
        # over repeats work and nothing else; going on there would skip what is logged until then.
        log.error("beyond the log's end, starting over", tp=str(tp), committed=offset, end=ends[partition])
        return None

    async def seek(self, partition: Any, offset: int) -> None:
        """Deliver from this offset on, before long.

        The task that fetches does it, before its next fetch: no fetch and no delivery can cross it.
        """
        self._wanted[partition] = offset

    async def _seek_wanted(self) -> None:
        while self._wanted:
            tp, offset = self._wanted.popitem()
            if await self._thread.call_thread(self._seek_assigned, tp, offset):
                self._read_offset[tp] = None
                self._sought[tp] = offset
                self._moves += 1

    async def _seek_assigned(self, tp: Any, offset: int) -> bool:
        # In one step of the Kafka client's own queue, where neither a rebalance nor a fetch can come in between.
        if tp not in self._thread.assignment():
            return False
        self._thread.seek(tp, offset)
        return True

    async def perform_seek(self) -> None:
        """Deliver every partition from its committed offset on; what was sought before no longer holds."""
        await super().perform_seek()
        self._sought.clear()
        self._moves += 1

    def _new_consumer_thread(self) -> FetchTask:
        return FetchTask(self, loop=self.loop, beacon=self.beacon)

    def _is_chunked(self, tp: Any) -> bool:
        return tp.topic in self.app.chunk_topics

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        ready = active_partitions
        if active_partitions is not None and self.app.successor is not None:
            ready = active_partitions - self.app.successor.awaited()
        if not ready and active_partitions:
            await self.sleep(BUFFERS_FULL_SECONDS)
            return {}
        return await super()._getmany(ready, timeout)

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        if self.flow_active and not self.app.client_only and not self._get_active_partitions():
            await self.sleep(BUFFERS_FULL_SECONDS)
            return {}, self._get_active_partitions()
        return await super()._wait_next_records(timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch from Kafka; yields (partition, chunk).

        What a rebalance interrupts is dropped: it ends with a seek to the committed offsets.
        """
        await self._seek_wanted()
        generation, moves = self.generation, self._moves
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        sought = {tp: self._sought.pop(tp, None) for tp in records}
        for tp, run in records.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            for start in range(0, len(run), self.app.chunk_messages):
                if not self.flow_active or self.generation != generation:
                    return
                # Only now: a partition that is lost has no end to ask for.
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                chunk = self._chunk(tp, run[start : start + self.app.chunk_messages], generation)
                chunk.moves = moves
                if start == 0 and (since := sought[tp]) is not None:
                    chunk.since = min(since, chunk.first)
                self.app.progress.taken(tp, chunk.offset + 1)
                yield tp, chunk

    def _chunk(self, tp: Any, records: list[Any], generation: int) -> Chunk:
        last = records[-1]
        chunk = Chunk(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            cast("Any", records),
            None,
            0,
            0,
            TP(tp.topic, tp.partition),
            generation_id=generation,
        )
        chunk.first = chunk.since = records[0].offset
        return chunk

    def ack(self, message: Any) -> bool:
        """Let go of a message; says nothing about whether its effect is there."""
        if not isinstance(message, Chunk):
            return bool(super().ack(message))
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Any]:
        yield from (tp for tp in super()._filter_tps_with_pending_acks(topics) if not self._is_chunked(tp))
        yield from (tp for tp in self._processed if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: Any) -> int | None:
        offset: int | None = self._processed.get(tp) if self._is_chunked(tp) else super()._new_offset(tp)
        return offset

    def _should_commit(self, tp: Any, offset: int) -> bool:
        # Also backwards: see `committed`.
        if self._is_chunked(tp):
            return offset != self._committed_offset[tp]
        return bool(super()._should_commit(tp, offset))

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        if not self._is_chunked(tp):
            await super()._add_gap(tp, offset_from, offset_to)

    async def _commit(self, offsets: Any) -> bool:
        committed = bool(await super()._commit(offsets))
        reached(Moment.OFFSETS_COMMITTED)
        if committed:
            for tp, offset in offsets.items():
                self.app.progress.committed(tp, offset)
        return committed

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Hand over; then nothing of the old assignment may be committed under a new one."""
        await super().on_partitions_revoked(revoked)
        self._owned = frozenset()
        self._processed.clear()
        self._wanted.clear()
        self.app.progress.forget()

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        """Take over, before anything is delivered."""
        self._owned = frozenset(assigned)
        if self.app.successor is not None:
            self.app.successor.assigned(self._owned)
        await super().on_partitions_assigned(assigned, generation_id)


def _as_it_was_read(_self: PartitionRecords, _tp: Any, record: Any) -> Any:
    return record


class ChunkTransport(Transport):
    """Faust's Kafka transport with our consumer."""

    Consumer = ChunkConsumer


class ChunkApp(faust.App):
    """A Faust app whose `chunk_topics` are delivered in chunks of up to `chunk_messages` records."""

    chunk_topics: frozenset[str] = frozenset()
    chunk_messages: int = 2000
    fetch_seconds: float = 0.1
    grace_seconds: float = 20.0
    """Half of it is for what is in flight."""
    leaving: Callable[[], None] | None = None
    """Called when the process was told to stop, or has to."""
    successor: Successor | None = None
    progress: Progress

    def _new_transport(self) -> ChunkTransport:
        # Of all consumers in this process: there is no other of aiokafka's.
        PartitionRecords._consumer_record = _as_it_was_read  # noqa: SLF001 - see the module's docstring
        return ChunkTransport(self.conf.broker_consumer, self)

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:  # noqa: ARG002 - Faust passes it
        if self.successor is None:
            return
        try:
            async with asyncio.timeout(self.grace_seconds / 2):
                await self.successor.hand_over()
                await consumer.commit_processed()
        except TimeoutError:
            log.warning("blocks in flight were not acknowledged in time; whoever comes next does them again")

    def _create_directories(self) -> None:
        """No state is on disk."""

    async def on_stop(self) -> None:
        """Say that the grace begins."""
        if self.leaving is not None:
            self.leaving()
        await super().on_stop()

    def vital(self) -> str:
        """A sentence if a part of Faust has ended quietly, or does not finish; else ""."""
        if self._consumer is None or self.should_stop:
            return ""
        if self._fetcher.started and self._fetcher._shutdown.is_set():  # noqa: SLF001 - see the module's docstring
            return "Faust fetches no more"
        client = cast("ChunkConsumer", self._consumer)._thread._consumer  # noqa: SLF001 - see the module's docstring
        # There is no coordinator before the client has started.
        coordinator = client and client._coordinator  # noqa: SLF001 - see the module's docstring
        if coordinator and coordinator._coordination_task.done():  # noqa: SLF001 - see the module's docstring
            return "the Kafka client has left the group"
        return "a rebalance does not end" if self.rebalancing else ""
