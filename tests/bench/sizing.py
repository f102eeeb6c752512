"""Sizing: what a fleet of a size needs, from what the bench measured: `python -m tests.bench.sizing FIGURES`."""

import argparse
import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.footprint import CADENCES, READINGS, Footprint, footprint
from tests.bench.line import OURS, Result
from tests.support.page import rewrite, table

COMMAND = "python -m tests.bench.sizing .headrace/bench.json --page docs/sizing.md"

FLEETS = (1_000, 100_000, 1_000_000)
BUSY = 0.6
"""How much of its core a process may need: the rest is for a rush, a rebalance, and catching up after an outage."""
GATHERED = 10
"""Fetches of a processor a second while messages are few; see `processors.fetches`."""
BLOCK = 1000
"""Messages of a block while they are many."""
FEWEST_PARTITIONS, SPREAD = 12, 2
"""Of a raw topic; and for each process, so that they share evenly."""
REMEMBERED = 1.25 * 3600
"""Seconds of identities that a window holds at most."""
EDGE_MIB, PROCESSOR_MIB, SINK_MIB = 510, 550, 640
"""What a CoAP edge, a processor and a sink hold at most, beside devices, sessions and identities: see docs/memory.md."""

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
    known = devices * (edges * bytes_of.device + processors * bytes_of.place)
    memory = (
        edges * EDGE_MIB
        + processors * PROCESSOR_MIB
        + known / _MIB
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


def section(of: Costs, bytes_of: Footprint, about: str) -> str:
    """What things cost, on which machine, and what fleets need, in Markdown."""
    headers = (
        *("devices", "each sends", "messages/s", "edges", "processors", "sinks", "partitions", "memory, all"),
        *("Kafka a day", "ClickHouse cores", "`readings` a day", "`messages` a day", "`readings_1m` a day"),
    )
    needs = [
        (devices, cadence, need(of, bytes_of, devices, cadence)) for devices in FLEETS for cadence in CADENCES
    ]
    parts = _costs(of, bytes_of), f"CPU of {about}", table(headers, (_row(*each) for each in needs))
    return "\n\n".join(parts)


def _costs(of: Costs, bytes_of: Footprint) -> str:
    cpu = {
        "CoAP edge": of.edge,
        "processor": of.processor,
        "sink": of.sink,
        "ClickHouse, inserts": of.clickhouse,
    }
    sizes = {
        "a device, in each edge": bytes_of.device,
        "a device, in each processor": bytes_of.place,
        "an identity": bytes_of.identity,
        "a raw message on the log": bytes_of.raw,
        "a block on the log": bytes_of.block,
        "a message of it": bytes_of.block_message,
    }
    stored = {
        f"a message in `{name.removesuffix('_state')}`, once {cadence}": each
        for cadence, weights in bytes_of.stored.items()
        for name, each in weights.items()
    }
    rows = [(what, f"{seconds * 1e6:.1f} µs") for what, seconds in cpu.items()]
    rows += [(what, f"{size:,.1f} bytes") for what, size in (sizes | stored).items()]
    return table(("what", "costs"), rows)


def _row(devices: int, cadence: str, this: Need) -> Sequence[object]:
    stored = (f"{this.stored_gb[name]:,.2f} GB" for name in ("readings", "messages", "readings_1m_state"))
    return (
        *(
            devices,
            f"once {cadence}",
            round(this.rate),
            this.edges,
            this.processors,
            this.sinks,
            this.partitions,
        ),
        *(
            f"{this.memory / 1024:,.1f} GiB",
            f"{this.log_gb:,.1f} GB",
            f"{this.clickhouse_cores:.2f}",
            *stored,
        ),
    )


def main() -> None:
    """Measure bytes, take CPU from the figures, write both and what follows from them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing", description=__doc__)
    parser.add_argument("figures", type=Path, help="what `make bench` wrote: .headrace/bench.json")
    parser.add_argument("--page", type=Path, metavar="FILE", help="which page the tables go into")
    arguments = parser.parse_args()
    figures = msgspec.json.decode(arguments.figures.read_bytes())
    (about,) = [result["about"] for result in figures["results"] if result["line"] == "process"]
    found = section(costs(figures), asyncio.run(footprint()), about)
    print(found)
    if arguments.page:
        rewrite(arguments.page, COMMAND, found)


if __name__ == "__main__":
    main()
