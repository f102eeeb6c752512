"""Rebuild a de-duplication window from what was emitted: the blocks in `readings`."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processors import metrics
from processors.dedupe import Allowance, Window
from processors.refine import Source
from runtime.settings import KafkaSettings
from schemas.reading_block import Fate, NotABlock, Span, select
from schemas.topics import READINGS

log = structlog.get_logger()

ANSWER_SECONDS = 60
"""How long Kafka may say nothing before a rebuild is given up."""

STEP_SECONDS = 0.2
"""How soon a rebuild notices that nobody wants it any more."""

QUEUED_BYTES = 16 << 20
"""Of blocks that are fetched ahead."""

T = TypeVar("T")


class RebuildFailed(RuntimeError):
    """Kafka stopped answering in the middle of it. Another attempt may succeed."""


class Abandoned(RuntimeError):
    """Nobody wants the window any more."""


def rebuild(
    kafka: KafkaSettings,
    source: Source,
    committed: int | None,
    *,
    seconds: int,
    abandoned: threading.Event,
    allowance: Allowance,
) -> Window:
    """The window as it was when the raw record at the committed offset was about to be processed.

    Reads the blocks of this raw partition that are young enough to matter, up to the log's present end. Nothing at or behind
    the committed offset is remembered: it is about to be processed, again perhaps, and must not meet itself. Of that, only
    the dead letters are noted. Blocking: call it in a thread.

    Raises:
        RebuildFailed: Kafka did not answer, or refused.
        Abandoned: the event was set meanwhile; within a second.

    """
    began = time.perf_counter()
    reading = _Rebuild(kafka, source, allowance.window(seconds=seconds), abandoned, allowance)
    try:
        reading.run(committed)
    except KafkaException as error:
        raise RebuildFailed(str(error)) from error
    took = time.perf_counter() - began
    metrics.REBUILD_SECONDS.observe(took)
    metrics.REBUILT.inc(len(reading.window))
    log.info(
        "window rebuilt",
        topic=source.topic,
        partition=source.partition,
        identities=len(reading.window),
        blocks=reading.blocks,
        seconds=round(took, 3),
        identities_per_second=round(len(reading.window) / took),
    )
    return reading.window


def forget_early(allowance: Allowance) -> None:
    """Keep to the allowance, and say what that cost."""
    if forgotten := allowance.enforce():
        metrics.FORGOTTEN.inc(forgotten)
        log.warning("identities were forgotten before their time, for lack of room", identities=forgotten)


@dataclass(slots=True)
class _Rebuild:
    kafka: KafkaSettings
    source: Source
    window: Window
    abandoned: threading.Event
    allowance: Allowance
    emitted: int = -1
    """The greatest offset that was emitted so far."""
    blocks: int = 0

    def run(self, committed: int | None) -> None:
        raw = TopicPartition(self.source.topic, self.source.partition)
        with self._consumer() as consumer:
            low, high = self._answer(lambda step: consumer.get_watermark_offsets(raw, timeout=step))
            if high == 0:
                return
            before = max(low, committed or 0)
            since = self._since(low, high, before)
            blocks = TopicPartition(READINGS, self.source.partition, since)
            start = self._first_at(consumer, blocks)
            end = self._answer(lambda step: consumer.get_watermark_offsets(blocks, timeout=step))[1]
            if not 0 <= start < end:
                return
            consumer.assign([TopicPartition(READINGS, self.source.partition, start)])
            for message in self._records(consumer, end):
                self.remember(message, before)
                forget_early(self.allowance)

    def _since(self, low: int, high: int, before: int) -> int:
        """A time of the log before which no block matters, in milliseconds since 1970.

        It is that of the record that comes next, less the window. Where that record is not there yet, the last one stands for
        it: whatever comes has a later time, or leaves the log's time as it is. What matters to a record was emitted in a block
        whose Kafka timestamp, the log's time at its last record, is not less than that of what it holds. A broker's clock
        that was set back makes the log's time greater than the record's, so that too much is read and never too little.
        If retention has left no record at all, everything is read.
        """
        if low == high:
            return 0
        at = TopicPartition(self.source.topic, self.source.partition, max(low, min(before, high - 1)))
        # A consumer of its own, that does not fetch ahead megabytes that nobody reads.
        with self._consumer(**{"queued.min.messages": 1, "fetch.message.max.bytes": 1024}) as consumer:
            consumer.assign([at])
            message = next(self._records(consumer, at.offset + 1))
        return self.window.reaches_back_to(message.timestamp()[1])

    def remember(self, message: Any, before: int) -> None:
        """Take a block into the window, as far as it is of this raw partition.

        Of a message that was emitted twice the first emission counts, as it does for the sink.
        """
        try:
            span = Span.of(message.headers())
            ours = (span.topic, span.topic_id) == (self.source.topic, self.source.topic_id)
            if not ours or span.last <= self.emitted:
                return
            columns = select(message.value() or b"", ("offset", "logged_at", "identity", "fate"))
        except NotABlock:
            return  # the sink counts it
        whole = self.emitted < span.first and span.last < before
        if whole and self.window.fills_at(span.time):
            stored = columns.column("identity").filter(_stored(columns))
            self.window.remember_all(_packed(stored))
        else:
            self._one_by_one(columns, before)
        if span.last < before:
            self.window.advance(span.time)
        self.emitted = span.last
        self.blocks += 1

    def _one_by_one(self, columns: pa.RecordBatch, before: int) -> None:
        values = [columns.column("offset"), columns.column("logged_at").cast("int64")]
        values += [columns.column("identity"), columns.column("fate")]
        for offset, logged_at, identity, fate in zip(*(each.to_pylist() for each in values), strict=True):
            if offset <= self.emitted:
                continue
            if offset >= before:
                if fate == Fate.DEAD_LETTER:
                    self.window.condemned.add(offset)
                continue
            self.window.advance(logged_at)
            if fate == Fate.STORED:
                self.window.remember(identity)

    @contextlib.contextmanager
    def _consumer(self, **options: Any) -> Iterator[Consumer]:
        consumer = Consumer(
            self.kafka.consuming(queued_bytes=QUEUED_BYTES)
            | {"group.id": "headrace-rebuild-unused", "auto.offset.reset": "earliest"}
            | options
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def _first_at(self, consumer: Consumer, target: TopicPartition) -> int:
        (found,) = self._answer(lambda step: consumer.offsets_for_times([target], timeout=step))
        if found.error is not None:
            # Not raised by the call, and without it the offset would read as "nothing is that young".
            raise KafkaException(found.error)
        offset: int = found.offset
        return offset

    def _answer(self, ask: Callable[[float], T]) -> T:
        """Kafka's answer, asked for in short steps, so that nobody has to wait for it who does not want it any more."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            self._check_wanted()
            try:
                return ask(min(1.0, ANSWER_SECONDS))
            except KafkaException as error:
                if error.args[0].code() != KafkaError._TIMED_OUT or time.monotonic() > deadline:  # noqa: SLF001 - librdkafka's name
                    raise

    def _records(self, consumer: Consumer, end: int) -> Iterator[Any]:
        """Records of the one partition that is assigned, up to this offset."""
        heard = time.monotonic()
        while True:
            # What is there, as soon as something is: asked for many at once, the client waits until it has them all.
            found = consumer.poll(STEP_SECONDS)
            messages = [] if found is None else [found, *consumer.consume(100, 0)]
            self._check_wanted()
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                yield message
                if message.offset() >= end - 1:  # type: ignore[operator]  # its offset is None only in a producer's hands
                    return
            if messages:
                heard = time.monotonic()
            elif time.monotonic() > heard + ANSWER_SECONDS:
                raise RebuildFailed(f"no record from Kafka for {ANSWER_SECONDS} s")

    def _check_wanted(self) -> None:
        if self.abandoned.is_set():
            raise Abandoned


def _stored(columns: pa.RecordBatch) -> pa.Array:
    # Compared as numbers in the dictionary: the strings themselves would take longer than all the rest.
    fate = columns.column("fate")
    return pc.equal(fate.indices, fate.dictionary.index(Fate.STORED.value).as_py())


def _packed(identities: pa.Array) -> memoryview:
    """Their bytes, without a Python object for each."""
    width = identities.type.byte_width
    begin = identities.offset * width
    return memoryview(identities.buffers()[1])[begin : begin + len(identities) * width]
