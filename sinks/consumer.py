"""Poll, gather, record, write, commit: in that order, always."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from runtime.faults import Moment, reached
from schemas.reading_block import NotABlock, Span, decode
from schemas.topics import READINGS
from sinks import kafka_errors, metrics
from sinks.partition import Partition
from sinks.progress import Progress
from sinks.settings import SinkSettings
from sinks.sink import Batch, Retryable, Sink
from sinks.unreadable import unreadable

log = structlog.get_logger()

# confluent-kafka types even a consumed message's partition and offset as optional.
_Message = Any

POLL_SECONDS = 0.1
POLL_BLOCKS = 20
LONGEST_BACKOFF_SECONDS = 10.0


class Fenced(Exception):
    """The partition belongs to somebody else now; what was not committed is theirs to do again."""


class Stranded(RuntimeError):
    """Going on would lose or repeat readings; a sentence for the operator."""


class BlockConsumer:
    """Moves `readings` into a sink, every block once.

    Args:
        consumer: not subscribed yet, automatic commits off.
        sink: where batches go.
        settings: how they are made.
        topic_id: Kafka's id of `readings`.
        stopping: asked once a poll; true ends `run`.
        monotonic: the clock, in seconds.

    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        settings: SinkSettings,
        *,
        topic_id: str,
        stopping: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._sink = sink
        self._settings = settings
        self._topic_id = topic_id
        self._stopping = stopping
        self._monotonic = monotonic
        self._owned: dict[int, Partition] = {}
        self.last_loop = monotonic()
        """When the loop last came round, by the clock: for the probe that tells a stuck process."""

    def run(self) -> None:
        """Consume until told to stop; what is gathered but not written then is left to the next owner."""
        self._consumer.subscribe(
            [READINGS], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        try:
            while not self._stopping():
                self._poll(POLL_BLOCKS, POLL_SECONDS)
                while (partition := self._next()) is not None and not self._stopping():
                    self._write_or_give_up(partition)
                    # However many are due: a member that does not poll is put out of its group.
                    self._poll(1, 0)
        finally:
            self._consumer.close()

    def _poll(self, blocks: int, seconds: float) -> None:
        self.last_loop = self._monotonic()
        for message in self._consumer.consume(blocks, seconds):
            self._take(message)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = []
        for found in consumer.committed(partitions, timeout=30):
            progress = self._restored(found)
            offset = found.offset if found.offset >= 0 else OFFSET_BEGINNING
            if progress.topic_id != self._topic_id:
                # The offset counts in a topic that is gone; what is stored of the raw topics still is.
                progress = Progress(topic_id=self._topic_id, stored=progress.stored)
                offset = OFFSET_BEGINNING
            self._owned[found.partition] = Partition(
                found.partition, max(offset, 0), progress, monotonic=self._monotonic
            )
            starts.append(TopicPartition(READINGS, found.partition, offset))
            log.info("partition assigned", partition=found.partition, offset=offset, pending=progress.pending)
        consumer.assign(starts)
        # A partition that was paused when it was revoked comes back paused.
        consumer.resume(starts)

    def _restored(self, found: TopicPartition) -> Progress:
        if found.error is not None:
            raise KafkaException(found.error)
        try:
            progress = Progress.decode(found.metadata)
        except ValueError as error:
            raise Stranded(self._foreign(found)) from error
        if found.offset >= 0 and not progress.topic_id:
            raise Stranded(self._foreign(found))
        return progress

    def _foreign(self, found: TopicPartition) -> str:
        return (
            f"group {self._settings.group}, {READINGS} [{found.partition}]: offset {found.offset} was not committed by a"
            f" sink (metadata {found.metadata!r:.200}), so what is stored is not known; a sink needs a group of its own,"
            " and its offsets cannot be reset by hand"
        )

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Called inside a poll, so no insert is in flight: what is gathered can be dropped.
        for revoked in partitions:
            self._owned.pop(revoked.partition, None)
            log.info("partition revoked", partition=revoked.partition)

    def _take(self, message: _Message) -> None:
        if message.error() is not None:
            self._judge(message.error(), message.partition())
            return
        partition = self._owned.get(message.partition())
        if partition is None or message.offset() < partition.position:
            return
        partition.add(message.offset(), *self._read(message))

    def _judge(self, error: KafkaError, number: int) -> None:
        """Raise, unless librdkafka goes on by itself."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's name
            partition = self._owned.get(number)
            offset = "the next offset" if partition is None else f"offset {partition.position}"
            raise Stranded(
                f"{READINGS} [{number}]: {offset} is not on the log: its blocks were deleted before they were stored, or"
                f" the topic was created anew ({error.str()})"
            )
        if error.code() not in kafka_errors.WEATHER:
            raise KafkaException(error)
        log.warning("Kafka", partition=number, error=str(error))

    def _read(self, message: _Message) -> tuple[Span, pa.RecordBatch]:
        try:
            return Span.of(message.headers()), decode(message.value() or b"")
        except NotABlock as error:
            return unreadable(message, self._topic_id, str(error))

    def _next(self) -> Partition | None:
        """What to write now: of all that is due what waits the longest; the fullest, if too much is held in all."""
        held = self._owned.values()
        buffered = sum(partition.bytes for partition in held)
        metrics.BUFFERED.set(buffered)
        settings = self._settings
        if buffered > settings.buffer_bytes:
            some = [p for p in held if p.due(rows=0, size=0, seconds=0)]
            return max(some, key=lambda p: p.bytes, default=None)
        limits = {"rows": settings.batch_rows, "size": settings.batch_bytes}
        due = [p for p in held if p.due(**limits, seconds=settings.batch_seconds)]
        return min(due, key=lambda p: p.since, default=None)

    def _write_or_give_up(self, partition: Partition) -> None:
        try:
            self._write(partition)
        except Fenced as fenced:
            metrics.FENCED.inc()
            log.warning("batch given up", partition=partition.number, reason=str(fenced))
            if self._owned.get(partition.number) is partition:
                del self._owned[partition.number]

    def _write(self, partition: Partition) -> None:
        replayed = partition.progress.pending is not None
        batch, after = partition.batch(rows=self._settings.batch_rows, size=self._settings.batch_bytes)
        before = msgspec.structs.replace(partition.progress, pending=(batch.first, batch.last))
        reached(Moment.BATCH_GATHERED)
        self._commit(partition, batch.first, before)
        reached(Moment.RANGE_RECORDED)
        self._store(partition, batch)
        reached(Moment.BATCH_STORED)
        self._commit(partition, batch.last + 1, after)
        reached(Moment.BATCH_COMMITTED)
        partition.done(batch, after)
        metrics.BATCHES.inc()
        metrics.REPLAYED.inc(int(replayed))
        for block in batch.blocks:
            metrics.STORED_TIME.labels(block.span.topic).set(block.span.time / 1000)

    def _store(self, partition: Partition, batch: Batch) -> None:
        backoff = 0.25
        while True:
            try:
                return self._sink.write(batch)
            except Retryable as error:
                metrics.RETRIES.labels(error.code).inc()
                log.warning(
                    "insert failed, will retry", partition=batch.partition, code=error.code, error=str(error)
                )
            self._wait(partition, backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def _wait(self, partition: Partition, seconds: float) -> None:
        """Stay in the group while nothing can be taken: polling goes on, with every partition paused.

        Raises:
            Fenced: the partition is not ours any more, even if it is ours again: somebody may have written meanwhile.

        """
        deadline = self._monotonic() + seconds
        while (left := deadline - self._monotonic()) > 0:
            if self._stopping():
                raise Fenced("told to stop while it could not be written")
            self._consumer.pause(self._consumer.assignment())
            self._poll(1, min(left, POLL_SECONDS))
            if self._owned.get(partition.number) is not partition:
                break
        self._consumer.resume(self._consumer.assignment())
        if self._owned.get(partition.number) is not partition:
            raise Fenced("revoked while it could not be written")

    def _commit(self, partition: Partition, offset: int, progress: Progress) -> None:
        target = TopicPartition(READINGS, partition.number, offset, progress.encode())
        while True:
            try:
                (result,) = self._consumer.commit(offsets=[target], asynchronous=False) or [target]
                error = result.error
            except KafkaException as raised:
                error = raised.args[0]
            if error is None:
                return
            if error.code() in kafka_errors.FENCED:
                raise Fenced(str(error))
            if error.code() not in kafka_errors.WEATHER:
                raise KafkaException(error)
            log.warning("commit failed, will retry", partition=partition.number, error=str(error))
            self._wait(partition, POLL_SECONDS)
