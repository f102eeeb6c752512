"""What the stored bytes of every schema version say; `python -m tests.support.schema_samples` writes the newest anew."""

from pathlib import Path

from schemas import codec, reading_block
from schemas.dead_letter import DeadLetter
from schemas.device import Device
from schemas.raw_message import RawMessage
from schemas.reading import Feature, reading
from schemas.reading_block import Fate, MessageRow

SAMPLES = Path(__file__).parents[1] / "samples" / "schemas"

WRITTEN = {
    "raw_message.v1": RawMessage(
        tenant="acme",
        dialect="graph",
        device="boiler-7",
        message_id="m-1",
        received_at=1_700_000_000_000_456,
        content_type="application/json",
        attributes={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        body=b'{"temperature": 21.5}\xff\x00',
    ),
    "device.v1": Device(
        tenant="acme",
        device="boiler-7",
        enabled=False,
        token_sha256s=["a" * 64],
        certificate_sha256s=["b" * 64],
        components=["inlet", "outlet"],
        place="Zürich / hall 2",
        labels={"floor": "2"},
    ),
    "dead_letter.v1": DeadLetter(
        topic="raw-graph",
        topic_id="fGzPVaZwSkSJkN2MNDpn2A",
        partition=3,
        offset=41,
        logged_at=1_700_000_000_123,
        reason="malformed",
        error="no such field",
        key=b"acme/boiler-7",
        value=None,
        headers={"identity": bytes(range(16))},
    ),
}
"""What the stored bytes of each version say, as the newest version of its record."""

_ORIGIN = {
    "logged_at": 1_700_000_000_123,
    "dialect": "graph",
    "identity": bytes(range(16)),
    "message_id": "m-1",
    "tenant": "acme",
    "device": "boiler-7",
    "received_at": 1_700_000_000_000_456,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "place": "hall 2",
    "labels": '{"floor":"2"}',
}

BLOCK = [
    MessageRow(
        offset=41,
        fate=Fate.STORED,
        readings=[
            reading("temperature", 21.5, 1_700_000_000_000_000, sensor="inlet", unit="°C"),
            reading("on", True, 1_700_000_000_000_001, feature=Feature.ATTRIBUTES),
        ],
        **_ORIGIN,
    ),
    MessageRow(offset=42, fate=Fate.DUPLICATE, **_ORIGIN),
    MessageRow(
        offset=43,
        fate=Fate.DEAD_LETTER,
        logged_at=1_700_000_000_124,
        dialect="graph",
        reason="undecodable",
        error="not in Avro single-object encoding",
        body=b"\xff\x00",
    ),
]
"""One message of each fate, the first with two readings."""


def main() -> None:
    """Write the bytes of today's schemas. Only for versions that no release has written yet."""
    for version, record in {
        name.partition(".")[0]: (name, record) for name, record in WRITTEN.items()
    }.values():
        (SAMPLES / f"{version}.bin").write_bytes(codec.encode(record))
    newest = max(SAMPLES.glob("reading_block.v*.bin"), default=SAMPLES / "reading_block.v1.bin")
    newest.write_bytes(reading_block.encode(BLOCK))


if __name__ == "__main__":
    main()
