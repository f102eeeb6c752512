"""Sockets of the CoAP edge."""

import math
import socket

from producers.coap.udp import bound_socket, queued


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
