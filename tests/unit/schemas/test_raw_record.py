"""The short way to read a raw message leads where the long one does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import raw_record
from schemas.codec import Undecodable, decode, encode
from schemas.raw_message import RawMessage
from schemas.raw_record import read
from tests.support.records import RAW_MESSAGES

NOW = 1_790_000_000_123_456
NAMES = st.text(max_size=12)
USUAL = st.builds(
    RawMessage,
    tenant=NAMES,
    dialect=NAMES,
    device=NAMES,
    message_id=NAMES,
    received_at=st.integers(NOW - 10**15, NOW + 10**15),
    content_type=NAMES,
    attributes=st.just({}),
    body=st.sampled_from([0, 1, 63, 64, 8191]).map(bytes) | st.binary(),
)


def outcome(data: bytes, reader) -> RawMessage | None:
    """The message, or None if there is none."""
    try:
        return reader(data)
    except Undecodable:
        return None


@given(RAW_MESSAGES | USUAL)
def test_every_message_is_read(message):
    """Reading is the inverse of encoding."""
    assert message == read(encode(message))


@settings(deadline=None)
@given(USUAL, st.binary(max_size=4), st.integers(0, 120), st.integers(0, 120))
def test_damaged_bytes_mean_the_same_either_way(message, noise, position, cut):
    """Bytes that were overwritten, cut out or added become the message that Avro sees in them, or none."""
    whole = encode(message)
    for damaged in (
        whole[:position] + noise + whole[position + len(noise) :],
        whole[:position] + whole[cut:],
        whole + noise,
    ):
        assert outcome(damaged, lambda data: decode(RawMessage, data)) == outcome(damaged, read)


@given(USUAL)
def test_a_usual_message_is_read_the_short_way(message):
    """Nothing but length, age and attributes decides."""
    assert message == raw_record._usual(encode(message))


@pytest.mark.parametrize("size", [8192, 16384 + 5, 1 << 20])
def test_a_long_body_is_read_the_long_way(size):
    """Beyond two bytes of length the short way gives up."""
    message = RawMessage(
        tenant="acme",
        dialect="graph",
        device="boiler-7",
        message_id="m",
        received_at=NOW,
        content_type="",
        attributes={},
        body=bytes(size),
    )

    assert raw_record._usual(encode(message)) is None
    assert message == read(encode(message))
