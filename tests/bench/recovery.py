"""`python -m tests.bench.recovery`: seconds from the kill of a sink or a processor to new rows of every partition.

A row is new if its message was put onto the raw log after the kill.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from schemas import codec
from schemas.raw_message import IDENTITY_HEADER
from schemas.topics import key
from tests.crash.world import World, world
from tests.support.processes import until
from tests.support.raw import message

TOPIC = "raw-thingsboard"
TICK_SECONDS = 0.02

_NEWEST = (
    f"SELECT origin_partition, max(origin_offset) FROM messages WHERE origin_topic = '{TOPIC}' GROUP BY 1"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: who is killed, and who does its work then."""

    role: str
    how: str
    standing: Sequence[str]
    static: bool


LINES = [
    Line("sink", "alone, static, started again at once", ("process-1", "sink-1"), static=True),
    Line("processor", "alone, static, started again at once", ("process-1", "sink-1"), static=True),
    Line("sink", "one of two, not started again", ("process-1", "sink-1", "sink-2"), static=False),
    Line("processor", "one of two, not started again", ("process-1", "process-2", "sink-1"), static=False),
]


class Feed:
    """Puts raw records straight onto the log, at a steady rate, from a thread."""

    def __init__(self, bootstrap: str, rate: int) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random"}
        )
        self._rate = rate
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End; what was produced is on the log."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(30)

    def _run(self) -> None:
        sent, began = 0, time.monotonic()
        while not self._stopping.wait(TICK_SECONDS):
            due = int((time.monotonic() - began) * self._rate)
            for number in range(sent, due):
                raw = message(device=f"bench-{number % 200}", message_id=f"{began}-{number}")
                self._producer.produce(
                    TOPIC,
                    codec.encode(raw),
                    key(raw.tenant, raw.device),
                    headers=[(IDENTITY_HEADER, raw.identity())],
                )
            sent = max(sent, due)
            self._producer.poll(0)


def main() -> None:
    """Measure each line several times; print medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="kills of each line")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second")
    arguments = parser.parse_args()
    table = Table("killed", "how", "median, s", "least", "most", box=None)
    for line in LINES:
        taken = asyncio.run(_measured(line, arguments.rounds, arguments.rate))
        table.add_row(
            line.role,
            line.how,
            *(f"{value:.1f}" for value in (statistics.median(taken), min(taken), max(taken))),
        )
    Console().print(table)


async def _measured(line: Line, rounds: int, rate: int) -> list[float]:
    settings = {f"HEADRACE_{name}__INSTANCE": "static" for name in ("PROCESS", "SINK") if line.static}
    name = "sink-1" if line.role == "sink" else "process-1"
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), standing=line.standing, settings=settings, forked=False) as here:
            with Feed(here.stack.bootstrap, rate):
                await _new_rows(here)
                for number in range(rounds):
                    taken.append(await _recovery(here, name, again=line.static))
                    print(
                        f"{line.role}, {line.how}: kill {number + 1} of {rounds}: {taken[-1]:.1f} s",
                        file=sys.stderr,
                    )
                    if not line.static:
                        await here.crew.restart(name)
                        await here.whole()
                    await _new_rows(here)
    return taken


async def _recovery(here: World, name: str, *, again: bool) -> float:
    here.crew[name].send(signal.SIGKILL)
    began = time.monotonic()
    starting = asyncio.create_task(here.crew.restart(name)) if again else None
    await _new_rows(here)
    seconds = time.monotonic() - began
    if starting:
        await starting
    return seconds


async def _new_rows(here: World) -> None:
    """Return when every partition has a row of a message that is not on the log yet."""
    ends = await asyncio.to_thread(here.emitted.ends, TOPIC)

    async def condition() -> bool:
        found = await asyncio.to_thread(here.clickhouse.query, _NEWEST)
        newest = dict(found.result_rows)
        return all(newest.get(number, -1) >= end for number, end in ends.items())

    await until(condition, within=120, every=0.1)


if __name__ == "__main__":
    main()
