"""Reading CoAP messages."""

import random
import sys

import pytest
from aiocoap import Code
from aiocoap.numbers import OptionNumber

from producers.coap.options import LONGEST_OPTIONS, MOST_OPTIONS, Block, Malformed
from producers.coap.wire import Type, decode
from tests.support.coap import NON, TELEMETRY, request

RECORDED = bytes.fromhex(
    "4102e64901723d4a43617069027631"
    "06544f4b454e310974656c656d657472791132ff7b2274656d7065726174757265223a34322c2268756d6964697479223a37337d"
)


def test_recorded_datagram():
    """A datagram recorded from coap-client 4.3.1 reads as what it says."""
    message = decode(RECORDED)
    assert (message.type, message.code, message.message_id, message.token) == (Type.CON, 2, 0xE649, b"\x01")
    assert message.options.path == TELEMETRY
    assert message.options.refusal is None
    assert message.payload == b'{"temperature":42,"humidity":73}'
    assert message.is_request


def test_what_aiocoap_writes():
    """Options with long numbers and long values are read as aiocoap wrote them."""
    long_segment = "x" * 255
    message = decode(
        request(b"body", path=["a", long_segment], mtype=NON, token=b"12345678", no_response=26, size1=70_000)
    )
    assert message.type == Type.NON
    assert message.token == b"12345678"
    assert message.options.path == ("a", long_segment)
    assert message.options.no_response == 26
    assert message.options.size1 == 70_000


def test_block_option():
    """The Block1 option is read as number, more and size."""
    block = decode(request(b"b" * 64, block1=(3, True, 2))).options.block1
    assert block == Block(3, more=True, exponent=2)
    assert (block.size, block.start) == (64, 192)
    assert decode(request()).options.block1 is None


def test_blocks_of_one_body_share_a_cache_key():
    """Blocks differ in Block1 and Size1 but have one cache key; another path or Request-Tag is another body."""
    first = decode(request(block1=(0, True, 6), size1=4000)).cache_key()
    assert decode(request(block1=(1, False, 6))).cache_key() == first
    assert decode(request(block1=(0, True, 6), path=["other"])).cache_key() != first
    assert decode(request(block1=(0, True, 6), request_tag=[b"1"])).cache_key() != first


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("4902000100112233445566778899", id="token of nine bytes"),
        pytest.param("44020001ab", id="token cut off"),
        pytest.param("40220001", id="reserved class of code"),
        pytest.param("40000001ff", id="empty message with more than a header"),
        pytest.param("40020001ff", id="payload marker without payload"),
        pytest.param("40020001b3617069ff", id="payload marker at the end"),
        pytest.param("40020001f0", id="reserved option delta"),
        pytest.param("40020001bf", id="reserved option length"),
        pytest.param("40020001b5617069", id="option cut off"),
        pytest.param("40020001d0", id="extended delta missing"),
        pytest.param("40020001e001", id="extended delta cut off"),
    ],
)
def test_format_errors(data):
    """A message format error is Malformed."""
    with pytest.raises(Malformed):
        decode(bytes.fromhex(data))


def test_any_bytes_are_read_or_malformed():
    """Bytes of any kind are a message or Malformed, nothing else."""
    chance = random.Random(7)
    for _ in range(20_000):
        data = bytearray(RECORDED)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(1, len(data))] = chance.randrange(256)
        data = data[: chance.randint(4, len(data))]
        try:
            decode(bytes(data))
        except Malformed:
            continue


def test_nothing_is_remembered_of_option_numbers():
    """Option numbers that a stranger makes up leave no member in aiocoap's enumeration behind."""
    before = sys.getsizeof(OptionNumber._value2member_map_), len(OptionNumber._value2member_map_)
    for number in range(60_000, 60_100):
        decode(bytes.fromhex("40020001e0") + (number - 269).to_bytes(2, "big"))
    assert (sys.getsizeof(OptionNumber._value2member_map_), len(OptionNumber._value2member_map_)) == before
    assert Code.POST.is_request()


def test_options_in_number():
    """A message may have 64 options; one with more is none."""
    assert decode(RECORDED[:5] + b"\x00" * MOST_OPTIONS).payload == b""
    with pytest.raises(Malformed):
        decode(RECORDED[:5] + b"\x00" * (MOST_OPTIONS + 1))


def test_options_in_bytes():
    """A message may have four kilobytes of options; one with more is none."""
    header = 3  # of an option this long
    assert decode(request(b"x", path=[], if_match=[b"e" * (LONGEST_OPTIONS - header)])).payload == b"x"
    with pytest.raises(Malformed):
        decode(request(b"x", path=[], if_match=[b"e" * (LONGEST_OPTIONS - header + 1)]))
