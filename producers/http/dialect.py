"""Dialect: one vendor's HTTP protocol, and the refusals, bodies and headers that all of them share."""

import zlib
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from producers.http.bearer import Tenants
from producers.http.refusal import Refusal
from runtime.registry import Devices
from schemas.raw_message import RawMessage

_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a dialect asks before it lets a message in."""

    tenants: Tenants
    devices: Devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who a request speaks for, as far as that can be said before its body is read."""

    tenant: str
    device: str
    """Empty where the body says which devices it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A line of the table `producers.http.server.DIALECTS`.

    Args:
        name: as in `schemas.topics.RAW_TOPICS`.
        prefixes: every path below these is answered in this dialect, errors of the framework included.
        paths: what devices POST to.
        admit: who speaks, or a `Refusal`. Reads no body.
        read: the body of who may speak as messages, one if the device was known before; or a `Refusal`. Publishes nothing:
            the server does, and answers afterwards.
        success: the answer once every message is on the log.
        refuse: the answer that says why not.

    """

    name: str
    prefixes: Sequence[str]
    paths: Sequence[str]
    admit: Callable[[web.Request, Door], Awaitable[Speaker]]
    read: Callable[[web.Request, Speaker], Awaitable[Sequence[RawMessage]]]
    success: Callable[[web.Request], web.Response]
    refuse: Callable[[web.Request, Refusal], web.Response]


async def json_body(request: web.Request) -> bytes:
    """The whole body, inflated, of a request that says it is JSON.

    Raises:
        Refusal: another media type, or a body that cannot be read to its end.
        web.HTTPRequestEntityTooLarge: larger than the application's limit, once inflated.

    """
    if request.content_type != "application/json":
        raise Refusal(415, "Content-Type must be application/json.")
    # A byte order mark is no JSON, but some tools write one, and a parser may pass over it (RFC 8259, section 8.1).
    return (await whole_body(request)).removeprefix(BOM_UTF8)


async def whole_body(request: web.Request) -> bytes:
    """The whole body, inflated.

    Not by aiohttp (3.14): there a deflated body that ends early keeps its request waiting until the time for the body is
    over, or is answered in plain text.

    Raises:
        Refusal: it cannot be read to its end, or does not fit its Content-Encoding.
        web.HTTPRequestEntityTooLarge: larger than the application's limit, once inflated.

    """
    try:
        body = await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Refusal(400, "The body ended early.") from error
    match request.headers.get("Content-Encoding", "").lower():
        case "" | "identity":
            return body
        case "gzip":
            return _inflated(body, _GZIP, request.client_max_size)
        case "deflate":
            # Some leave the header out, as Microsoft's clients once did.
            bare = body[:1] != b"" and body[0] & 0x0F != zlib.DEFLATED
            return _inflated(body, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS, request.client_max_size)
        case _:
            raise Refusal(415, "Content-Encoding must be gzip, deflate or identity.")


def _inflated(body: bytes, window: int, most: int) -> bytes:
    inflating = zlib.decompressobj(window)
    try:
        plain = inflating.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, "The body does not fit its Content-Encoding.") from error
    if len(plain) > most:
        raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(plain))
    if not inflating.eof or inflating.unused_data:
        raise Refusal(400, "The body does not end where its Content-Encoding says.")
    return plain


def printable(headers: Mapping[str, str], name: str) -> str:
    """A header that may be stored and echoed: "" where it is missing, or holds bytes that are no text."""
    value = headers.get(name, "")
    return value if value.isprintable() else ""
