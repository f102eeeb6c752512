"""What the ThingsBoard dialect makes of a request."""

from typing import Any

import pytest
from aiocoap import Code

from producers.coap.dialect import Arrival
from producers.coap.refusal import Refused
from producers.coap.remote import Proof
from producers.coap.thingsboard import ThingsBoard
from producers.metrics import Outcome
from schemas.identity import content_id, exchange_id
from schemas.raw_message import Attribute
from schemas.thingsboard import Entry
from tests.support.coap import TOKEN, device, fleet

CERTIFICATE = b"some DER"


@pytest.fixture
def dialect():
    """The dialect, with one device that has a token and a certificate."""
    return ThingsBoard(fleet(CERTIFICATE))


def arrival(body: bytes, **changes: Any) -> Arrival:
    """A body under ordinary circumstances."""
    fields = {
        "path": (TOKEN, "telemetry"),
        "endpoint": "coap://e",
        "message_id": 7,
        "token": b"t",
        "body": body,
        "received_at": 1_700_000_000_000_000,
    }
    return Arrival(**(fields | changes))


@pytest.mark.parametrize(
    ("path", "certificate"),
    [
        ((TOKEN, "telemetry"), None),
        ((TOKEN, "attributes"), None),
        (("attributes",), CERTIFICATE),
        ((TOKEN, "TELEMETRY"), None),
        ((TOKEN, "telemetry"), b"an unknown one"),
        ((TOKEN, "telemetry", "more"), None),
        (("telemetry",), CERTIFICATE),
        (("Telemetry",), CERTIFICATE),
    ],
)
def test_admitted(dialect, path, certificate):
    """A known token speaks for its device, on any transport; a known certificate does without one."""
    assert dialect.admit(Code.POST, path, Proof(certificate)).device == "boiler-7"


@pytest.mark.parametrize(
    ("method", "path", "certificate", "refusal"),
    [
        (Code.POST, ("nobody", "telemetry"), None, (Code.UNAUTHORIZED, Outcome.UNAUTHORISED)),
        (Code.POST, ("nobody", "telemetry"), CERTIFICATE, (Code.UNAUTHORIZED, Outcome.UNAUTHORISED)),
        (Code.POST, ("", "telemetry"), None, (Code.UNAUTHORIZED, Outcome.UNAUTHORISED)),
        (Code.POST, ("telemetry",), None, (Code.UNAUTHORIZED, Outcome.UNAUTHORISED)),
        (Code.POST, ("telemetry",), b"an unknown one", (Code.UNAUTHORIZED, Outcome.UNAUTHORISED)),
        (Code.POST, (), None, (Code.BAD_REQUEST, Outcome.UNKNOWN)),
        (Code.POST, (TOKEN,), None, (Code.BAD_REQUEST, Outcome.UNKNOWN)),
        (Code.POST, (TOKEN, "nothing"), None, (Code.BAD_REQUEST, Outcome.UNKNOWN)),
        (Code.GET, (TOKEN, "telemetry"), None, (Code.BAD_REQUEST, Outcome.MALFORMED)),
        (Code.PUT, (TOKEN, "telemetry"), None, (Code.METHOD_NOT_ALLOWED, Outcome.MALFORMED)),
        (Code.DELETE, (TOKEN, "telemetry"), None, (Code.METHOD_NOT_ALLOWED, Outcome.MALFORMED)),
        (Code.FETCH, (TOKEN, "telemetry"), None, (Code.METHOD_NOT_ALLOWED, Outcome.MALFORMED)),
    ],
)
def test_refused(dialect, method, path, certificate, refusal):
    """Everybody else is refused with ThingsBoard's code, and without a body."""
    with pytest.raises(Refused) as caught:
        dialect.admit(method, path, Proof(certificate))
    assert (caught.value.code, caught.value.outcome) == refusal
    assert caught.value.answer() == bytes([caught.value.code])
    assert TOKEN not in str(caught.value)


def test_message(dialect):
    """The message holds the untouched body."""
    body = b' {"temperature": 42}'
    message = dialect.read(device(), arrival(body))
    assert (message.tenant, message.dialect, message.device) == ("acme", "thingsboard", "boiler-7")
    assert (message.body, message.content_type) == (body, "application/json")
    assert message.received_at == 1_700_000_000_000_000


def test_not_telemetry(dialect):
    """A body that is no telemetry is 4.00."""
    with pytest.raises(Refused) as caught:
        dialect.read(device(), arrival(b"5"))
    assert caught.value.code == Code.BAD_REQUEST


def test_identity_by_content(dialect):
    """Where every entry names its time, the parsed content is the identity: spaces and exchanges do not matter."""
    first = dialect.read(device(), arrival(b'{"ts":1,"values":{"a":1,"b":2}}'))
    again = dialect.read(device(), arrival(b'{"values": {"b": 2, "a": 1}, "ts": 1}', message_id=8, token=b""))
    assert first.message_id == again.message_id == content_id([Entry(1, {"a": 1, "b": 2})])


@pytest.mark.parametrize("body", [b'{"a":1}', b'[{"ts":1,"values":{}},{"a":1}]', b"{}", b"[]"])
def test_identity_by_exchange(dialect, body):
    """Otherwise only a retransmission of the exchange is the same message."""
    message = dialect.read(device(), arrival(body))
    assert message.message_id == exchange_id("coap://e", 7, b"t", body, arrival(body).received_at)
    assert dialect.read(device(), arrival(body, message_id=8)).message_id != message.message_id


def test_attributes(dialect):
    """Attributes are a message that says so, and never one with telemetry of the same content."""
    sent = arrival(b'{"ts":1,"values":{"a":1}}', path=(TOKEN, "Attributes"))
    message = dialect.read(device(), sent)
    assert message.attributes == {Attribute.FEATURE: "attributes"}
    assert message.message_id == exchange_id("coap://e", 7, b"t", sent.body, sent.received_at)


@pytest.mark.parametrize("body", [b"[]", b'[{"a":1}]', b"5"])
def test_attributes_that_are_none(dialect, body):
    """Attributes are one object."""
    with pytest.raises(Refused) as caught:
        dialect.read(device(), arrival(body, path=(TOKEN, "attributes")))
    assert caught.value.code == Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("proof", "tenant", "speaks"),
    [
        (Proof(device="boiler-7"), "acme", True),
        (Proof(b"of an authority", "boiler-7"), "acme", True),
        (Proof(device="boiler-7"), "another", False),
        (Proof(device="boiler-8"), "acme", False),
        (Proof(CERTIFICATE, "boiler-8"), "acme", True),
    ],
)
def test_vouched_for(proof, tenant, speaks):
    """Whom a key or an authority vouches for is a device of the one tenant; a registered certificate goes first."""
    dialect = ThingsBoard(fleet(CERTIFICATE), tenant)
    if speaks:
        assert dialect.admit(Code.POST, ("telemetry",), proof).device == "boiler-7"
    else:
        with pytest.raises(Refused, match=r"4\.01"):
            dialect.admit(Code.POST, ("telemetry",), proof)
