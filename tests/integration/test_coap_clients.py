"""libcoap's clients against a listening CoAP edge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from aiocoap import Code, Context, Message

from headrace.stack.pki import Pki, ensure_pki
from producers.coap.server import Ports, serving
from producers.limits import ANYBODY, TenantLimits
from producers.outbox import Outbox
from producers.settings import CoapSettings, EdgeSettings
from runtime.publisher import Undelivered
from schemas.raw_message import Attribute
from tests.support.coap import CON, TOKEN, HeldOutbox, acknowledge, coap_client, der, fleet, peer, request
from tests.support.fakes import MemoryOutbox

FLAT = '{"temperature":42,"humidity":73}'
TIMED = '{"ts":1451649600512,"values":{"temperature":42,"humidity":73}}'
BATCH = (
    '[{"ts":1451649600512,"values":{"temperature":42,"humidity":73}},'
    '{"ts":1451649601000,"values":{"temperature":43,"humidity":72}}]'
)
MAX_BODY = 100_000
JSON = ("-t", "application/json")
DTLS_CLIENTS = pytest.mark.parametrize("library", ["openssl", "gnutls"])
CREATED, UNAUTHORIZED = "c:2.01", "c:4.01"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The PKI whose device is registered."""
    return ensure_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def strange_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI that nobody here has heard of."""
    return ensure_pki(tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="session")
def expired_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI whose certificates expired."""
    return ensure_pki(tmp_path_factory.mktemp("expired"), now=datetime.now(UTC) - timedelta(days=3650))


@pytest.fixture
def outbox() -> MemoryOutbox:
    """What the edge accepted."""
    return MemoryOutbox()


@contextlib.asynccontextmanager
async def edge(outbox: Outbox, pki: Pki, *, rate: str = "") -> AsyncIterator[Ports]:
    """A CoAP edge on ports that the system chose, with one device."""
    settings = CoapSettings(
        port=0,
        dtls_port=0,
        certificate=str(pki.certificate("server")),
        private_key=str(pki.private_key("server")),
        max_body_bytes=MAX_BODY,
    )
    limits = EdgeSettings(retry_after=7, limits={ANYBODY: TenantLimits(device=rate)})
    async with serving(outbox, fleet(der(pki)), settings, limits) as ports:
        yield ports


@pytest.fixture
async def ports(outbox: MemoryOutbox, pki: Pki) -> AsyncIterator[Ports]:
    """A running edge's ports."""
    async with edge(outbox, pki) as ports:
        yield ports


def by_token(ports: Ports, token: str = TOKEN) -> str:
    """Where a device with a token posts."""
    return f"coap://127.0.0.1:{ports.coap}/api/v1/{token}/telemetry"


def by_certificate(ports: Ports) -> str:
    """Where a device with a certificate posts."""
    return f"coaps://127.0.0.1:{ports.coaps}/api/v1/telemetry"


def identity(pki: Pki) -> tuple[str | Path, ...]:
    """A client's options that present a device's certificate."""
    return "-c", pki.certificate("device"), "-j", pki.private_key("device")


@pytest.mark.parametrize("body", [FLAT, TIMED, BATCH])
async def test_token_over_coap(ports, outbox, body):
    """Each form of telemetry in ThingsBoard's documentation is accepted by access token."""
    output = await coap_client("notls", by_token(ports), *JSON, body=body)
    assert CREATED in output
    assert [(message.device, message.body.decode()) for message in outbox.messages] == [("boiler-7", body)]


async def test_attributes(ports, outbox):
    """Attributes are accepted by access token."""
    output = await coap_client("notls", by_token(ports).replace("telemetry", "attributes"), *JSON, body=FLAT)
    assert CREATED in output
    assert [message.attributes for message in outbox.messages] == [{Attribute.FEATURE: "attributes"}]


async def test_lenient_json(ports, outbox):
    """What Gson reads is accepted, and stored as it came."""
    assert CREATED in await coap_client("notls", by_token(ports), body="{a:1,'b'=2}")
    assert [message.body for message in outbox.messages] == [b"{a:1,'b'=2}"]


async def test_rate_limit(outbox, pki):
    """A device over its limit hears 4.29, and when to try again."""
    async with edge(outbox, pki, rate="1:60") as ports:
        assert CREATED in await coap_client("notls", by_token(ports), body=FLAT)
        output = await coap_client("notls", by_token(ports), body=FLAT)
    assert "c:4.29" in output
    assert "Max-Age:60" in output
    assert len(outbox.messages) == 1


@pytest.mark.parametrize("size", [40, 20_000])
async def test_aiocoap(ports, outbox, size):
    """The client that aiocoap brings along posts, block-wise where it has to."""
    body = b'{"a":"' + b"x" * size + b'"}'
    context = await Context.create_client_context(transports=["simple6"])
    try:
        response = await context.request(Message(code=Code.POST, uri=by_token(ports), payload=body)).response
    finally:
        await context.shutdown()
    assert response.code == Code.CREATED
    assert [message.body for message in outbox.messages] == [body]


async def test_non_confirmable(ports, outbox):
    """A non-confirmable message is accepted."""
    assert CREATED in await coap_client("notls", by_token(ports), "-N", body=FLAT)
    assert len(outbox.messages) == 1


async def test_no_content_format(ports, outbox):
    """A client that does not name the format is served."""
    assert CREATED in await coap_client("notls", by_token(ports), body=FLAT)
    assert len(outbox.messages) == 1


async def test_unknown_token(ports, outbox):
    """A token that nobody has is refused with 4.01."""
    assert UNAUTHORIZED in await coap_client("notls", by_token(ports, "nobody"), body=FLAT)
    assert outbox.messages == []


async def test_not_json(ports, outbox):
    """A body that is not JSON is refused with 4.00."""
    assert "c:4.00" in await coap_client("notls", by_token(ports), body="temperature=42")
    assert outbox.messages == []


@DTLS_CLIENTS
async def test_certificate(ports, outbox, pki, library):
    """A registered X.509 certificate speaks for its device."""
    output = await coap_client(library, by_certificate(ports), *identity(pki), *JSON, body=FLAT)
    assert CREATED in output
    assert [message.device for message in outbox.messages] == ["boiler-7"]


@DTLS_CLIENTS
async def test_unknown_certificate(ports, outbox, strange_pki, library):
    """A certificate that nobody registered completes the handshake, and is refused with 4.01."""
    output = await coap_client(library, by_certificate(ports), *identity(strange_pki), body=FLAT)
    assert UNAUTHORIZED in output
    assert outbox.messages == []


@DTLS_CLIENTS
async def test_no_certificate(ports, outbox, pki, library):
    """The path for certificates without a certificate is refused with 4.01."""
    trust = ("-R", pki.authority) if library == "openssl" else ("-C", pki.authority)
    uri = by_certificate(ports).replace("127.0.0.1", "localhost")
    assert UNAUTHORIZED in await coap_client(library, uri, *trust, body=FLAT)
    assert outbox.messages == []


@DTLS_CLIENTS
async def test_token_over_coaps(ports, outbox, strange_pki, library):
    """A token is good over DTLS as well, whatever the certificate."""
    uri = by_token(ports).replace(f"coap://127.0.0.1:{ports.coap}", f"coaps://127.0.0.1:{ports.coaps}")
    assert CREATED in await coap_client(library, uri, *identity(strange_pki), body=FLAT)
    assert len(outbox.messages) == 1


@DTLS_CLIENTS
async def test_expired_certificate(ports, outbox, expired_pki, library):
    """An expired certificate is refused in the handshake."""
    output = await coap_client(library, by_certificate(ports), *identity(expired_pki), body=FLAT)
    assert "expired" in output
    assert "c:2.01" not in output
    assert outbox.messages == []


@pytest.mark.parametrize("size", ["64", "1024"])
async def test_block_wise_body(ports, outbox, tmp_path, size):
    """A large body arrives whole from blocks of any size."""
    body = '{"a":"' + "x" * 20_000 + '"}'
    (tmp_path / "body.json").write_text(body)
    output = await coap_client("notls", by_token(ports), "-b", size, body=tmp_path / "body.json")
    assert CREATED in output
    assert [message.body.decode() for message in outbox.messages] == [body]


async def test_block_wise_body_over_dtls(ports, outbox, pki, tmp_path):
    """A large body arrives whole over DTLS."""
    body = '{"a":"' + "x" * 60_000 + '"}'
    (tmp_path / "body.json").write_text(body)
    options = (*identity(pki), "-b", "1024")
    assert CREATED in await coap_client(
        "openssl", by_certificate(ports), *options, body=tmp_path / "body.json"
    )
    assert [message.body.decode() for message in outbox.messages] == [body]


async def test_oversize(ports, outbox, tmp_path):
    """A body beyond the limit is refused with 4.13 and the limit, at its first block."""
    (tmp_path / "body.json").write_text('{"a":"' + "x" * MAX_BODY + '"}')
    output = await coap_client("notls", by_token(ports), body=tmp_path / "body.json")
    assert "c:4.13" in output
    assert f"Size1:{MAX_BODY}" in output
    assert outbox.messages == []


async def test_outbox_fails(ports, outbox):
    """When Kafka is away the device hears 5.03, and when to try again."""
    outbox.fail_with = Undelivered("the broker did not answer")
    output = await coap_client("notls", by_token(ports), body=FLAT)
    assert "c:5.03" in output
    assert "Max-Age:7" in output


async def test_slow_outbox(pki):
    """When Kafka takes long the device gets an empty acknowledgement, and its 2.01 only afterwards."""
    outbox = HeldOutbox()
    async with edge(outbox, pki) as ports, peer(ports.coap) as device:
        empty = await device.ask(request(FLAT.encode(), token=b"slow"))
        assert empty.code.dotted == "0.00"
        assert outbox.messages == []
        outbox.released.set()
        answer = await device.next()
        assert (answer.code.dotted, answer.token, answer.mtype) == ("2.01", b"slow", CON)
        assert len(outbox.messages) == 1
        device.send(acknowledge(answer))


async def test_retransmission(ports, outbox):
    """A retransmission gets the same answer, and is accepted once."""
    async with peer(ports.coap) as device:
        first = await device.ask(request(FLAT.encode(), mid=9))
        again = await device.ask(request(FLAT.encode(), mid=9))
    assert first.code.dotted == "2.01"
    assert (again.code, again.mid, again.token) == (first.code, first.mid, first.token)
    assert len(outbox.messages) == 1


async def test_rebooted_device(ports, outbox):
    """A device that restarts on its old port and Message ID loses nothing."""
    async with peer(ports.coap) as device:
        for body in (b'{"a":1}', b'{"a":2}'):
            assert (await device.ask(request(body, mid=9))).code.dotted == "2.01"
    assert len({message.message_id for message in outbox.messages}) == 2


async def test_ipv6(outbox):
    """On :: the edge serves IPv6 and IPv4."""
    settings = CoapSettings(host="::", port=0)
    async with serving(outbox, fleet(), settings, EdgeSettings()) as ports:
        assert ports.coaps is None
        for host in ("[::1]", "127.0.0.1"):
            uri = by_token(ports).replace("127.0.0.1", host)
            assert CREATED in await coap_client("notls", uri, body=FLAT)
    assert len(outbox.messages) == 2


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_client_that_went_away(outbox, pki, run):
    """An answer that finds nobody (an ICMP error) does not keep the edge from serving others, on either loop."""

    async def scenario() -> None:
        async with edge(outbox, pki) as ports:
            for mid in range(3):
                async with peer(ports.coap) as device:
                    device.send(request(FLAT.encode(), mid=mid))
            async with peer(ports.coap) as device:
                assert (await device.ask(request(FLAT.encode(), mid=9))).code.dotted == "2.01"

    run(scenario())
    assert len(outbox.messages) == 4


async def test_taken_port(ports):
    """A port that is taken is named."""
    with pytest.raises(OSError, match=f"UDP port {ports.coap} of 127.0.0.1"):
        async with serving(MemoryOutbox(), fleet(), CoapSettings(port=ports.coap), EdgeSettings()):
            pass


async def test_certificate_that_cannot_be_used(tmp_path):
    """A certificate that is missing is named."""
    settings = CoapSettings(port=0, dtls_port=0, certificate=str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match=r"none\.pem"):
        async with serving(MemoryOutbox(), fleet(), settings, EdgeSettings()):
            pass
