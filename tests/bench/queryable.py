"""When what a fleet sent can be queried: somebody asks ClickHouse again and again how far each partition is."""

import time
from bisect import bisect_left
from typing import Any

_SEEN = "SELECT origin_partition, max(origin_offset) FROM messages WHERE %s GROUP BY 1"
_BEHIND = "(origin_topic = '%s' AND origin_partition = %d AND origin_offset > %d)"
"""What is new, by the primary key: to read all of it again at each look would take more of ClickHouse than to store it."""
_COUNT = "SELECT sum(readings) FROM messages WHERE received_at >= fromUnixTimestamp64Milli({since:Int64})"
_STORED = """
SELECT origin_partition, origin_offset, toUnixTimestamp64Milli(measured_at) FROM readings
WHERE measured_at >= fromUnixTimestamp64Milli({since:Int64}) AND measured_at < fromUnixTimestamp64Milli({until:Int64}) AND quantity = 'number'
"""


class Observer:
    """What was seen of the readings that were measured since a time, and when.

    A partition is stored in order, and a message after its readings: whoever sees an offset can query all until there.
    """

    def __init__(self, client: Any, topic: str, partitions: int, since: float) -> None:
        self._client = client
        self._topic = topic
        self._since = {"since": int(since * 1000)}
        self._offsets: list[list[int]] = [[-1] for _ in range(partitions)]
        self._times: list[list[float]] = [[0.0] for _ in range(partitions)]

    def look(self) -> None:
        """Ask once. What an answer holds could be queried when it was there."""
        behind = " OR ".join(
            _BEHIND % (self._topic, partition, offsets[-1]) for partition, offsets in enumerate(self._offsets)
        )
        found = self._client.query(_SEEN % behind).result_rows
        now = time.time()
        for partition, offset in found:
            self._offsets[partition].append(offset)
            self._times[partition].append(now)

    def stored(self) -> int:
        """How many readings came since and are there; this does read all messages."""
        return int(self._client.query(_COUNT, self._since).result_rows[0][0])

    def latencies(self, since: float, until: float) -> list[float]:
        """Seconds from when a message was due until it was seen, of all that were due between two times; sorted."""
        stored = self._client.query(
            _STORED, {"since": int(since * 1000), "until": int(until * 1000)}
        ).result_rows
        return sorted(self._seen(partition, offset) - due / 1000 for partition, offset, due in stored)

    def rate(self) -> float:
        """Messages a second: of each partition from the first that was seen to the last."""
        return sum(
            (offsets[-1] - offsets[1]) / (times[-1] - times[1])
            for offsets, times in zip(self._offsets, self._times, strict=True)
        )

    def _seen(self, partition: int, offset: int) -> float:
        return self._times[partition][bisect_left(self._offsets[partition], offset)]
