"""The canary: prove on the real tables that a repeated insert counts once, and that something harmless can be stored."""

import re
import time
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

import pyarrow as pa
import structlog

from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from sinks.clickhouse.errors import translated
from sinks.clickhouse.tables import tables
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


_REACHED = ("readings", "readings_1m_state", "latest_state")
"""The tables that a reading reaches by itself."""

LEAST_WINDOW = 100_000
"""Blocks that each table has to remember; docs/sink.md says what follows from it."""

LEAST_WINDOW_SECONDS = 7 * 24 * 3600
"""How long replicas have to remember them: as long as a batch may wait on the log."""

_WINDOWS = """
SELECT name, engine, engine_full FROM system.tables
WHERE database = currentDatabase() AND name IN ({names})
"""

_DEFAULTS = """
SELECT name, value FROM system.merge_tree_settings WHERE name LIKE 'non_replicated_deduplication%'
UNION ALL
SELECT name, value FROM system.replicated_merge_tree_settings WHERE name LIKE 'replicated_deduplication%'
"""


class Inserter(Protocol):
    """What writes to the tables: `sinks.clickhouse.writer.ClickHouseSink`."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows as one block under a token."""


def check(client: Any, sink: Inserter) -> None:
    """Look at how much each table remembers, write one small batch twice, count it in all of them, and take it out again.

    Raises:
        Unwritable: a repeat was, or would be, counted twice somewhere; exactly-once cannot be promised there.
        Retryable: ClickHouse is away or not able to.

    """
    _check_windows(client)
    now = time.time_ns() // 1_000_000
    device = f"{now:015d}-{uuid.uuid4().hex}"
    batch = _batch(device, now)
    for _ in range(2):
        for name, rows in tables(batch).items():
            sink.insert(name, rows, f"canary:{device}:{name}")
    mine = f"tenant = '{TENANT}' AND device = '{device}'"
    with translated():
        found = {name: int(client.command(query.format(mine=mine)) or 0) for name, query in _COUNTS.items()}
    _clean(client, device, now, _COUNTS)
    wrong = {name: count for name, count in found.items() if count != _EXPECTED[name]}
    if wrong:
        raise Unwritable(
            "ClickHouse does not drop repeated inserts: expected "
            + ", ".join(f"{_EXPECTED[name]} in {name} and found {count}" for name, count in wrong.items())
            + "; check the de-duplication window of these tables and the settings of this user",
        )


def land(client: Any, sink: Inserter) -> None:
    """Store one harmless reading, and take it out again: four requests.

    Raises:
        Unwritable: it is refused: by the table, or by a view behind it.
        Retryable: ClickHouse is away or not able to.

    """
    now = time.time_ns() // 1_000_000
    device = f"{now:015d}-{uuid.uuid4().hex}"
    try:
        sink.insert("readings", tables(_batch(device, now))["readings"], f"canary:{device}:readings")
    finally:
        _clean(client, device, now, _REACHED)


def _check_windows(client: Any) -> None:
    """Raise unless each table remembers enough blocks, as its definition or the server's default says."""
    with translated():
        names = ", ".join(f"'{name}'" for name in _COUNTS)
        found = client.query(_WINDOWS.format(names=names)).result_rows
        defaults = dict(client.query(_DEFAULTS).result_rows)
    for name, engine, definition in found:
        replicated = engine.startswith(("Replicated", "Shared"))
        kind = "replicated" if replicated else "non_replicated"
        wanted = {f"{kind}_deduplication_window": LEAST_WINDOW}
        if replicated:
            wanted["replicated_deduplication_window_seconds"] = LEAST_WINDOW_SECONDS
        for setting, least in wanted.items():
            own = re.search(rf"\b{setting} = (\d+)", definition)
            value = int(own[1] if own else defaults[setting])
            if value < least:
                raise Unwritable(
                    f"{name} has {setting} = {value}, and needs {least:,}: a batch that is tried again later than that"
                    f" would count twice; ALTER TABLE {name} MODIFY SETTING {setting} = {least}"
                )


def _clean(client: Any, device: str, now: int, names: Iterable[str]) -> None:
    """Take out the rows of this check, and of checks that were killed; never those of one that runs now."""
    left = f"{now - LEFT_SECONDS * 1000:015d}"
    try:
        for name in names:
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
