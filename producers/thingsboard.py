"""ThingsBoard's device API behind its faces: what a body of a device becomes, whichever protocol carried it."""

from collections.abc import Callable

from schemas.identity import content_id
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import Feature
from schemas.thingsboard import is_timed, read, typed

NAME = "thingsboard"

# Looked up once: to Python 3.11 that takes longer than to compare with it.
_TELEMETRY = Feature.TELEMETRY


def message(
    *,
    tenant: str,
    device: str,
    feature: Feature,
    body: bytes,
    received_at: int,
    untimed_id: Callable[[], str],
) -> RawMessage:
    """The message that a body is.

    Args:
        tenant: whose device it is.
        device: who sent it.
        feature: by which call.
        body: untouched.
        received_at: microseconds since 1970, UTC.
        untimed_id: the message id where an entry does not name its own time: its content may come again and mean
            something new, so only the protocol knows what is a repetition.

    Raises:
        schemas.thingsboard.NotTelemetry: ThingsBoard would not take it.

    """
    found = read(feature, body)
    return RawMessage(
        tenant=tenant,
        dialect=NAME,
        device=device,
        message_id=content_id(typed(found)) if is_timed(found) else untimed_id(),
        received_at=received_at,
        content_type="application/json",
        attributes={} if feature is _TELEMETRY else {Attribute.FEATURE: feature.value},
        body=body,
    )
