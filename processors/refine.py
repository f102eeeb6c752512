"""One chunk of raw records to rows, each message with its one fate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from processors.dedupe import Window
from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from runtime.devices import Places
from schemas import reading_block
from schemas.codec import Undecodable
from schemas.dead_letter import DeadLetter, Reason
from schemas.identity import IDENTITY_BYTES
from schemas.raw_message import IDENTITY_HEADER, Attribute, RawMessage
from schemas.raw_record import read
from schemas.reading import Reading
from schemas.reading_block import Fate, MessageRow, Span
from schemas.topics import MAX_RAW_BYTES

BLOCK_BYTES = 1 << 20
"""A block larger than this is split, so that the sink can gather in small steps."""

BLOCK_READINGS = 8000
"""More readings than these mostly make such a block: they are split before, and not encoded twice."""

LARGEST_BLOCK_BYTES = 7 << 20
"""A message whose readings need more is a dead letter: the topic would not take its block."""

SMALL_RECORD_BYTES = 700
"""However a record of this size is filled, its readings fit: 175 of them at most, none with more than 6 KB of text or names."""

LONGEST_ERROR = 1000
"""Characters of an explanation; it may quote the message, and has to fit into a dead letter beside it."""

LARGEST_DEAD_RECORD_BYTES = 2 * MAX_RAW_BYTES - 64 * 1024
"""A dead letter carries a record of up to this size, counting its key twice: it is the dead letter's key too."""

# Looked up once: to Python 3.11 that takes as long as to make a row.
_STORED = Fate.STORED
_TRACEPARENT, _TRACESTATE = Attribute.TRACEPARENT, Attribute.TRACESTATE


class RawRecord(Protocol):
    """A raw record as Kafka delivered it."""

    offset: int
    timestamp: int
    """Milliseconds since 1970, by the broker's clock."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which raw partition records came from."""

    dialect: str
    topic: str
    topic_id: str
    partition: int


def refine(records: Iterable[RawRecord], source: Source, window: Window, devices: Places) -> list[MessageRow]:
    """Normalise, de-duplicate and enrich, in the order of the log.

    Pure but for `window`, which afterwards remembers what passed.
    """
    return [_row(record, source, window, devices) for record in records]


def _row(record: RawRecord, source: Source, window: Window, devices: Places) -> MessageRow:
    window.advance(record.timestamp)
    named = _named(record)
    # The header tells what it is without a look at the message; only whoever wrote the record without it is asked by that.
    if named is not None and window.is_duplicate(named):
        return _duplicate(record, source, named)
    try:
        raw = read(record.value or b"")
        identity = raw.identity() if named is None else named
        if named is None and window.is_duplicate(identity):
            return _duplicate(record, source, identity)
        readings = normalise(raw)
        if len(record.value or b"") > SMALL_RECORD_BYTES:
            _check_size(readings)
    except Undecodable as error:
        return _dead(record, source, Reason.UNDECODABLE, str(error))
    except Unusable as error:
        return _dead(record, source, error.reason, str(error), raw)
    if record.offset not in window.condemned:
        window.remember(identity)
    place, labels = devices.known(raw.tenant, raw.device)
    said = raw.attributes.get
    return MessageRow(
        offset=record.offset,
        fate=_STORED,
        identity=identity,
        message_id=raw.message_id,
        tenant=raw.tenant,
        device=raw.device,
        dialect=source.dialect,
        received_at=raw.received_at,
        logged_at=record.timestamp,
        traceparent=said(_TRACEPARENT, ""),
        tracestate=said(_TRACESTATE, ""),
        place=place,
        labels=labels,
        readings=readings,
    )


def _named(record: RawRecord) -> bytes | None:
    """The identity in a record's header, if it can be one."""
    for name, value in record.headers:
        if name == IDENTITY_HEADER:
            return value if value is not None and len(value) == IDENTITY_BYTES else None
    return None


def _duplicate(record: RawRecord, source: Source, identity: bytes) -> MessageRow:
    tenant, _, device = (record.key or b"").decode(errors="replace").partition("/")
    return MessageRow(
        offset=record.offset,
        fate=Fate.DUPLICATE,
        logged_at=record.timestamp,
        dialect=source.dialect,
        identity=identity,
        tenant=tenant,
        device=device,
    )


def _dead(
    record: RawRecord, source: Source, reason: Reason, error: str, raw: RawMessage | None = None
) -> MessageRow:
    whole = _fits(record)
    if not whole:
        error = f"its {_size(record)} bytes do not fit here, and stay in {source.topic}; {error}"
    return MessageRow(
        offset=record.offset,
        fate=Fate.DEAD_LETTER,
        logged_at=record.timestamp,
        dialect=source.dialect,
        identity=_named(record) or (raw.identity() if raw else bytes(IDENTITY_BYTES)),
        message_id=raw.message_id if raw else "",
        tenant=raw.tenant if raw else "",
        device=raw.device if raw else "",
        received_at=raw.received_at if raw else record.timestamp * 1000,
        reason=reason.value,
        error=error[:LONGEST_ERROR],
        body=(record.value or b"") if whole else b"",
    )


def _size(record: RawRecord) -> int:
    headers = sum(8 + len(name) + len(value or b"") for name, value in record.headers)
    return 2 * len(record.key or b"") + len(record.value or b"") + headers


def _fits(record: RawRecord) -> bool:
    return _size(record) <= LARGEST_DEAD_RECORD_BYTES


def blocks(rows: Sequence[MessageRow], source: Source, *, time: int) -> list[tuple[Span, bytes]]:
    """The rows as blocks of a size that the topic takes, each whole, each with its own range of offsets.

    `time` is the log's time before the first of them.
    """
    if len(rows) > 1 and sum(len(row.readings) for row in rows) > BLOCK_READINGS:
        return _halves(rows, source, time)
    data = reading_block.encode(rows)
    if len(rows) > 1 and len(data) > BLOCK_BYTES:
        return _halves(rows, source, time)
    span = Span(
        topic=source.topic,
        topic_id=source.topic_id,
        partition=source.partition,
        first=rows[0].offset,
        last=rows[-1].offset,
        time=max(time, *(row.logged_at for row in rows)),
    )
    return [(span, data)]


def _halves(rows: Sequence[MessageRow], source: Source, time: int) -> list[tuple[Span, bytes]]:
    middle = len(rows) // 2
    early = blocks(rows[:middle], source, time=time)
    return [*early, *blocks(rows[middle:], source, time=early[-1][0].time)]


def _check_size(readings: Sequence[Reading]) -> None:
    """Raise if one block may not hold them, by an estimate that is never too low."""
    size = sum(96 + 4 * (len(r.quantity) + len(r.sensor) + len(r.unit) + len(r.text)) for r in readings)
    if size > LARGEST_BLOCK_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"its {len(readings)} readings do not fit into one block")


def dead_letter(row: MessageRow, record: RawRecord, source: Source) -> DeadLetter:
    """What goes to the topic `dead-letters` for a row of that fate: the record untouched, or none of it if it is too large.

    An edge lets no such record through; whoever else writes to a raw topic might.
    """
    whole = _fits(record)
    return DeadLetter(
        topic=source.topic,
        topic_id=source.topic_id,
        partition=source.partition,
        offset=row.offset,
        logged_at=row.logged_at,
        reason=row.reason,
        error=row.error,
        key=record.key if whole else None,
        value=record.value if whole else None,
        headers={name: value or b"" for name, value in record.headers} if whole else {},
    )
