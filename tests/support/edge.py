"""The HTTP edge as tests meet it: a few registered twins, two tenants, and no Kafka."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession
from yarl import URL

from producers.http.server import application, listening
from producers.outbox import Outbox
from producers.settings import EdgeSettings, HttpSettings
from runtime.registry import DeviceTable
from schemas.device import Device

TOKEN = "dummy-token"
TOKENS = {TOKEN: "contoso", "fabrikam-token": "fabrikam"}

DEVICES = (
    Device(tenant="contoso", device="myTwinId", components=["thermostat1"]),
    Device(tenant="contoso", device="my Twin/1é", components=["thermostat1"]),
)


@dataclass(frozen=True)
class Edge:
    """An edge that listens on this machine, and a client of it."""

    url: URL
    client: ClientSession


@asynccontextmanager
async def edge(outbox: Outbox, *, retry_after: int = 5) -> AsyncIterator[Edge]:
    """Listen as the process does; only Kafka is not there."""
    settings = EdgeSettings(retry_after=retry_after)
    app = application(outbox, DeviceTable(DEVICES), HttpSettings(tokens=TOKENS), settings)
    async with listening(app, "127.0.0.1", 0, grace=5) as port:
        url = URL(f"http://127.0.0.1:{port}")
        async with ClientSession(url) as client:
            yield Edge(url, client)
