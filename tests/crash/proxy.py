"""Proxy: between a sink and ClickHouse, a place to cut the wire at a chosen request, or to hold its answer back."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import unquote_plus

from tests.crash.listener import Listener

_INSERT = re.compile(r"INSERT INTO [`\"]?(?:\w+[`\"]?\.[`\"]?)?(\w+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Cut(Enum):
    """What befalls a request."""

    REQUEST = auto()
    """Half of its body arrives, then the connection breaks."""
    ANSWER = auto()
    """It is carried out, and the connection breaks before the answer comes."""
    HELD = auto()
    """It is carried out, and the answer comes once it is let go."""
    LATE = auto()
    """It arrives once it is let go."""


@dataclass(slots=True)
class Trap:
    """Waits for the nth insert into a table."""

    table: str
    cut: Cut
    after: int = 1
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    """It has happened: what was to be carried out has been."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """The answer that is held may go."""

    def takes(self, table: str) -> bool:
        """Whether this insert is the one."""
        if table != self.table or self.after == 0:
            return False
        self.after -= 1
        return self.after == 0


class Proxy(Listener):
    """Passes HTTP on, request by request."""

    def __init__(self, port: int, upstream: int) -> None:
        super().__init__(port, upstream)
        self.url = f"http://127.0.0.1:{port}"
        self._trap: Trap | None = None

    @contextlib.asynccontextmanager
    async def trap(self, trap: Trap) -> AsyncIterator[Trap]:
        """Lay a trap; at the end of the block what it holds is let go."""
        self._trap = trap
        try:
            yield trap
        finally:
            trap.released.set()
            self._trap = None

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        while await self._exchange(reader, writer, up_reader, up_writer):
            pass

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection goes on."""
        head, body = await _message(reader)
        insert = _INSERT.search(unquote_plus(head.partition(b"\r\n")[0].decode()))
        trap = self._trap if insert and self._trap and self._trap.takes(insert[1]) else None
        if trap and trap.cut is Cut.REQUEST:
            up_writer.write(head + body[: len(body) // 2])
            await up_writer.drain()
            trap.sprung.set()
            return False
        if trap and trap.cut is Cut.LATE:
            trap.sprung.set()
            await trap.released.wait()
        up_writer.write(head + body)
        await up_writer.drain()
        answer = b"".join(await _message(up_reader))
        if trap:
            trap.sprung.set()
            if trap.cut is not Cut.HELD:
                return False
            await trap.released.wait()
        writer.write(answer)
        await writer.drain()
        return True


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of an HTTP message, as they are on the wire."""
    head = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(head):
        return head, b"".join([piece async for piece in _chunks(reader)])
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = await reader.readuntil(b"\r\n")
        yield size + await reader.readexactly(int(size.partition(b";")[0], 16) + 2)
        if int(size.partition(b";")[0], 16) == 0:
            return
