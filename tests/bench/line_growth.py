"""The line `growth`: twice the processes, a hundred times the devices, a million identities, and what it takes then.

What a process does is counted by its own CPU: two of them share the machine with Kafka and with each other.
"""

import asyncio
import dataclasses
import functools
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from headrace.stack.stack import Stack
from schemas.topics import READINGS
from tests.bench import growth_edges, line_sink
from tests.bench.footprint import identity_bytes
from tests.bench.group import shared
from tests.bench.held import Held
from tests.bench.line import OURS, Figure, Result, Shown, apart, play
from tests.bench.raw_log import PARTITIONS, RawLog
from tests.bench.rebuild import QUEUE
from tests.support.engine import database
from tests.support.processes import stack_settings

FEW, SOME, MANY = 1_000, 10_000, 100_000
"""Devices."""
REMEMBERED, BACKLOG = 250_000, 100_000
"""Of each partition."""
COPIES = 3
"""As often the blocks of the line `sink` are on the log, each time as those of another raw topic."""

TWICE, FLAT = 1.8, 0.8
"""What two do of what one does; and what is left of the rate where there is more to know. At least."""
MOST_BYTES = 100
"""Of memory that an identity may take."""

_MESSAGES = re.compile(r"^headrace_process_messages_total\S* (\S+)", re.MULTILINE)
_ROWS = re.compile(r'^headrace_sink_rows_total\{table="readings"\} (\S+)', re.MULTILINE)

_numbers = itertools.count()

Figures = Mapping[int, Sequence[Figure]]
"""By the number of processes."""


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Shown]:
    """Play the line."""
    yield from asyncio.run(_edges(said))
    yield Held("growth: a remembered identity", "bytes", {"a million": apart(identity_bytes)}, MOST_BYTES)
    yield from asyncio.run(_processors(rounds, said))
    sinks = asyncio.run(_sinks(rounds, said))
    yield _doubled("sinks", "rows", sinks)


async def _edges(said: Callable[[str], None]) -> list[Held]:
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(stack_settings(Path(folder)), services=("kafka",), fresh=True) as stack:
            await stack.create_topics()
            return await asyncio.to_thread(lambda: list(growth_edges.results(stack.bootstrap, said)))


def _doubled(what: str, unit: str, figures: Figures) -> Result:
    both = {OURS: figures[2], "one alone": figures[1]}
    return Result(f"growth: two {what} in a group", unit, both, ratios={"one alone": TWICE})


async def _processors(rounds: int, said: Callable[[str], None]) -> list[Result]:
    async def figures(devices: int, remembered: int = 0, counts: Sequence[int] = (1,)) -> Figures:
        log = RawLog(bootstrap="", devices=devices, remembered=remembered, backlog=BACKLOG)
        return await _on(log, counts, rounds, said)

    few, some = await figures(FEW), await figures(SOME)
    many = await figures(MANY, counts=(1, 2))
    full = await figures(MANY, REMEMBERED)
    fewer = {f"{FEW:,} devices": few[1], f"{SOME:,} devices": some[1]}
    return [
        _doubled("processors", "messages", many),
        Result(
            f"growth: a processor that knows {MANY:,} devices",
            "messages",
            {OURS: many[1], **fewer},
            ratios=dict.fromkeys(fewer, FLAT),
        ),
        Result(
            f"growth: a processor that remembers {PARTITIONS * REMEMBERED:,} identities",
            "messages",
            {OURS: full[1], "none": many[1]},
            ratios={"none": FLAT},
        ),
    ]


async def _on(log: RawLog, counts: Sequence[int], rounds: int, said: Callable[[str], None]) -> Figures:
    """Groups of so many processors, in turns, on a log that is filled as described."""
    with tempfile.TemporaryDirectory() as folder:
        settings = stack_settings(Path(folder), partitions=PARTITIONS)
        async with Stack(settings, services=("kafka",), fresh=True) as stack:
            await stack.create_topics()
            log = msgspec.structs.replace(log, bootstrap=stack.bootstrap)
            await asyncio.to_thread(log.fill, said)
            candidates = {str(count): functools.partial(_process, log, count) for count in counts}
            figures = await asyncio.to_thread(play, candidates, rounds, said)
    return {int(count): found for count, found in figures.items()}


def _process(log: RawLog, count: int) -> Figure:
    group = f"bench-{next(_numbers)}"
    log.commit(group)
    settings = {"HEADRACE_KAFKA__BOOTSTRAP": log.bootstrap, "HEADRACE_PROCESS__GROUP": group}
    return shared("process", count, settings, _MESSAGES, log.waiting)


async def _sinks(rounds: int, said: Callable[[str], None]) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        settings = stack_settings(Path(folder), partitions=line_sink.PARTITIONS)
        async with Stack(settings, services=("kafka", "clickhouse"), fresh=True) as stack:
            await stack.create_topics()
            rows = await asyncio.to_thread(_emit, stack.bootstrap)
            store = functools.partial(_store, stack.bootstrap, stack.clickhouse_url, rows)
            candidates = {str(count): functools.partial(store, count) for count in (1, 2)}
            figures = await asyncio.to_thread(play, candidates, rounds, said)
    return {int(count): found for count, found in figures.items()}


def _emit(bootstrap: str) -> int:
    """Put blocks onto the log; how many readings there are in all."""
    producer, rows = Producer({"bootstrap.servers": bootstrap, **QUEUE}), 0
    for partition in range(line_sink.PARTITIONS):
        records = list(line_sink.records("", partition))
        for copy in range(COPIES):
            for _, span, data in records:
                headers = dataclasses.replace(span, topic_id=f"bench-{copy}").headers()
                producer.produce(READINGS, data, partition=partition, headers=headers, timestamp=span.time)
                rows += line_sink.MESSAGES * line_sink.READINGS_EACH
            assert producer.flush(60) == 0
    return rows


def _store(bootstrap: str, url: str, rows: int, count: int) -> Figure:
    name = f"bench_{next(_numbers)}"
    settings = {
        "HEADRACE_KAFKA__BOOTSTRAP": bootstrap,
        "HEADRACE_CLICKHOUSE__URL": url,
        "HEADRACE_CLICKHOUSE__DATABASE": name,
        "HEADRACE_SINK__GROUP": name,
    }
    with database(url, name) as client:
        figure = shared("sink", count, settings, _ROWS, rows)
        assert int(client.command("SELECT count() FROM readings")) >= rows
        client.command(f"DROP DATABASE {name}")
    return figure
