"""Reading: one value of one quantity, from one sensor, at one instant."""

import math
from enum import StrEnum
from typing import Any

import msgspec

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

EARLIEST_US = -2_208_988_800_000_000
LATEST_US = 10_413_791_999_999_999
"""1900-01-01 and the last microsecond of 2299: what ClickHouse's DateTime64 holds without loss."""


class Kind(StrEnum):
    """Which type a value has; it is never guessed again after the edge's dialect was understood."""

    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"
    JSON = "json"


class Feature(StrEnum):
    """What a value is about: the same quantity of another feature is another one."""

    TELEMETRY = "telemetry"
    """What the device measures."""
    ATTRIBUTES = "attributes"
    """What the device says about itself, valid until it says otherwise."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One typed value.

    `number` holds bool, int64 and float64 (so that an average needs no case distinction), `integer` holds bool and
    int64 exactly, `text` holds string and json. The fields that a kind does not use are 0 and "".
    """

    quantity: str
    sensor: str
    unit: str
    measured_at: int
    """Microseconds since 1970, UTC."""
    kind: Kind
    number: float
    integer: int
    text: str
    feature: Feature = Feature.TELEMETRY


def reading(
    quantity: str,
    value: Any,
    measured_at: int,
    *,
    sensor: str = "",
    unit: str = "",
    feature: Feature = Feature.TELEMETRY,
) -> Reading:
    """Type a parsed JSON value without loss.

    An integer beyond 64 bits and a float without a finite value keep their digits as a string; objects and arrays keep
    their JSON.
    """
    match value:
        case bool():
            typed = (Kind.BOOL, float(value), int(value), "")
        case int() if INT64_MIN <= value <= INT64_MAX:
            typed = (Kind.INT64, float(value), value, "")
        case float() if math.isfinite(value):
            typed = (Kind.FLOAT64, value, 0, "")
        case str():
            typed = (Kind.STRING, 0.0, 0, value)
        case dict() | list():
            typed = (Kind.JSON, 0.0, 0, msgspec.json.encode(value).decode())
        case _:
            typed = (Kind.STRING, 0.0, 0, str(value))
    kind, number, integer, text = typed
    return Reading(quantity, sensor, unit, measured_at, kind, number, integer, text, feature)
