"""Blocks of readings as a processor emits them, made from the numbers that a test is about."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from schemas.reading import Reading, reading
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from sinks.progress import Piece
from sinks.sink import Batch, Block, Sink

NOW_MS = int(time.time()) * 1000
"""The log's time of these messages: a month later ClickHouse forgets them."""


def message(offset: int, *readings: Reading, **other: Any) -> MessageRow:
    """A stored message; its one reading, unless others are given, is its offset."""
    found = {
        "fate": Fate.STORED,
        "logged_at": NOW_MS + offset,
        "dialect": "graph",
        "message_id": f"m-{offset}",
        "tenant": "acme",
        "device": "boiler-7",
        "received_at": (NOW_MS + offset) * 1000,
        "readings": readings or [reading("offset", offset, (NOW_MS + offset) * 1000)],
    }
    return MessageRow(**{"offset": offset, **found, **other})


def span(first: int, last: int, *, topic: str = "raw-graph", topic_id: str = "", partition: int = 0) -> Span:
    """The range of raw records that a block covers."""
    return Span(
        topic=topic,
        topic_id=topic_id or f"id of {topic}",
        partition=partition,
        first=first,
        last=last,
        time=NOW_MS + last,
    )


def messages(rows: Iterable[MessageRow]) -> pa.RecordBatch:
    """The rows as they come out of a block."""
    return decode(encode(list(rows)))


def run(first: int, last: int) -> pa.RecordBatch:
    """One message an offset."""
    return messages(message(offset) for offset in range(first, last + 1))


def batch(*blocks: Sequence[MessageRow], first: int = 0, **where: Any) -> Batch:
    """A batch of these blocks of one raw topic, at `first` and the offsets behind it."""
    return Batch(
        topic_id="readings-1",
        partition=0,
        first=first,
        last=first + len(blocks) - 1,
        blocks=[
            Block(
                offset=first + index,
                span=span(rows[0].offset, rows[-1].offset, **where),
                messages=messages(rows),
            )
            for index, rows in enumerate(blocks)
        ],
    )


def whole(some: Batch) -> Piece:
    """All messages of a batch."""
    return Piece(0, some.messages)


def store(sink: Sink, some: Batch) -> None:
    """Write a batch that nothing is wrong with, as a delivery does."""
    if some.messages:
        sink.write(some, whole(some))
    sink.account(some)


def origins(stored: Batch) -> list[tuple[str, int]]:
    """Raw topic id and offset of each message of a batch, in its order."""
    return [
        (block.span.topic_id, offset)
        for block in stored.blocks
        for offset in block.messages.column("offset").to_pylist()
    ]
