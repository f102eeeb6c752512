"""Edge and normaliser give the same verdict on the same bytes, and strict and lenient reading find the same."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from producers.coap.dialect import Arrival
from producers.coap.refusal import Refused
from producers.coap.thingsboard import ThingsBoard
from schemas import thingsboard
from schemas.dead_letter import Reason
from schemas.reading import Feature
from schemas.thingsboard import Entry, NotTelemetry, read, typed
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


def an_object(members: list[tuple[str, str]]) -> str:
    """Members as written, whether or not a name comes twice."""
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def an_array(items: list[str]) -> str:
    """Items as written."""
    return "[" + ",".join(items) + "]"


def written(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects and arrays as text."""
    members = st.lists(st.tuples(NAMES, values), max_size=4)
    return members.map(an_object) | st.lists(values, max_size=3).map(an_array)


NAMES = st.sampled_from(['"a"', '"b"', '"ts"', '"values"', '"\\u0074s"', "ts"])
WORDS = [
    "null",
    "true",
    " 1 ",
    '"x"',
    '"7"',
    '"-0.50"',
    '"{[e"',
    "-0",
    "-0.0",
    "1e3",
    "1E-3",
    "-2e+9",
    "NaN",
    "01",
    "1.",
]
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
TEXTS = st.recursive(st.sampled_from(WORDS) | NUMBERS, written, max_leaves=12)
TIMED_TEXTS = st.tuples(NUMBERS, TEXTS | written(NUMBERS)).map(
    lambda pair: an_object([('"ts"', pair[0]), ('"values"', pair[1])])
)
TIMED_LISTS = st.lists(TIMED_TEXTS, max_size=3).map(an_array)


@given(
    (TEXTS | TIMED_TEXTS | TIMED_LISTS).map(str.encode)
    | BODIES.map(lambda value: json.dumps(value).encode())
    | SOUP
    | st.binary(max_size=20),
    st.sampled_from(Feature),
)
@example(
    b"[" + b'{"ts":1,"values":{"a":1}},' * 200 + b'{"ts":1,"values":{"a":' + b"[" * 98 + b"]" * 98 + b"}}]",
    Feature.TELEMETRY,
)
@example(
    b"[" + b'{"ts":1,"values":{"a":1}},' * 200 + b'{"ts":1,"values":{"a":' + b"[" * 99 + b"]" * 99 + b"}}]",
    Feature.TELEMETRY,
)
@example(b'{"ts":1,"values":{"a":' + b"[" * 100_000, Feature.TELEMETRY)
@example(b'{"a":0.1234567890123456,"b":0.12345678901234567}', Feature.TELEMETRY)
@example(b'{"a":9007199254740993.5,"b":1234567890123456789}', Feature.ATTRIBUTES)
@example(b'{"ts":1,"values":{"a":1.50,"b":{"c":1.50}}}', Feature.TELEMETRY)
@example(b'{"a":-0.0,"b":{"c":1.50}}', Feature.TELEMETRY)
@example(b'{"\\u0074s":1,"values":2}', Feature.TELEMETRY)
@example(b'{"ts":null,"values":{}}', Feature.TELEMETRY)
def test_a_short_cut_leads_to_the_same_place(body, feature):
    """A body of the usual kind is what the thorough reader makes of it, to the type and the sign of a zero."""
    usual = thingsboard._usual(feature, body)

    assert usual is None or repr(typed(usual)) == repr(typed(thingsboard._thoroughly(feature, body)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"temperature": 21.5, "on": true, "state": "idle", "n": -7}',
        b'{"ts": 1700000000000, "values": {"temperature": 21.5}}',
        b'{"ts": 1700000000000, "values": {"at": {"lat": 47.3769, "lon": 8.5417}}}',
        b"[" + b",".join([b'{"ts": 1700000000000, "values": {"temperature": 21.5}}'] * 500) + b"]",
    ],
    ids=["flat", "timed", "nested", "many"],
)
def test_the_short_cut_is_taken(body):
    """Bodies of the kinds that devices send are read by the short cut."""
    assert thingsboard._usual(Feature.TELEMETRY, body) is not None


def verdict(body: bytes) -> list[Entry] | None:
    """The entries, if there are any."""
    try:
        return list(typed(read(Feature.TELEMETRY, body)))
    except NotTelemetry:
        return None
