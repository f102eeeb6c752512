"""TLS of the HTTP edge: who connects meets the certificate that is on disk, who is connected stays so."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from headrace.stack.pki import Pki, ensure_pki
from producers.http.application import application
from producers.http.server import serving
from producers.http.tls import ServerCertificate
from producers.metrics import Credential
from producers.renewal import Renewal
from producers.settings import EdgeSettings, HttpSettings
from runtime.devices import DeviceTable
from tests.support.edge import DEVICES, TOKENS
from tests.support.fakes import MemoryOutbox
from tests.support.renewals import install


@pytest.fixture(name="renewed")
def _renewed(tmp_path: Path) -> Pki:
    """What a renewal brings, signed by another authority so that nobody takes one for the other."""
    return ensure_pki(tmp_path / "renewed")


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Pki:
    """The files that the edge reads."""
    return ensure_pki(tmp_path / "live")


def certificate_of(pki: Pki) -> ServerCertificate:
    """The server's certificate."""
    return ServerCertificate(pki.certificate("server"), pki.private_key("server"))


@asynccontextmanager
async def serving_tls(pki: Pki, every: float = 3600.0) -> AsyncIterator[str]:
    """An edge as the process has it, but for Kafka."""
    settings = HttpSettings(
        port=0,
        tokens=TOKENS,
        certificate=str(pki.certificate("server")),
        private_key=str(pki.private_key("server")),
        certificate_refresh=every,
    )
    async with (
        application(MemoryOutbox(), DeviceTable(DEVICES), settings, EdgeSettings()) as app,
        serving(app, settings, grace=5) as port,
    ):
        yield f"https://localhost:{port}/openapi.yaml"


def client_of(pki: Pki) -> ClientSession:
    """A client that trusts the authority."""
    context = ssl.create_default_context(cafile=str(pki.authority))
    return ClientSession(connector=TCPConnector(ssl=context))


async def test_the_edge_speaks_tls(live: Pki):
    """Who trusts the authority gets an answer."""
    async with serving_tls(live) as url, client_of(live) as client, client.get(url) as answer:
        assert answer.status == 200


async def test_a_renewed_certificate_is_served_under_open_connections(live: Pki, renewed: Pki):
    """New connections meet the renewed certificate, and one that was open before goes on."""
    async with serving_tls(live, every=0.01) as url, client_of(live) as early, client_of(renewed) as late:
        await (await early.get(url)).read()
        connections = set(early.connector._conns)
        install(renewed, live, "server.pem", "server.key")
        status = None
        async with asyncio.timeout(10):
            while status != 200:
                try:
                    async with late.get(url) as answer:
                        status = answer.status
                except OSError:
                    continue
        async with early.get(url) as answer:
            assert answer.status == 200
        assert set(early.connector._conns) == connections


def test_half_a_renewal_changes_nothing(live: Pki, renewed: Pki):
    """A new certificate beside the old key is left alone until the key has come, too."""
    files = live.certificate("server"), live.private_key("server")
    renewal, certificate = Renewal(Credential.CERTIFICATE, files, every=3600), certificate_of(live)
    install(renewed, live, "server.pem")
    assert not renewal.look(certificate.load)
    install(renewed, live, "server.key")
    assert renewal.look(certificate.load)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", None])
@pytest.mark.parametrize("to_rsa", [True, False])
def test_a_key_of_another_type_takes_over(
    live: Pki, tmp_path: Path, to_rsa: bool, name: str | None, version: ssl.TLSVersion
):
    """After a renewal from one type of key to another nobody meets the former certificate, by whatever name he asks."""
    other = self_signed(tmp_path, "server")
    former, renewed = (live, other) if to_rsa else (other, live)
    mine = Pki(tmp_path / "mine")
    mine.folder.mkdir()
    install(former, mine, "server.pem", "server.key")
    certificate = certificate_of(mine)
    assert met(certificate.context, name, version) == shown(former)
    install(renewed, mine, "server.pem", "server.key")
    certificate.load()
    assert met(certificate.context, name, version) == shown(renewed) != shown(former)


@pytest.mark.parametrize("looks", [0, 1])
def test_files_that_change_under_a_renewal(live: Pki, renewed: Pki, monkeypatch, looks: int):
    """Files that stop belonging together, however often they were read by then, end no certificate that was in force."""
    certificate, good = certificate_of(live), {shown(live), shown(renewed)}
    install(renewed, live, "server.pem", "server.key")
    load, seen = ssl.SSLContext.load_cert_chain, []

    def changing(context: ssl.SSLContext, *files: Path, password: str) -> None:
        if len(seen) == looks:
            renewed.certificate("device").replace(live.certificate("server"))
        seen.append(files)
        load(context, *files, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", changing)
    with contextlib.suppress(ssl.SSLError):
        certificate.load()
    assert met(certificate.context, "localhost", ssl.TLSVersion.TLSv1_3) in good


def self_signed(folder: Path, name: str) -> Pki:
    """A server's certificate with an RSA key."""
    pki = Pki(folder / "rsa")
    pki.folder.mkdir()
    key, moment = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(moment - timedelta(minutes=5))
        .not_valid_after(moment + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pki.certificate(name).write_bytes(certificate.public_bytes(Encoding.PEM))
    pki.private_key(name).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    return pki


def shown(pki: Pki) -> bytes:
    """The server's certificate (DER)."""
    return x509.load_pem_x509_certificate(pki.certificate("server").read_bytes()).public_bytes(Encoding.DER)


def met(server: ssl.SSLContext, name: str | None, version: ssl.TLSVersion) -> bytes:
    """The certificate (DER) that a client meets which asks for that name, or for none."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    trusting.minimum_version = trusting.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(down, up, server_hostname=name)
    ends = [client, server.wrap_bio(up, down, server_side=True)]
    while ends:
        for end in list(ends):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                ends.remove(end)
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_old_protocols_are_not_spoken(live: Pki):
    """Nobody is served below TLS 1.2."""
    assert certificate_of(live).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_used_is_an_error(live: Pki, renewed: Pki):
    """An edge does not start with a certificate and the key of another."""
    install(renewed, live, "server.key")
    with pytest.raises(ssl.SSLError):
        certificate_of(live)


@pytest.mark.parametrize("half", [{"certificate": "a.pem"}, {"private_key": "a.key"}])
def test_half_a_setting_is_an_error(half: dict[str, str]):
    """A certificate without its key, or the other way round, is a wrong setting."""
    with pytest.raises(ValidationError, match="belong together"):
        HttpSettings(**half)
