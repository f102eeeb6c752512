"""Bodies put together from blocks."""

import os
import tracemalloc
from typing import Any

import pytest
from aiocoap import Code

from producers.coap.blockwise import LIFETIME, Bodies
from producers.coap.refusal import Refused
from producers.coap.wire import Datagram, decode
from producers.metrics import BODIES_GIVEN_UP
from tests.support.coap import request
from tests.support.counts import counts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds, as the test wants."""
        return self.now


def block(number: int, payload: bytes, *, more: bool = True, exponent: int = 0, **options: Any) -> Datagram:
    """One block of a body."""
    return decode(request(payload, block1=(number, more, exponent), **options))


def refusal(bodies: Bodies, datagram: Datagram, remote: str = "a") -> Refused:
    """Why a block is refused."""
    with pytest.raises(Refused) as caught:
        bodies.feed(remote, datagram)
    return caught.value


def test_whole_body():
    """A request without Block1 is its own body."""
    assert Bodies(100, Clock()).feed("a", decode(request(b"body"))) == b"body"


def test_blocks_become_a_body():
    """Blocks in order become the body, and nothing is kept afterwards."""
    bodies = Bodies(100, Clock())
    assert bodies.feed("a", block(0, b"0" * 16)) is None
    assert bodies.feed("a", block(1, b"1" * 16)) is None
    assert bodies.feed("a", block(2, b"2", more=False)) == b"0" * 16 + b"1" * 16 + b"2"
    assert len(bodies) == 0


def test_two_remotes_do_not_mix():
    """Equal requests of two remotes are two bodies."""
    bodies = Bodies(100, Clock())
    bodies.feed("a", block(0, b"a" * 16))
    bodies.feed("b", block(0, b"b" * 16))
    assert bodies.feed("a", block(1, b"!", more=False)) == b"a" * 16 + b"!"


@pytest.mark.parametrize("number", [0, 2])
def test_gap(number):
    """A block that does not follow the one before is 4.08, and the body is given up."""
    bodies = Bodies(100, Clock())
    if number:
        bodies.feed("a", block(0, b"0" * 16))
    assert refusal(bodies, block(number or 1, b"2" * 16)).code == Code.REQUEST_ENTITY_INCOMPLETE
    assert len(bodies) == 0


def test_first_block_again_starts_anew():
    """Block 0 begins the body again, as RFC 7959 wants."""
    bodies = Bodies(100, Clock())
    bodies.feed("a", block(0, b"x" * 16))
    bodies.feed("a", block(0, b"y" * 16))
    assert bodies.feed("a", block(1, b"", more=False)) == b"y" * 16


@pytest.mark.parametrize(
    ("payload", "more", "exponent"),
    [(b"short", True, 0), (b"x" * 17, True, 0), (b"x" * 17, False, 0), (b"x" * 1024, True, 7)],
)
def test_block_of_a_wrong_size(payload, more, exponent):
    """A block that is not of the size it claims is 4.00."""
    refused = refusal(Bodies(10_000, Clock()), block(0, payload, more=more, exponent=exponent))
    assert refused.code == Code.BAD_REQUEST


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(decode(request(b"x" * 101)), id="in one message"),
        pytest.param(block(0, b"x" * 16, size1=101), id="announced"),
        pytest.param(block(6, b"x" * 16), id="reached"),
    ],
)
def test_too_large(datagram):
    """A body beyond the limit is 4.13 with the limit, as early as that is known."""
    refused = refusal(Bodies(100, Clock()), datagram)
    assert refused.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert refused.size1 == 100


def test_life_time():
    """A body whose next block does not come is forgotten."""
    lost = counts(BODIES_GIVEN_UP)
    clock = Clock()
    bodies = Bodies(100, clock)
    bodies.feed("a", block(0, b"x" * 16))
    clock.now = LIFETIME + 1
    assert refusal(bodies, block(1, b"", more=False)).code == Code.REQUEST_ENTITY_INCOMPLETE
    assert len(bodies) == 0
    assert lost() == {("late",): 1}


def test_bodies_of_one_remote():
    """One remote has two bodies under way; a third one takes the place of the oldest."""
    lost = counts(BODIES_GIVEN_UP)
    bodies = Bodies(100, Clock())
    for name in ("one", "two", "three"):
        bodies.feed("a", block(0, b"x" * 16, path=[name]))
    assert len(bodies) == 2
    assert refusal(bodies, block(1, b"", path=["one"], more=False)).code == Code.REQUEST_ENTITY_INCOMPLETE
    assert bodies.feed("a", block(1, b"", path=["three"], more=False)) == b"x" * 16
    assert lost() == {("displaced",): 1}


def test_bytes_in_total():
    """All bodies together are bounded; the one that waited longest goes first."""
    lost = counts(BODIES_GIVEN_UP)
    bodies = Bodies(100, Clock(), total=3000)
    for remote in ("a", "b", "c", "d"):
        bodies.feed(remote, block(0, b"x" * 16))
    assert len(bodies) == 3
    assert refusal(bodies, block(1, b"", more=False), "a").code == Code.REQUEST_ENTITY_INCOMPLETE
    assert lost() == {("displaced",): 2}


@pytest.mark.parametrize("blocks", [1, 50])
def test_bytes_that_are_counted(blocks):
    """What is kept of bodies under way is no more than what is counted, however long their options are."""
    bodies = Bodies(10_000, Clock(), total=1 << 17)
    tracemalloc.start()
    try:
        for _ in range(200):
            address, tag, long = os.urandom(32), [os.urandom(8)], [os.urandom(3000)]
            for number in range(blocks):
                bodies.feed(address, block(number, b"x" * 16, request_tag=tag, if_match=long))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(bodies) > 10
    assert kept < 1 << 17
