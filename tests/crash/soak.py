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
from tests.support import page

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
    differences: list[str] = field(default_factory=list)
    """What `headrace verify` finds in all of it."""

    def line(self) -> str:
        """In one line."""
        return (
            f"{(time.monotonic() - self.began) / 60:5.1f} min: {self.faults.total()} faults, {self.accepted:,} messages accepted,"
            f" {self.trouble:,} attempts in vain, {self.repeats:,} emitted again, lost {self.lost}, stored twice {self.doubled}"
        )

    def markdown(self, *, minutes: float, seed: int) -> str:
        """The section of the documentation."""
        wrong = [*self.findings, *self.differences]
        row = {
            "minutes": f"{minutes:g}",
            "seed": f"{seed}",
            "faults": self.faults.total(),
            "accepted": self.accepted,
            "trouble": self.trouble,
            "repeats": self.repeats,
            "lost": self.lost,
            "twice": self.doubled,
            "`headrace verify`": "differs" if self.differences else "no difference",
        }
        return "\n".join(
            [
                f"Judged each {JUDGED_EVERY_SECONDS // 60} minutes: {'this is' if wrong else 'nothing is'} wrong.\n",
                *(f"- {finding}\n" for finding in wrong),
                page.table(list(row), [list(row.values())]),
            ]
        )


def main() -> int:
    """Read the arguments, and go on for so long."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="no fault is begun after so long")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults")
    parser.add_argument(
        "--page", type=Path, help="Markdown file whose section is written anew, if this comes to its end"
    )
    arguments = parser.parse_args()
    folder, tally = Path(tempfile.mkdtemp(prefix="headrace-soak-")), Tally()
    print(f"Seed {arguments.seed}; the logs are in {folder}", flush=True)
    undecided = 0
    try:
        asyncio.run(_soak(folder, tally, drawn(arguments.seed), arguments.minutes * 60))
    except (Failed, StackError, TimeoutError) as error:
        print(f"No verdict: {error!r}")
        undecided = UNDECIDED
    print(f"\n{tally.line()}")
    for plot, count in sorted(tally.faults.items()):
        print(f"    {plot:<20} {count:>5}")
    if arguments.page and not undecided:
        section = tally.markdown(minutes=arguments.minutes, seed=arguments.seed)
        page.rewrite(arguments.page, "make soak", section)
    return WRONG if tally.findings or tally.differences else undecided


def drawn(seed: int) -> Iterator[Cell]:
    """Cells at random, for ever."""
    chance = random.Random(seed)
    cells = [cell for cell in CELLS.values() if not cell.broken]
    while True:
        yield chance.choice(cells)


async def _soak(folder: Path, tally: Tally, cells: Iterator[Cell], seconds: float) -> None:
    async with world(folder) as here:
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                await _stretch(here, tally, cells, min(end, time.monotonic() + JUDGED_EVERY_SECONDS))
                await _verify(here, tally)
        except (Failed, StackError, TimeoutError):
            await _verify(here, tally)
            raise


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
    tally.accepted += load.ledger.accepted
    tally.trouble += load.ledger.trouble
    tally.repeats += here.emitted.repeats
    tally.lost += verdict.lost
    tally.doubled += verdict.doubled
    tally.findings += verdict.findings


async def _verify(here: World, tally: Tally) -> None:
    """Hold everything so far against the log, and say how it stands."""
    tally.differences = await here.differences()
    print(tally.line(), *tally.findings, *tally.differences, sep="\n    ", flush=True)


if __name__ == "__main__":
    sys.exit(main())
