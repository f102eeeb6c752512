"""The readings in a ThingsBoard message: flat, timed, or a list of either; or the attributes of a device."""

from typing import Any

from processors.normalise.unusable import Unusable
from processors.normalise.values import storable
from schemas.dead_letter import Reason
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import Feature, Kind, Reading, reading
from schemas.thingsboard import read
from schemas.thingsboard_values import NO_MINUS, Json, value_of

# Looked up once: to Python 3.11 that costs as much as making a reading.
_FEATURE, _TELEMETRY = Attribute.FEATURE, Feature.TELEMETRY
_FLOAT64, _JSON = Kind.FLOAT64, Kind.JSON


def readings(raw: RawMessage) -> list[Reading]:
    """Quantity is the key; an entry without a time was measured when it was received. null is no value.

    Raises:
        Unusable: nothing that the edge would have taken, or the time is beyond what can be stored.

    """
    name = raw.attributes.get(_FEATURE)
    try:
        feature = Feature(name) if name else _TELEMETRY
        found = read(feature, raw.body)
    except ValueError as error:
        raise Unusable(Reason.MALFORMED, str(error)) from error
    made = []
    for entry in found:
        measured_at = raw.received_at if entry.ts is None else storable(entry.ts * 1000)
        for key, value in entry.values.items():
            if type(value) is float:
                # As most are, and finite: made here, it takes a third of the time.
                number = value + NO_MINUS
                made.append(Reading(key, "", "", measured_at, _FLOAT64, number, 0, "", feature))
            elif value is not None:
                made.append(_other(key, value, measured_at, feature))
    return made


def _other(key: str, found: Any, measured_at: int, feature: Feature) -> Reading:
    value = value_of(found)
    if type(value) is Json:
        return Reading(key, "", "", measured_at, _JSON, 0.0, 0, value.text, feature)
    return reading(key, value, measured_at, feature=feature)
