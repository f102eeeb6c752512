"""The processor as a process of its own, on the real Kafka."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from headrace.stack.stack import Stack, answers
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.reading_block import Span
from schemas.reading_block import decode as decode_block
from schemas.topics import DEAD_LETTERS, READINGS
from tests.support.processes import free_ports, stack_settings, until
from tests.support.raw import Raw, garbage, message, record

TOPIC = "raw-thingsboard"
GROUP = "headrace-process"


PARTITIONS = 4


@pytest.fixture(name="stack")
async def _stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A Kafka alone, its topics empty."""
    settings = stack_settings(tmp_path, partitions=PARTITIONS)
    async with Stack(settings, services=["kafka"], fresh=True) as stack:
        await stack.create_topics()
        yield stack


@dataclass(frozen=True)
class Running:
    """A processor of a process of its own."""

    process: asyncio.subprocess.Process
    port: int
    stderr: Path

    async def ended(self) -> int | None:
        """Its exit code, when it has come to an end by itself."""
        return await asyncio.wait_for(self.process.wait(), 120)

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of a probe or of the metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def counted(self, name: str) -> float:
        """A metric without labels."""
        _, text = self.ask("/metrics")
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


@contextlib.asynccontextmanager
async def processor(stack: Stack, *command: str, **settings: object) -> AsyncIterator[Running]:
    """A processor that has joined the group; asked to leave in the end, if it is still there."""
    (port,) = free_ports(1)
    stderr = stack.settings.state / f"processor-{port}.log"
    named = {"process__chunk_messages": 20, "health__port": port} | settings
    environment = {f"HEADRACE_{name.upper()}": str(value) for name, value in named.items()}
    with stderr.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(command or ("-m", "headrace", "process")),
            env=os.environ | {"HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap} | environment,
            stderr=log,
        )
    try:
        yield Running(process, port, stderr)
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def joined(running: Running) -> None:
    """Return when it has partitions."""
    await until(lambda: answers(f"http://127.0.0.1:{running.port}/ready"), within=120)


def produce(bootstrap: str, records: Sequence[Raw], partition: int = 0, timestamp: int = 0) -> None:
    """Return when Kafka has acknowledged them, in their order, on one partition."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for each in records:
        producer.produce(
            TOPIC,
            each.value,
            each.key,
            partition,
            on_delivery=lambda error, _: failures.append(error),
            timestamp=timestamp,
            headers=list(each.headers),
        )
        producer.poll(0)
    producer.flush(30)
    assert failures == [None] * len(records)


def consumed(bootstrap: str, topic: str) -> list[Message]:
    """Everything that the topic holds now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    found: list[Message] = []
    try:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, 0)])
            found += consumer.consume(end, 30) if end else []
    finally:
        consumer.close()
    return found


def leads(bootstrap: str) -> bool:
    """Whether Kafka answers for its partitions again."""
    try:
        consumed(bootstrap, READINGS)
    except KafkaException:
        return False
    return True


def committed(bootstrap: str) -> int:
    """The processor's committed offset."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    try:
        return consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)[0].offset
    finally:
        consumer.close()


def commit(bootstrap: str, offset: int) -> None:
    """Have the processor's group, which has no member, committed this."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    try:
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, offset)], asynchronous=False)
    finally:
        consumer.close()


def delete_until(bootstrap: str, offset: int) -> None:
    """Delete the records before an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_records([TopicPartition(TOPIC, 0, offset)]).values():
        done.result(30)


def rows(messages: Sequence[Message]) -> list[tuple[int, str]]:
    """Offset and fate of every row, block by block; checks that each block covers what its headers say."""
    found = []
    for block in messages:
        span, batch = Span.of(block.headers()), decode_block(block.value())
        offsets = batch.column("offset").to_pylist()
        assert offsets == list(range(span.first, span.last + 1))
        found += list(zip(offsets, batch.column("fate").to_pylist(), strict=True))
    return found


def beyond(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The rows that a sink keeps: those beyond the last one that it has."""
    kept: list[tuple[int, str]] = []
    for row in found:
        if not kept or row[0] > kept[-1][0]:
            kept.append(row)
    return kept


async def emitted(stack: Stack, last: int, partition: int = 0) -> list[tuple[int, str]]:
    """Every emitted row of a raw partition, once this raw offset is among them."""
    found: list[tuple[int, str]] = []

    async def there() -> bool:
        messages = await asyncio.to_thread(consumed, stack.bootstrap, READINGS)
        found[:] = rows([message for message in messages if message.partition() == partition])
        return any(offset == last for offset, _ in found)

    await until(there, within=120)
    return found


async def test_a_dead_letter_is_untouched_and_alone(stack: Stack):
    """What cannot be read is in `dead-letters` byte by byte; its neighbours are stored."""
    bad = garbage(1, b"\xc3\x01\xff garbage \x00")
    await asyncio.to_thread(produce, stack.bootstrap, [record(0), bad, record(2)])
    async with processor(stack):
        found = await emitted(stack, 2)

    assert [(0, "stored"), (1, "dead_letter"), (2, "stored")] == beyond(found)
    (letter,) = await asyncio.to_thread(consumed, stack.bootstrap, DEAD_LETTERS)
    dead = decode(DeadLetter, letter.value())
    assert (bad.key, bad.value, 1, "undecodable") == (dead.key, dead.value, dead.offset, dead.reason)


async def test_what_was_emitted_and_not_committed_is_emitted_again(stack: Stack):
    """Killed between a block and its offset, a processor's work is done again, in vain: nothing counts twice.

    That it was done again is part of the test. Repeats of what was stored before the kill are duplicates after it.
    """
    messages = [record(offset) for offset in range(400)]
    await asyncio.to_thread(produce, stack.bootstrap, messages)
    fault = {"fault__moment": "blocks-acknowledged", "fault__after": 5}
    async with processor(stack, **fault, fault__latch=stack.settings.state / "latch") as killed:
        assert -signal.SIGKILL == await killed.ended()
    before = await asyncio.to_thread(committed, stack.bootstrap)
    once = rows(await asyncio.to_thread(consumed, stack.bootstrap, READINGS))
    repeats = [record(number) for number in range(0, 400, 7)]
    await asyncio.to_thread(produce, stack.bootstrap, repeats)
    async with processor(stack):
        found = await emitted(stack, len(messages) + len(repeats) - 1)

    again = [offset for offset, _ in found[len(once) :] if offset <= once[-1][0]]
    assert again, f"nothing was emitted twice: {before} was committed, {once[-1][0]} emitted"
    fates = ["stored"] * len(messages) + ["duplicate"] * len(repeats)
    assert list(enumerate(fates)) == beyond(found)


async def test_every_offset_counts_once_while_processors_come_and_go(stack: Stack):
    """Two processors share four partitions in mid-stream, and part again: nothing is left out, nothing counts twice."""
    sent = dict.fromkeys(range(PARTITIONS), 0)

    async def send(count: int) -> None:
        for partition in sent:
            numbers = range(sent[partition], sent[partition] + count)
            records = [record(n, message(message_id=f"{partition}-{n}")) for n in numbers]
            await asyncio.to_thread(produce, stack.bootstrap, records, partition)
            sent[partition] += count

    async with processor(stack) as first:
        await joined(first)
        await send(200)
        async with processor(stack) as second:
            sending = asyncio.create_task(send(600))
            await joined(second)
            await sending
            await send(200)
            await until(lambda: second.counted("headrace_process_blocks_total") > 0, within=120)
            sending = asyncio.create_task(send(300))
        await sending
        found = {partition: await emitted(stack, sent[partition] - 1, partition) for partition in sent}

    for partition, rows_of in found.items():
        assert [(offset, "stored") for offset in range(sent[partition])] == beyond(rows_of)
    assert [0, 0] == [first.process.returncode, second.process.returncode]


async def test_who_leaves_leaves_nothing_to_do_again(stack: Stack):
    """Asked to leave in mid-stream, a processor brings home what is in flight, and commits it."""
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(5000)])
    async with processor(stack) as leaving:
        await emitted(stack, 19)
    before = await asyncio.to_thread(committed, stack.bootstrap)
    found = rows(await asyncio.to_thread(consumed, stack.bootstrap, READINGS))

    assert (0, found[-1][0] + 1) == (leaving.process.returncode, before)


async def test_a_new_group_reads_an_old_log(stack: Stack):
    """Where retention has deleted the beginning of a raw topic, a first processor begins with what is there."""
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(50)])
    await asyncio.to_thread(delete_until, stack.bootstrap, 37)
    async with processor(stack):
        found = await emitted(stack, 49)

    assert [(offset, "stored") for offset in range(37, 50)] == found


async def test_a_clock_of_kafka_that_ran_ahead_stops_nobody(stack: Stack):
    """Records that a broker has stamped a year ahead are emitted, dead letters too, and so is what comes after them."""
    names = ("message.timestamp.type", "CreateTime"), ("message.timestamp.after.max.ms", str((1 << 63) - 1))
    entries = [ConfigEntry(*each, incremental_operation=AlterConfigOpType.SET) for each in names]
    raw = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    await asyncio.to_thread(admin.incremental_alter_configs([raw])[raw].result, 30)
    ahead = (int(time.time()) + 365 * 24 * 3600) * 1000
    await asyncio.to_thread(produce, stack.bootstrap, [record(0), garbage(1), record(2)], timestamp=ahead)
    await asyncio.to_thread(produce, stack.bootstrap, [record(3), record(4)])
    async with processor(stack) as running:
        found = await emitted(stack, 4)

    fates = ["stored", "dead_letter", "stored", "stored", "stored"]
    assert (list(enumerate(fates)), 0) == (beyond(found), running.process.returncode)


async def test_an_offset_of_a_topic_that_is_gone_skips_nothing(stack: Stack):
    """Committed too late, an offset that lies beyond the end of the log is no reason to wait until the log gets there."""
    await asyncio.to_thread(commit, stack.bootstrap, 5000)
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(50)])
    async with processor(stack):
        found = await emitted(stack, 49)
        await until(lambda: committed(stack.bootstrap) == 50)

    assert [(offset, "stored") for offset in range(50)] == found


REFUSING = """
import asyncio
from processors.app import main
from runtime.publisher import Publisher, Undelivered
from schemas.reading_block import Span
from schemas.topics import READINGS

send = Publisher.send

def refusing(self, topic, value, *, headers=(), **options):
    done = send(self, topic, value, headers=headers, **options)
    if topic == READINGS and Span.of(headers).first {which}:
        done = asyncio.get_running_loop().create_future()
        {outcome}
    return done

Publisher.send = refusing
main()
"""
CANNOT_DELIVER = REFUSING.format(which=">= 40", outcome='done.set_exception(Undelivered("refused"))')
NEVER_ACKNOWLEDGED = REFUSING.format(which=">= 40", outcome="")
FIRST_NEVER_ACKNOWLEDGED = REFUSING.format(which="== 0", outcome="")


async def test_faust_habit_an_agent_that_raises(stack: Stack):
    """Stock Faust acknowledges what an agent failed on, and goes on; here the processor ends with an error.

    Only what went before the failure is committed.
    """
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)])
    async with processor(stack, "-c", CANNOT_DELIVER) as running:
        code = await running.ended()

    assert (1, 40) == (code, await asyncio.to_thread(committed, stack.bootstrap))


async def test_what_is_never_acknowledged_ends_the_process(stack: Stack):
    """If offsets stop although there is work, the processor ends with an error and says which partition stands still."""
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)])
    async with processor(stack, "-c", NEVER_ACKNOWLEDGED, process__stuck_seconds=5) as running:
        code = await running.ended()

    assert (1, 40) == (code, await asyncio.to_thread(committed, stack.bootstrap))
    assert "raw-thingsboard [0] has stood still" in running.stderr.read_text()


async def test_faust_habit_a_stop_with_a_message_that_is_never_acknowledged(stack: Stack):
    """Stock Faust waits for it for ever; here the processor is gone, and only what went before is committed."""
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)])
    async with processor(stack, "-c", NEVER_ACKNOWLEDGED, process__grace_seconds=8) as running:
        await emitted(stack, 99)
        running.process.terminate()
        await running.ended()

    assert 40 == await asyncio.to_thread(committed, stack.bootstrap)


async def test_faust_habit_acknowledgements_out_of_order_in_a_fresh_group(stack: Stack):
    """Stock Faust commits past a first message that nobody acknowledged; here nothing is committed before it."""
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)])
    async with processor(stack, "-c", FIRST_NEVER_ACKNOWLEDGED, process__grace_seconds=8) as running:
        await emitted(stack, 99)
        running.process.terminate()
        await running.ended()

    assert OFFSET_INVALID == await asyncio.to_thread(committed, stack.bootstrap)


FORGETFUL = """
import asyncio, itertools
from processors.app import main
from processors.chunks import ChunkConsumer
from processors.refinery import Refinery

getmany, take = ChunkConsumer.getmany, Refinery.take
count, enough = itertools.count(1), asyncio.Event()

async def forgetful(self, timeout):
    async for tp, chunk in getmany(self, timeout):
        yield tp, chunk
        number = next(count)
        if number < 60 and number % 7 == 3:
            self.app.flow_control.clear()
        if number < 60 and number % 7 == 5:
            # As Faust's own seek to the committed offsets, of which there are none yet.
            await self._thread.call_thread(self._seek_assigned, tp, 0)
            await self.perform_seek()
        if number == 30:
            enough.set()

async def late(self, chunk):
    # An agent that keeps up leaves nothing in the queue to be cleared.
    await enough.wait()
    return await take(self, chunk)

ChunkConsumer.getmany, Refinery.take = forgetful, late
main()
"""


async def test_faust_habit_a_redelivery_and_a_cleared_queue_inside_a_generation(stack: Stack):
    """What is delivered twice is processed once, and what is lost on the way to the agent is fetched again.

    That both happened is part of the test.
    """
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(2000)])
    # Its agent waits for 30 chunks: as many have to fit in before it.
    async with processor(stack, "-c", FORGETFUL, process__chunks_in_flight=30) as running:
        found = await emitted(stack, 1999)
        redelivered = running.counted("headrace_process_redelivered_total")
        sought = running.counted("headrace_process_reseeks_total")

    assert [(offset, "stored") for offset in range(2000)] == found
    assert (True, True) == (redelivered > 0, sought > 0)


async def test_a_kafka_that_hangs_ends_the_process(stack: Stack):
    """Where Kafka stands still in mid-stream, the processor ends with an error; when it is back, everything counts once."""
    total = 5000
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(total)])
    async with processor(stack, process__stuck_seconds=5, process__chunk_messages=2) as running:
        await emitted(stack, 1)
        os.kill(stack.pid("kafka"), signal.SIGSTOP)
        try:
            code = await running.ended()
        finally:
            os.kill(stack.pid("kafka"), signal.SIGCONT)
    await until(lambda: leads(stack.bootstrap), within=120)
    async with processor(stack):
        found = await emitted(stack, total - 1)

    assert 1 == code
    assert [(offset, "stored") for offset in range(total)] == beyond(found)


async def test_too_many_dead_letters_hold_their_partition_alone(stack: Stack):
    """A partition of garbage stands still before the limit is passed, /ready says so, and the other ones go on."""
    await asyncio.to_thread(produce, stack.bootstrap, [garbage(offset) for offset in range(100)])
    await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)], 1)
    limit = {"process__dead_letter_window": 60, "process__dead_letter_limit": 0.5}
    async with processor(stack, **limit) as running:
        await until(lambda: answers(f"http://127.0.0.1:{running.port}/metrics"), within=120)
        await until(lambda: "is held" in running.ask("/ready")[1], within=120)
        found = await emitted(stack, 99, 1)
        status, sentence = running.ask("/ready")
        alive, _ = running.ask("/health")

    letters = await asyncio.to_thread(consumed, stack.bootstrap, DEAD_LETTERS)
    assert (503, 200, 20) == (status, alive, len(letters))
    assert sentence.startswith("raw-thingsboard [0] is held: 40 of the last 40 messages were dead letters")
    assert [(offset, "stored") for offset in range(100)] == found
    assert 20 == await asyncio.to_thread(committed, stack.bootstrap)


async def test_a_topic_that_is_created_again_ends_the_process(stack: Stack):
    """A raw topic that is not the one any more has other offsets: the processor ends with an error.

    Which one depends on whether its deletion made the group rebalance first.
    """
    async with processor(stack, process__topic_check_seconds=1) as running:
        await joined(running)
        admin = AdminClient({"bootstrap.servers": stack.bootstrap})
        await asyncio.to_thread(admin.delete_topics([TOPIC])[TOPIC].result, 30)

        async def created() -> bool:
            await stack.create_topics()
            return TOPIC in admin.list_topics(timeout=10).topics

        await until(created, within=60)
        code = await running.ended()

    assert 1 == code
