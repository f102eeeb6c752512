"""DTLS sessions: begun with a cookie, bounded, replaced, ended."""

import asyncio
import contextlib
import random
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL

from headrace.stack.pki import DEVICE, Pki, ensure_pki
from producers.coap import dtls, dtls_session
from producers.coap.dtls import DtlsTransport
from producers.coap.dtls_context import common_name, server_context
from producers.coap.dtls_session import MTU, datagrams
from producers.coap.pre_shared_keys import PreSharedKeys
from producers.coap.remote import NOTHING, Proof, Remote
from producers.coap.udp import bound_socket
from producers.metrics import DROPPED, DTLS_ENDED
from tests.support.coap import der, peer
from tests.support.counts import Counts, counts
from tests.support.dtls import Device, device, presenting, unreadable_name
from tests.support.processes import until

Serve = Callable[..., contextlib.AbstractAsyncContextManager[tuple[DtlsTransport, int]]]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A server and a device."""
    return ensure_pki(tmp_path_factory.mktemp("pki"))


class Ear:
    """Remembers what was received, admits whoever says it, and echoes it."""

    def __init__(self) -> None:
        self.heard: list[tuple[Remote, bytes]] = []
        self.admits = True

    def receive(self, remote: Remote, data: bytes) -> None:
        """Take a datagram."""
        self.heard.append((remote, data))
        if self.admits:
            remote.admitted()
        remote.send(data)


@pytest.fixture
def ear() -> Ear:
    """What is behind the transport."""
    return Ear()


@pytest.fixture
def ended() -> Counts:
    """The sessions and handshakes that ended during the test, by why."""
    return counts(DTLS_ENDED)


@pytest.fixture
def serve(pki: Pki, ear: Ear) -> Serve:
    """Starts a transport, and says on which port."""

    @contextlib.asynccontextmanager
    async def serving(**limits: Any) -> AsyncIterator[tuple[DtlsTransport, int]]:
        context = server_context(str(pki.certificate("server")), str(pki.private_key("server")))
        sock = bound_socket("127.0.0.1", 0)
        _, transport = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: DtlsTransport(context, ear.receive, **({"max_sessions": 10} | limits)), sock=sock
        )
        try:
            yield transport, sock.getsockname()[1]
        finally:
            transport.close()

    return serving


async def echo(this: Device, data: bytes = b"hello") -> bytes:
    """What comes back."""
    for record in this.records(data):
        this.socket.send(record)
    return await this.read()


async def test_session(serve, ear, pki):
    """A session carries datagrams both ways, and knows the device's certificate."""
    async with serve() as (transport, port), device(port, pki) as this:
        assert await echo(this) == b"hello"
        ((remote, data),) = ear.heard
        assert (data, remote.proof.certificate) == (b"hello", der(pki))
        assert remote.endpoint.startswith("coaps://127.0.0.1:")
        assert (transport.sessions, transport.strangers) == (1, 0)
        assert this.connection.get_protocol_version_name() == "DTLSv1.2"


async def test_a_handshake_message_that_is_too_long_is_dropped(serve, pki):
    """What claims to begin a message of 100 KB costs none of that, and the handshake goes on without it."""
    dropped = counts(DROPPED)
    claim = b"\x0b" + (100_000).to_bytes(3, "big") + b"\0\3" + bytes(3) + (1).to_bytes(3, "big") + b"x"
    async with serve() as (transport, port), peer(port) as socket:
        halfway = Device(socket, pki)
        for datagram in await halfway.cookie():
            socket.send(datagram)
        await until(lambda: transport.strangers == 1)
        socket.send(b"\x16\xfe\xfd\0\0" + bytes(5) + b"\x09" + len(claim).to_bytes(2, "big") + claim)
        await until(lambda: dropped() == {("malformed",): 1})
        await halfway.shake_hands()

        assert await echo(halfway) == b"hello"


async def test_no_certificate(serve, ear):
    """A device without a certificate is nobody, but may speak."""
    async with serve() as (_, port), device(port) as this:
        await echo(this)
    assert ear.heard[0][0].proof == NOTHING


async def test_certificate_without_a_readable_name(serve, ear, pki, tmp_path):
    """A certificate whose common name is no text is as good as one that has no name: its fingerprint counts."""
    strange = unreadable_name(der(pki, "device"))
    async with serve() as (_, port), device(port, presenting(strange, pki, tmp_path)) as this:
        assert await echo(this) == b"hello"
    assert ear.heard[0][0].proof == Proof(strange, None)


def test_unreadable_name_of_an_authority(pki):
    """A name that nobody can read is none, whoever vouches for it."""
    assert (common_name(der(pki)), common_name(unreadable_name(der(pki)))) == (DEVICE, None)


def test_mutated_certificates(pki):
    """Whatever a certificate holds has a common name or none."""
    chance, whole = random.Random(7252), der(pki)
    begin = whole.find(load_der_x509_certificate(whole).subject.public_bytes())
    for number in range(10_000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            position = chance.randrange(begin, begin + 40) if number % 2 else chance.randrange(len(whole))
            changed[position] = chance.randrange(256)
        with warnings.catch_warnings(
            action="ignore"
        ):  # cryptography's, about what will not be taken some day
            assert isinstance(common_name(bytes(changed)), str | None)


async def test_certificate_that_breaks_what_reads_it(serve, pki, monkeypatch, ended):
    """Whatever goes wrong with a certificate ends its session, and nothing else."""
    async with serve(handshake=3600.0) as (transport, port), peer(port) as socket:
        monkeypatch.setattr(dtls_session, "proof", Mock(side_effect=LookupError))
        await Device(socket, pki).shake_hands()
        await until(lambda: transport.strangers == 0)
        monkeypatch.undo()
        async with device(port, pki) as late:
            assert await echo(late) == b"hello"
    assert ended()["handshake", "broken"] == 1


async def test_strangers_cost_no_memory(serve):
    """A ClientHello without a cookie gets a shorter answer, and leaves nothing behind."""
    async with serve() as (transport, port):
        for _ in range(100):
            async with peer(port) as socket:
                hello = Device(socket).begin()
                socket.send(hello)
                assert len(await asyncio.wait_for(socket.mail.get(), 10)) < len(hello)
        assert (transport.sessions, transport.strangers) == (0, 0)


async def test_cookie_of_another_address(serve):
    """A cookie is good for the address only that it was told."""
    async with serve() as (transport, port), peer(port) as first, peer(port) as second:
        for datagram in await Device(first).cookie():
            second.send(datagram)
        await asyncio.wait_for(second.mail.get(), 10)
        assert transport.strangers == 0


async def test_restarted_device(serve, ear, pki, ended):
    """A device that restarts on its old address replaces its session; the two are different endpoints."""
    async with serve() as (transport, port), peer(port) as socket:
        for _ in range(2):
            this = Device(socket, pki)
            await this.shake_hands()
            await echo(this)
        assert transport.sessions == 1
    first, second = (remote for remote, _ in ear.heard)
    assert first.key != second.key
    assert first.endpoint != second.endpoint
    assert ended()["session", "replaced"] == 1


async def test_forged_restart(serve, pki):
    """A ClientHello without the cookie does not end the session of its address."""
    async with serve() as (_, port), device(port, pki) as this:
        this.socket.send(Device(this.socket).begin())
        await asyncio.wait_for(this.socket.mail.get(), 10)
        assert await echo(this) == b"hello"


async def test_a_renewed_certificate(serve, pki, tmp_path):
    """New handshakes meet the renewed certificate; a session that was there before, and a handshake, go on by the old."""
    renewed = ensure_pki(tmp_path / "renewed")
    async with serve() as (transport, port), device(port, pki) as early, peer(port) as socket:
        halfway = Device(socket, pki)
        for datagram in await halfway.cookie():
            socket.send(datagram)
        await until(lambda: transport.strangers == 2)
        transport.renew(
            server_context(str(renewed.certificate("server")), str(renewed.private_key("server")))
        )
        await halfway.shake_hands()
        async with device(port, pki) as late:
            for this, issuer in ((early, pki), (halfway, pki), (late, renewed)):
                assert await echo(this) == b"hello"
                assert shown(this) == der(issuer, "server")
        assert transport.sessions == 3


async def test_a_cookie_outlives_a_renewal(serve, pki):
    """A device that got its cookie before the certificate was renewed completes its handshake."""
    async with serve() as (transport, port), peer(port) as socket:
        this = Device(socket, pki)
        hello = await this.cookie()
        transport.renew(server_context(str(pki.certificate("server")), str(pki.private_key("server"))))
        for datagram in hello:
            socket.send(datagram)
        await this.shake_hands()
        assert await echo(this) == b"hello"


def shown(this: Device) -> bytes:
    """The server's certificate, as the device met it."""
    certificate = this.connection.get_peer_certificate(as_cryptography=True)
    return certificate.public_bytes(Encoding.DER)


async def test_garbage_in_a_session(serve, pki):
    """Forged and repeated records are dropped, and the session lives on."""
    async with serve() as (transport, port), device(port, pki) as this:
        (record,) = this.records(b"one")
        for forged in (
            record[:-1] + b"!",
            b"\x15" + record[1:],
            record[:20],
            b"\x17\xfe\xfd",
            b"not DTLS at all",
        ):
            this.socket.send(forged)
        this.socket.send(record)
        this.socket.send(record)
        assert await this.read() == b"one"
        assert await echo(this, b"two") == b"two"
        assert transport.sessions == 1


async def test_datagrams_that_lead_nowhere_are_counted(serve):
    """What is no DTLS, and a record of no session, count as dropped."""
    dropped = counts(DROPPED)
    async with serve() as (_, port), peer(port) as socket:
        lost, broken_hello = b"\x17\xfe\xfd" + bytes(20), b"\x16\xfe\xfd" + bytes(10) + b"\1hello"
        for datagram in (b"not DTLS at all", lost, broken_hello):
            socket.send(datagram)
        await until(lambda: sum(dropped().values()) == 3)
    assert dropped() == {("malformed",): 2, ("no_session",): 1}


async def test_wrong_key_is_counted(ear, tmp_path, monkeypatch, ended):
    """A handshake with a wrong pre-shared key counts as one that did not come to its end."""
    monkeypatch.setattr(dtls, "_SWEEP_SECONDS", 0.01)
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(f"{DEVICE}:{b'the right key 12'.hex()}\n")
    keys = PreSharedKeys(file)
    keys.refresh()
    transport = DtlsTransport(server_context("", "", keys=keys), ear.receive, max_sessions=1, handshake=0.2)
    sock = bound_socket("127.0.0.1", 0)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: transport, sock=sock)
    async with peer(sock.getsockname()[1]) as socket:
        this = Device(socket, key=(DEVICE, b"a wrong key 1234"))
        handshake = asyncio.create_task(this.shake_hands())
        await until(lambda: sum(ended().values()) == 1)
        handshake.cancel()
    transport.close()
    assert ended() in ({("handshake", "silent"): 1}, {("handshake", "broken"): 1})


async def test_too_many_sessions(serve, pki, ended):
    """Beyond the bound the session that was silent longest is ended, and told so."""
    async with serve(max_sessions=2) as (transport, port), contextlib.AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(device(port, pki)) for _ in range(3)]
        for this in (first, second, first, third):
            await echo(this)
        with pytest.raises(SSL.ZeroReturnError):
            await second.read()
        assert await echo(first) == await echo(third) == b"hello"
        assert transport.sessions == 2
    assert ended()["session", "displaced"] == 1


async def test_too_many_strangers(serve, ended):
    """Beyond the bound the oldest handshake is given up: newcomers always get a turn."""
    async with serve(max_strangers=2) as (transport, port), contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            socket = await stack.enter_async_context(peer(port))
            for datagram in await Device(socket).cookie():
                socket.send(datagram)
            await asyncio.wait_for(socket.mail.get(), 10)
        assert transport.strangers == 2
        last = await stack.enter_async_context(device(port))
        assert await echo(last) == b"hello"
    assert ended()["handshake", "displaced"] == 3


async def test_strangers_do_not_displace_devices(serve, ear, pki):
    """Sessions that nobody admits, however many, end each other and no device's."""
    async with (
        serve(max_sessions=1, max_strangers=2) as (transport, port),
        device(port, pki) as known,
        contextlib.AsyncExitStack() as stack,
    ):
        await echo(known)
        ear.admits = False
        for _ in range(4):
            await echo(await stack.enter_async_context(device(port)))
        assert (transport.sessions, transport.strangers) == (1, 2)
        assert await echo(known) == b"hello"


async def test_session_of_a_stranger(serve, ear, pki, monkeypatch, ended):
    """A session in which nothing is said that a device may say is ended after a while, and told so; others go on."""
    monkeypatch.setattr(dtls, "_SWEEP_SECONDS", 0.01)
    async with (
        serve(stranger=0.5) as (transport, port),
        device(port, pki) as known,
        device(port, pki) as stranger,
    ):
        await echo(known)
        ear.admits = False
        await echo(stranger)
        with pytest.raises(SSL.ZeroReturnError):
            await stranger.read()
        assert (transport.sessions, transport.strangers) == (1, 0)
        assert await echo(known) == b"hello"
    assert ended()["session", "stranger"] == 1


async def test_idle_session(serve, pki, monkeypatch, ended):
    """A session that is silent for too long is ended, and told so."""
    monkeypatch.setattr(dtls, "_SWEEP_SECONDS", 0.01)
    async with serve(idle=0.0) as (transport, port), device(port, pki) as this:
        await echo(this)
        with pytest.raises(SSL.ZeroReturnError):
            await this.read()
        assert transport.sessions == 0
    assert ended() == {("session", "silent"): 1}


async def test_handshake_that_does_not_end(serve, monkeypatch, ended):
    """A handshake that takes too long is given up."""
    monkeypatch.setattr(dtls, "_SWEEP_SECONDS", 0.01)
    async with serve(handshake=0.0) as (transport, port), peer(port) as socket:
        for datagram in await Device(socket).cookie():
            socket.send(datagram)
        await asyncio.wait_for(socket.mail.get(), 10)
        await until(lambda: transport.strangers == 0)
    assert ended() == {("handshake", "silent"): 1}


async def test_lost_flight(serve, pki):
    """Our flight of the handshake is sent again when the device stays silent."""
    async with serve() as (_, port), peer(port) as socket:
        this = Device(socket, pki)
        for datagram in await this.cookie():
            socket.send(datagram)
        lost = await asyncio.wait_for(socket.mail.get(), 10)
        while not socket.mail.empty():
            socket.mail.get_nowait()
        again = await asyncio.wait_for(socket.mail.get(), 10)
        assert again[13] == lost[13]
        this.connection.bio_write(again)
        await this.shake_hands()
        assert await echo(this) == b"hello"


async def test_goodbye_of_the_device(serve, pki, ended):
    """A session that the device ends is forgotten."""
    async with serve() as (transport, port), device(port, pki) as this:
        await echo(this)
        assert transport.sessions == 1
        this.say_goodbye()
        await until(lambda: transport.sessions == 0)
    assert ended() == {("session", "closed"): 1}


async def test_stop(serve, ear, pki, ended):
    """At the end every device is told goodbye; what is sent to a session afterwards is dropped."""
    async with serve() as (transport, port), device(port, pki) as this:
        await echo(this)
        transport.close()
        ear.heard[0][0].send(b"too late")
        with pytest.raises(SSL.ZeroReturnError):
            await this.read()
    assert ended() == {("session", "stopped"): 1}


def test_datagrams_end_with_records():
    """OpenSSL's stream is cut at records; as many as fit share a datagram."""
    records = [
        b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size)
        for size in (600, 600, 600, 1400, 5)
    ]
    cut = list(datagrams(b"".join(records)))
    assert cut == [records[0] + records[1], records[2], records[3], records[4]]
    assert len(cut[0]) <= MTU
    assert list(datagrams(b"")) == []


def test_key_of_another_certificate(pki):
    """A private key that does not belong to the certificate is refused before anything listens."""
    with pytest.raises(ValueError, match="mismatch"):
        server_context(str(pki.certificate("server")), str(pki.private_key("device")))


def test_encrypted_key(pki, tmp_path):
    """An encrypted key is refused with its name, and no question is asked on the terminal."""
    key = load_pem_private_key(pki.private_key("server").read_bytes(), password=None)
    encrypted = tmp_path / "server.key"
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(ValueError, match=r"server\.key.*encrypted"):
        server_context(str(pki.certificate("server")), str(encrypted))


@pytest.mark.parametrize(
    "content", [None, "no key", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"]
)
def test_unusable_key(pki, tmp_path, content):
    """A key that is not there, or is none, is refused in the same words."""
    key = tmp_path / "server.key"
    if content is not None:
        key.write_text(content)
    with pytest.raises(ValueError, match=r"cannot use certificate .* with private key"):
        server_context(str(pki.certificate("server")), str(key))
