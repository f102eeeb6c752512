"""Sizing: what a fleet of a size needs, from what the bench measured: `python -m tests.bench.sizing FIGURES`."""

import argparse
import asyncio
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from tests.bench.footprint import CADENCES, READINGS, Footprint, footprint
from tests.bench.line import OURS, Result

FLEETS = (1_000, 100_000, 1_000_000)
BUSY = 0.6
"""How much of its core a process may need: the rest is for a rush, a rebalance, and catching up after an outage."""
GATHERED = 10
"""Fetches of a processor a second while messages are few; see `processors.fetches`."""
BLOCK = 500
"""Messages of a block while they are many."""
FEWEST_PARTITIONS, SPREAD = 12, 2
"""Of a raw topic; and for each process, so that they share evenly."""
REMEMBERED = 1.25 * 3600
"""Seconds of identities that a window holds at most."""
PROCESS_MIB, SINK_MIB = 100, 144
"""What an edge and a processor hold that know nobody yet, with their queues; and a sink: see docs/memory.md."""

_DAY, _GB, _MIB = 86_400, 1e9, 1 << 20


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """CPU-seconds that a message takes."""

    edge: float
    """CoAP, a message a request."""
    processor: float
    sink: float
    clickhouse: float
    """Its inserts; merges come on top."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet needs."""

    rate: float
    """Messages a second."""
    edges: int
    processors: int
    sinks: int
    partitions: int
    memory: float
    """MiB of all these processes together."""
    clickhouse_cores: float
    log_gb: float
    """GB a day on one replica of Kafka."""
    stored_gb: Mapping[str, float]
    """GB a day in ClickHouse, by table."""


def need(costs: Costs, bytes_of: Footprint, devices: int, cadence: str) -> Need:
    """The formula. A process uses one core; edges, processors and sinks are two at least, so that one may be away."""
    rate = devices / CADENCES[cadence]

    def processes(cost: float) -> int:
        return max(2, math.ceil(rate * cost / BUSY))

    edges, processors, sinks = processes(costs.edge), processes(costs.processor), processes(costs.sink)
    wanted = max(FEWEST_PARTITIONS, SPREAD * max(processors, sinks))
    partitions = FEWEST_PARTITIONS * math.ceil(wanted / FEWEST_PARTITIONS)
    known = devices * bytes_of.device
    memory = (
        (edges + processors) * (PROCESS_MIB + known / _MIB)
        + sinks * SINK_MIB
        + rate * REMEMBERED * bytes_of.identity / _MIB
    )
    blocks = min(rate, max(partitions * GATHERED, rate / BLOCK))
    log = rate * (bytes_of.raw + bytes_of.block_message) + blocks * bytes_of.block
    return Need(
        rate=rate,
        edges=edges,
        processors=processors,
        sinks=sinks,
        partitions=partitions,
        memory=memory,
        clickhouse_cores=rate * costs.clickhouse,
        log_gb=log * _DAY / _GB,
        stored_gb={table: rate * each * _DAY / _GB for table, each in bytes_of.stored[cadence].items()},
    )


def costs(figures: Mapping[str, Any]) -> Costs:
    """From what `make bench LINES="coap process sink"` left behind."""
    found = {
        result["line"].partition(":")[0]: msgspec.convert(result, Result)
        for result in reversed(figures["results"])
        if "figures" in result
    }
    coap, process, sink = (found[name] for name in ("coap", "process", "sink"))
    rows = [(figure.beside["ClickHouse"], figure.work) for figure in sink.figures[OURS]]
    return Costs(
        edge=1 / coap.rate(OURS),
        processor=1 / process.rate(OURS),
        sink=READINGS / sink.rate(OURS),
        clickhouse=READINGS * sum(cpu for cpu, _ in rows) / sum(work for _, work in rows),
    )


def page(of: Costs, bytes_of: Footprint) -> str:
    """The table, in Markdown."""
    headers = (
        *("devices", "each sends", "messages/s", "edges", "processors", "sinks", "partitions", "memory, all"),
        *("Kafka a day", "ClickHouse cores", "`readings` a day", "`messages` a day", "`readings_1m` a day"),
    )
    lines = [f"| {' | '.join(headers)} |", "|---:" * len(headers) + "|"]
    for devices in FLEETS:
        for cadence in CADENCES:
            this = need(of, bytes_of, devices, cadence)
            stored = (
                f"{this.stored_gb[table]:,.2f} GB" for table in ("readings", "messages", "readings_1m_state")
            )
            lines.append(
                f"| {devices:,} | once {cadence} | {this.rate:,.0f} | {this.edges} | {this.processors} | {this.sinks} "
                f"| {this.partitions} | {this.memory / 1024:,.1f} GiB | {this.log_gb:,.1f} GB | {this.clickhouse_cores:.2f} "
                f"| {' | '.join(stored)} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure bytes, take CPU from the figures, print both and the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing", description=__doc__)
    parser.add_argument("figures", type=Path, help="what `make bench` wrote: .headrace/bench.json")
    figures = msgspec.json.decode(parser.parse_args().figures.read_bytes())
    of, bytes_of, console = costs(figures), asyncio.run(footprint()), Console(width=200)
    console.print(of, bytes_of, sep="\n")
    console.print(page(of, bytes_of), soft_wrap=True)


if __name__ == "__main__":
    main()
