"""RFC 7959 (and 9175), line by line: bodies in blocks, as a device sees the edge."""

from typing import Any

import pytest
from aiocoap import Code

from producers.coap.blockwise import LIFETIME, PER_REMOTE, Bodies
from producers.coap.refusal import Refused
from producers.coap.wire import decode
from runtime.publisher import Undelivered
from tests.support.coap import NON, MemoryRemote, request
from tests.support.coap_site import MAX_BODY, Conversation, conversation

CREATED, CONTINUE = Code.CREATED, Code.CONTINUE
BODY = b'{"a":"' + b"x" * 40 + b'"}'
"""Three blocks of 16 bytes."""


def blocks(body: bytes = BODY, exponent: int = 0, *, first_mid: int = 1, **options: Any) -> list[bytes]:
    """A body as a client sends it: with each block another Message ID and another token."""
    size = 1 << exponent + 4
    starts = range(0, len(body), size)
    return [
        request(
            body[start : start + size],
            mid=first_mid + number,
            token=bytes([number % 256]),
            block1=(number, start + size < len(body), exponent),
            **options,
        )
        for number, start in enumerate(starts)
    ]


async def codes(talk: Conversation, datagrams: list[bytes], remote: MemoryRemote | None = None) -> list[Code]:
    """What each datagram is answered."""
    return [(await talk.ask(datagram, remote)).code for datagram in datagrams]


@pytest.mark.parametrize("exponent", [6, 2])
async def test_64_kib(exponent):
    """2.3: 64 KiB in blocks of 1024 or 64 bytes: 2.31 for each but the last, and one message."""
    body = b'{"a":"' + b"x" * 65_528 + b'"}'
    talk = conversation()
    answers = [await talk.ask(datagram) for datagram in blocks(body, exponent)]
    assert [answer.code for answer in answers] == [CONTINUE] * (len(answers) - 1) + [CREATED]
    assert [answer.opt.block1.block_number for answer in answers] == list(range(len(answers)))
    assert talk.bodies == [body]


async def test_answers_name_their_block():
    """2.3: each answer repeats number, size and the more-bit of the block that it is for."""
    talk = conversation()
    answers = [await talk.ask(datagram) for datagram in blocks()]
    assert [tuple(answer.opt.block1) for answer in answers] == [(0, True, 0), (1, True, 0), (2, False, 0)]


async def test_body_in_one_block():
    """2.2: a body of a single block is a body."""
    talk = conversation()
    assert await codes(talk, blocks(b'{"a":1}')) == [CREATED]
    assert talk.bodies == [b'{"a":1}']


async def test_non_confirmable_blocks():
    """2.3: blocks may be non-confirmable."""
    talk = conversation()
    assert await codes(talk, blocks(mtype=NON)) == [CONTINUE, CONTINUE, CREATED]
    assert talk.bodies == [BODY]


async def test_retransmitted_block():
    """2.3, 7252 4.5: a retransmitted block gets the identical answer, and is not taken twice."""
    talk = conversation()
    repeated = [datagram for datagram in blocks() for _ in range(2)]
    assert await codes(talk, repeated) == [CONTINUE] * 4 + [CREATED] * 2
    assert talk.bodies == [BODY]


async def test_smaller_blocks_on_the_way():
    """2.3: a client may go on with smaller blocks, where the larger ones ended."""
    body = b'{"a":"' + b"x" * 56 + b'"}'
    talk = conversation()
    rest = [
        request(body[start : start + 16], mid=start, block1=(start // 16, start < 48, 0))
        for start in (32, 48)
    ]
    assert await codes(talk, [request(body[:32], mid=1, block1=(0, True, 1)), *rest]) == [
        CONTINUE,
        CONTINUE,
        CREATED,
    ]
    assert talk.bodies == [body]


async def test_no_first_block():
    """2.9.2: a block without those before it is 4.08."""
    assert await codes(conversation(), blocks()[1:2]) == [Code.REQUEST_ENTITY_INCOMPLETE]


async def test_gap():
    """2.9.2: a gap is 4.08, not an error of the server; the client begins again."""
    talk = conversation()
    first, _, third = blocks()
    assert await codes(talk, [first, third]) == [CONTINUE, Code.REQUEST_ENTITY_INCOMPLETE]
    assert await codes(talk, blocks(first_mid=50)) == [CONTINUE, CONTINUE, CREATED]
    assert talk.bodies == [BODY]


async def test_last_block_again():
    """2.9.2: a last block in a new exchange, after the body was complete, is 4.08 and stores nothing."""
    talk = conversation()
    await codes(talk, blocks())
    assert await codes(talk, blocks(first_mid=50)[2:]) == [Code.REQUEST_ENTITY_INCOMPLETE]
    assert talk.bodies == [BODY]


async def test_first_block_again():
    """2.5: a first block begins anew, whatever came before."""
    talk = conversation()
    await talk.ask(blocks(b"x" * 48)[0])
    assert await codes(talk, blocks(first_mid=50)) == [CONTINUE, CONTINUE, CREATED]
    assert talk.bodies == [BODY]


async def test_reserved_size():
    """2.2: size exponent 7 is reserved: 4.00."""
    assert await codes(conversation(), [request(b"x" * 16, block1=(0, True, 7))]) == [Code.BAD_REQUEST]


@pytest.mark.parametrize("length", [0, 15, 17])
async def test_block_of_another_length(length):
    """2.2: a block that is not the last has exactly its size, any other is 4.00."""
    assert await codes(conversation(), [request(b"x" * length, block1=(0, True, 0))]) == [Code.BAD_REQUEST]


async def test_last_block_that_is_too_long():
    """2.2: and the last one has no more than that."""
    assert await codes(conversation(), [request(b"x" * 17, block1=(0, False, 0))]) == [Code.BAD_REQUEST]


async def test_announced_size():
    """2.9.3, 4: a body that announces (Size1) more than the limit is 4.13 at its first block, with the limit."""
    answer = await conversation().ask(request(b"x" * 16, block1=(0, True, 0), size1=MAX_BODY + 1))
    assert (answer.code, answer.opt.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, MAX_BODY)


async def test_size_that_was_not_announced():
    """2.9.3: a body that grows beyond the limit is 4.13 at the block that crosses it."""
    talk = conversation()
    answers = await codes(talk, blocks(b"x" * (MAX_BODY + 1), 6))
    assert answers[MAX_BODY // 1024 - 1 :] == [CONTINUE, Code.REQUEST_ENTITY_TOO_LARGE]
    assert talk.bodies == []


async def test_number_far_beyond_the_limit():
    """2.9.3: a block number can claim a gigabyte; nothing is kept for it."""
    answer = await conversation().ask(request(b"x" * 1024, block1=((1 << 20) - 1, True, 6)))
    assert (answer.code, answer.opt.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, MAX_BODY)


@pytest.mark.parametrize(
    "path", [("api", "v1", "nobody", "telemetry"), ("api", "v1", "telemetry"), ("other",)]
)
async def test_who_may_not_speak_keeps_nothing(path):
    """7: nothing is buffered before it is known who speaks."""
    talk = conversation()
    assert (await codes(talk, blocks(path=path)[:1]))[0] in (Code.UNAUTHORIZED, Code.NOT_FOUND)
    assert len(talk.layer._handler.__self__._bodies) == 0


async def test_two_devices():
    """2.5: blocks of two endpoints do not mix."""
    talk = conversation()
    one, two = MemoryRemote(key="one"), MemoryRemote(key="two")
    other = BODY.replace(b"x", b"y")
    for mine, theirs in zip(blocks(), blocks(other), strict=True):
        await talk.ask(mine, one)
        await talk.ask(theirs, two)
    assert talk.bodies == [BODY, other]


async def test_request_tag():
    """RFC 9175, 3: bodies under way at once are told apart by their Request-Tag."""
    talk = conversation()
    other = BODY.replace(b"x", b"y")
    pairs = zip(blocks(request_tag=[b"1"]), blocks(other, first_mid=50, request_tag=[b"2"]), strict=True)
    for mine, theirs in pairs:
        await talk.ask(mine)
        await talk.ask(theirs)
    assert talk.bodies == [BODY, other]


async def test_bodies_under_way():
    """7: one endpoint has so many bodies under way, and the oldest goes first."""
    talk = conversation()
    tags = [bytes([number]) for number in range(PER_REMOTE + 1)]
    for number, tag in enumerate(tags):
        await talk.ask(blocks(first_mid=number * 10, request_tag=[tag])[0])
    assert await codes(talk, blocks(first_mid=100, request_tag=[tags[0]])[1:2]) == [
        Code.REQUEST_ENTITY_INCOMPLETE
    ]
    assert await codes(talk, blocks(first_mid=200, request_tag=[tags[1]])[1:]) == [CONTINUE, CREATED]


def test_life_time():
    """2.5: a body that nobody goes on with is forgotten after MAX_TRANSMIT_WAIT, 93 seconds."""
    now = 0.0
    bodies = Bodies(MAX_BODY, lambda: now)
    first, second, _ = map(decode, blocks())
    assert bodies.feed("remote", first) is None
    now = LIFETIME + 1
    with pytest.raises(Refused, match=r"4\.08"):
        bodies.feed("remote", second)
    assert len(bodies) == 0


async def test_kafka_is_away():
    """2.9, 7252 5.9.3.4: when the whole body cannot be stored the last block is 5.03; sent again from the start, it is stored once."""
    talk = conversation()
    talk.outbox.fail_with = Undelivered("the broker did not answer")
    assert await codes(talk, blocks()) == [CONTINUE, CONTINUE, Code.SERVICE_UNAVAILABLE]
    talk.outbox.fail_with = None
    assert await codes(talk, blocks(first_mid=50)) == [CONTINUE, CONTINUE, CREATED]
    assert talk.bodies == [BODY]


async def test_not_json():
    """2.9: a whole body that is no telemetry is 4.00 at its last block."""
    assert await codes(conversation(), blocks(b"x" * 20)) == [CONTINUE, Code.BAD_REQUEST]
