import pytest

from processors.normalise.digital_twins import readings
from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason
from schemas.reading import Kind
from tests.support.raw import LOGGED_AT, message

NOON_US = 1_795_262_400_000_000


def of(body, **attributes: str):
    """The readings in a message of this body."""
    return list(readings(message(body, dialect="digital_twins", attributes=attributes)))


def test_every_property_is_a_reading():
    """A property's name is the quantity; each value keeps its type."""
    found = of({"on": True, "n": 5, "t": 21.5, "mode": "eco", "box": {"a": [1]}})

    assert [
        ("on", Kind.BOOL, ""),
        ("n", Kind.INT64, ""),
        ("t", Kind.FLOAT64, ""),
        ("mode", Kind.STRING, "eco"),
        ("box", Kind.JSON, '{"a":[1]}'),
    ] == [(r.quantity, r.kind, r.text) for r in found]


def test_null_is_no_value():
    """A property that is null is left out."""
    assert [] == of({"n": None})


def test_a_component_is_the_sensor():
    """What a component says is told apart from what its twin says."""
    assert ["thermostat1", ""] == [of({"n": 1}, component="thermostat1")[0].sensor, of({"n": 1})[0].sensor]


def test_the_source_time_counts():
    """A time that the caller names is that of the measurement."""
    (reading,) = of({"n": 1}, source_time="2026-11-21T12:00:00Z")

    assert NOON_US == reading.measured_at


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"source_time": "noon"},
        {"source_time": ""},
        {"source_time": "0001-01-01T00:00:00Z"},
        pytest.param(
            {"source_time": "01/01/01 0:00:00 +00:00"}, id="what .NET sends where it was given none"
        ),
    ],
)
def test_without_a_source_time_that_of_receipt_counts(attributes):
    """A source time that is missing, that nobody can read or that cannot be stored is not held against the message."""
    (reading,) = of({"n": 1}, **attributes)

    assert LOGGED_AT * 1000 == reading.measured_at


@pytest.mark.parametrize("time", ["2001-01-01T00:00:00Z", "01/01/01 0:00:01 +00:00"])
def test_a_source_time_of_2001_counts(time):
    """A time beside the one that .NET sends for none is a time."""
    (reading,) = of({"n": 1}, source_time=time)

    assert 978_307_200 == reading.measured_at // 1_000_000 // 10 * 10


@pytest.mark.parametrize("body", [[], 5, "text", None, b"null"])
def test_another_shape_is_malformed(body):
    """Telemetry that is no object cannot be used."""
    with pytest.raises(Unusable) as raised:
        of(body if body is not None else b"{")

    assert Reason.MALFORMED == raised.value.reason
