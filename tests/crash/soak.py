"""`python -m tests.crash.soak --minutes N --seed S`: faults at random, one after the other, under load that never ends.

The seed decides which cells of the matrix are played, and in which order. Every few minutes the pipeline is let come to
rest and judged; what was judged is forgotten, so memory does not grow with the minutes.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headrace.stack.errors import StackError
from tests.crash.__main__ import UNDECIDED, WRONG
from tests.crash.cells import CELLS, Cell
from tests.crash.crew import Failed
from tests.crash.load import Load
from tests.crash.play import judged
from tests.crash.scenes import AFTER, SCENES
from tests.crash.world import World, world

JUDGED_EVERY_SECONDS = 180


@dataclass(slots=True)
class Tally:
    """What has happened so far."""

    began: float = field(default_factory=time.monotonic)
    faults: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    trouble: int = 0
    repeats: int = 0
    lost: int = 0
    doubled: int = 0
    findings: list[str] = field(default_factory=list)

    def line(self) -> str:
        """In one line."""
        return (
            f"{(time.monotonic() - self.began) / 60:5.1f} min: {self.faults.total()} faults, {self.accepted:,} messages accepted,"
            f" {self.trouble:,} attempts in vain, {self.repeats:,} emitted again, lost {self.lost}, stored twice {self.doubled}"
        )


def main() -> int:
    """Read the arguments, and go on for so long."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="no fault is begun after so long")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults")
    arguments = parser.parse_args()
    folder, tally = Path(tempfile.mkdtemp(prefix="headrace-soak-")), Tally()
    print(f"Seed {arguments.seed}; the logs are in {folder}", flush=True)
    try:
        asyncio.run(_soak(folder, tally, drawn(arguments.seed), arguments.minutes * 60))
    except (Failed, StackError, TimeoutError) as error:
        print(f"No verdict: {error!r}")
        return UNDECIDED
    finally:
        print(f"\n{tally.line()}")
        for plot, count in sorted(tally.faults.items()):
            print(f"    {plot:<20} {count:>5}")
    return WRONG if tally.findings else 0


def drawn(seed: int) -> Iterator[Cell]:
    """Cells at random, for ever."""
    chance = random.Random(seed)
    cells = [cell for cell in CELLS.values() if not cell.broken]
    while True:
        yield chance.choice(cells)


async def _soak(folder: Path, tally: Tally, cells: Iterator[Cell], seconds: float) -> None:
    async with world(folder) as here:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await _stretch(here, tally, cells, min(end, time.monotonic() + JUDGED_EVERY_SECONDS))
            print(tally.line(), flush=True)


async def _stretch(here: World, tally: Tally, cells: Iterator[Cell], end: float) -> None:
    """Faults until then, and a verdict."""
    prefix = f"soak-{tally.faults.total()}-"
    await here.register(prefix)
    await asyncio.to_thread(here.emitted.forget)
    async with Load(here.addresses, prefix) as load:
        while time.monotonic() < end:
            cell = next(cells)
            print(f"  {cell.name}", flush=True)
            await SCENES[cell.plot](here, cell, load)
            tally.faults[cell.plot] += 1
            await load.more(AFTER)
            await here.whole()
    verdict = await judged(here, prefix, load)
    differences = await here.differences()
    tally.accepted += load.ledger.accepted
    tally.trouble += load.ledger.trouble
    tally.repeats += here.emitted.repeats
    tally.lost += verdict.lost
    tally.doubled += verdict.doubled
    tally.findings += verdict.findings
    tally.findings += [differences] if differences else []
    for finding in tally.findings:
        print(f"    {finding}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
