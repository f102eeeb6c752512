"""Sockets of the CoAP edge."""

import asyncio
import math
import socket

import pytest
import uvloop

from producers.coap.udp import SEND_BUFFER, bound_socket, queued, transmit
from producers.metrics import UDP_ANSWERS_DROPPED
from tests.support.counts import counts


def test_what_nobody_has_read_is_known():
    """What waits in the kernel is told in bytes, and what it had to drop is counted."""
    with bound_socket("127.0.0.1", 0) as sock, socket.socket(type=socket.SOCK_DGRAM) as device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        before = queued(sock)
        for _ in range(100):
            device.sendto(bytes(1000), sock.getsockname())

        assert before == (0, 0)
        assert all(after > 0 for after in queued(sock))


def test_of_a_closed_socket_nothing_is_known():
    """Whoever asks after the end gets no error, which would hide every other metric."""
    with bound_socket("127.0.0.1", 0) as sock:
        pass

    assert all(map(math.isnan, queued(sock)))


class FullTransport:
    """Takes what it is given, and sends nothing."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []

    def is_closing(self) -> bool:
        """See `asyncio.DatagramTransport`."""
        return False

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return sum(map(len, self.waiting))

    def sendto(self, data: bytes, _: object) -> None:
        """See `asyncio.DatagramTransport`."""
        self.waiting.append(data)


def test_what_cannot_be_sent_is_dropped():
    """Where the network takes nothing, answers wait up to a bound, and those beyond it are counted."""
    transport, dropped = FullTransport(), counts(UDP_ANSWERS_DROPPED)
    for _ in range(SEND_BUFFER // 50_000 + 10):
        transmit(transport, bytes(50_000), ())

    assert SEND_BUFFER < transport.get_write_buffer_size() <= SEND_BUFFER + 50_000
    assert dropped()[()] > 5


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_loop_says_what_waits(new_loop):
    """A datagram transport tells how much waits for the network, in asyncio, which does not promise it, and in uvloop."""

    async def waiting():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        size = transport.get_write_buffer_size()
        transport.close()
        return size

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert 0 == runner.run(waiting())
