"""Plain values are written as fastavro writes them."""

import io

import fastavro
import msgspec
from hypothesis import given

from schemas import raw_record
from schemas.codec import encode
from schemas.raw_message import RawMessage
from schemas.raw_record import write
from tests.support.raw import message as raw_of
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


def test_a_device_of_any_length_is_written():
    """What the messages of a device with a long id begin with is not remembered, and written all the same."""
    raw = raw_of(device="d" * 100_000)
    before = raw_record._begin.cache_info().currsize
    assert write(raw) == encode(raw)
    assert raw_record._begin.cache_info().currsize == before


def test_a_device_is_remembered():
    """The second message of a device begins with what the first did."""
    first, second = raw_of(device="new here", message_id="1"), raw_of(device="new here", message_id="2")
    assert write(first) == encode(first)
    hits = raw_record._begin.cache_info().hits
    assert write(second) == encode(second)
    assert raw_record._begin.cache_info().hits == hits + 1
