"""How devices prove who they are over coaps, with libcoap's clients: pre-shared keys and certificate authorities."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiocoap import Code

from headrace.stack.pki import DEVICE, Pki, ensure_pki
from producers.coap.server import Ports, serving
from producers.metrics import Credential
from producers.settings import CoapSettings, EdgeSettings
from runtime.devices import DeviceTable
from tests.support.coap import TOKEN, coap_client, device, request
from tests.support.dtls import device as dtls_device
from tests.support.fakes import MemoryOutbox
from tests.support.processes import until
from tests.support.renewals import install, renewals

CLIENTS = pytest.mark.parametrize("library", ["openssl", "gnutls"])
KEY = "secretPSK1234567"
CREATED, UNAUTHORIZED = "c:2.01", "c:4.01"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The PKI whose authority is ours; its device is registered by id only."""
    return ensure_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strange_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Another authority, that gives out the same names."""
    return ensure_pki(tmp_path_factory.mktemp("strange"))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with the key of one device."""
    path = tmp_path / "keys"
    write(path, f"# identity:hex\n{DEVICE}:{KEY.encode().hex()}\n")
    return path


def write(path: Path, text: str) -> None:
    """Put a file in place of another, readable for its owner only."""
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


@contextlib.asynccontextmanager
async def edge(
    outbox: MemoryOutbox, pki: Pki | None, *, enabled: bool = True, **more: Any
) -> AsyncIterator[Ports]:
    """An edge of a tenant with one device, that has the name in the certificate."""
    files = (
        {"certificate": str(pki.certificate("server")), "private_key": str(pki.private_key("server"))}
        if pki
        else {}
    )
    settings = CoapSettings(port=0, dtls_port=0, tenant="acme", **files, **more)
    registered = device(name=DEVICE)
    if not enabled:
        registered = type(registered)(tenant="acme", device=DEVICE, enabled=False)
    async with serving(outbox, DeviceTable([registered]), settings, EdgeSettings()) as ports:
        yield ports


def uri(ports: Ports, path: str = "telemetry") -> str:
    """Where a device posts that needs no token."""
    return f"coaps://127.0.0.1:{ports.coaps}/api/v1/{path}"


def identity(pki: Pki) -> tuple[str | Path, ...]:
    """A client's options that present a device's certificate."""
    return "-c", pki.certificate("device"), "-j", pki.private_key("device")


@CLIENTS
@pytest.mark.parametrize("with_certificate", [True, False])
async def test_pre_shared_key(pki, keys, library, with_certificate):
    """A device with a key speaks for itself, whether or not the server has a certificate as well."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki if with_certificate else None, pre_shared_keys=str(keys)) as ports:
        output = await coap_client(library, uri(ports), "-u", DEVICE, "-k", KEY, body='{"a":1}')
    assert CREATED in output
    assert [(message.tenant, message.device) for message in outbox.messages] == [("acme", DEVICE)]


@CLIENTS
@pytest.mark.parametrize(("name", "key"), [(DEVICE, "another key 1234"), ("nobody", KEY)])
async def test_wrong_key(pki, keys, library, name, key):
    """A wrong key and an unknown identity fail alike, in the handshake."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki, pre_shared_keys=str(keys)) as ports:
        output = await coap_client(library, uri(ports), "-B", "3", "-u", name, "-k", key, body='{"a":1}')
    assert "c:2.01" not in output
    assert "unknown" not in output.lower()
    assert outbox.messages == []


@CLIENTS
async def test_key_of_a_disabled_device(pki, keys, library):
    """A key is not enough for a device that is disabled in the registry."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki, enabled=False, pre_shared_keys=str(keys)) as ports:
        assert UNAUTHORIZED in await coap_client(library, uri(ports), "-u", DEVICE, "-k", KEY, body='{"a":1}')
    assert outbox.messages == []


async def test_changed_keys(pki, keys):
    """A key that was added to the file works at the next handshake; a file that went bad changes nothing."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki, pre_shared_keys=str(keys)) as ports:
        new = ("-u", DEVICE, "-k", "a new key, 16 bytes")
        write(keys, f"{DEVICE}:{b'a new key, 16 bytes'.hex()}\n")
        assert CREATED in await coap_client("openssl", uri(ports), *new, body='{"a":1}')
        write(keys, "no key at all\n")
        assert CREATED in await coap_client("openssl", uri(ports), *new, body='{"a":2}')
    assert len(outbox.messages) == 2


@CLIENTS
async def test_certificate_by_authority(pki, library):
    """A certificate of our authority speaks for the device that its common name names."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki, authorities=str(pki.authority)) as ports:
        output = await coap_client(library, uri(ports), *identity(pki), body='{"a":1}')
        attributes = await coap_client(library, uri(ports, "attributes"), *identity(pki), body='{"b":1}')
    assert CREATED in output
    assert CREATED in attributes
    assert [message.device for message in outbox.messages] == [DEVICE, DEVICE]


@CLIENTS
async def test_certificate_by_another_authority(pki, strange_pki, library):
    """The same name in a certificate of somebody else is refused with 4.01."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki, authorities=str(pki.authority)) as ports:
        assert UNAUTHORIZED in await coap_client(library, uri(ports), *identity(strange_pki), body='{"a":1}')
    assert outbox.messages == []


def trusting(library: str, pki: Pki) -> tuple[str | Path, ...]:
    """A client's options that make it insist on a server of this authority."""
    return ("-R" if library == "openssl" else "-C", pki.authority)


def posting(ports: Ports) -> str:
    """Where a token is posted; clients compare the name with the certificate's."""
    return uri(ports, f"{TOKEN}/telemetry").replace("127.0.0.1", "localhost")


@CLIENTS
async def test_a_renewed_certificate(tmp_path, strange_pki, library):
    """Who trusts only the new authority is served once the files are renewed, and a session from before goes on."""
    outbox, live = MemoryOutbox(), ensure_pki(tmp_path / "live")
    async with edge(outbox, live, certificate_refresh=0.01) as ports, dtls_device(ports.coaps, live) as early:
        assert CREATED not in await coap_client(
            library, posting(ports), "-B", "3", *trusting(library, strange_pki)
        )
        before = renewals(Credential.CERTIFICATE, "used")
        install(strange_pki, live, "server.pem", "server.key")
        await until(lambda: renewals(Credential.CERTIFICATE, "used") > before)
        assert CREATED in await coap_client(library, posting(ports), *trusting(library, strange_pki))
        assert (await early.ask(request(b'{"a":1}', token=b"e"))).code == Code.CREATED
    assert len(outbox.messages) == 2


@CLIENTS
async def test_half_a_renewed_certificate(tmp_path, strange_pki, library):
    """A new certificate beside the old key is counted and logged, and the old pair is served."""
    live, before = ensure_pki(tmp_path / "live"), renewals(Credential.CERTIFICATE, "failed")
    trust = shutil.copy(live.authority, tmp_path / "trust.pem")
    async with edge(MemoryOutbox(), live, certificate_refresh=0.01) as ports:
        install(strange_pki, live, "server.pem")
        await until(lambda: renewals(Credential.CERTIFICATE, "failed") > before)
        option, _ = trusting(library, live)
        assert CREATED in await coap_client(library, posting(ports), option, trust)


@CLIENTS
async def test_renewed_authorities(tmp_path, strange_pki, library):
    """A device of an authority that was added speaks from its next handshake on; a bundle that is none changes nothing."""
    outbox, live = MemoryOutbox(), ensure_pki(tmp_path / "live")
    bundle = live.folder / "authorities.pem"
    shutil.copy(live.authority, bundle)
    async with edge(outbox, live, authorities=str(bundle), certificate_refresh=0.01) as ports:
        post = partial(coap_client, library, uri(ports), *identity(strange_pki))
        assert UNAUTHORIZED in await post(body='{"a":1}')
        used, failed = (renewals(Credential.CERTIFICATE, outcome) for outcome in ("used", "failed"))
        write(bundle, live.authority.read_text() + strange_pki.authority.read_text())
        await until(lambda: renewals(Credential.CERTIFICATE, "used") > used)
        assert CREATED in await post(body='{"a":2}')
        write(bundle, "no certificate at all")
        await until(lambda: renewals(Credential.CERTIFICATE, "failed") > failed)
        assert CREATED in await post(body='{"a":3}')
    assert [message.device for message in outbox.messages] == [DEVICE, DEVICE]


@CLIENTS
async def test_server_certificate_of_the_authority(pki, library):
    """A certificate that is for servers speaks for no device, though the authority signed it."""
    outbox = MemoryOutbox()
    own = ("-c", pki.certificate("server"), "-j", pki.private_key("server"))
    async with edge(outbox, pki, authorities=str(pki.authority)) as ports:
        output = await coap_client(library, uri(ports), *own, body='{"a":1}')
    assert UNAUTHORIZED in output
    assert outbox.messages == []


@CLIENTS
async def test_token_without_certificate(pki, library):
    """A token over coaps needs no certificate."""
    outbox = MemoryOutbox()
    async with edge(outbox, pki) as ports:
        assert CREATED in await coap_client(library, posting(ports), *trusting(library, pki), body='{"a":1}')
    assert len(outbox.messages) == 1


@pytest.mark.parametrize("secret", [KEY, KEY.encode().hex()])
async def test_no_secret_in_the_log(pki, keys, secret, capfd):
    """Neither a good nor a bad handshake writes a key."""
    async with edge(MemoryOutbox(), pki, pre_shared_keys=str(keys)) as ports:
        await coap_client("openssl", uri(ports), "-u", DEVICE, "-k", KEY, body='{"a":1}')
        write(keys, f"{DEVICE} {KEY.encode().hex()}\n")
        await coap_client("openssl", uri(ports), "-u", DEVICE, "-k", KEY, body='{"a":1}')
    output = capfd.readouterr()
    assert secret not in output.out + output.err


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("boiler:00112233445566778899aabbccddeeff", 0o640, "chmod 600"),
        ("boiler:0011", 0o600, "line 1"),
        ("a:00112233445566778899aabbccddeeff\nboiler", 0o600, "line 2"),
        ("boiler:00112233445566778899aabbccddeefg", 0o600, "line 1"),
    ],
)
async def test_keys_that_cannot_be_used(tmp_path, text, mode, says):
    """A file of keys that others may read, or with a line that is none, is named, without what is in it."""
    path = tmp_path / "keys"
    write(path, text)
    path.chmod(mode)
    with pytest.raises(ValueError, match=says) as caught:
        async with edge(MemoryOutbox(), None, pre_shared_keys=str(path)):
            pass
    assert "00112233" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"authorities": "ca.pem"}, {"pre_shared_keys": "keys"}, {"authorities": "ca.pem", "tenant": "t"}],
)
def test_incomplete_settings(fields):
    """Authorities and keys without a tenant, or authorities without a certificate, are refused."""
    with pytest.raises(ValueError, match="HEADRACE_COAP__"):
        CoapSettings(**fields)
