import contextlib
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reading import EARLIEST_US, LATEST_US, Feature, Reading, reading
from schemas.reading_block import READING, SCHEMA, Fate, MessageRow, NotABlock, Span, decode, encode, select

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
READINGS = st.builds(
    reading,
    TEXT,
    st.booleans() | INT64 | st.floats() | TEXT | st.dictionaries(TEXT, INT64),
    st.integers(EARLIEST_US, LATEST_US),
    sensor=TEXT,
    unit=TEXT,
    feature=st.sampled_from(Feature),
)
ROWS = st.builds(
    MessageRow,
    offset=st.integers(0, (1 << 63) - 1),
    fate=st.sampled_from(Fate),
    logged_at=st.integers(0, LATEST_US // 1000),
    dialect=TEXT,
    identity=st.binary(min_size=16, max_size=16),
    message_id=TEXT,
    tenant=TEXT,
    device=TEXT,
    received_at=st.integers(EARLIEST_US, LATEST_US),
    labels=st.just('{"floor":"2"}'),
    error=TEXT,
    body=st.binary(),
    readings=st.lists(READINGS, max_size=3),
)

ROW = MessageRow(
    offset=41,
    fate=Fate.STORED,
    logged_at=1_700_000_000_123,
    dialect="graph",
    identity=bytes(range(16)),
    tenant="acme",
    device="boiler-7",
    received_at=1_700_000_000_000_456,
    readings=[
        reading("temperature", 21.5, 1_700_000_000_000_000),
        reading("on", True, 1_700_000_000_000_001),
    ],
)


def micros(moment: datetime) -> int:
    """A time as microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def rows_of(block: pa.RecordBatch) -> list[MessageRow]:
    """The rows that a block was made of."""
    rows = []
    for row in block.to_pylist():
        row["received_at"] = micros(row["received_at"])
        row["logged_at"] = micros(row["logged_at"]) // 1000
        row["readings"] = [Reading(**r | {"measured_at": micros(r["measured_at"])}) for r in row["readings"]]
        rows.append(MessageRow(**row))
    return rows


def written(*batches: pa.RecordBatch) -> bytes:
    """Batches as an Arrow stream, whether or not they are a block."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@settings(deadline=None)
@given(st.lists(ROWS, max_size=4))
def test_rows_survive_the_round_trip(rows):
    """Decoding a block gives the rows it was made of, also when there are none."""
    assert rows == rows_of(decode(encode(rows)))


def test_every_column_is_a_field_of_a_row():
    """The columns of a block are the fields of a row, in their order."""
    assert list(MessageRow.__struct_fields__) == SCHEMA.names


def test_every_nested_column_is_a_field_of_a_reading():
    """The nested columns are the fields of a reading, in their order."""
    assert list(Reading.__struct_fields__) == [field.name for field in READING]


def test_a_block_is_one_batch_in_the_schema():
    """A decoded block has every column, in the order and type of the newest schema."""
    assert SCHEMA == decode(encode([ROW])).schema


@pytest.mark.parametrize("column", ["tracestate", "labels", "body"])
def test_a_block_without_a_later_column_still_decodes(column):
    """A block from before a column was added reads as if the column were null."""
    block = decode(encode([ROW]))
    older = block.drop_columns([column])

    assert [None] == decode(written(older)).column(column).to_pylist()


def test_readings_from_before_there_were_features_are_telemetry():
    """A block whose readings have no feature yet reads as it was meant, message by message."""
    rows = [ROW, without_readings(ROW), ROW]
    block = decode(encode(rows))
    index = block.schema.get_field_index("readings")
    older = block.set_column(index, "readings", without_features(block.column(index)))

    assert rows == rows_of(decode(written(older)))


def without_readings(row: MessageRow) -> MessageRow:
    """The same message with nothing in it."""
    return msgspec.structs.replace(row, readings=[])


def without_features(readings: pa.ListArray) -> pa.ListArray:
    """The nested column as it was before readings had a feature."""
    fields = [field for field in READING if field.name != "feature"]
    nested = [readings.values.field(field.name) for field in fields]
    return pa.ListArray.from_arrays(readings.offsets, pa.StructArray.from_arrays(nested, fields=fields))


def test_a_block_with_plain_strings_still_decodes():
    """A writer that does not dictionary-encode its strings is understood."""
    block = decode(encode([ROW]))
    index = block.schema.get_field_index("tenant")
    plain = block.set_column(index, "tenant", block.column(index).cast(pa.string()))

    assert SCHEMA == decode(written(plain)).schema


BLOCK = encode([ROW])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="json"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(BLOCK[: len(BLOCK) // 2], id="cut short"),
        pytest.param(written(decode(BLOCK), decode(BLOCK)), id="two batches"),
        pytest.param(written(pa.RecordBatch.from_pydict({"offset": ["one"]})), id="another type"),
    ],
)
def test_bytes_that_are_no_block_are_refused(data):
    """Whatever is wrong with the bytes, the caller has one exception to expect."""
    with pytest.raises(NotABlock):
        decode(data)


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_block_is_refused(data):
    """A block is what was written or it is none, whichever of its bits flips: no reading becomes another one."""
    damaged = bytearray(BLOCK)
    # Not of the mark between stream and digest: without it the stream is, rightly, a block of before there was a digest.
    position = data.draw(st.integers(0, len(BLOCK) - 1).filter(lambda at: not -12 <= at - len(BLOCK) < -8))
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(NotABlock):
        decode(bytes(damaged))
    with pytest.raises(NotABlock):
        select(bytes(damaged), ("offset",))


STREAM = written(decode(BLOCK))


@settings(deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=8), st.integers(0, len(STREAM)))
def test_damaged_bytes_never_raise_anything_else(noise, position):
    """A block of before there was a digest, with noise written over it, is either a block or refused."""
    damaged = STREAM[:position] + noise + STREAM[position + len(noise) :]

    with contextlib.suppress(NotABlock):
        assert SCHEMA == decode(damaged).schema


def test_a_block_without_a_digest_is_looked_at_value_by_value():
    """An index beyond its dictionary, which would have memory read that is somebody else's, is found."""
    block = decode(BLOCK)
    beyond = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), pa.array(["acme"]), safe=False)
    forged = block.set_column(block.schema.get_field_index("tenant"), "tenant", beyond)

    with pytest.raises(NotABlock):
        decode(written(forged))


def test_any_arrow_reader_reads_a_block():
    """The digest stands behind the stream, where nobody looks who does not know of it."""
    with pa.ipc.open_stream(BLOCK) as reader:
        assert decode(BLOCK).equals(reader.read_all().to_batches()[0])


SPAN = Span(
    topic="raw-graph", topic_id="fGzPVaZwSkSJ", partition=3, first=40, last=41, time=1_700_000_000_123
)


def test_a_span_survives_its_headers():
    """The headers of a record give back the range that they were made of."""
    assert SPAN == Span.of(SPAN.headers())


def test_other_headers_do_not_matter():
    """Headers of tracers and proxies beside our own are ignored."""
    assert SPAN == Span.of([("traceparent", b"00-1-2-01"), *SPAN.headers(), ("empty", None)])


@pytest.mark.parametrize("missing", range(len(SPAN.headers())))
def test_a_span_without_one_of_its_headers_is_refused(missing):
    """A record whose range is not known is no block."""
    headers = SPAN.headers()
    del headers[missing]

    with pytest.raises(NotABlock):
        Span.of(headers)


@pytest.mark.parametrize("value", [b"", b"many", b"\xff", None])
def test_a_span_whose_numbers_are_none_is_refused(value):
    """An offset that is no number is no range."""
    with pytest.raises(NotABlock):
        Span.of([*SPAN.headers(), ("origin-first", value)])


def test_a_record_without_headers_is_refused():
    """A record that somebody else put on the topic is no block."""
    with pytest.raises(NotABlock):
        Span.of(None)


def test_a_few_columns_are_those_of_the_whole():
    """What is selected is what decoding everything would give, in the order that was asked for."""
    data = encode([ROW, ROW])
    chosen = select(data, ("identity", "offset", "fate"))

    assert ["identity", "offset", "fate"] == chosen.schema.names
    assert decode(data).select(["identity", "offset", "fate"]).to_pylist() == chosen.to_pylist()


@pytest.mark.parametrize("damage", [b"", b"garbage", encode([ROW])[:-200]])
def test_a_few_columns_of_garbage_are_no_block(damage):
    """What is no block has no columns either."""
    with pytest.raises(NotABlock):
        select(damage, ("identity", "offset"))


def test_a_column_that_a_release_did_not_know_is_empty():
    """A block without a column that is asked for gives nulls for it."""
    batch = decode(encode([ROW])).select(["offset", "identity"])

    assert [{"offset": 41, "fate": None}] == select(written(batch), ("offset", "fate")).to_pylist()
