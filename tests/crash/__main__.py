"""`python -m tests.crash [CELL…]`: play the matrix, or some of it; exits with 0 only if every cell is exact."""

import argparse
import sys
from pathlib import Path

from tests.crash import report
from tests.crash.cells import CELLS
from tests.crash.play import Played
from tests.crash.shards import play_all
from tests.support import page

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
        "--page", type=Path, help="Markdown file whose section is written anew; only with all cells"
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
    played = play_all(chosen, min(len(chosen), arguments.at_once))
    print(f"\n{report.totals(played)}")
    if arguments.page and not arguments.cells:
        page.rewrite(arguments.page, "make crash", report.markdown(played))
    return exit_code(played)


def exit_code(played: Played) -> int:
    """What is wrong goes before what has no verdict."""
    if not report.right(played):
        return WRONG
    return 0 if report.exact(played) else UNDECIDED


if __name__ == "__main__":
    sys.exit(main())
