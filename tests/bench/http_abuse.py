"""Bad HTTP clients: whatever a broken or hostile one sends, each turn another way."""

import asyncio
import functools
import gzip
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp

from tests.bench.fleet import TENANTS, access_token, bearer, devices
from tests.bench.http_load import INGEST, TWINS
from tests.bench.traffic import HELD, Client, Place

_BOMB_BYTES = 32 << 20
_TOO_LARGE = 2 << 20
_JSON = {"Content-Type": "application/json"}
_TRUSTED = {**_JSON, "Authorization": f"Bearer {bearer(TENANTS[0])}"}
_TWIN = f"{TWINS}/{devices(TENANTS[0])[0]}/telemetry?api-version=2023-10-31"
_THINGSBOARD = f"/api/v1/{access_token(devices(TENANTS[0])[0])}/telemetry"


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES))


class BadHttpClients:
    """Clients that do everything wrong that can be done; they share connections where they use a session at all."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def all(self) -> Sequence[tuple[Client, int]]:
        """Each kind of client, and how many of a hundred clients are of it."""
        return [(self.bad, 5)]

    async def bad(self, place: Place) -> None:
        """One way after the other."""
        ways: Sequence[Callable[[Place], Awaitable[object]]] = [
            self._wrong_token,
            self._unknown_device,
            self._malformed,
            self._deep,
            self._oversized,
            self._gzip_bomb,
            self._new_path,
            self._new_method,
            self._new_headers,
            self._replay,
            self._unfinished,
            self._slow,
            self._not_http,
            self._endless_header,
            self._left,
        ]
        async for number in place.turns():
            way = ways[number % len(ways)]
            name = way.__name__.strip("_").replace("_", " ")
            await place.try_to(f"bad http: {name}", functools.partial(way, place))

    async def _wrong_token(self, _: Place) -> int:
        return await self._ask(INGEST, b"{}", {**_JSON, "Authorization": f"Bearer {secrets.token_hex(16)}"})

    async def _unknown_device(self, _: Place) -> int:
        path = f"{TWINS}/{secrets.token_hex(16)}/telemetry?api-version=2023-10-31"
        return await self._ask(path, b"{}", {**_TRUSTED, "Message-Id": "1"})

    async def _malformed(self, _: Place) -> int:
        return await self._ask(_THINGSBOARD, b'{"a":' + secrets.token_bytes(200), _JSON)

    async def _deep(self, _: Place) -> int:
        return await self._ask(INGEST, b"[" * 100_000, _TRUSTED)

    async def _oversized(self, _: Place) -> int:
        return await self._ask(_THINGSBOARD, b'"' + bytes(_TOO_LARGE), _JSON)

    async def _gzip_bomb(self, _: Place) -> int:
        return await self._ask(INGEST, _bomb(), {**_TRUSTED, "Content-Encoding": "gzip"})

    async def _new_path(self, _: Place) -> int:
        return await self._ask(f"/{secrets.token_hex(8)}/{secrets.token_hex(200)}", b"{}", _JSON)

    async def _new_method(self, _: Place) -> int:
        return await self._ask(INGEST, b"{}", _TRUSTED, method=secrets.token_hex(8).upper())

    async def _new_headers(self, _: Place) -> int:
        invented = {f"X-{secrets.token_hex(8)}": secrets.token_hex(16) for _ in range(50)}
        return await self._ask(
            _TWIN, b'{"a":1}', {**_TRUSTED, **invented, "Message-Id": secrets.token_hex(64)}
        )

    async def _replay(self, _: Place) -> int:
        """The same message with the same id, for hours."""
        return await self._ask(_TWIN, b'{"a":1}', {**_TRUSTED, "Message-Id": "always the same"})

    async def _unfinished(self, place: Place) -> str:
        """A body that ends early, with the connection."""
        return await _say(place, _head(1000) + b'{"a":', hold=0)

    async def _slow(self, place: Place) -> str:
        """A body that comes a byte now and then."""
        _, writer = await _connected(place)
        writer.write(_head(1000))
        _trickle(writer, HELD)
        return "left open"

    async def _not_http(self, place: Place) -> str:
        return await _say(place, secrets.token_bytes(500), hold=0)

    async def _endless_header(self, place: Place) -> str:
        return await _say(place, b"POST / HTTP/1.1\r\nX: " + b"x" * 200_000, hold=0)

    async def _left(self, place: Place) -> str:
        """A connection on which nothing is said, or half a head."""
        return await _say(
            place, random.choice([b"", b"POST /api/v1/", _head(1 << 19) + bytes(1 << 18)]), hold=HELD
        )

    async def _ask(self, path: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST") -> int:
        async with self._session.request(method, path, data=body, headers=headers) as response:
            await response.read()
            return response.status


def _head(length: int) -> bytes:
    return f"POST {_THINGSBOARD} HTTP/1.1\r\nHost: edge\r\nContent-Length: {length}\r\n\r\n".encode()


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", place.target.http)


async def _say(place: Place, data: bytes, *, hold: float) -> str:
    """Send on a connection of its own, and close it after these seconds."""
    _, writer = await _connected(place)
    writer.write(data)
    if hold:
        asyncio.get_running_loop().call_later(hold, writer.close)
        return "left open"
    writer.close()
    return "closed"


def _trickle(writer: asyncio.StreamWriter, left: float) -> None:
    """A byte every five seconds, until the time is over or the edge has closed."""
    if left <= 0 or writer.is_closing():
        writer.close()
        return
    writer.write(b" ")
    asyncio.get_running_loop().call_later(5, _trickle, writer, left - 5)
