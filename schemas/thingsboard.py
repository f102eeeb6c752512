"""A ThingsBoard body: entries with their times, values with the types that ThingsBoard gives them.

The edge asks whether a body will do, the normaliser what is in it: the same code, so that they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas.lenient_json import DEPTH, NotJson, Number, parse
from schemas.reading import Feature
from schemas.thingsboard_values import MOST_DECIMALS, NoTime, Value, milliseconds, values_of


class NotTelemetry(ValueError):
    """The body is not of the shape that the device API takes."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Values of one instant."""

    ts: int | None
    """Milliseconds since 1970, 64 bits; None where the server's clock counts."""
    values: Mapping[str, Value]


class Untyped(msgspec.Struct, frozen=True, gc=False):
    """An entry as it was read: all that it takes to accept it."""

    ts: int | None
    values: Mapping[str, Any]


_TELEMETRY = Feature.TELEMETRY
_Values = dict[str, bool | int | float | str | dict[str, Any] | list[Any] | None]


class _Timed(Untyped, frozen=True, gc=False, forbid_unknown_fields=True):
    """A timed entry of the usual kind."""

    ts: int
    values: _Values


def read(feature: Feature, body: bytes) -> Sequence[Untyped]:
    """The entries of a body, their values not looked at.

    In telemetry an object that has both `ts` and `values` is a timed entry, any other object is flat keys and values; an
    array holds any mixture of them. Attributes are one flat object, whatever its keys are called.

    Raises:
        NotTelemetry: not JSON, not an object or (telemetry) an array of objects, or a timed entry with another kind of
            `ts` or `values`.

    """
    usual = _usual(feature, body)
    return _thoroughly(feature, body) if usual is None else usual


def _thoroughly(feature: Feature, body: bytes) -> Sequence[Untyped]:
    value = _parsed(body)
    if feature is not _TELEMETRY:
        return [Untyped(None, _object(value))]
    return [_entry(item) for item in (value if isinstance(value, list) else [value])]


def typed(found: Sequence[Untyped]) -> Sequence[Entry]:
    """The same entries with their values; every value has a type, so this cannot fail. null is no value."""
    return [Entry(entry.ts, values_of(entry.values)) for entry in found]


def is_timed(found: Sequence[Untyped]) -> bool:
    """There is something in it, and every entry names its own time: its content makes it unique."""
    for entry in found:  # a generator takes three times as long for one
        if entry.ts is None:
            return False
    return bool(found)


# The hook is for what is nested, where a number keeps its text.
_timed = msgspec.json.Decoder(_Timed | list[_Timed], float_hook=Number)
_flat = msgspec.json.Decoder(_Values, float_hook=Number)
_strict = msgspec.json.Decoder(float_hook=Number)

_ALIKE = bytes.maketrans(b"123456789+-E", b"00000000000e")
_EXPONENT, _LONG = b"0e0", b"0" * (MOST_DECIMALS + 1)
"""A number whose text says more than its type, after all digits and signs were made alike."""


def _usual(feature: Feature, body: bytes) -> Sequence[Untyped] | None:
    """The entries of a body as most are: strict JSON, flat or timed throughout, without the numbers that have rules of their own.

    A short cut: whatever is not usual, mistakes included, is None, and means what `_thoroughly` makes of it.
    """
    alike = body.translate(_ALIKE)
    # Not `in`, which tries first whether its left side is a number: that takes longer than to search.
    if alike.find(_EXPONENT) >= 0 or alike.find(_LONG) >= 0:
        return None
    try:
        if feature is _TELEMETRY and body.find(b'"ts"') >= 0:
            decoded = _timed.decode(body)
            found = decoded if isinstance(decoded, list) else [decoded]
        else:
            values = _flat.decode(body)
            found = [] if feature is _TELEMETRY and _has_both(values) else [Untyped(None, values)]
    except (ValueError, RecursionError):
        return None
    return found if found and not _is_crowded(body, len(found)) else None


def _parsed(body: bytes) -> Any:
    try:
        value = _strict.decode(body)
    except RecursionError as error:
        raise NotTelemetry("nested too deeply") from error
    except ValueError:
        value = _leniently(body)
    if _is_crowded(body):
        _check_depth(value)
    return value


def _is_crowded(body: bytes, timed: int = 1) -> bool:
    """Whether there are so many brackets that something could be nested too deeply; all timed entries but one explain two."""
    return len(body) > DEPTH and body.count(b"[") + body.count(b"{") - 2 * (timed - 1) > DEPTH


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
    if _has_both(members):
        return Untyped(_instant(members["ts"]), _object(members["values"]))
    return Untyped(None, members)


def _has_both(members: Mapping[str, Any]) -> bool:
    return "ts" in members and "values" in members


def _instant(ts: Any) -> int:
    try:
        return milliseconds(ts)
    except NoTime as error:
        raise NotTelemetry(str(error)) from error
