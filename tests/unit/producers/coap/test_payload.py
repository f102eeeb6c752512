"""Which bodies are telemetry."""

import pytest

from producers.coap.payload import NotTelemetry, parse


@pytest.mark.parametrize(
    ("body", "timed"),
    [
        (b'{"temperature": 42, "humidity": 73}', False),
        (b'{"ts": 1451649600512, "values": {"temperature": 42}}', True),
        (b'[{"ts": 1, "values": {"a": 1}}, {"ts": 2, "values": {}}]', True),
        (b'[{"ts": 1, "values": {"a": 1}}, {"a": 1}]', False),
        (b'{"ts": "1451649600512", "values": {"a": 1}}', True),
        (b'{"ts": 1451649600512.9, "values": {"a": 1}}', True),
        (b'{"ts": -5, "values": {"a": 1}}', True),
        (b'{"ts": 5}', False),
        (b'{"values": 7}', False),
        (b'{"ts": true}', False),
        (b"{}", False),
        (b"[]", False),
    ],
)
def test_telemetry(body, timed):
    """Objects and arrays of objects are telemetry; whether it names its times is known."""
    assert parse(body).timed is timed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"5",
        b'"text"',
        b"true",
        b"null",
        b"[1]",
        b"[[]]",
        b'[{"a":1}, null]',
        b'{"a":1',
        b'{"a":1} x',
        b'{"a":1}{"a":2}',
        b'{"a":"\xff"}',
        b'{"ts":5,"values":7}',
        b'{"ts":5,"values":null}',
        b'{"ts":5,"values":[1]}',
        b'{"ts":"abc","values":{}}',
        b'{"ts":null,"values":{}}',
        b'{"ts":true,"values":{}}',
        b"[" * 100_000,
    ],
)
def test_not_telemetry(body):
    """Anything else is not."""
    with pytest.raises(NotTelemetry):
        parse(body)
