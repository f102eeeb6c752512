"""How fast a window is rebuilt: `python -m tests.bench.rebuild [IDENTITIES]`, out of a real Kafka, beside a stock Faust table.

The peer is what Faust offers for the same end: a table with a key for each identity, recovered from its changelog. It gets a
tenth of the identities, since it would take minutes otherwise; both are measured from Kafka to a structure in memory that
answers. Each runs in a process of its own, so that what it holds more afterwards is what it remembers.
"""

import argparse
import asyncio
import ctypes
import gc
import hashlib
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faust
import msgspec
import pyarrow as pa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import track
from rich.table import Table

from headrace.stack.stack import Stack
from processors.dedupe import Allowance, Window
from processors.rebuild import rebuild
from processors.refine import Source
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow, Span, encode
from schemas.topics import READINGS
from tests.bench.resident import sample
from tests.support.processes import stack_settings

TOPIC = "raw-thingsboard"
BLOCK = 500
PEER = "bench-peer"
MANY, FEW = 0, 1
"""The partitions: the one that is measured, and one that only warms up."""
SHARE = 10
"""The peer, and the partition that only warms up, get one of so many identities."""

QUEUE = {
    "compression.type": "lz4",
    "queue.buffering.max.kbytes": 1 << 20,
    "queue.buffering.max.messages": 1 << 22,
}


class Figure(msgspec.Struct, frozen=True):
    """What one rebuild took."""

    identities: int
    wall: float
    cpu: float
    resident: float
    """MiB more than before."""


def identity(number: int) -> bytes:
    """As different as real ones are."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def fill(bootstrap: str, identities: int, partition: int) -> None:
    """Blocks of so many messages of a raw partition, two readings each."""
    (topic_id,) = topic_ids(KafkaSettings(bootstrap=bootstrap), [TOPIC]).values()
    producer = Producer({"bootstrap.servers": bootstrap, **QUEUE})
    now = time.time_ns() // 1_000_000
    # One record stands for the raw log: a rebuild asks it for nothing but the time of its newest.
    producer.produce(TOPIC, b"", partition=partition)
    for first in track(range(0, identities, BLOCK), f"{identities:,} identities"):
        last = min(identities, first + BLOCK) - 1
        rows = [_row(number, now) for number in range(first, last + 1)]
        span = Span(topic=TOPIC, topic_id=topic_id, partition=partition, first=first, last=last, time=now)
        producer.produce(READINGS, encode(rows), partition=partition, headers=span.headers(), timestamp=now)
        producer.poll(0)
    assert producer.flush(60) == 0


def _row(number: int, now: int) -> MessageRow:
    return MessageRow(
        offset=number,
        fate=Fate.STORED,
        logged_at=now,
        dialect="thingsboard",
        identity=identity(number),
        message_id=f"m-{number}",
        tenant="acme",
        device=f"boiler-{number % 1000}",
        received_at=now * 1000,
        readings=[reading("temperature", 21.5, now * 1000), reading("humidity", 60, now * 1000)],
    )


def fill_changelog(bootstrap: str, identities: int) -> None:
    """The peer's changelog, as Faust itself writes it: keys and values are JSON."""
    changelog = f"{PEER}-seen-changelog"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(changelog, 1, 1), NewTopic(f"{PEER}-in", 1, 1)]).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": bootstrap, **QUEUE})
    for number in range(identities):
        key = msgspec.json.encode(identity(number).hex())
        producer.produce(changelog, str(number).encode(), key, partition=0)
        if number % BLOCK == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def ours(bootstrap: str, identities: int, answer: Any) -> None:
    """In a process of its own: one rebuild, by the processor's own code."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    (topic_id,) = topic_ids(kafka, [TOPIC]).values()

    def rebuilt(partition: int, committed: int) -> Window:
        source = Source(dialect="thingsboard", topic=TOPIC, topic_id=topic_id, partition=partition)
        nobody, allowance = threading.Event(), Allowance(1 << 30)
        return rebuild(kafka, source, committed, seconds=3600, abandoned=nobody, allowance=allowance)

    # A few first, for what a process needs once: libraries, threads, pools. They are kept, so that nothing is free again.
    few = rebuilt(FEW, identities // SHARE)
    took = _measuring()
    window = rebuilt(MANY, identities)
    assert all(window.is_duplicate(identity(number)) for number in (0, identities - 1))
    answer.send(took(len(window)))
    assert len(few) == identities // SHARE


def peer(bootstrap: str, identities: int, answer: Any) -> None:
    """In a process of its own: a stock Faust app, from its assignment to its recovered table."""
    folder = tempfile.mkdtemp()
    app = faust.App(
        PEER,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=folder,
        topic_partitions=1,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        stream_recovery_delay=0.0,
        web_enabled=False,
    )
    seen: Any = app.Table("seen", default=int, partitions=1)
    began: list[Callable[[int], Figure]] = []

    @app.on_partitions_assigned.connect
    async def _assigned(*_: Any, **__: Any) -> None:
        began.append(_measuring())

    @seen.on_recover
    async def _recovered() -> None:
        assert len(seen) == identities
        answer.send(began[0](len(seen)))

    @app.agent(app.topic(f"{PEER}-in"))
    async def _agent(stream: Any) -> None:
        async for _ in stream:
            pass

    asyncio.set_event_loop(asyncio.new_event_loop())
    faust.Worker(app, loglevel="ERROR", quiet=True, workdir=Path(folder)).execute_from_commandline()


def _measuring() -> Callable[[int], Figure]:
    before, wall, cpu = sample_self(), time.perf_counter(), time.process_time()

    def took(identities: int) -> Figure:
        spent = time.perf_counter() - wall, time.process_time() - cpu
        return Figure(identities, *spent, sample_self() - before)

    return took


def sample_self() -> float:
    """MiB that this process holds now, without what is free and not given back yet."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return sample(multiprocessing.current_process().pid or 0).resident


def _apart(measure: Callable[..., None], *arguments: Any) -> Figure:
    """What a measurement in a process of its own says."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=measure, args=(*arguments, there))
    process.start()
    assert here.poll(300), f"{measure.__name__} has not answered"
    figure: Figure = here.recv()
    process.kill()
    process.join()
    return figure


def _lines(bootstrap: str, identities: int, rounds: int) -> Iterator[tuple[str, Figure]]:
    fill(bootstrap, identities, MANY)
    fill(bootstrap, identities // SHARE, FEW)
    fill_changelog(bootstrap, identities // SHARE)
    for _ in range(rounds):
        yield "window, from the blocks in readings", _apart(ours, bootstrap, identities)
        yield "Faust table, from its changelog", _apart(peer, bootstrap, identities // SHARE)


async def main() -> None:
    """Fill, rebuild several times in turns, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rebuild", description=__doc__)
    parser.add_argument("identities", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("what", box=None)
    for header in ("identities", "seconds", "identities/s", "identities/CPU-s", "bytes an identity"):
        table.add_column(header, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        settings = stack_settings(Path(folder), partitions=2)
        async with Stack(settings, services=("kafka",), fresh=True) as stack:
            await stack.create_topics()
            lines = await asyncio.to_thread(
                lambda: list(_lines(stack.bootstrap, arguments.identities, arguments.rounds))
            )
    for what, figure in lines:
        rates = figure.identities / figure.wall, figure.identities / figure.cpu
        each = figure.resident * (1 << 20) / figure.identities
        table.add_row(
            what,
            f"{figure.identities:,}",
            f"{figure.wall:.2f}",
            *(f"{rate:,.0f}" for rate in rates),
            f"{each:.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    asyncio.run(main())
