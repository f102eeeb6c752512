"""ThingsBoard's device API over HTTP."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from producers.limits import ANYBODY, TenantLimits
from runtime.publisher import Undelivered
from schemas.identity import content_id
from schemas.raw_message import Attribute
from schemas.thingsboard import Entry
from tests.support.coap import TOKEN, fleet
from tests.support.edge import edge
from tests.support.fakes import MemoryOutbox

TELEMETRY = f"/api/v1/{TOKEN}/telemetry"


@asynccontextmanager
async def client(outbox: MemoryOutbox, *, rate: str = "", **settings: Any) -> AsyncIterator[ClientSession]:
    """A client of an edge with one device."""
    limits = {ANYBODY: TenantLimits(device=rate)}
    async with edge(outbox, fleet(), limits=limits, retry_after=7, **settings) as served:
        yield served.client


async def test_telemetry():
    """Telemetry is the device's that the token belongs to, whatever the media type says; the answer is 200 without a body."""
    outbox = MemoryOutbox()
    async with client(outbox) as http:
        answer = await http.post(TELEMETRY, data=b'{"a":1}', headers={"Content-Type": "text/plain"})
        assert (answer.status, await answer.read()) == (200, b"")
    (message,) = outbox.messages
    assert (message.tenant, message.dialect, message.device) == ("acme", "thingsboard", "boiler-7")
    assert (message.body, message.attributes) == (b'{"a":1}', {})


async def test_attributes():
    """Attributes are a message that says so."""
    outbox = MemoryOutbox()
    async with client(outbox) as http:
        assert (await http.post(f"/api/v1/{TOKEN}/attributes", data=b'{"a":1}')).status == 200
    assert [message.attributes for message in outbox.messages] == [{Attribute.FEATURE: "attributes"}]


async def test_identity_by_content():
    """A batch that names its times is the same message when it is sent again, over CoAP or HTTP."""
    outbox = MemoryOutbox()
    async with client(outbox) as http:
        for body in (b'{"ts":1,"values":{"a":1}}', b'{"values":{"a":1}, "ts":"1"}'):
            await http.post(TELEMETRY, data=body)
    assert {message.message_id for message in outbox.messages} == {content_id([Entry(1, {"a": 1})])}


async def test_each_untimed_request_is_new():
    """Equal readings without a time are two readings."""
    outbox = MemoryOutbox()
    async with client(outbox) as http:
        for _ in range(2):
            await http.post(TELEMETRY, data=b'{"a":1}')
    assert len({message.message_id for message in outbox.messages}) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/v1/nobody/telemetry", b'{"a":1}', 401),
        ("POST", "/api/v1/nobody/attributes", b'{"a":1}', 401),
        ("POST", TELEMETRY, b"no JSON", 400),
        ("POST", TELEMETRY, b"", 400),
        ("POST", TELEMETRY, b"[" * 2000, 413),
        ("GET", TELEMETRY, b"", 405),
        ("POST", f"/api/v1/{TOKEN}/Telemetry", b'{"a":1}', 404),
        ("POST", f"/api/v1/{TOKEN}/nothing", b'{"a":1}', 404),
        ("POST", "/api/v1/telemetry", b'{"a":1}', 404),
    ],
)
async def test_refused(method, path, body, status):
    """A refusal is its status, without a body."""
    outbox = MemoryOutbox()
    async with client(outbox, max_body_bytes=1000) as http:
        answer = await http.request(method, path, data=body)
        assert (answer.status, await answer.read()) == (status, b"")
    assert outbox.messages == []


async def test_rate_limit():
    """A device over its limit hears 429 and when to try again."""
    outbox = MemoryOutbox()
    async with client(outbox, rate="1:60") as http:
        answers = [await http.post(TELEMETRY, data=b'{"a":1}') for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert int(answers[1].headers["Retry-After"]) in range(1, 61)
    assert len(outbox.messages) == 1


async def test_kafka_is_away():
    """When Kafka is away the device hears 503 and when to try again."""
    outbox = MemoryOutbox()
    outbox.fail_with = Undelivered("the broker did not answer")
    async with client(outbox) as http:
        answer = await http.post(TELEMETRY, data=b'{"a":1}')
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")


async def test_compressed_body():
    """A compressed body is read, and stored as it was before."""
    outbox = MemoryOutbox()
    async with client(outbox) as http:
        packed = gzip.compress(b'{"a":1}')
        answer = await http.post(TELEMETRY, data=packed, headers={"Content-Encoding": "gzip"})
        assert answer.status == 200
    assert [message.body for message in outbox.messages] == [b'{"a":1}']


async def test_body_that_ends_early():
    """A body that is cut off is refused, if anybody is still there to hear it."""
    outbox = MemoryOutbox()
    async with edge(outbox, fleet()) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        writer.write(f"POST {TELEMETRY} HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{{".encode())
        writer.write_eof()
        await reader.read()
        writer.close()
    assert outbox.messages == []
