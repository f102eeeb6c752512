"""`python -m tests.crash [CELL…]`: play the matrix, or some of it; exits with 0 only if every cell is exact."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from headrace.stack.errors import StackError
from tests.crash import report
from tests.crash.cells import CELLS, Cell
from tests.crash.crew import Failed
from tests.crash.play import Result, play
from tests.crash.world import world

PAGE = "<!-- The table below is written by `make crash`. -->\n"

WRONG, UNDECIDED = 1, 3
"""Exit codes: something was lost or stored twice; or there was no verdict."""

AT_ONCE = 4
"""A cell waits most of its time for somebody's patience to end; its stack takes about 2 GiB."""


def main() -> int:
    """Read the arguments, play, write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument(
        "cells", nargs="*", metavar="CELL", help="names of cells, or the beginnings of names; all by default"
    )
    parser.add_argument("--list", action="store_true", help="say what the cells are, and play none")
    parser.add_argument(
        "--page", type=Path, help="Markdown file whose table is written anew; only with all cells"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=AT_ONCE,
        metavar="N",
        help=f"cells at a time, each in a stack of its own ({AT_ONCE})",
    )
    arguments = parser.parse_args()
    chosen = [
        cell for name, cell in CELLS.items() if not arguments.cells or name.startswith(tuple(arguments.cells))
    ]
    if not chosen:
        parser.error("no cell has such a name; see --list")
    if arguments.list:
        print(report.listing(chosen))
        return 0
    print(report.header(), flush=True)
    results, undecided = _play_shards(chosen, min(len(chosen), arguments.at_once))
    print(f"\n{report.totals(results, undecided)}")
    if arguments.page and not arguments.cells:
        text = arguments.page.read_text().partition(PAGE)[0]
        arguments.page.write_text(f"{text}{PAGE}\n{report.markdown(results, undecided)}")
    if not all(map(report.passed, results)):
        return WRONG
    return UNDECIDED if undecided else 0


def _play_shards(cells: Sequence[Cell], shards: int) -> tuple[list[Result], list[str]]:
    """Results, and the names of cells without one, in the order of the cells."""
    with ProcessPoolExecutor(shards, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_play_shard, [cells[number::shards] for number in range(shards)]))
    names = [cell.name for cell in cells]
    results = sorted((one for some, _ in parts for one in some), key=lambda one: names.index(one.cell.name))
    return results, sorted((name for _, some in parts for name in some), key=names.index)


def _play_shard(cells: Sequence[Cell]) -> tuple[list[Result], list[str]]:
    return asyncio.run(_play_all(cells))


async def _play_all(cells: Sequence[Cell]) -> tuple[list[Result], list[str]]:
    """Play them one after another; after a cell without a verdict everything is started anew."""
    results: list[Result] = []
    undecided: list[str] = []
    left = list(cells)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="headrace-crash-"))
        try:
            async with world(folder) as here:
                while left:
                    cell = left.pop(0)
                    result = await play(here, cell, turn=len(cells) - len(left))
                    results.append(result)
                    print(report.row(result), flush=True)
        except (Failed, StackError, TimeoutError) as error:
            undecided.append(cell.name)
            print(f"{cell.name}: no verdict: {error!r}\n    its logs are in {folder}", flush=True)
        else:
            if all(map(report.passed, results)):
                shutil.rmtree(folder)
            else:
                print(f"The logs are in {folder}")
    return results, undecided


if __name__ == "__main__":
    sys.exit(main())
