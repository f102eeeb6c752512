"""The readings in an Azure Digital Twins message: one a property of the telemetry object."""

from collections.abc import Iterator

from processors.normalise.unusable import Unusable
from processors.normalise.values import instant, parsed
from schemas.dead_letter import Reason
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import EARLIEST_US, LATEST_US, Reading, reading

_NOT_GIVEN = "01/01/01 0:00:00 +00:00"
"""`default(DateTimeOffset)` in the form of the .NET SDK, `MM/dd/yy H:mm:ss zzz`."""


def readings(raw: RawMessage) -> Iterator[Reading]:
    """Quantity is the property's name, sensor the component path; null is no value.

    A Telemetry-Source-Time that nobody can read, or that lies beyond what can be stored, is not held against the message,
    as the service accepts it: the time of receipt counts. So it does for the year 1, which .NET's SDK sends where it was
    given no time, and writes like the first instant of 2001.

    Raises:
        Unusable: the body is no object.

    """
    body = parsed(raw)
    if not isinstance(body, dict):
        raise Unusable(Reason.MALFORMED, "the telemetry is not an object")
    stated = raw.attributes.get(Attribute.SOURCE_TIME, "")
    sourced = None if stated == _NOT_GIVEN else instant(stated)
    if sourced is None or not EARLIEST_US <= sourced <= LATEST_US:
        sourced = raw.received_at
    component = raw.attributes.get(Attribute.COMPONENT, "")
    for name, value in body.items():
        if value is not None:
            yield reading(name, value, sourced, sensor=component)
