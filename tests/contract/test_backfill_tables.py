"""What a backfill asks of ClickHouse and writes to it, and what a replay of dead letters asks: on the real engine."""

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from headrace.backfill import stretch as stretches
from headrace.backfill import target as targets
from headrace.backfill.fill import Backfill
from headrace.backfill.ledger import Ledger
from headrace.backfill.stretch import Refused, Stretch
from headrace.backfill.target import Count, Present, Target
from headrace.dead_letters.replay import Memory
from headrace.offsets import Reach
from headrace.scan import Record
from runtime.devices import PlaceTable
from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow
from sinks.clickhouse.tables import tables
from sinks.clickhouse.writer import ClickHouseSink
from sinks.progress import Piece
from sinks.sink import Retryable, Unwritable
from tests.support import raw
from tests.support.blocks import NOW_MS, batch
from tests.support.engine import database, engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "raw-thingsboard"
WHOLE = Stretch(topic=TOPIC, topic_id="T", partition=0, first=0, end=40)
COUNT = "SELECT count(), uniqExact(origin_offset) FROM {}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="url")
async def _url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with engine(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


@pytest.fixture(name="client")
def _client(url: str) -> Iterator[Any]:
    """A client in a database with 40 messages."""
    with database(url, "backfill") as client:
        sink, made = ClickHouseSink(client), _pipeline()
        sink.write(made, Piece(0, made.messages))
        sink.account(made)
        yield client


def _fate(offset: int) -> Fate:
    return {3: Fate.DUPLICATE, 7: Fate.DEAD_LETTER}.get(offset % 10, Fate.STORED)


def _pipeline() -> Any:
    """What the pipeline made of the raw records: of ten, one is a duplicate, and one a dead letter."""
    rows = [
        MessageRow(
            offset=offset,
            fate=_fate(offset),
            logged_at=NOW_MS + offset,
            dialect="thingsboard",
            identity=_raw(offset).identity(),
            received_at=(NOW_MS + offset) * 1000,
            readings=[reading("offset", offset, NOW_MS)] if _fate(offset) is Fate.STORED else [],
        )
        for offset in range(40)
    ]
    return batch(rows, topic=TOPIC, topic_id="T")


def _raw(offset: int) -> Any:
    return raw.message({"offset": offset}, message_id=f"m-{offset}", received_at=(NOW_MS + offset) * 1000)


class Log:
    """The raw log, as a scanner reads it."""

    def read(self, reach: Reach) -> Generator[Record, None, None]:
        """As `headrace.scan.Scanner`."""
        for offset in range(reach.first, reach.end):
            record = raw.record(offset, _raw(offset), timestamp=NOW_MS + offset)
            yield Record(
                partition=0,
                offset=offset,
                timestamp=record.timestamp,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )


class Mortal(Ledger):
    """A ledger whose process dies before the note is made, at some of the notes."""

    def __init__(self, *arguments: Any, dies: Iterator[bool], **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.dies = dies

    def advance(self, *arguments: Any, **others: Any) -> None:
        """As `Ledger`."""
        if next(self.dies):
            raise Retryable("killed", code="")
        super().advance(*arguments, **others)


def _ledger(client: Any, *, table: str = "again", dies: Iterator[bool] | None = None) -> Ledger:
    sink = ClickHouseSink(client)
    if dies is not None:
        return Mortal(client, sink, epoch="e1", target=table, dies=dies)
    return Ledger(client, sink, epoch="e1", target=table)


def _backfill(client: Any, ledger: Ledger, table: str = "again") -> Backfill:
    return Backfill(
        scanner=Log(),  # type: ignore[arg-type]
        devices=PlaceTable(),
        sink=ClickHouseSink(client),
        target=Target(client, table),
        ledger=ledger,
        epoch="e1",
    )


async def test_what_the_pipeline_stored_is_stored_once_more(client: Any, monkeypatch: pytest.MonkeyPatch):
    """Killed after every other insert, a backfill stores each message that was stored, once, and no other."""
    monkeypatch.setattr(stretches, "BATCH_OFFSETS", 7)
    Target(client, "again").create()
    dies = iter([False, True] * 20)
    ledger = _ledger(client, dies=dies)
    ledger.begin([WHOLE], since=0, until=1)
    lives = 0
    while ledger.entries()[0].next < WHOLE.end:
        lives += 1
        try:
            _backfill(client, ledger).fill(ledger.entries(), lambda _: None)
        except Retryable:
            continue

    assert [(32, 32)] == client.query(COUNT.format("again")).result_rows
    stored = {offset for offset in range(40) if _fate(offset) is Fate.STORED}
    assert stored == {row[0] for row in client.query("SELECT origin_offset FROM again").result_rows}
    assert (32, 32, 0) == (
        ledger.entries()[0].messages,
        ledger.entries()[0].readings,
        ledger.entries()[0].refused,
    )
    assert lives > 3
    assert [(32, 32)] == client.query(COUNT.format("readings")).result_rows


async def test_a_batch_beyond_the_window_is_looked_for(client: Any, monkeypatch: pytest.MonkeyPatch):
    """A batch that is stored, and whose token ClickHouse forgot, is not stored again."""
    Target(client, "again").create()
    ledger = _ledger(client, dies=iter([True, False]))
    ledger.begin([WHOLE], since=0, until=1)
    with pytest.raises(Retryable):
        _backfill(client, ledger).fill(ledger.entries(), lambda _: None)
    monkeypatch.setattr(Backfill, "_token", lambda _, part: f"another for {part}")

    _backfill(client, ledger).fill(ledger.entries(), lambda _: None)

    assert [(32, 32)] == client.query(COUNT.format("again")).result_rows


@pytest.fixture(name="broken")
def _broken(client: Any, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of a backfill of `readings` that met a full roll-up in its second batch, and has not been run again."""
    monkeypatch.setattr(stretches, "BATCH_OFFSETS", 10)
    for table in ("readings", "readings_1m_state", "latest_state"):
        client.command(f"TRUNCATE TABLE {table}")
    client.command("ALTER TABLE readings_1m_state ADD CONSTRAINT full CHECK least < 10")
    ledger = _ledger(client, table="readings")
    with pytest.raises(Unwritable):
        _backfill(client, ledger, "readings").fill(ledger.begin([WHOLE], since=0, until=1), lambda _: None)
    client.command("ALTER TABLE readings_1m_state DROP CONSTRAINT full")
    return ledger


async def test_a_roll_up_gets_what_it_lacks(client: Any, broken: Ledger):
    """A batch that `readings` has, and a roll-up has not, is stored where it is missing, and nowhere twice."""
    before = (
        Target(client, "readings").rows(WHOLE),
        client.command("SELECT sum(count) FROM readings_1m_state"),
    )

    _backfill(client, broken, "readings").fill(broken.entries(), lambda _: None)

    assert (16, 8) == before
    Target(client, "readings").check_roll_ups(WHOLE)
    assert [(32, 32)] == client.query(COUNT.format("readings")).result_rows
    stored = [offset for offset in range(40) if _fate(offset) is Fate.STORED]
    assert [(32, sum(stored))] == client.query("SELECT sum(count), sum(sum) FROM readings_1m").result_rows
    assert [(stored[-1],)] == client.query("SELECT number FROM latest").result_rows


async def test_what_may_be_forgotten_is_not_inserted_again(
    client: Any, broken: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """A batch that `readings` has since so many blocks that its token may be forgotten is refused, and left as it is."""
    monkeypatch.setattr(targets, "LEAST_WINDOW", 1)

    with pytest.raises(Refused, match=r"8 of the 8 readings of .* since too long ago to tell"):
        _backfill(client, broken, "readings").fill(broken.entries(), lambda _: None)

    assert [(16, 16)] == client.query(COUNT.format("readings")).result_rows
    with pytest.raises(Refused, match="readings holds 16 numbers and readings_1m_state 8: drop the same"):
        Target(client, "readings").check_roll_ups(WHOLE)


async def test_what_was_deleted_meanwhile_is_noticed(client: Any, broken: Ledger):
    """ClickHouse takes a batch for a repeat whose rows were deleted since; that is an error, and nothing is noted."""
    client.command("DELETE FROM readings WHERE origin_offset >= 15")

    with pytest.raises(Refused, match="is not now as it was then: drop the same partitions"):
        _backfill(client, broken, "readings").fill(broken.entries(), lambda _: None)

    assert 10 == broken.entries()[0].next


async def test_blocks_are_counted_from_an_instant_on(client: Any, monkeypatch: pytest.MonkeyPatch):
    """A table surely remembers as many blocks as half its window has, and merges do not hide any."""
    sink, target = ClickHouseSink(client), Target(client, "readings")
    rows = tables(_pipeline())["readings"]
    for number in range(3):
        sink.insert("readings", rows, f"another {number}")
    client.command("OPTIMIZE TABLE readings FINAL")

    monkeypatch.setattr(targets, "LEAST_WINDOW", 8)
    assert target.remembers(NOW_MS - 1000)
    monkeypatch.setattr(targets, "LEAST_WINDOW", 7)
    assert not target.remembers(NOW_MS - 1000)


async def test_unknown_fates_are_refused(client: Any):
    """Where `messages` does not know every message of a range, nothing of it is written."""
    Target(client, "again").create()
    client.command("DELETE FROM messages WHERE origin_offset = 5")
    ledger = _ledger(client)

    with pytest.raises(Refused, match="knows the fate of 39 of the 40 messages"):
        _backfill(client, ledger).fill(ledger.begin([WHOLE], since=0, until=1), lambda _: None)

    assert [(0, 0)] == client.query(COUNT.format("again")).result_rows


async def test_the_first_to_begin_decides(client: Any):
    """Of two plans of one epoch the first holds; another table is another plan."""
    other = Stretch(topic=TOPIC, topic_id="T", partition=1, first=5, end=9)
    _ledger(client).begin([WHOLE], since=3, until=4)

    (entry,) = _ledger(client).begin([other], since=5, until=6)

    assert (WHOLE, 0, 3, 4) == (entry.stretch, entry.next, entry.since, entry.until)
    assert [] == _ledger(client, table="elsewhere").entries()


async def test_a_table_is_made_as_readings_is(client: Any):
    """The new table has the columns, keys and window of `readings`; one that is there already may stay."""
    target = Target(client, "again")
    target.create()
    target.create()

    made = client.command("SHOW CREATE TABLE again")
    assert "non_replicated_deduplication_window = 10000" in made
    assert target.is_empty()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE again ADD COLUMN surplus UInt8",
        "ALTER TABLE again MODIFY SETTING non_replicated_deduplication_window = 5",
    ],
)
async def test_another_shape_is_refused(client: Any, change: str):
    """A table that would not take the same rows, or would take them twice, is refused."""
    Target(client, "again").create()
    client.command(change)

    with pytest.raises(Refused, match="not like readings"):
        Target(client, "again").create()


@pytest.mark.parametrize("name", ["a-b", "a.b", "`", "", "1a"])
async def test_only_a_name_is_a_name(client: Any, name: str):
    """What would be more than a name is refused before it reaches ClickHouse."""
    with pytest.raises(Refused, match="is no name of a table"):
        Target(client, name).create()


async def test_what_is_present_is_counted(client: Any):
    """Only messages that have readings can be present, and they are counted by their origins."""
    target = Target(client, "readings")
    client.command("DELETE FROM readings WHERE origin_offset < 20")

    assert Present(lowest=20, highest=39, count=16, until_highest=32, from_lowest=16) == target.present(WHOLE)
    assert Count(messages=32, readings=32) == target.count(WHOLE)
    assert 16 == target.rows(WHOLE)


async def test_a_roll_up_that_counts_more_is_refused(client: Any):
    """As long as the roll-up counts what was dropped from `readings`, filling that again would count it twice."""
    target = Target(client, "readings")
    target.check_roll_ups(WHOLE)
    client.command("TRUNCATE TABLE readings")

    with pytest.raises(Refused, match="readings holds 0 numbers and readings_1m_state 32"):
        target.check_roll_ups(WHOLE)

    client.command("TRUNCATE TABLE readings_1m_state")
    target.check_roll_ups(WHOLE)


async def test_clickhouse_knows_what_is_stored(client: Any):
    """Only a stored message counts as stored, not a duplicate or a dead letter; and only if it is young enough."""
    identities = {offset: _raw(offset).identity() for offset in range(50)}
    memory = Memory(client)

    stored = {offset for offset in range(40) if _fate(offset) is Fate.STORED}
    assert {identities[offset] for offset in stored} == memory.stored(identities.values())
    young = {identities[offset] for offset in stored if offset >= 20}
    assert young == memory.stored(identities.values(), since=NOW_MS + 20)
