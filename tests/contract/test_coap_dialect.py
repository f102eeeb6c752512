"""The ThingsBoard dialect against its sample folders: request, answer, message, readings; over CoAP, and over HTTP."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiocoap import Code

from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from producers.coap.messages import MessageLayer
from producers.coap.remote import Proof
from producers.coap.site import Bounds, Site
from producers.coap.thingsboard import ThingsBoard
from producers.limits import Limits
from schemas import thingsboard
from schemas.identity import content_id
from schemas.raw_message import Attribute, RawMessage
from schemas.reading import Feature
from tests.support.coap import ACK, CON, NON, TOKEN, MemoryRemote, fleet, request
from tests.support.edge import edge
from tests.support.fakes import MemoryOutbox

SAMPLES = Path(__file__).parents[1] / "samples" / "thingsboard"
CERTIFICATES = {"registered": b"a certificate", "unknown": b"another one"}
TYPES = {"CON": CON, "NON": NON}
STATUS = {"2.01": 200, "4.00": 400, "4.01": 401}


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sample: what is sent, and what becomes of it."""
    return json.loads((folder / "request.json").read_text()), json.loads(
        (folder / "expected.json").read_text()
    )


def has_http_twin(folder: Path) -> bool:
    """Whether HTTP has the same call: by token, with the path as ThingsBoard writes it."""
    sample, expected = read(folder)
    features = [[segment] for segment in Feature]
    return (
        sample["method"] == "POST"
        and sample["path"][:2] == ["api", "v1"]
        and sample["path"][3:] in features
        and expected["code"] in STATUS
    )


FOLDERS = sorted(SAMPLES.iterdir())


def datagram(sample: Mapping[str, Any]) -> bytes:
    """A sample's request as it travels."""
    return request(
        sample["body"].encode(),
        path=[segment.replace("$TOKEN", TOKEN) for segment in sample["path"]],
        method=Code[sample["method"]],
        mtype=TYPES[sample.get("type", "CON")],
        **sample.get("options", {}),
    )


def found(raw: RawMessage) -> dict[str, Any]:
    """A message as the samples describe it."""
    feature = Feature(raw.attributes.get(Attribute.FEATURE, "telemetry"))
    identity = (
        "content"
        if raw.message_id == content_id(thingsboard.typed(thingsboard.read(feature, raw.body)))
        else "exchange"
    )
    try:
        return {"identity": identity, "readings": readings(raw)}
    except Unusable as error:
        return {"identity": identity, "readings": error.reason.value}


def readings(raw: RawMessage) -> list[dict[str, Any]]:
    """The readings of a message as the samples describe them."""
    shown = []
    for reading in normalise(raw):
        values = {"bool": bool(reading.integer), "int64": reading.integer, "float64": reading.number}
        ts = None if reading.measured_at == raw.received_at else reading.measured_at // 1000
        value = values.get(reading.kind, reading.text)
        fields = {"quantity": reading.quantity, "kind": reading.kind, "value": value, "ts": ts}
        shown.append(fields | {"feature": reading.feature})
    return shown


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
async def test_sample(folder):
    """Each sample is answered as it says, and becomes the message and the readings that it says."""
    sample, expected = read(folder)
    outbox = MemoryOutbox()
    dialects = {("api", "v1"): ThingsBoard(fleet(CERTIFICATES["registered"]))}
    site = Site(dialects, outbox, Bounds(1000, 5), Limits({}))
    remote = MemoryRemote(proof=Proof(CERTIFICATES.get(sample.get("certificate"))))

    MessageLayer(site.respond, piggyback_timeout=10).receive(remote, datagram(sample))
    answer = await remote.next()

    assert (answer.code.dotted, answer.payload) == (expected["code"], b"")
    assert answer.mtype == (NON if sample.get("type") == "NON" else ACK)
    # As text, since 1 and 1.0 and True are equal to Python.
    wanted = [expected["message"]] if expected["message"] else []
    assert json.dumps([found(raw) for raw in outbox.messages]) == json.dumps(wanted)
    assert all(raw.body == sample["body"].encode() for raw in outbox.messages)


@pytest.mark.parametrize("folder", [*filter(has_http_twin, FOLDERS)], ids=lambda folder: folder.name)
async def test_sample_over_http(folder):
    """The same body over HTTP gets the answer that says the same, without a body, and becomes the same readings."""
    sample, expected = read(folder)
    outbox = MemoryOutbox()
    path = "/" + "/".join(sample["path"]).replace("$TOKEN", TOKEN)
    async with edge(outbox, fleet()) as served:
        answer = await served.client.post(path, data=sample["body"].encode())
        assert (answer.status, await answer.read()) == (STATUS[expected["code"]], b"")
    wanted = [expected["message"]] if expected["message"] else []
    assert json.dumps([found(raw) for raw in outbox.messages]) == json.dumps(wanted)
