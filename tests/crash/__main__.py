"""`python -m tests.crash [CELL…]`: play the matrix, or some of it, and print it row by row."""

import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.crash.cells import CELLS
from tests.crash.play import play
from tests.crash.world import world


async def main(names: list[str]) -> int:
    console = Console()
    failed = 0
    folder = Path(tempfile.mkdtemp())
    print(folder)
    import time
    b=time.monotonic()
    async with world(folder) as here:
        print("up", time.monotonic()-b)
        for turn, name in enumerate(names or CELLS):
            result = await play(here, CELLS[name], turn=turn)
            console.print(result.seconds, here.crew.folder, end=" ")
            console.print(result.cell.name, f"{result.seconds:.1f}", result.accepted, result.unanswered, result.repeats, result.verdict)
            failed += bool(result.verdict.findings)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
