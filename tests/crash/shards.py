"""Shards: the cells shared out among processes, each with a stack of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from headrace.stack.errors import StackError
from tests.crash import report
from tests.crash.cells import Cell
from tests.crash.crew import Failed
from tests.crash.play import Result, play
from tests.crash.world import world

VERIFY = "headrace verify"
"""Has the last word about all that was played on one stack."""


def play_all(cells: Sequence[Cell], shards: int) -> tuple[list[Result], list[str]]:
    """Results, and the names of cells without one, in the order of the cells; what else is wrong is among the latter."""
    with ProcessPoolExecutor(shards, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_play_shard, [cells[number::shards] for number in range(shards)]))
    names = [cell.name for cell in cells]
    results = sorted((one for some, _ in parts for one in some), key=lambda one: names.index(one.cell.name))
    return results, sorted((name for _, some in parts for name in some), key=[*names, VERIFY].index)


def _play_shard(cells: Sequence[Cell]) -> tuple[list[Result], list[str]]:
    return asyncio.run(_play_some(cells))


async def _play_some(cells: Sequence[Cell]) -> tuple[list[Result], list[str]]:
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
                if differences := await here.differences():
                    print(differences, flush=True)
                    undecided.append(VERIFY)
                else:
                    print(
                        f"{VERIFY}: the raw log, readings and ClickHouse agree after {len(results)} cells",
                        flush=True,
                    )
        except (Failed, StackError, TimeoutError) as error:
            undecided.append(cell.name)
            print(f"{cell.name}: no verdict: {error!r}\n    its logs are in {folder}", flush=True)
        else:
            if all(map(report.passed, results)):
                shutil.rmtree(folder)
            else:
                print(f"The logs are in {folder}")
    return results, undecided
