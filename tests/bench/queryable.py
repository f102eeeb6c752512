"""When what a fleet sent can be queried: somebody asks ClickHouse again and again how far each partition is."""

import time
from bisect import bisect_left
from collections import defaultdict
from typing import Any

_SEEN = """
SELECT origin_partition, max(origin_offset), count() FROM readings
WHERE measured_at >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY 1
"""
_STORED = """
SELECT origin_partition, origin_offset, toUnixTimestamp64Milli(measured_at) FROM readings
WHERE measured_at >= fromUnixTimestamp64Milli({since:Int64}) AND measured_at < fromUnixTimestamp64Milli({until:Int64}) AND quantity = 'number'
"""


class Observer:
    """What was seen of the readings that were measured since a time, and when.

    A partition is stored in order: whoever sees an offset sees all before it.
    """

    def __init__(self, client: Any, since: float) -> None:
        self._client = client
        self._since = {"since": int(since * 1000)}
        self._offsets: dict[int, list[int]] = defaultdict(list)
        self._times: dict[int, list[float]] = defaultdict(list)
        self.readings: list[tuple[float, int]] = []
        """When so many were seen, growing."""

    def look(self) -> None:
        """Ask once. What an answer holds could be queried when it was there."""
        found = self._client.query(_SEEN, self._since).result_rows
        now = time.time()
        for partition, offset, _ in found:
            if offset > next(reversed(self._offsets[partition]), -1):
                self._offsets[partition].append(offset)
                self._times[partition].append(now)
        self.readings.append((now, sum(count for *_, count in found)))

    def latencies(self, since: float, until: float) -> list[float]:
        """Seconds from when a message was due until it was seen, of all that were due between two times; sorted."""
        stored = self._client.query(
            _STORED, {"since": int(since * 1000), "until": int(until * 1000)}
        ).result_rows
        return sorted(self._seen(partition, offset) - due / 1000 for partition, offset, due in stored)

    def rate(self) -> float:
        """Readings a second, from the first that were seen to the last."""
        last = self.readings[-1][1]
        begun = next(seen for seen in self.readings if seen[1])
        ended = next(seen for seen in self.readings if seen[1] == last)
        return (ended[1] - begun[1]) / (ended[0] - begun[0])

    def _seen(self, partition: int, offset: int) -> float:
        return self._times[partition][bisect_left(self._offsets[partition], offset)]
