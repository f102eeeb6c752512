"""What CoAP tests share: datagrams, a remote that remembers, a fleet, an outbox that waits, the real clients."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiocoap import Code, Message
from aiocoap.numbers import types

from headrace.stack.pki import Pki
from producers.coap.remote import NOTHING, Proof
from runtime.devices import DeviceTable
from schemas.device import Device
from schemas.raw_message import RawMessage

TOKEN = "TOKEN1"
TELEMETRY = ("api", "v1", TOKEN, "telemetry")
CON, NON, ACK, RST = types.CON, types.NON, types.ACK, types.RST


def request(
    body: bytes = b"{}",
    *,
    path: Sequence[str] = TELEMETRY,
    method: Code = Code.POST,
    mid: int = 1,
    token: bytes = b"t",
    mtype: types.Type = CON,
    **options: Any,
) -> bytes:
    """A request as aiocoap writes it."""
    message = Message(code=method, payload=body, uri_path=path, **options)
    message.mid, message.mtype, message.token = mid, mtype, token
    return message.encode()


def answer(datagram: bytes) -> Message:
    """A response as aiocoap reads it."""
    return Message.decode(datagram)


def acknowledge(message: Message) -> bytes:
    """The empty acknowledgement of a message."""
    empty = Message(code=Code.EMPTY)
    empty.mid, empty.mtype = message.mid, ACK
    return empty.encode()


def device(certificate: bytes | None = None, *, token: str = TOKEN, name: str = "boiler-7") -> Device:
    """A device with one token, and perhaps a certificate."""
    return Device(
        tenant="acme",
        device=name,
        token_sha256s=[sha256(token.encode()).hexdigest()],
        certificate_sha256s=[sha256(certificate).hexdigest()] if certificate else [],
    )


def fleet(certificate: bytes | None = None) -> DeviceTable:
    """A registry with one device in it."""
    return DeviceTable([device(certificate)])


def der(pki: Pki, name: str = "device") -> bytes:
    """A certificate of a PKI, as DTLS carries it."""
    return ssl.PEM_cert_to_DER_cert(pki.certificate(name).read_text())


@dataclass
class MemoryRemote:
    """An endpoint whose mail can be read."""

    key: str = "remote"
    proof: Proof = NOTHING
    mail: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    is_admitted: bool = False

    @property
    def endpoint(self) -> str:
        """See `producers.coap.remote.Remote`."""
        return f"coap://{self.key}"

    def admitted(self) -> None:
        """See `producers.coap.remote.Remote`."""
        self.is_admitted = True

    def send(self, datagram: bytes) -> None:
        """See `producers.coap.remote.Remote`."""
        self.mail.put_nowait(datagram)

    async def next(self) -> Message:
        """The next datagram that was sent to this endpoint."""
        return answer(await asyncio.wait_for(self.mail.get(), 10))


class HeldOutbox:
    """Takes nothing until it is released."""

    def __init__(self) -> None:
        self.messages: list[RawMessage] = []
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `producers.outbox.Outbox.put`."""
        self.arrived.set()
        return asyncio.ensure_future(self._keep(messages))

    async def _keep(self, messages: Iterable[RawMessage]) -> None:
        await self.released.wait()
        self.messages.extend(messages)


class Peer(asyncio.DatagramProtocol):
    """A UDP socket of a device."""

    def __init__(self) -> None:
        self.mail: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Keep what comes."""
        self.mail.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """The other end is not there; the test will say what it misses."""

    def send(self, datagram: bytes) -> None:
        """Send to the port that this socket is connected to."""
        self.transport.sendto(datagram)

    async def ask(self, datagram: bytes) -> Message:
        """Send, and return the next datagram that comes back."""
        self.send(datagram)
        return await self.next()

    async def next(self) -> Message:
        """The next datagram that comes."""
        return answer(await asyncio.wait_for(self.mail.get(), 10))


@contextlib.asynccontextmanager
async def peer(port: int, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """A UDP socket that is connected to a port."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Peer, remote_addr=(host, port))
    try:
        yield protocol
    finally:
        transport.close()


async def coap_client(library: str, uri: str, *options: str | Path, body: str | Path = "{}") -> str:
    """Post a text or a file with libcoap's client; return what it printed: it exits with 0 even when refused."""
    program = shutil.which(f"coap-client-{library}")
    if program is None:
        pytest.fail(f"coap-client-{library} is missing: install libcoap3-bin (Debian, Ubuntu)")
    arguments = ["-v", "6", "-B", "10", "-m", "POST", *map(str, options)]
    arguments += ["-f" if isinstance(body, Path) else "-e", str(body), uri]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()
