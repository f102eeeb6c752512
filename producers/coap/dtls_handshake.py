"""What a handshake may have OpenSSL keep before anybody is known, bounded on the records as they arrive.

OpenSSL (4.0) keeps ten handshake messages ahead of the one that it waits for, each as long as its first fragment claims, up to
100 KB: a megabyte a stranger. `SSL_CTX_set_max_cert_list` in cryptography's bindings would remove this module.
"""

from collections.abc import Iterator

LONGEST_MESSAGE = 16 << 10
"""Bytes; the longest message is a device's chain of certificates, and has 4 KB."""

_HANDSHAKE, _IN_THE_CLEAR = 22, b"\0\0"
_RECORD_HEADER, _FRAGMENT_HEADER = 13, 12


def is_too_long(datagram: bytes) -> bool:
    """Whether a fragment of a longer message is in it; what OpenSSL is not given is as good as lost on the way."""
    return any(length > LONGEST_MESSAGE for content in _handshakes(datagram) for length in _lengths(content))


def _handshakes(datagram: bytes) -> Iterator[bytes]:
    """What is in each record of handshake messages in the clear."""
    position = 0
    while position + _RECORD_HEADER <= len(datagram):
        begin = position + _RECORD_HEADER
        end = begin + int.from_bytes(datagram[position + 11 : begin], "big")
        if datagram[position] == _HANDSHAKE and datagram[position + 3 : position + 5] == _IN_THE_CLEAR:
            yield datagram[begin:end]
        position = end


def _lengths(content: bytes) -> Iterator[int]:
    """Of each fragment in a record, the length of its whole message."""
    position = 0
    while position + _FRAGMENT_HEADER <= len(content):
        yield int.from_bytes(content[position + 1 : position + 4], "big")
        position += _FRAGMENT_HEADER + int.from_bytes(content[position + 9 : position + 12], "big")
