"""CoAP messages from bytes: strict (RFC 7252, section 3), typed, and nothing remembered.

aiocoap's own `Message.decode` is not used for what comes from the network. It keeps an enumeration member for every
option number and content format that it ever saw, some 300 bytes each for as long as the process lives; it takes token
lengths of 9 to 15; and a path that is not UTF-8 escapes it as UnicodeDecodeError. What we send is encoded by aiocoap.
Upstream changes that would remove this module: `ExtensibleIntEnum._missing_` without `_value2member_map_`, and
`Message.decode` raising only `UnparsableMessage`.
"""

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

import msgspec
from aiocoap.numbers import OptionNumber

VERSION = 1
HEADER = 4
LONGEST_TOKEN = 8
PAYLOAD_MARKER = 0xFF
MOST_OPTIONS = 64
LONGEST_OPTIONS = 4096
"""Bytes of all options together. A device sends a dozen options, and 2 KB where a proxy's address is among them; without
a bound one request could keep megabytes for as long as Kafka takes."""

_REQUEST = 0
_CLASSES = frozenset({_REQUEST, 2, 4, 5})
_BYTE, _TWO_BYTES, _RESERVED = 13, 14, 15
_NO_CACHE_KEY_MASK, _NO_CACHE_KEY, _UNSAFE = 0x1E, 0x1C, 0x02
_KEY_BYTES = 16
_OF_ONE_BLOCK = frozenset({OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.OBSERVE})


class Malformed(ValueError):
    """The bytes are no CoAP message, or one with more options than anybody needs."""


class Type(IntEnum):
    """How a message wants to be acknowledged (RFC 7252, section 4)."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


_TYPES = tuple(Type)


@dataclass(frozen=True, slots=True)
class Block:
    """The value of a Block1 option (RFC 7959, section 2.2)."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes in every block but the last."""
        return 1 << (self.exponent + 4)

    @property
    def start(self) -> int:
        """Where in the body this block begins."""
        return self.number * self.size


class Datagram(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it arrived; option values are bytes until somebody needs them."""

    type: Type
    code: int
    message_id: int
    token: bytes
    options: tuple[tuple[int, bytes], ...]
    payload: bytes

    @property
    def is_request(self) -> bool:
        """Whether the code is a method."""
        return self.code >> 5 == _REQUEST and self.code != 0

    def values(self, number: int) -> list[bytes]:
        """Every value of an option, in order."""
        return [value for found, value in self.options if found == number]

    def uint(self, number: int, longest: int) -> int | None:
        """The first value of an option that holds an unsigned integer; one of more bytes is passed over (RFC 7252, 5.4.3)."""
        for found, value in self.options:
            if found == number:
                return int.from_bytes(value, "big") if len(value) <= longest else None
        return None

    @property
    def block1(self) -> Block | None:
        """Which part of its body the request carries; None when it carries it whole."""
        value = self.uint(OptionNumber.BLOCK1, 3)
        return None if value is None else Block(value >> 4, bool(value & 8), value & 7)

    def cache_key(self) -> bytes:
        """A hash of what all the blocks of one body have in common (RFC 7959, section 2.5; Request-Tag of RFC 9175)."""
        common = blake2b(bytes((self.code,)), digest_size=_KEY_BYTES)
        for number, value in self.options:
            if number not in _OF_ONE_BLOCK and (
                number & _UNSAFE or number & _NO_CACHE_KEY_MASK != _NO_CACHE_KEY
            ):
                common.update(number.to_bytes(4, "big") + len(value).to_bytes(4, "big") + value)
        return common.digest()


def decode(data: bytes) -> Datagram:
    """Read one message, of at least four bytes and of version 1.

    Raises:
        Malformed: a message format error (RFC 7252, section 3).

    """
    token_end = HEADER + (data[0] & 0x0F)
    code = data[1]
    if token_end > HEADER + LONGEST_TOKEN or token_end > len(data):
        raise Malformed("token length")
    if code >> 5 not in _CLASSES:
        raise Malformed("reserved class of code")
    if code == 0 and len(data) > HEADER:
        raise Malformed("an empty message with more than a header")
    options, payload = _options(data, token_end)
    return Datagram(
        type=_TYPES[data[0] >> 4 & 3],
        code=code,
        message_id=int.from_bytes(data[2:4], "big"),
        token=data[HEADER:token_end],
        options=options,
        payload=payload,
    )


def _options(data: bytes, position: int) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
    options: list[tuple[int, bytes]] = []
    number, begin, end = 0, position, len(data)
    while position < end:
        first = data[position]
        position += 1
        if first == PAYLOAD_MARKER:
            if position == end:
                raise Malformed("a payload marker without payload")
            return tuple(options), data[position:]
        if len(options) == MOST_OPTIONS:
            raise Malformed("too many options")
        delta, length = first >> 4, first & 0x0F
        if delta >= _BYTE:
            delta, position = _extended(data, position, delta)
        if length >= _BYTE:
            length, position = _extended(data, position, length)
        number += delta
        if position + length > end:
            raise Malformed("an option that is longer than the message")
        if position + length - begin > LONGEST_OPTIONS:
            raise Malformed("options that are too long")
        options.append((number, data[position : position + length]))
        position += length
    return tuple(options), b""


def _extended(data: bytes, position: int, nibble: int) -> tuple[int, int]:
    """What a nibble stands for that is no number by itself, and where the next byte is."""
    if nibble == _RESERVED:
        raise Malformed("reserved option delta or length")
    width = 1 if nibble == _BYTE else 2
    end = position + width
    if end > len(data):
        raise Malformed("an option header that ends early")
    base = _BYTE if nibble == _BYTE else _BYTE + 256
    return int.from_bytes(data[position:end], "big") + base, end
