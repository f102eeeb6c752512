"""Microsoft's own Graph client against a really listening edge: what it sends arrives, what it is told it raises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from azure.core.credentials import AccessToken
from msgraph_beta import GraphServiceClient
from msgraph_beta.generated.models.o_data_errors.o_data_error import ODataError
from msgraph_beta.generated.models.workplace_sensor_device_telemetry import WorkplaceSensorDeviceTelemetry
from msgraph_beta.generated.models.workplace_sensor_type import WorkplaceSensorType
from msgraph_beta.generated.workplace.sensor_devices.ingest_telemetry import (
    ingest_telemetry_post_request_body as request_body,
)

from runtime.publisher import Undelivered
from tests.support.edge import TOKEN, Edge, edge
from tests.support.fakes import MemoryOutbox

# The SDK's own generated modules define, and so warn of, names that they have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:GetQueryParameters is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This class is deprecated. Please use the generic:DeprecationWarning"),
]

NOON = datetime(2026, 11, 21, 12, 0, 0, 144_000, tzinfo=UTC)


class Credential:
    """Any object with `get_token` is a credential to the SDK."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(self.token, 4102444800)


class FlakyOutbox(MemoryOutbox):
    """Keeps what was put, but says so only from the second time on: an acknowledgement got lost."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    async def put(self, messages: Any) -> None:
        """Keep them; fail the first time."""
        await super().put(messages)
        self.puts += 1
        if self.puts == 1:
            raise Undelivered("timed out")


@pytest.fixture
def outbox() -> MemoryOutbox:
    """Where the edge of the test puts what it accepts."""
    return MemoryOutbox()


@pytest.fixture
async def served(outbox: MemoryOutbox) -> AsyncIterator[Edge]:
    """The edge of the test, listening."""
    async with edge(outbox) as started:
        yield started


@asynccontextmanager
async def graph(served: Edge, token: str) -> AsyncIterator[GraphServiceClient]:
    """The client as its user makes it; only the base URL is ours."""
    client = GraphServiceClient(
        credentials=Credential(token), scopes=["https://graph.microsoft.com/.default"]
    )
    client.request_adapter.base_url = str(served.url / "beta")
    try:
        yield client
    finally:
        # The SDK wraps httpx's transport, and closes only the wrapper.
        await client.request_adapter._http_client._transport.transport.aclose()


async def ingest(served: Edge, *telemetry: WorkplaceSensorDeviceTelemetry, token: str = TOKEN) -> None:
    """Send telemetry."""
    body = request_body.IngestTelemetryPostRequestBody(telemetry=list(telemetry))
    async with graph(served, token) as client:
        await client.workplace.sensor_devices.ingest_telemetry.post(body)


def people(count: int, device: str = "contoso_9D6816", at: datetime = NOON) -> WorkplaceSensorDeviceTelemetry:
    """So many people are in the room."""
    return WorkplaceSensorDeviceTelemetry(
        device_id=device, sensor_type=WorkplaceSensorType.PeopleCount, int_value=count, timestamp=at
    )


async def test_telemetry_arrives(served: Edge, outbox: MemoryOutbox):
    """Items of two devices arrive as two messages with the SDK's own bytes."""
    occupied = WorkplaceSensorDeviceTelemetry(
        device_id="contoso_9D6817",
        sensor_id="occupancy_1",
        sensor_type=WorkplaceSensorType.Occupancy,
        bool_value=False,
        timestamp=NOON,
    )
    await ingest(served, people(7), occupied)
    assert [
        (message.device, msgspec.json.decode(message.body)["telemetry"]) for message in outbox.messages
    ] == [
        (
            "contoso_9D6816",
            [
                {
                    "deviceId": "contoso_9D6816",
                    "intValue": 7,
                    "sensorType": "peopleCount",
                    "timestamp": "2026-11-21T12:00:00.144000+00:00",
                }
            ],
        ),
        (
            "contoso_9D6817",
            [
                {
                    "boolValue": False,
                    "deviceId": "contoso_9D6817",
                    "sensorId": "occupancy_1",
                    "sensorType": "occupancy",
                    "timestamp": "2026-11-21T12:00:00.144000+00:00",
                }
            ],
        ),
    ]


async def test_one_moment_is_one_message(served: Edge, outbox: MemoryOutbox):
    """The same moment in another time zone, or in none, has the same message id."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    for at in (NOON, elsewhere, NOON.replace(tzinfo=None)):
        await ingest(served, people(7, at=at))
    assert len({message.message_id for message in outbox.messages}) == 1


async def test_retry_is_the_same_message():
    """The SDK repeats what was answered with 503, after the time it was told, and the repetition has the same id."""
    outbox = FlakyOutbox()
    async with edge(outbox, retry_after=1) as served:
        await ingest(served, people(7))
    assert outbox.puts == 2
    assert len({message.identity() for message in outbox.messages}) == 1


async def test_five_thousand_items_are_one_request(served: Edge, outbox: MemoryOutbox):
    """A large batch is one message of its device."""
    await ingest(served, *(people(count) for count in range(5000)))
    assert [len(msgspec.json.decode(message.body)["telemetry"]) for message in outbox.messages] == [5000]


async def test_unknown_token_is_raised(served: Edge):
    """The SDK raises a wrong token as its own error, with code, message and request ids."""
    with pytest.raises(ODataError) as caught:
        await ingest(served, people(7), token="stolen")
    error = caught.value.error
    assert error is not None
    assert error.inner_error is not None
    assert (caught.value.response_status_code, error.code, error.message) == (
        401,
        "InvalidAuthenticationToken",
        "Access token validation failure.",
    )
    assert error.inner_error.request_id == error.inner_error.client_request_id != ""
    assert isinstance(error.inner_error.date, datetime)


@pytest.mark.parametrize(
    ("items", "refusal"),
    [
        (
            [people(1), people(2**40)],
            (400, "BadRequest", "telemetry[1].intValue: Expected `int` <= 2147483647"),
        ),
        ([people(1, device="")], (400, "BadRequest", "telemetry[0].deviceId: required")),
        (
            [people(count) for count in range(12_000)],
            (413, "RequestEntityTooLarge", "Maximum request body size"),
        ),
    ],
    ids=["beyond int32", "no device", "oversize"],
)
async def test_refusals_are_raised(
    served: Edge,
    outbox: MemoryOutbox,
    items: list[WorkplaceSensorDeviceTelemetry],
    refusal: tuple[int, str, str],
):
    """The SDK raises what is wrong with a request, and nothing of it is published."""
    status, code, message = refusal
    with pytest.raises(ODataError) as caught:
        await ingest(served, *items)
    error = caught.value.error
    assert error is not None
    assert (caught.value.response_status_code, error.code) == (status, code)
    assert message in (error.message or "")
    assert outbox.messages == []


async def test_unknown_path_is_raised(served: Edge):
    """What the edge does not serve is raised with a code, not as an answer that cannot be read."""
    async with graph(served, TOKEN) as client:
        with pytest.raises(ODataError) as caught:
            await client.workplace.sensor_devices.get()
    assert caught.value.error is not None
    assert (caught.value.response_status_code, caught.value.error.code) == (404, "ResourceNotFound")
