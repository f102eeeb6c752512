"""NoContent: the answer of most requests, in one write."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter


class NoContent(web.StreamResponse):
    """204 that says its length: aiohttp takes that out, as RFC 9110 asks; both services send it, and a client may wait for it.

    Args:
        request: what is answered.
        headers: what the dialect adds.

    """

    def __init__(self, request: web.BaseRequest, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status=204, headers=headers)
        self._request = request

    @property
    def keep_alive(self) -> bool:
        """As the client wishes."""
        return self._request.keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Have the headers ready; nothing is sent before the end."""
        headers = self.headers
        headers[hdrs.CONTENT_LENGTH] = "0"
        headers[hdrs.DATE] = _date(int(time.time()))
        if not self.keep_alive:
            headers[hdrs.CONNECTION] = "close"
        elif request.version < HttpVersion11:
            headers[hdrs.CONNECTION] = "keep-alive"
        await request.writer.write_headers("HTTP/1.1 204 No Content", headers)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Send."""
        await self._request.writer.write_eof(data)


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
