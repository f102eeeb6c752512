"""CoAP over UDP, on IPv6 and IPv4 at once.

Not aiocoap's `udp6` (0.4.17): that asks for ICMP errors (IPV6_RECVERR), and under uvloop the first one that arrives
stops the socket for good. A `udp6` that reads its error queue under uvloop would remove this module.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from producers.coap.remote import NOTHING, Remote
from producers.metrics import UDP_ANSWERS_DROPPED

RECEIVE_BUFFER = 4 << 20
"""Bytes; the kernel grants no more than its `net.core.rmem_max`, and takes twice as much for what it keeps beside them."""

SEND_BUFFER = 256 << 10
"""Bytes of datagrams that may wait for the network, beyond what the kernel takes, half a KB more each; what is sent then is dropped."""

_SO_MEMINFO, _MEMINFO = 55, struct.Struct("9I")
"""Linux' question for the memory of a socket, and its answer: what is queued comes first, what was dropped last."""

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
        transmit(self._transport, datagram, self.key)


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


def transmit(transport: Any, datagram: bytes, address: Address) -> None:
    """Send, or drop what can no longer be sent, or not soon: neither asyncio nor uvloop bounds what waits."""
    if transport.is_closing():
        return
    if transport.get_write_buffer_size() > SEND_BUFFER:
        UDP_ANSWERS_DROPPED.inc()
        return
    transport.sendto(datagram, address)


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


class Queued(NamedTuple):
    """What a socket's datagrams take that nobody has read yet, and how many had no room; not a number where nobody says."""

    bytes: float
    lost: float


def queued(sock: socket.socket) -> Queued:
    """As of now; any thread may ask, also after the socket was closed."""
    try:
        found = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return Queued(math.nan, math.nan)
    return Queued(found[0], found[-1])
