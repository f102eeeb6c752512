"""Good HTTP clients: Graph, Digital Twins and ThingsBoard's device API, each message another."""

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.bench.fleet import COMPONENT, TENANTS, access_token, bearer, devices
from tests.bench.traffic import Client, Place

INGEST = "/beta/workplace/sensorDevices/ingestTelemetry"
TWINS = "/digitaltwins"
ITEMS = 20
"""Messages in a large request of Graph."""


class HttpClients:
    """Clients that share connections, as those behind a gateway do."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def all(self) -> Sequence[tuple[Client, int]]:
        """Each kind of client, and how many of a hundred clients are of it."""
        return [(self.graph, 10), (self.graph_many, 5), (self.digital_twins, 15), (self.thingsboard, 15)]

    async def graph(self, place: Place) -> None:
        """One value a request."""
        await self._graph(place, "graph", 1)

    async def graph_many(self, place: Place) -> None:
        """Many values of several devices a request."""
        await self._graph(place, "graph, 20 at once", ITEMS)

    async def digital_twins(self, place: Place) -> None:
        """A twin, and a component of it, in turn."""
        tenant, twin = _somebody(place)
        headers = {"Authorization": f"Bearer {bearer(tenant)}"}
        async for number in place.turns():
            part = f"/components/{COMPONENT}" if number % 2 else ""
            path = f"{TWINS}/{twin}{part}/telemetry?api-version=2023-10-31"
            named = {**headers, "Message-Id": uuid.uuid4().hex}
            await self._post(place, "digital twins", path, {"temperature": random.random()}, named)

    async def thingsboard(self, place: Place) -> None:
        """Telemetry, and now and then an attribute."""
        _, device = _somebody(place)
        async for number in place.turns():
            feature = "telemetry" if number % 5 else "attributes"
            path = f"/api/v1/{access_token(device)}/{feature}"
            await self._post(place, f"thingsboard http, {feature}", path, {"humidity": random.random()}, {})

    async def _graph(self, place: Place, kind: str, items: int) -> None:
        tenant, _ = _somebody(place)
        names = devices(tenant)
        headers = {"Authorization": f"Bearer {bearer(tenant)}"}
        async for number in place.turns():
            now = datetime.now(UTC).isoformat()
            body = [
                {
                    "deviceId": names[(number + item) % len(names)],
                    "sensorType": "peopleCount",
                    "intValue": random.randrange(1000),
                    "timestamp": now,
                }
                for item in range(items)
            ]
            await self._post(place, kind, INGEST, {"telemetry": body}, headers, messages=items)

    async def _post(
        self, place: Place, kind: str, path: str, body: Any, headers: dict[str, str], *, messages: int = 1
    ) -> None:
        async def turn() -> int:
            async with self._session.post(path, json=body, headers=headers) as response:
                await response.read()
                return response.status

        await place.try_to(kind, turn, messages)


def _somebody(place: Place) -> tuple[str, str]:
    """The tenant and the device that a client is."""
    tenant = TENANTS[place.number % len(TENANTS)]
    names = devices(tenant)
    return tenant, names[place.number * 7 % len(names)]
