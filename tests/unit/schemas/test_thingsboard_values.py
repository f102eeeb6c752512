"""Times and values beyond what samples can show."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.lenient_json import Number
from schemas.thingsboard_values import NoTime, Value, milliseconds, values_of


def value_of(found: object) -> Value:
    """The typed value of one member."""
    return values_of({"a": found})["a"]


def java_long(number: int) -> int:
    """The lowest 64 bits, as a signed number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@given(st.integers(-(10**90), 10**90), st.integers(0, 70))
def test_a_number_wraps(number, zeros):
    """A time as a number is what is left of it in 64 bits, however it is written."""
    wanted = java_long(number * 10**zeros)
    assert milliseconds(number * 10**zeros) == wanted
    assert milliseconds(Number(f"{number}e{zeros}")) == wanted
    assert milliseconds(Number(f"{number}{'0' * zeros}.99")) == wanted


@pytest.mark.parametrize(
    "text", ["1e-5", "0e9", "1e64", "1e400", "1e99999999999999999999", "0.9", "-0.9", "1e-99999999"]
)
def test_nothing_is_left(text):
    """Fractions are cut, and where all 64 bits are beyond the digits there are zeros."""
    assert milliseconds(Number(text)) == 0


@pytest.mark.parametrize(
    "ts", ["", "+", "1.5", "1e3", " 1", "9223372036854775808", None, True, {}, [], [1, 2], ["x"]]
)
def test_no_time(ts):
    """What Java would not make a long of is no time."""
    with pytest.raises(NoTime):
        milliseconds(ts)


@given(st.integers(-(10**22), 10**22))
def test_integers_keep_their_digits(number):
    """An integer is the same as a number, as text and with leading zeros, inside of 64 bits and beyond."""
    wanted = number if java_long(number) == number else str(number)
    sign = "-" if number < 0 else ""
    for written in (number, Number(number), str(number), f"{sign}000{abs(number)}"):
        assert value_of(written) == wanted
        assert type(value_of(written)) is type(wanted)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_doubles_are_read_back(number):
    """A number with at most 16 decimals and a plain point is the double that it was."""
    text = f"{number:.16f}"
    assert value_of(Number(text)) == float(text)
    assert type(value_of(Number(text))) is float


@pytest.mark.parametrize("written", ["7" * 120_000, "7" * 120_000 + ".5", "7" * 120_000 + "e3"])
def test_many_digits_cost_little(written):
    """A hundred thousand digits are neither a time nor a value that holds up the edge."""
    before = time.process_time()
    milliseconds(Number(written))
    value_of(Number(written))
    assert time.process_time() - before < 0.25
