"""`headrace dead-letters` on the real Kafka and the real ClickHouse engine, with a processor that can be cured."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import pytest_asyncio
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from headrace.dead_letters import commands
from headrace.scan import Scanner
from headrace.stack.stack import Stack, answers
from runtime.settings import KafkaSettings
from tests.support.commands import Told, headrace, invoked
from tests.support.processes import stack_settings, until
from tests.support.raw import Raw, garbage, message, record

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "raw-thingsboard"
WINDOW = 10
"""Seconds: short enough to wait until it has passed."""

CHOOSY = """
import sys
from pathlib import Path

from processors import refine
from processors.app import main
from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason

normalise = refine.normalise

def choosy(raw):
    if raw.device.startswith("sick") and not (Path(sys.argv[1]) / raw.device).exists():
        raise Unusable(Reason.MALFORMED, "not cured yet")
    return normalise(raw)

refine.normalise = choosy
main()
"""
"""A processor to which every message of a device is malformed that is named sick-…, until a file of that name is there."""


@dataclass(frozen=True)
class Ward:
    """A stack with such a processor."""

    stack: Stack
    cures: Path
    client: Any

    def cure(self, device: str) -> None:
        """From now on the device's messages are well-formed."""
        (self.cures / device).touch()

    async def letters(self, *arguments: str, **settings: str) -> Told:
        """`headrace dead-letters …`."""
        settings = {"PROCESS__WINDOW_SECONDS": str(WINDOW), **settings}
        return await invoked(commands.app, self.stack, *arguments, **settings)

    async def send(self, *records: Raw) -> None:
        """Onto the raw topic, acknowledged."""
        await asyncio.to_thread(self._produce, records)

    def _produce(self, records: Sequence[Raw]) -> None:
        producer = Producer({"bootstrap.servers": self.stack.bootstrap, "partitioner": "murmur2_random"})
        for each in records:
            producer.produce(TOPIC, each.value, each.key, headers=list(each.headers))
        assert producer.flush(30) == 0

    async def fates(self, device: str) -> list[str]:
        """Of the device's messages, in the order of the log."""
        query = "SELECT fate FROM messages WHERE device = {device:String} ORDER BY origin_partition, origin_offset"
        found = await asyncio.to_thread(self.client.query, query, {"device": device})
        return [row[0] for row in found.result_rows]

    async def have(self, device: str, *fates: str) -> None:
        """Return when the device's messages have met these fates."""

        async def met() -> bool:
            return await self.fates(device) == list(fates)

        await until(met, within=60)

    async def window_passed(self, device: str) -> None:
        """Return when the log's time has moved on, so that nothing that is there now is remembered for this device."""
        query = "SELECT max(logged_at) - min(logged_at) FROM messages WHERE message_id LIKE {like:String}"
        count = 0

        async def passed() -> bool:
            nonlocal count
            count += 1
            await self.send(record(0, message(device=device, message_id=f"tick-{device}-{count}")))
            found = await asyncio.to_thread(self.client.query, query, {"like": f"tick-{device}-%"})
            return float(found.result_rows[0][0] or 0) > 1.5 * WINDOW

        await until(passed, within=60)


def sick(device: str, number: int = 1, **fields: Any) -> Raw:
    """A message that is malformed until the device is cured."""
    return record(0, message(device=device, message_id=f"{device}-{number}", **fields))


@asynccontextmanager
async def choosy_processor(stack: Stack, cures: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The processor of this stack."""
    port = stack.settings.process_health_port
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHOOSY, str(cures)),
        env=os.environ
        | {
            "HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap,
            "HEADRACE_HEALTH__PORT": str(port),
            "HEADRACE_PROCESS__WINDOW_SECONDS": str(WINDOW),
            "HEADRACE_PROCESS__INSTANCE": "local",
        },
    )
    try:
        await until(lambda: answers(f"http://127.0.0.1:{port}/ready"), within=150)
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="stack")
async def _stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings = stack_settings(tmp_path_factory.mktemp("stack"), partitions=2)
    async with Stack(settings, services=("kafka", "clickhouse", "sink"), fresh=True) as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="ward")
async def _ward(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ward]:
    cures = tmp_path_factory.mktemp("cures")
    client: Any = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
    async with choosy_processor(stack, cures):
        yield Ward(stack, cures, client)
    client.close()


async def test_a_letter_is_stored_once_however_often_it_is_replayed(ward: Ward):
    """Cured and replayed three times, also after the window has passed, a message is stored once and never sent again."""
    await ward.send(sick("sick-1"))
    await ward.have("sick-1", "dead_letter")
    ward.cure("sick-1")

    first = await ward.letters("replay", "--device", "sick-1")
    again = await ward.letters("replay", "--device", "sick-1")
    await ward.window_passed("sick-1")
    much_later = await ward.letters("replay", "--device", "sick-1")

    assert re.search(r"put back +1 ", first.out), first
    assert re.search(r"already stored +1 ", again.out), again
    assert re.search(r"already stored +1 ", much_later.out), much_later
    assert "put back" not in again.out + much_later.out
    assert "duplicate" not in await ward.fates("sick-1")
    query = "SELECT count() FROM messages WHERE message_id = 'sick-1-1' AND fate = 'stored'"
    assert 1 == ward.client.command(query)


async def test_operators_may_replay_at_once(ward: Ward):
    """Two operators who replay the same 200 letters at the same time store each once."""
    await ward.send(*(sick("sick-2", number) for number in range(200)))
    await ward.have("sick-2", *["dead_letter"] * 200)
    ward.cure("sick-2")

    asked = ("dead-letters", "replay", "--device", "sick-2")
    told = await asyncio.gather(
        *(headrace(ward.stack, *asked, PROCESS__WINDOW_SECONDS=str(WINDOW)) for _ in range(2))
    )
    last = await ward.letters("replay", "--device", "sick-2")

    assert [0, 0, 0] == [each.code for each in (*told, last)], (told, last)
    assert re.search(r"already stored +200 ", last.out)
    query = "SELECT uniqExact(message_id), count() FROM messages WHERE device = 'sick-2' AND fate = 'stored'"
    assert [(200, 200)] == ward.client.query(query).result_rows
    assert 200 == ward.client.command("SELECT count() FROM readings WHERE device = 'sick-2'")


async def test_what_is_not_cured_dies_again(ward: Ward):
    """A letter that dies again stays one line, with both of its deaths; so does one that nobody can decode."""
    await ward.send(sick("sick-3"), garbage(0))
    await ward.have("sick-3", "dead_letter")

    told = await ward.letters("replay")
    await ward.have("sick-3", "dead_letter", "dead_letter")

    assert 0 == told.code, told
    listed = await ward.letters("list", "--device", "sick-3")
    assert "1 messages died 2 times." in listed.out
    garbled = await ward.letters("list", "--reason", "undecodable")
    assert "1 messages died 2 times." in garbled.out


async def test_the_record_is_put_back_untouched(ward: Ward):
    """Key, value, headers and partition of the record that is put back are those of the one that died."""
    await ward.send(sick("sick-4", body=b'{"a": 1}  \n'))
    await ward.have("sick-4", "dead_letter")

    await ward.letters("replay", "--device", "sick-4")
    await ward.have("sick-4", "dead_letter", "dead_letter")

    with Scanner(KafkaSettings(bootstrap=ward.stack.bootstrap)) as scanner:
        log = [
            each
            for reach in scanner.reaches(TOPIC)
            for each in scanner.read(reach)
            if each.key == b"acme/sick-4"
        ]
    died, again = ((each.partition, each.key, each.value, each.headers) for each in log)
    assert died == again


async def test_a_dry_run_sends_nothing(ward: Ward):
    """A dry run says what would be done, and the letter does not die again."""
    await ward.send(sick("sick-5"))
    await ward.have("sick-5", "dead_letter")

    told = await ward.letters("replay", "--device", "sick-5", "--dry-run")

    assert re.search(r"put back +1 ", told.out)
    assert "Nothing was sent: this was a dry run." == told.lines[-1]
    real = await ward.letters("replay", "--device", "sick-5")
    await ward.have("sick-5", "dead_letter", "dead_letter")
    assert re.search(r"put back +1 ", real.out)


async def test_show_explains_a_letter(ward: Ward):
    """All that there is to know of a letter is shown: why, from where, and its body."""
    await ward.send(sick("sick-6", body=b'{"temperature": 21.5}'))
    await ward.have("sick-6", "dead_letter")
    listed = await ward.letters("list", "--device", "sick-6")
    identifier = listed.lines[1].split()[0]

    shown = await ward.letters("show", identifier)

    assert 0 == shown.code, shown
    for expected in (
        "malformed",
        "not cured yet",
        "acme/sick-6",
        TOPIC,
        '"temperature": 21.5',
        "reads 1 readings",
    ):
        assert expected in shown.out


async def test_a_letter_that_is_not_there_is_said(ward: Ward):
    """An id that no letter has ends the command with 1."""
    told = await ward.letters("show", "zz")

    assert (1, "no dead letter's id begins with zz") == (told.code, told.err.partition(";")[0])


async def test_nobody_joins_a_group(ward: Ward):
    """Looking at the progress of the groups of the pipeline leaves them with the members that they had."""
    admin = AdminClient({"bootstrap.servers": ward.stack.bootstrap})

    def members() -> dict[str, set[str]]:
        groups = admin.describe_consumer_groups(["headrace-process", "headrace-sink"])
        return {name: {each.member_id for each in found.result(10).members} for name, found in groups.items()}

    before = await asyncio.to_thread(members)
    await ward.letters("replay", "--device", "nobody")

    assert before == await asyncio.to_thread(members)
    assert [1, 1] == [len(each) for each in before.values()]


async def test_a_pipeline_that_stands_still_is_said(stack: Stack, tmp_path: Path):
    """While the processor is away nothing is put back, and the operator is told who is to come further."""
    client: Any = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
    ward = Ward(stack, tmp_path, client)
    async with choosy_processor(stack, tmp_path):
        await ward.send(sick("sick-7"))
        await ward.have("sick-7", "dead_letter")
    await ward.send(sick("sick-7", 2))

    told = await ward.letters("replay", "--device", "sick-7", "--timeout", "2")

    assert 1 == told.code
    assert "lacks 1 messages, and `headrace process` is to come further" in told.err
    client.close()
