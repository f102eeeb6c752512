"""A record of `readings` that is no block: kept as a dead letter, stored once like everything else."""

from typing import Any

import pyarrow as pa

from schemas.dead_letter import Reason
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from schemas.topics import READINGS


def unreadable(message: Any, topic_id: str, error: str) -> tuple[Span, pa.RecordBatch]:
    """The record as a block of one dead letter, whose origin is its own place in `readings`."""
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
