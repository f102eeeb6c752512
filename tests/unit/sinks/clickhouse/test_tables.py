"""Batches as the rows of each table."""

import itertools
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reading import INT64_MAX, INT64_MIN, Feature, Reading, reading
from schemas.reading_block import Fate, MessageRow
from sinks.clickhouse.tables import tables
from sinks.sink import Batch, Block
from tests.support.blocks import batch, message, messages, run, span


def _bytes(table: pa.Table) -> bytes:
    """The table as it goes over the wire."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def test_a_reading_carries_what_its_message_knows():
    """A reading's row has the context and the origin of its message, and the value."""
    row = message(
        7,
        reading("temperature", 21.5, 5, sensor="inlet", unit="°C", feature=Feature.ATTRIBUTES),
        tenant="acme",
        device="boiler-7",
        place="hall 2",
    )

    (found,) = tables(batch([row]))["readings"].drop_columns(["received_at", "measured_at"]).to_pylist()

    assert found == {
        "tenant": "acme",
        "device": "boiler-7",
        "dialect": "graph",
        "place": "hall 2",
        "origin_partition": 0,
        "origin_offset": 7,
        "position": 0,
        "feature": "attributes",
        "quantity": "temperature",
        "sensor": "inlet",
        "unit": "°C",
        "kind": "float64",
        "number": 21.5,
        "integer": 0,
        "text": "",
    }


def test_a_message_is_a_row_whatever_its_fate():
    """Each message has one row in `messages`, with its fate and the count of its readings."""
    rows = [message(0, reading("a", 1, 0), reading("b", 2, 0)), _bare(1)]

    found = tables(batch(rows))["messages"].select(["origin_offset", "fate", "readings"]).to_pylist()

    assert found == [
        {"origin_offset": 0, "fate": "stored", "readings": 2},
        {"origin_offset": 1, "fate": "duplicate", "readings": 0},
    ]


def _bare(offset: int, fate: Fate = Fate.DUPLICATE, **other: Any) -> MessageRow:
    """A message without readings."""
    return MessageRow(offset=offset, fate=fate, logged_at=0, dialect="graph", **other)


def test_the_topic_of_a_message_is_that_of_its_block():
    """Origin topic and id come from the range that the block names."""
    found = tables(batch([_bare(4)], topic="raw-thingsboard", topic_id="x"))["messages"].to_pylist()

    assert [(row["origin_topic"], row["origin_topic_id"]) for row in found] == [("raw-thingsboard", "x")]


def test_only_a_dead_letter_is_kept_with_its_bytes():
    """`dead_letters` has the dead letters alone, byte by byte, and why."""
    dead = _bare(1, Fate.DEAD_LETTER, reason="malformed", error="no such field", body=b"\x00\xff")

    found = tables(batch([message(0), dead]))["dead_letters"].to_pylist()

    assert [(row["origin_offset"], row["reason"], row["error"], row["body"]) for row in found] == [
        (1, "malformed", "no such field", b"\x00\xff")
    ]


def test_labels_are_a_map():
    """Label sets become maps, each message its own."""
    rows = [_bare(0, labels='{"floor":"2","a":"é"}'), _bare(1), _bare(2, labels='{"floor":"2","a":"é"}')]

    found = tables(batch(rows))["messages"]["labels"].to_pylist()

    assert found == [[("floor", "2"), ("a", "é")], [], [("floor", "2"), ("a", "é")]]


def test_a_table_without_rows_is_left_out():
    """Where there is nothing to insert there is no table."""
    assert list(tables(batch([_bare(0)]))) == ["messages"]


def test_an_empty_batch_has_no_tables():
    """A batch whose messages were all stored before needs no insert."""
    empty = Block(offset=0, span=span(0, 4), messages=run(0, 4).slice(0, 0))
    gone = Batch(topic_id="r", partition=0, first=0, last=0, blocks=[empty])

    assert tables(gone) == {}


def test_a_table_is_one_chunk():
    """Every column of every table is one chunk, however many blocks the batch has: it is one insert block."""
    found = tables(batch([message(0)], [_bare(1, Fate.DEAD_LETTER)], [message(2)]))

    assert {column.num_chunks for table in found.values() for column in table.columns} == {1}


_VALUES = st.one_of(
    st.booleans(),
    st.sampled_from([INT64_MIN, INT64_MAX, 0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.just({"a": [1]}),
)
_READINGS = st.builds(
    reading,
    st.sampled_from(["q1", "q2", "é"]),
    _VALUES,
    st.integers(-10, 10),
    sensor=st.sampled_from(["", "s"]),
)
_BLOCKS = st.lists(st.lists(st.lists(_READINGS, max_size=3), min_size=1, max_size=4), min_size=1, max_size=4)


def _rows(blocks: list[list[list[Reading]]]) -> list[list[MessageRow]]:
    """Messages with these readings, numbered through, each third from another device."""
    numbers = itertools.count()
    return [
        [
            _bare(number, Fate.STORED, device=f"d{number % 3}", readings=readings)
            for readings, number in zip(block, numbers, strict=False)
        ]
        for block in blocks
    ]


@settings(deadline=None, max_examples=50)
@given(blocks=_BLOCKS)
def test_every_reading_is_there_in_order(blocks: list[list[list[Reading]]]):
    """The readings of all blocks follow each other, each with its device, its message and its position in it."""
    rows = _rows(blocks)

    found = tables(batch(*rows)).get("readings", pa.table({})).to_pylist()

    names = ("quantity", "sensor", "kind", "number", "integer", "text")
    assert [
        (row["device"], row["origin_offset"], row["position"], *(row[name] for name in names))
        for row in found
    ] == [
        (row.device, row.offset, position, *(getattr(value, name) for name in names))
        for block in rows
        for row in block
        for position, value in enumerate(row.readings)
    ]


@settings(deadline=None, max_examples=25)
@given(blocks=_BLOCKS)
def test_the_same_batch_gives_the_same_bytes(blocks: list[list[list[Reading]]]):
    """A batch that is made again from the log is byte for byte the same insert."""
    rows = _rows(blocks)

    first, second = tables(batch(*rows)), tables(batch(*rows))

    assert {name: _bytes(table) for name, table in first.items()} == {
        name: _bytes(table) for name, table in second.items()
    }


def test_a_sliced_block_keeps_its_rows_straight():
    """Messages that were cut out of a block keep their own readings and positions."""
    rows = [message(n, *[reading("q", 10 * n + k, 0) for k in range(n)]) for n in range(1, 4)]
    cut = Block(offset=0, span=span(1, 3), messages=messages(rows).slice(1, 2))

    found = tables(Batch(topic_id="r", partition=0, first=0, last=0, blocks=[cut]))["readings"].to_pylist()

    assert [(row["origin_offset"], row["position"], row["integer"]) for row in found] == [
        *((2, 0, 20), (2, 1, 21)),
        *((3, 0, 30), (3, 1, 31), (3, 2, 32)),
    ]
