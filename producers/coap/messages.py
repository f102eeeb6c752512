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
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiocoap import Code, Message
from aiocoap.numbers import OptionNumber
from aiocoap.numbers import types as aiocoap_types

from producers.coap.duplicates import Duplicates, fingerprint
from producers.coap.exchanges import Exchanges
from producers.coap.remote import Remote
from producers.coap.wire import HEADER, VERSION, Datagram, Malformed, Type, decode
from producers.metrics import Dropped, count_dropped

PIGGYBACK_TIMEOUT = 0.5
"""Seconds until a confirmable request gets an empty acknowledgement, its answer to follow: ThingsBoard's value."""

_ACK, _RESET = 0x60, 0x70
"""First bytes: version 1, the type, no token."""

_EMPTY = b"\0"
"""The code of an empty message."""

Handler = Callable[[Datagram, Remote], Coroutine[Any, Any, Message | None]]
"""Answers a request; None leaves it without a response."""

log = structlog.get_logger()


class MessageLayer:
    """RFC 7252, section 4, for a server, over any number of transports.

    Args:
        handler: runs once for each request, however often that is retransmitted.
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
        self._piggyback_timeout = piggyback_timeout
        self._duplicates = Duplicates(time.monotonic) if duplicates is None else duplicates
        self._exchanges = Exchanges() if exchanges is None else exchanges
        self._running: set[asyncio.Task[Message | None]] = set()
        self._closing = False
        self._message_id = random.getrandbits(16)

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
            if Type(data[0] >> 4 & 3) is Type.CON:
                remote.send(_bare(_RESET, data[2:4]))
            return
        if message.type in (Type.ACK, Type.RST):
            self._exchanges.end(remote.key, message.message_id)
        elif message.is_request:
            self._take(remote, message, data)
        elif message.type is Type.CON:
            # A ping, or the response to a question that we never ask.
            remote.send(_bare(_RESET, data[2:4]))

    async def close(self, patience: float) -> None:
        """Take no more requests, and give those that run so many seconds to be answered."""
        self._closing = True
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=patience)
            for task in late:
                task.cancel()
        self._exchanges.close()

    def _take(self, remote: Remote, request: Datagram, data: bytes) -> None:
        if self._closing:
            return  # a retransmission finds our successor
        mark = fingerprint(data)
        told = self._duplicates.seen(remote.key, request.message_id, mark)
        if told is not None:
            count_dropped(Dropped.DUPLICATE)
            if request.type is Type.CON and told:
                remote.send(_acknowledgement(request, told))
            return
        exchange = _Exchange(self, remote, request, mark)
        task = asyncio.create_task(self._handler(request, remote))
        self._running.add(task)
        if request.type is Type.CON:
            exchange.wait(self._piggyback_timeout)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(exchange.finish)

    def acknowledge(self, remote: Remote, request: Datagram, mark: bytes, answer: bytes) -> None:
        """Say and remember what a request gets with its acknowledgement: a code, and what follows the token."""
        self._duplicates.answered(remote.key, request.message_id, mark, answer)
        remote.send(_acknowledgement(request, answer))

    def separate(self, remote: Remote, response: Message, *, reliable: bool) -> None:
        """Send a response as a message of its own."""
        response.mid = self._message_id
        self._message_id = self._message_id + 1 & 0xFFFF
        if reliable and not self._exchanges.full:
            response.mtype = aiocoap_types.CON
            self._exchanges.begin(remote, response.mid, response.encode())
        else:
            response.mtype = aiocoap_types.NON
            remote.send(response.encode())


class _Exchange:
    """One request on its way to its answer. Of the datagram it keeps what tells it from others, not its bytes."""

    __slots__ = ("_layer", "_mark", "_remote", "_request", "_timer", "_unacknowledged")

    def __init__(self, layer: MessageLayer, remote: Remote, request: Datagram, mark: bytes) -> None:
        self._layer = layer
        self._remote = remote
        self._request = request
        self._mark = mark
        self._unacknowledged = request.type is Type.CON
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float) -> None:
        """Acknowledge without an answer if none has come by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._acknowledge)

    def finish(self, task: asyncio.Task[Message | None]) -> None:
        """Send the answer of the handler, or say that it failed."""
        if self._timer is not None:
            self._timer.cancel()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            # The one place for what nobody expects: the device hears so, and the process serves the others.
            log.error("a request failed", endpoint=self._remote.endpoint, exc_info=error)
        self._answer(Message(code=Code.INTERNAL_SERVER_ERROR) if error is not None else task.result())

    def _answer(self, response: Message | None) -> None:
        if response is None or self._unwanted(response):
            if self._unacknowledged:
                self._acknowledge()
        elif self._unacknowledged:
            self._acknowledge(_after_token(response))
        else:
            response.token = self._request.token
            self._layer.separate(self._remote, response, reliable=self._request.type is Type.CON)

    def _unwanted(self, response: Message) -> bool:
        """RFC 7967: the client named the classes of responses that it does not want to hear."""
        unwanted = self._request.uint(OptionNumber.NO_RESPONSE, 1) or 0
        return bool(unwanted & 1 << response.code.class_ - 1)

    def _acknowledge(self, answer: bytes = _EMPTY) -> None:
        self._unacknowledged = False
        self._layer.acknowledge(self._remote, self._request, self._mark, answer)


def _after_token(response: Message) -> bytes:
    """The code of a response, its options and its payload: what is the same for every request that gets it."""
    response.mtype, response.mid, response.token = aiocoap_types.ACK, 0, b""
    encoded: bytes = response.encode()
    return encoded[1:2] + encoded[HEADER:]


def _acknowledgement(request: Datagram, answer: bytes) -> bytes:
    """A request's acknowledgement; an empty one has no token."""
    message_id = request.message_id.to_bytes(2, "big")
    if answer == _EMPTY:
        return _bare(_ACK, message_id)
    token = request.token
    return bytes((_ACK | len(token), answer[0])) + message_id + token + answer[1:]


def _bare(first: int, message_id: bytes) -> bytes:
    """An empty message: version and type, no code, a Message ID."""
    return bytes((first, 0)) + message_id
