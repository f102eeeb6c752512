"""How fast `headrace verify` judges: `python -m tests.bench.verify [MESSAGES]`, on a Kafka and a ClickHouse of its own."""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.stack.stack import Stack
from headrace.verify.run import run
from processors.dedupe import Window
from processors.refine import Source, blocks, refine
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.reading_block import Span, decode
from schemas.topics import READINGS
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseSink
from sinks.progress import Progress
from sinks.settings import ClickHouseSettings
from sinks.sink import Batch, Block
from tests.support.blocks import store
from tests.support.processes import stack_settings
from tests.support.raw import message, record

TOPIC = "raw-thingsboard"
CHUNK, BATCH = 500, 100
"""Messages of a block, blocks of a batch."""


def fill(bootstrap: str, clickhouse: str, messages: int) -> None:
    """All three places, as an undisturbed pipeline leaves them; two readings a message, one partition."""
    ids = topic_ids(KafkaSettings(bootstrap=bootstrap), [TOPIC, READINGS])
    client = connect(ClickHouseSettings(url=clickhouse), insert_timeout=60)
    migrate(client)
    sink = ClickHouseSink(client)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    gathered: list[tuple[Span, bytes]] = []
    for number, (span, data) in enumerate(_blocks(producer, ids[TOPIC], messages)):
        producer.produce(READINGS, data, partition=0, headers=span.headers(), timestamp=span.time)
        gathered.append((span, data))
        if len(gathered) == BATCH or span.last == messages - 1:
            first = number + 1 - len(gathered)
            batch = [
                Block(offset=first + n, span=span, messages=decode(data))
                for n, (span, data) in enumerate(gathered)
            ]
            some = Batch(topic_id=ids[READINGS], partition=0, first=first, last=number, blocks=batch)
            store(sink, some)
            gathered.clear()
    assert producer.flush(60) == 0
    progress = Progress(topic_id=ids[READINGS], stored={ids[TOPIC]: messages - 1})
    group = Consumer({"bootstrap.servers": bootstrap, "group.id": "headrace-sink"})
    group.commit(offsets=[TopicPartition(READINGS, 0, number + 1, progress.encode())], asynchronous=False)
    group.close()


def _blocks(producer: Producer, topic_id: str, messages: int) -> Iterator[tuple[Span, bytes]]:
    source = Source(dialect="thingsboard", topic=TOPIC, topic_id=topic_id, partition=0)
    window, devices = Window(seconds=3600), PlaceTable()
    for first in range(0, messages, CHUNK):
        now = time.time_ns() // 1_000_000
        raw = [
            record(
                offset,
                message({"temperature": 21.5, "humidity": 60}, message_id=f"m-{offset}"),
                timestamp=now,
            )
            for offset in range(first, min(messages, first + CHUNK))
        ]
        for each in raw:
            producer.produce(TOPIC, each.value, each.key, 0, headers=list(each.headers))
        assert producer.flush(60) == 0
        yield from blocks(refine(raw, source, window, devices), source, time=now)


async def main(messages: int) -> None:
    """Fill, judge three times, print."""
    with tempfile.TemporaryDirectory() as folder:
        settings = stack_settings(Path(folder), partitions=1)
        async with Stack(settings, services=("kafka", "clickhouse"), fresh=True) as stack:
            await stack.create_topics()
            await asyncio.to_thread(fill, stack.bootstrap, stack.clickhouse_url, messages)
            os.environ["HEADRACE_KAFKA__BOOTSTRAP"] = stack.bootstrap
            os.environ["HEADRACE_CLICKHOUSE__URL"] = stack.clickhouse_url
            for _ in range(3):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                wall, cpu = time.perf_counter(), time.process_time()
                code = await asyncio.to_thread(run, [TOPIC], since=None, as_json=False, limit=10)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                print(
                    f"exit {code}: {messages / cpu:,.0f} messages/CPU-s, {messages / wall:,.0f} messages/s,"
                    f" {(after - before) >> 10} MiB more at the peak"
                )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
