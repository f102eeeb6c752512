"""Connections of the HTTP edge: bounded in number and in patience, whatever comes through them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from producers.metrics import CONNECTIONS, EVICTED


class Connections:
    """Puts a protocol behind each new connection, and itself in between.

    Beyond the bound the connection goes that was silent longest, so that newcomers always get a turn. One whose other end
    does not take its answers goes as well. What aiohttp bounds itself is not looked at: the wait for a request, and its size.

    Args:
        make: the protocol of a connection.
        most: connections at once. One counts from the end of its TLS handshake.
        patience: seconds that answers may wait for the other end to take them.

    """

    def __init__(self, make: Callable[[], asyncio.Protocol], *, most: int, patience: float) -> None:
        self._make = make
        self._most = most
        self.patience = patience
        self._open: OrderedDict[_Connection, asyncio.Transport] = OrderedDict()

    def __call__(self) -> asyncio.Protocol:
        """A protocol for the event loop."""
        return _Connection(self, self._make())

    def opened(self, connection: "_Connection", transport: asyncio.Transport) -> None:
        """A connection begins; perhaps another ends."""
        if len(self._open) >= self._most:
            _, silent = self._open.popitem(last=False)
            silent.abort()
            EVICTED.inc()
        self._open[connection] = transport
        CONNECTIONS.set(len(self._open))

    def heard(self, connection: "_Connection") -> None:
        """Something came; what comes after a connection had to go is not for us."""
        if connection in self._open:
            self._open.move_to_end(connection)

    def closed(self, connection: "_Connection") -> None:
        """A connection is over."""
        self._open.pop(connection, None)
        CONNECTIONS.set(len(self._open))


class _Connection(asyncio.Protocol):
    """Hands everything on."""

    def __init__(self, owner: Connections, inner: asyncio.Protocol) -> None:
        self._owner = owner
        self._inner = inner
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It counts from now on."""
        # uvloop's transports have no base class in common with asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._owner.opened(self, self._transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It no longer counts."""
        self._relieve()
        self._owner.closed(self)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """It is not silent."""
        self._owner.heard(self)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The other end has said all."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The other end takes its answers more slowly than they are written."""
        loop = asyncio.get_running_loop()
        self._stuck = loop.call_later(self._owner.patience, self._transport.abort)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It caught up."""
        self._relieve()
        self._inner.resume_writing()

    def _relieve(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
