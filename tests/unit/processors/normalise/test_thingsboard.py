import pytest

from processors.normalise.thingsboard import readings
from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason
from schemas.raw_message import Attribute
from schemas.reading import Feature
from tests.support.raw import LOGGED_AT, message

RECEIVED = LOGGED_AT * 1000
TS, TS_US = 1_451_649_600_512, 1_451_649_600_512_000


def of(body):
    """Quantity, number and time of the readings in a message of this body."""
    return [(r.quantity, r.number, r.measured_at) for r in readings(message(body))]


def test_a_flat_object_was_measured_when_it_came():
    """Each key is a quantity, at the time of receipt."""
    assert [("a", 1.0, RECEIVED), ("b", 2.5, RECEIVED)] == of({"a": 1, "b": 2.5})


def test_a_timed_object_has_its_own_time():
    """An object with ts and values was measured then."""
    assert [("a", 1.0, TS_US)] == of({"ts": TS, "values": {"a": 1}})


def test_a_list_holds_either():
    """The entries of a list are read each by itself, in their order."""
    assert [("a", 1.0, TS_US), ("a", 2.0, RECEIVED)] == of([{"ts": TS, "values": {"a": 1}}, {"a": 2}])


@pytest.mark.parametrize("ts", [TS, str(TS), TS + 0.9])
def test_a_time_is_milliseconds_however_written(ts):
    """A number or a text of one is a time in whole milliseconds."""
    assert [("a", 1.0, TS_US)] == of({"ts": ts, "values": {"a": 1}})


def test_ts_alone_is_a_quantity():
    """An object without values is flat, whatever its keys are called."""
    assert [("ts", 5.0, RECEIVED)] == of({"ts": 5})


def test_values_alone_are_a_quantity():
    """An object without ts is flat, whatever its keys are called."""
    assert [("values", 0.0, RECEIVED)] == of({"values": {"a": 1}})


@pytest.mark.parametrize("body", [{}, [], [{}], {"a": None}, {"ts": TS, "values": {}}])
def test_nothing_is_no_reading(body):
    """A message without a value becomes nothing, and is none the worse for it."""
    assert [] == of(body)


@pytest.mark.parametrize(
    "body",
    [
        5,
        "text",
        [1],
        [[{"a": 1}]],
        [{"a": 1}, 5],
        {"ts": TS, "values": 5},
        {"ts": TS, "values": [1]},
        {"ts": None, "values": {"a": 1}},
        {"ts": True, "values": {"a": 1}},
        {"ts": "noon", "values": {"a": 1}},
        {"ts": "nan", "values": {"a": 1}},
        {"ts": {}, "values": {"a": 1}},
    ],
)
def test_another_shape_is_malformed(body):
    """A message of another shape cannot be used."""
    with pytest.raises(Unusable) as raised:
        of(body)

    assert Reason.MALFORMED == raised.value.reason


@pytest.mark.parametrize("ts", [-99_999_999_999_999, 99_999_999_999_999, str(1 << 62)])
def test_a_time_that_cannot_be_stored(ts):
    """A time that ClickHouse cannot hold is told from one that is none."""
    with pytest.raises(Unusable) as raised:
        of({"ts": ts, "values": {"a": 1}})

    assert Reason.UNUSABLE_TIME == raised.value.reason


def test_attributes_do_not_mix_with_telemetry():
    """What a device says about itself is of that feature, whatever its keys are called."""
    about = message({"ts": 5, "values": {}}, attributes={Attribute.FEATURE: "attributes"})

    assert [("ts", Feature.ATTRIBUTES), ("values", Feature.ATTRIBUTES)] == [
        (reading.quantity, reading.feature) for reading in readings(about)
    ]
