"""A ThingsBoard body: entries with their times, values with the types that ThingsBoard gives them.

The edge asks whether a body will do, the normaliser what is in it: the same code, so that they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.lenient_json import DEPTH, NotJson, Number, parse
from schemas.reading import Feature
from schemas.thingsboard_values import NoTime, Value, milliseconds, value_of


class NotTelemetry(ValueError):
    """The body is not of the shape that the device API takes."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Values of one instant."""

    ts: int | None
    """Milliseconds since 1970, 64 bits; None where the server's clock counts."""
    values: Mapping[str, Value]


class Untyped(NamedTuple):
    """An entry as it was read: all that it takes to accept it."""

    ts: int | None
    members: Mapping[str, Any]


def entries(feature: Feature, body: bytes) -> Sequence[Entry]:
    """What a body of that feature holds.

    Raises:
        NotTelemetry: it is none.

    """
    return typed(read(feature, body))


def read(feature: Feature, body: bytes) -> Sequence[Untyped]:
    """The entries of a body, their values not looked at.

    In telemetry an object that has both `ts` and `values` is a timed entry, any other object is flat keys and values; an
    array holds any mixture of them. Attributes are one flat object, whatever its keys are called.

    Raises:
        NotTelemetry: not JSON, not an object or (telemetry) an array of objects, or a timed entry with another kind of
            `ts` or `values`.

    """
    value = _parsed(body)
    if feature is Feature.ATTRIBUTES:
        return [Untyped(None, _object(value))]
    return [_entry(item) for item in (value if isinstance(value, list) else [value])]


def typed(found: Sequence[Untyped]) -> Sequence[Entry]:
    """The same entries with their values; every value has a type, so this cannot fail. null is no value."""
    return [
        Entry(
            entry.ts,
            {name: value_of(value) for name, value in entry.members.items() if value is not None},
        )
        for entry in found
    ]


def is_timed(found: Sequence[Untyped]) -> bool:
    """There is something in it, and every entry names its own time: its content makes it unique."""
    return bool(found) and all(entry.ts is not None for entry in found)


_strict = msgspec.json.Decoder(float_hook=Number)


def _parsed(body: bytes) -> Any:
    try:
        value = _strict.decode(body)
    except RecursionError as error:
        raise NotTelemetry("nested too deeply") from error
    except ValueError:
        value = _leniently(body)
    if len(body) > DEPTH and body.count(b"[") + body.count(b"{") > DEPTH:
        _check_depth(value)
    return value


def _leniently(body: bytes) -> Any:
    try:
        return parse(body)
    except NotJson as error:
        raise NotTelemetry(f"not JSON: {error}") from error


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    if any(isinstance(item, dict | list) for item in level):
        raise NotTelemetry("nested too deeply")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotTelemetry("not an object, where one is needed")
    return value


def _entry(item: Any) -> Untyped:
    members = _object(item)
    if "ts" in members and "values" in members:
        return Untyped(_instant(members["ts"]), _object(members["values"]))
    return Untyped(None, members)


def _instant(ts: Any) -> int:
    try:
        return milliseconds(ts)
    except NoTime as error:
        raise NotTelemetry(str(error)) from error
