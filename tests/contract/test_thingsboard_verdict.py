"""Edge and normaliser give the same verdict on the same bytes, and strict and lenient reading find the same."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from producers.coap.dialect import Arrival
from producers.coap.refusal import Refused
from producers.coap.thingsboard import ThingsBoard
from schemas.dead_letter import Reason
from schemas.reading import Feature
from schemas.thingsboard import Entry, NotTelemetry, entries
from tests.support.coap import device, fleet

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.from_regex(r"-?[0-9]{0,22}\.?[0-9]{0,20}", fullmatch=True)
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3)
)
FLAT = st.dictionaries(st.sampled_from(["a", "b", "ts", "values"]), VALUES, max_size=4)
TIMED = st.fixed_dictionaries({"ts": SCALARS | st.lists(SCALARS, max_size=2), "values": FLAT | VALUES})
BODIES = FLAT | TIMED | st.lists(FLAT | TIMED, max_size=3) | VALUES

TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    ":",
    "=",
    "=>",
    '"',
    "'",
    "\\",
    "a",
    "ts",
    "values",
    "1",
    "-",
    ".",
    "1E3",
]
TOKENS += ["null", "TRUE", "NaN", " ", "\n", "#", "//", "/*", "*/", '"a":1', "\\u12", "\ufeff", "é", "0"]
SOUP = st.lists(st.sampled_from(TOKENS), max_size=25).map(lambda tokens: "".join(tokens).encode())


def edge_accepts(body: bytes, feature: str) -> bool:
    """Whether the device hears 2.01."""
    arrival = Arrival(
        path=("token", feature), endpoint="e", message_id=1, token=b"", body=body, received_at=1
    )
    try:
        message = ThingsBoard(fleet()).read(device(), arrival)
    except Refused:
        return False
    assert normaliser_accepts(message), "accepted, and then no readings"
    return True


def normaliser_accepts(message) -> bool:
    """Whether it becomes readings, or would if its clock were right."""
    try:
        normalise(message)
    except Unusable as error:
        return error.reason is Reason.UNUSABLE_TIME
    return True


def as_message(body: bytes, feature: str):
    """A message as the edge would have made it, had it accepted the body."""
    good = Arrival(path=("t", feature), endpoint="e", message_id=1, token=b"", body=b"{}", received_at=1)
    message = ThingsBoard(fleet()).read(device(), good)
    return type(message)(
        **{name: getattr(message, name) for name in message.__struct_fields__} | {"body": body}
    )


@given(BODIES.map(lambda value: json.dumps(value).encode()) | SOUP | st.binary(max_size=20))
@example(b'{"a":"\\ud800"}')
@example(b'{"a":' + b"[" * 101 + b"]" * 101 + b"}")
@example(b"[" * 100_000)
@example(b'{"a":1e99999999999999999999}')
@example(b'{"ts":1e99999999999999999999,"values":{}}')
@example(b'{"a":' + b"9" * 5000 + b"}")
def test_one_verdict(body):
    """What the edge accepts becomes readings, what it refuses would have been a dead letter, whatever the bytes are."""
    for feature in ("telemetry", "attributes"):
        assert edge_accepts(body, feature) == normaliser_accepts(as_message(body, feature))


@given(BODIES.map(lambda value: json.dumps(value).encode()))
@example(b'{"a":' * 101 + b"1" + b"}" * 101)
@example(b'{"a":' * 102 + b"1" + b"}" * 102)
def test_one_meaning(body):
    """Strict JSON means the same to both readers; a comment behind it makes the lenient one read it."""
    assert repr(verdict(body)) == repr(verdict(body + b"#"))


def verdict(body: bytes) -> list[Entry] | None:
    """The entries, if there are any."""
    try:
        return list(entries(Feature.TELEMETRY, body))
    except NotTelemetry:
        return None
