import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reading import INT64_MAX, INT64_MIN, Feature, Kind, Reading, reading

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@pytest.mark.parametrize(
    ("value", "kind", "number", "integer", "text"),
    [
        pytest.param(True, Kind.BOOL, 1.0, 1, "", id="true"),
        pytest.param(False, Kind.BOOL, 0.0, 0, "", id="false"),
        pytest.param(0, Kind.INT64, 0.0, 0, "", id="zero"),
        pytest.param(-7, Kind.INT64, -7.0, -7, "", id="negative"),
        pytest.param(INT64_MAX, Kind.INT64, float(INT64_MAX), INT64_MAX, "", id="largest int64"),
        pytest.param(INT64_MIN, Kind.INT64, float(INT64_MIN), INT64_MIN, "", id="smallest int64"),
        pytest.param(INT64_MAX + 1, Kind.STRING, 0.0, 0, "9223372036854775808", id="above int64"),
        pytest.param(INT64_MIN - 1, Kind.STRING, 0.0, 0, "-9223372036854775809", id="below int64"),
        pytest.param(21.5, Kind.FLOAT64, 21.5, 0, "", id="float"),
        pytest.param(5e-324, Kind.FLOAT64, 5e-324, 0, "", id="smallest float"),
        pytest.param(1.0, Kind.FLOAT64, 1.0, 0, "", id="float without a fraction"),
        pytest.param(math.nan, Kind.STRING, 0.0, 0, "nan", id="not a number"),
        pytest.param(-math.inf, Kind.STRING, 0.0, 0, "-inf", id="infinite"),
        pytest.param("on", Kind.STRING, 0.0, 0, "on", id="text"),
        pytest.param("21.5", Kind.STRING, 0.0, 0, "21.5", id="digits in quotes"),
        pytest.param("", Kind.STRING, 0.0, 0, "", id="empty text"),
        pytest.param({"x": 1, "y": [None]}, Kind.JSON, 0.0, 0, '{"x":1,"y":[null]}', id="object"),
        pytest.param([], Kind.JSON, 0.0, 0, "[]", id="array"),
    ],
)
def test_a_value_keeps_its_type(value, kind, number, integer, text):
    """Every type of JSON value has one kind, and loses nothing in it."""
    expected = Reading("temperature", "", "", 0, kind, number, integer, text)

    assert expected == reading("temperature", value, 0)


@given(st.integers())
def test_no_integer_loses_a_digit(value):
    """An integer of any size can be read back exactly."""
    typed = reading("count", value, 0)

    assert value == (typed.integer if typed.kind is Kind.INT64 else int(typed.text))


@given(st.lists(SCALARS) | st.dictionaries(st.text(), SCALARS))
def test_nested_json_is_kept_as_json(value):
    """An object or an array can be parsed back to the same value."""
    assert value == msgspec.json.decode(
        reading("state", value, 0).text.encode(), type=type(value), strict=False
    )


def test_sensor_and_unit_travel_when_known():
    """What the device said about the value beside the value stays with it."""
    expected = Reading("temperature", "inlet", "°C", 1_700_000_000_000_000, Kind.FLOAT64, 21.5, 0, "")

    assert expected == reading("temperature", 21.5, 1_700_000_000_000_000, sensor="inlet", unit="°C")


def test_a_value_is_telemetry_unless_told_otherwise():
    """Only what a device says about itself has to be named."""
    assert [Feature.TELEMETRY, Feature.ATTRIBUTES] == [
        typed.feature
        for typed in (
            reading("firmware", "1.2", 0),
            reading("firmware", "1.2", 0, feature=Feature.ATTRIBUTES),
        )
    ]
