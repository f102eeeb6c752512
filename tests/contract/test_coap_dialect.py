"""The ThingsBoard dialect against its sample folders: request, answer, message, readings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiocoap import Code

from processors.normalise import normalise
from producers.coap.messages import MessageLayer
from producers.coap.site import Limits, Site
from producers.coap.thingsboard import ThingsBoard
from schemas.identity import content_id
from schemas.raw_message import RawMessage
from tests.support.coap import ACK, CON, NON, TOKEN, MemoryRemote, fleet, request
from tests.support.fakes import MemoryOutbox

SAMPLES = Path(__file__).parents[1] / "samples" / "thingsboard"
CERTIFICATES = {"registered": b"a certificate", "unknown": b"another one"}
TYPES = {"CON": CON, "NON": NON}


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
    identity = "content" if raw.message_id == content_id(json.loads(raw.body)) else "exchange"
    readings = []
    for reading in normalise(raw):
        values = {"bool": bool(reading.integer), "int64": reading.integer, "float64": reading.number}
        ts = None if reading.measured_at == raw.received_at else reading.measured_at // 1000
        value = values.get(reading.kind, reading.text)
        readings.append({"quantity": reading.quantity, "kind": reading.kind, "value": value, "ts": ts})
    return {"identity": identity, "readings": readings}


@pytest.mark.parametrize("folder", sorted(SAMPLES.iterdir()), ids=lambda folder: folder.name)
async def test_sample(folder):
    """Each sample is answered as it says, and becomes the message and the readings that it says."""
    sample = json.loads((folder / "request.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())
    outbox = MemoryOutbox()
    site = Site({("api", "v1"): ThingsBoard(fleet(CERTIFICATES["registered"]))}, outbox, Limits(1000, 5))
    remote = MemoryRemote(certificate=CERTIFICATES.get(sample.get("certificate")))

    MessageLayer(site.respond).receive(remote, datagram(sample))
    answer = await remote.next()

    assert (answer.code.dotted, answer.payload) == (expected["code"], b"")
    assert answer.mtype == (NON if sample.get("type") == "NON" else ACK)
    assert [found(raw) for raw in outbox.messages] == ([expected["message"]] if expected["message"] else [])
    assert all(raw.body == sample["body"].encode() for raw in outbox.messages)
