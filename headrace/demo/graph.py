"""A building's sensors, sent with Microsoft's own Graph SDK."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.credentials import AccessToken
from msgraph_beta import GraphServiceClient
from msgraph_beta.generated.models.o_data_errors.o_data_error import ODataError
from msgraph_beta.generated.models.workplace_sensor_device_telemetry import WorkplaceSensorDeviceTelemetry
from msgraph_beta.generated.models.workplace_sensor_type import WorkplaceSensorType
from msgraph_beta.generated.workplace.sensor_devices.ingest_telemetry.ingest_telemetry_post_request_body import (
    IngestTelemetryPostRequestBody,
)

from headrace.demo.errors import DemoError
from headrace.demo.ledger import REPEATED, Ledger
from schemas.reading import Feature

AT_ONCE = 4
DEVICES_A_REQUEST = 20


class StaticCredential:
    """A credential as the SDKs want it, for a token that is known already."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The token, good for a day."""
        return AccessToken(self._token, int(datetime.now(UTC).timestamp()) + 86_400)


async def send(
    url: str, token: str, devices: Sequence[str], messages: int, advance: Callable[[int], None]
) -> Ledger:
    """Send about so many messages, repeat a tenth of them, and make some mistakes."""
    base = f"{url}/beta"
    async with client(base, token) as good, client(base, "nobody's-token") as bad:
        return await _conversation(good, bad, devices, messages, advance)


async def _conversation(
    good: GraphServiceClient,
    bad: GraphServiceClient,
    devices: Sequence[str],
    messages: int,
    advance: Callable[[int], None],
) -> Ledger:
    ledger = Ledger()
    turns = asyncio.Semaphore(AT_ONCE)

    async def request(number: int) -> None:
        chosen = [devices[(number + n) % len(devices)] for n in range(DEVICES_A_REQUEST)]
        items = [_item(device, number) for device in chosen]
        async with turns:
            await _post(good, items)
            ledger.accept(
                (
                    (item.device_id, Feature.TELEMETRY, "peopleCount", "peopleCount", float(item.int_value))
                    for item in items
                ),
                messages=len(items),
            )
            if random.random() < REPEATED:
                await _post(good, items)
                ledger.repeat(messages=len(items))
        advance(len(items))

    await asyncio.gather(*(request(number) for number in range(-(-messages // DEVICES_A_REQUEST))))
    for who, items, code in (
        (bad, [_item(devices[0], 0)], 401),
        (good, [WorkplaceSensorDeviceTelemetry(device_id=devices[0])], 400),
    ):
        await _refused(who, items, code)
        ledger.refuse()
    return ledger


@asynccontextmanager
async def client(base_url: str, token: str) -> AsyncIterator[GraphServiceClient]:
    """The SDK's client as its user makes it, but for the base URL; its connections are closed with the block."""
    made = GraphServiceClient(
        credentials=StaticCredential(token), scopes=["https://graph.microsoft.com/.default"]
    )
    made.request_adapter.base_url = base_url
    try:
        yield made
    finally:
        # The SDK has no way to close its connections: it wraps httpx's transport and would close the wrapper only.
        await made.request_adapter._http_client._transport.transport.aclose()  # noqa: SLF001 - the SDK closes nothing itself


def _item(device: str, number: int) -> WorkplaceSensorDeviceTelemetry:
    return WorkplaceSensorDeviceTelemetry(
        device_id=device,
        sensor_type=WorkplaceSensorType.PeopleCount,
        int_value=number,
        timestamp=datetime.now(UTC) - timedelta(milliseconds=number),
    )


async def _post(who: GraphServiceClient, items: list[WorkplaceSensorDeviceTelemetry]) -> None:
    await who.workplace.sensor_devices.ingest_telemetry.post(IngestTelemetryPostRequestBody(telemetry=items))


async def _refused(who: GraphServiceClient, items: list[WorkplaceSensorDeviceTelemetry], status: int) -> None:
    try:
        await _post(who, items)
    except ODataError as error:
        if error.response_status_code == status:
            return
        raise
    raise DemoError(f"Graph accepted what it should have refused with {status}")
