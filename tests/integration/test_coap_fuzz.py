"""Mutated datagrams and DTLS records against a listening edge: it stays silent in its log, and goes on serving."""

import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL

from headrace.stack.pki import Pki, ensure_pki
from producers.coap.server import Ports, serving
from producers.settings import CoapSettings, EdgeSettings
from tests.support.coap import CON, NON, Peer, answer, der, fleet, peer, request
from tests.support.dtls import Device, certified, device, presenting
from tests.support.fakes import MemoryOutbox

DATAGRAMS = 20_000
CERTIFICATES = 1000
STRANGERS = 1000
"""Twice as many as may be in the middle of a handshake: the half of them fills the table."""
GROWTH = 5 << 20
"""Bytes that memory may wander between two measurements; a kilobyte for each datagram would be ten million."""

BODY = b'{"temperature":42,"humidity":73}'
SEEDS = (
    request(BODY),
    request(BODY, mtype=NON, token=b"12345678"),
    request(b"x" * 64, block1=(0, True, 2), size1=4000, request_tag=[b"1"]),
    request(path=["/api/v1/TOKEN1/telemetry"], content_format=50, no_response=26),
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A server and a device."""
    return ensure_pki(tmp_path_factory.mktemp("pki"))


@contextlib.asynccontextmanager
async def edge(pki: Pki) -> AsyncIterator[Ports]:
    """A running edge's ports."""
    settings = CoapSettings(
        port=0,
        dtls_port=0,
        certificate=str(pki.certificate("server")),
        private_key=str(pki.private_key("server")),
        authorities=str(pki.authority),
        tenant="acme",
    )
    async with serving(MemoryOutbox(), fleet(der(pki)), settings, EdgeSettings()) as ports:
        yield ports


async def against(scenario: Callable[[Ports], Awaitable[None]], pki: Pki) -> None:
    """Play the scenario against a running edge, on the loop that edges run on."""
    async with edge(pki) as ports:
        await scenario(ports)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    """Fails the test if anything was logged that is an error, or if there was a traceback."""
    yield
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}] == []
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    assert "[error" not in output.out


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The data with some bytes changed, cut, repeated or inserted."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        position = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0 | 1:
                changed[position] = chance.randrange(256)
            case 2:
                changed[position:position] = chance.randbytes(chance.randint(1, 4))
            case 3:
                changed = changed[: max(1, position)]
            case _:
                changed += changed[position : position + 16]
    return bytes(changed)


def resident() -> int:
    """Bytes of memory that this process, client and edge, has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def still_serves(socket: Peer, number: int) -> None:
    """Ask something, and skip what other answers are on their way."""
    token = number.to_bytes(4, "big") + b"live"
    socket.send(request(BODY, mid=number % 65536, token=token, mtype=CON))
    while (found := await socket.next()).token != token:
        pass
    assert found.code.dotted == "2.01"


@pytest.mark.usefixtures("quiet")
def test_mutated_datagrams(pki):
    """Mutated datagrams raise nothing and leave nothing behind, and the edge goes on serving."""

    async def scenario(ports: Ports) -> None:
        chance = random.Random(2026)
        async with peer(ports.coap) as socket:
            for number in range(DATAGRAMS):
                if number == DATAGRAMS // 2:
                    before = resident()
                socket.send(mutated(chance, chance.choice(SEEDS)))
                if number % 100 == 0:
                    await still_serves(socket, 10_000 + number)
        assert resident() - before < GROWTH

    uvloop.run(against(scenario, pki))


@pytest.mark.usefixtures("quiet")
def test_mutated_messages_in_a_session(pki):
    """Thousands of mutated messages inside of DTLS raise nothing, and the session goes on."""

    async def scenario(ports: Ports) -> None:
        chance = random.Random(2027)
        async with device(ports.coaps, pki) as this:
            for number in range(DATAGRAMS // 5):
                for record in this.records(mutated(chance, chance.choice(SEEDS))):
                    this.socket.send(record)
                if number % 50 == 0:
                    token = number.to_bytes(4, "big") + b"live"
                    found = await this.ask(request(BODY, mid=20_000 + number, token=token))
                    while found.token != token:
                        found = answer(await this.read())
                    assert found.code.dotted == "2.01"

    uvloop.run(against(scenario, pki))


@pytest.mark.usefixtures("quiet")
def test_mutated_records(pki):
    """Mutated DTLS records raise nothing and leave nothing behind, in handshakes and in a session, which goes on."""

    async def scenario(ports: Ports) -> None:
        chance = random.Random(2028)
        async with device(ports.coaps, pki) as established:
            await alive(established)  # a device, from here on
            for number in range(STRANGERS):
                if number == STRANGERS * 3 // 4:
                    before = resident()
                await annoy(chance, ports, pki, established, DATAGRAMS // STRANGERS)
            assert resident() - before < GROWTH
            await alive(established)
        async with device(ports.coaps, pki) as late:
            assert (await late.ask(request(BODY))).code.dotted == "2.01"

    uvloop.run(against(scenario, pki))


async def annoy(chance: random.Random, ports: Ports, pki: Pki, established: Device, records: int) -> None:
    """Send mutated records as a stranger in its handshake, and from the address of a session."""
    async with peer(ports.coaps) as stranger:
        hello = await Device(stranger, pki).cookie()
        seeds = [*hello, *hello, *established.records(request(BODY, mid=chance.randrange(60_000)))]
        for _ in range(records):
            chance.choice([stranger, established.socket]).send(mutated(chance, chance.choice(seeds)))


async def alive(established: Device) -> None:
    """The session goes on."""
    found = await established.ask(request(BODY, mid=60_000, token=b"alive"))
    while found.token != b"alive":
        found = answer(await established.read())
    assert found.code.dotted == "2.01"


@pytest.mark.usefixtures("quiet")
def test_mutated_certificates(pki, tmp_path):
    """Mutated certificates that our authority signed all the same raise nothing, and devices still get in."""

    async def scenario(ports: Ports) -> None:
        chance, shaken = random.Random(2029), 0
        for number in range(CERTIFICATES):
            shown = presenting(strange_certificate(chance, pki), pki, tmp_path / str(number))
            with contextlib.suppress(SSL.Error):  # the client itself, or the edge, does not take it
                async with device(ports.coaps, shown) as this:
                    shaken += 1
                    await alive(this)
        assert shaken > CERTIFICATES // 4
        async with device(ports.coaps, pki) as late:
            assert (await late.ask(request(BODY))).code.dotted == "2.01"

    uvloop.run(against(scenario, pki))


def strange_certificate(chance: random.Random, pki: Pki) -> bytes:
    """The device's certificate with some bytes changed, mostly of its subject, and signed again."""
    certificate = load_der_x509_certificate(der(pki))
    changed, subject = bytearray(certificate.tbs_certificate_bytes), certificate.subject.public_bytes()
    begin = changed.find(subject)
    for _ in range(chance.randint(1, 3)):
        everywhere = chance.randrange(4) == 0
        position = chance.randrange(len(changed)) if everywhere else begin + chance.randrange(len(subject))
        changed[position] = chance.choice([0x0C, 0x13, 0x14, 0x1C, 0x1E, 0xFF, chance.randrange(256)])
    return certified(bytes(changed), pki)


@pytest.mark.usefixtures("quiet")
def test_mutated_flights(pki):
    """Mutated flights with a certificate raise nothing, and devices still get in."""

    async def scenario(ports: Ports) -> None:
        chance = random.Random(2030)
        for _ in range(CERTIFICATES):
            async with peer(ports.coaps) as socket:
                this = Device(socket, pki)
                for datagram in await this.cookie():
                    socket.send(datagram)
                while not (flight := this.output()):
                    await this.hear()
                    with contextlib.suppress(SSL.WantReadError):
                        this.connection.do_handshake()
                for datagram in flight:
                    socket.send(mutated(chance, datagram))
        async with device(ports.coaps, pki) as late:
            assert (await late.ask(request(BODY))).code.dotted == "2.01"

    uvloop.run(against(scenario, pki))


@pytest.mark.usefixtures("quiet")
def test_flood_of_strangers(pki):
    """Hellos without a cookie leave nothing in memory, and devices still get in."""

    async def scenario(ports: Ports) -> None:
        async with peer(ports.coaps) as socket:
            hello = bytearray(Device(socket, pki).begin())
            for number in range(DATAGRAMS):
                if number == DATAGRAMS // 2:
                    before = resident()
                hello[27:31] = number.to_bytes(4, "big")  # another random, as another stranger has
                socket.send(bytes(hello))
                if number % 100 == 99:
                    for _ in range(100):
                        await socket.mail.get()
            assert resident() - before < GROWTH
        async with device(ports.coaps, pki) as late:
            assert (await late.ask(request(BODY))).code.dotted == "2.01"

    uvloop.run(against(scenario, pki))
