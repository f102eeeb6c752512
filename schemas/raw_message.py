"""RawMessage: one message of one device, as it arrived at an edge."""

from collections.abc import Mapping

from schemas.codec import Record
from schemas.identity import identity


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


class Attribute:
    """The names that `RawMessage.attributes` may hold."""

    COMPONENT = "component"
    FEATURE = "feature"
    """Of ThingsBoard's device API, where it is not telemetry; see `schemas.reading.Feature`."""
    SOURCE_TIME = "source_time"
    TRACEPARENT = "traceparent"
    TRACESTATE = "tracestate"


IDENTITY_HEADER = "identity"
"""Who writes a record names its message once and for all: readers make an identity only where this header has none."""
