"""CoAP over UDP, on IPv6 and IPv4 at once.

Not aiocoap's `udp6` (0.4.17): that asks for ICMP errors (IPV6_RECVERR), and under uvloop the first one that arrives
stops the socket for good. A `udp6` that reads its error queue under uvloop would remove this module.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from producers.coap.remote import NOTHING, Remote

RECEIVE_BUFFER = 4 << 20

Address = tuple[Any, ...]
Receive = Callable[[Remote, bytes], None]


class UdpRemote:
    """An address; it proves nothing about who speaks."""

    __slots__ = ("_transport", "key")

    proof = NOTHING

    def __init__(self, transport: asyncio.DatagramTransport, address: Address) -> None:
        self._transport = transport
        self.key = address
        """See `Remote.key`."""

    @property
    def endpoint(self) -> str:
        """See `Remote.endpoint`."""
        host, port, *_ = self.key
        return f"coap://[{host}]:{port}" if ":" in host else f"coap://{host}:{port}"

    def admitted(self) -> None:
        """See `Remote.admitted`. Nothing is remembered either way."""

    def send(self, datagram: bytes) -> None:
        """See `Remote.send`."""
        if not self._transport.is_closing():
            self._transport.sendto(datagram, self.key)


class UdpTransport(asyncio.DatagramProtocol):
    """Hands each datagram to the message layer."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        # uvloop's transports have no base class in common with asyncio's.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Somebody sent something."""
        self._receive(UdpRemote(self._transport, addr), data)

    def error_received(self, exc: Exception) -> None:
        """An answer found nobody; the device will ask again if it still wants it."""


def bound_socket(host: str, port: int) -> socket.socket:
    """A UDP socket on an address or name; on "::" it serves IPv4 as well.

    Raises:
        OSError: the name is unknown, or the port is taken.

    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"UDP port {port} of {host}: {error.strerror}") from error
    return sock
