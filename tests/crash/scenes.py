"""Scenes: how each plot of the matrix is played, from the fault being laid to everything running again."""

import asyncio
import contextlib
import re
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp

from schemas.topics import READINGS
from tests.crash.cells import Cell, Plot
from tests.crash.crew import Failed, Fault, Member
from tests.crash.load import Load
from tests.crash.proxy import Cut, Trap
from tests.crash.world import BEHIND_PROXY, GROUPS, World
from tests.support.processes import until

Scene = Callable[[World, Cell, Load], Awaitable[None]]

BEFORE, AFTER = 40, 40
"""Messages that are accepted before a fault is laid, and after it is over."""

TROUBLE = 4
"""Attempts that come to nothing before an outage ends."""

PATIENT_SECONDS = "60"
"""Session timeout of a member that stands still and is to keep its place in the group meanwhile."""

HOURS = {Plot.CLOCK_FORWARD: "+7200", Plot.CLOCK_BACK: "-7200"}
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def _name(cell: Cell) -> str:
    """The member that is hit: the first of several."""
    return cell.victim if cell.victim not in GROUPS else f"{cell.victim}-1"


async def _armed(
    world: World, cell: Cell, signum: str, environment: Mapping[str, str] | None = None
) -> Member:
    """The victim in a new process, once its fault has happened."""
    if cell.moment is None:
        raise Failed(f"{cell.name} names no moment")
    fault = Fault(moment=cell.moment, signal=signum, after=cell.after)
    member = await world.crew.restart(_name(cell), fault=fault, environment=environment)
    await until(lambda: member.struck or member.gone, within=60)
    if not member.struck:
        raise Failed(f"{member.name} ended before its fault")
    await until(lambda: member.frozen if signum == "STOP" else member.gone)
    return member


async def kill(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.KILL]`."""
    member = await _armed(world, cell, "KILL")
    if cell.victim in GROUPS:
        await load.more(AFTER)
    await world.crew.restart(member.name)


async def come_back(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.RETURN]`."""
    static = {f"HEADRACE_{cell.victim.upper()}__INSTANCE": "static"}
    member = await _armed(world, cell, "KILL", static)
    await world.crew.restart(member.name, environment=static)


async def zombie(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.ZOMBIE]`."""
    member = await _armed(world, cell, "STOP")
    if cell.victim in GROUPS:
        await world.at_rest(cell.victim, 1)
        await load.more(AFTER)
    else:
        await load.trouble(TROUBLE)
    member.send(signal.SIGCONT)
    await world.whole()


async def kafka_kill(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.KAFKA_KILL]`."""
    member = await _armed(world, cell, "STOP")
    await world.kill_service("kafka")
    member.send(signal.SIGCONT)


async def kafka_freeze(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.KAFKA_FREEZE]`."""
    member = await _armed(world, cell, "STOP")
    with world.frozen_service("kafka"):
        member.send(signal.SIGCONT)
        await load.trouble(TROUBLE)


async def clickhouse_kill(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.CLICKHOUSE_KILL]`."""
    member = await _armed(world, cell, "STOP")
    await world.kill_service("clickhouse")
    member.send(signal.SIGCONT)


async def clickhouse_freeze(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.CLICKHOUSE_FREEZE]`."""
    member = await _armed(world, cell, "STOP", {"HEADRACE_SINK__SESSION_TIMEOUT": PATIENT_SECONDS})
    with world.frozen_service("clickhouse"):
        member.send(signal.SIGCONT)
        await until(lambda: _retried(member), within=60, every=0.2)


async def _retried(member: Member) -> bool:
    """Whether the sink has met an insert that failed."""
    url = f"http://127.0.0.1:{member.health_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return bool(re.search(r"^headrace_sink_\w*retries_total\{", await response.text(), re.MULTILINE))


async def starve(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.STARVE]`."""
    is_edge = cell.victim not in GROUPS
    async with world.kafka_proxy.holding("raw-" if is_edge else READINGS):
        await (load.tries(4 * TROUBLE) if is_edge else load.more(4 * AFTER))
        world.crew[_name(cell)].send(signal.SIGKILL)
        await until(lambda: world.crew[_name(cell)].gone)
    await world.crew.restart(_name(cell))


@contextlib.asynccontextmanager
async def _sprung(world: World, cell: Cell, cut: Cut) -> AsyncIterator[Trap]:
    async with world.proxy.trap(Trap(cell.table, cut)) as trap:
        await asyncio.wait_for(trap.sprung.wait(), 60)
        yield trap


async def cut_request(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.CUT_REQUEST]`."""
    async with _sprung(world, cell, Cut.REQUEST):
        await load.more(AFTER)


async def cut_answer(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.CUT_ANSWER]`."""
    async with _sprung(world, cell, Cut.ANSWER):
        await load.more(AFTER)


async def held_kill(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.HELD_KILL]`."""
    async with _sprung(world, cell, Cut.HELD):
        world.crew[BEHIND_PROXY].send(signal.SIGKILL)
        await load.more(AFTER)
    await world.crew.restart(BEHIND_PROXY)


async def held_join(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.HELD_JOIN]`."""
    async with _sprung(world, cell, Cut.HELD) as trap:
        await world.crew.start("sink-3")
        await world.moving("sink", 2)
        trap.released.set()
        await world.at_rest("sink", 3)
    await load.more(AFTER)
    await world.crew.dismiss("sink-3")


async def late(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.LATE]`."""
    # An earlier scene may have left it patient, and others would wait for a minute to do its work.
    member = await world.crew.restart(BEHIND_PROXY)
    async with _sprung(world, cell, Cut.LATE) as trap:
        member.send(signal.SIGSTOP)
        await world.at_rest("sink", 1)
        await load.more(AFTER)
        trap.released.set()
        member.send(signal.SIGCONT)
        await world.whole()


async def join(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.JOIN]`."""
    patient = {f"HEADRACE_{cell.victim.upper()}__SESSION_TIMEOUT": PATIENT_SECONDS}
    member = await _armed(world, cell, "STOP", patient)
    newcomer = f"{cell.victim}-3"
    joining = asyncio.create_task(world.crew.start(newcomer))
    try:
        await world.moving(cell.victim, 2)
    finally:
        member.send(signal.SIGCONT)
        await joining
    await world.at_rest(cell.victim, 3)
    await load.more(AFTER)
    await world.crew.dismiss(newcomer)


async def folder(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.FOLDER]`."""
    member = await _armed(world, cell, "KILL")
    shutil.rmtree(member.folder)
    await world.crew.restart(member.name)


async def clock(world: World, cell: Cell, load: Load) -> None:
    """See `SENTENCES[Plot.CLOCK_FORWARD]`."""
    if not FAKETIME:
        raise Failed("libfaketime is missing: install libfaketime (Debian, Ubuntu)")
    name, offset = _name(cell), world.crew.folder / f"{cell.name}.clock"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        # A machine whose clock is set goes on measuring spans of time.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await world.crew.restart(name, environment=faked)
    await load.more(AFTER)
    offset.write_text(HOURS[cell.plot])
    await load.more(3 * AFTER)
    await world.crew.restart(name)


SCENES: Mapping[Plot, Scene] = {
    Plot.KILL: kill,
    Plot.RETURN: come_back,
    Plot.ZOMBIE: zombie,
    Plot.KAFKA_KILL: kafka_kill,
    Plot.KAFKA_FREEZE: kafka_freeze,
    Plot.CLICKHOUSE_KILL: clickhouse_kill,
    Plot.CLICKHOUSE_FREEZE: clickhouse_freeze,
    Plot.STARVE: starve,
    Plot.CUT_REQUEST: cut_request,
    Plot.CUT_ANSWER: cut_answer,
    Plot.HELD_KILL: held_kill,
    Plot.HELD_JOIN: held_join,
    Plot.LATE: late,
    Plot.JOIN: join,
    Plot.FOLDER: folder,
    Plot.CLOCK_FORWARD: clock,
    Plot.CLOCK_BACK: clock,
}
