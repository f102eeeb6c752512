"""What we use of aiocoap beyond its documentation, and the reasons why we do not use more of it.

A test that fails here after an upgrade says that something of ours has to change, or may go.
"""

import asyncio
import importlib.metadata
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiocoap import Code, Message, error
from aiocoap.blockwise import Block1Spool
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers import ContentFormat, OptionNumber, types
from aiocoap.tokenmanager import TokenManager
from aiocoap.util import hostportjoin

from tests.support.coap import MemoryRemote, request


def test_version():
    """The version is the one that the pins below were written for."""
    assert importlib.metadata.version("aiocoap") == "0.4.17"


def test_a_response_is_encoded_from_its_attributes():
    """`Message` takes type, Message ID and token as attributes, and writes what RFC 7252 says."""
    message = Message(code=Code.CREATED)
    message.mtype, message.mid, message.token = types.ACK, 0x1234, b"\x01"
    assert message.encode().hex() == "6141123401"
    message.opt.max_age, message.opt.size1, message.opt.block1 = 5, 1024, (2, True, 6)
    assert message.encode().hex() == "6141123401" + "d10105" + "d1002e" + "d2140400"
    message.opt.max_age = message.opt.size1 = message.opt.block1 = None
    assert message.encode().hex() == "6141123401"


def test_codes():
    """Codes know their class, and how they are written."""
    assert (Code.BAD_REQUEST.class_, Code.BAD_REQUEST.dotted) == (4, "4.00")
    assert Code(2) is Code.POST


def test_addresses_as_text():
    """An IPv6 address is bracketed."""
    assert hostportjoin("::1", 5683) == "[::1]:5683"


def test_option_numbers_are_kept_for_ever():
    """Why `wire.py` reads options: aiocoap remembers every option number and content format it ever decoded."""
    for enumeration, number in ((OptionNumber, 64_999), (ContentFormat, 64_999)):
        enumeration(number)
        assert number in enumeration._value2member_map_


@pytest.mark.parametrize("data", ["40020001b2c328", "40020001b2c3"])
def test_decode_raises_more_than_it_says(data):
    """Why `wire.py` reads options: text that is not UTF-8 escapes `Message.decode` as UnicodeDecodeError."""
    expected = UnicodeDecodeError if data.endswith("28") else error.UnparsableMessage
    with pytest.raises(expected):
        Message.decode(bytes.fromhex(data))


def test_long_tokens_are_taken():
    """Why `wire.py` reads headers: `Message.decode` takes token lengths that RFC 7252 reserves."""
    assert len(Message.decode(bytes.fromhex("49020001" + "00" * 9)).token) == 9


async def test_the_spool_has_no_bounds():
    """Why `blockwise.py` is there: `Block1Spool` takes no limits, and a gap escapes it as ValueError."""
    assert list(inspect.signature(Block1Spool).parameters) == []
    spool = Block1Spool()
    remote = SimpleNamespace(blockwise_key="remote")

    def feed(number: int) -> None:
        block = Message.decode(request(b"x" * 16, block1=(number, True, 0)), remote)
        spool.feed_and_take(block)

    with pytest.raises(error.Error):
        feed(0)
    # Neither KeyError, which is all that the spool expects, nor an error of aiocoap's own.
    with pytest.raises(ValueError, match=r"^$"):
        feed(2)


async def test_one_token_mixes_up_acknowledgements():
    """Why `messages.py` is there: with one token for two requests, one answer acknowledges the other request."""
    remote = _Remote()
    manager, pipes = _stock(remote)
    for mid in (1, 2):
        manager.dispatch_message(Message.decode(request(b"%d" % mid, mid=mid, token=b""), remote))
    first_request, _ = pipes
    assert first_request.request.mid == 1
    reply = Message(code=Code.CREATED)
    reply.remote, reply.token, reply.request = remote, b"", first_request.request
    manager.send_message(reply, lambda: None)
    assert (await remote.next()).mid == 2
    await manager.token_manager.shutdown()


async def test_one_token_gives_up_the_running_request():
    """Why `messages.py` is there: a request that reuses a token ends the interest in the one that still runs."""
    remote = _Remote()
    manager, pipes = _stock(remote)
    ended: list[int] = []
    manager.dispatch_message(Message.decode(request(mid=1, token=b""), remote))
    pipes[0].on_interest_end(lambda: ended.append(1))
    manager.dispatch_message(Message.decode(request(mid=2, token=b""), remote))
    assert ended == [1]
    await manager.token_manager.shutdown()


async def test_duplicates_are_told_by_message_id_alone():
    """Why `duplicates.py` is there: a restarted device that reuses a Message ID is not heard, and nothing is bounded."""
    remote = _Remote()
    manager, pipes = _stock(remote)
    for number in range(1000):
        manager.dispatch_message(Message.decode(request(b"%d" % number, mid=number % 2), remote))
    assert len(pipes) == 2
    assert isinstance(manager._recent_messages, dict)
    await manager.token_manager.shutdown()


class _Remote(MemoryRemote):
    """An endpoint as aiocoap wants it."""

    is_multicast = is_multicast_locally = False

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def as_response_address(self) -> "_Remote":
        """The address that answers go to."""
        return self


class _Interface:
    """A transport that hands encoded messages to the remote."""

    def send(self, message: Message) -> None:
        """Send."""
        message.remote.send(message.encode())

    async def shutdown(self) -> None:
        """Nothing to end."""


def _stock(remote: _Remote) -> tuple[MessageManager, list[Any]]:
    """The two layers of aiocoap layers, and the requests that they passed on."""
    pipes: list[Any] = []
    log = SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error"), lambda *_, **__: None))
    context = SimpleNamespace(
        log=log, loop=asyncio.get_running_loop(), client_credentials=None, render_to_pipe=pipes.append
    )
    tokens = TokenManager(context)
    manager = MessageManager(tokens)
    tokens.token_interface, manager.message_interface = manager, _Interface()
    return manager, pipes
