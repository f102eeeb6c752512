"""Rebuild a de-duplication window from what was emitted: the blocks in `readings`."""

import time
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors import metrics
from processors.dedupe import Window
from processors.refine import Source
from runtime.settings import KafkaSettings
from schemas.reading_block import Fate, NotABlock, Span, decode
from schemas.topics import READINGS

log = structlog.get_logger()

READ_TIMEOUT_SECONDS = 60


class RebuildFailed(RuntimeError):
    """Kafka stopped answering in the middle of it. Another attempt may succeed."""


def rebuild(kafka: KafkaSettings, source: Source, before: int, logged_at: int, *, seconds: int) -> Window:
    """The window as it was when the raw record at offset `before`, logged at `logged_at`, was about to be processed.

    Reads the blocks of this raw partition that are young enough to matter, up to the log's present end. Blocking: call it in
    a thread.
    """
    began = time.perf_counter()
    window = Window(seconds=seconds)
    consumer = Consumer(
        kafka.librdkafka()
        | {
            "group.id": "headrace-rebuild-unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        start, end = _range(consumer, TopicPartition(READINGS, source.partition, _since(seconds, logged_at)))
        if 0 <= start < end:
            consumer.assign([TopicPartition(READINGS, source.partition, start)])
            _read(consumer, source, window, before, end)
    except KafkaException as error:
        raise RebuildFailed(str(error)) from error
    finally:
        consumer.close()
    took = time.perf_counter() - began
    metrics.REBUILD_SECONDS.observe(took)
    log.info(
        "window rebuilt", topic=source.topic, partition=source.partition, identities=len(window), seconds=took
    )
    return window


def _range(consumer: Consumer, target: TopicPartition) -> tuple[int, int]:
    """From the first record of that time, or younger, to the end of the log."""
    (found,) = consumer.offsets_for_times([target], timeout=READ_TIMEOUT_SECONDS)
    if found.error is not None:
        # Not raised by the call, and without it the offset would read as "nothing is that young".
        raise KafkaException(found.error)
    return found.offset, consumer.get_watermark_offsets(target, timeout=READ_TIMEOUT_SECONDS)[1]


def _since(seconds: int, logged_at: int) -> int:
    # A slice is forgotten as a whole, so what matters can be a slice older than the window.
    return max(0, logged_at - 2 * seconds * 1000)


def _read(consumer: Consumer, source: Source, window: Window, before: int, end: int) -> None:
    emitted = -1
    while True:
        message: Any = consumer.poll(READ_TIMEOUT_SECONDS)
        if message is None:
            raise RebuildFailed(f"no record of {READINGS}-{source.partition} for {READ_TIMEOUT_SECONDS} s")
        if message.error() is not None:
            raise KafkaException(message.error())
        emitted = _remember(message, source, window, before, emitted)
        if message.offset() + 1 >= end:
            return


def _remember(message: Any, source: Source, window: Window, before: int, emitted: int) -> int:
    """Take a block into the window; returns the greatest offset that was emitted so far.

    Of a message that was emitted twice the first emission counts, as it does for the sink.
    """
    try:
        span = Span.of(message.headers())
        if (span.topic, span.topic_id) != (source.topic, source.topic_id) or span.last <= emitted:
            return emitted
        batch = decode(message.value() or b"")
    except NotABlock:
        return emitted  # the sink counts it
    # Four columns as Python values: filtering all of them, readings included, would take longer than the rest.
    columns = [batch.column(name) for name in ("offset", "identity", "fate")]
    columns.append(batch.column("logged_at").cast("int64"))
    for offset, identity, fate, logged_at in zip(*(column.to_pylist() for column in columns), strict=True):
        if emitted < offset < before:
            window.advance(logged_at)
            if fate == Fate.STORED:
                window.remember(identity, offset, logged_at)
    if span.last < before:
        window.advance(span.time)
    return span.last
