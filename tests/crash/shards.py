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
from tests.crash.play import Played, play
from tests.crash.world import World, world

VERIFY = "headrace verify"
"""Has the last word about all that was played on one stack."""


def play_all(cells: Sequence[Cell], shards: int) -> Played:
    """What came of them, in the order of the cells."""
    with ProcessPoolExecutor(shards, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(play_shard, [cells[number::shards] for number in range(shards)]))
    names = [cell.name for cell in cells]
    return Played(
        results=sorted(
            (one for part in parts for one in part.results), key=lambda one: names.index(one.cell.name)
        ),
        undecided=sorted((name for part in parts for name in part.undecided), key=names.index),
        differences=[one for part in parts for one in part.differences],
        unverified=sum(part.unverified for part in parts),
    )


def play_shard(cells: Sequence[Cell]) -> Played:
    """Play cells one after another; after one without a verdict everything is started anew."""
    return asyncio.run(_play_some(cells))


async def _play_some(cells: Sequence[Cell]) -> Played:
    played = Played()
    left = list(cells)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="headrace-crash-"))
        try:
            async with world(folder) as here:
                while left:
                    cell = left.pop(0)
                    if not await _is_decided(here, cell, played, turn=len(cells) - len(left)):
                        break
                await _verify(here, played)
        except (Failed, StackError, TimeoutError) as error:
            print(f"The stack does not start, or does not end: {error!r}", flush=True)
            played.undecided += [cell.name for cell in left[:1]]
            left = left[1:]
        if report.exact(played):
            shutil.rmtree(folder)
        else:
            print(f"The logs are in {folder}", flush=True)
    return played


async def _is_decided(here: World, cell: Cell, played: Played, *, turn: int) -> bool:
    try:
        result = await play(here, cell, turn=turn)
    except (Failed, StackError, TimeoutError) as error:
        played.undecided.append(cell.name)
        print(f"{cell.name}: no verdict: {error!r}", flush=True)
        return False
    played.results.append(result)
    print(report.row(result), flush=True)
    return True


async def _verify(here: World, played: Played) -> None:
    """Hold against the log what was played on this stack, also before it is given up."""
    try:
        found = await here.differences()
    except (Failed, TimeoutError) as error:
        played.unverified += 1
        print(f"{VERIFY}: no verdict: {error!r}", flush=True)
        return
    played.differences += found
    agree = "differ" if found else "agree"
    print(f"{VERIFY}: the raw log, readings and ClickHouse {agree}", *found, sep="\n    ", flush=True)
