"""What `producers.http` takes for granted in aiohttp, so that an upgrade that moves it fails here."""

import asyncio

from aiohttp import web

from producers.http.server import PIPELINED
from tests.support.edge import edge
from tests.support.fakes import MemoryOutbox

REQUEST = b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


async def test_few_requests_wait_on_a_connection():
    """A connection takes no more requests than we say behind the one that is answered."""
    async with edge(MemoryOutbox()):
        connection = web.Server(lambda _: None)()

    assert connection._max_msg_queue_size == PIPELINED


async def test_requests_that_come_at_once_are_all_answered():
    """What had to wait for its turn is not lost."""
    async with edge(MemoryOutbox()) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        writer.write(9 * REQUEST + LAST)
        answers = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert answers.count(b"HTTP/1.1 200 OK") == 10
