"""Raw records: a message to bytes and back, in half the time that `schemas.codec` takes for any record; for each message both are done."""

from functools import lru_cache

from schemas.codec import decode, header
from schemas.plain_avro import data, number, text, texts
from schemas.raw_message import RawMessage

_HEADER = header(RawMessage)


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


KNOWN_DEVICES = 10_000
"""Of which the beginning of a record is remembered: 500 bytes each."""


@lru_cache(KNOWN_DEVICES)
def _begin(tenant: str, dialect: str, device: str) -> bytes:
    """What every message of a device begins with."""
    return _HEADER + text(tenant) + text(dialect) + text(device)


_of_kind = lru_cache(100)(text)


def read(data: bytes) -> RawMessage:
    """The message in a record, of any released version.

    Raises:
        Undecodable: as `schemas.codec.decode` does.

    """
    usual = _usual(data)
    return decode(RawMessage, data) if usual is None else usual


_MORE, _NEGATIVE = 0x80, 0x01
"""Of the first byte of a length: another byte follows; it is below zero (Avro 1.11 specification, "Binary Encoding")."""
_TENANT_AT = len(_HEADER)


def _usual(data: bytes) -> RawMessage | None:
    """A message as most are: no text longer than 63 bytes, no attributes, a body below 8 KiB, a time of our age.

    A short cut, in a third of the time: whatever is not usual, mistakes included, is None, and means what `decode` makes
    of it.
    """
    if not data.startswith(_HEADER):
        return None
    # What is read behind an unusual length is wrong, and thrown away in the end.
    try:
        dialect_at = _TENANT_AT + 1 + (data[_TENANT_AT] >> 1)
        device_at = dialect_at + 1 + (data[dialect_at] >> 1)
        id_at = device_at + 1 + (data[device_at] >> 1)
        time_at = id_at + 1 + (data[id_at] >> 1)
        kind_at = time_at + 8
        end = kind_at + 1 + (data[kind_at] >> 1)
        lengths = data[_TENANT_AT] | data[dialect_at] | data[device_at] | data[id_at] | data[kind_at]
        a, b, c = data[time_at : time_at + 3]
        received = a + (b << 7) + (c << 14) + _higher(data[time_at + 3 : kind_at])
        tenant, dialect = _sender(data[_TENANT_AT:device_at])
        device, message_id = data[device_at + 1 : id_at].decode(), data[id_at + 1 : time_at].decode()
        content_type, attributes = _kind(data[kind_at + 1 : end]), data[end]
        size, begin = data[end + 1], end + 2
        if size & _MORE:
            size, begin = size - _MORE + (data[begin] << 7), begin + 1
    except (ValueError, IndexError):
        return None
    body = data[begin:]
    if lengths & (_MORE | _NEGATIVE) or (a | size) & _NEGATIVE or not a & b & c & _MORE or attributes:
        return None
    if len(body) != size >> 1 or data[begin - 1] & _MORE:
        return None
    return RawMessage(
        tenant=tenant,
        dialect=dialect,
        device=device,
        message_id=message_id,
        received_at=received - _ALL_MORE >> 1,
        content_type=content_type,
        attributes={},
        body=body,
    )


_ALL_MORE = sum(_MORE << 7 * byte for byte in range(7))


@lru_cache(1024)
def _higher(five: bytes) -> int:
    """What the last five of a time's eight bytes say: the same for a second.

    Raises:
        ValueError: it has fewer bytes, or more.

    """
    d, e, f, g, h = five
    if not d & e & f & g >= _MORE > h:
        raise ValueError("another number of bytes")
    return (d << 21) + (e << 28) + (f << 35) + (g << 42) + (h << 49)


@lru_cache(1024)
def _sender(two: bytes) -> tuple[str, str]:
    """Tenant and dialect, as they begin a message: less than 1 KB each."""
    end = 1 + (two[0] >> 1)
    return two[1:end].decode(), two[end + 1 :].decode()


_kind = lru_cache(100)(bytes.decode)
