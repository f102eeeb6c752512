"""Storage: what ClickHouse has of a raw topic, page by page."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.verify.errors import Unjudged
from headrace.verify.findings import Origin
from headrace.verify.page import PAGE, Page, Stored, Sum
from schemas.topics import RAW_TOPICS
from sinks.clickhouse.errors import translated
from sinks.sink import SinkError

CLOCKS_APART_US = 24 * 3600 * 1_000_000
"""How far the clock of an edge may be behind that of the others, before its readings cost a query of their own."""

_DIALECTS = {topic: dialect for dialect, topic in RAW_TOPICS.items()}

_MINE = """
    origin_topic = {topic:String} AND origin_topic_id = {topic_id:String} AND origin_partition = {partition:UInt16}
    AND origin_offset BETWEEN {first:Int64} AND {last:Int64}
"""
_MESSAGES = f"""
SELECT origin_offset, count(), any(toString(fate)), any(toString(reason)), any(identity), any(readings)
FROM messages WHERE {_MINE} GROUP BY origin_offset
"""  # noqa: S608 - of our own making
_LETTERS = f"SELECT origin_offset, count() FROM dead_letters WHERE {_MINE} GROUP BY origin_offset"  # noqa: S608 - as above

# `page.Page.expected_sum` has the same in Python. Lists begin at 1 in ClickHouse.
_SUMS = """
WITH toUInt64(origin_offset) * 11400714819323198485 AS multiplied,
    bitXor(multiplied, bitShiftRight(multiplied, 32)) * 11400714819323198485 AS mixed
SELECT origin_partition, intDiv(origin_offset, {page:Int64}) AS page, count(), sum(mixed * (2 * toUInt64(position) + 1))
FROM readings
WHERE dialect = {dialect:String} AND received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
    AND origin_offset BETWEEN {firsts:Array(Int64)}[origin_partition + 1] AND {lasts:Array(Int64)}[origin_partition + 1]
GROUP BY origin_partition, page
"""
_EARLIEST = """
SELECT min(toUnixTimestamp64Micro(received_at)) FROM messages
WHERE origin_topic = {topic:String} AND origin_topic_id = {topic_id:String} AND fate = 'stored'
    AND origin_offset BETWEEN {firsts:Array(Int64)}[origin_partition + 1] AND {lasts:Array(Int64)}[origin_partition + 1]
"""
_READINGS = """
SELECT origin_offset, position, toUnixTimestamp64Micro(received_at) AS at, count() FROM readings
WHERE dialect = {dialect:String} AND origin_partition = {partition:UInt16}
    AND origin_offset BETWEEN {first:Int64} AND {last:Int64}
GROUP BY origin_offset, position, at
"""


class Storage:
    """The tables of one raw topic, within a range of offsets of each of its partitions.

    The table `readings` is not ordered by origin: its rows are summed by page in one pass over the table, and looked at
    only where the sum differs. Memory: a page, and two numbers for each page of the range.

    Args:
        client: of clickhouse-connect.
        ranges: the topic's partitions, with the first and the last offset of each.

    Raises (every method):
        Unjudged: ClickHouse is away, or refuses.

    """

    def __init__(self, client: Any, ranges: Mapping[Origin, tuple[int, int]]) -> None:
        self._client = client
        self._ranges = ranges
        self._since = 0
        self._sums: dict[tuple[int, int], Sum] = {}

    def sum(self) -> None:
        """Take the one pass over the table `readings`."""
        topic, topic_id = next((origin.topic, origin.topic_id) for origin in self._ranges)
        count = max(origin.partition for origin in self._ranges) + 1
        firsts, lasts = [1] * count, [0] * count
        for origin, (first, last) in self._ranges.items():
            firsts[origin.partition], lasts[origin.partition] = first, last
        ranges = {"firsts": firsts, "lasts": lasts}
        ((earliest,),) = self._ask(_EARLIEST, {"topic": topic, "topic_id": topic_id} | ranges)
        # A topic that was deleted left readings with the same offsets, but of an earlier time.
        self._since = max(0, earliest - CLOCKS_APART_US)
        asked = {"dialect": _DIALECTS[topic], "since": self._since, "page": PAGE} | ranges
        for partition, page, rows, hashes in self._ask(_SUMS, asked):
            self._sums[partition, page] = Sum(rows, hashes)

    def messages(self, origin: Origin, first: int, last: int) -> dict[int, Stored]:
        """The rows of `messages`."""
        return {
            offset: Stored(rows, fate, reason, identity, readings)
            for offset, rows, fate, reason, identity, readings in self._ask(
                _MESSAGES, _mine(origin, first, last)
            )
        }

    def letters(self, origin: Origin, first: int, last: int) -> dict[int, int]:
        """Rows of `dead_letters`, by offset."""
        return {offset: rows for offset, rows in self._ask(_LETTERS, _mine(origin, first, last))}  # noqa: C416 - of rows

    def agrees(self, origin: Origin, page: Page) -> bool:
        """Whether the table `readings` has the rows that the page expects, by their sum."""
        return self._sums.get((origin.partition, page.first // PAGE), Sum()) == page.expected_sum()

    def readings(self, origin: Origin, page: Page) -> dict[int, Counter[int]]:
        """The rows of the table `readings` that belong to the page: offset to positions.

        The table does not know the topic's id. What was received at another time than the message, and before the range,
        is of a topic that was deleted.
        """
        asked = _mine(origin, page.first, page.last) | {"dialect": _DIALECTS[origin.topic]}
        found: dict[int, Counter[int]] = defaultdict(Counter)
        for offset, position, received_at, count in self._ask(_READINGS, asked):
            message = page.emitted.get(offset)
            if received_at >= self._since or (message is not None and received_at == message.received_at):
                found[offset][position] += count
        return found

    def _ask(self, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            with translated():
                rows: Sequence[Sequence[Any]] = self._client.query(query, parameters).result_rows
        except SinkError as error:
            raise Unjudged(f"ClickHouse: {error}") from error
        return rows


def _mine(origin: Origin, first: int, last: int) -> dict[str, Any]:
    place = {"topic": origin.topic, "topic_id": origin.topic_id, "partition": origin.partition}
    return place | {"first": first, "last": last}
