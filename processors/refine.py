"""One chunk of raw records to rows, each message with its one fate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from processors.dedupe import Window
from processors.enrich import known_of
from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from runtime.registry import Devices
from schemas import reading_block
from schemas.codec import Undecodable, decode
from schemas.dead_letter import DeadLetter, Reason
from schemas.raw_message import IDENTITY_HEADER, Attribute, RawMessage
from schemas.reading import Reading
from schemas.reading_block import Fate, MessageRow, Span

BLOCK_BYTES = 1 << 20
"""A block larger than this is split, so that the sink can gather in small steps."""

LARGEST_BLOCK_BYTES = 7 << 20
"""A message whose readings need more is a dead letter: the topic would not take its block."""

LONGEST_ERROR = 1000
"""Characters of an explanation; it may quote the message, and has to fit into a dead letter beside it."""


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


def refine(
    records: Iterable[RawRecord], source: Source, window: Window, devices: Devices
) -> list[MessageRow]:
    """Normalise, de-duplicate and enrich, in the order of the log.

    Pure but for `window`, which afterwards remembers what passed.
    """
    return [_row(record, source, window, devices) for record in records]


def _row(record: RawRecord, source: Source, window: Window, devices: Devices) -> MessageRow:
    window.advance(record.timestamp)
    identity = dict(record.headers).get(IDENTITY_HEADER)
    if identity is not None and window.is_duplicate(identity, record.offset):
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
    try:
        raw = decode(RawMessage, record.value or b"")
        readings = _fitting(normalise(raw))
    except Undecodable as error:
        return _dead(record, source, Reason.UNDECODABLE, str(error))
    except Unusable as error:
        return _dead(record, source, error.reason, str(error), raw)
    identity = raw.identity()
    window.remember(identity, record.offset, record.timestamp)
    place, labels = known_of(devices.by_id(raw.tenant, raw.device))
    return MessageRow(
        offset=record.offset,
        fate=Fate.STORED,
        logged_at=record.timestamp,
        dialect=source.dialect,
        identity=identity,
        message_id=raw.message_id,
        tenant=raw.tenant,
        device=raw.device,
        received_at=raw.received_at,
        traceparent=raw.attributes.get(Attribute.TRACEPARENT, ""),
        tracestate=raw.attributes.get(Attribute.TRACESTATE, ""),
        place=place,
        labels=labels,
        readings=readings,
    )


def _dead(
    record: RawRecord, source: Source, reason: Reason, error: str, raw: RawMessage | None = None
) -> MessageRow:
    return MessageRow(
        offset=record.offset,
        fate=Fate.DEAD_LETTER,
        logged_at=record.timestamp,
        dialect=source.dialect,
        identity=raw.identity() if raw else bytes(16),
        message_id=raw.message_id if raw else "",
        tenant=raw.tenant if raw else "",
        device=raw.device if raw else "",
        received_at=raw.received_at if raw else record.timestamp * 1000,
        reason=reason.value,
        error=error[:LONGEST_ERROR],
        body=record.value or b"",
    )


def blocks(rows: Sequence[MessageRow], source: Source, *, time: int) -> list[tuple[Span, bytes]]:
    """The rows as blocks of a size that the topic takes, each whole, each with its own range of offsets.

    `time` is the log's time before the first of them.
    """
    data = reading_block.encode(rows)
    if len(rows) > 1 and len(data) > BLOCK_BYTES:
        middle = len(rows) // 2
        early = blocks(rows[:middle], source, time=time)
        return [*early, *blocks(rows[middle:], source, time=early[-1][0].time)]
    span = Span(
        topic=source.topic,
        topic_id=source.topic_id,
        partition=source.partition,
        first=rows[0].offset,
        last=rows[-1].offset,
        time=max(time, *(row.logged_at for row in rows)),
    )
    return [(span, data)]


def _fitting(readings: list[Reading]) -> list[Reading]:
    """The same readings, if one block can hold them, by an estimate that is never too low."""
    size = sum(96 + 4 * (len(r.quantity) + len(r.sensor) + len(r.unit) + len(r.text)) for r in readings)
    if size > LARGEST_BLOCK_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"its {len(readings)} readings do not fit into one block")
    return readings


def dead_letter(row: MessageRow, record: RawRecord, source: Source) -> DeadLetter:
    """What goes to the topic `dead-letters` for a row of that fate."""
    return DeadLetter(
        topic=source.topic,
        topic_id=source.topic_id,
        partition=source.partition,
        offset=row.offset,
        logged_at=row.logged_at,
        reason=row.reason,
        error=row.error,
        key=record.key,
        value=record.value,
        headers={name: value or b"" for name, value in record.headers},
    )
