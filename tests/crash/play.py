"""Play one cell: load, fault, recovery, and the verdict."""

import asyncio
import time
import zlib
from dataclasses import dataclass, field

from tests.crash.cells import Cell
from tests.crash.load import Load
from tests.crash.oracle import Oracle, Verdict
from tests.crash.scenes import AFTER, BEFORE, SCENES
from tests.crash.world import World

PATIENCE_SECONDS = 45
"""How long what is missing may stay missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a cell."""

    cell: Cell
    verdict: Verdict
    accepted: int
    """Messages of which a client heard success."""
    trouble: int
    """Attempts that were refused or not answered."""
    repeats: int
    """Messages that processors emitted more than once, and sinks dropped."""
    seconds: float


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of several cells."""

    results: list[Result] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    """Names of the cells without a verdict."""
    differences: list[str] = field(default_factory=list)
    """What `headrace verify` found in all that was played on one stack: as wrong as a loss."""
    unverified: int = 0
    """Stacks of which `headrace verify` could say nothing."""


async def play(world: World, cell: Cell, *, turn: int) -> Result:
    """Play a cell; `turn` tells the same cell played twice apart.

    Raises:
        tests.crash.crew.Failed: there is no verdict.
        TimeoutError: neither.

    """
    began = time.monotonic()
    prefix = f"{turn}-{zlib.crc32(cell.name.encode()):08x}-"
    await world.register(prefix)
    await asyncio.to_thread(world.emitted.forget)
    load = Load(world.addresses, prefix, seed=cell.name)
    async with load:
        await load.more(BEFORE)
        await SCENES[cell.plot](world, cell, load)
        await load.more(AFTER)
    await world.whole()
    verdict = await judged(world, prefix, load)
    return Result(
        cell=cell,
        verdict=verdict,
        accepted=load.ledger.accepted,
        trouble=load.ledger.trouble,
        repeats=world.emitted.repeats,
        seconds=time.monotonic() - began,
    )


async def judged(world: World, prefix: str, load: Load) -> Verdict:
    """The verdict, once the pipeline has come to rest, or when what is missing has not become less for a long time.

    Raises:
        TimeoutError: nothing is wrong, but the pipeline does not come to rest either.

    """
    oracle = Oracle(world.clickhouse, world.emitted, prefix, load.ledger)
    missing, since = -1, time.monotonic()
    while True:
        still_missing = await asyncio.to_thread(oracle.missing)
        at_rest = await asyncio.to_thread(world.emitted.settled)
        if at_rest and not still_missing:
            return await asyncio.to_thread(oracle.verdict)
        if still_missing != missing:
            missing, since = still_missing, time.monotonic()
        if time.monotonic() > since + PATIENCE_SECONDS:
            break
        await asyncio.sleep(0.3)
    verdict = await asyncio.to_thread(oracle.verdict)
    if not verdict.findings:
        raise TimeoutError(f"the pipeline has not come to rest within {PATIENCE_SECONDS} s")
    return verdict
