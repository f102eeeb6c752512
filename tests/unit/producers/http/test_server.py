"""The HTTP edge around its dialects: failures of Kafka, of the client and of our own, each answered and counted once."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from producers.http.server import DIALECTS
from producers.metrics import Outcome
from runtime.publisher import Broken, Overloaded, PublishError, TooLarge, Undelivered
from schemas.topics import RAW_TOPICS
from tests.support.edge import Edge, edge
from tests.support.fakes import MemoryOutbox

AUTHORISED = {"Authorization": "Bearer dummy-token", "Content-Type": "application/json"}
ITEM = {"deviceId": "d", "sensorType": "heartbeat", "boolValue": True, "timestamp": "2021-03-31T09:36:05Z"}
GRAPH = json.dumps({"telemetry": [ITEM, ITEM | {"deviceId": "e"}]}).encode()


async def send(
    served: Edge, dialect: str, body: bytes | None = None, **headers: str
) -> aiohttp.ClientResponse:
    """Telemetry that is well, but for what the test changes."""
    if dialect == "graph":
        path, given = "/beta/workplace/sensorDevices/ingestTelemetry", GRAPH
    else:
        path, given = "/digitaltwins/myTwinId/telemetry?api-version=2023-10-31", b'{"temperature": 1}'
    headers = (
        AUTHORISED
        | {"Message-Id": "m-1"}
        | {name.replace("_", "-"): value for name, value in headers.items()}
    )
    return await served.client.post(path, data=given if body is None else body, headers=headers)


def counted() -> Mapping[tuple[str, str], float]:
    """How many messages were counted, by dialect and outcome."""
    return {
        (dialect, outcome): REGISTRY.get_sample_value(
            "headrace_edge_messages_total", {"dialect": dialect, "outcome": outcome}
        )
        or 0.0
        for dialect in (*RAW_TOPICS, "none")
        for outcome in Outcome
    }


def difference(before: Mapping[Any, float], after: Mapping[Any, float]) -> dict[Any, float]:
    """What was counted in between."""
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def test_every_dialect_has_a_topic():
    """What the edge speaks has somewhere to go, and no two dialects share a path."""
    assert {dialect.name for dialect in DIALECTS} <= set(RAW_TOPICS)
    prefixes = [prefix for dialect in DIALECTS for prefix in dialect.prefixes]
    assert len(prefixes) == len(set(prefixes))


async def test_accepted_messages_are_counted():
    """A request counts with as many messages as it became."""
    before = counted()
    async with edge(MemoryOutbox()) as served:
        await send(served, "graph")
        await send(served, "digital_twins")
    assert difference(before, counted()) == {("graph", "accepted"): 2, ("digital_twins", "accepted"): 1}


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
@pytest.mark.parametrize("error", [Overloaded("full"), Undelivered("late"), Broken("gap")])
async def test_unacknowledged_is_not_accepted(dialect: str, error: PublishError):
    """What Kafka did not acknowledge is refused with 503 and a time to come back, in the dialect's words."""
    outbox, before = MemoryOutbox(), counted()
    outbox.fail_with = error
    async with edge(outbox, retry_after=7) as served:
        answer = await send(served, dialect)
        body = await answer.json()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert body["error"]["code"] in {"serviceNotAvailable", "ServiceUnavailable"}
    assert difference(before, counted()) == {(dialect, "unavailable"): 1}


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_what_no_topic_takes_is_too_large(dialect: str):
    """A record that Kafka will never take is refused for good."""
    outbox, before = MemoryOutbox(), counted()
    outbox.fail_with = TooLarge("2000000 bytes")
    async with edge(outbox) as served:
        answer = await send(served, dialect)
    assert answer.status == 413
    assert "Retry-After" not in answer.headers
    assert difference(before, counted()) == {(dialect, "too_large"): 1}


class Faulty(MemoryOutbox):
    """An outbox with a bug."""

    async def put(self, messages: object) -> None:
        """Fail in a way that nobody foresaw."""
        raise LookupError("a bug")


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_our_own_error_is_logged_and_answered(dialect: str, capsys: pytest.CaptureFixture[str]):
    """An unexpected exception leaves a traceback in the log and a 500 in the dialect that gives nothing away."""
    before = counted()
    async with edge(Faulty()) as served:
        answer = await send(served, dialect)
        body = await answer.json()
    assert answer.status == 500
    assert body["error"]["code"] in {"InternalServerError", "InternalError"}
    assert "a bug" not in body["error"]["message"]
    assert "LookupError: a bug" in capsys.readouterr().out
    assert difference(before, counted()) == {(dialect, "failed"): 1}


async def test_other_paths_are_answered_plainly():
    """A path of no dialect gets a plain 404, counted under no dialect."""
    before = counted()
    async with edge(MemoryOutbox()) as served:
        answer = await served.client.get("/betamax")
        text = await answer.text()
    assert (answer.status, answer.content_type, text) == (404, "text/plain", "404: Not Found\n")
    assert difference(before, counted()) == {("none", "unknown"): 1}


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_compressed_bodies_are_inflated(dialect: str):
    """A gzip body is stored as the client meant it."""
    outbox, body = MemoryOutbox(), GRAPH if dialect == "graph" else b'{"a": 1}'
    async with edge(outbox) as served:
        answer = await send(served, dialect, gzip.compress(body), Content_Encoding="gzip")
    assert answer.status == 204
    assert outbox.messages[-1].body in {
        b'{"a": 1}',
        b'{"telemetry":[%b]}' % json.dumps(ITEM | {"deviceId": "e"}).encode(),
    }


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_the_inflated_size_is_what_is_limited(dialect: str):
    """A small body that inflates beyond the limit is refused as too large."""
    before = counted()
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, dialect, gzip.compress(b" " * (16 << 20)), Content_Encoding="gzip")
    assert answer.status == 413
    assert difference(before, counted()) == {(dialect, "too_large"): 1}


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(GRAPH)[:-30]])
async def test_broken_compression_is_the_clients_error(body: bytes):
    """A body that does not inflate, or not to its end, is refused with 400."""
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, "graph", body, Content_Encoding="gzip")
    assert answer.status == 400


async def test_deflate_is_taken_too():
    """The other compression that HTTP always had is inflated as well."""
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, "graph", zlib.compress(GRAPH), Content_Encoding="deflate")
    assert answer.status == 204


async def test_request_ids_are_echoed():
    """Graph answers name the call as the client named it, and never with what is no text."""
    async with edge(MemoryOutbox()) as served:
        named = await send(served, "graph", client_request_id="call-1")
        unnamed = await send(served, "graph")
    assert named.headers["client-request-id"] == "call-1" != named.headers["request-id"]
    assert unnamed.headers["client-request-id"] == unnamed.headers["request-id"]


async def test_a_client_that_leaves_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A connection that ends within the body is the client's affair: counted, and no traceback."""
    fates: asyncio.Queue[tuple[str, Outcome]] = asyncio.Queue()
    monkeypatch.setattr("producers.http.server.count", lambda *fate: fates.put_nowait(fate))
    async with edge(MemoryOutbox()) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        lines = [
            "POST /beta/workplace/sensorDevices/ingestTelemetry HTTP/1.1",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in AUTHORISED.items()),
            "Expect: 100-continue",
            "Content-Length: 100",
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n{")
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.close()
        await writer.wait_closed()
        assert await asyncio.wait_for(fates.get(), 5) == ("graph", Outcome.MALFORMED)
    assert fates.empty()
    assert "request failed" not in capsys.readouterr().out
