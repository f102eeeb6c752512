"""Reading: one value of one quantity, from one sensor, at one instant."""

from enum import StrEnum
from math import isfinite
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


# To Python 3.11 looking up a member costs as much as making a reading.
_BOOL, _INT64, _FLOAT64, _STRING, _JSON = Kind


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
    found = type(value)
    number, integer, text = 0.0, 0, ""
    if found is float and isfinite(value):
        kind, number = _FLOAT64, value
    elif found is int and INT64_MIN <= value <= INT64_MAX:
        kind, number, integer = _INT64, float(value), value
    elif found is bool:
        kind, number, integer = _BOOL, float(value), int(value)
    elif found is dict or found is list:
        kind, text = _JSON, msgspec.json.encode(value).decode()
    else:
        kind, text = _STRING, str(value)
    return Reading(quantity, sensor, unit, measured_at, kind, number, integer, text, feature)
