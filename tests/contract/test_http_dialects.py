"""Every sample of an HTTP dialect gets the answer, and becomes the messages, that its folder says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from schemas.raw_message import RawMessage
from tests.support.edge import edge
from tests.support.fakes import MemoryOutbox

SAMPLES = Path(__file__).parents[1] / "samples"
CASES = sorted(
    file.parent
    for dialect in ("graph", "digital_twins")
    for file in SAMPLES.glob(f"{dialect}/*/request.json")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
async def test_sample(case: Path):
    """The request of a sample gets the expected answer, and exactly the expected messages are on the log."""
    request = json.loads((case / "request.json").read_text())
    expected = json.loads((case / "expected.json").read_text())
    outbox = MemoryOutbox()
    async with edge(outbox) as served:
        answer = await served.client.request(
            request["method"],
            URL(request["path"], encoded=True),
            data=_body(request),
            headers=request["headers"],
            skip_auto_headers=["Content-Type"],
        )
        said = await answer.read()
    assert answer.status == expected["status"], said
    assert _like({name: answer.headers.get(name) for name in expected["headers"]}, expected["headers"])
    assert _like(json.loads(said), expected["body"]) if "body" in expected else not said
    assert [
        _shown(message, like) for message, like in zip(outbox.messages, expected["messages"], strict=True)
    ] == (expected["messages"])


def _body(request: dict[str, Any]) -> io.BytesIO | None:
    if "body" in request:
        return io.BytesIO(json.dumps(request["body"]).encode())
    if "body_text" in request:
        return io.BytesIO(request["body_text"].encode() * request.get("body_times", 1))
    return None


def _like(actual: Any, expected: Any) -> Any:
    """True if equal, where "*" stands for any text."""
    if expected == "*":
        return bool(actual) and isinstance(actual, str)
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            _like(actual[name], expected[name]) for name in expected
        )
    return actual == expected


def _shown(message: RawMessage, like: dict[str, Any]) -> dict[str, Any]:
    """The fields of a message that the sample names."""
    return {name: json.loads(message.body) if name == "body" else getattr(message, name) for name in like}
