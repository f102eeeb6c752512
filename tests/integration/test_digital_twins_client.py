"""Azure's own Digital Twins client against a really listening edge: what it sends arrives, what it is told it raises."""

import json
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.digitaltwins.core.aio import DigitalTwinsClient

from runtime.publisher import Overloaded
from schemas.raw_message import Attribute
from tests.support.edge import TOKEN, Edge, edge
from tests.support.fakes import MemoryOutbox


class Credential:
    """Any object with an asynchronous `get_token` is a credential to the SDK."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """The token, valid for years."""
        return AccessToken(self.token, 4102444800)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        """As every asynchronous credential."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """As every asynchronous credential."""


class FlakyOutbox(MemoryOutbox):
    """Keeps what was put, but says so only from the third time on."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    async def put(self, messages: Any) -> None:
        """Keep them; fail twice."""
        await super().put(messages)
        self.puts += 1
        if self.puts <= 2:
            raise Overloaded("too much waits")


@pytest.fixture
def outbox() -> MemoryOutbox:
    """Where the edge of the test puts what it accepts."""
    return MemoryOutbox()


@pytest.fixture
async def served(outbox: MemoryOutbox) -> AsyncIterator[Edge]:
    """The edge of the test, listening."""
    async with edge(outbox) as started:
        yield started


def twins(served: Edge, token: str = TOKEN, **options: Any) -> DigitalTwinsClient:
    """The client as its user makes it."""
    return DigitalTwinsClient(str(served.url.origin()), Credential(token), **options)


PLAIN = {"enforce_https": False}
"""Lets the SDK send a token to an address that is no https."""


async def test_telemetry_arrives(served: Edge, outbox: MemoryOutbox):
    """Telemetry of a twin arrives with the SDK's Message-Id, its own source time and its bytes."""
    async with twins(served) as client:
        await client.publish_telemetry("myTwinId", {"temperature": 21.5}, message_id="m-1", **PLAIN)
    (message,) = outbox.messages
    assert (message.tenant, message.device, message.message_id) == ("contoso", "myTwinId", "m-1")
    assert json.loads(message.body) == {"temperature": 21.5}
    assert message.attributes[Attribute.SOURCE_TIME].endswith("Z")


async def test_component_telemetry_arrives(served: Edge, outbox: MemoryOutbox):
    """Telemetry of a component arrives with its name, also where the twin's id needs escaping."""
    async with twins(served) as client:
        await client.publish_component_telemetry("my Twin/1é", "thermostat1", {"on": True}, **PLAIN)
    (message,) = outbox.messages
    assert (message.device, message.attributes[Attribute.COMPONENT]) == ("my Twin/1é", "thermostat1")


@pytest.mark.parametrize("version", ["2020-10-31", "2022-05-31"])
async def test_older_versions_are_spoken(served: Edge, outbox: MemoryOutbox, version: str):
    """A client that asks for an older version of the API is served as well."""
    async with twins(served, api_version=version) as client:
        await client.publish_telemetry("myTwinId", {"temperature": 21.5}, **PLAIN)
    assert len(outbox.messages) == 1


async def test_same_id_on_a_component_is_another_message(served: Edge, outbox: MemoryOutbox):
    """A Message-Id that was used for the twin is free for its component."""
    async with twins(served) as client:
        await client.publish_telemetry("myTwinId", {"a": 1}, message_id="m", **PLAIN)
        await client.publish_component_telemetry("myTwinId", "thermostat1", {"a": 1}, message_id="m", **PLAIN)
    assert len({message.identity() for message in outbox.messages}) == 2


async def test_retry_is_the_same_message():
    """The SDK repeats what was answered with 503, after the time it was told, with one Message-Id throughout."""
    outbox = FlakyOutbox()
    async with edge(outbox, retry_after=1) as served, twins(served) as client:
        await client.publish_telemetry("myTwinId", {"temperature": 1}, **PLAIN)
    assert outbox.puts == 3
    assert len({message.identity() for message in outbox.messages}) == 1


async def test_unknown_token_is_raised(served: Edge, outbox: MemoryOutbox):
    """The SDK raises a wrong token as what it is."""
    async with twins(served, token="stolen") as client:
        with pytest.raises(ClientAuthenticationError, match="Unauthorized") as caught:
            await client.publish_telemetry("myTwinId", {"temperature": 1}, **PLAIN)
    assert caught.value.status_code == 401
    assert outbox.messages == []


@pytest.mark.parametrize(
    ("twin", "component", "code"),
    [("nobody", "thermostat1", "DigitalTwinNotFound"), ("myTwinId", "thermostat9", "ComponentNotFound")],
)
async def test_what_is_not_there_is_raised(served: Edge, twin: str, component: str, code: str):
    """The SDK raises an unknown twin or component as not found, with the service's code."""
    async with twins(served) as client:
        with pytest.raises(ResourceNotFoundError) as caught:
            await client.publish_component_telemetry(twin, component, {"temperature": 1}, **PLAIN)
    assert caught.value.error is not None
    assert caught.value.error.code == code


@pytest.mark.parametrize(
    ("telemetry", "status", "code"),
    [
        ([1, 2], 400, "ValidationFailed"),
        ("21.5", 400, "ValidationFailed"),
        (None, 400, "ValidationFailed"),
        ({"text": "x" * (32 << 10)}, 413, "RequestBodyTooLarge"),
        ({"text": "x" * (2 << 20)}, 413, "RequestBodyTooLarge"),
    ],
    ids=["array", "text", "nothing", "beyond 32 KiB", "beyond the edge's limit"],
)
@pytest.mark.filterwarnings(
    # How the SDK's transport, an aiohttp client, hands over a large body is the SDK's affair.
    "ignore:Sending a large body directly with raw bytes:ResourceWarning"
)
async def test_refusals_are_raised(
    served: Edge, outbox: MemoryOutbox, telemetry: Any, status: int, code: str
):
    """The SDK raises what is wrong with a request, and nothing of it is published."""
    async with twins(served) as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.publish_telemetry("myTwinId", telemetry, **PLAIN)
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (status, code)
    assert outbox.messages == []


async def test_missing_message_id_is_raised(served: Edge):
    """An empty Message-Id is raised as an invalid argument."""
    async with twins(served) as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.publish_telemetry("myTwinId", {"temperature": 1}, message_id=" ", **PLAIN)
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidArgument"
