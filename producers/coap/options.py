"""Options: what a message says beside its payload, read once for all messages that say it in the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import msgspec
from aiocoap import Code
from aiocoap.numbers import OptionNumber

PAYLOAD_MARKER = 0xFF
MOST_OPTIONS = 64
LONGEST_OPTIONS = 4096
"""Bytes of all options together. A device sends a dozen options, and 2 KB where a proxy's address is among them; without
a bound one request could keep megabytes for as long as Kafka takes."""

KNOWN, LONGEST_KNOWN = 10_000, 128
"""Options that are kept, by their bytes, and how many bytes those have at most. With a token in the path it takes 700 bytes
to keep them, 3 KB at worst: 7 MB, at worst 30. Beyond the bound those are read anew that came least recently."""

_BYTE, _TWO_BYTES, _RESERVED = 13, 14, 15
_CRITICAL, _UNSAFE, _NO_CACHE_KEY_MASK, _NO_CACHE_KEY = 0x01, 0x02, 0x1E, 0x1C
_OF_ONE_BLOCK = frozenset({OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.OBSERVE})
_HASH_BYTES = 16
_REPEATABLE = frozenset({OptionNumber.URI_PATH, OptionNumber.URI_QUERY})
_PROXY = frozenset({OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME})
_UNDERSTOOD: Mapping[int, range] = {
    OptionNumber.URI_HOST: range(1, 256),
    OptionNumber.URI_PORT: range(3),
    OptionNumber.URI_PATH: range(256),
    OptionNumber.URI_QUERY: range(256),
    OptionNumber.ACCEPT: range(3),
    OptionNumber.BLOCK1: range(4),
    OptionNumber.BLOCK2: range(4),
}
"""The critical options, and how many bytes each may have (RFC 7252, section 5.10; RFC 7959, section 2.1)."""

Pairs = tuple[tuple[int, bytes], ...]


class Malformed(ValueError):
    """The bytes are no CoAP message, or one with more options than anybody needs."""


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


class Options(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the options of a message say, as far as it matters here."""

    refusal: Code | None
    """Why a request with them cannot be served (RFC 7252, sections 5.4 and 5.7.2)."""
    path: Sequence[str]
    """The segments; none where they are no text, which is a refusal."""
    block1: Block | None
    """Which part of its body a request carries; None when it carries it whole."""
    body: bytes
    """A hash of the options that all blocks of a body have in common (RFC 7959, section 2.5; Request-Tag of RFC 9175)."""
    size1: int
    """How long the body is said to be; 0 where nothing is said."""
    no_response: int
    """The classes of responses that the client does not want to hear, a bit each (RFC 7967)."""


def read(data: bytes, position: int) -> tuple[Options, bytes]:
    """The options that begin there, and the payload behind them.

    Raises:
        Malformed: a message format error (RFC 7252, section 3).

    """
    # Where options hold no 0xFF, which few do, the first one is the payload marker. If it is part of an option then what
    # is before it does not end where an option ends.
    marker = data.find(PAYLOAD_MARKER, position)
    end = len(data) if marker < 0 else marker
    options = None
    if end - position <= LONGEST_KNOWN:
        try:
            options = _known(data[position:end])
        except Malformed:
            if marker < 0:
                raise
    if options is None:
        pairs, end = _pairs(data, position)
        options = _meant(pairs)
    payload = data[end + 1 :]
    if not payload and end < len(data):
        raise Malformed("a payload marker without payload")
    return options, payload


@lru_cache(KNOWN)
def _known(data: bytes) -> Options:
    return _meant(_pairs(data, 0)[0])


def _pairs(data: bytes, position: int) -> tuple[Pairs, int]:
    """Every option, and where they end: at the payload marker, or at the end of the message."""
    options: list[tuple[int, bytes]] = []
    number, begin, end = 0, position, len(data)
    while position < end and data[position] != PAYLOAD_MARKER:
        if len(options) == MOST_OPTIONS:
            raise Malformed("too many options")
        delta, length = data[position] >> 4, data[position] & 0x0F
        position += 1
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
    return tuple(options), position


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


def _meant(pairs: Pairs) -> Options:
    refusal = _refusal(pairs)
    path: Sequence[str] = ()
    try:
        path = _path([value for number, value in pairs if number == OptionNumber.URI_PATH])
    except UnicodeDecodeError:
        refusal = refusal or Code.BAD_OPTION
    block1 = _uint(pairs, OptionNumber.BLOCK1, 3)
    return Options(
        refusal=refusal,
        path=path,
        block1=None if block1 is None else Block(block1 >> 4, bool(block1 & 8), block1 & 7),
        body=b"" if block1 is None else _in_common(pairs),
        size1=_uint(pairs, OptionNumber.SIZE1, 4) or 0,
        no_response=_uint(pairs, OptionNumber.NO_RESPONSE, 1) or 0,
    )


def _refusal(pairs: Pairs) -> Code | None:
    """Of a length that it cannot have, or once too often, an option is like one that nobody knows (5.4.3, 5.4.5)."""
    previous = None
    for number, value in pairs:
        repeated = number == previous and number not in _REPEATABLE
        if number & _CRITICAL and (repeated or len(value) not in _UNDERSTOOD.get(number, ())):
            return Code.PROXYING_NOT_SUPPORTED if number in _PROXY else Code.BAD_OPTION
        previous = number
    return None


def _in_common(pairs: Pairs) -> bytes:
    common = blake2b(digest_size=_HASH_BYTES)
    for number, value in pairs:
        if number not in _OF_ONE_BLOCK and (number & _UNSAFE or number & _NO_CACHE_KEY_MASK != _NO_CACHE_KEY):
            common.update(number.to_bytes(4, "big") + len(value).to_bytes(4, "big") + value)
    return common.digest()


def _path(values: Sequence[bytes]) -> Sequence[str]:
    """The segments of the path; ThingsBoard's devices may also send all of it as one."""
    segments = tuple([str(value, "utf-8") for value in values])
    if len(segments) == 1 and "/" in segments[0]:
        return tuple(segments[0].removeprefix("/").split("/"))
    return segments


def _uint(pairs: Pairs, number: int, longest: int) -> int | None:
    """The first value of an option that holds an unsigned integer; one of more bytes is passed over (RFC 7252, 5.4.3)."""
    for found, value in pairs:
        if found == number:
            return int.from_bytes(value, "big") if len(value) <= longest else None
    return None
