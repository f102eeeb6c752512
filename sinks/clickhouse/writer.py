"""Batches into ClickHouse: one insert a table or piece, one block an insert, one de-duplication token a block."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runtime.faults import Moment, reached
from sinks import metrics
from sinks.clickhouse import canary
from sinks.clickhouse.errors import translated
from sinks.clickhouse.stored import stored
from sinks.clickhouse.tables import tables
from sinks.condemn import between
from sinks.progress import Piece
from sinks.sink import Batch, Unwritable

MAX_BLOCK_ROWS = 1_048_448
"""ClickHouse splits a larger insert into several blocks, and would then take a repeat for something new."""

_WANTED: Mapping[str, str] = {
    "async_insert": "0",
    "insert_deduplicate": "1",
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "materialized_views_ignore_errors": "0",
    "max_insert_threads": "1",
    "max_insert_block_size": "1048449",
    "min_insert_block_size_rows": "1048449",
    "min_insert_block_size_bytes": "268402944",
}
"""Defaults of these differ between releases, and some decide whether a repeated insert counts once: none is assumed."""


_BEHIND = "while pushing to view"
"""ClickHouse's words for an error behind the table."""

_KEY = (
    *("tenant", "device", "quantity", "sensor", "dialect"),
    *("origin_partition", "origin_offset", "position"),
)
"""Columns that tell one reading."""


class ClickHouseSink:
    """Stores batches exactly once in tables that keep a window of tokens (see `sinks.clickhouse.canary`)."""

    def __init__(self, client: Any, *, cluster: str = "") -> None:
        self._client = client
        self._cluster = cluster
        self._settings = {name: value for name, value in _WANTED.items() if name in client.server_settings}
        self._made: tuple[Batch, Mapping[str, pa.Table]] | None = None

    def write(self, batch: Batch, piece: Piece) -> None:
        """See `sinks.sink.Sink.write`."""
        if rows := self._rows(batch, piece).get("readings"):
            self.insert("readings", rows, self.token(batch, "readings", piece))
            reached(Moment.TABLE_INSERTED)

    def account(self, batch: Batch) -> None:
        """See `sinks.sink.Sink.account`."""
        for name in ("messages", "dead_letters"):
            if rows := self._tables(batch).get(name):
                self.insert(name, rows, self.token(batch, name))
                reached(Moment.TABLE_INSERTED)
        self._made = None

    def excuse(self, batch: Batch, piece: Piece, error: Unwritable) -> str:
        """See `sinks.sink.Sink.excuse`."""
        rows = self._rows(batch, piece)["readings"]
        # ClickHouse writes the table first. What its error says would do, but a text is no contract.
        if _BEHIND in str(error) or self._is_stored(_one_a_part(rows)):
            return "the table has these readings already, and it or a view behind it refuses them now; repair or drop that"
        try:
            canary.land(self._client, self)
        except Unwritable as refused:
            return f"a harmless reading is refused too ({refused})"
        return ""

    def stored(self, partition: int) -> Mapping[str, int]:
        """See `sinks.sink.Sink.stored`."""
        return stored(self._client, partition, cluster=self._cluster)

    def token(self, batch: Batch, table: str, piece: Piece | None = None) -> str:
        """Names one block for ever: Kafka's topic id, because a topic that was created anew counts from 0 again."""
        cut = "" if piece in {None, (0, batch.messages)} else f".{piece.first}-{piece.end}"
        return f"{batch.epoch}:{batch.topic_id}:{batch.partition}:{batch.first}-{batch.last}{cut}:{table}"

    def _tables(self, batch: Batch) -> Mapping[str, pa.Table]:
        """Made once for all calls about a batch, and kept until it is accounted for."""
        if self._made is None or self._made[0] is not batch:
            self._made = (batch, tables(batch))
        return self._made[1]

    def _rows(self, batch: Batch, piece: Piece) -> Mapping[str, pa.Table]:
        return self._tables(batch) if piece == (0, batch.messages) else tables(between(batch, piece))

    def _is_stored(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the table has one of these: one query, however many there are."""
        some = " OR ".join(
            "(" + " AND ".join(f"{name} = %({name}_{index})s" for name in _KEY) + ")"
            for index in range(len(rows))
        )
        values = {f"{name}_{index}": row[name] for index, row in enumerate(rows) for name in _KEY}
        with translated():
            found = self._client.command(f"SELECT count() FROM readings WHERE {some}", parameters=values)  # noqa: S608 - names of our own
        return int(found) > 0

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows as one block under a token.

        Raises:
            Retryable: as `Sink.write`.
            Unwritable: as `Sink.write`.

        """
        if rows.num_rows > MAX_BLOCK_ROWS:
            raise Unwritable(f"{rows.num_rows} rows do not fit into one block of {table}")
        began = time.perf_counter()
        with translated():
            self._client.insert_arrow(
                table, rows, settings=self._settings | {"insert_deduplication_token": token}
            )
        metrics.INSERT_SECONDS.labels(table).observe(time.perf_counter() - began)
        metrics.ROWS.labels(table).inc(rows.num_rows)


def _one_a_part(readings: pa.Table) -> list[dict[str, Any]]:
    """One row of each month: ClickHouse writes all or nothing of what is in one partition of the table."""
    months = pc.strftime(readings["received_at"], "%Y%m").combine_chunks()
    firsts = [pc.index(months, month).as_py() for month in months.unique()]
    return list(readings.take(firsts).to_pylist())
