"""A record of `readings` that is no block: kept as a dead letter, stored once like everything else."""

from typing import Any

import pyarrow as pa

from schemas.dead_letter import DeadLetter, Reason
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from schemas.topics import MAX_RAW_BYTES, READINGS


def unreadable(message: Any, topic_id: str, error: str) -> tuple[Span, pa.RecordBatch, DeadLetter]:
    """The record as a block of one dead letter, whose origin is its own place in `readings`, and that letter for Kafka."""
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
    return span, decode(encode([row])), _letter(message, span, error)


def _letter(message: Any, span: Span, error: str) -> DeadLetter:
    key, value = message.key(), message.value()
    headers = {name: content or b"" for name, content in message.headers() or ()}
    size = sum(map(len, [key or b"", value or b"", *headers, *headers.values()]))
    if size > MAX_RAW_BYTES:
        # A record of `readings` may be larger than what `dead-letters` takes.
        key, value, headers = None, None, {}
        error = f"{error}; its {size} bytes are in ClickHouse's dead_letters alone"
    return DeadLetter(
        topic=span.topic,
        topic_id=span.topic_id,
        partition=span.partition,
        offset=span.first,
        logged_at=span.time,
        reason=Reason.UNDECODABLE,
        error=error,
        key=key,
        value=value,
        headers=headers,
    )
