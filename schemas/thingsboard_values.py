"""Values and times as ThingsBoard's Java types them, from what a JSON reader found."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from schemas.lenient_json import Number
from schemas.reading import INT64_MAX, INT64_MIN

MOST_DECIMALS = 16
"""Beyond it a number is kept as text: a double would lose digits."""

MOST_ZEROS = 1000
"""`1e400` is kept with all its digits; a longer one, that could fill the memory, as it was written."""

_SIGNED = re.compile(r"[+-]?\d+")
_NUMERIC = re.compile(r"-?\d*\.?\d+")
_DIGITS_OF_INT64 = 20
NO_MINUS = 0.0
"""Added to -0.0 it is 0.0: Java's BigDecimal, that ThingsBoard reads with, has no other."""
_CLOSED_BY_2_64 = 64
"""10 to this power is a multiple of 2 to the same."""


class NoTime(ValueError):
    """Java would not make a time of it."""


class Json(msgspec.Struct, frozen=True, gc=False):
    """An object or array as a value."""

    text: str


Value = bool | int | float | str | Json
"""BOOLEAN, LONG (64 bits), DOUBLE (finite), STRING or JSON."""


_nested = msgspec.json.Encoder(enc_hook=lambda number: msgspec.Raw(number.encode()))


def values_of(found: Mapping[str, Any]) -> Mapping[str, Value]:
    """The typed values, under their names; null is none."""
    typed: dict[str, Value] = {}
    for name, value in found.items():
        if type(value) is float:
            typed[name] = value + NO_MINUS
        elif value is not None:
            typed[name] = value_of(value)
    return typed


def value_of(found: Any) -> Value:
    """The typed value of what is not null."""
    return _VALUES[type(found)](found)


def milliseconds(ts: Any) -> int:
    """Java's `getAsLong`: text has to be an integer of 64 bits, a number is cut and wraps.

    Raises:
        NoTime: neither.

    """
    while isinstance(ts, list) and len(ts) == 1:
        ts = ts[0]
    if isinstance(ts, Number):
        return _wrapped(ts)
    if isinstance(ts, int) and not isinstance(ts, bool):
        return (ts - INT64_MIN) % (1 << 64) + INT64_MIN
    if not isinstance(ts, str) or not _SIGNED.fullmatch(ts):
        raise NoTime("ts is not a number")
    number = Decimal(ts)
    if not INT64_MIN <= number <= INT64_MAX:
        raise NoTime("ts as text has more than 64 bits")
    return int(number)


def _wrapped(text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return 0  # an exponent that no library reads; the lowest 64 bits are zeros either way
    exponent = number.as_tuple().exponent
    if not number or number.adjusted() < 0 or not isinstance(exponent, int) or exponent >= _CLOSED_BY_2_64:
        return 0
    # Further digits change nothing in 64 bits, and turning them into an integer takes the square of their number.
    whole = f"{number.copy_abs():f}".partition(".")[0][-_CLOSED_BY_2_64:]
    return (int(whole) * (1 if number > 0 else -1) - INT64_MIN) % (1 << 64) + INT64_MIN


def _double(value: float) -> Value:
    return value + NO_MINUS


def _text(value: str) -> Value:
    # The last character decides mostly, and is cheap to look at.
    return _decimal(value) if value[-1:].isdecimal() and _NUMERIC.fullmatch(value) else value


def _integer(value: int) -> Value:
    # More digits than Python would turn into text arrive as a `Number`.
    return value if INT64_MIN <= value <= INT64_MAX else str(value)


def _json(value: Any) -> Value:
    return Json(_nested.encode(value).decode())


def _number(text: str) -> Value:
    """Integral and without a plain decimal point is LONG, else DOUBLE; what either would lose is kept as its digits."""
    return _scientific(text) if "e" in text or "E" in text else _decimal(text)


def _decimal(text: str) -> Value:
    if len(text) <= MOST_DECIMALS:
        return float(text) + NO_MINUS if "." in text else int(text)
    point = text.find(".")
    if point >= 0:
        decimals = len(text) - point - 1
        return _finite(float(text), text) if decimals <= MOST_DECIMALS else _plain(Decimal(text), text)
    if len(text) <= _DIGITS_OF_INT64 and INT64_MIN <= (number := int(text)) <= INT64_MAX:
        return number
    # Leading zeros may make a small number long.
    exact = Decimal(text)
    return int(exact) if INT64_MIN <= exact <= INT64_MAX else _plain(exact, text)


def _scientific(text: str) -> Value:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return str(text)
    if not number:
        return 0
    if number == number.to_integral_value():
        fits = number.adjusted() < _DIGITS_OF_INT64 and INT64_MIN <= number <= INT64_MAX
        return int(number) if fits else _plain(number, text)
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent <= MOST_DECIMALS:
        return _finite(float(number), text)
    return _plain(number, text)


def _finite(number: float, text: str) -> Value:
    return number + NO_MINUS if number - number == 0 else _plain(Decimal(text), text)


def _plain(number: Decimal, text: str) -> str:
    """All digits, and no exponent."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > MOST_ZEROS + len(text):
        return str(text)
    return f"{number or number.copy_abs():f}"


_VALUES: Mapping[type, Callable[[Any], Value]] = {
    bool: bool,
    float: _double,
    int: _integer,
    Number: _number,
    str: _text,
    dict: _json,
    list: _json,
}
"""What becomes of the types that a reader yields."""
