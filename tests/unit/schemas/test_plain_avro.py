"""Plain values are written as fastavro writes them."""

import io

import fastavro
import msgspec
from hypothesis import given

from schemas.codec import encode
from schemas.raw_message import RawMessage, write
from tests.support.records import RAW_MESSAGES

SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "RawMessage",
        "fields": [
            *({"name": name, "type": "string"} for name in ("tenant", "dialect", "device", "message_id")),
            {"name": "received_at", "type": "long"},
            {"name": "content_type", "type": "string"},
            {"name": "attributes", "type": {"type": "map", "values": "string"}},
            {"name": "body", "type": "bytes"},
        ],
    }
)
HEADER = 10


@given(RAW_MESSAGES)
def test_a_message_becomes_the_bytes_that_fastavro_writes(message: RawMessage) -> None:
    """One example a message, of any texts and numbers."""
    written = io.BytesIO()
    fastavro.schemaless_writer(written, SCHEMA, msgspec.structs.asdict(message))
    assert encode(message)[HEADER:] == written.getvalue()
    assert write(message) == encode(message)
