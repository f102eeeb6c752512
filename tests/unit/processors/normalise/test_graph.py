from typing import Any

import pytest

from processors.normalise.graph import readings
from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason
from schemas.reading import Kind
from tests.support.raw import LOGGED_AT, message

NOON = "2026-11-21T12:00:00Z"
NOON_US = 1_795_262_400_000_000


def of(*items):
    """The readings in a message of these items."""
    return list(readings(message({"telemetry": list(items)}, dialect="graph")))


def item(**properties: Any):
    """An item that counts people at noon, unless told otherwise."""
    return {"sensorType": "peopleCount", "intValue": 7, "timestamp": NOON} | properties


def test_an_item_is_a_reading():
    """The sensor's type is the quantity, and stands for a sensor that has no id."""
    (reading,) = of(item())

    assert ("peopleCount", "peopleCount", NOON_US, Kind.INT64, 7) == (
        reading.quantity,
        reading.sensor,
        reading.measured_at,
        reading.kind,
        reading.integer,
    )


def test_a_sensor_has_its_id():
    """Of several sensors of one type each keeps its name."""
    assert ["east", "west"] == [r.sensor for r in of(item(sensorId="east"), item(sensorId="west"))]


@pytest.mark.parametrize("sensor", ["", None, 5])
def test_an_id_that_is_none_is_the_type(sensor):
    """A sensor id that names nothing does not count."""
    (reading,) = of(item(sensorId=sensor))

    assert "peopleCount" == reading.sensor


def test_every_value_is_a_reading():
    """An item with several values becomes several readings, false among them; null is no value."""
    found = of(item(boolValue=False, eventValue=None))

    assert [(Kind.BOOL, 0), (Kind.INT64, 7)] == [(r.kind, r.integer) for r in found]


def test_an_item_without_a_value_is_no_reading():
    """An item that says nothing becomes nothing."""
    assert [] == of(item(intValue=None))


def test_an_event_keeps_its_place():
    """The place of a badge's event stays with the event, which is of little use without."""
    (reading,) = of(item(intValue=None, eventValue={"eventType": "badgeIn"}, locationHint="Building 1"))

    assert (Kind.JSON, '{"eventType":"badgeIn","locationHint":"Building 1"}') == (reading.kind, reading.text)


def test_an_item_without_a_time_was_measured_when_it_came():
    """Without a timestamp the time of receipt counts."""
    (reading,) = of(item(timestamp=None))

    assert LOGGED_AT * 1000 == reading.measured_at


@pytest.mark.parametrize("sensor_id", [None, "", "Occupancy", "occupancy"])
def test_a_sensor_type_has_one_spelling(sensor_id):
    """A type in another case, and the id that the service makes of it, are the type as documented."""
    (reading,) = of({"sensorType": "OCCUPANCY", "sensorId": sensor_id, "boolValue": True, "timestamp": NOON})

    assert ("occupancy", "occupancy") == (reading.quantity, reading.sensor)


def test_names_are_read_in_any_case():
    """As the service does, property names are matched without regard to case."""
    (reading,) = of({"SENSORTYPE": "occupancy", "SensorID": "s", "BoolValue": True, "TimeStamp": NOON})

    assert ("occupancy", "s", 1, NOON_US) == (
        reading.quantity,
        reading.sensor,
        reading.integer,
        reading.measured_at,
    )


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"telemetry": {}},
        {"telemetry": [1]},
        {"telemetry": [{}]},
        {"telemetry": [item(sensorType="")]},
        {"telemetry": [item(sensorType=5)]},
        {"telemetry": [item(timestamp="noon")]},
        {"telemetry": [item(timestamp=5)]},
    ],
)
def test_another_shape_is_malformed(body):
    """A message of another shape is no reading at all, not even in part."""
    with pytest.raises(Unusable) as raised:
        list(readings(message(body, dialect="graph")))

    assert Reason.MALFORMED == raised.value.reason


def test_a_time_that_cannot_be_stored():
    """A measurement of the year 1000 cannot be held."""
    with pytest.raises(Unusable) as raised:
        of(item(timestamp="1000-01-01T00:00:00Z"))

    assert Reason.UNUSABLE_TIME == raised.value.reason
