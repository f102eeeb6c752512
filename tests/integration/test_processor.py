"""The processor as a process of its own, on the real Kafka."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.stack.stack import Stack, answers
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.reading_block import Span
from schemas.reading_block import decode as decode_block
from schemas.topics import DEAD_LETTERS, READINGS
from tests.support.processes import free_ports, stack_settings, until
from tests.support.raw import Raw, garbage, record

TOPIC = "raw-thingsboard"
GROUP = "headrace-process"


@pytest.fixture(name="stack")
async def _stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A Kafka and a processor, one partition a topic, small chunks."""
    monkeypatch.setenv("HEADRACE_PROCESS__CHUNK_MESSAGES", "20")
    settings = stack_settings(tmp_path, partitions=1)
    async with Stack(settings, services=("kafka", "process"), fresh=True) as stack:
        yield stack


def produce(bootstrap: str, records: Sequence[Raw]) -> None:
    """Return when Kafka has acknowledged them, in their order."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for each in records:
        producer.produce(
            TOPIC,
            each.value,
            each.key,
            0,
            on_delivery=lambda error, _: failures.append(error),
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


def committed(bootstrap: str) -> int:
    """The processor's committed offset."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    try:
        return consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)[0].offset
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
    for message in messages:
        span, batch = Span.of(message.headers()), decode_block(message.value())
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


async def emitted(stack: Stack, last: int) -> list[tuple[int, str]]:
    """Every emitted row, once this raw offset is among them."""
    found: list[tuple[int, str]] = []

    async def there() -> bool:
        found[:] = rows(await asyncio.to_thread(consumed, stack.bootstrap, READINGS))
        return any(offset == last for offset, _ in found)

    await until(there, within=60)
    return found


async def test_a_dead_letter_is_untouched_and_alone(stack: Stack):
    """What cannot be read is in `dead-letters` byte by byte; its neighbours are stored."""
    bad = garbage(1, b"\xc3\x01\xff garbage \x00")
    await asyncio.to_thread(produce, stack.bootstrap, [record(0), bad, record(2)])

    assert [(0, "stored"), (1, "dead_letter"), (2, "stored")] == beyond(await emitted(stack, 2))
    (letter,) = await asyncio.to_thread(consumed, stack.bootstrap, DEAD_LETTERS)
    dead = decode(DeadLetter, letter.value())
    assert (bad.key, bad.value, 1, "undecodable") == (dead.key, dead.value, dead.offset, dead.reason)


async def test_every_offset_counts_once_after_kills(stack: Stack):
    """Killed twice in the middle of the stream, the processor leaves out nothing, and nothing counts twice."""
    messages = [record(offset) for offset in range(3000)]
    repeats = [record(number) for number in range(0, 3000, 7)]
    sending = asyncio.create_task(asyncio.to_thread(produce, stack.bootstrap, [*messages, *repeats]))
    for _ in range(2):
        killed = stack.pid("process")
        os.kill(killed, signal.SIGKILL)
        await stack.restarted("process", after_pid=killed)
    await sending

    found = await emitted(stack, len(messages) + len(repeats) - 1)

    fates = ["stored"] * len(messages) + ["duplicate"] * len(repeats)
    assert list(enumerate(fates)) == beyond(found)


@contextlib.asynccontextmanager
async def another(stack: Stack) -> AsyncIterator[asyncio.subprocess.Process]:
    """One more processor, that has joined the group; asked to leave in the end."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "headrace", "process"),
        env=os.environ | {"HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap, "HEADRACE_HEALTH__PORT": str(port)},
    )
    try:
        await until(lambda: answers(f"http://127.0.0.1:{port}/ready"), within=60)
        yield process
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_every_offset_counts_once_after_rebalances(stack: Stack):
    """While processors come and go, nothing is left out and nothing counts twice; one that is asked to leave exits with 0."""
    total, codes = 0, []

    async def send(count: int) -> None:
        nonlocal total
        records = [record(offset) for offset in range(total, total + count)]
        await asyncio.to_thread(produce, stack.bootstrap, records)
        total += count

    await send(1000)
    for _ in range(2):
        async with another(stack) as process:
            await send(1000)
        codes.append(process.returncode)
        await send(1000)

    assert [(offset, "stored") for offset in range(total)] == beyond(await emitted(stack, total - 1))
    assert [0, 0] == codes


async def test_a_new_group_reads_an_old_log(tmp_path: Path):
    """Where retention has deleted the beginning of a raw topic, a first processor begins with what is there."""
    async with Stack(stack_settings(tmp_path, partitions=1), services=["kafka"], fresh=True) as stack:
        await stack.create_topics()
        await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(50)])
        await asyncio.to_thread(delete_until, stack.bootstrap, 37)
        async with another(stack):
            found = await emitted(stack, 49)

    assert [(offset, "stored") for offset in range(37, 50)] == found


CANNOT_DELIVER = """
import asyncio
from processors.app import main
from runtime.publisher import Publisher, Undelivered
from schemas.reading_block import Span
from schemas.topics import READINGS

send = Publisher.send

def refusing(self, topic, value, *, headers=(), **options):
    done = send(self, topic, value, headers=headers, **options)
    if topic == READINGS and Span.of(headers).first >= 40:
        done = asyncio.get_running_loop().create_future()
        done.set_exception(Undelivered("refused"))
    return done

Publisher.send = refusing
main()
"""


async def test_what_cannot_be_delivered_ends_the_process(tmp_path: Path):
    """A block that Kafka does not take ends the processor with an error, and only what went before is committed."""
    async with Stack(stack_settings(tmp_path, partitions=1), services=["kafka"], fresh=True) as stack:
        await stack.create_topics()
        await asyncio.to_thread(produce, stack.bootstrap, [record(offset) for offset in range(100)])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CANNOT_DELIVER,
            env=os.environ
            | {
                "HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap,
                "HEADRACE_HEALTH__PORT": str(stack.settings.process_health_port),
                "HEADRACE_PROCESS__CHUNK_MESSAGES": "20",
            },
        )
        try:
            code = await asyncio.wait_for(process.wait(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

        assert (1, 40) == (code, await asyncio.to_thread(committed, stack.bootstrap))
