"""Bad CoAP clients: whatever a broken or hostile one sends, each turn another way, mostly from ever-new ports."""

import asyncio
import functools
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.stack.pki import Pki
from tests.bench.coap_load import path_of, reading
from tests.bench.fleet import TENANTS, devices
from tests.bench.traffic import Client, Place
from tests.support.coap import NON, peer, request
from tests.support.dtls import Device

_KNOWN = path_of(devices(TENANTS[0])[0])
_FLOOD = 10
"""Datagrams of a turn whose way is to send many."""


def clients() -> Sequence[tuple[Client, int]]:
    """Each kind of client, and how many of a hundred clients are of it."""
    return [(bad, 5)]


async def bad(place: Place) -> None:
    """One way after the other."""
    ways: Sequence[Callable[[Place], Awaitable[object]]] = [
        _wrong_token,
        _unknown_path,
        _malformed,
        _announced_too_large,
        _unfinished_body,
        _gap,
        _new_tokens,
        _new_options,
        _mutated,
        _replay,
        _truncated,
        _hellos,
        _abandoned_handshake,
        _stranger,
        _wrong_key,
        _garbage_records,
        _left_session,
    ]
    async for number in place.turns():
        way = ways[number % len(ways)]
        name = way.__name__.strip("_").replace("_", " ")
        await place.try_to(f"bad coap: {name}", functools.partial(way, place))


async def _wrong_token(place: Place) -> str:
    return await _ask(place, _datagram(path=("api", "v1", secrets.token_hex(10), "telemetry")))


async def _unknown_path(place: Place) -> str:
    return await _ask(place, _datagram(path=(secrets.token_hex(20), secrets.token_hex(100))))


async def _malformed(place: Place) -> str:
    return await _ask(place, _datagram(b'{"a":' + secrets.token_bytes(100)))


async def _announced_too_large(place: Place) -> str:
    return await _ask(place, _datagram(bytes(1024), block1=(0, True, 6), size1=1 << 24))


async def _unfinished_body(place: Place) -> str:
    """Some blocks of a body that never ends; the next turn has another port."""
    async with peer(place.target.coap) as socket:
        for number in range(4):
            found = await socket.ask(_datagram(bytes(1024), block1=(number, True, 6)))
        return found.code.dotted


async def _gap(place: Place) -> str:
    return await _ask(place, _datagram(bytes(1024), block1=(7, True, 6)))


async def _new_tokens(place: Place) -> str:
    """Message after message that nobody waits for an answer to."""
    return await _send(
        place, *(_datagram(reading(), mtype=NON, token=secrets.token_bytes(8)) for _ in range(_FLOOD))
    )


async def _new_options(place: Place) -> str:
    """Options and formats that nobody has heard of."""
    datagram = bytearray(_datagram(reading(), content_format=random.randrange(2000, 60_000)))
    marker = datagram.index(b"\xff{")
    delta = random.randrange(
        1001, 60_001, 2
    )  # odd: after Content-Format, 12, it makes the number even, elective
    datagram[marker:marker] = b"\xe1" + delta.to_bytes(2, "big") + b"x"
    return await _ask(place, bytes(datagram))


async def _mutated(place: Place) -> str:
    """A message some of whose bytes are others."""
    datagrams = [bytearray(_datagram(reading())) for _ in range(_FLOOD)]
    for datagram in datagrams:
        for _ in range(3):
            datagram[random.randrange(len(datagram))] = random.randrange(256)
    return await _send(place, *map(bytes, datagrams))


async def _replay(place: Place) -> str:
    return await _ask(place, *[_datagram(reading())] * _FLOOD)


async def _truncated(place: Place) -> str:
    datagram = _datagram(reading())
    return await _send(place, *(datagram[: random.randrange(len(datagram))] for _ in range(_FLOOD)))


async def _hellos(place: Place) -> str:
    """First hellos, each of another stranger, whose cookies nobody brings back."""
    async with peer(place.target.coaps) as socket:
        hello = bytearray(Device(socket).begin())
        for _ in range(_FLOOD):
            hello[27:59] = secrets.token_bytes(32)
            socket.send(bytes(hello))
        return "sent"


async def _abandoned_handshake(place: Place) -> str:
    """The cookie is brought back, and then nothing."""
    async with peer(place.target.coaps) as socket:
        for datagram in await Device(socket, Pki(Path(place.target.pki))).cookie():
            socket.send(datagram)
        return "sent"


async def _stranger(place: Place) -> str:
    """A session with a certificate that nobody registered."""
    async with _session(place) as this:
        return (await this.ask(_datagram(reading(), path=("api", "v1", "telemetry")))).code.dotted


async def _wrong_key(place: Place) -> str:
    async with peer(place.target.coaps) as socket:
        this = Device(socket, key=(secrets.token_hex(8), secrets.token_bytes(16)))
        async with asyncio.timeout(1):  # the edge drops what it cannot read, and says nothing
            await this.shake_hands()
        return "established"


async def _garbage_records(place: Place) -> str:
    """A session, and in it what is neither a record nor a message."""
    async with _session(place) as this:
        (record,) = this.records(secrets.token_bytes(100))
        for _ in range(_FLOOD):
            this.socket.send(record[:13] + secrets.token_bytes(len(record) - 13))
        this.socket.send(record)
        return "sent"


async def _left_session(place: Place) -> str:
    """A session that is established, and never heard of again."""
    async with peer(place.target.coaps) as socket:
        await Device(socket, Pki(Path(place.target.strange_pki))).shake_hands()
        return "established"


@asynccontextmanager
async def _session(place: Place) -> AsyncIterator[Device]:
    """A session of a stranger, who says goodbye."""
    async with peer(place.target.coaps) as socket:
        this = Device(socket, Pki(Path(place.target.strange_pki)))
        await this.shake_hands()
        try:
            yield this
        finally:
            this.say_goodbye()


def _datagram(
    body: bytes = b"{}", *, path: Sequence[str] = _KNOWN, token: bytes = b"", **more: object
) -> bytes:
    """A request with a message id that is another each time."""
    return request(body, path=path, mid=random.getrandbits(16), token=token, **more)


async def _ask(place: Place, *datagrams: bytes) -> str:
    """Send from a new port, and return the code of the first answer."""
    async with peer(place.target.coap) as socket:
        for datagram in datagrams:
            socket.send(datagram)
        return (await socket.next()).code.dotted


async def _send(place: Place, *datagrams: bytes) -> str:
    """Send from a new port, and hear nothing of it."""
    async with peer(place.target.coap) as socket:
        for datagram in datagrams:
            socket.send(datagram)
        return "sent"
