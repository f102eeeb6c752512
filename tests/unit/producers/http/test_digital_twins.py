"""The Digital Twins dialect: scopes of a Message-Id, and headers that hold no text."""

import asyncio
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from producers.http.digital_twins import MAX_BODY_BYTES, scoped
from tests.support.edge import Edge, edge
from tests.support.fakes import MemoryOutbox

PATH = "/digitaltwins/myTwinId/telemetry?api-version=2023-10-31"
HEADERS = {"Authorization": "Bearer dummy-token", "Content-Type": "application/json"}

printable = st.text(min_size=1).filter(str.isprintable)


@given(printable, printable | st.just(""), printable, printable | st.just(""))
def test_no_two_scopes_meet(one: str, component: str, other: str, sibling: str):
    """Message ids are equal exactly if both the Message-Id and the component are."""
    assert (scoped(one, component) == scoped(other, sibling)) == ((one, component) == (other, sibling))


def test_the_twins_own_id_is_the_clients():
    """A message of the twin itself keeps its Message-Id as it is."""
    assert scoped("m-1", "") == "m-1"


async def raw(served: Edge, header: bytes) -> bytes:
    """The status line of an answer to telemetry with a header of any bytes."""
    reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
    lines = [
        f"POST {PATH} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Connection: close",
        *(f"{name}: {value}".encode() for name, value in HEADERS.items()),
        b"Content-Length: 2",
        header,
    ]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n{}")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_message_id_must_be_text():
    """A Message-Id whose bytes are no text is refused, because it could not be stored."""
    outbox = MemoryOutbox()
    async with edge(outbox) as served:
        answer = await raw(served, b"Message-Id: m\xff1")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-ms-error-code: InvalidArgument" in answer
    assert outbox.messages == []


async def test_other_headers_that_are_no_text_are_left_out():
    """A trace that is no text does not cost the client its telemetry."""
    outbox = MemoryOutbox()
    async with edge(outbox) as served:
        answer = await raw(served, b"Message-Id: m-1\r\ntracestate: \xff\r\ntraceparent: 00-1")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert outbox.messages[0].attributes == {"traceparent": "00-1"}


@pytest.mark.parametrize("twin", ["%FF", "%ED%A0%80", "%00", "a%252Fb", "%F0%9F%8C%A1"])
async def test_any_path_gets_an_answer(twin: str):
    """A twin id of any bytes is looked up, and is not found."""
    async with edge(MemoryOutbox()) as served:
        answer = await served.client.post(
            URL(f"/digitaltwins/{twin}/telemetry?api-version=2023-10-31", encoded=True),
            headers=HEADERS | {"Message-Id": "m-1"},
            data=b"{}",
        )
    assert answer.headers["x-ms-error-code"] == "DigitalTwinNotFound"


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 204), (MAX_BODY_BYTES + 1, 413)])
async def test_the_limit_is_32_kib(size: int, status: int):
    """The largest body that the service takes is taken, and not a byte more."""
    body = b'{"text": "%b"}' % (b"x" * (size - 12))
    async with edge(MemoryOutbox()) as served:
        answer = await served.client.post(PATH, headers=HEADERS | {"Message-Id": "m-1"}, data=body)
    assert (len(body), answer.status) == (size, status)


async def test_the_inflated_size_is_what_is_limited():
    """A body within the edge's own limit but beyond the service's is refused, however small it travelled."""
    headers = HEADERS | {"Message-Id": "m-1", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"text": "%b"}' % (b"x" * MAX_BODY_BYTES))
    async with edge(MemoryOutbox()) as served:
        answer = await served.client.post(PATH, headers=headers, data=body)
    assert answer.headers["x-ms-error-code"] == "RequestBodyTooLarge"
