"""The body of a request: whole, in time, and inflated."""

import asyncio
import zlib

from aiohttp import hdrs, web

from producers.http.dialect import Request
from producers.http.refusal import Refusal

_GZIP = zlib.MAX_WBITS | 16


async def whole(request: Request, *, patience: float) -> bytes:
    """The whole body, inflated.

    Not by aiohttp (3.14): there a deflated body that ends early keeps its request waiting until the time for the body is
    over, or is answered in plain text.

    Raises:
        Refusal: it did not come in so many seconds, cannot be read to its end, or does not fit its Content-Encoding.
        web.HTTPRequestEntityTooLarge: larger than the application's limit, once inflated.

    """
    try:
        body = await _received(request, patience)
    except TimeoutError as error:
        raise Refusal(408, "The body did not come in time.") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Refusal(400, "The body ended early.") from error
    match request.headers.get(hdrs.CONTENT_ENCODING, "").lower():
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


async def _received(request: Request, patience: float) -> bytes:
    if not request.content.is_eof():
        async with asyncio.timeout(patience):
            return await request.read()
    # As a rule a body comes with its headers. Then a timer for it costs more than all that is done with it here.
    body = request.content.read_nowait()
    if len(body) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=len(body))
    return body


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
