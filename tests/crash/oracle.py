"""Oracle: what ClickHouse holds of one cell, held against what its clients heard, row by row and roll-up by roll-up."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.crash.emitted import Emitted
from tests.crash.ledger import Ledger, Value

NAMED = 3
"""So many of the things that are wrong are named; all are counted."""

_READINGS = """
SELECT device, quantity, sensor, number, toUnixTimestamp64Micro(measured_at), count()
FROM readings WHERE startsWith(device, {prefix:String}) GROUP BY ALL
"""
_MESSAGES = """
SELECT device, countIf(fate = 'stored'), countIf(fate = 'duplicate'), countIf(fate = 'dead_letter'), sum(readings)
FROM messages WHERE startsWith(device, {prefix:String}) GROUP BY device
"""
_DEAD_LETTERS = (
    "SELECT device, count() FROM dead_letters WHERE startsWith(device, {prefix:String}) GROUP BY device"
)
_REPEATED_ORIGINS = """
SELECT origin_topic, origin_partition, origin_offset, count() FROM messages
WHERE startsWith(device, {prefix:String}) GROUP BY ALL HAVING count() > 1
"""
_REPEATED_POSITIONS = """
SELECT dialect, origin_partition, origin_offset, position, count() FROM readings
WHERE startsWith(device, {prefix:String}) GROUP BY ALL HAVING count() > 1
"""
_MINUTES = """
SELECT device, quantity, toUnixTimestamp(minute), sum(count), sum(sum), min(least), max(greatest)
FROM readings_1m WHERE startsWith(device, {prefix:String}) GROUP BY ALL
"""
_LATEST = """
SELECT device, quantity, number, toUnixTimestamp64Micro(measured_at) FROM latest WHERE startsWith(device, {prefix:String})
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong: nothing, if all is well."""

    lost: int
    """Values of accepted messages that are not there."""
    doubled: int
    """Values that are there more often than once."""
    findings: Sequence[str]
    """A sentence for each kind of thing that is wrong."""


class Oracle:
    """Judges one cell by the prefix of its devices' names."""

    def __init__(self, clickhouse: Any, emitted: Emitted, prefix: str, ledger: Ledger) -> None:
        self._clickhouse = clickhouse
        self._emitted = emitted
        self._prefix = prefix
        self._ledger = ledger

    def missing(self) -> int:
        """How many accepted values are not there yet; blocking."""
        stored = self._values()
        return sum(not stored[value] for value in self._promised())

    def verdict(self) -> Verdict:
        """Everything that is not as clients were told; blocking."""
        stored = self._values()
        possible = {value for message in self._ledger.messages for value in message.values}
        lost = [value for value in self._promised() if not stored[value]]
        doubled = {value: count for value, count in stored.items() if count > 1}
        findings = [
            *_named("accepted values are lost", lost),
            *_named("values are stored twice", doubled.items()),
            *_named("values are stored that nobody sent", stored.keys() - possible),
            *_named("origins have two rows in messages", self._rows(_REPEATED_ORIGINS)),
            *_named("positions of an origin have two rows in readings", self._rows(_REPEATED_POSITIONS)),
            *self._fates(stored),
            *self._roll_ups(stored),
            *self._two_fates(),
        ]
        return Verdict(len(lost), sum(doubled.values()) - len(doubled), findings)

    def _promised(self) -> list[Value]:
        return [value for message in self._ledger.messages if message.accepted for value in message.values]

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._clickhouse.query(query, {"prefix": self._prefix}).result_rows]

    def _values(self) -> Counter[Value]:
        return Counter({tuple(value): count for *value, count in self._rows(_READINGS)})  # type: ignore[misc]

    def _fates(self, stored: Counter[Value]) -> list[str]:
        """Each accepted attempt has a row in `messages`; no attempt has two, unless Kafka was away."""
        accepted, attempts, dead, unusable = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        for message in self._ledger.messages:
            accepted[message.device] += message.accepted
            attempts[message.device] += message.attempts
            if message.unusable:
                unusable[message.device] += message.attempts
                dead[message.device] += message.accepted
        # An edge that gives records up while Kafka is away has to begin a new producer epoch, and sends what was in flight
        # once more: such an attempt is on the raw log twice, with one identity.
        most = 2 if self._ledger.trouble else 1
        letters = Counter(dict(self._rows(_DEAD_LETTERS)))
        values = Counter(device for device, *_ in stored.elements())
        found: list[str] = []
        rows = {device: fates for device, *fates in self._rows(_MESSAGES)}
        for device in attempts:
            once, again, never, readings = rows.get(device, (0, 0, 0, 0))
            for what, low, actual, high in (
                ("rows in messages", accepted[device], once + again + never, most * attempts[device]),
                ("dead letters in messages", dead[device], never, most * unusable[device]),
                ("rows in dead_letters", never, letters[device], never),
                ("readings by messages", values[device], readings, values[device]),
            ):
                if not low <= actual <= high:
                    found.append(f"{device} has {actual} {what}, not {low} to {high}")
        return _named("devices have wrong counts", found)

    def _roll_ups(self, stored: Counter[Value]) -> list[str]:
        """`readings_1m` and `latest` are exactly what follows from the values that should be there."""
        minutes: Mapping[Any, list[float]] = defaultdict(list)
        newest: dict[Any, tuple[int, float]] = {}
        for device, quantity, _, number, at in stored:
            minutes[device, quantity, at // 60_000_000 * 60].append(number)
            newest[device, quantity] = max(newest.get((device, quantity), (0, 0.0)), (at, number))
        expected = {
            (*key, len(each), float(sum(each)), min(each), max(each)) for key, each in minutes.items()
        }
        latest = {(*key, number, at) for key, (at, number) in newest.items()}
        return [
            *_named("rows of readings_1m are wrong", expected ^ set(self._rows(_MINUTES))),
            *_named("rows of latest are wrong", latest ^ set(self._rows(_LATEST))),
        ]

    def _two_fates(self) -> list[str]:
        contradicted = [(origin, fates) for origin, fates in self._emitted.fates.items() if len(fates) > 1]
        return _named("origins were emitted with two fates", contradicted)


def _named(what: str, found: Iterable[object]) -> list[str]:
    """One sentence if there is any."""
    each = list(found)
    return [f"{len(each)} {what}, such as {'; '.join(map(str, each[:NAMED]))}"] if each else []
