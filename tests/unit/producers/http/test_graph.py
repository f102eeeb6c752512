"""The Graph dialect's parsing: which messages a body becomes, and when two of them are the same."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.normalise.values import instant
from producers.http.graph import messages
from producers.http.refusal import Refusal
from schemas.graph import SENSOR_TYPES
from schemas.raw_message import RawMessage
from schemas.topics import MAX_RAW_BYTES

ITEM = {
    "deviceId": "d1",
    "sensorType": "occupancy",
    "boolValue": True,
    "timestamp": "2021-03-31T09:36:05.144Z",
}

items = st.fixed_dictionaries(
    {
        "deviceId": st.text(min_size=1, max_size=5),
        "sensorType": st.just("peopleCount"),
        "intValue": st.integers(-(2**31), 2**31 - 1),
        "timestamp": st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2299, 12, 30)),  # noqa: DTZ001 - UTC is added where it is spelled
    },
    optional={"sensorId": st.text(min_size=1, max_size=5)},
)


def sent(*telemetry: Any, nonce: str = "n") -> list[RawMessage]:
    """The messages that these items become."""
    return messages(json.dumps({"telemetry": telemetry}).encode(), tenant="t", received_at=7, nonce=nonce)


def ids(*telemetry: Any, nonce: str = "n") -> list[str]:
    """The message ids that these items get."""
    return [message.message_id for message in sent(*telemetry, nonce=nonce)]


@given(items, st.permutations(range(5)), st.integers(-14 * 60, 14 * 60), st.booleans())
def test_spelling_does_not_change_the_id(
    item: dict[str, Any], order: list[int], offset: int, ascii_only: bool
):
    """Key order, time zone, escapes and the case of names make no other message."""
    moment = item["timestamp"].replace(tzinfo=UTC)
    plain = item | {"timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"}
    moved = moment.astimezone(timezone(timedelta(minutes=offset)))
    names = list(plain)
    other = {names[i].lower(): plain[names[i]] for i in order if i < len(names)} | {
        "timestamp": moved.isoformat(),
    }
    spelled = json.dumps({"Telemetry": [other]}, ensure_ascii=ascii_only, indent=1).encode()
    again = messages(spelled, tenant="t", received_at=9, nonce="other")
    assert [message.message_id for message in again] == ids(plain)


@given(items, items)
def test_other_content_is_another_message(one: dict[str, Any], other: dict[str, Any]):
    """Items that differ in device, sensor, time or value get different ids."""
    facts = [
        (i["deviceId"], i.get("sensorId", i["sensorType"]).lower(), i["timestamp"], i["intValue"])
        for i in (one, other)
    ]
    first, second = (ids(i | {"timestamp": i["timestamp"].isoformat()}) for i in (one, other))
    assert (first == second) == (facts[0] == facts[1])


@pytest.mark.parametrize(
    "stamp",
    [
        "2021-03-31T09:36:05.144Z",
        "2021-03-31T09:36:05.1440000+00:00",
        "2021-03-31T09:36:05.144",
        "2021-03-31T15:06:05.144+05:30",
        "2021-03-31T09:36:05.144000-00:00",
        "2021-03-31t09:36:05.144z",
        "2021-03-31 09:36:05,144+0000",
        "2021-W13-3T09:36:05.144",
    ],
)
def test_one_moment_has_many_spellings(stamp: str):
    """A timestamp is the moment it names; without an offset it is UTC."""
    assert ids(ITEM | {"timestamp": stamp}) == ids(ITEM)


@pytest.mark.parametrize("name", ["Occupancy", "occupancy", "OCCUPANCY"])
def test_a_sensor_is_called_by_its_type(name: str):
    """The sensorId that Microsoft generates, the type itself and none at all are the same sensor."""
    assert ids(ITEM | {"sensorId": name}) == ids(ITEM)


@pytest.mark.parametrize(
    "change", [{"boolValue": False}, {"sensorId": "2"}, {"deviceId": "D1"}, {"intValue": 1}]
)
def test_each_fact_counts(change: dict[str, Any]):
    """Another value, sensor or device is another message."""
    assert ids(ITEM | change) != ids(ITEM)


def test_a_badge_event_is_one_places():
    """A badge event in one place is not that in another at the same time; no hint and an empty one are the same."""
    badge = {"deviceId": "d", "sensorType": "badge", "timestamp": "2021-03-31T09:36:05Z"}
    badge |= {"eventValue": {"eventType": "badgeIn", "user": {"email": "a@x"}}}
    north, south, nowhere, plain = (
        ids(badge | hint) for hint in ({"locationHint": "N"}, {"locationhint": "S"}, {"locationHint": ""}, {})
    )
    assert north != south
    assert plain not in (north, south)
    assert nowhere == plain


def test_a_hint_without_an_event_changes_nothing():
    """What is no part of the reading makes no other message."""
    item = {
        "deviceId": "d",
        "sensorType": "heartbeat",
        "boolValue": True,
        "timestamp": "2021-03-31T09:36:05Z",
    }
    assert ids(item) == ids(item | {"locationHint": "N"})


def test_a_badge_event_is_one_persons():
    """A badge event of one user is not that of another at the same time."""
    badge = {"deviceId": "d", "sensorType": "badge", "timestamp": "2021-03-31T09:36:05Z"}
    events = [{"eventType": "badgeIn", "user": {"email": email}} for email in ("a@x", "b@x")]
    assert ids(badge | {"eventValue": events[0]}) != ids(badge | {"eventValue": events[1]})


def test_of_an_event_everything_counts():
    """Badge events that differ in a property that nobody documents are two; OData's annotations make no difference."""
    badge = {"deviceId": "d", "sensorType": "badge", "timestamp": "2021-03-31T09:36:05Z"}
    event = {"eventType": "badgeIn", "user": {"email": "a@x", "card": 1}}
    annotated = {"@odata.type": "#microsoft.graph.workplaceSensorEventValue", "EventType": "badgeIn"}
    other = event | {"user": {"email": "a@x", "card": 2}}
    assert ids(badge | {"eventValue": event}) != ids(badge | {"eventValue": other})
    assert ids(badge | {"eventValue": event}) == ids(
        badge | {"eventValue": annotated | {"user": event["user"]}}
    )


@given(st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2299, 12, 30)), st.data())  # noqa: DTZ001 - UTC is meant
def test_a_time_that_is_taken_can_be_read_later(moment: datetime, data: st.DataObject):
    """Whatever text the edge takes for a time, the processor takes for the same."""
    text = moment.isoformat()
    cut = data.draw(st.sampled_from([10, 13, 16, 19, len(text)]))
    stamp = text[:cut].replace("T", data.draw(st.sampled_from(["T", "t", " "])))
    stamp += data.draw(st.sampled_from(["", "Z", "z", "+05:30", "-0800"])) if cut > 10 else ""
    assert len(ids(ITEM | {"timestamp": stamp})) == 1
    offset = datetime.fromisoformat(stamp.upper()).utcoffset() or timedelta()
    cut_moment = datetime.fromisoformat(text[:cut]).replace(tzinfo=UTC) - offset
    assert instant(stamp) == (cut_moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_without_a_time_the_request_counts():
    """Equal items without a timestamp are the same message only within the same request."""
    timeless = {name: value for name, value in ITEM.items() if name != "timestamp"}
    assert ids(timeless, nonce="a") == ids(timeless, nonce="a")
    assert ids(timeless, nonce="a") != ids(timeless, nonce="b")
    assert ids(ITEM, nonce="a") == ids(ITEM, nonce="b")


def test_one_message_per_device_with_its_own_bytes():
    """Each device's items travel as they arrived, in their order, in one message."""
    body = b'{"telemetry":[ {"deviceId":"a","sensorType":"wifi", "x":1.50} ,{"deviceId":"b","sensorType":"wifi"},{"deviceId":"a","sensorType":"wifi"}]}'
    assert [(m.device, m.body) for m in messages(body, tenant="t", received_at=7, nonce="n")] == [
        (
            "a",
            b'{"telemetry":[{"deviceId":"a","sensorType":"wifi", "x":1.50},{"deviceId":"a","sensorType":"wifi"}]}',
        ),
        ("b", b'{"telemetry":[{"deviceId":"b","sensorType":"wifi"}]}'),
    ]


@pytest.mark.parametrize("sensor_type", SENSOR_TYPES)
def test_null_is_no_value(sensor_type: str):
    """An item whose value is null is refused like one without it; wifi has no value to miss."""
    item = {"deviceId": "d", "sensorType": sensor_type} | dict.fromkeys(
        ("boolValue", "intValue", "eventValue")
    )
    if SENSOR_TYPES[sensor_type]:
        with pytest.raises(Refusal, match=r"telemetry\[0\]"):
            sent(item)
    else:
        assert len(sent(item)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"telemetry"',
        b'{"telemetry":[null]}',
        b'{"telemetry":[[]]}',
        b'{"telemetry":[{"deviceId":"\xff","sensorType":"wifi"}]}',
        b'{"telemetry":[{"deviceId":"\\ud800","sensorType":"wifi"}]}',
        b'{"telemetry":[{"deviceId":"d","sensorType":"wifi","x":1e999}]}',
        b'{"telemetry":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"telemetry":[{"deviceId":"d","sensorType":"wifi","x":' + b"[" * 2000 + b"]" * 2000 + b"}]}",
        b'{"telemetry":[{"deviceId":"d","sensorType":"wifi","x":'
        + b'{"x":' * 500
        + b"1"
        + b"}" * 500
        + b"}]}",
        b'{"telemetry":[{"deviceId":"' + b"d" * 257 + b'","sensorType":"wifi"}]}',
    ],
)
def test_what_is_no_telemetry_is_refused(body: bytes):
    """Bodies of another shape, depth or encoding are refused with 400, never an error of ours."""
    with pytest.raises(Refusal) as caught:
        messages(body, tenant="t", received_at=7, nonce="n")
    assert caught.value.status == 400


def test_a_message_that_no_topic_takes_is_refused():
    """What one device sent must fit a raw record, whatever the edge's own limit."""
    with pytest.raises(Refusal) as caught:
        sent(ITEM | {"x": " " * MAX_RAW_BYTES})
    assert caught.value.status == 413
