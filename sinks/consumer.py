"""Poll, gather, record, write, commit: in that order, always."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from runtime.faults import Moment, reached
from schemas.topics import READINGS
from sinks import kafka_errors, metrics
from sinks.dead_letters import DeadLetters
from sinks.delivery import Delivery
from sinks.incoming import read
from sinks.partition import Partition
from sinks.progress import Pending, Progress
from sinks.recovery import recover, restored
from sinks.settings import SinkSettings
from sinks.sink import Sink, SinkError
from sinks.stranded import Stranded

log = structlog.get_logger()

# confluent-kafka types even a consumed message's partition and offset as optional.
_Message = Any

POLL_SECONDS = 0.1
POLL_BLOCKS = 20

SKIP_LOST = "HEADRACE_SINK__SKIP_LOST=true goes on behind them; see docs/sink.md, Exit codes"


class Fenced(Exception):
    """The partition belongs to somebody else now; what was not committed is theirs to do again."""


class BlockConsumer:
    """Moves `readings` into a sink, every block once.

    Holds at most `buffer_bytes` of blocks, and beyond it one batch and the blocks of one poll, whatever the sink does.

    Args:
        consumer: not subscribed yet, automatic commits off.
        sink: where batches go.
        dead_letters: where messages go that the sink does not take.
        settings: how they are made.
        topic_id: asks Kafka for its id of `readings` as of now.
        stopping: asked once a poll; true ends `run`.
        monotonic: the clock, in seconds.

    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        dead_letters: DeadLetters,
        settings: SinkSettings,
        *,
        topic_id: Callable[[], str],
        stopping: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._sink = sink
        self._dead_letters = dead_letters
        self._settings = settings
        self._look = topic_id
        self._topic_id = ""
        self._stopping = stopping
        self._monotonic = monotonic
        self._owned: dict[int, Partition] = {}
        self._paused: frozenset[int] = frozenset()
        self.trouble = ""
        """Why nothing is written now: a sentence, or ""."""
        self.last_loop = monotonic()
        """When the loop last came round, by the clock: for the probe that tells a stuck process."""

    def run(self) -> None:
        """Consume until told to stop; what is gathered but not written then is left to the next owner."""
        self._consumer.subscribe(
            [READINGS], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        try:
            while not self._stopping():
                self._throttle()
                self._gather(self._idle())
                while (partition := self._next()) is not None and not self._stopping():
                    self._write_or_give_up(partition)
                    # However many are due: a member that does not poll is put out of its group.
                    self._throttle()
                    self._gather(0)
        finally:
            self._consumer.close()

    def _gather(self, seconds: float) -> None:
        """Poll, and again while there is more and nothing is full: age alone would make small batches of a backlog."""
        until = self._monotonic() + self._settings.batch_seconds
        while self._poll(POLL_BLOCKS, seconds) >= POLL_BLOCKS and not self._stopping():
            full = self._held() > self._settings.buffer_bytes or any(self._due(math.inf))
            if full or self._monotonic() >= until:
                return
            seconds = 0

    def _poll(self, blocks: int, seconds: float) -> int:
        """How many records came."""
        # What comes now may have waited since the poll before: as long as an insert took.
        since, self.last_loop = self.last_loop, self._monotonic()
        messages = self._consumer.consume(blocks, seconds)
        for message in messages:
            self._take(message, since)
        return len(messages)

    def _idle(self) -> float:
        """Seconds for which a poll may wait: no longer than until a batch is old enough."""
        rests = (partition.rest(self._settings.batch_seconds) for partition in self._owned.values())
        return max(0.0, min((POLL_SECONDS, *rests)))

    def _due(self, seconds: float) -> Iterator[Partition]:
        """Each of which a batch should be written now, at this age or when it is full."""
        limits = {"rows": self._settings.batch_rows, "size": self._settings.batch_bytes}
        return (p for p in self._owned.values() if p.due(**limits, seconds=seconds))

    def _throttle(self) -> None:
        """Take nothing more while too much is held, but what completes a recorded batch: the one nearest to its end.

        Batches that earlier owners recorded are as large as they were then, and there may be one for each partition.
        """
        if self._held() <= self._settings.buffer_bytes:
            self._pause(frozenset())
            return
        incomplete = [p for p in self._owned.values() if not p.complete]
        fed = max(incomplete, key=lambda p: p.bytes, default=None)
        self._pause(frozenset(n for n, p in self._owned.items() if p is not fed))

    def _pause(self, numbers: frozenset[int]) -> None:
        """Have exactly these of our partitions paused."""
        for call, some in (
            (self._consumer.resume, self._paused - numbers),
            (self._consumer.pause, numbers - self._paused),
        ):
            if mine := [TopicPartition(READINGS, n) for n in sorted(some & self._owned.keys())]:
                call(mine)
        self._paused = numbers

    def _held(self) -> int:
        held = sum(partition.held for partition in self._owned.values())
        metrics.BUFFERED.set(held)
        return held

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = []
        if partitions:
            self._check_topic()
        for found in consumer.committed(partitions, timeout=30):
            offset, progress, known = self._start(found)
            self._owned[found.partition] = Partition(
                found.partition,
                max(offset, 0),
                progress,
                known=known,
                epoch=self._settings.epoch,
                monotonic=self._monotonic,
            )
            starts.append(TopicPartition(READINGS, found.partition, offset))
            log.info("partition assigned", partition=found.partition, offset=offset, pending=progress.pending)
        consumer.assign(starts)
        # A partition that was paused when it was revoked comes back paused.
        consumer.resume(starts)
        self._paused -= {start.partition for start in starts}

    def _check_topic(self) -> None:
        """Offsets count in one topic: another one of the same name is for a sink that begins with it."""
        found = self._look()
        if self._topic_id not in {"", found}:
            raise Stranded(
                f"{READINGS} was created anew while this sink ran (id {self._topic_id} then, {found} now); started again it"
                " begins with the new one"
            )
        self._topic_id = found

    def _start(self, found: TopicPartition) -> tuple[int, Progress, bool]:
        """Where to go on, with what progress, and whether that says all that is stored."""
        progress = restored(found, self._settings.group)
        if progress.topic_id != self._topic_id:
            # Nothing was committed, or it is gone with the age or the deletion of a topic. What it said of raw topics still holds.
            return OFFSET_BEGINNING, Progress(topic_id=self._topic_id, stored=progress.stored), False
        if self._settings.skip_lost:
            first, _ = self._consumer.get_watermark_offsets(
                TopicPartition(READINGS, found.partition), timeout=30
            )
            if found.offset < first:
                lost = {"first": found.offset, "last": first - 1, "pending": progress.pending}
                log.error("blocks lost", partition=found.partition, **lost)
                return first, msgspec.structs.replace(progress, pending=None), False
        return found.offset, progress, True

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Called inside a poll, so no insert is in flight: what is gathered can be dropped.
        for revoked in partitions:
            self._owned.pop(revoked.partition, None)
            log.info("partition revoked", partition=revoked.partition)

    def _take(self, message: _Message, since: float) -> None:
        if message.error() is not None:
            self._judge(message.error(), message.partition())
            return
        partition = self._owned.get(message.partition())
        if partition is None or message.offset() < partition.position:
            return
        block = read(message, self._topic_id, skip_lost=self._settings.skip_lost)
        partition.add(block, len(message), since=since)

    def _judge(self, error: KafkaError, number: int) -> None:
        """Raise, unless librdkafka goes on by itself."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's name
            partition = self._owned.get(number)
            offset = "the next offset" if partition is None else f"offset {partition.position}"
            raise Stranded(
                f"{READINGS} [{number}]: {offset} is not on the log: its blocks were deleted before they were stored, or"
                f" the topic was created anew ({error.str()}); {SKIP_LOST}"
            )
        if error.code() not in kafka_errors.WEATHER:
            raise KafkaException(error)
        log.warning("Kafka", partition=number, error=str(error))

    def _next(self) -> Partition | None:
        """What to write now: of all that is due what waits the longest; the fullest, if too much is held in all."""
        if self._held() > self._settings.buffer_bytes:
            some = [p for p in self._owned.values() if p.due(rows=0, size=0, seconds=0)]
            return max(some, key=lambda p: p.held, default=None)
        return min(self._due(self._settings.batch_seconds), key=lambda p: p.since, default=None)

    def _write_or_give_up(self, partition: Partition) -> None:
        try:
            self._write(partition)
            self.trouble = ""
        except Fenced as fenced:
            self.trouble = ""
            metrics.FENCED.inc()
            log.warning("batch given up", partition=partition.number, reason=str(fenced))
            if self._owned.get(partition.number) is partition:
                del self._owned[partition.number]

    def _write(self, partition: Partition) -> None:
        keeper, began = _Keeper(self, partition), self._monotonic()
        if not partition.known:
            recover(partition, self._sink, keeper)
            return  # and come back after a poll: these were requests enough
        replayed = partition.progress.pending is not None
        pending = partition.pending(rows=self._settings.batch_rows, size=self._settings.batch_bytes)
        batch, after = partition.batch(pending)
        for sentence in partition.lost(batch):
            self._lose(sentence)
        reached(Moment.BATCH_GATHERED)
        keeper.record(pending)
        reached(Moment.RANGE_RECORDED)
        Delivery(
            self._sink,
            self._dead_letters,
            keeper,
            doubt=self._settings.insert_timeout,
            monotonic=self._monotonic,
        ).deliver(batch, pending, replayed=replayed)
        reached(Moment.BATCH_STORED)
        self.commit(partition, batch.last + 1, after)
        reached(Moment.BATCH_COMMITTED)
        partition.done(batch, after, since=began)
        metrics.BATCHES.inc()
        metrics.REPLAYED.inc(int(replayed))
        for block in batch.blocks:
            metrics.STORED_TIME.labels(block.span.topic).set(block.span.time / 1000)

    def _lose(self, sentence: str) -> None:
        """Raise, unless told to go on behind what is lost."""
        if not self._settings.skip_lost:
            raise Stranded(f"{sentence}; {SKIP_LOST}")
        log.error("blocks lost", reason=sentence)

    def wait(self, partition: Partition, seconds: float) -> None:
        """Stay in the group while nothing can be taken: poll, at least once, with every partition paused.

        Raises:
            Fenced: the partition is not ours any more, even if it is ours again: somebody may have written meanwhile.

        """
        deadline = self._monotonic() + seconds
        while True:
            if self._stopping():
                raise Fenced("told to stop while it could not be written")
            self._pause(frozenset(self._owned))
            self._poll(1, min(max(0.0, deadline - self._monotonic()), POLL_SECONDS))
            if self._owned.get(partition.number) is not partition:
                raise Fenced("revoked while it could not be written")
            if self._monotonic() >= deadline:
                return

    def commit(self, partition: Partition, offset: int, progress: Progress) -> None:
        """Commit an offset with this progress.

        Raises:
            Fenced: the partition is somebody else's.
            KafkaException: Kafka refuses for another reason.

        """
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
            self.wait(partition, POLL_SECONDS)


class _Keeper:
    """Says what a delivery decides and waits for, for as long as its partition is ours."""

    def __init__(self, consumer: BlockConsumer, partition: Partition) -> None:
        self._consumer = consumer
        self._partition = partition

    def record(self, pending: Pending) -> None:
        """See `sinks.delivery.Keeper.record`."""
        progress = msgspec.structs.replace(self._partition.progress, pending=pending)
        self._consumer.commit(self._partition, pending.first, progress)

    def hold(self, error: SinkError, seconds: float) -> None:
        """See `sinks.delivery.Keeper.hold`."""
        where = f"{READINGS} [{self._partition.number}]"
        metrics.RETRIES.labels(error.code).inc()
        metrics.HELD.labels(error.code).set(1)
        log.warning("nothing is written, will retry", partition=where, code=error.code, error=str(error))
        self._consumer.trouble = f"{where} cannot be written: {error}"
        try:
            self._consumer.wait(self._partition, seconds)
        finally:
            metrics.HELD.labels(error.code).set(0)

    def breathe(self) -> None:
        """See `sinks.delivery.Keeper.breathe`."""
        self._consumer.wait(self._partition, 0)
