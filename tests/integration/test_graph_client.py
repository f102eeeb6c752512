"""Microsoft's own Graph client against a really listening edge: what it sends arrives, what it is told it raises."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph_beta import GraphRequestAdapter, GraphServiceClient
from msgraph_beta.generated.models.o_data_errors.o_data_error import ODataError
from msgraph_beta.generated.models.workplace_sensor_device_telemetry import WorkplaceSensorDeviceTelemetry
from msgraph_beta.generated.models.workplace_sensor_type import WorkplaceSensorType
from msgraph_beta.generated.workplace.sensor_devices.ingest_telemetry import (
    ingest_telemetry_post_request_body as request_body,
)

from headrace.demo.graph import StaticCredential, client
from headrace.stack.pki import ensure_pki
from producers.http.application import application
from producers.http.server import serving
from producers.limits import TenantLimits
from producers.settings import EdgeSettings, HttpSettings
from runtime.devices import DeviceTable
from runtime.publisher import Undelivered
from tests.support.edge import DEVICES, TOKEN, TOKENS, Edge, edge, fates
from tests.support.fakes import MemoryOutbox, told
from tests.support.issuer import AUDIENCES, GRAPH_ROLE, ISSUER, KeyServer, key_file, key_set, token

# The SDK's own generated modules define, and so warn of, names that they have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:GetQueryParameters is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This class is deprecated. Please use the generic:DeprecationWarning"),
]

NOON = datetime(2026, 11, 21, 12, 0, 0, 144_000, tzinfo=UTC)


class FlakyOutbox(MemoryOutbox):
    """Keeps what was put, but says so only after some times: acknowledgements got lost."""

    def __init__(self, failures: int = 1) -> None:
        super().__init__()
        self.failures = failures

    def put(self, messages: Any) -> asyncio.Future[None]:
        """Keep them; fail as often as it should."""
        kept = super().put(messages)
        if not self.failures:
            return kept
        self.failures -= 1
        return told(Undelivered("timed out"))


class FaultyOutbox(MemoryOutbox):
    """An outbox with a bug."""

    def put(self, messages: Any) -> asyncio.Future[None]:
        """Fail in a way that nobody foresaw."""
        raise LookupError("a bug")


@pytest.fixture
def outbox() -> MemoryOutbox:
    """Where the edge of the test puts what it accepts."""
    return MemoryOutbox()


@pytest.fixture
async def served(outbox: MemoryOutbox) -> AsyncIterator[Edge]:
    """The edge of the test, listening."""
    async with edge(outbox) as started:
        yield started


async def ingest(
    served: Edge, *telemetry: WorkplaceSensorDeviceTelemetry, bearer: str = TOKEN, version: str = "beta"
) -> None:
    """Send telemetry."""
    body = request_body.IngestTelemetryPostRequestBody(telemetry=list(telemetry))
    async with client(str(served.url / version), bearer) as graph:
        await graph.workplace.sensor_devices.ingest_telemetry.post(body)


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
    assert fates(outbox.messages) == ["stored", "duplicate"]


async def test_five_thousand_items_are_one_request(served: Edge, outbox: MemoryOutbox):
    """A large batch is one message of its device."""
    await ingest(served, *(people(count) for count in range(5000)))
    assert [len(msgspec.json.decode(message.body)["telemetry"]) for message in outbox.messages] == [5000]


async def test_unknown_token_is_raised(served: Edge):
    """The SDK raises a wrong token as its own error, with code, message and request ids."""
    with pytest.raises(ODataError) as caught:
        await ingest(served, people(7), bearer="stolen")
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


async def raised(served: Edge, **how: Any) -> tuple[int | None, str | None, str | None]:
    """What the SDK raises for telemetry that is well: status, code and message."""
    with pytest.raises(ODataError) as caught:
        await ingest(served, people(7), **how)
    assert caught.value.error is not None
    return caught.value.response_status_code, caught.value.error.code, caught.value.error.message


async def test_what_the_edge_does_not_serve_is_raised(served: Edge):
    """What only Graph itself serves is raised with a code, not as an answer that cannot be read."""
    async with client(str(served.url / "beta"), TOKEN) as graph:
        with pytest.raises(ODataError) as caught:
            await graph.workplace.sensor_devices.get()
    assert caught.value.error is not None
    assert (caught.value.response_status_code, caught.value.error.code) == (400, "BadRequest")


async def test_the_version_without_the_action_is_raised(served: Edge):
    """/v1.0 has no workplace, and says so as Graph does."""
    assert await raised(served, version="v1.0") == (
        400,
        "BadRequest",
        "Resource not found for the segment 'workplace'.",
    )


async def test_a_limited_message_is_stored_once(outbox: MemoryOutbox):
    """The SDK comes back with what was over the rate limit, when it was told to, and it is taken once."""
    async with edge(outbox, limits={"*": TenantLimits(device="1:1")}) as served:
        for count in range(2):
            await ingest(served, people(count))
    assert fates(outbox.messages) == ["stored", "stored"]


async def test_a_limit_is_raised(outbox: MemoryOutbox):
    """A wait that is longer than the SDK's patience is raised at once, and nothing is stored."""
    async with edge(outbox, limits={"*": TenantLimits(device="1:600")}) as served:
        await ingest(served, people(1))
        status, code, _ = await raised(served)
    assert (status, code) == (429, "TooManyRequests")
    assert len(outbox.messages) == 1


async def test_what_is_never_acknowledged_is_raised():
    """When its attempts are used up the SDK raises the last refusal, and every attempt was the same message."""
    outbox = FlakyOutbox(failures=99)
    async with edge(outbox, retry_after=1) as served:
        status, code, _ = await raised(served)
    assert (status, code) == (503, "serviceNotAvailable")
    assert fates(outbox.messages) == ["stored", *["duplicate"] * 3]


async def test_our_own_error_is_raised():
    """A fault of the edge is raised with a code that gives nothing away."""
    async with edge(FaultyOutbox()) as served:
        status, code, message = await raised(served)
    assert (status, code) == (500, "InternalServerError")
    assert "bug" not in (message or "")


@pytest.mark.parametrize(
    "claims", [{"roles": [GRAPH_ROLE]}, {"roles": None, "scp": "PlaceDevice.ReadWrite.All"}]
)
async def test_a_signed_token_is_taken(outbox: MemoryOutbox, tmp_path: Path, claims: dict[str, Any]):
    """An application's role, or a user's scope, lets telemetry in for the tenant that the token names."""
    issuer = {"jwks": key_file(tmp_path, "rsa-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(outbox, **issuer) as served:
        await ingest(served, people(7), bearer=token("rsa-1", **claims))
    assert [message.tenant for message in outbox.messages] == ["contoso"]


async def test_a_missing_role_is_raised(outbox: MemoryOutbox, tmp_path: Path):
    """Without one of the two roles the SDK raises 403 with a code, and nothing is stored."""
    issuer = {"jwks": key_file(tmp_path, "ec-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(outbox, **issuer) as served:
        status, code, _ = await raised(served, bearer=token(roles=["PlaceDevice.Read.All"]))
    assert (status, code) == (403, "accessDenied")
    assert outbox.messages == []


async def test_an_expired_token_is_raised(tmp_path: Path):
    """The SDK raises a token out of its time with Graph's words for it."""
    issuer = {"jwks": key_file(tmp_path, "ec-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(MemoryOutbox(), **issuer) as served:
        assert await raised(served, bearer=token(exp=1)) == (
            401,
            "InvalidAuthenticationToken",
            "Lifetime validation failed, the token is expired.",
        )


async def test_the_first_token_of_a_new_key_is_taken(outbox: MemoryOutbox, monkeypatch: pytest.MonkeyPatch):
    """A key that the issuer has just begun to sign with costs its first client nothing but a moment."""
    monkeypatch.setattr("producers.http.key_set.COOLDOWN", 0.0)
    server = KeyServer("ec-1")
    async with (
        server.listening() as url,
        edge(outbox, jwks=url, issuer=ISSUER, audiences=AUDIENCES) as served,
    ):
        await ingest(served, people(1), bearer=token("ec-1"))
        server.document = key_set("ec-1", "ec-2")
        await ingest(served, people(2), bearer=token("ec-2"))
        server.status = 500
        await ingest(served, people(3), bearer=token("ec-2", jti="another"))
    assert len(outbox.messages) == 3


async def test_the_sdk_speaks_tls(outbox: MemoryOutbox, tmp_path: Path):
    """The SDK, told of the authority, sends its telemetry encrypted."""
    pki = ensure_pki(tmp_path)
    settings = HttpSettings(
        port=0,
        tokens=TOKENS,
        certificate=str(pki.certificate("server")),
        private_key=str(pki.private_key("server")),
    )
    trust = ssl.create_default_context(cafile=str(pki.authority))
    async with (
        application(outbox, DeviceTable(DEVICES), settings, EdgeSettings()) as app,
        serving(app, settings, grace=5) as port,
        httpx.AsyncClient(verify=trust, http2=True) as own,
    ):
        credential = AzureIdentityAuthenticationProvider(
            StaticCredential(TOKEN), scopes=["https://graph.microsoft.com/.default"]
        )
        adapter = GraphRequestAdapter(credential, client=own)
        adapter.base_url = f"https://localhost:{port}/beta"
        sensors = GraphServiceClient(request_adapter=adapter).workplace.sensor_devices
        await sensors.ingest_telemetry.post(
            request_body.IngestTelemetryPostRequestBody(telemetry=[people(7)])
        )
    assert len(outbox.messages) == 1
