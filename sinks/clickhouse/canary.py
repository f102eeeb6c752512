"""The canary: at start, prove on the real tables that a repeated insert counts once."""

import time
import uuid
from typing import Any

import pyarrow as pa
import structlog

from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from sinks.clickhouse.client import translated
from sinks.clickhouse.tables import tables
from sinks.clickhouse.writer import ClickHouseSink
from sinks.sink import Batch, Block, Retryable, Unwritable

log = structlog.get_logger()

LEFT_SECONDS = 3600
"""Age of rows that a check must have left that was killed: no check takes that long."""

TENANT = "headrace-canary"

_COUNTS = {
    "messages": "SELECT count() FROM messages WHERE {mine}",
    "dead_letters": "SELECT count() FROM dead_letters WHERE {mine}",
    "readings": "SELECT count() FROM readings WHERE {mine}",
    "readings_1m_state": "SELECT sum(count) FROM readings_1m_state WHERE {mine}",
    "latest_state": "SELECT count() FROM (SELECT 1 FROM latest_state WHERE {mine} GROUP BY tenant, device)",
}
_EXPECTED = {"messages": 2, "dead_letters": 1, "readings": 1, "readings_1m_state": 1, "latest_state": 1}


def check(client: Any, sink: ClickHouseSink) -> None:
    """Write one small batch twice, count it in every table and every target of a view, and take it out again.

    Raises:
        Unwritable: a repeat was counted twice somewhere; exactly-once cannot be promised there.
        Retryable: ClickHouse is away or not able to.

    """
    now = time.time_ns() // 1_000_000
    device = f"{now:015d}-{uuid.uuid4().hex}"
    batch = _batch(device, now)
    for _ in range(2):
        for name, rows in tables(batch).items():
            sink.insert(name, rows, f"canary:{device}:{name}")
    mine = f"tenant = '{TENANT}' AND device = '{device}'"
    with translated():
        found = {name: int(client.command(query.format(mine=mine)) or 0) for name, query in _COUNTS.items()}
    _clean(client, device, now)
    wrong = {name: count for name, count in found.items() if count != _EXPECTED[name]}
    if wrong:
        raise Unwritable(
            "ClickHouse does not drop repeated inserts: expected "
            + ", ".join(f"{_EXPECTED[name]} in {name} and found {count}" for name, count in wrong.items())
            + "; check the de-duplication window of these tables and the settings of this user",
        )


def _clean(client: Any, device: str, now: int) -> None:
    """Take out the rows of this check, and of checks that were killed; never those of one that runs now."""
    left = f"{now - LEFT_SECONDS * 1000:015d}"
    try:
        for name in _COUNTS:
            with translated():
                client.command(
                    f"DELETE FROM {name} WHERE tenant = '{TENANT}' AND (device = '{device}' OR device < '{left}')"  # noqa: S608 - names and values of our own making
                )
    except Retryable as error:
        # A delete waits for merges that run, which can take longer than a request may.
        log.warning("rows of the check are left for the next start", error=str(error))


def _batch(device: str, now: int) -> Batch:
    common: dict[str, Any] = {
        "logged_at": now,
        "dialect": "canary",
        "tenant": TENANT,
        "device": device,
        "received_at": now * 1000,
    }
    rows = [
        MessageRow(offset=0, fate=Fate.STORED, readings=[reading("canary", 1, now * 1000)], **common),
        MessageRow(offset=1, fate=Fate.DEAD_LETTER, **common),
    ]
    messages: pa.RecordBatch = decode(encode(rows))
    span = Span(topic="canary", topic_id=device, partition=0, first=0, last=1, time=now)
    return Batch(
        topic_id=device, partition=0, first=0, last=0, blocks=[Block(offset=0, span=span, messages=messages)]
    )
