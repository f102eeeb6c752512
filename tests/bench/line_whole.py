"""Line whole: from a fleet to ClickHouse, at parts of what this machine can do in all, in the open loop.

Every process of the local stack shares the machine with Kafka, with ClickHouse and with the fleet. Its capacity is measured
first: the rate at which readings come to be stored while the fleet sends as much as is answered.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.table import Table

from headrace.stack.stack import Stack
from producers.thingsboard import NAME
from schemas.topics import RAW_TOPICS
from sinks.clickhouse.client import connect
from sinks.settings import ClickHouseSettings
from tests.bench.coap_fleet import READINGS, Sent, send
from tests.bench.edge import register
from tests.bench.line import Chart, apart, cpu_of
from tests.bench.queryable import Observer
from tests.support.processes import stack_settings
from tests.support.registry import known

SHARES = (0.25, 0.5, 0.75, 0.9)
"""Of the capacity."""
ASKED = (0.5, 2.0)
"""At this share, 99 of 100 messages can be queried within so many seconds."""

FLEET = [f"boiler-{number:04}" for number in range(1000)]
WARM, SECONDS = 4.0, 6.0
"""Of each share: sent and not counted; and counted, for each round."""
SATURATED = 15.0
"""Seconds for which the fleet sends as much as is answered."""
EVERY = 0.1
"""Seconds between two looks at ClickHouse: a latency is overstated by as much at most, beside what a look takes."""
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
PROCESSES = ("coap", "process", "sink", "kafka", "clickhouse")
PATIENCE = 120.0
"""Seconds after the last answer until all is stored."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What happened at one rate."""

    share: float
    rate: float
    """Messages a second."""
    sent: Sent
    latencies: Mapping[str, float]
    """Seconds until queryable, by quantile."""
    cores: Mapping[str, float]
    """CPU-seconds a second, by process."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """All levels."""

    capacity: float
    """Messages a second that come to be stored when there is always something to send."""
    levels: Sequence[Level]
    line: str = "whole: CoAP, three readings a message, until queryable"

    def missed(self) -> list[str]:
        """See `tests.bench.line.Shown`."""
        share, most = ASKED
        found = [
            f"{self.line}: p99 is {level.latencies['p99']:.2f} s at {share:.0%}, less than {most:g} s is asked"
            for level in self.levels
            if level.share == share and level.latencies["p99"] >= most
        ]
        return found + [
            f"{self.line}: {level.sent.refused} refused and {level.sent.lost} not answered at {level.share:.0%}"
            for level in self.levels
            if level.sent.refused or level.sent.lost
        ]

    def table(self) -> Table:
        """See `tests.bench.line.Shown`."""
        table = Table(
            f"{self.line}\ncapacity {self.capacity:,.0f} messages/s", box=None, title_justify="left"
        )
        table.add_column("messages/s", justify="right")
        quantiles, processes = self.levels[0].latencies, self.levels[0].cores
        for header in (*quantiles, *processes, "late"):
            table.add_column(header, justify="right")
        for level in self.levels:
            table.add_row(
                f"{level.share:.0%}",
                f"{level.rate:,.0f}",
                *(f"{level.latencies[name]:.2f} s" for name in quantiles),
                *(f"{level.cores[name]:.0%}" for name in processes),
                f"{level.sent.late * 1000:.0f} ms",
            )
        return table

    def chart(self) -> Chart:
        """See `tests.bench.line.Shown`."""
        title = f"{self.line}\nseconds, at parts of {self.capacity:,.0f} messages a second"
        series = {name: [round(level.latencies[name], 2) for level in self.levels] for name in QUANTILES}
        return Chart(title, [f"{level.share:.0%}" for level in self.levels], series)


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Whole]:
    """Play the line; rounds lengthen it."""
    with tempfile.TemporaryDirectory() as folder:
        yield asyncio.run(_played(Path(folder), rounds, said))


async def _played(folder: Path, rounds: int, said: Callable[[str], None]) -> Whole:
    async with Stack(stack_settings(folder), fresh=True) as stack:
        await asyncio.to_thread(register, stack.bootstrap, FLEET)
        await known(stack, len(FLEET))
        return await asyncio.to_thread(_measured, stack, rounds, said)


def _measured(stack: Stack, rounds: int, said: Callable[[str], None]) -> Whole:
    client = connect(ClickHouseSettings(url=stack.clickhouse_url), insert_timeout=60)
    said(f"capacity: {SATURATED:g} s of as much as is answered")
    capacity = _observed(stack, client, None, SATURATED).observer.rate()
    levels = []
    for share in SHARES:
        said(f"{share:.0%}: {capacity * share:,.0f} messages/s")
        levels.append(_level(stack, client, share, capacity * share, WARM + SECONDS * rounds))
    return Whole(capacity=capacity, levels=levels)


def _level(stack: Stack, client: Any, share: float, rate: float, seconds: float) -> Level:
    run = _observed(stack, client, rate, seconds)
    begun = run.sent.begun
    found = run.observer.latencies(begun + WARM, begun + seconds)
    latencies = {name: found[int(len(found) * part)] for name, part in QUANTILES.items()}
    return Level(share=share, rate=rate, sent=run.sent, latencies=latencies, cores=run.cores)


class _Run(NamedTuple):
    sent: Sent
    observer: Observer
    cores: Mapping[str, float]


def _observed(stack: Stack, client: Any, rate: float | None, seconds: float) -> _Run:
    """Send, and look at ClickHouse until all that was accepted is there."""
    observer = Observer(client, RAW_TOPICS[NAME], stack.settings.partitions, time.time())
    pids = {name: stack.pid(name) for name in PROCESSES}
    before, began = {name: cpu_of(pid) for name, pid in pids.items()}, time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(apart, send, stack.settings.coap_port, FLEET, rate, seconds)
        while not sending.done():
            observer.look()
            time.sleep(EVERY)
    sent, took = sending.result(), time.monotonic() - began
    cores = {name: (cpu_of(pid) - before[name]) / took for name, pid in pids.items()}
    deadline = time.monotonic() + PATIENCE
    while (stored := observer.stored()) < sent.accepted * READINGS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{sent.accepted * READINGS:,} readings were accepted, {stored:,} are stored")
        time.sleep(EVERY)
        observer.look()
    observer.look()
    return _Run(sent, observer, cores | {"fleet": sent.cpu / seconds})
