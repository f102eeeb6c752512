"""A fleet in the open loop: each message leaves when it is due, whether or not those before it were answered."""

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence

import msgspec

from tests.bench.fleet import access_token
from tests.support.coap import CON, request

SOCKETS = 64
READINGS = 3
"""Of a message."""
UNDER_WAY = 512
"""Messages that wait for their answers, where no rate is given: as many as it takes to keep the edge busy."""
PATIENCE = 10.0
"""Seconds without any answer after which what is under way is lost: twice what the edge waits for Kafka."""

_TICK = 0.001
_BYTES = 2048
_TOKEN, _HEADER = 4, 4
_MIDS = 1 << 16
_SUCCESS, _EMPTY = 2, 0
_CONFIRMABLE, _ACKNOWLEDGEMENT = 0, 0x60


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet was told."""

    begun: float
    """Seconds since 1970, UTC."""
    accepted: int
    refused: int
    lost: int
    """Never answered."""
    late: float
    """Seconds by which a message left after it was due, at worst: what the generator adds to every latency."""
    cpu: float
    """Seconds that the generator took."""


def send(port: int, devices: Sequence[str], rate: float | None, seconds: float) -> Sent:
    """Confirmable messages of the devices in turn, each of three readings measured when it was due.

    Args:
        port: of the edge, on this machine.
        devices: known by `access_token`.
        rate: messages a second; None is as many as are answered.
        seconds: how long; answers are waited for after that.

    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connected(port)) for _ in range(SOCKETS)]
        return _Fleet(sockets, [_about(name) for name in devices], rate).run(seconds)


def _connected(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


def _about(device: str) -> bytes:
    """What stands between the token of a device's datagram and its payload."""
    path = ("api", "v1", access_token(device), "telemetry")
    return request(b"x", path=path, mid=0, token=bytes(_TOKEN), mtype=CON)[_HEADER + _TOKEN : -1]


class _Fleet:
    def __init__(
        self, sockets: Sequence[socket.socket], devices: Sequence[bytes], rate: float | None
    ) -> None:
        self._sockets = sockets
        self._devices = devices
        self._rate = rate
        self._first = request(b"", mid=0, token=bytes(_TOKEN), mtype=CON)[:2]
        self._sent = self._accepted = self._refused = 0
        self._late = 0.0

    @property
    def _under_way(self) -> int:
        return self._sent - self._accepted - self._refused

    def run(self, seconds: float) -> Sent:
        """Until all that was due is answered, or nothing more comes."""
        began, spent = time.time(), time.process_time()
        with selectors.EpollSelector() as selector:
            for each in self._sockets:
                selector.register(each, selectors.EVENT_READ)
            heard = began
            while (now := time.time()) < began + seconds or self._under_way:
                if now < began + seconds:
                    self._send(began, now)
                elif now - heard > PATIENCE:
                    break
                if self._receive(selector):
                    heard = now
        return Sent(
            begun=began,
            accepted=self._accepted,
            refused=self._refused,
            lost=self._under_way,
            late=self._late,
            cpu=time.process_time() - spent,
        )

    def _send(self, began: float, now: float) -> None:
        """What is due by now."""
        if self._rate is None:
            for _ in range(UNDER_WAY - self._under_way):
                self._one(now)
            return
        first, last = self._sent, int((now - began) * self._rate)
        for number in range(first, last):
            self._one(began + number / self._rate)
        if last > first:
            self._late = max(self._late, now - began - first / self._rate)

    def _one(self, due: float) -> None:
        number = self._sent
        self._sent += 1
        payload = b'{"ts":%d,"values":{"temperature":%d.%02d,"humidity":%d,"number":%d}}' % (
            due * 1000,
            number % 40,
            number % 100,
            number % 90,
            number,
        )
        self._sockets[number % SOCKETS].send(
            b"%b%b%b%b%b"
            % (
                self._first,
                (number // SOCKETS % _MIDS).to_bytes(2, "big"),
                (number & 0xFFFFFFFF).to_bytes(_TOKEN, "big"),
                self._devices[number % len(self._devices)],
                payload,
            )
        )

    def _receive(self, selector: selectors.BaseSelector) -> bool:
        events = selector.select(_TICK)
        for key, _ in events:
            assert isinstance(key.fileobj, socket.socket)
            self._answers(key.fileobj)
        return bool(events)

    def _answers(self, peer: socket.socket) -> None:
        while True:
            try:
                datagram = peer.recv(_BYTES)
            except BlockingIOError:
                return
            if datagram[1] == _EMPTY:
                continue
            if datagram[0] >> 4 & 3 == _CONFIRMABLE:
                peer.send(bytes((_ACKNOWLEDGEMENT, 0)) + datagram[2:4])
            if datagram[1] >> 5 == _SUCCESS:
                self._accepted += 1
            else:
                self._refused += 1
