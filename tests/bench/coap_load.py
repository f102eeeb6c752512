"""Good CoAP clients: confirmable and not, large bodies in blocks, and DTLS sessions that come and go."""

import functools
import itertools
import random
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from aiocoap import Code, Message

from headrace.stack.pki import Pki
from tests.bench.fleet import SECURED, TENANTS, access_token, devices, pre_shared_key
from tests.bench.traffic import Client, Place
from tests.support.coap import CON, NON, Peer, acknowledge, answer, peer, request
from tests.support.dtls import Device

TURNS_A_SESSION = 30
BLOCK, EXPONENT = 256, 4
BLOCKS = 6

_NEW_SOCKET = 100
"""Turns after which a device has another port, as behind a router that forgets."""


def path_of(device: str, feature: str = "telemetry") -> tuple[str, ...]:
    """Where a device posts with its token."""
    return ("api", "v1", access_token(device), feature)


def reading() -> bytes:
    """A body that is another each time."""
    return b'{"temperature":%.6f,"ok":true}' % random.uniform(-40, 60)


async def ask(socket: Peer, datagram: bytes, token: bytes) -> Message:
    """Send, and skip what is no answer to that; acknowledge what wants to be."""
    socket.send(datagram)
    while (found := await socket.next()).token != token or found.code is Code.EMPTY:
        if found.mtype is CON:
            socket.send(acknowledge(found))
    if found.mtype is CON:
        socket.send(acknowledge(found))
    return found


class Conversation:
    """Message ids and tokens of one device, in order, from anywhere."""

    def __init__(self) -> None:
        self._ids = itertools.count(random.getrandbits(16))

    def next(self) -> tuple[int, bytes]:
        """The next message id, and a token."""
        return next(self._ids) & 0xFFFF, secrets.token_bytes(4)


def clients() -> Sequence[tuple[Client, int]]:
    """Each kind of client, and how many of a hundred clients are of it."""
    return [
        (confirmable, 15),
        (non_confirmable, 10),
        (attributes, 4),
        (block_wise, 4),
        (certified, 4),
        (pre_shared, 4),
        (token_over_dtls, 4),
    ]


async def confirmable(place: Place) -> None:
    """Telemetry in CONs."""
    await _plain(place, "coap con", reading, mtype=CON)


async def non_confirmable(place: Place) -> None:
    """Telemetry in NONs."""
    await _plain(place, "coap non", reading, mtype=NON)


async def attributes(place: Place) -> None:
    """Client attributes."""
    await _plain(place, "coap attributes", reading, mtype=CON, feature="attributes")


async def _plain(
    place: Place, kind: str, body: Callable[[], bytes], *, mtype: object, feature: str = "telemetry"
) -> None:
    names = devices(TENANTS[place.number % len(TENANTS)])
    path = path_of(names[place.number * 3 % len(names)], feature)
    conversation = Conversation()
    turns = place.turns()
    while True:
        async with peer(place.target.coap) as socket:
            async for number in turns:

                async def turn(socket: Peer = socket) -> str:
                    mid, token = conversation.next()
                    datagram = request(body(), path=path, mid=mid, token=token, mtype=mtype)
                    return (await ask(socket, datagram, token)).code.dotted

                await place.try_to(kind, turn)
                if number % _NEW_SOCKET == _NEW_SOCKET - 1:
                    break


async def block_wise(place: Place) -> None:
    """A body of several blocks a turn."""
    names = devices(TENANTS[place.number % len(TENANTS)])
    path = path_of(names[-1 - place.number])
    conversation = Conversation()
    async with peer(place.target.coap) as socket:
        async for _ in place.turns():

            async def turn() -> str:
                body = b'{"log":"' + secrets.token_hex(BLOCK * BLOCKS // 2 - 10).encode() + b'"}'
                parts = [body[start : start + BLOCK] for start in range(0, len(body), BLOCK)]
                for number, part in enumerate(parts):
                    mid, token = conversation.next()
                    block = (number, part is not parts[-1], EXPONENT)
                    found = await ask(
                        socket, request(part, path=path, mid=mid, token=token, block1=block), token
                    )
                return found.code.dotted

            await place.try_to("coap block-wise", turn)


async def certified(place: Place) -> None:
    """The device whose certificate is registered."""
    pki = Pki(Path(place.target.pki))
    await _sessions(
        place, "coaps certificate", lambda socket: Device(socket, pki), ("api", "v1", "telemetry")
    )


async def pre_shared(place: Place) -> None:
    """A device with a key."""
    name = devices(SECURED)[1 + place.number]
    key = (name, pre_shared_key(name))
    await _sessions(place, "coaps psk", lambda socket: Device(socket, key=key), ("api", "v1", "telemetry"))


async def token_over_dtls(place: Place) -> None:
    """A device that has nothing but its token, over DTLS."""
    path = path_of(devices(TENANTS[1])[place.number])
    await _sessions(place, "coaps token", Device, path)


async def _shake_hands(device: Device) -> str:
    await device.shake_hands()
    return "established"


async def _sessions(place: Place, kind: str, device: Callable[[Peer], Device], path: Sequence[str]) -> None:
    """Sessions of some turns each; every other one ends without a goodbye, the next from the same port."""
    turns = place.turns()
    conversation = Conversation()
    while True:
        async with peer(place.target.coaps) as socket:
            for polite in (False, True):
                while not socket.mail.empty():
                    socket.mail.get_nowait()
                this = device(socket)
                await place.try_to(f"{kind}, handshake", functools.partial(_shake_hands, this))
                async for number in turns:

                    async def turn(this: Device = this) -> str:
                        mid, token = conversation.next()
                        datagram = request(reading(), path=path, mid=mid, token=token)
                        found = await this.ask(datagram)
                        while found.token != token:
                            found = answer(await this.read())
                        return found.code.dotted

                    await place.try_to(kind, turn)
                    if number % TURNS_A_SESSION == TURNS_A_SESSION - 1:
                        break
                if polite:
                    this.say_goodbye()
