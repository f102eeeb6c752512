"""Answers: a code and a few options, the same bytes for everybody who gets them."""

from functools import lru_cache

from aiocoap import Code, Message
from aiocoap.numbers import types

from producers.coap.options import Block
from producers.coap.wire import HEADER

Answer = bytes
"""What a response says, whoever gets it: its code, and its options as they follow the token. None has a payload."""

REMEMBERED = 1000
"""Answers that need not be encoded again, 300 bytes each; those with the number of a block come and go."""


@lru_cache(REMEMBERED)
def answer(
    code: Code, *, max_age: int | None = None, size1: int | None = None, block1: Block | None = None
) -> Answer:
    """The answer of that code with those of the options that are not None."""
    message = Message(code=code)
    message.mtype, message.mid, message.token = types.ACK, 0, b""
    message.opt.max_age, message.opt.size1 = max_age, size1
    if block1 is not None:
        message.opt.block1 = (block1.number, block1.more, block1.exponent)
    encoded: bytes = message.encode()
    return encoded[1:2] + encoded[HEADER:]
