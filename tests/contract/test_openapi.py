"""The OpenAPI document is one, says what the code does, and is kept to under any request."""

import asyncio
import gzip
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis import checks as known

from producers.http import digital_twins, graph
from producers.http.application import DIALECTS
from producers.http.application import DOCUMENT as DOCUMENT_PATH
from runtime.publisher import Undelivered
from schemas.graph import SENSOR_TYPES
from schemas.raw_message import RawMessage
from tests.support.edge import DEVICE_TOKEN, TOKEN, edge
from tests.support.fakes import MemoryOutbox, told

LARGEST = 2000
ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
UNLUCKY = b"unlucky"
TEXT = files("producers.http").joinpath("openapi.yaml").read_text()
DOCUMENT = yaml.safe_load(TEXT)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    known.not_a_server_error,
    *(
        check
        for check in known.CHECKS.get_all()
        if check.__name__
        in {
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
        }
    ),
]


def test_the_document_is_openapi():
    """The document keeps to OpenAPI 3.1."""
    validate(DOCUMENT)


async def test_the_document_is_served():
    """Anybody may read the document, as it is in the source."""
    async with edge(MemoryOutbox()) as served, served.client.get("/openapi.yaml") as answer:
        assert (answer.status, answer.content_type) == (200, "application/yaml")
        assert await answer.text() == TEXT


def test_every_route_is_described():
    """The document has the paths and the methods that the edge has, and no other."""
    routes = {("post", path) for dialect in DIALECTS for path in dialect.paths} | {("get", DOCUMENT_PATH)}
    described = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == routes


def test_the_schemas_are_the_structs():
    """What the document says of an item is what the code takes it for."""
    (_,), structs = msgspec.json.schema_components([graph.Item], ref_template="#/components/schemas/{name}")
    described = DOCUMENT["components"]["schemas"]
    assert {name: bare(described[name]) for name in structs} == bare(structs)


def bare(schema: Any) -> Any:
    """A schema without what is for people."""
    if isinstance(schema, dict):
        return {name: bare(inner) for name, inner in schema.items() if name not in {"title", "description"}}
    return [bare(inner) for inner in schema] if isinstance(schema, list) else schema


def test_every_sensor_type_is_named():
    """The document names each sensorType, and each value that one needs."""
    description = str(DOCUMENT["components"]["schemas"]["Item"])
    assert not [word for pair in SENSOR_TYPES.items() for word in pair if word not in description]


def test_every_version_is_named():
    """The document names the versions of the Digital Twins API that are spoken."""
    assert (
        set(DOCUMENT["components"]["parameters"]["ApiVersion"]["schema"]["enum"])
        == digital_twins.API_VERSIONS
    )


class Unsteady(MemoryOutbox):
    """Does not take what is marked."""

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `producers.outbox.Outbox.put`."""
        kept = list(messages)
        if any(UNLUCKY in message.body for message in kept):
            return told(Undelivered("the broker did not answer"))
        return super().put(kept)


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    """Where an edge listens, from a thread of its own: schemathesis calls it without a loop."""
    listening, done = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with edge(Unsteady(), max_body_bytes=LARGEST) as served:
            found.extend((str(served.url.origin()), asyncio.get_running_loop()))
            listening.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert listening.wait(10)
    yield found[0]
    found[1].call_soon_threadsafe(done.set)
    thread.join()


@pytest.fixture(name="session", scope="module")
def _session() -> Iterator[requests.Session]:
    """Connections that stay open."""
    with requests.Session() as session:
        yield session


@SCHEMA.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_described(case: schemathesis.Case, url: str, session: requests.Session):
    """Whatever fits or breaks the document gets an answer that the document describes, and never a 500."""
    given = case.path_parameters or {}
    if len(str(given.get("id", ""))) % 2:
        case.path_parameters |= {"id": "myTwinId", "path": "thermostat1"}
    if len(str(given.get("token", ""))) % 2:
        case.path_parameters |= {"token": DEVICE_TOKEN}
    case.call_and_validate(
        base_url=url, session=session, headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS
    )


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("feature", ["telemetry", "attributes"])
@pytest.mark.parametrize(
    ("token", "body", "status"),
    [
        (DEVICE_TOKEN, b'{"a": 1}', 200),
        (DEVICE_TOKEN, b"no JSON", 400),
        ("nobody", b'{"a": 1}', 401),
        (DEVICE_TOKEN, b'{"a": "%b"}' % (b"x" * LARGEST), 413),
        (DEVICE_TOKEN, b'{"a": "%b"}' % UNLUCKY, 503),
    ],
)
def test_answers_of_the_device_api(*, url, session, feature, encoding, token, body, status):
    """What a device hears is described, whatever it hears, and whether or not it compresses."""
    sent = requests.Request(
        "POST",
        f"{url}/api/v1/{token}/{feature}",
        data=ENCODINGS[encoding](body),
        headers={"Content-Encoding": encoding, "Content-Type": "application/json"},
    )
    answer = session.send(sent.prepare())
    assert answer.status_code == status
    SCHEMA[f"/api/v1/{{token}}/{feature}"]["POST"].validate_response(answer)
    described = DOCUMENT["components"]["parameters"]["ContentEncoding"]["schema"]["enum"]
    assert set(described) == set(ENCODINGS)
