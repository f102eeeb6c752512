"""The readings in a Microsoft Graph message: one a value property of each item."""

from collections.abc import Iterator
from typing import Any

from processors.normalise.unusable import Unusable
from processors.normalise.values import instant, parsed, storable
from schemas.dead_letter import Reason
from schemas.graph import SENSOR_TYPES
from schemas.raw_message import RawMessage
from schemas.reading import Reading, reading

_VALUES = ("boolvalue", "intvalue", "eventvalue")
_SENSOR_TYPES = {name.lower(): name for name in SENSOR_TYPES}


def readings(raw: RawMessage) -> Iterator[Reading]:
    """Quantity is the sensorType, sensor the sensorId; an item without a time was measured when it was received.

    Raises:
        Unusable: not `{"telemetry": [objects]}`, no sensorType, or a timestamp that is none.

    """
    body = parsed(raw)
    items = body.get("telemetry") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise Unusable(Reason.MALFORMED, "the body holds no list under telemetry")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise Unusable(Reason.MALFORMED, f"telemetry[{number}] is not an object")
        yield from _item(raw, number, {name.lower(): value for name, value in item.items()})


def _item(raw: RawMessage, number: int, item: dict[str, Any]) -> Iterator[Reading]:
    quantity = item.get("sensortype")
    if not isinstance(quantity, str) or not quantity:
        raise Unusable(Reason.MALFORMED, f"telemetry[{number}] has no sensorType")
    # The service takes any case, and the ids that it makes up differ from the type in nothing else.
    quantity = _SENSOR_TYPES.get(quantity.lower(), quantity)
    sensor = item.get("sensorid")
    if not isinstance(sensor, str) or sensor.lower() in {"", quantity.lower()}:
        sensor = quantity
    measured_at = raw.received_at
    if (stamp := item.get("timestamp")) is not None:
        at = instant(stamp) if isinstance(stamp, str) else None
        if at is None:
            raise Unusable(Reason.MALFORMED, f"telemetry[{number}].timestamp is no time: {stamp!r}")
        measured_at = storable(at)
    for name in _VALUES:
        value = item.get(name)
        if isinstance(value, dict) and item.get("locationhint"):
            # A badge's event is of little use without where it happened.
            value = value | {"locationHint": item["locationhint"]}
        if value is not None:
            yield reading(quantity, value, measured_at, sensor=sensor)
