import json

import pytest

from processors import refine as refining
from processors.dedupe import Window
from processors.refine import LONGEST_ERROR, blocks, dead_letter, refine
from runtime.devices import PlaceTable
from schemas import codec, reading_block
from schemas.dead_letter import DeadLetter, Reason
from schemas.device import Device
from schemas.reading_block import Fate, MessageRow
from schemas.topics import MAX_RAW_BYTES, TOPICS
from tests.support.raw import LOGGED_AT, SOURCE, Raw, garbage, message, record

DEVICES = PlaceTable([Device(tenant="acme", device="boiler-7", place="hall 2", labels={"floor": "2"})])
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def refined(*records, devices=DEVICES):
    """The rows of these records, in a window that has seen nothing."""
    return refine(records, SOURCE, Window(seconds=60), devices)


def wordy(size):
    """A message whose error would quote it."""
    item = {"sensorType": "t", "timestamp": "x" * size}
    return message({"telemetry": [item]}, dialect="graph")


def row(offset, logged_at=LOGGED_AT):
    """A row of no interest."""
    return MessageRow(offset=offset, fate=Fate.STORED, logged_at=logged_at, dialect="thingsboard")


def test_a_message_is_stored_with_all_that_is_known():
    """A row says where a message came from, what it is, what is known of its device, and what it measured."""
    raw = message(attributes={"traceparent": TRACE, "tracestate": "a=1"})
    (row,) = refined(record(5, raw))

    assert (row.offset, row.fate, row.logged_at, row.dialect) == (5, Fate.STORED, LOGGED_AT, "thingsboard")
    assert (row.identity, row.message_id, row.tenant, row.device) == (
        raw.identity(),
        "m-1",
        "acme",
        "boiler-7",
    )
    assert (row.received_at, row.traceparent, row.tracestate) == (raw.received_at, TRACE, "a=1")
    assert (row.place, row.labels) == ("hall 2", '{"floor":"2"}')
    assert [("temperature", 21.5)] == [(reading.quantity, reading.number) for reading in row.readings]


def test_a_repeat_is_a_duplicate_without_its_readings():
    """A message that comes again is counted, by whom, and holds nothing."""
    _, again = refined(record(5, message()), record(6, message()))

    assert (6, Fate.DUPLICATE, "acme", "boiler-7", ()) == (
        again.offset,
        again.fate,
        again.tenant,
        again.device,
        again.readings,
    )
    assert message().identity() == again.identity


def test_a_duplicate_is_never_decoded():
    """De-duplication reads the header alone."""
    again = record(6, message())
    again.value = b"garbage"

    assert [Fate.STORED, Fate.DUPLICATE] == [row.fate for row in refined(record(5, message()), again)]


@pytest.mark.parametrize("value", [None, b"", b"\xff\x00", b"\xc3\x01" + bytes(8), b"\xc3\x01"])
def test_what_is_no_raw_message_is_a_dead_letter(value):
    """A record that cannot be decoded keeps its bytes, and says why."""
    (row,) = refined(garbage(5, value))

    assert (Fate.DEAD_LETTER, Reason.UNDECODABLE, value or b"") == (row.fate, row.reason, row.body)
    assert row.error
    assert LOGGED_AT * 1000 == row.received_at


def test_a_body_of_another_shape_is_a_dead_letter():
    """A message that is not of its dialect's shape says who sent it, and why it cannot be used."""
    raw = message(b"21.5")
    (row,) = refined(record(5, raw))

    assert (Fate.DEAD_LETTER, Reason.MALFORMED, raw.identity(), "boiler-7") == (
        row.fate,
        row.reason,
        row.identity,
        row.device,
    )


def test_a_dialect_that_nobody_knows_is_a_dead_letter():
    """A message of an unknown dialect is kept for the release that knows it."""
    (row,) = refined(record(5, message(dialect="smoke signals")))

    assert (Reason.MALFORMED, "no such dialect: smoke signals") == (row.reason, row.error)


def test_more_readings_than_a_block_holds_are_a_dead_letter():
    """A message that would not fit into a block of its own is a dead letter, not the end of the processor."""
    (row,) = refined(record(5, message({f"{n:05}": n for n in range(70_000)})))

    assert Reason.TOO_LARGE == row.reason


def test_a_dead_letter_that_comes_again_is_one_again():
    """What could not be used is not remembered: sent again by a release that can, it is stored."""
    bad = message(b"21.5")

    assert [Fate.DEAD_LETTER] * 2 == [row.fate for row in refined(record(5, bad), record(6, bad))]


def test_an_explanation_is_short():
    """An error that quotes the message stays within what fits into a dead letter beside it."""
    (row,) = refined(record(5, wordy(100_000)))

    assert LONGEST_ERROR == len(row.error)


def test_the_largest_dead_letter_fits_its_topic():
    """The largest raw record that is on the log can also be a dead letter."""
    largest = record(5, wordy(MAX_RAW_BYTES - 4096))
    (row,) = refined(largest)
    letter = codec.encode(dead_letter(row, largest, SOURCE))

    assert len(letter) + 4096 < int(TOPICS["dead-letters"].config["max.message.bytes"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"ts":' + b"9" * 4300 + b',"values":{"a":1}}',
        b'{"a":' + b"9" * 4300 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}",
        b'{"ts":"nan","values":{"a":1}}',
        b'{"ts":"-inf","values":{"a":1}}',
        b'{"ts":1e308,"values":{"a":1}}',
        b'{"a":NaN}',
        b"\xef\xbb\xbf{}",
        b'{"a":1}{}',
        b"",
    ],
)
def test_no_body_stops_the_processor(body):
    """Whatever a body holds, its message becomes a row that a block can carry."""
    rows = refined(record(5, message(body)))
    ((_, data),) = blocks(rows, SOURCE, time=0)

    assert 1 == reading_block.decode(data).num_rows


def test_a_dead_letter_is_the_record_untouched():
    """Key, value, headers and origin of a dead letter are the record's own."""
    bad = garbage(5)
    bad.headers = [("identity", b"\1"), ("other", b"2")]
    (row,) = refined(bad)

    assert DeadLetter(
        topic="raw-thingsboard",
        topic_id="T",
        partition=3,
        offset=5,
        logged_at=LOGGED_AT,
        reason=Reason.UNDECODABLE,
        error=row.error,
        key=b"who/knows",
        value=b"\xff\x00",
        headers={"identity": b"\1", "other": b"2"},
    ) == dead_letter(row, bad, SOURCE)


def test_a_header_without_a_value_can_be_a_dead_letter():
    """Kafka knows headers without a value; they stop nobody."""
    bad = Raw(offset=5, timestamp=LOGGED_AT, key=None, value=None, headers=[("identity", None)])
    (row,) = refined(bad)
    letter = codec.decode(DeadLetter, codec.encode(dead_letter(row, bad, SOURCE)))

    assert ({"identity": b""}, None, None) == (letter.headers, letter.key, letter.value)


def test_a_block_names_what_it_covers():
    """The span of a block is the origin of its rows."""
    ((span, data),) = blocks([row(5), row(6, LOGGED_AT + 9), row(7, LOGGED_AT + 3)], SOURCE, time=0)

    assert ("raw-thingsboard", "T", 3, 5, 7) == (
        span.topic,
        span.topic_id,
        span.partition,
        span.first,
        span.last,
    )
    assert [5, 6, 7] == reading_block.decode(data).column("offset").to_pylist()


@pytest.mark.parametrize("limit", ["BLOCK_BYTES", "BLOCK_READINGS"])
def test_a_large_block_is_split(limit: str, monkeypatch):
    """Blocks that were split are whole, one after the other, and together what the one would have been."""
    monkeypatch.setattr(refining, limit, -1)
    made = blocks([row(offset) for offset in (5, 6, 7)], SOURCE, time=0)

    assert [(5, 5), (6, 6), (7, 7)] == [(span.first, span.last) for span, _ in made]


def test_a_split_block_has_its_own_time(monkeypatch):
    """The time of a block is the newest up to its last row, not that of rows behind it."""
    monkeypatch.setattr(refining, "BLOCK_BYTES", 1)
    made = blocks([row(5, 2000), row(6, 1000), row(7, 3000)], SOURCE, time=1500)

    assert [2000, 2000, 3000] == [span.time for span, _ in made]


def test_a_blocks_time_is_never_before_its_chunks():
    """Rows that are older than the log's time leave it as it was."""
    ((span, _),) = blocks([row(5, 1000)], SOURCE, time=1500)

    assert 1500 == span.time


def test_an_item_grows_no_more_than_it_may():
    """The largest message that is let through fits into a block."""
    quantity = "é" * 8
    size = 96 + 4 * len(quantity)
    body = {f"{quantity[:-6]}{n:06}": n for n in range(refining.LARGEST_BLOCK_BYTES // size)}
    rows = refined(record(5, message(json.dumps(body, ensure_ascii=False).encode())))
    ((_, data),) = blocks(rows, SOURCE, time=0)

    assert Fate.STORED == rows[0].fate
    assert len(data) <= refining.LARGEST_BLOCK_BYTES


def test_a_record_without_an_identity_is_a_duplicate_by_its_message():
    """Whoever wrote a record without the header, its message is the same message."""
    bare = record(6, message())
    bare.headers = []

    assert [Fate.STORED, Fate.DUPLICATE] == [row.fate for row in refined(record(5, message()), bare)]


def test_the_identity_beside_a_message_is_its_identity():
    """Whoever wrote the record has named the message: its row says the same, whatever a later release would call it."""
    named = record(5, message())
    named.headers = [("identity", b"sixteen of bytes")]

    assert [b"sixteen of bytes"] == [row.identity for row in refined(named)]


@pytest.mark.parametrize("header", [b"", b"short", message().identity()[:15], bytes(17), None])
def test_an_identity_that_cannot_be_one_is_not_used(header):
    """A header of another length stops nobody, and makes no duplicate."""
    odd = record(6, message(message_id="other"))
    odd.headers = [("identity", header)]
    rows = refined(record(5, message()), odd)

    assert [Fate.STORED, Fate.STORED] == [row.fate for row in rows]
    assert 2 == reading_block.decode(blocks(rows, SOURCE, time=0)[0][1]).num_rows


def test_what_cannot_be_decoded_keeps_its_identity():
    """The identity in the header of a record that nobody can read stands in its row."""
    bad = garbage(5)
    bad.headers = [("identity", message().identity())]

    assert [message().identity()] == [row.identity for row in refined(bad)]


@pytest.mark.parametrize(("key", "value"), [(1 << 20, 1 << 20), (1, 3 << 20), (2 << 20, 1), (9, 2_000_000)])
def test_any_dead_letter_fits_its_topic(key, value):
    """Whatever somebody wrote to a raw topic, its dead letter is one that Kafka takes, key and all."""
    huge = Raw(offset=5, timestamp=LOGGED_AT, key=b"k" * key, value=b"v" * value, headers=[])
    (row,) = refined(huge)
    letter = dead_letter(row, huge, SOURCE)

    size = len(codec.encode(letter)) + len(letter.key or b"")
    assert size + 4096 < int(TOPICS["dead-letters"].config["max.message.bytes"])


def test_a_dead_letter_is_whole_or_says_so():
    """A record that is too large is named, and nothing half is kept of it."""
    huge = Raw(offset=5, timestamp=LOGGED_AT, key=b"k", value=b"v" * (3 << 20), headers=[("a", b"b")])
    (row,) = refined(huge)
    letter = dead_letter(row, huge, SOURCE)

    assert (None, None, {}, b"") == (letter.key, letter.value, letter.headers, row.body)
    assert letter.error.startswith("its 3145740 bytes do not fit here, and stay in raw-thingsboard; ")
