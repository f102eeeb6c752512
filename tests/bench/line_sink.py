"""The line `sink`: blocks from a real Kafka into a real ClickHouse, exactly once, beside inserting what is made already.

Each round stores every row anew, in a database of its own. `prebuilt Arrow` inserts the tables that the sink would make of the
same batches, made before the clock starts: more than it no sink that speaks Arrow can do. `row tuples` is the first example
of clickhouse-connect's documentation; it gets one batch, since it would take minutes otherwise.
"""

import asyncio
import hashlib
import itertools
import pickle
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, Producer

from headrace.stack.stack import Stack
from processors.settings import ProcessSettings
from runtime.memory import give_back_freed
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from schemas.topics import READINGS
from sinks.app import KEPT_BYTES, LARGE_BYTES, consumer_options
from sinks.clickhouse import canary
from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import tables
from sinks.clickhouse.writer import ClickHouseSink
from sinks.consumer import BlockConsumer
from sinks.dead_letters import KafkaDeadLetters
from sinks.settings import ClickHouseSettings, SinkSettings
from sinks.sink import Batch, Block
from tests.bench.line import OURS, Candidate, Clock, Figure, Result, apart, play
from tests.support.engine import database
from tests.support.processes import stack_settings

TOPIC = "raw-thingsboard"
PARTITIONS, DEVICES = 4, 1000
MESSAGES, READINGS_EACH = ProcessSettings().chunk_messages, 3
"""Of a block, as a busy processor makes it, and of a message."""
BATCH = -(-SinkSettings().batch_rows // (MESSAGES * READINGS_EACH))
"""Blocks that fill a batch."""
BATCHES = 10
"""Of each partition: more than a sink holds in all, so that most of its memory has been used before, as in one that runs for days."""

Record = tuple[int, Span, bytes]
"""Offset, range and content of a block."""
Tables = Mapping[str, pa.Table]


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """Readings and what is known of their messages; the work is rows of `readings`."""
    yield asyncio.run(_result(rounds, said))


async def _result(rounds: int, said: Callable[[str], None]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        settings = stack_settings(Path(folder) / "stack", partitions=PARTITIONS)
        async with Stack(settings, services=("kafka", "clickhouse"), fresh=True) as stack:
            await stack.create_topics()
            file = Path(folder) / "blocks"
            await asyncio.to_thread(_fill, stack.bootstrap, file)
            candidates = _candidates(stack.bootstrap, stack.clickhouse_url, stack.pid("clickhouse"), file)
            figures = await asyncio.to_thread(play, candidates, rounds, said)
    return Result("sink", "rows", figures, least=800_000, ratios={"prebuilt Arrow": 0.4})


def _candidates(bootstrap: str, url: str, engine: int, file: Path) -> Mapping[str, Candidate]:
    numbers = itertools.count()

    def fresh(measure: Callable[..., Figure], *arguments: Any) -> Candidate:
        """In a database that no round had before, with every table and roll-up."""

        def candidate() -> Figure:
            name = f"bench_{next(numbers)}"
            where = ClickHouseSettings(url=url, database=name)
            with database(url, name) as client:
                figure = apart(measure, where, engine, *arguments)
                for source in ("count() FROM readings", "sum(count) FROM readings_1m"):
                    assert int(client.command(f"SELECT {source}")) == figure.work, source
                client.command(f"DROP DATABASE {name}")
            return figure

        return candidate

    return {
        OURS: fresh(_ours, bootstrap),
        "prebuilt Arrow": fresh(_prebuilt, file),
        "row tuples": fresh(_tuples, file),
    }


def _ours(where: ClickHouseSettings, engine: int, bootstrap: str) -> Figure:
    """In a process of its own: the sink, from when it is given its partitions to when all is stored and committed."""
    give_back_freed(large_bytes=LARGE_BYTES, kept_bytes=KEPT_BYTES)
    kafka, settings = KafkaSettings(bootstrap=bootstrap), SinkSettings(group=f"sink-{where.database}")
    client = connect(where, insert_timeout=settings.insert_timeout)
    sink = _Counting(client)
    # As every sink begins; it also loads what the first insert needs.
    canary.check(client, sink)
    sink.inserted.clear()
    clocks: list[tuple[Clock, Clock]] = []

    def joined() -> str:
        clocks.append((Clock(), Clock(engine)))
        return topic_ids(kafka, [READINGS], timeout=30)[READINGS]

    BlockConsumer(
        Consumer(consumer_options(kafka, settings)),
        sink,
        KafkaDeadLetters(kafka),
        settings,
        topic_id=joined,
        stopping=lambda: sink.inserted["messages"] == PARTITIONS * BATCHES * BATCH * MESSAGES,
    ).run()
    ((clock, other),) = clocks
    return clock.figure(sink.inserted["readings"], ClickHouse=other.cpu)


class _Counting(ClickHouseSink):
    """Says when all is stored."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.inserted = Counter[str]()

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """As every `ClickHouseSink`."""
        super().insert(table, rows, token)
        self.inserted[table] += rows.num_rows


def _prebuilt(where: ClickHouseSettings, engine: int, file: Path) -> Figure:
    """In a process of its own: the same tables, made already, under the same settings."""
    give_back_freed(large_bytes=LARGE_BYTES, kept_bytes=KEPT_BYTES)
    client = connect(where, insert_timeout=60)
    sink = ClickHouseSink(client)
    made = [(batch, tables(batch)) for batch in _batches(file)]
    clock, other = Clock(), Clock(engine)
    for batch, found in made:
        for name, rows in found.items():
            sink.insert(name, rows, sink.token(batch, name))
    return clock.figure(sum(found["readings"].num_rows for _, found in made), ClickHouse=other.cpu)


def _tuples(where: ClickHouseSettings, engine: int, file: Path) -> Figure:
    """In a process of its own: one batch, row by row."""
    give_back_freed(large_bytes=LARGE_BYTES, kept_bytes=KEPT_BYTES)
    client = connect(where, insert_timeout=60)
    found = tables(next(_batches(file)))
    made = {name: (rows.column_names, _rows(rows)) for name, rows in found.items()}
    clock, other = Clock(), Clock(engine)
    for name, (columns, rows) in made.items():
        client.insert(name, rows, column_names=columns)
    return clock.figure(found["readings"].num_rows, ClickHouse=other.cpu)


def _rows(table: pa.Table) -> Sequence[tuple[Any, ...]]:
    columns = [
        [dict(value) for value in column.to_pylist()] if pa.types.is_map(column.type) else column.to_pylist()
        for column in table.columns
    ]
    return list(zip(*columns, strict=True))


def _batches(file: Path) -> Iterator[Batch]:
    """As the sink gathers them."""
    for partition, records in enumerate(pickle.loads(file.read_bytes())):  # noqa: S301 - written above
        for first in range(0, len(records), BATCH):
            blocks = [
                Block(offset=offset, span=span, messages=decode(data))
                for offset, span, data in records[first : first + BATCH]
            ]
            last = first + len(blocks) - 1
            yield Batch(topic_id="bench", partition=partition, first=first, last=last, blocks=blocks)


def _fill(bootstrap: str, file: Path) -> None:
    """The blocks onto the log, and into a file for those who do not read it."""
    ids = topic_ids(KafkaSettings(bootstrap=bootstrap), [TOPIC])
    # As `runtime.publisher` does.
    options = {"enable.idempotence": True, "compression.type": "lz4", "linger.ms": 2}
    producer = Producer({"bootstrap.servers": bootstrap, **options})
    log: list[list[Record]] = []
    for partition in range(PARTITIONS):
        log.append(list(records(ids[TOPIC], partition)))
        for _, span, data in log[-1]:
            producer.produce(READINGS, data, partition=partition, headers=span.headers(), timestamp=span.time)
        assert producer.flush(60) == 0
    file.write_bytes(pickle.dumps(log))


def records(topic_id: str, partition: int) -> Iterator[Record]:
    """Of one partition."""
    chance, now = random.Random(partition), time.time_ns() // 1_000_000
    for number in range(BATCHES * BATCH):
        first = number * MESSAGES
        rows = [_row(offset, partition, now, chance) for offset in range(first, first + MESSAGES)]
        span = Span(
            topic=TOPIC,
            topic_id=topic_id,
            partition=partition,
            first=first,
            last=first + MESSAGES - 1,
            time=now,
        )
        yield number, span, encode(rows)


def _row(offset: int, partition: int, now: int, chance: random.Random) -> MessageRow:
    """A device's next message, as different from others as real ones are."""
    device = PARTITIONS * (offset % (DEVICES // PARTITIONS)) + partition
    identity = hashlib.blake2b(f"{partition}-{offset}".encode(), digest_size=16).digest()
    at = (now + offset // DEVICES) * 1000 + chance.randrange(1000)
    return MessageRow(
        offset=offset,
        fate=Fate.STORED,
        logged_at=now,
        dialect="thingsboard",
        identity=identity,
        message_id=identity.hex(),
        tenant="acme",
        device=f"boiler-{device}",
        received_at=at,
        place=f"hall {device % 20}",
        labels=f'{{"floor":"{device % 5}"}}',
        readings=[
            reading("temperature", round(chance.gauss(21.5, 3), 2), at),
            reading("humidity", chance.randrange(30, 80), at),
            reading("pressure", round(chance.gauss(1013, 8), 1), at),
        ],
    )
