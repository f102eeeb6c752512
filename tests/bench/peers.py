"""Servers that edges are measured beside: `python -m tests.bench.peers NAME PORT…`."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

import aiocoap
import uvloop
from aiocoap import resource
from aiohttp import web

from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from schemas.topics import RAW_TOPICS


async def _http(port: str) -> None:
    """Reads the body, and answers 204."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await _ready()


class _Telemetry(resource.Resource):
    """Puts each body onto the log, and answers when it is there."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__()
        self._publisher = publisher

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        await self._publisher.send(RAW_TOPICS["thingsboard"], request.payload, key=b"device")
        return aiocoap.Message(code=aiocoap.CREATED)


async def _coap(port: str, bootstrap: str, *path: str) -> None:
    """Stock aiocoap, with its own context and resources."""
    site = resource.Site()
    async with Publisher(KafkaSettings(bootstrap=bootstrap), delivery_timeout=5) as publisher:
        site.add_resource(path, _Telemetry(publisher))
        await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port)))
        await _ready()


async def _ready() -> None:
    print("ready", flush=True)
    await asyncio.Event().wait()


PEERS: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "http": (uvloop.run, _http),
    # With uvloop its socket goes deaf for good at the first ICMP error (aiocoap 0.4.17).
    "coap": (asyncio.run, _coap),
}
"""What runs each, and what it is."""

if __name__ == "__main__":
    run, serve = PEERS[sys.argv[1]]
    run(serve(*sys.argv[2:]))
