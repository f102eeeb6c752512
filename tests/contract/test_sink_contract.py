"""One suite for every sink: the fake that other tests use, and ClickHouse."""

import dataclasses
import re
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa
import pytest
import pytest_asyncio

from schemas.reading import EARLIEST_US, INT64_MAX, INT64_MIN, LATEST_US, Feature, Kind, reading
from schemas.reading_block import READING, SCHEMA, Fate, MessageRow
from sinks.clickhouse import canary
from sinks.clickhouse.writer import ClickHouseSink
from sinks.progress import Piece
from sinks.sink import Batch, Doubtful, Sink, Unwritable
from tests.support.blocks import NOW_MS, batch, message
from tests.support.blocks import store as put
from tests.support.engine import database, engine
from tests.support.fakes import MemorySink

DOCS = Path(__file__).parents[2] / "docs/sink.md"
MINUTE = 60_000_000
TABLES = ("messages", "dead_letters", "readings", "readings_1m_state")

Rows = list[tuple[Any, ...]]


class Store(Protocol):
    """A sink, and what can be seen of what it stored; instants are microseconds since 1970."""

    sink: Sink

    def messages(self) -> Rows:
        """Offset, fate, labels and count of readings."""

    def dead_letters(self) -> Rows:
        """Offset, reason, error, body."""

    def readings(self) -> Rows:
        """Offset, position, quantity, instant, kind, number, integer, text, feature."""

    def once(self) -> Rows:
        """The same, of each instant of a quantity the last."""

    def minutes(self) -> Rows:
        """Quantity, minute, count, sum, least, greatest, last, feature."""

    def latest(self) -> Rows:
        """Quantity, instant, kind, number, integer, text, feature."""


class MemoryStore:
    """The fake, and the views as Python says them."""

    def __init__(self) -> None:
        self.sink = MemorySink()

    def _messages(self, batches: Iterable[Batch]) -> list[dict[str, Any]]:
        return [
            row for stored in batches for block in stored.blocks for row in _plain(block.messages).to_pylist()
        ]

    def messages(self) -> Rows:
        """See `Store`."""
        return sorted(
            (r["offset"], r["fate"], r["labels"], len(r["readings"]))
            for r in self._messages(self.sink.batches.values())
        )

    def dead_letters(self) -> Rows:
        """See `Store`."""
        dead = (row for row in self._messages(self.sink.batches.values()) if row["fate"] == Fate.DEAD_LETTER)
        return sorted((row["offset"], row["reason"], row["error"], row["body"]) for row in dead)

    def readings(self) -> Rows:
        """See `Store`."""
        names = ("quantity", "measured_at", "kind", "number", "integer", "text", "feature")
        return sorted(
            (row["offset"], position, *(value[name] for name in names))
            for row in self._messages(self.sink.pieces.values())
            for position, value in enumerate(row["readings"])
        )

    def once(self) -> Rows:
        """See `Store`."""
        last = {
            (quantity, at, value[-1]): (offset, position, quantity, at, *value)
            for offset, position, quantity, at, *value in self.readings()
        }
        return sorted(last.values())

    def minutes(self) -> Rows:
        """See `Store`."""
        groups: dict[tuple[str, int, str], Rows] = {}
        for offset, position, quantity, at, kind, number, *_, feature in self.readings():
            if kind in {Kind.BOOL, Kind.INT64, Kind.FLOAT64}:
                groups.setdefault((quantity, at // MINUTE * MINUTE, feature), []).append(
                    (at, offset, position, number)
                )
        rows = []
        for (quantity, minute, feature), found in sorted(groups.items()):
            numbers = [number for *_, number in found]
            extremes = (min(numbers), max(numbers), max(found)[-1])
            rows.append((quantity, minute, len(numbers), sum(numbers), *extremes, feature))
        return rows

    def latest(self) -> Rows:
        """See `Store`."""
        newest: dict[tuple[str, str], tuple[Any, ...]] = {}
        for offset, position, quantity, at, *value, feature in self.readings():
            key = (quantity, feature)
            newest[key] = max(newest.get(key, ()), (at, offset, position, *value))
        return [
            (quantity, at, *value, feature)
            for (quantity, feature), (at, _, _, *value) in sorted(newest.items())
        ]


def _plain(messages: Any) -> Any:
    """Instants as numbers."""
    nested = [pa.field(f.name, pa.int64() if f.name == "measured_at" else f.type) for f in READING]
    fields = [
        pa.field("readings", pa.list_(pa.struct(nested)))
        if f.name == "readings"
        else pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type)
        for f in SCHEMA
    ]
    return messages.cast(pa.schema(fields))


class ClickHouseStore:
    """The sink of the product, in a database of its own."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.sink = ClickHouseSink(client)

    def _rows(self, query: str) -> Rows:
        return [tuple(row) for row in self.client.query(query).result_rows]

    def messages(self) -> Rows:
        """See `Store`."""
        return self._rows(
            "SELECT origin_offset, fate, toJSONString(labels), readings FROM messages ORDER BY origin_offset"
        )

    def dead_letters(self) -> Rows:
        """See `Store`."""
        found = self._rows(
            "SELECT origin_offset, reason, error, hex(body) FROM dead_letters ORDER BY origin_offset"
        )
        return [(*row, bytes.fromhex(body)) for *row, body in found]

    def readings(self) -> Rows:
        """See `Store`."""
        return self._readings("readings")

    def once(self) -> Rows:
        """See `Store`."""
        return self._readings("readings_once")

    def _readings(self, source: str) -> Rows:
        return self._rows(
            "SELECT origin_offset, position, quantity, toUnixTimestamp64Micro(measured_at), kind, number, integer, text, feature"
            f" FROM {source} ORDER BY origin_offset, position"
        )

    def minutes(self) -> Rows:
        """See `Store`."""
        return self._rows(
            "SELECT quantity, toUnixTimestamp64Micro(toDateTime64(minute, 6, 'UTC')), count, sum, least, greatest, last, feature"
            " FROM readings_1m ORDER BY quantity, minute, feature"
        )

    def latest(self) -> Rows:
        """See `Store`."""
        return self._rows(
            "SELECT quantity, toUnixTimestamp64Micro(measured_at), kind, number, integer, text, feature"
            " FROM latest ORDER BY quantity, feature"
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="url")
async def _url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with engine(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


@pytest.fixture(name="client")
def _client(url: str) -> Iterator[Any]:
    with database(url, "contract") as client:
        yield client


@pytest.fixture(name="store", params=["memory", "clickhouse"])
def _store(request: pytest.FixtureRequest) -> Store:
    """Each sink, empty."""
    return MemoryStore() if request.param == "memory" else ClickHouseStore(request.getfixturevalue("client"))


def _typical(first: int = 0) -> Batch:
    """A batch of two blocks with every fate in it, and readings of two quantities in one minute."""
    at = NOW_MS * 1000 // MINUTE * MINUTE
    return batch(
        [
            message(first, reading("t", 1.5, at), reading("n", 2, at + first)),
            MessageRow(offset=first + 1, fate=Fate.DUPLICATE, logged_at=NOW_MS, dialect="graph"),
        ],
        [
            message(first + 2, reading("t", 3.5, at + 1)),
            MessageRow(
                offset=first + 3, fate=Fate.DEAD_LETTER, logged_at=NOW_MS, dialect="graph", reason="malformed"
            ),
        ],
        first=first,
    )


def _all(store: Store) -> list[Rows]:
    return [
        store.messages(),
        store.dead_letters(),
        store.readings(),
        store.once(),
        store.minutes(),
        store.latest(),
    ]


def test_a_batch_is_there_when_write_returns(store: Store):
    """Every row of a batch can be read once it is written."""
    put(store.sink, _typical())

    assert [len(rows) for rows in _all(store)] == [4, 1, 3, 3, 2, 2]


def test_the_same_batch_counts_once(store: Store):
    """A batch that is written three times is stored once, in every table and every roll-up."""
    put(store.sink, _typical())
    once = _all(store)

    put(store.sink, _typical())
    put(store.sink, _typical())

    assert _all(store) == once


def test_a_following_batch_adds(store: Store):
    """The next batch adds its rows, and to the roll-ups of the same minute."""
    put(store.sink, _typical())
    put(store.sink, _typical(first=4))

    assert [len(rows) for rows in _all(store)] == [8, 2, 6, 4, 2, 2]
    assert [(row[0], row[2], row[3]) for row in store.minutes()] == [("n", 2, 4), ("t", 4, 10)]


def test_equal_readings_of_two_batches_both_count(store: Store):
    """Two batches whose readings are the same are two, however small: the token names them, not their content."""
    at = NOW_MS * 1000
    for offset in (0, 1):
        put(store.sink, batch([message(offset, reading("t", 1, at), received_at=at)], first=offset))

    assert [row[2:4] for row in store.minutes()] == [(2, 2)]


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        (INT64_MIN, "int64", (float(INT64_MIN), INT64_MIN, "")),
        (INT64_MAX, "int64", (float(INT64_MAX), INT64_MAX, "")),
        (True, "bool", (1.0, 1, "")),
        (False, "bool", (0.0, 0, "")),
        (0.1, "float64", (0.1, 0, "")),
        (5e-324, "float64", (5e-324, 0, "")),
        (-1.7976931348623157e308, "float64", (-1.7976931348623157e308, 0, "")),
        ("it's\t\\N\n \U0001f321\0.", "string", (0.0, 0, "it's\t\\N\n \U0001f321\0.")),
        ("", "string", (0.0, 0, "")),
        (1 << 64, "string", (0.0, 0, "18446744073709551616")),
        ({"a": [1, None]}, "json", (0.0, 0, '{"a":[1,null]}')),
    ],
)
def test_a_value_keeps_its_type(store: Store, value: object, kind: str, stored: tuple[Any, ...]):
    """A value is read back as it was written, to the last bit, from the readings and as the latest."""
    at = NOW_MS * 1000
    put(store.sink, batch([message(0, reading("q", value, at))]))

    assert store.readings() == [(0, 0, "q", at, kind, *stored, Feature.TELEMETRY)]
    assert store.latest() == [("q", at, kind, *stored, Feature.TELEMETRY)]


@pytest.mark.parametrize("at", [EARLIEST_US, -1, 0, -MINUTE, MINUTE - 1, 4_294_967_296_000_000, LATEST_US])
def test_an_instant_is_kept(store: Store, at: int):
    """An instant before 1970, beyond 2106 or at the end of 2299 is kept, and falls into its own minute."""
    put(store.sink, batch([message(0, reading("q", 1, at))]))

    assert [row[3] for row in store.readings()] == [at]
    assert [row[1] for row in store.minutes()] == [at // MINUTE * MINUTE]
    assert [row[1] for row in store.latest()] == [at]


def test_only_numbers_roll_up(store: Store):
    """Bools, integers and floats have minutes; strings and JSON have none."""
    values = {"b": True, "i": -3, "f": 0.5, "s": "9", "j": [9]}
    at = NOW_MS * 1000
    put(store.sink, batch([message(0, *(reading(name, value, at) for name, value in values.items()))]))

    assert [(row[0], row[3]) for row in store.minutes()] == [("b", 1.0), ("f", 0.5), ("i", -3.0)]


def test_a_minute_has_its_extremes_and_its_last(store: Store):
    """A minute knows count, sum, least, greatest and last, also when readings come late and in several batches."""
    at = NOW_MS * 1000 // MINUTE * MINUTE
    put(store.sink, batch([message(0, reading("q", 5, at + 9), reading("q", -7, at + 3))]))
    put(store.sink, batch([message(1, reading("q", 1, at + 4))], first=1))

    assert store.minutes() == [("q", at, 3, -1.0, -7.0, 5.0, 5.0, Feature.TELEMETRY)]


def test_the_latest_is_the_newest_measurement(store: Store):
    """A late reading changes nothing; of several at one instant the one that arrived last is the latest."""
    at = NOW_MS * 1000
    put(store.sink, batch([message(0, reading("q", 1, at), reading("q", "last", at))]))
    put(store.sink, batch([message(1, reading("q", 3, at - 1))], first=1))

    assert store.latest() == [("q", at, "string", 0.0, 0, "last", Feature.TELEMETRY)]


def test_features_do_not_mix(store: Store):
    """An attribute counts, and has minutes and a latest value of its own, beside telemetry of the same name and instant."""
    at = NOW_MS * 1000 // MINUTE * MINUTE
    readings = [reading("q", number, at, feature=feature) for number, feature in enumerate(Feature)]
    put(store.sink, batch([message(0, *readings)]))

    assert [(row[2], row[3], row[-1]) for row in store.minutes()] == [
        (1, 1.0, "attributes"),
        (1, 0.0, "telemetry"),
    ]
    assert [(row[4], row[-1]) for row in store.latest()] == [(1, "attributes"), (0, "telemetry")]
    assert [(row[6], row[-1]) for row in store.once()] == [(0, "telemetry"), (1, "attributes")]


def test_an_instant_counts_once(store: Store):
    """Of several values at one instant, however late they come, there is the last that arrived; and every other instant."""
    at = NOW_MS * 1000
    put(store.sink, batch([message(0, reading("q", 1, at), reading("q", 2, at), reading("q", 3, at + 1))]))
    put(store.sink, batch([message(1, reading("q", 4, at)), message(2, reading("p", 5, at))], first=1))

    assert [(row[0], row[2], row[6]) for row in store.once()] == [(0, "q", 3), (1, "q", 4), (2, "p", 5)]


def test_an_empty_batch_is_written(store: Store):
    """A batch of which nothing is new is written, and adds nothing."""
    put(store.sink, batch())

    assert _all(store) == [[]] * 6


def test_a_dead_letter_keeps_its_bytes(store: Store):
    """The bytes of a dead letter come back as they are, whatever they are."""
    body = bytes(range(256)) * 3
    dead = MessageRow(
        offset=0,
        fate=Fate.DEAD_LETTER,
        logged_at=NOW_MS,
        dialect="",
        reason="undecodable",
        error="é\n",
        body=body,
    )
    put(store.sink, batch([dead]))

    assert store.dead_letters() == [(0, "undecodable", "é\n", body)]


def test_labels_come_back(store: Store):
    """Labels are read back as they were, each message's its own."""
    put(store.sink, batch([message(0, labels='{"floor":"2","hall":"é\'"}'), message(1)]))

    assert [row[2] for row in store.messages()] == ['{"floor":"2","hall":"é\'"}', "{}"]


def test_what_is_stored_can_be_asked(store: Store):
    """The last offset of each raw topic, by its id, in the partition that is asked for; nothing of an empty sink."""
    assert store.sink.stored(0) == {}

    put(store.sink, _typical())
    put(store.sink, batch([message(0)], [message(1)], first=2, topic_id="created anew"))

    assert store.sink.stored(0) == {"id of raw-graph": 3, "created anew": 1}
    assert store.sink.stored(1) == {}


def test_readings_without_an_account_are_in_doubt(store: Store):
    """What is stored cannot be said while readings of messages are there that are not accounted for."""
    put(store.sink, _typical())
    some = batch([message(4), message(5)], first=2)
    store.sink.write(some, Piece(0, 1))

    with pytest.raises(Doubtful):
        store.sink.stored(0)
    assert store.sink.stored(1) == {}

    put(store.sink, some)
    assert store.sink.stored(0) == {"id of raw-graph": 5}


def test_the_real_tables_pass_the_canary(client: Any):
    """On tables as they are migrated the check passes, and leaves nothing behind."""
    canary.check(client, ClickHouseSink(client))

    left = {name: client.command(f"SELECT count() FROM {name}") for name in (*TABLES, "latest_state")}
    assert set(left.values()) == {0}


@pytest.mark.parametrize("table", TABLES)
def test_the_canary_finds_a_table_without_a_window(client: Any, table: str):
    """A table that forgot its window is named, one at a time."""
    client.command(f"ALTER TABLE {table} RESET SETTING non_replicated_deduplication_window")

    with pytest.raises(Unwritable, match=rf"^{table} has non_replicated_deduplication_window = 0, and needs"):
        canary.check(client, ClickHouseSink(client))


@pytest.mark.parametrize("table", TABLES)
def test_the_canary_finds_a_window_that_is_too_small(client: Any, table: str):
    """A table that remembers too few blocks is named, with the statement that cures it."""
    client.command(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 9999")

    with pytest.raises(Unwritable) as found:
        canary.check(client, ClickHouseSink(client))
    client.command(str(found.value).rpartition("; ")[2])

    canary.check(client, ClickHouseSink(client))


def test_the_canary_counts(client: Any, monkeypatch: pytest.MonkeyPatch):
    """Where a repeat is stored again, for whatever reason, every table that counts it is named."""
    sink = ClickHouseSink(client)
    insert = sink.insert
    monkeypatch.setattr(sink, "insert", lambda table, rows, _: insert(table, rows, str(uuid.uuid4())))

    with pytest.raises(
        Unwritable, match=r"expected 2 in messages and found 4, .*, 1 in readings_1m_state and found 2;"
    ):
        canary.check(client, sink)


def _refused(store: Store, condition: str) -> None:
    """From now on the store refuses readings for which this does not hold."""
    if isinstance(store, MemoryStore):
        store.sink.guilty = {("id of raw-graph", 2)}
    else:
        cast("ClickHouseStore", store).client.command(
            f"ALTER TABLE readings ADD CONSTRAINT guilty CHECK {condition}"
        )


def _pieces() -> Batch:
    return batch([message(0), message(1)], [message(2), message(3)])


def test_pieces_add_up(store: Store):
    """The readings of a batch, written in pieces and some of them twice, are those of the batch."""
    put(store.sink, _pieces())
    whole = store.readings()
    other = dataclasses.replace(_pieces(), epoch="1")

    for piece in (Piece(0, 1), Piece(1, 3), Piece(1, 3), Piece(3, 4)):
        store.sink.write(other, piece)

    assert store.readings() == sorted(whole * 2)


def test_a_refused_piece_leaves_nothing(store: Store):
    """A piece with a message that is refused is refused as a whole; the others land, and its messages have no excuse."""
    _refused(store, "origin_offset != 2")
    some = _pieces()
    for piece in (Piece(0, 4), Piece(2, 4), Piece(2, 3)):
        with pytest.raises(Unwritable) as found:
            store.sink.write(some, piece)
        assert store.sink.excuse(some, piece, found.value) == ""

    for piece in (Piece(0, 2), Piece(3, 4)):
        store.sink.write(some, piece)

    assert [row[0] for row in store.readings()] == [0, 1, 3]
    assert [row[0] for row in store.latest()] == ["offset"]


def test_nobody_is_to_blame_when_everything_is_refused(client: Any):
    """While a harmless reading is refused too, a refused piece has that as its excuse, and nothing of it is left."""
    client.command("ALTER TABLE readings ADD CONSTRAINT closed CHECK 0")
    sink, some = ClickHouseSink(client), _pieces()
    with pytest.raises(Unwritable) as found:
        sink.write(some, Piece(0, 4))

    assert "a harmless reading is refused too" in sink.excuse(some, Piece(0, 4), found.value)
    assert client.command("SELECT count() FROM readings") == 0


@pytest.mark.parametrize("text", [None, "something else"])
def test_what_a_view_refuses_is_not_cut(client: Any, text: str | None):
    """A view that refuses one message has let the table store its piece: whether the error says so or not."""
    client.command(
        "CREATE MATERIALIZED VIEW picky ENGINE = Memory AS SELECT throwIf(origin_offset = 2) AS x FROM readings"
    )
    store, some = ClickHouseStore(client), _pieces()
    with pytest.raises(Unwritable) as found:
        store.sink.write(some, Piece(0, 4))
    error = Unwritable(text, code="0") if text else found.value

    assert "a view behind it refuses them now" in store.sink.excuse(some, Piece(0, 4), error)

    client.command("DROP VIEW picky")
    put(store.sink, some)
    assert ([row[0] for row in store.readings()], store.minutes()[0][2]) == ([0, 1, 2, 3], 4)


class CountedClient:
    """ClickHouse's client, and how many requests it made."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        self.requests += name in {"command", "query", "insert", "insert_arrow"}
        return getattr(self._client, name)


@pytest.mark.parametrize("months", [1, 7])
def test_an_excuse_takes_five_requests(client: Any, months: int):
    """However many months a piece reaches over, five requests say whether its messages are to blame."""
    counted = CountedClient(client)
    sink = ClickHouseSink(counted)
    month = 31 * 24 * 60 * MINUTE
    some = batch([message(offset, received_at=NOW_MS * 1000 - offset * month) for offset in range(months)])
    counted.requests = 0

    assert sink.excuse(some, Piece(0, months), Unwritable("constraint violated", code="469")) == ""
    assert counted.requests == 5


def test_a_piece_is_found_by_any_of_its_months(client: Any):
    """A piece of which one month alone is stored is not cut."""
    sink = ClickHouseSink(client)
    old = message(0, received_at=NOW_MS * 1000 - 40 * 24 * 60 * MINUTE)
    put(sink, batch([old]))
    some = batch([message(1), message(2), old], first=1)

    assert "the table has these readings already" in sink.excuse(
        some, Piece(0, 3), Unwritable("no", code="469")
    )


def test_what_is_in_doubt_is_named(client: Any):
    """Of a raw topic that was created anew, and of another one, readings without an account are told by their offsets."""
    sink = ClickHouseSink(client)
    put(sink, batch([message(offset) for offset in range(9)]))
    anew = message(0, received_at=NOW_MS * 1000 + 500, logged_at=NOW_MS + 1000)
    put(sink, batch([anew], first=1, topic_id="created anew"))
    doubtful = [
        message(1, received_at=NOW_MS * 1000 + 1500),
        message(2, received_at=NOW_MS * 1000 + 2500),
        message(0, dialect="thingsboard"),
    ]
    sink.write(batch(doubtful, first=2, topic_id="created anew"), Piece(0, 3))

    with pytest.raises(
        Doubtful, match="does not know: 2 of graph from offset 1 to 2, 1 of thingsboard from offset 0 to 0"
    ):
        sink.stored(0)


def test_what_is_in_doubt_can_be_accounted_for(client: Any):
    """The statement in docs/sink.md accounts for readings in doubt: afterwards what is stored can be said."""
    sink = ClickHouseSink(client)
    sink.write(batch([message(offset) for offset in range(120, 165)], partition=3), Piece(0, 45))
    with pytest.raises(Doubtful, match="45 of graph from offset 120 to 164"):
        sink.stored(3)

    (statement,) = re.findall("```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    client.command(statement)

    assert sink.stored(3) == {"Kafka's id of raw-graph": 164}


def test_what_messages_has_forgotten_is_not_in_doubt(client: Any):
    """Readings that are older than what `messages` keeps, or of a canary that was killed, say nothing."""
    sink = ClickHouseSink(client)
    month = 31 * 24 * 60 * MINUTE
    some = batch(
        [message(0, received_at=NOW_MS * 1000 - month), message(1, tenant=canary.TENANT, dialect="canary")]
    )
    sink.write(some, Piece(0, 2))
    sink.account(batch([message(7, tenant=canary.TENANT)], first=1, topic_id="a canary's"))

    assert sink.stored(0) == {}


def test_canaries_do_not_disturb_each_other(client: Any, monkeypatch: pytest.MonkeyPatch):
    """A check that begins in the middle of another one takes none of its rows."""
    sink = ClickHouseSink(client)
    insert, others = sink.insert, [1]

    def and_meanwhile(*arguments: Any) -> None:
        insert(*arguments)
        while others:
            others.pop()
            canary.check(client, sink)

    monkeypatch.setattr(sink, "insert", and_meanwhile)

    canary.check(client, sink)


def test_a_canary_that_was_killed_is_cleaned_up(client: Any, monkeypatch: pytest.MonkeyPatch):
    """Rows of a check that was killed more than an hour ago are taken out by the next one."""
    sink = ClickHouseSink(client)
    monkeypatch.setattr(canary, "_clean", lambda *_: None)
    two_hours_ago = (NOW_MS - 2 * 3600 * 1000) * 1_000_000
    monkeypatch.setattr(canary.time, "time_ns", lambda: two_hours_ago)
    canary.check(client, sink)
    monkeypatch.undo()

    canary.check(client, sink)

    assert client.command("SELECT count() FROM readings_1m_state") == 0


@pytest.mark.parametrize("view", ["latest", "readings_1m", "readings_once"])
def test_sensors_do_not_mix(client: Any, view: str):
    """Two sensors of one quantity, at one instant, are two rows of each view."""
    readings = [reading("q", 1, NOW_MS * 1000, sensor=sensor) for sensor in ("inlet", "outlet")]
    put(ClickHouseStore(client).sink, batch([message(0, *readings)]))

    assert client.command(f"SELECT count() FROM {view}") == 2


def test_a_value_that_was_replaced_is_not_found(client: Any):
    """A condition on the value is asked of the last one alone; one on the key reads only its part of the table."""
    store, at = ClickHouseStore(client), NOW_MS * 1000
    put(store.sink, batch([message(offset, reading("q", offset, at)) for offset in range(2)]))

    found = [
        client.command(f"SELECT count() FROM readings_once WHERE number = {number}") for number in (0, 1)
    ]
    assert found == [0, 1]


def test_each_instant_once_is_read_by_key(client: Any):
    """Conditions on the key reach the index of the readings, and nothing is sorted in memory."""
    query = "EXPLAIN indexes = 1 SELECT * FROM readings_once WHERE tenant = 'acme' AND device = 'd' AND measured_at > now()"
    put(ClickHouseStore(client).sink, batch([message(0)]))

    plan = "\n".join(line for (line,) in client.query(query).result_rows)

    assert "Read type: InOrder" in plan
    assert re.search(r"PrimaryKey\s+Keys:\s+tenant\s+device\s+measured_at", plan)


def test_a_larger_insert_than_one_block_is_refused(client: Any):
    """Rows beyond one block are refused, because a repeat of them would be stored again."""
    rows = pa.table({"tenant": pa.nulls(1_048_449, pa.string())})

    with pytest.raises(Unwritable, match="do not fit into one block of readings"):
        ClickHouseSink(client).insert("readings", rows, "token")


def test_a_large_batch_counts_once(client: Any):
    """A batch of as many rows as one may have is one block for ClickHouse: its repeat is dropped."""
    at = NOW_MS * 1000
    readings = [reading(f"q{n % 7}", n, at + n) for n in range(100_000)]
    big = batch([message(0, *readings)], [message(1, *readings)], [message(2, *readings)])
    store = ClickHouseStore(client)

    for _ in range(2):
        put(store.sink, big)

    assert client.command("SELECT count() FROM readings") == 300_000
    assert client.command("SELECT sum(count) FROM readings_1m_state") == 300_000
