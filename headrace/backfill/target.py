"""Target: the tables that a backfill asks, and the one that it fills."""

import re
import time
from dataclasses import dataclass
from typing import Any

from headrace.backfill.stretch import Present, Refused, Stretch
from schemas.reading_block import Fate
from sinks.clickhouse.canary import LEAST_WINDOW, LEAST_WINDOW_SECONDS
from sinks.clickhouse.errors import translated

READINGS = "readings"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_ORIGIN = """
origin_topic = {topic:String} AND origin_topic_id = {topic_id:String} AND origin_partition = {partition:UInt16}
AND origin_offset >= {first:Int64} AND origin_offset < {end:Int64}
"""
_FATES = f"SELECT origin_offset, fate FROM messages WHERE {_ORIGIN}"  # noqa: S608 - texts of our own
_ASKED = f"""
SELECT countIf(fate = 'stored'), sum(readings), min(received_at), max(received_at),
    countIf(fate = 'stored' AND readings > 0 AND origin_offset <= {{highest:Int64}}),
    countIf(fate = 'stored' AND readings > 0 AND origin_offset >= {{lowest:Int64}})
FROM messages WHERE {_ORIGIN}
"""  # noqa: S608 - as above
_PRESENT = """
SELECT min(origin_offset), max(origin_offset), uniqExact(origin_offset), count() FROM {table}
WHERE dialect = {{dialect:String}} AND origin_partition = {{partition:UInt16}}
    AND origin_offset >= {{first:Int64}} AND origin_offset < {{end:Int64}}
    AND received_at >= {{earliest:DateTime64(6, 'UTC')}} AND received_at <= {{latest:DateTime64(6, 'UTC')}}
"""
_SHAPE = """
SELECT
    (SELECT groupArray((name, type)) FROM
        (SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}
         ORDER BY position)),
    engine, partition_key, sorting_key, extract(create_table_query, 'replicated_deduplication_window = (\\\\d+)')
FROM system.tables WHERE database = currentDatabase() AND name = {table:String}
"""
_ROLL_UPS = f"""
WITH (SELECT groupArray(DISTINCT toStartOfMonth(received_at)) FROM messages WHERE {_ORIGIN}) AS months
SELECT
    (SELECT count() FROM readings
     WHERE has(months, toStartOfMonth(received_at)) AND kind IN ('bool', 'int64', 'float64')),
    (SELECT sum(count) FROM readings_1m_state WHERE has(months, received_month)),
    arrayStringConcat(arrayMap(month -> formatDateTime(month, '%Y%m'), months), ', ')
"""  # noqa: S608 - as above
_SINCE = """
SELECT sum(max_block_number - min_block_number + 1), toUnixTimestamp(now()) - intDiv({since:Int64}, 1000)
FROM system.parts WHERE database = currentDatabase() AND table = {table:String} AND active
    AND toUnixTimestamp(modification_time) >= intDiv({since:Int64}, 1000)
"""
_LOOKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What the pipeline stored of a stretch."""

    messages: int
    readings: int


class Target:
    """A table with the columns of `readings`.

    Args:
        client: of ClickHouse.
        table: its name.
        cluster: as in the settings of ClickHouse.

    Every method raises `SinkError` if ClickHouse is away or refuses.
    """

    def __init__(self, client: Any, table: str, *, cluster: str = "") -> None:
        self._client = client
        self._cluster = cluster
        self.table = table

    def create(self) -> None:
        """Make the table as `readings` is, if it is not there.

        Raises:
            Refused: a table of that name has another shape, or the name is none.

        """
        if not _NAME.fullmatch(self.table):
            raise Refused(f"{self.table!r} is no name of a table: letters, digits and _")
        on_cluster = f"ON CLUSTER `{self._cluster}`" if self._cluster else ""
        with translated():
            self._client.command(f"CREATE TABLE IF NOT EXISTS `{self.table}` {on_cluster} AS {READINGS}")
            wanted, found = (
                self._client.query(_SHAPE, {"table": name}).result_rows for name in (READINGS, self.table)
            )
        if wanted != found:
            raise Refused(
                f"{self.table} is there, and not like {READINGS}: columns, engine, keys or de-duplication window differ."
                " Take another name, or drop it."
            )

    def is_empty(self) -> bool:
        """Whether the table has no rows."""
        with translated():
            return not self._client.query(f"SELECT 1 FROM `{self.table}` LIMIT 1").result_rows  # noqa: S608 - a checked name

    def stored(self, stretch: Stretch) -> set[int]:
        """Offsets of the messages that the pipeline stored.

        Raises:
            Refused: `messages` does not know the fate of each.

        """
        with translated():
            rows = self._client.query(_FATES, _where(stretch)).result_rows
        if len(rows) != len(stretch):
            raise Refused(
                f"`messages` knows the fate of {len(rows):,} of the {len(stretch):,} messages of {stretch}:"
                " it keeps them for 30 days. Begin later by --from."
            )
        return {offset for offset, fate in rows if fate == Fate.STORED}

    def count(self, stretch: Stretch) -> Count:
        """What the pipeline stored of a stretch, according to `messages`."""
        messages, readings, *_ = self._asked(stretch, 0, 0)
        return Count(messages=int(messages), readings=int(readings or 0))

    def present(self, stretch: Stretch) -> Present:
        """Which messages of a stretch the table holds."""
        _, _, earliest, latest, *_ = self._asked(stretch, 0, 0)
        lowest, highest, count, _ = self._found(stretch, earliest, latest)
        *_, until_highest, from_lowest = self._asked(stretch, lowest, highest)
        return Present(
            lowest=lowest,
            highest=highest,
            count=count,
            until_highest=int(until_highest),
            from_lowest=int(from_lowest),
        )

    def rows(self, stretch: Stretch) -> int:
        """How many rows of a stretch the table holds."""
        _, _, earliest, latest, *_ = self._asked(stretch, 0, 0)
        return int(self._found(stretch, earliest, latest)[3])

    def remembers(self, since: int) -> bool:
        """Whether the table surely knows the token of each block that it took since then: milliseconds by its own clock.

        A merged part counts as all the blocks that it was made of, so that this is too careful rather than not enough. Half of
        what the sink insists on: other inserts go on meanwhile, and a replica may lag behind. Who sees no part may see none.
        """
        with translated():
            ((blocks, seconds),) = self._client.query(
                _SINCE, {"table": self.table, "since": since}
            ).result_rows
        return 0 < int(blocks) <= LEAST_WINDOW // 2 and int(seconds) <= LEAST_WINDOW_SECONDS // 2

    def check_roll_ups(self, stretch: Stretch) -> None:
        """See that the roll-ups hold what `readings` holds, in the months of a stretch.

        Raises:
            Refused: they hold more, or less: the same was not dropped from both.

        """
        for look in range(_LOOKS):
            with translated():
                ((readings, rolled_up, months),) = self._client.query(_ROLL_UPS, _where(stretch)).result_rows
            if int(readings) == int(rolled_up or 0):
                return
            # A live insert reaches the roll-up a moment after the readings.
            time.sleep(0.1 * (look + 1))
        raise Refused(
            f"in {months} readings holds {readings:,} numbers and readings_1m_state {rolled_up:,}: drop the same partitions of both"
            f" (ALTER TABLE … DROP PARTITION), and fill them by another --epoch"
        )

    def _asked(self, stretch: Stretch, lowest: int, highest: int) -> tuple[Any, ...]:
        with translated():
            (row,) = self._client.query(
                _ASKED, _where(stretch) | {"lowest": lowest, "highest": highest}
            ).result_rows
        return tuple(row)

    def _found(self, stretch: Stretch, earliest: Any, latest: Any) -> tuple[int, int, int, int]:
        where = _where(stretch) | {"dialect": stretch.dialect, "earliest": earliest, "latest": latest}
        with translated():
            (row,) = self._client.query(_PRESENT.format(table=f"`{self.table}`"), where).result_rows
        lowest, highest, messages, rows = map(int, row)
        return lowest, highest, messages, rows


def _where(stretch: Stretch) -> dict[str, Any]:
    return {
        "topic": stretch.topic,
        "topic_id": stretch.topic_id,
        "partition": stretch.partition,
        "first": stretch.first,
        "end": stretch.end,
    }
