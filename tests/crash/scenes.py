"""Scenes: how each plot of the matrix is played, from the fault being laid to everything running again."""

import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.crash.cells import Cell, Plot
from tests.crash.crew import Failed, Fault, Member
from tests.crash.load import Load
from tests.crash.world import GROUPS, World
from tests.support.processes import until

Scene = Callable[[World, Cell, Load], Awaitable[None]]

BEFORE, AFTER = 100, 100
"""Messages that are accepted before a fault may strike, and after it is over."""

TROUBLE = 4
"""Attempts that come to nothing before an outage ends."""


def victim(cell: Cell) -> str:
    """The member that is hit: the first of several."""
    return cell.victim if cell.victim not in GROUPS else f"{cell.victim}-1"


async def armed(world: World, cell: Cell, signum: str, **environment: str) -> Member:
    """The victim in a new process, that will be hit."""
    if cell.moment is None:
        raise Failed(f"{cell.name} names no moment")
    fault = Fault(moment=cell.moment, signal=signum, after=cell.after)
    return await world.crew.restart(victim(cell), fault=fault, environment=environment)


async def struck(member: Member) -> None:
    """Return when the fault has happened."""
    await until(lambda: member.struck or member.gone, within=30)
    if not member.struck:
        raise Failed(f"{member.name} ended before its fault")


async def kill(world: World, cell: Cell, load: Load) -> None:
    """See `Plot.KILL`."""
    member = await armed(world, cell, "KILL")
    await struck(member)
    await until(lambda: member.gone)
    await load.more(0 if cell.victim not in GROUPS else AFTER)
    await world.crew.restart(member.name)


async def zombie(world: World, cell: Cell, load: Load) -> None:
    """See `Plot.ZOMBIE`."""
    member = await armed(world, cell, "STOP")
    await struck(member)
    if cell.victim in GROUPS:
        await world.at_rest(cell.victim, 1)
        await load.more(AFTER)
    else:
        await load.trouble(TROUBLE)
    member.send(signal.SIGCONT)
    await world.whole()


SCENES: Mapping[Plot, Scene] = {Plot.KILL: kill, Plot.ZOMBIE: zombie}
