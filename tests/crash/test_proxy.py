"""The proxy cuts where it is told to, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from tests.crash.proxy import Cut, Proxy, Trap
from tests.support.processes import free_ports


class Server:
    """Answers, and remembers what arrived whole."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Take a request."""
        self.bodies.append(await request.read())
        return web.Response(text="stored")


@pytest.fixture(name="server")
def _server() -> Server:
    return Server()


@pytest.fixture(name="proxy")
async def _proxy(server: Server) -> AsyncIterator[Proxy]:
    port, upstream = free_ports(2)
    app = web.Application()
    app.router.add_post("/", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", upstream).start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        yield await stack.enter_async_context(Proxy(port, upstream))


async def insert(proxy: Proxy, body: bytes = b"rows", table: str = "readings") -> str:
    """The answer to an insert."""
    query = {"query": f"INSERT INTO {table} (a, b) FORMAT Arrow"}
    async with aiohttp.ClientSession() as session, session.post(proxy.url, params=query, data=body) as answer:
        return await answer.text()


async def test_what_is_not_trapped_passes(proxy: Proxy, server: Server):
    """An insert into another table is carried out, and answered."""
    async with proxy.trap(Trap("messages", Cut.REQUEST)):
        assert "stored" == await insert(proxy)

    assert [b"rows"] == server.bodies


async def test_a_cut_request_does_not_arrive(proxy: Proxy, server: Server):
    """Half of a body is no body, and the next insert passes."""
    async with proxy.trap(Trap("readings", Cut.REQUEST)):
        with pytest.raises(aiohttp.ClientError):
            await insert(proxy)
        await insert(proxy, b"again")

    assert [b"again"] == server.bodies


async def test_a_cut_answer_comes_after_the_fact(proxy: Proxy, server: Server):
    """The rows are stored, and the client does not hear it."""
    async with proxy.trap(Trap("readings", Cut.ANSWER)):
        with pytest.raises(aiohttp.ClientError):
            await insert(proxy)

    assert [b"rows"] == server.bodies


async def test_a_held_answer_comes_when_it_is_let_go(proxy: Proxy, server: Server):
    """The rows are stored long before the client hears it."""
    async with proxy.trap(Trap("readings", Cut.HELD)) as trap:
        inserting = asyncio.create_task(insert(proxy))
        await trap.sprung.wait()
        stored, answered = list(server.bodies), inserting.done()

    assert ([b"rows"], False) == (stored, answered)
    assert "stored" == await inserting


async def test_a_late_request_arrives_when_it_is_let_go(proxy: Proxy, server: Server):
    """Nothing is stored as long as the request is under way."""
    async with proxy.trap(Trap("readings", Cut.LATE)) as trap:
        inserting = asyncio.create_task(insert(proxy))
        await trap.sprung.wait()
        stored = list(server.bodies)
        trap.released.set()
        with pytest.raises(aiohttp.ClientError):
            await inserting

    assert ([], [b"rows"]) == (stored, server.bodies)
