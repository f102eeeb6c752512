"""`headrace verify` on the real Kafka and the real ClickHouse engine: what is damaged by hand is named by its origin."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import clickhouse_connect
import msgspec
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.stack.stack import Stack
from headrace.verify.findings import Origin
from headrace.verify.page import Emitted, Page
from headrace.verify.run import run
from headrace.verify.storage import Storage
from processors.dedupe import Window
from processors.refine import Source, blocks, refine
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.reading_block import Fate, MessageRow
from schemas.topics import READINGS
from sinks.progress import Progress
from tests.support.commands import headrace
from tests.support.processes import stack_settings, until
from tests.support.raw import Raw, garbage, message, record

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "raw-thingsboard"
PARTITIONS = 24
"""Each test has one of its own."""
_numbers = count()


@dataclass
class Line:
    """One raw partition, and a processor that does as the test says."""

    stack: Stack
    partition: int
    clickhouse: Any
    capsys: pytest.CaptureFixture[str]
    log: list[Raw] = field(default_factory=list)
    window: Window = field(default_factory=lambda: Window(seconds=3600))

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.stack.bootstrap, "enable.idempotence": True})
        kafka = KafkaSettings(bootstrap=self.stack.bootstrap)
        self.source = Source(
            dialect="thingsboard",
            topic=TOPIC,
            topic_id=topic_ids(kafka, [TOPIC])[TOPIC],
            partition=self.partition,
        )

    def accept(self, records: Iterable[Raw]) -> None:
        """As an edge."""
        for each in records:
            self._producer.produce(TOPIC, each.value, each.key, self.partition, headers=list(each.headers))
        assert self._producer.flush(30) == 0
        known = len(self.log)
        self.log += consumed(self.stack.bootstrap, TopicPartition(TOPIC, self.partition, known))

    def rows(self, first: int, last: int) -> list[MessageRow]:
        """As a processor: what becomes of the records at these offsets."""
        return refine(self.log[first : last + 1], self.source, self.window, PlaceTable())

    def emit(self, rows: Sequence[MessageRow]) -> None:
        """As a processor."""
        for span, data in blocks(rows, self.source, time=0):
            self._producer.produce(
                READINGS, data, partition=self.partition, headers=span.headers(), timestamp=span.time
            )
        assert self._producer.flush(30) == 0

    async def stored(self, last: int) -> None:
        """Return when the sink says that it has stored everything up to this offset."""

        def arrived() -> bool:
            known = progress(self.stack.bootstrap, self.partition).stored
            return known.get(self.source.topic_id, -1) >= last

        await until(lambda: asyncio.to_thread(arrived), within=60)

    async def flow(self, records: Sequence[Raw]) -> None:
        """All the way, as it should be."""
        self.accept(records)
        self.emit(self.rows(len(self.log) - len(records), len(self.log) - 1))
        await self.stored(len(self.log) - 1)

    def damage(self, statement: str) -> None:
        """Have ClickHouse do something to the rows of this partition."""
        self.clickhouse.command(
            statement.replace("MINE", f"dialect = 'thingsboard' AND origin_partition = {self.partition}")
        )

    async def verified(self) -> "Verified":
        """What the command finds of this partition."""
        code = await asyncio.to_thread(run, [TOPIC], since=None, as_json=True, limit=10)
        output = json.loads(self.capsys.readouterr().out)
        (mine,) = [each for each in output["partitions"] if each["partition"] == self.partition]
        return Verified(code, mine)


@dataclass(frozen=True)
class Verified:
    """Exit code, and what was printed of one partition."""

    code: int
    account: dict[str, Any]

    @property
    def found(self) -> list[tuple[str, int]]:
        """Kind and offset of each finding."""
        return [(finding["kind"], finding["offset"]) for finding in self.account["examples"]]


def consumed(bootstrap: str, start: TopicPartition) -> list[Raw]:
    """The records from an offset to the end."""
    options = {"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False}
    consumer = Consumer(options)
    try:
        _, end = consumer.get_watermark_offsets(start, timeout=10)
        consumer.assign([start])
        return [
            Raw(
                offset=found.offset(),
                timestamp=found.timestamp()[1],
                key=found.key(),
                value=found.value(),
                headers=found.headers() or [],
            )
            for found in consumer.consume(end - start.offset, 30)
        ]
    finally:
        consumer.close()


def delete_until(bootstrap: str, end: TopicPartition) -> None:
    """Delete the records before an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_records([end]).values():
        done.result(30)


def progress(bootstrap: str, partition: int) -> Progress:
    """What the sink committed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "headrace-sink"})
    try:
        (found,) = consumer.committed([TopicPartition(READINGS, partition)], timeout=10)
        return Progress.decode(found.metadata)
    finally:
        consumer.close()


def some(number: int = 20) -> list[Raw]:
    """Messages with two readings each, among them one that comes again and one that cannot be decoded."""
    body = {"temperature": 21.5, "humidity": 60}
    made = [record(n, message(body, message_id=f"m-{n}")) for n in range(number - 2)]
    return [*made, made[1], garbage(0)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="stack")
async def _stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings = stack_settings(tmp_path_factory.mktemp("stack"), partitions=PARTITIONS)
    async with Stack(settings, services=("kafka", "clickhouse", "sink"), fresh=True) as stack:
        yield stack


@pytest.fixture(name="line")
def _line(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    monkeypatch.setenv("HEADRACE_KAFKA__BOOTSTRAP", stack.bootstrap)
    monkeypatch.setenv("HEADRACE_CLICKHOUSE__URL", stack.clickhouse_url)
    client = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
    return Line(stack, next(_numbers), client, capsys)


async def test_what_is_in_order_is_clean(line: Line):
    """Every message is counted by its fate, and nothing is found."""
    await line.flow(some(20))

    verified = await line.verified()

    numbers = {"accepted": 20, "stored": 18, "duplicates": 1, "dead_letters": 1, "readings": 36, "waiting": 0}
    assert ([], numbers) == (verified.found, {name: verified.account[name] for name in numbers})


async def test_re_emissions_are_clean(line: Line):
    """Blocks that a processor emitted again, with other borders, are no finding."""
    await line.flow(some(20))
    again = Line(line.stack, line.partition, line.clickhouse, line.capsys, line.log)
    again.emit([*again.rows(0, 14)][7:])
    again.emit(again.rows(15, 19))

    verified = await line.verified()

    assert ([], 0) == (verified.found, verified.account["uncompared"])


async def test_what_waits_is_not_judged(line: Line):
    """Messages that are accepted and not yet stored are counted, and are no finding."""
    await line.flow(some(20))
    line.accept(some(5))

    verified = await line.verified()

    assert ([], 20, 5) == (verified.found, verified.account["accepted"], verified.account["waiting"])


DAMAGES: dict[str, tuple[str, str]] = {
    "a message is deleted": ("DELETE FROM messages WHERE MINE AND origin_offset = 7", "not_stored"),
    "a message is there twice": (
        "INSERT INTO messages SELECT * FROM messages WHERE MINE AND origin_offset = 7",
        "stored_twice",
    ),
    "a reading is deleted": (
        "DELETE FROM readings WHERE MINE AND origin_offset = 7 AND position = 1",
        "readings_missing",
    ),
    "a reading is there twice": (
        "INSERT INTO readings SELECT * FROM readings WHERE MINE AND origin_offset = 7 AND position = 1",
        "readings_surplus",
    ),
    "a dead letter is deleted": (
        "DELETE FROM dead_letters WHERE MINE AND origin_offset = 19",
        "dead_letter_missing",
    ),
}


@pytest.mark.parametrize(("statement", "kind"), DAMAGES.values(), ids=DAMAGES)
async def test_damage_in_clickhouse_is_named(line: Line, statement: str, kind: str):
    """What happened to one row is the one finding, with the message's origin."""
    await line.flow(some(20))
    line.damage(statement)

    verified = await line.verified()

    offset = 19 if "dead_letters" in statement else 7
    assert (1, [(kind, offset)]) == (verified.code, verified.found)


async def test_sums_tell_which_pages_to_look_at(line: Line):
    """What Python expects of a page is what ClickHouse sums up, until one reading takes the place of another."""
    line.accept(some(20))
    rows = line.rows(0, 19)
    line.emit(rows)
    await line.stored(19)
    origin = Origin(topic=TOPIC, topic_id=line.source.topic_id, partition=line.partition)
    emitted = {
        row.offset: Emitted(row.fate, row.identity, len(row.readings), row.received_at) for row in rows
    }
    storage = Storage(line.clickhouse, {origin: (2, 19)})
    page = Page(first=2, last=19, emitted={offset: row for offset, row in emitted.items() if offset >= 2})

    storage.sum()
    before = storage.agrees(origin, page)
    line.damage("DELETE FROM readings WHERE MINE AND origin_offset = 7 AND position = 1")
    line.damage("INSERT INTO readings SELECT * FROM readings WHERE MINE AND origin_offset = 7")
    storage.sum()

    assert (True, False) == (before, storage.agrees(origin, page))


async def test_a_message_that_was_left_out_is_named(line: Line):
    """Of a raw partition whose emission has a hole, the message in the hole is found."""
    line.accept(some(20))
    rows = line.rows(0, 19)
    line.emit(rows[:7])
    line.emit(rows[8:])
    await line.stored(19)

    assert [("not_emitted", 7)] == (await line.verified()).found


async def test_a_message_from_nowhere_is_named(line: Line):
    """A block of a message that no edge accepted is found."""
    await line.flow(some(20))
    line.emit([msgspec.structs.replace(line.rows(7, 7)[0], offset=20)])
    await line.stored(20)

    assert [("surplus", 20)] == (await line.verified()).found


async def test_two_fates_are_named(line: Line):
    """A message that is emitted again with another fate is found."""
    await line.flow(some(20))
    line.emit([msgspec.structs.replace(row, fate=Fate.DUPLICATE) for row in line.rows(7, 7)])

    assert [("two_fates", 7)] == (await line.verified()).found


async def test_a_duplicate_that_was_stored_is_named(line: Line):
    """A message that was emitted twice as `stored`, from two offsets, is found at the second."""
    line.accept(some(20))
    early = line.rows(0, 17)
    line.window = Window(seconds=3600)
    line.emit([*early, *line.rows(18, 19)])
    await line.stored(19)

    assert [("repeat_kept", 18)] == (await line.verified()).found


async def test_a_duplicate_of_nothing_is_named(line: Line):
    """A message that was dropped as a duplicate although it is the first is found."""
    line.accept(some(20))
    first = [
        MessageRow(
            offset=row.offset,
            fate=Fate.DUPLICATE,
            logged_at=row.logged_at,
            dialect=row.dialect,
            identity=row.identity,
        )
        for row in line.rows(0, 0)
    ]
    line.emit([*first, *line.rows(1, 19)])
    await line.stored(19)

    assert [("original_lost", 0)] == (await line.verified()).found


async def test_retention_is_no_finding(line: Line):
    """What retention deleted from the raw log is not judged, and a duplicate of it is counted as such."""
    await line.flow(some(20))
    await asyncio.to_thread(delete_until, line.stack.bootstrap, TopicPartition(TOPIC, line.partition, 5))

    verified = await line.verified()

    assert ([], 15, 1) == (verified.found, verified.account["accepted"], verified.account["unjudged"])


async def test_blocks_that_retention_deleted_are_no_finding(line: Line):
    """What retention deleted from `readings` is not judged, and the operator is told from where on."""
    await line.flow(some(20))
    await line.flow(some(4))
    await asyncio.to_thread(delete_until, line.stack.bootstrap, TopicPartition(READINGS, line.partition, 1))

    verified = await line.verified()

    assert ([], 4) == (verified.found, verified.account["accepted"])
    assert "before offset 20" in verified.account["note"]


async def test_the_operator_is_told(line: Line):
    """Without --json, the finding is a sentence with the message's origin."""
    await line.flow(some(20))
    line.damage("DELETE FROM messages WHERE MINE AND origin_offset = 7")

    told = await headrace(line.stack, "verify", "--topic", TOPIC, "--since", "1h")

    assert (
        f"{TOPIC} [{line.partition}] offset 7: not stored: stored in readings, and no row of messages"
        in told.out
    )
    assert 1 == told.code


async def test_a_kafka_that_is_away_cannot_be_judged(stack: Stack):
    """Without Kafka the exit code is neither that of a clean range nor that of a finding."""
    told = await headrace(stack, "verify", KAFKA__BOOTSTRAP="127.0.0.1:1")

    assert (2, "") == (told.code, told.out)


async def test_a_clickhouse_that_is_away_cannot_be_judged(stack: Stack):
    """Without ClickHouse the exit code is neither that of a clean range nor that of a finding."""
    told = await headrace(stack, "verify", CLICKHOUSE__URL="http://127.0.0.1:1")

    assert (2, "") == (told.code, told.out)
