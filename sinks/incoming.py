"""A record of `readings` as the block that it is, or as the dead letter that becomes of one that is none."""

from typing import Any

import structlog

from schemas.dead_letter import DeadLetter, Reason
from schemas.reading_block import Fate, MessageRow, NotABlock, Span, decode, encode
from schemas.topics import MAX_RAW_BYTES, READINGS
from sinks.sink import Block
from sinks.stranded import Stranded

log = structlog.get_logger()


def read(message: Any, topic_id: str, *, skip_lost: bool) -> Block:
    """The record as a block; what never was a block is stored as one dead letter, once like everything else.

    Raises:
        Stranded: it is a block, so accepted messages are in it, and nobody can say which; unless it may be skipped.

    """
    try:
        span = Span.of(message.headers())
    except NotABlock as error:
        return _unreadable(message, topic_id, str(error))
    try:
        return Block(offset=message.offset(), span=span, messages=decode(message.value() or b""))
    except NotABlock as error:
        damaged = (
            f"{READINGS} [{message.partition()}]: the block at offset {message.offset()} cannot be read ({error}); it"
            f" holds what {span.topic} accepted from {span.first} to {span.last}"
        )
        if not skip_lost:
            raise Stranded(
                f"{damaged}: deploy a sink that is as new as its processors, or newer; if the block is damaged,"
                " HEADRACE_SINK__SKIP_LOST=true goes on behind it; docs/sink.md, Exit codes, says what that means"
            ) from error
        log.error("block skipped", reason=damaged)  # noqa: TRY400 - the sentence says all; a trace would hide it
        return _unreadable(message, topic_id, str(error))


def _unreadable(message: Any, topic_id: str, error: str) -> Block:
    """As a block of one dead letter, whose origin is its own place in `readings`."""
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
    letter = _letter(message, span, error)
    return Block(offset=offset, span=span, messages=decode(encode([row])), letter=letter)


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
