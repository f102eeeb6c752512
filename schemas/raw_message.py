"""RawMessage: one message of one device, as it arrived at an edge."""

from collections.abc import Mapping
from functools import lru_cache

from schemas.codec import Record, header
from schemas.identity import identity
from schemas.plain_avro import data, number, text, texts


class RawMessage(Record, frozen=True, kw_only=True, gc=False):
    """The smallest thing that has an identity; a request that names several devices becomes several of these."""

    tenant: str
    dialect: str
    device: str
    message_id: str
    received_at: int
    """Microseconds since 1970, UTC, by the edge's clock."""
    content_type: str
    attributes: Mapping[str, str]
    """What the transport said beside the body, under the names in `Attribute`."""
    body: bytes

    def identity(self) -> bytes:
        """What de-duplication compares; travels as the Kafka header `identity`."""
        return identity(self.tenant, self.dialect, self.device, self.message_id)


def write(message: RawMessage) -> bytes:
    """The bytes that `schemas.codec.encode` makes of a message, in half the time: an edge makes them for each."""
    begin = _begin if len(message.device) <= _SHORT else _begin.__wrapped__
    return b"%b%b%b%b%b%b" % (
        begin(message.tenant, message.dialect, message.device),
        text(message.message_id),
        number(message.received_at),
        _of_kind(message.content_type),
        texts(message.attributes),
        data(message.body),
    )


_SHORT = 100
"""Characters of a device's id, as ids are; what a longer one's messages begin with is not remembered."""


@lru_cache(10_000)
def _begin(tenant: str, dialect: str, device: str) -> bytes:
    """What every message of a device begins with: 500 bytes each, 5 MB of those that spoke last."""
    return header(RawMessage) + text(tenant) + text(dialect) + text(device)


_of_kind = lru_cache(100)(text)


class Attribute:
    """The names that `RawMessage.attributes` may hold."""

    COMPONENT = "component"
    FEATURE = "feature"
    """Of ThingsBoard's device API, where it is not telemetry; see `schemas.reading.Feature`."""
    SOURCE_TIME = "source_time"
    TRACEPARENT = "traceparent"
    TRACESTATE = "tracestate"


IDENTITY_HEADER = "identity"
