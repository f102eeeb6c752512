"""Options are read the same whether their bytes are known or not."""

import random

import pytest

from producers.coap import options
from producers.coap.options import KNOWN, LONGEST_KNOWN, Malformed, Options, read
from tests.support.coap import request

START = 5
"""Where options begin behind a token of one byte."""


def anew(data: bytes) -> tuple[Options, bytes]:
    """What a datagram says, whatever was read before."""
    pairs, end = options._pairs(data, START)
    if data[end:] == b"\xff":
        raise Malformed
    return options._meant(pairs), data[end + 1 :]


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff\xff"])
def test_the_same_bytes_are_read_once(payload):
    """Two messages with the same options share what was read of them; each has its own payload."""
    found, body = read(request(payload), START)
    again, other = read(request(b"other"), START)
    assert again is found
    assert (body, other) == (payload, b"other")


def test_long_options_are_read_each_time():
    """What is too long to be kept is read all the same."""
    segment = "x" * LONGEST_KNOWN
    found, body = read(request(b"body", path=[segment] * 3), START)
    assert (found.path, body) == ((segment,) * 3, b"body")


def test_a_marker_within_an_option_is_none():
    """0xFF in the value of an option, or in its length, does not end the options."""
    for data in (request(b"body", if_match=[b"a\xffb"]), request(b"body", path=["x" * (255 + 13)])):
        assert read(data, START) == anew(data)
        assert read(data, START)[1] == b"body"


def test_what_is_known_changes_nothing():
    """Whatever was read before, bytes of any kind mean what they mean without it."""
    chance = random.Random(7)
    datagram = request(b"\xff" * 5, if_match=[b"a\xffb"], block1=(3, True, 2))
    for _ in range(20_000):
        data = bytearray(datagram)
        for _ in range(chance.randint(0, 3)):
            data[chance.randrange(START, len(data))] = chance.choice([0xFF, 0, 1, 0x11, 0xB1, 0xDF])
        data = bytes(data[: chance.randint(START, len(data))])
        try:
            expected = anew(data)
        except Malformed:
            with pytest.raises(Malformed):
                read(data, START)
        else:
            assert read(data, START) == expected


def test_what_is_known_is_bounded():
    """No more options are kept than the bound says, whoever sends them."""
    for number in range(KNOWN + 100):
        read(request(path=["api", str(number)]), START)
    assert options._known.cache_info().currsize <= KNOWN
