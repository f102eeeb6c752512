"""ThingsBoard's telemetry JSON: which bodies the device API takes, and whether they say when."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


class NotTelemetry(ValueError):
    """The body is not of the shape that the device API takes."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A parsed body."""

    value: Mapping[str, Any] | list[Mapping[str, Any]]
    timed: bool
    """There is something in it, and every entry names its own time: its content makes it unique."""


def parse(body: bytes) -> Telemetry:
    """Parse strict JSON.

    An object that has both `ts` and `values` is a timed entry; any other object is flat keys and values, timed by the
    server's clock. An array holds any mixture of them.

    Raises:
        NotTelemetry: not JSON, not an object or an array of objects, or a timed entry with another kind of `ts` or
            `values`.

    """
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise NotTelemetry(f"not JSON: {error}") from error
    entries = value if isinstance(value, list) else [value]
    times = [_timed(entry) for entry in entries]
    return Telemetry(value, bool(times) and all(times))


def _timed(entry: Any) -> bool:
    if not isinstance(entry, dict):
        raise NotTelemetry("an entry is not an object")
    if "ts" not in entry or "values" not in entry:
        return False
    if not isinstance(entry["values"], dict):
        raise NotTelemetry("values is not an object")
    if not _is_time(entry["ts"]):
        raise NotTelemetry("ts is not a number")
    return True


def _is_time(ts: Any) -> bool:
    if isinstance(ts, str):
        return _INTEGER.fullmatch(ts) is not None
    return isinstance(ts, int | float) and not isinstance(ts, bool)
