"""The HTTP edge as tests meet it: a few registered twins, two tenants, and no Kafka."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aiohttp import ClientSession
from yarl import URL

from processors.dedupe import Window
from processors.refine import Source, refine
from producers.http.application import application
from producers.http.server import listening
from producers.limits import TenantLimits
from producers.outbox import Outbox
from producers.settings import EdgeSettings, HttpSettings
from runtime.devices import Devices, DeviceTable, PlaceTable
from schemas.device import Device
from schemas.raw_message import RawMessage
from tests.support.raw import record

TOKEN = "dummy-token"
TOKENS = {TOKEN: "contoso", "fabrikam-token": "fabrikam"}

DEVICE_TOKEN = "device-token"
DEVICES = (
    Device(
        tenant="contoso",
        device="myTwinId",
        components=["thermostat1"],
        token_sha256s=[sha256(DEVICE_TOKEN.encode()).hexdigest()],
    ),
    Device(tenant="contoso", device="my Twin/1é", components=["thermostat1"]),
)


KNOWN = DeviceTable(DEVICES)


@dataclass(frozen=True)
class Edge:
    """An edge that listens on this machine, and a client of it."""

    url: URL
    client: ClientSession


@asynccontextmanager
async def edge(
    outbox: Outbox,
    devices: Devices = KNOWN,
    *,
    retry_after: int = 5,
    limits: Mapping[str, TenantLimits] | None = None,
    **http: Any,
) -> AsyncIterator[Edge]:
    """Listen as the process does, with these settings of the HTTP edge; only Kafka is not there."""
    settings = EdgeSettings(retry_after=retry_after, limits=limits or {})
    mine = HttpSettings(port=0, tokens=TOKENS, **http)
    async with (
        application(outbox, devices, mine, settings) as app,
        listening(app, mine, grace=5) as port,
        ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        yield Edge(URL(f"http://127.0.0.1:{port}"), client)


def fates(messages: Sequence[RawMessage]) -> list[str]:
    """What becomes of the messages behind the edge, in the order in which the log has them."""
    records = [record(offset, message) for offset, message in enumerate(messages)]
    source = Source(dialect=messages[0].dialect, topic="raw", topic_id="T", partition=0)
    return [row.fate.value for row in refine(records, source, Window(seconds=3600), PlaceTable(DEVICES))]
