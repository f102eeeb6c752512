"""The body of a request: whole, in time, and inflated."""

import asyncio
import zlib
from typing import TypeVar

from aiohttp import hdrs, web

from producers.http.dialect import Request
from producers.http.refusal import Refusal

B = TypeVar("B", bytes, bytearray)

_GZIP = zlib.MAX_WBITS | 16


SMALL = 64 << 10
"""Bytes of a body that any connection may have at any time."""


class Room:
    """Room for the larger bodies, as they come and until their request is answered.

    Without it as many of them as there are connections would be held at once. Who finds none left hears 503, and small requests
    are never in its way. A device that is slow keeps its room for as long as a body may take.

    Args:
        most: bytes of all larger bodies together.
        retry_after: seconds after which a client should come back.

    """

    def __init__(self, most: int, *, retry_after: int) -> None:
        self.most = most
        self.retry_after = retry_after
        self.taken = 0
        """Bytes, as of now."""


class Share:
    """What one request takes of the room."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def grow(self, size: int) -> None:
        """Have so much, if that is more than before and not small.

        Raises:
            Refusal: there is none left.

        """
        more = size - self._size
        if size <= SMALL or more <= 0:
            return
        room = self._room
        if room.taken + more > room.most:
            text = "Too many large requests at once; try again later."
            raise Refusal(503, text, headers={"Retry-After": str(room.retry_after)})
        room.taken += more
        self._size = size

    def free(self) -> None:
        """Give it back."""
        self._room.taken -= self._size


async def whole(request: Request, share: Share, *, patience: float) -> bytes:
    """The whole body, inflated.

    Not by aiohttp (3.14): there a deflated body that ends early keeps its request waiting until the time for the body is
    over, or is answered in plain text.

    Raises:
        Refusal: it did not come in so many seconds, there is no room for it, it cannot be read to its end, or does not fit its Content-Encoding.
        web.HTTPRequestEntityTooLarge: larger than the application's limit, once inflated.

    """
    try:
        body = await _received(request, share, patience)
    except TimeoutError as error:
        raise Refusal(408, "The body did not come in time.") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Refusal(400, "The body ended early.") from error
    match request.headers.get(hdrs.CONTENT_ENCODING, "").lower():
        case "" | "identity":
            return body
        case "gzip":
            plain = _inflated(body, _GZIP, request.client_max_size)
        case "deflate":
            # Some leave the header out, as Microsoft's clients once did.
            bare = body[:1] != b"" and body[0] & 0x0F != zlib.DEFLATED
            plain = _inflated(body, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS, request.client_max_size)
        case _:
            raise Refusal(415, "Content-Encoding must be gzip, deflate or identity.")
    share.grow(len(plain))
    return plain


async def _received(request: Request, share: Share, patience: float) -> bytes:
    content = request.content
    if content.is_eof():
        # As a rule a body comes with its headers. Then a timer for it costs more than all that is done with it here.
        return _bounded(content.read_nowait(), request, share)
    body = bytearray()
    async with asyncio.timeout(patience):
        while part := await content.readany():
            body += part
            _bounded(body, request, share)
    return bytes(body)


def _bounded(body: B, request: Request, share: Share) -> B:
    if len(body) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=len(body))
    share.grow(len(body))
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
