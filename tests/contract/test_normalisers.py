"""Every sample that an HTTP edge takes becomes the readings that its folder says.

A sample of the ThingsBoard dialect names its readings in `expected.json`; tests/contract/test_coap_dialect.py checks them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from processors.normalise import normalise
from schemas.raw_message import RawMessage
from schemas.reading import Reading
from tests.support.raw import message

SAMPLES = Path(__file__).parents[1] / "samples"


def accepted() -> list[Path]:
    """The samples that become messages."""
    expected = [
        file for dialect in ("graph", "digital_twins") for file in SAMPLES.glob(f"{dialect}/*/expected.json")
    ]
    return sorted(file.parent for file in expected if json.loads(file.read_text())["messages"])


def recorded(fields: dict[str, Any]) -> RawMessage:
    """A raw message as `expected.json` names it, received at a time that no sample has."""
    return message(**{"message_id": "m-1"} | fields | {"body": json.dumps(fields["body"]).encode()})


def shown(reading: Reading, received_at: int) -> dict[str, Any]:
    """A reading as `readings.json` names it: the value of its kind, and no time where that of receipt counts."""
    number = {"bool": bool(reading.integer), "int64": reading.integer, "float64": reading.number}
    return {
        "feature": reading.feature.value,
        "quantity": reading.quantity,
        "sensor": reading.sensor,
        "unit": reading.unit,
        "kind": reading.kind.value,
        "value": number.get(reading.kind.value, reading.text),
        "measured_at": None if reading.measured_at == received_at else reading.measured_at,
    }


@pytest.mark.parametrize("case", accepted(), ids=lambda case: f"{case.parent.name}-{case.name}")
def test_sample(case: Path):
    """The messages of a sample, one by one, become the readings that the folder names."""
    expected = json.loads((case / "expected.json").read_text())["messages"]
    messages = [recorded(fields) for fields in expected]

    assert json.loads((case / "readings.json").read_text()) == [
        [shown(reading, raw.received_at) for reading in normalise(raw)] for raw in messages
    ]


def test_no_readings_without_a_message():
    """Only a sample that becomes messages names readings."""
    assert sorted(file.parent for file in SAMPLES.glob("*/*/readings.json")) == accepted()
