"""The HTTP edge around its dialects: failures of Kafka, of the client and of our own, each answered and counted once."""

import asyncio
import gc
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from yarl import URL

from producers.http.application import DIALECTS
from producers.http.refusal import Refusal
from producers.limits import TenantLimits
from producers.metrics import Outcome
from producers.settings import ROLES, HttpSettings
from runtime.publisher import Broken, Overloaded, PublishError, TooLarge, Undelivered
from schemas.raw_message import RawMessage
from schemas.topics import RAW_TOPICS
from tests.support.edge import DEVICE_TOKEN, Edge, edge
from tests.support.fakes import MemoryOutbox
from tests.support.issuer import AUDIENCES, ISSUER, KeyServer, key_file, token
from tests.support.processes import until

AUTHORISED = {"Authorization": "Bearer dummy-token", "Content-Type": "application/json"}
ITEM = {"deviceId": "d", "sensorType": "heartbeat", "boolValue": True, "timestamp": "2021-03-31T09:36:05Z"}
GRAPH = json.dumps({"telemetry": [ITEM, ITEM | {"deviceId": "e"}]}).encode()


async def send(
    served: Edge, dialect: str, body: bytes | AsyncIterator[bytes] | None = None, **headers: str
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

    def put(self, messages: object) -> asyncio.Future[None]:
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


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b""),
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(GRAPH)[:-30]),
        ("gzip", gzip.compress(GRAPH) + b"more"),
        ("deflate", b""),
        ("deflate", b"{}"),
        ("deflate", zlib.compress(GRAPH)[:-30]),
    ],
)
async def test_broken_compression_is_the_clients_error(
    encoding: str, body: bytes, caplog: pytest.LogCaptureFixture
):
    """A body that does not inflate, or not to its end, is refused with 400 at once, however it came, and not logged."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with edge(MemoryOutbox()) as served, asyncio.timeout(5):
        for sent in (body, pieces()):
            answer = await send(served, "graph", sent, Content_Encoding=encoding)
            assert (answer.status, answer.content_type) == (400, "application/json")
    assert caplog.text == ""


async def test_an_unknown_compression_is_named():
    """A body that is packed in another way is refused in the dialect's words."""
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, "graph", GRAPH, Content_Encoding="br")
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (415, "UnsupportedMediaType")
    assert "gzip" in error["message"]


@pytest.mark.parametrize("window", [zlib.MAX_WBITS, -zlib.MAX_WBITS])
async def test_deflate_is_taken_too(window: int):
    """The other compression that HTTP always had is inflated as well, with its header or without."""
    packing = zlib.compressobj(wbits=window)
    packed = packing.compress(GRAPH) + packing.flush()
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, "graph", packed, Content_Encoding="deflate")
    assert answer.status == 204


@pytest.mark.parametrize(("size", "status"), [(1, 204), (2 << 20, 413)])
async def test_a_body_of_untold_length_is_taken(size: int, status: int):
    """A body that comes in chunks is taken, and limited, like one that says its length."""

    async def pieces() -> AsyncIterator[bytes]:
        yield GRAPH[:40]
        yield GRAPH[40:]
        yield b" " * size

    outbox = MemoryOutbox()
    async with edge(outbox) as served:
        answer = await served.client.post(
            "/beta/workplace/sensorDevices/ingestTelemetry", data=pieces(), headers=AUTHORISED
        )
    assert answer.status == status
    assert len(outbox.messages) == (2 if status == 204 else 0)


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_a_body_that_comes_with_its_headers_is_limited_too(dialect: str):
    """The limit holds where nothing is waited for."""
    before = counted()
    async with edge(MemoryOutbox(), max_body_bytes=17) as served:
        answer = await send(served, dialect, b" " * 18)
    assert answer.status == 413
    assert difference(before, counted()) == {(dialect, "too_large"): 1}


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
    monkeypatch.setattr("producers.http.application.count", lambda *fate: fates.put_nowait(fate))
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


class Waiting(MemoryOutbox):
    """Knows what became of messages when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.put_once, self.known = asyncio.Event(), asyncio.Event()

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `producers.outbox.Outbox.put`."""
        self.put_once.set()
        return asyncio.ensure_future(self._told(super().put(messages)))

    async def _told(self, outcome: asyncio.Future[None]) -> None:
        await self.known.wait()
        await outcome


async def test_large_bodies_have_so_much_room_and_no_more():
    """Who comes with a large body when there is no room hears 503, and may come again; small ones always have room."""
    large, outbox = GRAPH.ljust(70 << 10), Waiting()
    async with edge(outbox, max_bodies_bytes=100 << 10, max_body_bytes=80 << 10) as served:
        first = asyncio.create_task(send(served, "graph", large))
        await asyncio.wait_for(outbox.put_once.wait(), 5)
        refused = await send(served, "graph", large)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        outbox.known.set()
        assert [(await first).status, (await send(served, "graph")).status] == [204, 204]
        assert (await send(served, "graph", large)).status == 204
        assert REGISTRY.get_sample_value("headrace_edge_large_body_bytes") == 0


async def test_a_body_needs_as_much_room_as_it_turns_out_to_have():
    """A small body needs none, also where its length is told by nobody, or it is compressed."""

    async def pieces(size: int) -> AsyncIterator[bytes]:
        yield GRAPH
        yield b" " * (size - len(GRAPH))

    async def statuses(served: Any, size: int) -> list[int]:
        packed = send(served, "graph", gzip.compress(GRAPH.ljust(size)), Content_Encoding="gzip")
        return [answer.status for answer in await asyncio.gather(packed, send(served, "graph", pieces(size)))]

    outbox = Waiting()
    async with edge(outbox, max_bodies_bytes=100 << 10, max_body_bytes=80 << 10) as served:
        first = asyncio.create_task(send(served, "graph", GRAPH.ljust(70 << 10)))
        await asyncio.wait_for(outbox.put_once.wait(), 5)
        small = asyncio.create_task(statuses(served, len(GRAPH)))
        assert await statuses(served, 70 << 10) == [503, 503]
        outbox.known.set()
        assert [(await first).status, *await small] == [204, 204, 204]


def test_one_body_of_the_largest_always_has_room():
    """An edge that could never take what it says it takes does not start."""
    with pytest.raises(ValidationError, match="room for less than one body"):
        HttpSettings(max_body_bytes=200 << 20)


def _refusals() -> int:
    return sum(isinstance(kept, Refusal) for kept in gc.get_objects())


async def test_a_refused_body_is_not_kept():
    """What is refused is in no reference cycle, which would hold it until somebody looks for cycles."""
    gc.collect()
    gc.disable()
    before = _refusals()
    try:
        async with edge(MemoryOutbox()) as served:
            assert (await send(served, "graph", b"no JSON")).status == 400
        assert _refusals() == before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("version", "connection", "said"),
    [
        ("1.1", "keep-alive", None),
        ("1.1", "close", "close"),
        ("1.0", "keep-alive", "keep-alive"),
        ("1.0", "close", "close"),
    ],
)
async def test_a_success_says_that_it_is_empty(version: str, connection: str, said: str | None):
    """204 has a length and a date, and the connection goes on as the client wishes."""
    async with edge(MemoryOutbox()) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        lines = [
            f"POST /beta/workplace/sensorDevices/ingestTelemetry HTTP/{version}",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in AUTHORISED.items()),
            f"Connection: {connection}",
            f"Content-Length: {len(GRAPH)}",
        ]
        for _ in range(1 if connection == "close" else 2):
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + GRAPH)
            line, *answer = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(header.split(": ") for header in answer if header)
            assert line == "HTTP/1.1 204 No Content"
            assert (headers["Content-Length"], headers.get("Connection")) == ("0", said)
            assert parsedate_to_datetime(headers["Date"])
        if connection == "close":
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/beta/workplace/sensorDevices/ingestTelemetry", 405, "POST"),
        ("OPTIONS", "/digitaltwins/myTwinId/telemetry", 405, "POST"),
        ("PUT", f"/api/v1/{DEVICE_TOKEN}/attributes", 405, "POST"),
        ("POST", "/openapi.yaml", 405, "GET,HEAD"),
        ("HEAD", "/openapi.yaml", 200, None),
        ("POST", f"/api/v1/{DEVICE_TOKEN}/telemetry/", 404, None),
        ("POST", "/digitaltwins/a{b}/telemetry", 404, None),
        ("POST", "/digital%74wins/myTwinId/telemetry", 401, None),
    ],
)
async def test_paths_and_methods(method: str, path: str, status: int, allow: str | None):
    """What is called otherwise than it should is told so, and which method it has."""
    async with edge(MemoryOutbox()) as served:
        answer = await served.client.request(method, URL(path, encoded=True))
    assert (answer.status, answer.headers.get("Allow")) == (status, allow)


async def test_an_expectation_that_nobody_meets_is_told_in_the_dialects_words():
    """What a client expects beyond being asked for its body is refused."""
    before = counted()
    async with edge(MemoryOutbox()) as served:
        answer = await send(served, "digital_twins", Expect="200-ok")
        assert (answer.status, (await answer.json())["error"]["code"]) == (417, "InvalidArgument")
    assert difference(before, counted()) == {("digital_twins", "malformed"): 1}


LIMITED = {"contoso": TenantLimits(device="2:60"), "*": TenantLimits(tenant="1:60")}


@pytest.mark.parametrize(
    ("dialect", "code"), [("graph", "TooManyRequests"), ("digital_twins", "TooManyRequests")]
)
async def test_a_device_over_its_limit_is_told_when_to_come_back(dialect: str, code: str):
    """A message beyond the device's rate is refused in the dialect's words, and is not published."""
    outbox, before = MemoryOutbox(), counted()
    async with edge(outbox, limits=LIMITED) as served:
        answers = [await send(served, dialect, Message_Id=f"m-{number}") for number in range(3)]
        body = await answers[-1].json()
    assert [answer.status for answer in answers] == [204, 204, 429]
    assert answers[-1].headers["Retry-After"] == "30"
    assert body["error"]["code"] == code
    sent = 4 if dialect == "graph" else 2
    assert len(outbox.messages) == sent
    assert difference(before, counted()) == {(dialect, "accepted"): sent, (dialect, "limited"): 1}


async def test_a_refused_batch_costs_its_other_devices_nothing():
    """Where one device of a request is over its rate, nothing of the request is published or counted."""
    outbox = MemoryOutbox()
    alone = json.dumps({"telemetry": [ITEM]}).encode()
    async with edge(outbox, limits={"*": TenantLimits(device="1:60")}) as served:
        statuses = [
            (await send(served, "graph", body)).status
            for body in (alone, GRAPH, GRAPH.replace(b'"d"', b'"f"'))
        ]
    assert statuses == [204, 429, 204]
    assert [message.device for message in outbox.messages] == ["d", "f", "e"]


@pytest.mark.parametrize(
    "path", [f"/api/v1/{DEVICE_TOKEN}/telemetry", "/digitaltwins/myTwinId/telemetry?api-version=2023-10-31"]
)
async def test_a_device_over_its_limit_costs_no_body(path: str):
    """Where the device is known before the body, 429 comes before it; and a body that is no telemetry counts as well."""
    headers = AUTHORISED | {"Message-Id": "m-1"}
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with edge(MemoryOutbox(), limits={"*": TenantLimits(device="1:3600")}) as served:
        async with served.client.post(path, data=b"no JSON", headers=headers) as answer:
            assert answer.status == 400
        async with served.client.post(path, data=stalled(), headers=headers) as answer:
            assert answer.status == 429


async def test_a_tenant_without_limits_of_its_own_has_everybodys():
    """The limits of `*` hold for a tenant that is not named, over all of its devices."""
    async with edge(MemoryOutbox(), limits=LIMITED) as served:
        fabrikam = {"Authorization": "Bearer fabrikam-token"}
        first = await send(served, "graph", **fabrikam)
        second = await send(served, "graph", **fabrikam)
    assert (first.status, second.status) == (204, 429)
    assert second.headers["Retry-After"] == "120"


@pytest.mark.parametrize("dialect", ["graph", "digital_twins"])
async def test_tokens_of_an_issuer_are_taken(dialect: str, tmp_path: Path):
    """A signed token speaks for the tenant that it names; without the dialect's role it gets 403 in its words."""
    outbox, before = MemoryOutbox(), counted()
    issuer = {"jwks": key_file(tmp_path, "ec-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(outbox, **issuer) as served:
        good = await send(served, dialect, Authorization=f"Bearer {token()}")
        poor = await send(served, dialect, Authorization=f"Bearer {token(roles=['Other'])}")
        late = await send(served, dialect, Authorization=f"Bearer {token(exp=1)}")
        body = await poor.json()
    assert (good.status, poor.status, late.status) == (204, 403, 401)
    assert {message.tenant for message in outbox.messages} == {"contoso"}
    assert body["error"]["code"] == {"graph": "accessDenied", "digital_twins": "Forbidden"}[dialect]
    assert difference(before, counted())[dialect, "unauthorised"] == 2


async def test_what_is_remembered_is_shown(tmp_path: Path):
    """Verified tokens and rate limits are counted when somebody asks."""
    issuer = {"jwks": key_file(tmp_path, "ec-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    async with edge(MemoryOutbox(), limits={"*": TenantLimits(device="9:1")}, **issuer) as served:
        await send(served, "graph", Authorization=f"Bearer {token()}")
        shown = [
            REGISTRY.get_sample_value(f"headrace_edge_{name}")
            for name in ("remembered_tokens", "rate_buckets")
        ]

    assert shown == [1, 2]


async def test_a_hanging_key_set_delays_no_request():
    """While a periodic look at the key set hangs, requests with tokens nobody has seen yet are judged by the keys at hand."""
    outbox, issuer = MemoryOutbox(), KeyServer("ec-1")
    async with issuer.listening() as url:
        settings = {"jwks": url, "jwks_refresh": 0.01, "issuer": ISSUER, "audiences": AUDIENCES}
        async with edge(outbox, **settings) as served:
            issuer.answering.clear()
            asked = issuer.asked
            await until(lambda: issuer.asked > asked)
            for number in range(20):
                good = await send(served, "graph", Authorization=f"Bearer {token(jti=str(number))}")
                forged = await send(served, "graph", Authorization=f"Bearer {token(signer='ec-2')}")
                assert (good.status, forged.status) == (204, 401)
            assert issuer.asked == asked + 1
            assert not issuer.answering.is_set()


async def test_no_token_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Whatever is wrong with a token, neither the log nor the answer repeats any part of it."""
    issuer = {"jwks": key_file(tmp_path, "ec-1"), "issuer": ISSUER, "audiences": AUDIENCES}
    texts = [
        "s3cret-token",
        token(exp=1),
        token(signer="ec-2"),
        token("ec-9"),
        token(tid="a/b"),
        token(roles=[]),
    ]
    async with edge(Faulty(), **issuer) as served:
        said = [
            await (await send(served, dialect, Authorization=f"Bearer {text}")).text()
            for dialect in ("graph", "digital_twins")
            for text in [*texts, token()]
        ]
    said.append(capsys.readouterr().out)
    parts = {part for text in [*texts, token()] for part in text.split(".")}
    assert not [part for part in parts if any(part in line for line in said)]


def test_an_issuer_is_named_completely():
    """A key set without the issuer and the audiences that tokens must name would trust too many."""
    with pytest.raises(ValidationError, match="needs HEADRACE_HTTP__ISSUER"):
        HttpSettings(jwks="keys.json", issuer=ISSUER)


def test_every_dialect_of_bearers_asks_for_a_role():
    """No dialect lets tokens in whose roles nobody has thought of."""
    assert {dialect.name for dialect in DIALECTS} - {"thingsboard"} == set(ROLES)
    assert all(ROLES.values())


def test_roles_that_are_not_named_are_the_vendors():
    """Naming the roles of one dialect leaves those of the other in force; a dialect that there is not is refused."""
    roles = HttpSettings(roles={"graph": ["Mine"]}).roles
    assert (list(roles["graph"]), list(roles["digital_twins"])) == (["Mine"], list(ROLES["digital_twins"]))
    with pytest.raises(ValidationError, match="no dialect asks for roles under grahp"):
        HttpSettings(roles={"grahp": ["Mine"]})


@pytest.mark.parametrize(
    "line",
    [
        b"POST /api/v1/\xffs3cret/telemetry HTTP/1.1",
        b"POST /beta?s3cret HTTP/9.9",
        b"s3cret",
        b"POST /s3cret HTTP/1.1\r\nAuthorization: Bearer s3cret" + b"3" * 9000,
    ],
)
async def test_what_is_no_http_is_counted_and_not_logged(
    line: bytes, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    """A request that nobody can read gets a 400, counts once, and leaves none of its secrets in the log."""
    before = counted()
    async with edge(MemoryOutbox()) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        writer.write(line + b"\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b" 400 Bad Request" in answer.partition(b"\r\n")[0]
    assert difference(before, counted()) == {("none", "malformed"): 1}
    assert "s3cret" not in capsys.readouterr().out + caplog.text
