"""CoAP load at the price of its bytes: prebuilt requests from many sockets, a window of them under way on each."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tests.support.coap import CON, request

SOCKETS, WINDOW = 16, 8
PATIENCE = 1.0
"""Seconds without any answer after which all that is under way is lost."""

BYTES = 2048
"""Of the longest answer."""

_HEADER, _TOKEN = 4, 4
_SUCCESS, _EMPTY = 2, 0
_CONFIRMABLE, _ACKNOWLEDGEMENT = 0, 0x60
_MIDS = 1 << 16


class Channel(Protocol):
    """What carries CoAP messages to a server and back: a socket, or what it has on top."""

    socket: socket.socket

    def send(self, message: bytes) -> object:
        """Send."""

    def receive(self) -> bytes:
        """The next message; BlockingIOError when there is none."""


class Plain:
    """UDP."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))

    def send(self, message: bytes) -> int:
        """See `Channel.send`."""
        return self.socket.send(message)

    def receive(self) -> bytes:
        """See `Channel.receive`."""
        return self.socket.recv(BYTES)


class _Device:
    """A channel with requests under way."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sent = 0
        self.under_way = 0


class Load:
    """Devices that send the same POST again as soon as one is answered; each time another Message ID and token."""

    def __init__(
        self, path: tuple[str, ...], body: bytes, mtype: object, channels: Sequence[Channel]
    ) -> None:
        datagram = request(body, path=path, mid=0, token=bytes(_TOKEN), mtype=mtype)
        self._first, self._rest = datagram[:2], datagram[_HEADER + _TOKEN :]
        self._devices = [_Device(channel) for channel in channels]
        self.lost = 0

    def __call__(self, seconds: float) -> int:
        """Send for so long, and return how many were answered with success.

        Raises:
            RuntimeError: another answer came.

        """
        with selectors.EpollSelector() as selector:
            for device in self._devices:
                selector.register(device.channel.socket, selectors.EVENT_READ, device)
                self._send(device, WINDOW)
            return self._run(selector, time.monotonic() + seconds)

    def _send(self, device: _Device, count: int) -> None:
        first, rest, send = self._first, self._rest, device.channel.send
        for number in range(device.sent, device.sent + count):
            send(b"%b%b%b%b" % (first, (number % _MIDS).to_bytes(2, "big"), number.to_bytes(4, "big"), rest))
        device.sent += count
        device.under_way += count

    def _run(self, selector: selectors.BaseSelector, deadline: float) -> int:
        answered = 0
        while sum(device.under_way for device in self._devices):
            sending = time.monotonic() < deadline
            events = selector.select(PATIENCE)
            for key, _ in events:
                device: _Device = key.data
                answered += _answers(device)
                if sending:
                    self._send(device, WINDOW - device.under_way)
            if not events:
                for device in self._devices:
                    self.lost += device.under_way
                    device.under_way = 0
                    self._send(device, WINDOW if sending else 0)
        return answered


@contextlib.contextmanager
def load(
    channel: Callable[[], Channel], path: tuple[str, ...], body: bytes, mtype: object = CON
) -> Iterator[Load]:
    """Load over channels that are open before its first request, and until the block ends."""
    with contextlib.ExitStack() as stack:
        channels = [channel() for _ in range(SOCKETS)]
        for each in channels:
            stack.enter_context(each.socket)
            each.socket.setblocking(False)
        yield Load(path, body, mtype, channels)


def _answers(device: _Device) -> int:
    """Read what came; acknowledge what wants to be."""
    answered, channel = 0, device.channel
    with contextlib.suppress(BlockingIOError):
        while answered < device.under_way:
            message = channel.receive()
            if message[1] == _EMPTY:
                continue
            if message[1] >> 5 != _SUCCESS:
                raise RuntimeError(f"not what was to be measured: {message!r}")
            if message[0] >> 4 & 3 == _CONFIRMABLE:
                channel.send(bytes((_ACKNOWLEDGEMENT, 0)) + message[2:4])
            answered += 1
    device.under_way -= answered
    return answered
