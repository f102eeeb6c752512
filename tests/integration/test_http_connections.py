"""Connections that nobody should open: garbage, requests that never end, answers that nobody takes; all of them bounded."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from aiohttp import ClientSession, TCPConnector
from prometheus_client import REGISTRY
from yarl import URL

from headrace.stack.pki import Pki, ensure_pki
from producers.http import handshakes
from producers.http.application import application
from producers.http.server import serving
from producers.settings import EdgeSettings, HttpSettings
from runtime.devices import DeviceTable
from tests.support.edge import TOKEN, Edge, edge
from tests.support.fakes import MemoryOutbox
from tests.support.processes import until

MANY = 2000
LINE = b"POST /api/v1/any/telemetry HTTP/1.1\r\n"
GARBAGE = b"\x16\x03\x01\x02\x00garbage\r\n\r\n"
LONG = LINE + b"X: " + b"x" * 9000
DOCUMENT = b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

Run = Callable[[Coroutine[None, None, None]], None]


@asynccontextmanager
async def streams(served: Edge, count: int = 1, first: bytes = b"") -> AsyncIterator[list[Stream]]:
    """So many connections, each of which has said the same."""
    opened = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
            opened.append((reader, writer))
            writer.write(first)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


def is_over(reader: asyncio.StreamReader) -> bool:
    """Whether the edge closed the connection."""
    return reader.at_eof() or reader.exception() is not None


def figure(name: str) -> float:
    """What a metric of the edge says."""
    return REGISTRY.get_sample_value(f"headrace_edge_{name}") or 0.0


async def is_served(served: Edge) -> bool:
    """Whether a newcomer is."""
    async with served.client.get("/openapi.yaml") as answer:
        return answer.status == 200


async def drip(stream: Stream, drop: bytes) -> None:
    """Say the same over and over, until the edge has enough of it."""
    reader, writer = stream
    with suppress(ConnectionError):
        while not is_over(reader):
            writer.write(drop)
            with suppress(TimeoutError):
                await until(lambda: is_over(reader), within=0.01)


async def test_garbage_leaves_nothing_behind():
    """Each of many connections with what is no HTTP gets its 400 and ends, and newcomers are served."""
    async with edge(MemoryOutbox()) as served:
        async with streams(served, MANY // 2, GARBAGE) as opened, streams(served, MANY // 2, LONG) as more:
            answers = await asyncio.gather(*(reader.read() for reader, _ in opened + more))
            assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.0 400 Bad Request"}
            assert await is_served(served)
        await until(lambda: figure("connections") == 1)


async def test_beyond_the_bound_the_longest_silent_goes():
    """Of many connections that wait with half a request only the latest stay, and newcomers are served."""
    before = figure("connections_evicted_total")
    async with (
        edge(MemoryOutbox(), max_connections=50) as served,
        streams(served, MANY, LINE + b"X: " + b"x" * 4000) as opened,
    ):
        await until(lambda: sum(not is_over(reader) for reader, _ in opened) == 50)
        assert not any(is_over(reader) for reader, _ in opened[-50:])
        assert figure("connections") == 50
        assert figure("connections_evicted_total") - before == MANY - 50
        assert await is_served(served)


@pytest.mark.parametrize("head", [LONG, LINE + b"".join(b"X%d: x\r\n" % n for n in range(65))])
async def test_headers_are_bounded(head: bytes):
    """A header that is too long, and too many of them, are refused with 400."""
    async with edge(MemoryOutbox()) as served, streams(served, 1, head + b"\r\n\r\n") as ((reader, _),):
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.0 400 ")


async def test_who_speaks_stays():
    """A connection that was heard of since is not the one that goes."""
    async with (
        edge(MemoryOutbox(), max_connections=2) as served,
        streams(served) as ((first, speaker),),
        streams(served) as ((second, _),),
    ):
        speaker.write(DOCUMENT)
        await first.readuntil(b"\r\n\r\n")
        async with streams(served):
            await until(lambda: is_over(second))
            assert not first.at_eof()


@pytest.mark.parametrize("said", [b"", LINE, DOCUMENT, DOCUMENT + LINE])
async def test_a_request_that_does_not_begin_is_not_waited_for(said: bytes):
    """A connection without a whole line and headers is closed after some time, whatever was served on it before."""
    async with edge(MemoryOutbox(), idle_timeout=0.05) as served, streams(served, 1, said) as opened:
        ((reader, _),) = opened
        await asyncio.wait_for(reader.read(), 10)


async def test_headers_that_never_end_are_not_waited_for():
    """A connection over which headers drip is closed after the same time: a drop does not prolong it."""
    async with edge(MemoryOutbox(), idle_timeout=0.2) as served, streams(served, 1, LINE) as (stream,):
        await asyncio.wait_for(drip(stream, b"X: y\r\n"), 10)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("beta/workplace/sensorDevices/ingestTelemetry", b'"RequestTimeout"'),
        ("digitaltwins/myTwinId/telemetry?api-version=2023-10-31", b'"RequestTimeout"'),
        ("api/v1/T/telemetry", b""),
    ],
    ids=["graph", "digital_twins", "thingsboard"],
)
async def test_a_body_that_never_ends_is_not_waited_for(path: str, code: bytes, monkeypatch):
    """A body that drips is refused with 408 in the dialect's words, though every drop came in time."""
    monkeypatch.setattr(DeviceTable, "by_token", lambda table, _: table.by_id("contoso", "myTwinId"))
    head = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Message-Id: 1\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    outbox = MemoryOutbox()
    async with (
        edge(outbox, body_timeout=0.2) as served,
        streams(served, 1, head.encode()) as (stream,),
    ):
        dripping = asyncio.create_task(drip(stream, b" "))
        answer = await asyncio.wait_for(stream[0].readuntil(b"\r\n\r\n"), 10)
        if code:
            answer += await asyncio.wait_for(stream[0].readuntil(code), 10)
        dripping.cancel()
        await asyncio.wait({dripping})
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert outbox.messages == []


async def test_answers_that_nobody_takes_are_not_kept():
    """Who asks and asks, and never reads, is closed."""
    before = figure("connections")
    async with edge(MemoryOutbox(), idle_timeout=0.3) as served, streams(served) as ((_, writer),):
        writer.transport.pause_reading()
        await until(lambda: figure("connections") == before + 1)
        writer.write(DOCUMENT * 2000)
        await until(lambda: figure("connections") == before)
        assert await is_served(served)


@asynccontextmanager
async def tls_edge(pki: Pki) -> AsyncIterator[Edge]:
    """An edge that is reached over TLS."""
    settings = HttpSettings(
        port=0, certificate=str(pki.certificate("server")), private_key=str(pki.private_key("server"))
    )
    trust = ssl.create_default_context(cafile=pki.authority)
    async with (
        application(MemoryOutbox(), DeviceTable(), settings, EdgeSettings()) as app,
        serving(app, settings, grace=5) as port,
        ClientSession(f"https://localhost:{port}", connector=TCPConnector(ssl=trust)) as client,
    ):
        yield Edge(URL(f"https://127.0.0.1:{port}"), client)


def failed(reason: str) -> float:
    """How many TLS handshakes failed so."""
    return REGISTRY.get_sample_value("headrace_edge_handshakes_failed_total", {"reason": reason}) or 0.0


async def a_handshake_that_does_not_end(pki: Pki) -> None:
    """It is closed, and counted."""
    before = failed("silent")
    async with tls_edge(pki) as served, streams(served) as ((reader, _),):
        await until(lambda: is_over(reader))
        await until(lambda: figure("handshakes") == 0)
        assert await is_served(served)
    assert failed("silent") - before == 1


async def handshakes_that_fail(pki: Pki) -> None:
    """Each is counted by why."""
    broken, closed = failed("broken"), failed("closed")
    async with tls_edge(pki) as served, streams(served, 1, DOCUMENT) as ((reader, _),):
        await until(lambda: is_over(reader))
        async with streams(served):
            await until(lambda: figure("handshakes") == 1)
        await until(lambda: figure("handshakes") == 0)
        assert await is_served(served)
    assert (failed("broken") - broken, failed("closed") - closed) == (1, 1)


async def more_handshakes_than_the_bound(pki: Pki) -> None:
    """The oldest end, at once and in a rush, and newcomers are served."""
    displaced = failed("displaced")
    async with tls_edge(pki) as served, streams(served, MANY) as opened:
        await until(lambda: sum(not is_over(reader) for reader, _ in opened) == 50)
        assert not any(is_over(reader) for reader, _ in opened[-50:])
        assert figure("handshakes") == 50
        assert failed("displaced") - displaced == MANY - 50
        assert await is_served(served)
        assert failed("displaced") - displaced == MANY - 49
    assert figure("handshakes") == 0


async def a_handshake_when_the_edge_stops(pki: Pki) -> None:
    """It ends with the edge."""
    before = failed("stopped")
    async with tls_edge(pki) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        await until(lambda: figure("handshakes") == 1)
    assert failed("stopped") - before == 1
    await until(lambda: is_over(reader))
    writer.transport.abort()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_tls_handshake_that_does_not_end_is_not_waited_for(run: Run, tmp_path: Path, monkeypatch):
    """Who connects to the TLS port, and says nothing, is closed."""
    monkeypatch.setattr(handshakes, "SECONDS", 0.05)
    run(a_handshake_that_does_not_end(ensure_pki(tmp_path)))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_tls_handshake_that_fails_is_counted(run: Run, tmp_path: Path):
    """Who speaks no TLS, or hangs up, costs nobody else anything."""
    run(handshakes_that_fail(ensure_pki(tmp_path)))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_tls_handshake_does_not_keep_the_edge_from_stopping(run: Run, tmp_path: Path):
    """Who still shakes hands when the edge stops is closed."""
    run(a_handshake_when_the_edge_stops(ensure_pki(tmp_path)))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls_handshakes_are_bounded(run: Run, tmp_path: Path, monkeypatch):
    """Of many that only begin the latest are waited for; whoever comes then is served."""
    monkeypatch.setattr(handshakes, "MOST", 50)
    run(more_handshakes_than_the_bound(ensure_pki(tmp_path)))
