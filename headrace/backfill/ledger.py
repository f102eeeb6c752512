"""Ledger: what a backfill set out to do, and how far it is, in ClickHouse's table `replays`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace.backfill.stretch import Stretch
from sinks.clickhouse.errors import translated
from sinks.clickhouse.writer import ClickHouseSink

_ROW = pa.schema(
    [
        *((name, pa.string()) for name in ("epoch", "target")),
        *((name, pa.timestamp("ms", "UTC")) for name in ("since", "until")),
        *((name, pa.string()) for name in ("origin_topic", "origin_topic_id")),
        ("origin_partition", pa.uint16()),
        *((name, pa.int64()) for name in ("first", "end", "next")),
        *((name, pa.uint64()) for name in ("messages", "readings", "refused")),
    ],
)

_READ = """
SELECT origin_topic, origin_topic_id, origin_partition, any(first), any(end), max(next), sum(messages), sum(readings),
    sum(refused), toUnixTimestamp64Milli(any(since)), toUnixTimestamp64Milli(any(until)), toUnixTimestamp64Milli(max(written_at))
FROM replays WHERE epoch = {epoch:String} AND target = {target:String}
GROUP BY origin_topic, origin_topic_id, origin_partition ORDER BY origin_topic, origin_partition
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One partition of a backfill, as of its last batch."""

    stretch: Stretch
    next: int
    messages: int
    readings: int
    refused: int
    since: int
    """Milliseconds since 1970, as `until` and `noted`."""
    until: int
    noted: int
    """When the last batch was noted, by the clock of ClickHouse: what is not noted was inserted later."""


class Ledger:
    """The rows of one epoch and one target."""

    def __init__(self, client: Any, sink: ClickHouseSink, *, epoch: str, target: str) -> None:
        self._client = client
        self._sink = sink
        self._epoch = epoch
        self._target = target

    def entries(self) -> list[Entry]:
        """Every partition; nothing if this backfill was never begun.

        Raises:
            SinkError: ClickHouse is away, or no sink of this release has made the table yet.

        """
        with translated():
            rows = self._client.query(_READ, {"epoch": self._epoch, "target": self._target}).result_rows
        return [
            Entry(
                stretch=Stretch(
                    topic=topic, topic_id=topic_id, partition=partition, first=int(first), end=int(end)
                ),
                next=int(after),
                messages=int(messages),
                readings=int(readings),
                refused=int(refused),
                since=int(since),
                until=int(until),
                noted=int(noted),
            )
            for topic, topic_id, partition, first, end, after, messages, readings, refused, since, until, noted in rows
        ]

    def begin(self, stretches: Sequence[Stretch], *, since: int, until: int) -> list[Entry]:
        """Fix what is to be done, all of it as one block; if two begin at once, the first one decides for both."""
        rows = [
            self._row(stretch, since, until, after=stretch.first, messages=0, readings=0, refused=0)
            for stretch in stretches
        ]
        table = pa.Table.from_pylist(rows, schema=_ROW).combine_chunks()
        self._sink.insert("replays", table, f"{self._epoch}:{self._target}:begin")
        return self.entries()

    def advance(self, entry: Entry, *, after: int, messages: int, readings: int, refused: int) -> None:
        """Note that everything before the offset `after` is stored."""
        row = self._row(
            entry.stretch,
            entry.since,
            entry.until,
            after=after,
            messages=messages,
            readings=readings,
            refused=refused,
        )
        where = f"{entry.stretch.topic_id}:{entry.stretch.partition}:{after}"
        table = pa.Table.from_pylist([row], schema=_ROW).combine_chunks()
        self._sink.insert("replays", table, f"{self._epoch}:{self._target}:{where}")

    def _row(self, stretch: Stretch, since: int, until: int, *, after: int, **counts: int) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "target": self._target,
            "since": since,
            "until": until,
            "origin_topic": stretch.topic,
            "origin_topic_id": stretch.topic_id,
            "origin_partition": stretch.partition,
            "first": stretch.first,
            "end": stretch.end,
            "next": after,
            **counts,
        }
