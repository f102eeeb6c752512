"""Azure's own Digital Twins clients against a really listening edge: what they send arrives, what they are told they raise."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.digitaltwins.core import DigitalTwinsClient
from azure.digitaltwins.core.aio import DigitalTwinsClient as AioClient

from producers.limits import TenantLimits
from runtime.publisher import Overloaded
from schemas.raw_message import Attribute, RawMessage
from tests.support.edge import TOKEN, Edge, edge, fates
from tests.support.fakes import MemoryOutbox, told
from tests.support.issuer import AUDIENCES, GRAPH_ROLE, ISSUER, OWNER, key_file, token

# How the SDK's transport, an aiohttp client, hands over a large body is the SDK's affair.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")

EVERYDAY = {"temperature": 21.5}
NEVER = 4102444800


class Credential:
    """Any object with `get_token` is a credential to the SDK."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(self.text, NEVER)


class AioCredential:
    """The same for the asynchronous SDK."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(self.text, NEVER)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        """As every asynchronous credential."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """As every asynchronous credential."""


class Sdk:
    """One of the two clients: the one that blocks, from a thread of its own, or the asynchronous one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def publish(
        self,
        served: Edge,
        twin: str = "myTwinId",
        telemetry: Any = EVERYDAY,
        component: str = "",
        *,
        bearer: str = TOKEN,
        options: dict[str, Any] | None = None,
        **call: Any,
    ) -> None:
        """Publish telemetry as a user of the SDK does; only the address, which is no https, is ours."""
        url = str(served.url.origin())
        where = (twin, component) if component else (twin,)
        name = "publish_component_telemetry" if component else "publish_telemetry"
        call |= {"enforce_https": False}
        if self.kind == "aio":
            async with AioClient(url, AioCredential(bearer), **options or {}) as client:
                await getattr(client, name)(*where, telemetry, **call)
        else:
            client = DigitalTwinsClient(url, Credential(bearer), **options or {})
            try:
                await asyncio.to_thread(getattr(client, name), *where, telemetry, **call)
            finally:
                client._client.close()


class FlakyOutbox(MemoryOutbox):
    """Keeps what was put, but says so only after some times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """Keep them; fail as often as it should."""
        kept = super().put(messages)
        if not self.failures:
            return kept
        self.failures -= 1
        return told(Overloaded("too much waits"))


class FaultyOutbox(MemoryOutbox):
    """An outbox with a bug."""

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """Fail in a way that nobody foresaw."""
        raise LookupError("a bug")


@pytest.fixture(name="sdk", params=["sync", "aio"])
def _sdk(request: pytest.FixtureRequest) -> Sdk:
    """Each of the two clients."""
    return Sdk(request.param)


@pytest.fixture(name="outbox")
def _outbox() -> MemoryOutbox:
    """Where the edge of the test puts what it accepts."""
    return MemoryOutbox()


@pytest.fixture(name="served")
async def _served(outbox: MemoryOutbox) -> AsyncIterator[Edge]:
    """The edge of the test, listening."""
    async with edge(outbox) as started:
        yield started


async def test_telemetry_arrives(sdk: Sdk, served: Edge, outbox: MemoryOutbox):
    """Telemetry of a twin arrives with the SDK's Message-Id, its own source time and its bytes."""
    await sdk.publish(served, message_id="m-1")
    (message,) = outbox.messages
    assert (message.tenant, message.device, message.message_id) == ("contoso", "myTwinId", "m-1")
    assert json.loads(message.body) == {"temperature": 21.5}
    assert message.attributes[Attribute.SOURCE_TIME].endswith("Z")


async def test_component_telemetry_arrives(sdk: Sdk, served: Edge, outbox: MemoryOutbox):
    """Telemetry of a component arrives with its name, also where the twin's id needs escaping."""
    await sdk.publish(served, "my Twin/1é", {"on": True}, "thermostat1")
    (message,) = outbox.messages
    assert (message.device, message.attributes[Attribute.COMPONENT]) == ("my Twin/1é", "thermostat1")


@pytest.mark.parametrize("version", ["2020-10-31", "2022-05-31"])
async def test_older_versions_are_spoken(sdk: Sdk, served: Edge, outbox: MemoryOutbox, version: str):
    """A client that asks for an older version of the API is served as well."""
    await sdk.publish(served, options={"api_version": version})
    assert len(outbox.messages) == 1


async def test_same_id_on_a_component_is_another_message(sdk: Sdk, served: Edge, outbox: MemoryOutbox):
    """A Message-Id that was used for the twin is free for its component."""
    await sdk.publish(served, message_id="m")
    await sdk.publish(served, component="thermostat1", message_id="m")
    assert len({message.identity() for message in outbox.messages}) == 2


async def test_a_retry_is_the_same_message(sdk: Sdk):
    """The SDK repeats what was answered with 503, after the time it was told, with one Message-Id throughout."""
    outbox = FlakyOutbox(failures=2)
    async with edge(outbox, retry_after=1) as served:
        await sdk.publish(served)
    assert fates(outbox.messages) == ["stored", "duplicate", "duplicate"]


async def test_what_is_never_acknowledged_is_raised(sdk: Sdk):
    """When its attempts are used up the SDK raises the last refusal, and every attempt was the same message."""
    outbox = FlakyOutbox(failures=99)
    async with edge(outbox, retry_after=1) as served:
        with pytest.raises(HttpResponseError) as caught:
            await sdk.publish(served, options={"retry_total": 1})
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (503, "ServiceUnavailable")
    assert fates(outbox.messages) == ["stored", "duplicate"]


async def test_a_limited_message_is_stored_once(sdk: Sdk, outbox: MemoryOutbox):
    """The SDK comes back with what was over the rate limit, when it was told to, and it is taken once."""
    async with edge(outbox, limits={"*": TenantLimits(device="1:1")}) as served:
        for number in range(2):
            await sdk.publish(served, message_id=f"m-{number}")
    assert [message.message_id for message in outbox.messages] == ["m-0", "m-1"]
    assert fates(outbox.messages) == ["stored", "stored"]


async def test_a_limit_is_raised(sdk: Sdk, outbox: MemoryOutbox):
    """A client that does not come back hears how long it should have waited."""
    async with edge(outbox, limits={"*": TenantLimits(device="1:60")}) as served:
        await sdk.publish(served)
        with pytest.raises(HttpResponseError) as caught:
            await sdk.publish(served, options={"retry_total": 0})
    assert caught.value.error is not None
    assert caught.value.response is not None
    assert (caught.value.status_code, caught.value.error.code) == (429, "TooManyRequests")
    assert caught.value.response.headers["Retry-After"] == "60"
    assert len(outbox.messages) == 1


async def test_our_own_error_is_raised(sdk: Sdk):
    """A fault of the edge is raised with a code, after the attempts that the SDK makes."""
    async with edge(FaultyOutbox()) as served:
        with pytest.raises(HttpResponseError) as caught:
            await sdk.publish(served, options={"retry_total": 0})
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (500, "InternalError")


async def test_a_signed_token_is_taken(sdk: Sdk, outbox: MemoryOutbox, tmp_path: Path):
    """A data owner's token speaks for the tenant that it names."""
    issuer = {"jwks": key_file(tmp_path, "rsa-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(outbox, **issuer) as served:
        await sdk.publish(served, bearer=token("rsa-1", aud=AUDIENCES[1], roles=[OWNER]))
    assert [message.tenant for message in outbox.messages] == ["contoso"]


async def test_a_missing_role_is_raised(sdk: Sdk, outbox: MemoryOutbox, tmp_path: Path):
    """Without the data owner's role the SDK raises 403 with a code."""
    issuer = {"jwks": key_file(tmp_path, "rsa-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(outbox, **issuer) as served:
        with pytest.raises(HttpResponseError) as caught:
            await sdk.publish(served, bearer=token("rsa-1", roles=[GRAPH_ROLE]))
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (403, "Forbidden")
    assert outbox.messages == []


async def test_an_unknown_token_is_raised(sdk: Sdk, served: Edge, outbox: MemoryOutbox):
    """The SDK raises a wrong token as what it is."""
    with pytest.raises(ClientAuthenticationError, match="Unauthorized") as caught:
        await sdk.publish(served, bearer="stolen")
    assert caught.value.status_code == 401
    assert outbox.messages == []


@pytest.mark.parametrize(
    ("twin", "component", "code"),
    [
        ("nobody", "", "DigitalTwinNotFound"),
        ("nobody", "thermostat1", "DigitalTwinNotFound"),
        ("myTwinId", "thermostat9", "ComponentNotFound"),
        ("", "", "ResourceNotFound"),
    ],
)
async def test_what_is_not_there_is_raised(sdk: Sdk, served: Edge, twin: str, component: str, code: str):
    """The SDK raises an unknown twin or component as not found, with the service's code."""
    with pytest.raises(ResourceNotFoundError) as caught:
        await sdk.publish(served, twin, component=component)
    assert caught.value.error is not None
    assert caught.value.error.code == code


@pytest.mark.parametrize(
    ("telemetry", "refusal"),
    [
        ([1, 2], (400, "ValidationFailed")),
        ("21.5", (400, "ValidationFailed")),
        (None, (400, "ValidationFailed")),
        ({"text": "x" * (32 << 10)}, (413, "RequestBodyTooLarge")),
        ({"text": "x" * (2 << 20)}, (413, "RequestBodyTooLarge")),
    ],
    ids=["array", "text", "nothing", "beyond 32 KiB", "beyond the edge's limit"],
)
async def test_refusals_are_raised(
    sdk: Sdk, served: Edge, outbox: MemoryOutbox, telemetry: Any, refusal: tuple[int, str]
):
    """The SDK raises what is wrong with a request, and nothing of it is published."""
    with pytest.raises(HttpResponseError) as caught:
        await sdk.publish(served, telemetry=telemetry)
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == refusal
    assert outbox.messages == []


async def test_a_missing_message_id_is_raised(sdk: Sdk, served: Edge):
    """A request that lost its Message-Id on the way is raised as an invalid argument."""

    def lose(request: Any) -> None:
        del request.http_request.headers["Message-Id"]

    with pytest.raises(HttpResponseError) as caught:
        await sdk.publish(served, raw_request_hook=lose)
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidArgument"


async def test_an_unknown_version_is_raised(sdk: Sdk, served: Edge):
    """A version of the API that nobody speaks is raised with the service's code."""
    with pytest.raises(HttpResponseError) as caught:
        await sdk.publish(served, options={"api_version": "2019-01-01"})
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (400, "UnsupportedApiVersionValue")
