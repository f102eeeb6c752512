"""One batch into ClickHouse: one insert a table, one block an insert, one de-duplication token a block."""

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from runtime.faults import Moment, reached
from sinks import metrics
from sinks.clickhouse.client import translated
from sinks.clickhouse.tables import tables
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


class ClickHouseSink:
    """Stores batches exactly once in tables that keep a window of tokens (see `sinks.clickhouse.canary`)."""

    def __init__(self, client: Any, *, epoch: str) -> None:
        self._client = client
        self._epoch = epoch
        self._settings = {name: value for name, value in _WANTED.items() if name in client.server_settings}

    def write(self, batch: Batch) -> None:
        """See `sinks.sink.Sink.write`."""
        for name, rows in tables(batch).items():
            self.insert(name, rows, self.token(batch, name))
            reached(Moment.TABLE_INSERTED)

    def token(self, batch: Batch, table: str) -> str:
        """Names one block for ever: Kafka's topic id, because a topic that was created anew counts from 0 again."""
        return f"{self._epoch}:{batch.topic_id}:{batch.partition}:{batch.first}-{batch.last}:{table}"

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
