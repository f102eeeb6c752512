"""CoAP load at the price of its bytes: prebuilt requests from many sockets, a window of them under way on each."""

import contextlib
import selectors
import socket
import time

from tests.support.coap import CON, request

SOCKETS, WINDOW = 16, 8
PATIENCE = 1.0
"""Seconds without any answer after which all that is under way is lost."""

_HEADER, _TOKEN = 4, 4
_SUCCESS, _EMPTY = 2, 0
_CONFIRMABLE, _ACKNOWLEDGEMENT = 0, 0x60
_MIDS = 1 << 16
_BYTES = 2048


class _Device:
    """A socket with requests under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.sent = 0
        self.under_way = 0


class Load:
    """Sockets that send the same POST again as soon as one is answered; each time another Message ID and token."""

    def __init__(self, port: int, path: tuple[str, ...], body: bytes, mtype: object = CON) -> None:
        self._port = port
        datagram = request(body, path=path, mid=0, token=bytes(_TOKEN), mtype=mtype)
        self._first, self._rest = datagram[:2], datagram[_HEADER + _TOKEN :]
        self.lost = 0

    def __call__(self, seconds: float) -> int:
        """Send for so long, and return how many were answered with success.

        Raises:
            RuntimeError: another answer came.

        """
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.EpollSelector())
            devices = [_Device(self._port) for _ in range(SOCKETS)]
            for device in devices:
                selector.register(stack.enter_context(device.socket), selectors.EVENT_READ, device)
                self._send(device, WINDOW)
            return self._run(selector, devices, time.monotonic() + seconds)

    def _send(self, device: _Device, count: int) -> None:
        first, rest, send = self._first, self._rest, device.socket.send
        for number in range(device.sent, device.sent + count):
            send(b"%b%b%b%b" % (first, (number % _MIDS).to_bytes(2, "big"), number.to_bytes(4, "big"), rest))
        device.sent += count
        device.under_way += count

    def _run(self, selector: selectors.BaseSelector, devices: list[_Device], deadline: float) -> int:
        answered = 0
        while sum(device.under_way for device in devices):
            sending = time.monotonic() < deadline
            events = selector.select(PATIENCE)
            for key, _ in events:
                device: _Device = key.data
                answered += _answers(device)
                if sending:
                    self._send(device, WINDOW - device.under_way)
            if not events:
                for device in devices:
                    self.lost += device.under_way
                    device.under_way = 0
                    self._send(device, WINDOW if sending else 0)
        return answered


def _answers(device: _Device) -> int:
    """Read what came; acknowledge what wants to be."""
    answered, receive = 0, device.socket.recv
    while answered < device.under_way:
        try:
            datagram = receive(_BYTES)
        except BlockingIOError:
            break
        if datagram[1] == _EMPTY:
            continue
        if datagram[1] >> 5 != _SUCCESS:
            raise RuntimeError(f"not what was to be measured: {datagram!r}")
        if datagram[0] >> 4 & 3 == _CONFIRMABLE:
            device.socket.send(bytes((_ACKNOWLEDGEMENT, 0)) + datagram[2:4])
        answered += 1
    device.under_way -= answered
    return answered
