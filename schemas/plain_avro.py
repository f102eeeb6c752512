"""Avro's binary encoding of plain values: text, bytes, numbers, maps of texts (Avro 1.11 specification, "Binary Encoding")."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_SEVEN_BITS, _MORE, _THREE_BYTES = 0x7F, 0x80, 1 << 21


def number(value: int) -> bytes:
    """A long: zigzag, then seven bits a byte, the lowest first."""
    rest = value << 1 if value >= 0 else (-value << 1) - 1
    if rest < _THREE_BYTES:
        return _sevens(rest)
    # The higher bytes of a time in microseconds are another each second.
    return b"%c%c%c%b" % (
        rest & _SEVEN_BITS | _MORE,
        rest >> 7 & _SEVEN_BITS | _MORE,
        rest >> 14 & _SEVEN_BITS | _MORE,
        _sevens(rest >> 21),
    )


@lru_cache(1024)
def _sevens(rest: int) -> bytes:
    encoded = bytearray()
    while rest > _SEVEN_BITS:
        encoded.append(rest & _SEVEN_BITS | _MORE)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


_length = lru_cache(1024)(number)
"""Lengths are the same again and again."""


def data(value: bytes) -> bytes:
    """Bytes, behind their length."""
    return _length(len(value)) + value


def text(value: str) -> bytes:
    """A text in UTF-8, behind its length."""
    encoded = value.encode()
    return _length(len(encoded)) + encoded


def texts(value: Mapping[str, str]) -> bytes:
    """A map of texts: one block of pairs, if there are any, and the end."""
    if not value:
        return b"\0"
    pairs = [text(key) + text(of) for key, of in value.items()]
    return b"%b%b\0" % (_length(len(pairs)), b"".join(pairs))


PLAIN: Mapping[str, Callable[[Any], bytes]] = {
    json.dumps("string"): text,
    json.dumps("bytes"): data,
    json.dumps("long"): number,
    json.dumps({"type": "map", "values": "string"}, sort_keys=True): texts,
}
"""By the type as a schema says it, in JSON."""
