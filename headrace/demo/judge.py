"""Judge: what ClickHouse holds, held against what clients were told."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.demo.ledger import Ledger, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What ClickHouse holds of one dialect's devices."""

    stored: int
    duplicates: int
    dead_letters: int
    readings: int
    p50: float
    """Seconds from the edge to ClickHouse."""
    p99: float


_MESSAGES = """
SELECT dialect,
    countIf(fate = 'stored'), countIf(fate = 'duplicate'), countIf(fate = 'dead_letter'), sum(readings),
    quantileIf(0.5)(stored_at - received_at, fate = 'stored'), quantileIf(0.99)(stored_at - received_at, fate = 'stored')
FROM messages WHERE startsWith(device, {run:String}) GROUP BY dialect
"""
_READINGS = """
SELECT dialect, device, feature, quantity, sensor, number, count() FROM readings WHERE startsWith(device, {run:String}) GROUP BY ALL
"""
_ROLL_UP = "SELECT sum(count), sum(sum) FROM readings_1m WHERE startsWith(device, {run:String})"


def arrived(client: Any, run: str) -> int:
    """How many messages of this run have met their fate in ClickHouse."""
    query = "SELECT count() FROM messages WHERE startsWith(device, {run:String})"
    return int(client.query(query, {"run": run}).result_rows[0][0])


def stored(client: Any, run: str) -> Mapping[str, Stored]:
    """What ClickHouse holds, by dialect."""
    names = ("stored", "duplicates", "dead_letters", "readings", "p50", "p99")
    return {
        dialect: Stored(**dict(zip(names, map(float, row), strict=True)))  # type: ignore[arg-type]
        for dialect, *row in client.query(_MESSAGES, {"run": run}).result_rows
    }


def differences(client: Any, run: str, ledgers: Mapping[str, Ledger]) -> list[str]:
    """Everything that is not exactly as clients were told; empty when all is well."""
    found: list[str] = []
    held = stored(client, run)
    values: dict[str, Counter[Value]] = {dialect: Counter() for dialect in ledgers}
    for dialect, *value, count in client.query(_READINGS, {"run": run}).result_rows:
        values[dialect][tuple(value)] = count
    for dialect, ledger in ledgers.items():
        lost, surplus = ledger.values - values[dialect], values[dialect] - ledger.values
        found += [f"{dialect}: {lost.total()} readings lost, such as {next(iter(lost))}"] if lost else []
        found += (
            [f"{dialect}: {surplus.total()} readings too many, such as {next(iter(surplus))}"]
            if surplus
            else []
        )
        fates = held[dialect]
        for name, expected, actual in (
            ("duplicates", ledger.repeats, fates.duplicates),
            ("dead letters", ledger.unusable, fates.dead_letters),
        ):
            found += [f"{dialect}: {actual:.0f} {name}, expected {expected}"] if expected != actual else []
    all_values = sum((ledger.values for ledger in ledgers.values()), Counter[Value]())
    ((count, total),) = client.query(_ROLL_UP, {"run": run}).result_rows
    if (count, total) != (all_values.total(), sum(number for *_, number in all_values.elements())):
        found.append(f"readings_1m: {count} readings with the sum {total}, unlike the readings themselves")
    return found
