"""The readings in an Azure Digital Twins message: one a property of the telemetry object."""

from collections.abc import Iterator

from processors.normalise.unusable import Unusable
from processors.normalise.values import instant, parsed, storable
from schemas.dead_letter import Reason
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import Reading, reading


def readings(raw: RawMessage) -> Iterator[Reading]:
    """Quantity is the property's name, sensor the component path; null is no value.

    A Telemetry-Source-Time that nobody can read is not held against the message, as the service accepts it: the time of
    receipt counts.

    Raises:
        Unusable: the body is no object, or the source time is beyond what can be stored.

    """
    body = parsed(raw)
    if not isinstance(body, dict):
        raise Unusable(Reason.MALFORMED, "the telemetry is not an object")
    sourced = instant(raw.attributes.get(Attribute.SOURCE_TIME, ""))
    measured_at = raw.received_at if sourced is None else storable(sourced)
    component = raw.attributes.get(Attribute.COMPONENT, "")
    for name, value in body.items():
        if value is not None:
            yield reading(name, value, measured_at, sensor=component)
