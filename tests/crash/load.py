"""Load: devices that repeat a message until they hear that it was accepted, in every dialect, and remember what they heard."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol, Self

import aiohttp
from aiocoap import Code
from aiocoap.numbers import ContentFormat, types

from schemas.device import Device
from tests.crash.ledger import Ledger, Sent
from tests.support.coap import Peer, acknowledge, answer, peer, request
from tests.support.processes import until

TENANT, TOKEN = "crash", "crash-token"
DEVICES = 12
"""Of each dialect: enough that every partition has some."""

PAUSE_SECONDS = 0.2
"""Between two messages of a client, and before it tries again."""

HTTP_PATIENCE_SECONDS = 3.0
COAP_PATIENCE_SECONDS = 1.0
COAP_TRANSMISSIONS = 3

IMPATIENT = 8
"""One message in so many is given up when its first attempt is not answered with success."""

REPEATED = 8
"""After one message in so many, an earlier one is sent again although it was accepted."""

UNUSABLE = 20
"""One CoAP message in so many cannot become readings."""
UNUSABLE_TS = 99_999_999_999_999
"""Year 5138: accepted, as ThingsBoard does, and then a dead letter."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the edges are."""

    http: str
    coap_port: int


@dataclass(frozen=True, slots=True)
class Message:
    """What one request says: one or several messages, and the request's parts."""

    sent: Sequence[Sent]
    path: str
    body: bytes
    headers: dict[str, str]


class Client(Protocol):
    """One device's connection."""

    async def post(self, message: Message) -> bool | None:
        """Whether it was answered with success; None: it was not answered."""


def fleet(prefix: str) -> list[Device]:
    """The devices of one cell: each may speak each dialect, and has its own access token."""
    return [
        Device(
            tenant=TENANT,
            device=name,
            token_sha256s=[sha256(_token(name).encode()).hexdigest()],
            place="Hall 1",
        )
        for name in _names(prefix)
    ]


def _names(prefix: str) -> list[str]:
    return [f"{prefix}{number:02}" for number in range(4 * DEVICES)]


def _token(device: str) -> str:
    return f"token-of-{device}"


class Load:
    """Clients at work between entering and leaving the block; leaving waits until each has been heard."""

    def __init__(self, addresses: Addresses, prefix: str, *, seed: str = "") -> None:
        self.ledger = Ledger()
        self._addresses = addresses
        self._random = random.Random(seed or prefix)
        self._numbers = itertools.count()
        self._start_us = time.time_ns() // 60_000_000_000 * 60_000_000
        names = _names(prefix)
        self._devices = [names[first : first + DEVICES] for first in range(0, 4 * DEVICES, DEVICES)]
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start talking."""
        http = await self._open.enter_async_context(
            aiohttp.ClientSession(
                self._addresses.http,
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=aiohttp.ClientTimeout(total=HTTP_PATIENCE_SECONDS),
            )
        )
        for _ in range(2):
            for compose in (self._graph, self._digital_twins, self._thingsboard_http):
                self._begin(_Http(http), compose)
            udp = await self._open.enter_async_context(peer(self._addresses.coap_port))
            self._begin(_Coap(udp, self._random.randrange(1 << 16)), self._thingsboard_coap)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop talking; what was begun is said until it is heard, unless something failed."""
        self._stopping = True
        try:
            if kind is None:
                await asyncio.wait_for(asyncio.gather(*self._clients), 60)
        finally:
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await self._open.aclose()

    async def more(self, messages: int, *, within: float = 60) -> None:
        """Return when so many more messages were accepted."""
        goal = self.ledger.accepted + messages
        await self._while_talking(lambda: self.ledger.accepted >= goal, within)

    async def trouble(self, attempts: int, *, within: float = 60) -> None:
        """Return when so many more attempts were refused, or not answered."""
        goal = self.ledger.trouble + attempts
        await self._while_talking(lambda: self.ledger.trouble >= goal, within)

    async def tries(self, attempts: int, *, within: float = 60) -> None:
        """Return when so many more attempts came to their end, whatever it was."""
        goal = self.ledger.heard + self.ledger.trouble + attempts
        await self._while_talking(lambda: self.ledger.heard + self.ledger.trouble >= goal, within)

    async def _while_talking(self, condition: Callable[[], bool], within: float) -> None:
        await until(lambda: condition() or any(client.done() for client in self._clients), within=within)
        for client in self._clients:
            if client.done():
                client.result()

    def _begin(self, client: Client, compose: Callable[[int], Message]) -> None:
        self._clients.append(asyncio.create_task(self._talk(client, compose)))

    async def _talk(self, client: Client, compose: Callable[[int], Message]) -> None:
        said: list[Message] = []
        while not self._stopping:
            number = next(self._numbers)
            message = compose(number)
            self.ledger.messages.extend(message.sent)
            heard = await self._say(client, message)
            while not heard and number % IMPATIENT:
                await asyncio.sleep(PAUSE_SECONDS)
                heard = await self._say(client, message)
            said.append(message)
            if not self._random.randrange(REPEATED):
                await self._say(client, self._random.choice(said))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _say(self, client: Client, message: Message) -> bool:
        self.ledger.attempt(message.sent)
        heard = await client.post(message)
        if heard:
            self.ledger.heard += 1
            self.ledger.accept(message.sent)
        elif heard is None:
            self.ledger.unanswered += 1
        else:
            self.ledger.refused += 1
        return bool(heard)

    def _at(self, number: int) -> int:
        """When a message was measured: a second after the one before."""
        return self._start_us + number * 1_000_000

    def _graph(self, number: int) -> Message:
        """One request of two devices: two messages with one answer."""
        devices = self._devices[0]
        pair = [devices[number % DEVICES], devices[(number + 5) % DEVICES]]
        at = self._at(number)
        items = [
            {"deviceId": device, "sensorType": "peopleCount", "intValue": number, "timestamp": _iso(at)}
            for device in pair
        ]
        sent = [
            Sent(device=device, values=[(device, "peopleCount", "peopleCount", float(number), at)])
            for device in pair
        ]
        return Message(
            sent, "/beta/workplace/sensorDevices/ingestTelemetry", _json({"telemetry": items}), _JSON
        )

    def _digital_twins(self, number: int) -> Message:
        twin, at = self._devices[1][number % DEVICES], self._at(number)
        headers = {**_JSON, "Message-Id": f"m-{number}", "Telemetry-Source-Time": _iso(at)}
        sent = Sent(device=twin, values=[(twin, "temperature", "", float(number), at)])
        path = f"/digitaltwins/{twin}/telemetry?api-version=2023-10-31"
        return Message([sent], path, _json({"temperature": number}), headers)

    def _thingsboard_http(self, number: int) -> Message:
        return self._thingsboard(number, self._devices[2])

    def _thingsboard_coap(self, number: int) -> Message:
        return self._thingsboard(number, self._devices[3], unusable=not self._random.randrange(UNUSABLE))

    def _thingsboard(self, number: int, devices: Sequence[str], *, unusable: bool = False) -> Message:
        device, at = devices[number % DEVICES], self._at(number)
        values = {"temperature": float(number), "humidity": number + 0.5}
        body = {"ts": UNUSABLE_TS if unusable else at // 1000, "values": values}
        sent = Sent(
            device=device,
            values=[] if unusable else [(device, name, "", value, at) for name, value in values.items()],
        )
        return Message([sent], f"/api/v1/{_token(device)}/telemetry", _json(body), _JSON)


_JSON = {"Content-Type": "application/json"}


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat().replace("+00:00", "Z")


class _Http:
    """A client of the HTTP edge."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, message: Message) -> bool | None:
        """See `Client.post`."""
        try:
            async with self._session.post(
                message.path, data=message.body, headers=message.headers
            ) as response:
                await response.read()
                return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return None


class _Coap:
    """A client of the CoAP edge, that sends the same datagram until it is answered, as RFC 7252 has it."""

    def __init__(self, udp: Peer, message_id: int) -> None:
        self._udp = udp
        self._message_ids = itertools.count(message_id)

    async def post(self, message: Message) -> bool | None:
        """See `Client.post`."""
        message_id = next(self._message_ids) % (1 << 16)
        token = message_id.to_bytes(2, "big")
        datagram = request(
            message.body,
            path=message.path.strip("/").split("/"),
            mid=message_id,
            token=token,
            content_format=ContentFormat.JSON,
        )
        for transmission in range(COAP_TRANSMISSIONS):
            if transmission:
                for sent in message.sent:
                    sent.attempts += 1
            self._udp.send(datagram)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COAP_PATIENCE_SECONDS):
                    return await self._answered(token)
        return None

    async def _answered(self, token: bytes) -> bool:
        async for response in self._responses():
            if response.token == token and response.code != Code.EMPTY:
                return response.code == Code.CREATED
        raise AssertionError

    async def _responses(self) -> AsyncIterator[object]:
        while True:
            response = answer(await self._udp.mail.get())
            if response.mtype == types.CON:
                self._udp.send(acknowledge(response))
            yield response
