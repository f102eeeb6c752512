"""The message layer: each request handled once, acknowledged in time, answered once it has an answer.

aiocoap's `MessageManager` and `TokenManager` (0.4.17) are not used; what would have to change there first:

- `MessageManager._piggyback_opportunities` is keyed by (remote, token). Two confirmable requests with one token (a device
  that always sends the empty one) mix up their acknowledgements: the first answer acknowledges the second request, so
  a device would hear 2.01 for what Kafka does not have.
- `TokenManager.process_request` cancels the running handler when a token is used again: the request is never answered,
  and its retransmissions are taken for duplicates.
- `MessageManager._recent_messages` keeps 3 KB a message for 247 s without a bound, and tells a restarted device that
  reuses a Message ID the answer to its old message.
- `MessageManager._continue_backlog` looks at every open exchange for each acknowledgement.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from aiocoap import Code

from producers.coap.answer import Answer, answer
from producers.coap.duplicates import Duplicates, mark
from producers.coap.exchanges import Exchanges
from producers.coap.options import Malformed
from producers.coap.piggyback import Piggyback
from producers.coap.remote import Remote
from producers.coap.wire import HEADER, VERSION, Datagram, Type, decode
from producers.metrics import Dropped, count_dropped

PIGGYBACK_TIMEOUT = 0.5
"""Seconds until a confirmable request gets an empty acknowledgement, its answer to follow: ThingsBoard's value."""

_CON, _NON, _ACK, _RESET = 0x40, 0x50, 0x60, 0x70
"""First bytes: version 1, the type, no token."""

_EMPTY: Answer = b"\0"
"""The code of an empty message."""

_FAILED = answer(Code.INTERNAL_SERVER_ERROR)

log = structlog.get_logger()


class Reply(Protocol):
    """Where the answer to one request goes. One of the two is called, once, now or later."""

    def answer(self, response: Answer | None) -> None:
        """This is the answer; None leaves the request without a response."""

    def fail(self, error: BaseException) -> None:
        """There is none, for a reason that nobody expects."""


Handler = Callable[[Datagram, Remote, Reply], None]
"""Answers a request. What it raises fails the request."""


class MessageLayer:
    """RFC 7252, section 4, for a server, over any number of transports.

    Args:
        handler: is called once for each request, however often that is retransmitted.
        piggyback_timeout: seconds until a confirmable request gets an empty acknowledgement.

    """

    def __init__(
        self,
        handler: Handler,
        *,
        piggyback_timeout: float = PIGGYBACK_TIMEOUT,
        duplicates: Duplicates | None = None,
        exchanges: Exchanges | None = None,
    ) -> None:
        self._handler = handler
        self._piggyback = Piggyback(piggyback_timeout, self._acknowledge)
        self._duplicates = Duplicates(time.monotonic) if duplicates is None else duplicates
        self._exchanges = Exchanges() if exchanges is None else exchanges
        self._message_id = random.getrandbits(16)
        self._running = 0
        self._idle = asyncio.Event()
        """Nothing runs, and nothing will."""
        self._closing = self._closed = False

    @property
    def remembered(self) -> int:
        """Messages whose repeats are answered from memory."""
        return len(self._duplicates)

    @property
    def unacknowledged(self) -> int:
        """Answers that are repeated until they are acknowledged."""
        return len(self._exchanges)

    def receive(self, remote: Remote, data: bytes) -> None:
        """Take a datagram from a transport. Never raises, whatever the bytes are."""
        if len(data) < HEADER or data[0] >> 6 != VERSION:
            count_dropped(Dropped.MALFORMED)
            return  # RFC 7252, section 3: silently
        try:
            message = decode(data)
        except Malformed:
            count_dropped(Dropped.MALFORMED)
            if data[0] >> 4 & 3 == Type.CON:
                remote.send(_bare(_RESET, data[2:4]))
            return
        if message.is_request and message.type <= Type.NON:
            self._take(remote, message, data)
        elif message.type == Type.CON:
            # A ping, or the response to a question that we never ask.
            remote.send(_bare(_RESET, data[2:4]))
        elif message.type != Type.NON:
            self._exchanges.end(remote.key, message.message_id)

    async def close(self, patience: float) -> None:
        """Take no more requests, and give those that run so many seconds to be answered."""
        self._closing = True
        if self._running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)
        self._closed = True
        self._piggyback.close()
        self._exchanges.close()

    def _take(self, remote: Remote, request: Datagram, data: bytes) -> None:
        if self._closing:
            return  # a retransmission finds our successor
        this = mark(remote.key, data)
        told = self._duplicates.seen(this)
        if told is not None:
            count_dropped(Dropped.DUPLICATE)
            if request.type == Type.CON and told:
                remote.send(_response(_ACK, request.message_id, request.token, told))
            return
        exchange = _Exchange(self, remote, request, this)
        self._running += 1
        if request.type == Type.CON:
            self._piggyback.wait(exchange)
        try:
            self._handler(request, remote, exchange)
        except Exception as error:  # noqa: BLE001 - see `_Exchange.fail`
            exchange.fail(error)

    def answered(self, exchange: "_Exchange", response: Answer | None) -> None:
        """Send the one answer of a request, or see that it gets none."""
        self._running -= 1
        if self._closing and not self._running:
            self._idle.set()
        if self._closed:
            return
        request = exchange.request
        if response is not None and request.options.no_response & 1 << (response[0] >> 5) - 1:
            response = None  # RFC 7967: the client does not want to hear that class of responses
        if self._piggyback.end(exchange):
            self._acknowledge(exchange, response or _EMPTY)
        elif response is not None:
            self._separate(exchange.remote, request, response)

    def _acknowledge(self, exchange: "_Exchange", response: Answer = _EMPTY) -> None:
        """Say and remember what a request gets with its acknowledgement."""
        request = exchange.request
        self._duplicates.answered(exchange.mark, response)
        exchange.remote.send(_response(_ACK, request.message_id, request.token, response))

    def _separate(self, remote: Remote, request: Datagram, response: Answer) -> None:
        """Send a response as a message of its own, confirmable if the request was."""
        mine = self._message_id
        self._message_id = mine + 1 & 0xFFFF
        if request.type == Type.CON and not self._exchanges.full:
            self._exchanges.begin(remote, mine, _response(_CON, mine, request.token, response))
        else:
            remote.send(_response(_NON, mine, request.token, response))


class _Exchange:
    """One request on its way to its answer. Of the datagram it keeps what tells it from others, not its bytes."""

    __slots__ = ("_layer", "mark", "remote", "request")

    def __init__(self, layer: MessageLayer, remote: Remote, request: Datagram, mark: int) -> None:
        self._layer = layer
        self.remote = remote
        self.request = request
        self.mark = mark

    def answer(self, response: Answer | None) -> None:
        """See `Reply.answer`."""
        self._layer.answered(self, response)

    def fail(self, error: BaseException) -> None:
        """See `Reply.fail`. The one place for what nobody expects: the device hears so, and the process serves the others."""
        log.error("a request failed", endpoint=self.remote.endpoint, exc_info=error)
        self._layer.answered(self, _FAILED)


def _response(first: int, message_id: int, token: bytes, response: Answer) -> bytes:
    """A message with an answer: version and type, the request's token, a Message ID. An empty one has no token."""
    if response == _EMPTY:
        token = b""
    return b"%c%c%c%c%b%b" % (
        first | len(token),
        response[0],
        message_id >> 8,
        message_id & 0xFF,
        token,
        response[1:],
    )


def _bare(first: int, message_id: bytes) -> bytes:
    """An empty message: version and type, no code, a Message ID."""
    return bytes((first, 0)) + message_id
