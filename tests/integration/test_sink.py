"""The sink process between the real Kafka and the real ClickHouse engine, killed again and again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import clickhouse_connect
import pytest
import pytest_asyncio
from clickhouse_connect.driver.exceptions import OperationalError
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.stack.errors import StackError
from headrace.stack.stack import Stack
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.reading import reading
from schemas.reading_block import encode
from schemas.topics import DEAD_LETTERS, READINGS
from tests.support.blocks import NOW_MS, message, span
from tests.support.processes import free_ports, stack_settings, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 4
BLOCK = 50
MINUTE_US = 60_000_000
START_US = NOW_MS * 1000 // MINUTE_US * MINUTE_US
"""Measurements begin with a minute, ten seconds apart."""

SERVICES = ("kafka", "clickhouse", "sink")


@dataclass
class Processor:
    """Emits blocks of one raw topic; every third block is emitted again, with other borders."""

    bootstrap: str
    topic: str
    ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    emitted: int = 0

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True})

    async def emit(self, blocks: int) -> None:
        """So many blocks onto each partition; returns when Kafka has them."""
        for _ in range(blocks):
            for partition in range(PARTITIONS):
                self._block(partition, self.ends[partition], self.ends[partition] + BLOCK)
                self.ends[partition] += BLOCK
                self.emitted += 1
                if self.emitted % 3 == 0:
                    self._block(partition, self.ends[partition] - BLOCK - 7, self.ends[partition] - 9)
        assert await asyncio.to_thread(self._producer.flush, 30) == 0

    def _block(self, partition: int, first: int, end: int) -> None:
        first = max(first, 0)
        covered = span(
            first, end - 1, topic=self.topic, topic_id=f"{self.topic}-{partition}", partition=partition
        )
        rows = [
            message(offset, reading("n", offset, self.at(offset)), tenant=self.topic, device=f"d-{partition}")
            for offset in range(first, end)
        ]
        self._producer.produce(READINGS, encode(rows), partition=partition, headers=covered.headers())

    @staticmethod
    def at(offset: int) -> int:
        """When the reading of a message was measured."""
        return START_US + offset * 10_000_000

    @property
    def count(self) -> int:
        """Messages so far."""
        return sum(self.ends)


class Analyst:
    """Looks at what is stored of one raw topic."""

    def __init__(self, stack: Stack, topic: str) -> None:
        self._client: Any = clickhouse_connect.get_client(
            dsn=stack.clickhouse_url, autogenerate_session_id=False
        )
        self.topic = topic

    async def tell(self, statement: str) -> None:
        """Have a statement done."""
        await asyncio.to_thread(self._client.command, statement)

    async def found(self, query: str, number: int) -> bool:
        """Whether a query has this number as its answer."""
        return await self.ask(query) == [(number,)]

    async def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        found = await asyncio.to_thread(self._client.query, query.format(tenant=f"tenant = '{self.topic}'"))
        return [tuple(row) for row in found.result_rows]

    async def count(self) -> int:
        """Messages of which every table and roll-up knows; none if ClickHouse is away."""
        counts = (
            "count() FROM messages",
            "count() FROM readings",
            "sum(count) FROM readings_1m",
            "sum(integer + 1) FROM latest",
        )
        each = ", ".join(f"(SELECT {count} WHERE {{tenant}})" for count in counts)
        try:
            return min(int(known) for known in (await self.ask(f"SELECT {each}"))[0])
        except OperationalError:
            return 0

    async def has(self, count: int) -> None:
        """Return when so many messages are stored."""

        async def arrived() -> bool:
            return await self.count() >= count

        await until(arrived, within=90)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="stack")
async def _stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings = stack_settings(tmp_path_factory.mktemp("stack"), partitions=PARTITIONS)
    async with Stack(settings, services=SERVICES, fresh=True) as stack:
        yield stack


@pytest.fixture(name="processor")
def _processor(stack: Stack, request: pytest.FixtureRequest) -> Processor:
    """A raw topic that no other test uses."""
    return Processor(stack.bootstrap, request.node.originalname)


@pytest.fixture(name="analyst")
def _analyst(stack: Stack, request: pytest.FixtureRequest) -> Analyst:
    return Analyst(stack, request.node.originalname)


async def _kill(stack: Stack, name: str) -> int:
    pid = stack.pid(name)
    os.kill(pid, signal.SIGKILL)
    return await stack.restarted(name, after_pid=pid)


async def _exact(analyst: Analyst, processor: Processor) -> None:
    """Every message is stored once, with its value, in the readings, the minutes and as the latest."""
    await analyst.has(processor.count)
    device = [(f"d-{number}", end) for number, end in enumerate(processor.ends)]
    offsets = (
        "SELECT device, count(), uniqExact(origin_offset), max(origin_offset), sum(integer) FROM readings"
    )
    assert await analyst.ask(f"{offsets} WHERE {{tenant}} GROUP BY device ORDER BY device") == [
        (name, end, end, end - 1, end * (end - 1) // 2) for name, end in device
    ]
    messages = "SELECT device, count(), uniqExact(origin_offset) FROM messages"
    assert await analyst.ask(f"{messages} WHERE {{tenant}} GROUP BY device ORDER BY device") == [
        (name, end, end) for name, end in device
    ]
    minutes = (
        "SELECT device, count(), max(count), sum(count), sum(sum), max(greatest), min(least) FROM readings_1m"
    )
    assert await analyst.ask(f"{minutes} WHERE {{tenant}} GROUP BY device ORDER BY device") == [
        (name, -(-end // 6), 6, end, end * (end - 1) / 2, end - 1, 0) for name, end in device
    ]
    latest = "SELECT device, integer, toUnixTimestamp64Micro(measured_at) FROM latest"
    assert await analyst.ask(f"{latest} WHERE {{tenant}} ORDER BY device") == [
        (name, end - 1, processor.at(end - 1)) for name, end in device
    ]


async def test_repeats_are_stored_once(stack: Stack, processor: Processor, analyst: Analyst):
    """Blocks that a processor emitted again, with other borders, are stored once."""
    await processor.emit(20)

    await _exact(analyst, processor)


async def test_a_sink_may_be_killed_at_any_time(stack: Stack, processor: Processor, analyst: Analyst):
    """Killed three times in the middle of the stream, the sink stores each message once."""
    for _ in range(3):
        before = processor.count
        await processor.emit(15)
        await analyst.has(before + 1)
        await _kill(stack, "sink")
    await processor.emit(5)

    await _exact(analyst, processor)


async def test_clickhouse_may_be_killed_at_any_time(stack: Stack, processor: Processor, analyst: Analyst):
    """Killed three times in the middle of the stream, ClickHouse comes back and has each message once."""
    sink = stack.pid("sink")
    for _ in range(3):
        before = processor.count
        await processor.emit(15)
        await analyst.has(before + 1)
        await _kill(stack, "clickhouse")

    await _exact(analyst, processor)
    assert stack.pid("sink") == sink


async def test_kafka_may_be_killed_at_any_time(stack: Stack, processor: Processor, analyst: Analyst):
    """Killed in the middle of the stream, Kafka comes back, and the sink goes on without being started anew."""
    sink = stack.pid("sink")
    await processor.emit(15)
    await analyst.has(1)
    await _kill(stack, "kafka")
    await processor.emit(5)

    await _exact(analyst, processor)
    assert stack.pid("sink") == sink


async def test_a_sink_that_was_frozen_goes_on(stack: Stack, processor: Processor, analyst: Analyst):
    """Frozen until its group has put it out, a sink joins again and stores each message once."""
    sink = stack.pid("sink")
    await processor.emit(5)
    await analyst.has(1)
    os.kill(sink, signal.SIGSTOP)
    await processor.emit(10)
    await until(lambda: _is_out(stack), within=30)
    os.kill(sink, signal.SIGCONT)

    await _exact(analyst, processor)
    assert stack.pid("sink") == sink


async def _is_out(stack: Stack) -> bool:
    """Whether the group of the sinks has no member."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    described = admin.describe_consumer_groups(["headrace-sink"])["headrace-sink"]
    return not (await asyncio.to_thread(described.result, 10)).members


async def test_a_stopped_sink_is_out_in_a_moment(stack: Stack, processor: Processor, analyst: Analyst):
    """Told to stop, a sink ends by itself, and what it had gathered is stored by the next one."""
    await processor.emit(10)
    sink = stack.pid("sink")
    os.kill(sink, signal.SIGTERM)

    await stack.restarted("sink", after_pid=sink)

    await _exact(analyst, processor)


async def test_a_refused_message_is_cut_out(stack: Stack, processor: Processor, analyst: Analyst):
    """Messages that a constraint refuses become dead letters with their raw records; the rest of their batch lands."""
    raw = [f"untouched {offset}".encode() for offset in range(40)]
    (topic_id,) = topic_ids(KafkaSettings(bootstrap=stack.bootstrap), ["raw-graph"]).values()
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for value in raw:
        producer.produce("raw-graph", value, key=b"k", partition=1, headers=[("h", value)])
    assert await asyncio.to_thread(producer.flush, 30) == 0
    condition = "tenant != 'test_a_refused_message_is_cut_out' OR integer NOT IN (13, 27)"
    await analyst.tell(f"ALTER TABLE readings ADD CONSTRAINT guilty CHECK {condition}")
    sink = stack.pid("sink")

    rows = [message(offset, reading("n", offset, START_US), tenant=processor.topic) for offset in range(40)]
    covered = span(0, 39, topic="raw-graph", topic_id=topic_id, partition=1)
    producer.produce(READINGS, encode(rows), partition=1, headers=covered.headers())
    assert await asyncio.to_thread(producer.flush, 30) == 0

    # The last of the tables that are written.
    await until(lambda: analyst.found("SELECT count() FROM dead_letters WHERE {tenant}", 2), within=120)
    dead = "SELECT origin_offset, reason, body FROM dead_letters WHERE {tenant} ORDER BY origin_offset"
    assert await analyst.ask(dead) == [(n, "unwritable", f"untouched {n}") for n in (13, 27)]
    counts = "SELECT count(), sum(integer), (SELECT sum(count) FROM readings_1m WHERE {tenant}) FROM readings"
    assert await analyst.ask(f"{counts} WHERE {{tenant}}") == [(38, sum(range(40)) - 13 - 27, 38)]
    fates = "SELECT fate, count() FROM messages WHERE {tenant} GROUP BY fate ORDER BY fate"
    assert await analyst.ask(fates) == [("dead_letter", 2), ("stored", 38)]
    letters = await asyncio.to_thread(_letters, stack.bootstrap)
    assert [(d.topic_id, d.partition, d.offset, d.value, d.headers) for d in letters] == [
        (topic_id, 1, n, raw[n], {"h": raw[n]}) for n in (13, 27)
    ]
    assert all("VIOLATED_CONSTRAINT" in letter.error for letter in letters)
    assert stack.pid("sink") == sink
    await analyst.tell("ALTER TABLE readings DROP CONSTRAINT guilty")


def _letters(bootstrap: str) -> list[DeadLetter]:
    """What is on the topic of dead letters, in the order of their origins."""
    options = {"group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({"bootstrap.servers": bootstrap} | options)
    found: list[DeadLetter] = []
    try:
        partitions = consumer.list_topics(DEAD_LETTERS, timeout=10).topics[DEAD_LETTERS].partitions
        consumer.assign([TopicPartition(DEAD_LETTERS, number, 0) for number in partitions])
        ended = 0
        while ended < len(partitions):
            for record in consumer.consume(100, 1):
                ended += record.error() is not None
                found += [] if record.error() else [decode(DeadLetter, record.value())]
    finally:
        consumer.close()
    return sorted(found, key=lambda letter: letter.offset)


CURES: dict[str, tuple[Sequence[str], Sequence[str], str]] = {
    "full": (
        ("ALTER TABLE readings MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000",),
        ("ALTER TABLE readings RESET SETTING min_free_disk_bytes_to_perform_insert",),
        "NOT_ENOUGH_SPACE",
    ),
    "full roll-up": (
        (
            "ALTER TABLE readings_1m_state MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000",
        ),
        ("ALTER TABLE readings_1m_state RESET SETTING min_free_disk_bytes_to_perform_insert",),
        "NOT_ENOUGH_SPACE",
    ),
    "full account": (
        ("ALTER TABLE messages MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000",),
        ("ALTER TABLE messages RESET SETTING min_free_disk_bytes_to_perform_insert",),
        "NOT_ENOUGH_SPACE",
    ),
    "too many parts": (
        (
            "SYSTEM STOP MERGES readings",
            "ALTER TABLE readings MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1",
        ),
        (
            "ALTER TABLE readings RESET SETTING parts_to_delay_insert, parts_to_throw_insert",
            "SYSTEM START MERGES readings",
        ),
        "TOO_MANY_PARTS",
    ),
    "read-only": (
        ("ALTER TABLE readings MODIFY SETTING table_readonly = 1",),
        ("ALTER TABLE readings RESET SETTING table_readonly",),
        "TABLE_IS_PERMANENTLY_READ_ONLY",
    ),
    "failing view": (
        ("CREATE MATERIALIZED VIEW broken ENGINE = Memory AS SELECT throwIf(1) AS x FROM readings",),
        ("DROP VIEW broken",),
        "395",
    ),
    "lost column": (
        (
            "ALTER TABLE dead_letters RENAME COLUMN body TO other",
            "ALTER TABLE messages RENAME COLUMN fate TO f",
        ),
        (
            "ALTER TABLE dead_letters RENAME COLUMN other TO body",
            "ALTER TABLE messages RENAME COLUMN f TO fate",
        ),
        "16",
    ),
}
"""What breaks ClickHouse, what cures it, and what the sink calls it meanwhile."""


@pytest.mark.parametrize("illness", CURES)
async def test_it_waits_for_the_cure(stack: Stack, processor: Processor, analyst: Analyst, illness: str):
    """While ClickHouse takes nothing the sink says why, and stores each message once when that is cured."""
    breaks, cures, code = CURES[illness]
    processor.topic = analyst.topic = f"cured of {illness}"
    sink = stack.pid("sink")
    await processor.emit(1)
    await analyst.has(processor.count)
    health = f"http://127.0.0.1:{stack.settings.sink_health_port}"
    for statement in breaks:
        await analyst.tell(statement)
    try:
        await processor.emit(5)
        held = f'headrace_sink_held{{code="{code}"}} 1.0'
        await until(lambda: _says(f"{health}/metrics", held))
        await until(lambda: _says(f"{health}/ready", "readings ["))
    finally:
        for statement in cures:
            await analyst.tell(statement)

    await _exact(analyst, processor)
    await until(lambda: _says(f"{health}/ready", "ok"))
    assert stack.pid("sink") == sink


async def _says(url: str, text: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return text in await response.text()


async def test_sinks_may_come_and_go(stack: Stack, processor: Processor, analyst: Analyst):
    """Two more sinks join in the middle of the stream, one leaves and one is killed: each message is stored once."""
    others = []
    try:
        for number in range(2):
            await processor.emit(10)
            others.append(await _sink(stack, number))
            await processor.emit(10)
        await until(lambda: _members(stack, 3), within=120)
        await processor.emit(10)
        others[0].terminate()
        await processor.emit(10)
        assert await others[0].wait() == 0
        others[1].kill()
        await processor.emit(10)

        await _exact(analyst, processor)
    finally:
        for other in others:
            if other.returncode is None:
                other.kill()
            await other.wait()


async def _sink(stack: Stack, number: int) -> asyncio.subprocess.Process:
    """One more sink."""
    (port,) = free_ports(1)
    own = {"HEADRACE_SINK__INSTANCE": f"other-{number}", "HEADRACE_HEALTH__PORT": str(port)}
    env = os.environ | stack._environment("sink") | own
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "headrace", "sink", env=env)


async def _members(stack: Stack, count: int) -> bool:
    """Whether the group of the sinks has so many members, each with a partition."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    described = admin.describe_consumer_groups(["headrace-sink"])["headrace-sink"]
    members = (await asyncio.to_thread(described.result, 10)).members
    return [bool(member.assignment.topic_partitions) for member in members] == [True] * count


async def test_commits_that_are_gone_repeat_nothing(tmp_path: Path):
    """A group whose commits Kafka has deleted goes on from what ClickHouse has: each message is stored once."""
    settings = stack_settings(tmp_path, partitions=PARTITIONS)
    async with Stack(settings, services=SERVICES, fresh=True) as stack:
        processor, analyst = Processor(stack.bootstrap, "gone"), Analyst(stack, "gone")
        await processor.emit(10)
        await _exact(analyst, processor)
    async with Stack(settings, services=("kafka", "clickhouse")) as stack:
        await until(lambda: _forgets_the_group(stack), within=60)

    async with Stack(settings, services=SERVICES) as stack:
        processor.bootstrap, analyst = stack.bootstrap, Analyst(stack, "gone")
        processor.__post_init__()
        await processor.emit(5)

        await _exact(analyst, processor)


async def _forgets_the_group(stack: Stack) -> bool:
    """Whether Kafka has deleted the group and all that it committed: it refuses while a member may come back."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    deleted = admin.delete_consumer_groups(["headrace-sink"])["headrace-sink"]
    try:
        await asyncio.to_thread(deleted.result, 30)
    except KafkaException:
        return False
    return True


async def test_a_sink_refuses_tables_that_count_twice(tmp_path: Path):
    """Where a table has lost its window the sink names it, and does not start."""
    settings = stack_settings(tmp_path, partitions=1)
    async with Stack(settings, services=SERVICES, fresh=True) as stack:
        client: Any = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
        alter = "ALTER TABLE readings_1m_state MODIFY SETTING non_replicated_deduplication_window = 0"
        await asyncio.to_thread(client.command, alter)

    with pytest.raises(
        StackError, match="readings_1m_state has non_replicated_deduplication_window = 0, and needs"
    ):
        async with Stack(settings, services=SERVICES):
            pass
