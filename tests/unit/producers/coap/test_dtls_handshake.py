"""What a handshake may have OpenSSL keep."""

import pytest

from producers.coap.dtls_handshake import LONGEST_MESSAGE, is_too_long

CERTIFICATE, HANDSHAKE, DATA = 11, 22, 23


def record(content: bytes, *, kind: int = HANDSHAKE, epoch: int = 0) -> bytes:
    """A record of DTLS 1.2."""
    header = bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2, "big") + bytes(6)
    return header + len(content).to_bytes(2, "big") + content


def fragment(length: int) -> bytes:
    """The first byte of a handshake message of that length."""
    return bytes((CERTIFICATE,)) + length.to_bytes(3, "big") + bytes(5) + (1).to_bytes(3, "big") + b"x"


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize(
    "around",
    [record, lambda last: record(fragment(9) + last), lambda last: record(fragment(9)) + record(last)],
    ids=["alone", "behind another", "in a later record"],
)
def test_a_message_is_as_long_as_a_chain_may_be(around, more):
    """A fragment of a longer message is found wherever in a datagram it is: its claim alone would cost its length."""
    assert is_too_long(around(fragment(LONGEST_MESSAGE + more))) is bool(more)


@pytest.mark.parametrize("other", [{"kind": DATA}, {"epoch": 1}])
def test_only_handshakes_in_the_clear_are_read(other):
    """What is encrypted, or no handshake, means something else."""
    assert not is_too_long(record(fragment(LONGEST_MESSAGE + 1), **other))


@pytest.mark.parametrize("cut", range(40))
def test_what_is_cut_short_is_openssls_to_judge(cut):
    """A datagram that ends anywhere is no error here."""
    assert not is_too_long((record(fragment(9)) + record(b"x", kind=DATA))[:cut])
