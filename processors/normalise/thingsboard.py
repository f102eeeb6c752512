"""The readings in a ThingsBoard message: flat, timed, or a list of either; or the attributes of a device."""

from collections.abc import Iterator

from processors.normalise.unusable import Unusable
from processors.normalise.values import storable
from schemas.dead_letter import Reason
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import Feature, Kind, Reading, reading
from schemas.thingsboard import entries
from schemas.thingsboard_values import Json


def readings(raw: RawMessage) -> Iterator[Reading]:
    """Quantity is the key; an entry without a time was measured when it was received.

    Raises:
        Unusable: nothing that the edge would have taken, or the time is beyond what can be stored.

    """
    name = raw.attributes.get(Attribute.FEATURE)
    try:
        feature = Feature(name) if name else Feature.TELEMETRY
        found = entries(feature, raw.body)
    except ValueError as error:
        raise Unusable(Reason.MALFORMED, str(error)) from error
    for entry in found:
        measured_at = raw.received_at if entry.ts is None else storable(entry.ts * 1000)
        for key, value in entry.values.items():
            if type(value) is Json:
                yield Reading(key, "", "", measured_at, Kind.JSON, 0.0, 0, value.text, feature)
            else:
                yield reading(key, value, measured_at, feature=feature)
