import contextlib

import msgspec
import pytest
from fastavro.schema import parse_schema
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import MARKER, Undecodable, _fingerprint, decode, encode, encode_all
from schemas.dead_letter import DeadLetter
from schemas.device import Device
from tests.support.raw import message
from tests.support.records import INT64, RAW_MESSAGES, TEXT

DEVICES = st.builds(
    Device,
    tenant=TEXT,
    device=TEXT,
    enabled=st.booleans(),
    token_sha256s=st.lists(TEXT),
    certificate_sha256s=st.lists(TEXT),
    components=st.lists(TEXT),
    place=TEXT,
    labels=st.dictionaries(TEXT, TEXT),
)
RECORDS = st.one_of(
    RAW_MESSAGES,
    DEVICES,
    st.builds(
        DeadLetter,
        topic=TEXT,
        topic_id=TEXT,
        partition=st.integers(0, (1 << 31) - 1),
        offset=INT64,
        logged_at=INT64,
        reason=TEXT,
        error=TEXT,
        key=st.none() | st.binary(),
        value=st.none() | st.binary(),
        headers=st.dictionaries(TEXT, st.binary()),
    ),
)

DEVICE = Device(tenant="acme", device="boiler-7", labels={"floor": "2"})


@settings(deadline=None)
@given(RECORDS)
def test_a_record_survives_the_round_trip(record):
    """Decoding is the inverse of encoding, for every record that can be built."""
    assert record == decode(type(record), encode(record))


@settings(deadline=None)
@given(records=st.sampled_from([RAW_MESSAGES, DEVICES]).flatmap(st.lists), tenants_differ=st.booleans())
@example(records=[message(), message()], tenants_differ=True)
def test_records_are_encoded_together_as_each_alone(records, tenants_differ):
    """Whatever they have in common."""
    if not tenants_differ:
        records = [msgspec.structs.replace(record, tenant="acme") for record in records]
    assert records == [
        decode(type(record), data) for record, data in zip(records, encode_all(records), strict=True)
    ]


def test_equal_records_are_as_many_as_they_were():
    """Records that have everything in common end like others do."""
    same = message()
    assert encode_all([same, same]) == [encode(same)] * 2


def test_bytes_begin_with_the_single_object_header():
    """Encoded bytes open with Avro's marker and the fingerprint of the schema that wrote them."""
    other = Device(tenant="umbrella", device="door")

    assert MARKER == encode(DEVICE)[:2]
    assert encode(other)[:10] == encode(DEVICE)[:10]


def test_the_fingerprint_is_avros_own():
    """The fingerprint of the schema "int" is the one that Avro's specification and libraries give, little-endian."""
    assert "8f5c393f1ad57572" == _fingerprint(parse_schema("int")).hex()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="json"),
        pytest.param(b"\0\0\0\0\1" + encode(DEVICE)[10:], id="another framing"),
        pytest.param(MARKER + bytes(8) + encode(DEVICE)[10:], id="unknown schema"),
        pytest.param(encode(DEVICE)[:10], id="no fields"),
        pytest.param(encode(DEVICE)[:-6], id="cut short"),
        pytest.param(encode(DEVICE)[:10] + b"\xff" * 40, id="absurd length"),
        pytest.param(
            encode(DEVICE)[:10] + b"\x04\xff\xfe" + encode(DEVICE)[15:], id="text that is not UTF-8"
        ),
        pytest.param(
            encode(
                DeadLetter(
                    **dict.fromkeys(("topic", "topic_id", "reason", "error"), ""),
                    partition=0,
                    offset=0,
                    logged_at=0,
                    key=None,
                    value=None,
                    headers={},
                )
            ),
            id="another record",
        ),
    ],
)
def test_bytes_that_are_no_record_are_undecodable(data):
    """Whatever is wrong with the bytes, the caller has one exception to expect."""
    with pytest.raises(Undecodable):
        decode(Device, data)


@settings(deadline=None)
@given(st.binary(), st.integers(0, 200))
def test_damaged_bytes_never_raise_anything_else(noise, position):
    """A record with noise written over it is either a record or undecodable."""
    whole = encode(DEVICE)
    damaged = whole[:position] + noise + whole[position + len(noise) :]

    with contextlib.suppress(Undecodable):
        assert isinstance(decode(Device, damaged), Device)
