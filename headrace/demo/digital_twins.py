"""Machines with digital twins, sent with Microsoft's own Digital Twins SDK."""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Self

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.digitaltwins.core.aio import DigitalTwinsClient

from headrace.demo.errors import DemoError
from headrace.demo.graph import StaticCredential
from headrace.demo.ledger import REPEATED, Ledger
from schemas.reading import Feature

AT_ONCE = 8
COMPONENT = "thermostat"


class AsyncStaticCredential:
    """The same credential for the asynchronous SDK."""

    def __init__(self, token: str) -> None:
        self._static = StaticCredential(token)

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """The token, good for a day."""
        return self._static.get_token(*scopes)

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""


async def send(
    url: str, token: str, devices: Sequence[str], messages: int, advance: Callable[[int], None]
) -> Ledger:
    """Send so many messages, repeat a tenth of them, and make some mistakes."""
    ledger = Ledger()
    turns = asyncio.Semaphore(AT_ONCE)
    async with DigitalTwinsClient(url, AsyncStaticCredential(token)) as client:

        async def message(number: int) -> None:
            twin, sensor = devices[number % len(devices)], COMPONENT if number % 2 else ""
            repeated: dict[str, Any] = {"message_id": str(uuid.uuid4()), "number": number}
            async with turns:
                await _post(client, twin, sensor, **repeated)
                ledger.accept([(twin, Feature.TELEMETRY, "temperature", sensor, float(number))])
                if random.random() < REPEATED:
                    await _post(client, twin, sensor, **repeated)
                    ledger.repeat()
            advance(1)

        await asyncio.gather(*(message(number) for number in range(messages)))
        for twin, sensor, status in (("nobody", "", 404), (devices[0], "nothing", 404)):
            await _refused(client, twin, sensor, status)
            ledger.refuse()
    return ledger


async def _post(client: DigitalTwinsClient, twin: str, sensor: str, *, number: int, message_id: str) -> None:
    body = {"temperature": number}
    # Without enforce_https, the SDK sends no token over plain HTTP: this is a laptop.
    options: dict[str, Any] = {"message_id": message_id, "enforce_https": False}
    if sensor:
        await client.publish_component_telemetry(twin, sensor, body, **options)
    else:
        await client.publish_telemetry(twin, body, **options)


async def _refused(client: DigitalTwinsClient, twin: str, sensor: str, status: int) -> None:
    try:
        await _post(client, twin, sensor, number=0, message_id="refused")
    except HttpResponseError as error:
        if error.status_code == status:
            return
        raise
    raise DemoError(f"Digital Twins accepted what it should have refused with {status}")
