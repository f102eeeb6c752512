"""Servers that edges are measured beside: `python -m tests.bench.peers NAME PORT…`."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiocoap
import uvloop
from aiocoap import resource
from aiohttp import web

from producers.outbox import KafkaOutbox
from producers.thingsboard import message
from runtime.devices import DeviceTable
from runtime.publisher import Publisher
from runtime.registry import Registry
from runtime.settings import KafkaSettings
from schemas.identity import exchange_id
from schemas.reading import Feature


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


_TOKEN = 2
"""Where the access token stands in a path."""


class _Telemetry(resource.Resource):
    """Knows the device by its token, puts its message onto the log, and answers when it is there."""

    def __init__(self, token: str, devices: DeviceTable, outbox: KafkaOutbox) -> None:
        super().__init__()
        self._token = token
        self._devices = devices
        self._outbox = outbox

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        now, body = time.time_ns() // 1000, request.payload
        device = self._devices.by_token(self._token)
        if device is None:
            return aiocoap.Message(code=aiocoap.UNAUTHORIZED)
        endpoint = request.remote.uri_base
        raw = message(
            tenant=device.tenant,
            device=device.device,
            feature=Feature.TELEMETRY,
            body=body,
            received_at=now,
            untimed_id=lambda: exchange_id(endpoint, request.mid, request.token, body, now),
        )
        await self._outbox.put([raw])
        return aiocoap.Message(code=aiocoap.CREATED)


async def _coap(port: str, bootstrap: str, *path: str) -> None:
    """Stock aiocoap, with its own context and resources, doing what the edge does with a body."""
    site, kafka = resource.Site(), KafkaSettings(bootstrap=bootstrap)
    with Registry(kafka, DeviceTable()) as registry:
        async with Publisher(kafka, delivery_timeout=5) as publisher:
            telemetry = _Telemetry(path[_TOKEN], registry.devices, KafkaOutbox(publisher))
            site.add_resource(path, telemetry)
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
