"""Poll, gather, record, write, commit: in that order, always."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.dead_letter import Reason
from schemas.reading_block import Fate, MessageRow, NotABlock, Span, decode, encode
from schemas.topics import READINGS
from sinks import metrics
from sinks.partition import Partition
from sinks.progress import Progress
from sinks.settings import SinkSettings
from sinks.sink import Batch, Retryable, Sink

log = structlog.get_logger()

# confluent-kafka types even a consumed message's partition and offset as optional.
_Message = Any

POLL_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 10.0

_FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001 - librdkafka's name for a local error
    },
)


class Fenced(Exception):
    """The partition belongs to somebody else now; what was not committed is theirs to do again."""


class BlockConsumer:
    """Moves `readings` into a sink, every block once.

    Args:
        consumer: not subscribed yet, automatic commits off.
        sink: where batches go.
        settings: how they are made.
        topic_id: Kafka's id of `readings`.
        stopping: asked once a poll; true ends `run`.

    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        settings: SinkSettings,
        *,
        topic_id: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._sink = sink
        self._settings = settings
        self._topic_id = topic_id
        self._stopping = stopping
        self._owned: dict[int, Partition] = {}
        self.last_loop = time.monotonic()
        """When the loop last came round, by the monotonic clock: for the probe that tells a stuck process."""

    def run(self) -> None:
        """Consume until told to stop; what is gathered but not written then is left to the next owner."""
        self._consumer.subscribe(
            [READINGS], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        try:
            while not self._stopping():
                self.last_loop = time.monotonic()
                for message in self._consumer.consume(20, POLL_SECONDS):
                    self._take(message)
                self._write_due()
        finally:
            self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = []
        for found in consumer.committed(partitions, timeout=30):
            progress = Progress.decode(found.metadata)
            offset = found.offset if found.offset >= 0 else OFFSET_BEGINNING
            if progress.topic_id != self._topic_id:
                # The offset counts in a topic that is gone; what is stored of the raw topics still is.
                progress = Progress(topic_id=self._topic_id, stored=progress.stored)
                offset = OFFSET_BEGINNING
            self._owned[found.partition] = Partition(found.partition, max(offset, 0), progress)
            starts.append(TopicPartition(READINGS, found.partition, offset))
            log.info("partition assigned", partition=found.partition, offset=offset, pending=progress.pending)
        consumer.assign(starts)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Called inside a poll, so no insert is in flight: what is gathered can be dropped.
        for revoked in partitions:
            self._owned.pop(revoked.partition, None)
            log.info("partition revoked", partition=revoked.partition)

    def _take(self, message: _Message) -> None:
        error = message.error()
        if error is not None:
            if not error.retriable():
                raise KafkaException(error)
            return
        partition = self._owned.get(message.partition())
        if partition is None or message.offset() < partition.position:
            return
        partition.add(message.offset(), *self._read(message))

    def _read(self, message: _Message) -> tuple[Span, pa.RecordBatch]:
        try:
            return Span.of(message.headers()), decode(message.value() or b"")
        except NotABlock as error:
            return _unreadable(message, self._topic_id, str(error))

    def _write_due(self) -> None:
        buffered = sum(partition.bytes for partition in self._owned.values())
        metrics.BUFFERED.set(buffered)
        limits = {"rows": self._settings.batch_rows, "size": self._settings.batch_bytes}
        due = [p for p in self._owned.values() if p.due(**limits, seconds=self._settings.batch_seconds)]
        if not due and buffered > self._settings.buffer_bytes:
            due = [p for p in self._owned.values() if p.progress.pending is None]
            due = sorted(due, key=lambda p: p.bytes)[-1:]
        for partition in due:
            try:
                self._write(partition)
            except Fenced as fenced:
                metrics.FENCED.inc()
                log.warning("batch given up", partition=partition.number, reason=str(fenced))
                self._owned.pop(partition.number, None)

    def _write(self, partition: Partition) -> None:
        replayed = partition.progress.pending is not None
        batch, after = partition.batch()
        before = msgspec.structs.replace(partition.progress, pending=(batch.first, batch.last))
        self._commit(partition.number, batch.first, before)
        self._store(partition, batch)
        self._commit(partition.number, batch.last + 1, after)
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
            self._wait(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            if self._owned.get(partition.number) is not partition:
                raise Fenced("revoked while its insert was failing")

    def _wait(self, seconds: float) -> None:
        """Stay in the group while nothing can be taken: polling goes on, with every partition paused."""
        assigned = self._consumer.assignment()
        self._consumer.pause(assigned)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._stopping():
                raise Fenced("told to stop while its insert was failing")
            self.last_loop = time.monotonic()
            for message in self._consumer.consume(1, min(left, POLL_SECONDS)):
                self._take(message)
        self._consumer.resume([tp for tp in assigned if tp.partition in self._owned])

    def _commit(self, partition: int, offset: int, progress: Progress) -> None:
        target = TopicPartition(READINGS, partition, offset, progress.encode())
        while True:
            try:
                (result,) = self._consumer.commit(offsets=[target], asynchronous=False) or [target]
                error = result.error
            except KafkaException as raised:
                error = raised.args[0]
            if error is None:
                return
            if error.code() in _FENCED:
                raise Fenced(str(error))
            if not error.retriable() or self._stopping():
                raise KafkaException(error)
            log.warning("commit failed, will retry", partition=partition, error=str(error))
            self._wait(POLL_SECONDS)
            if partition not in self._owned:
                raise Fenced("revoked while its commit was failing")


def _unreadable(message: _Message, topic_id: str, error: str) -> tuple[Span, Any]:
    """A record that is no block, as a block of one dead letter: it is stored once like everything else."""
    offset = message.offset()
    time_ms = message.timestamp()[1]
    span = Span(
        topic=READINGS,
        topic_id=topic_id,
        partition=message.partition(),
        first=offset,
        last=offset,
        time=time_ms,
    )
    row = MessageRow(
        offset=offset,
        fate=Fate.DEAD_LETTER,
        logged_at=time_ms,
        dialect="",
        reason=Reason.UNDECODABLE,
        error=error,
        body=message.value() or b"",
    )
    return span, decode(encode([row]))
