"""HTTP load at the price of its bytes: prebuilt requests on many connections, one under way on each."""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

PATIENCE = 30.0

_NUMBER = b"#NUMBER#"
_STATUS = b"HTTP/1.1 204 "


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A request; `#NUMBER#` in a header becomes another eight digits each time."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Load:
    """Connections that each send the same request again as soon as it is answered."""

    def __init__(self, port: int, request: bytes, connections: int) -> None:
        self._port = port
        self._before, self._numbered, self._after = request.partition(_NUMBER)
        self._connections = connections
        self._sent = 0

    def __call__(self, seconds: float) -> int:
        """Send for so long, and return how many were answered with 204.

        Raises:
            RuntimeError: another answer came, or none.

        """
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.EpollSelector())
            for _ in range(self._connections):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", self._port)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                connection.sendall(self._next())
            return self._run(selector, time.monotonic() + seconds)

    def _next(self) -> bytes:
        self._sent += 1
        return b"%b%08d%b" % (self._before, self._sent, self._after) if self._numbered else self._before

    def _run(self, selector: selectors.BaseSelector, deadline: float) -> int:
        answered, under_way = 0, self._connections
        while under_way:
            sending = time.monotonic() < deadline
            for connection in _ready(selector):
                answer = connection.recv(65_536)
                if not answer.startswith(_STATUS) or not answer.endswith(b"\r\n\r\n"):
                    raise RuntimeError(f"not what was to be measured: {answer!r}")
                answered += 1
                if sending:
                    connection.sendall(self._next())
                else:
                    under_way -= 1
        return answered


def _ready(selector: selectors.BaseSelector) -> Iterator[socket.socket]:
    events = selector.select(PATIENCE)
    if not events:
        raise RuntimeError(f"no answer within {PATIENCE:g} s")
    for key, _ in events:
        assert isinstance(key.fileobj, socket.socket)
        yield key.fileobj
