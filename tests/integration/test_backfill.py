"""`headrace replay` on the real Kafka and the real ClickHouse engine, beside a pipeline that goes on."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import pytest_asyncio
import typer
from confluent_kafka import Producer

from headrace.backfill.commands import replay
from headrace.stack.stack import Stack
from tests.support.commands import Told, headrace, invoked
from tests.support.processes import stack_settings, until
from tests.support.raw import garbage, message, record

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "raw-thingsboard"
PARTITIONS = 2
PADDING = "x" * 30_000
"""Of each message: 139 of them are a batch."""

COLUMNS = (
    "tenant, device, quantity, sensor, measured_at, kind, number, integer, text, unit, place, dialect,"
    " received_at, origin_partition, origin_offset, position"
)
"""All of a reading's."""


@dataclass
class Plant:
    """A stack, and what was sent to it."""

    stack: Stack
    client: Any
    sent: int = 0
    kept: int = 0
    """Of them: neither repeats nor garbage."""
    _producer: Any = field(init=False)

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.stack.bootstrap, "enable.idempotence": True})

    async def send(self, count: int) -> None:
        """So many messages to each partition, and as many repeats and garbage between them as there is a tenth."""
        quantity = f"n-{self.sent}"
        for number in range(count):
            for partition in range(PARTITIONS):
                name = f"m-{partition}-{self.sent}-{number}"
                raw = message(
                    {quantity: number, "padding": PADDING}, device=f"d-{partition}", message_id=name
                )
                some = [record(0, raw)]
                if number % 10 == 0:
                    some += [record(0, raw), garbage(0)]
                for each in some:
                    self._producer.produce(TOPIC, each.value, each.key, partition, headers=list(each.headers))
                self.kept += 1
                self.sent += len(some)
            self._producer.poll(0)
        assert await asyncio.to_thread(self._producer.flush, 60) == 0

        async def stored() -> bool:
            found = await self.count(f"readings WHERE quantity = '{quantity}'")
            return found == count * PARTITIONS and await self.count("messages") >= self.sent

        await until(stored, within=120)

    async def count(self, table: str) -> int:
        """Its rows."""
        return int(await asyncio.to_thread(self.client.command, f"SELECT count() FROM {table}"))

    async def replay(self, *arguments: str) -> Told:
        """`headrace replay …`."""
        app = typer.Typer()
        app.command()(replay)
        return await invoked(app, self.stack, *arguments)

    async def killed(self, after: int, folder: Path, *arguments: str) -> Told:
        """The same, killed when a batch is in ClickHouse, and nothing says so."""
        latch = str(folder / f"latch-{after}")
        fault = {"FAULT__MOMENT": "table-inserted", "FAULT__AFTER": str(after), "FAULT__LATCH": latch}
        told = await headrace(self.stack, "replay", *arguments, **fault)
        assert -signal.SIGKILL == told.code, told
        return told

    async def differences(self, one: str, other: str) -> int:
        """Rows that only one of two queries gives, or one of them more often."""
        query = f"SELECT count() FROM (SELECT {COLUMNS}, sum(side) AS surplus FROM (SELECT *, 1 AS side FROM {one} UNION ALL SELECT *, -1 AS side FROM {other}) GROUP BY ALL HAVING surplus != 0)"
        return int(await asyncio.to_thread(self.client.command, query))


def _now() -> str:
    return datetime.now(UTC).isoformat()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="plant")
async def _plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    settings = stack_settings(tmp_path_factory.mktemp("stack"), partitions=PARTITIONS)
    services = ("kafka", "clickhouse", "process", "sink")
    async with Stack(settings, services=services, fresh=True) as stack:
        client: Any = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
        yield Plant(stack, client)
        client.close()


@pytest.mark.timeout(600)
async def test_a_table_of_its_own_gets_the_range_once(plant: Plant, tmp_path: Path):
    """Killed twice between an insert and the note of it, and run again, a backfill equals `readings` of the range, row by row."""
    await plant.send(50)
    begin = _now()
    await plant.send(400)
    end = _now()
    first = int(await asyncio.to_thread(plant.client.command, "SELECT min(origin_offset) FROM readings"))
    assert 0 == first
    asked = ("--from", begin, "--to", end, "--into", "again")
    of_range = f"(SELECT {COLUMNS} FROM readings WHERE received_at IS NOT NULL AND (origin_partition, origin_offset) IN (SELECT origin_partition, origin_offset FROM messages WHERE logged_at >= parseDateTime64BestEffort('{begin}', 3, 'UTC') AND logged_at < parseDateTime64BestEffort('{end}', 3, 'UTC')))"

    dry = await plant.replay(*asked, "--dry-run")
    assert "Nothing was written: this was a dry run." == dry.lines[-1]
    live = asyncio.create_task(plant.send(100))
    await plant.killed(2, tmp_path, *asked)
    await plant.killed(3, tmp_path, *asked)
    told = await plant.replay(*asked)
    await live

    assert 0 == told.code, told
    assert "Going on with epoch replay into again" in told.out
    assert "again has the 1,600 readings of epoch replay, each once." in told.out
    assert 0 == await plant.differences(f"(SELECT {COLUMNS} FROM again)", of_range)
    assert [plant.kept * 2, plant.sent] == [await plant.count("readings"), await plant.count("messages")]


async def test_a_backfill_that_is_done_does_nothing_again(plant: Plant):
    """Run once more, the command reads and writes nothing, and says what there is."""
    rows = await plant.count("again")

    told = await plant.replay("--from", "1d", "--into", "again")

    assert "again has the 1,600 readings of epoch replay, each once." in told.out
    assert rows == await plant.count("again")


async def test_a_table_of_another_shape_is_refused(plant: Plant):
    """A table that is there, and is not like `readings`, is left alone."""
    plant.client.command("CREATE TABLE other (a UInt8) ENGINE = MergeTree ORDER BY a")

    told = await plant.replay("--from", "1d", "--into", "other")

    assert (1, "other is there, and not like readings") == (told.code, told.err.partition(":")[0])


async def test_a_table_with_foreign_rows_is_refused(plant: Plant):
    """Rows that another epoch wrote are not added to."""
    told = await plant.replay("--from", "1d", "--into", "again", "--epoch", "other")

    assert (1, "again holds rows that epoch other did not write") == (told.code, told.err.partition(":")[0])


async def test_a_range_that_is_there_is_refused(plant: Plant):
    """As long as `readings` has the range, nothing is added to it, and the operator is told what to drop."""
    told = await plant.replay("--from", "1d", "--epoch", "early")

    assert 1 == told.code
    assert "`readings` holds all of this range: drop its partitions first" in told.err


async def test_a_dropped_range_is_filled_again(plant: Plant, tmp_path: Path):
    """What was dropped from `readings` and its roll-up is there again, exactly, though live messages came meanwhile."""
    await asyncio.to_thread(
        plant.client.command, f"CREATE TABLE before ENGINE = Memory AS SELECT {COLUMNS} FROM readings"
    )
    months = await asyncio.to_thread(
        plant.client.query, "SELECT DISTINCT toYYYYMM(received_at) FROM readings"
    )
    asked = ("--from", "1d", "--epoch", "e1")
    for (month,) in months.result_rows:
        await asyncio.to_thread(plant.client.command, f"ALTER TABLE readings DROP PARTITION {month}")
    alone = await plant.replay(*asked)
    for (month,) in months.result_rows:
        rolled_up = f"'{month // 100}-{month % 100:02}-01'"
        await asyncio.to_thread(
            plant.client.command, f"ALTER TABLE readings_1m_state DROP PARTITION {rolled_up}"
        )
    await plant.send(20)

    await plant.killed(2, tmp_path, *asked)
    live = asyncio.create_task(plant.send(100))
    told = await plant.replay(*asked)
    await live

    assert 1 == alone.code
    assert re.search(r"readings holds 0 numbers and readings_1m_state \d", alone.err), alone
    assert 0 == told.code, told
    old = f"(SELECT {COLUMNS} FROM readings WHERE (origin_partition, origin_offset) IN (SELECT origin_partition, origin_offset FROM before))"
    assert 0 == await plant.differences("before", old)
    assert plant.kept * 2 == await plant.count("readings")
    rolled_up = "SELECT sum(count), sum(sum) FROM readings_1m"
    readings = "SELECT count(), sum(number) FROM readings WHERE kind = 'int64'"
    assert plant.client.query(readings).result_rows == plant.client.query(rolled_up).result_rows


async def test_a_roll_up_that_differs_in_the_end_is_told(plant: Plant):
    """A backfill that is done, and whose roll-up is short, says in which months, and does not say that all is well."""
    await asyncio.to_thread(plant.client.command, "TRUNCATE TABLE readings_1m_state")

    told = await plant.replay("--from", "1d", "--epoch", "e1")

    assert 1 == told.code, told
    assert "The roll-ups have them too" not in told.out
    assert re.search(
        r"in \d{6}.* readings holds [\d,]+ numbers and readings_1m_state 0: drop the same", told.err
    ), told
