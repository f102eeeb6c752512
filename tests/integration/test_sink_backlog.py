"""A sink whose ClickHouse stands still, in front of a backlog that is many times what it may hold."""

import asyncio
import os
import random
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import clickhouse_connect
import pytest
import pytest_asyncio
from confluent_kafka import Producer

from headrace.stack.stack import Stack
from schemas.reading import reading
from schemas.reading_block import encode
from schemas.topics import READINGS
from sinks.app import ANSWER_BYTES, QUEUED_BYTES
from tests.bench.resident import sample
from tests.support.blocks import NOW_MS, message, span
from tests.support.processes import stack_settings, until

PARTITIONS, BLOCKS, MESSAGES = 4, 96, 10
"""Of each partition so many blocks, of so many messages each."""
TEXT_BYTES = 64 << 10
BLOCK_BYTES = MESSAGES * TEXT_BYTES
BACKLOG_BYTES = PARTITIONS * BLOCKS * BLOCK_BYTES

BUFFER_BYTES, BATCH_BYTES = 8 << 20, 4 << 20
MOST_HELD = BUFFER_BYTES + BATCH_BYTES + 20 * BLOCK_BYTES * 1.1
"""As docs/sink.md has it: the buffer, one batch, and the blocks of one poll, with what Arrow puts around the text."""
MOST_RESIDENT = MOST_HELD + QUEUED_BYTES + 2 * ANSWER_BYTES + 4 * BATCH_BYTES
"""And librdkafka's queue, the answer of Kafka that comes on top of it, the one that is half taken, and the batch on its way to
ClickHouse: as a table, as Arrow IPC in a buffer that doubles, compressed."""


@pytest_asyncio.fixture(name="stack")
async def _stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    for name, value in (
        ("BUFFER_BYTES", BUFFER_BYTES),
        ("BATCH_BYTES", BATCH_BYTES),
        ("INSERT_TIMEOUT", 2),
    ):
        monkeypatch.setenv(f"HEADRACE_SINK__{name}", str(value))
    settings = stack_settings(tmp_path, partitions=PARTITIONS)
    async with Stack(settings, services=("kafka", "clickhouse", "sink"), fresh=True) as stack:
        yield stack


def _emit(producer: Producer, first: int, blocks: int) -> None:
    """So many blocks onto each partition, behind the first ones."""
    chance = random.Random(first)
    for partition in range(PARTITIONS):
        for block in range(first, first + blocks):
            offsets = range(block * MESSAGES, (block + 1) * MESSAGES)
            rows = [
                message(offset, reading("text", chance.randbytes(TEXT_BYTES // 2).hex(), NOW_MS * 1000))
                for offset in offsets
            ]
            covered = span(offsets[0], offsets[-1], topic_id=f"raw-{partition}", partition=partition)
            producer.produce(READINGS, encode(rows), partition=partition, headers=covered.headers())
            producer.poll(0)
    assert producer.flush(60) == 0


class Watcher:
    """Reads a sink's metrics and its memory, and keeps the most that it saw."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{stack.settings.sink_health_port}/metrics"
        self._pid = stack.pid("sink")
        self.held = self.resident = self.retries = 0.0

    async def look(self) -> None:
        """Now."""
        async with self._session.get(self._url) as response:
            text = await response.text()
        found = re.search(r"^headrace_sink_buffered_bytes (\S+)", text, re.MULTILINE)
        assert found
        self.held = max(self.held, float(found[1]))
        self.resident = max(self.resident, sample(self._pid).resident * (1 << 20))
        self.retries = sum(
            map(float, re.findall(r"^headrace_sink_insert_retries_total\S* (\S+)", text, re.MULTILINE))
        )


async def test_a_backlog_waits_on_the_log(stack: Stack):
    """While ClickHouse stands still the sink holds no more than it says, however much waits; then all is stored once."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "queue.buffering.max.kbytes": 1 << 20})
    client: Any = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
    counted = "SELECT count(), uniqExact(origin_partition, origin_offset), sum(length(text)) FROM readings"

    async def stored(blocks: int) -> bool:
        (found,) = (await asyncio.to_thread(client.query, counted)).result_rows
        messages = PARTITIONS * blocks * MESSAGES
        return tuple(found) == (messages, messages, messages * TEXT_BYTES)

    await asyncio.to_thread(_emit, producer, 0, 4)
    await until(lambda: stored(4), within=60)
    async with aiohttp.ClientSession() as session:
        watcher = Watcher(session, stack)
        await watcher.look()
        before, clickhouse = watcher.resident, stack.pid("clickhouse")
        os.kill(clickhouse, signal.SIGSTOP)
        try:
            await asyncio.to_thread(_emit, producer, 4, BLOCKS)

            async def tried_again() -> bool:
                await watcher.look()
                return watcher.retries >= 2

            await until(tried_again, within=60)
        finally:
            os.kill(clickhouse, signal.SIGCONT)

        async def drained() -> bool:
            await watcher.look()
            return await stored(4 + BLOCKS)

        await until(drained, within=120)
    assert 0 < watcher.held <= MOST_HELD
    assert watcher.resident - before <= MOST_RESIDENT < BACKLOG_BYTES
    client.close()
