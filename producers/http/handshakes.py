"""TLS handshakes of the HTTP edge: bounded in number and in time, so that a stranger who only begins costs little."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import cast

from producers.metrics import HANDSHAKES, Ending, count_handshake_failed

MOST = 500
"""Handshakes at once."""

SECONDS = 10.0
"""That a handshake may take."""


class Handshakes:
    """Does the TLS handshake of each new connection, and puts a protocol behind those that come to its end.

    Beyond the bound the oldest handshake ends, so that newcomers always get a turn. A listener of asyncio that is given the
    context does handshakes itself, as many as there are open files; so it is given this, and none.

    Args:
        make: the protocol of a connection.
        context: what a handshake goes by.

    """

    def __init__(self, make: Callable[[], asyncio.Protocol], context: ssl.SSLContext) -> None:
        self._make = make
        self._context = context
        self._under_way: dict[asyncio.Task[None], None] = {}

    def __call__(self) -> asyncio.Protocol:
        """A protocol for the event loop."""
        return _Accepted(self._begin)

    def stop(self) -> None:
        """End those that are under way."""
        while self._under_way:
            self._end_oldest(Ending.STOPPED)

    def _begin(self, accepted: socket.socket) -> None:
        if len(self._under_way) >= MOST:
            self._end_oldest(Ending.DISPLACED)
        task = asyncio.get_running_loop().create_task(self._shake_hands(accepted))
        self._under_way[task] = None
        task.add_done_callback(partial(self._over, accepted))
        HANDSHAKES.set(len(self._under_way))

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, accepted, ssl=self._context, ssl_handshake_timeout=SECONDS
            )
        except ssl.SSLError:
            count_handshake_failed(Ending.BROKEN)
        except ConnectionAbortedError:  # the event loop's word for being late
            count_handshake_failed(Ending.SILENT)
        except OSError:
            count_handshake_failed(Ending.CLOSED)

    def _end_oldest(self, reason: Ending) -> None:
        task = next(iter(self._under_way))
        del self._under_way[task]
        task.cancel()
        count_handshake_failed(reason)

    def _over(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            accepted.close()  # nobody else does where the task had not begun
        self._under_way.pop(task, None)
        HANDSHAKES.set(len(self._under_way))


class _Accepted(asyncio.Protocol):
    """Takes a connection from the listener, as a socket of which nothing was read."""

    def __init__(self, begin: Callable[[socket.socket], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Leave the transport, which owns its socket, with another socket of the same connection."""
        # uvloop's transports have no base class in common with asyncio's.
        listeners = cast("asyncio.Transport", transport)
        try:
            accepted = listeners.get_extra_info("socket").dup()
        except OSError:  # no file is left to open
            count_handshake_failed(Ending.DISPLACED)
        else:
            self._begin(accepted)
        listeners.abort()
