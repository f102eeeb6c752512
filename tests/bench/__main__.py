"""How fast each part is, beside what bounds it and what else could be had: `python -m tests.bench [LINE…]`."""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import msgspec
from rich.console import Console

from tests.bench.line import OURS, Figure, Result, Shown, machine
from tests.bench.raw_log import READINGS_A_MESSAGE
from tests.support.page import rewrite, table

LINES: Mapping[str, str] = {
    "coap": "tests.bench.line_coap",
    "http-1": "tests.bench.line_http_one",
    "http-1000": "tests.bench.line_http_thousand",
    "process": "tests.bench.line_process",
    "sink": "tests.bench.line_sink",
    "whole": "tests.bench.line_whole",
    "growth": "tests.bench.line_growth",
}
"""Each line, and the module whose `results(rounds, said)` plays it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Play lines of the bench: Headrace and others do the same work in turns, and what counts is units of work"
        " by CPU-seconds of the process under test. Exits with 1 if something that is asked is not reached.",
        epilog="Lines: " + ", ".join(LINES),
    )
    parser.add_argument("lines", nargs="*", metavar="LINE", help="all of them, if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="of each line; the median counts (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every figure goes")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="where each line is drawn, as SVG")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="which page the tables go into, if every line was played"
    )
    return parser


def together(found: Sequence[Shown]) -> Iterator[Result]:
    """What processor and sink take for a message of three readings, where both were played."""
    lines = {result.line: result.figures[OURS] for result in found if isinstance(result, Result)}
    if not {"process", "sink"} <= lines.keys():
        return
    figures = [
        Figure(each.work, each.cpu + READINGS_A_MESSAGE * each.work / sink.rate, each.wall)
        for each, sink in zip(lines["process"], lines["sink"], strict=True)
    ]
    yield Result("processor and sink together", "messages", {OURS: figures}, least=45_000)


def main() -> None:
    """Play, print, and say what was not reached."""
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.lines) - set(LINES)):
        parser.error(f"no such line: {', '.join(unknown)}; there are {', '.join(LINES)}")
    console, found = Console(width=120), list[Shown]()
    # `together` looks at what was found only when all lines have been played.
    for result in chain(_played(arguments.lines or LINES, arguments.rounds), together(found)):
        found.append(result)
        console.print(result.table())
        _save(found, arguments.json)
    console.print(f"\n{machine()}, {arguments.rounds} rounds, medians")
    if arguments.json:
        console.print(f"Every figure: {arguments.json}")
    if arguments.plot:
        _draw(found, arguments.plot)
        console.print(f"Drawn: {arguments.plot}")
    if arguments.page and set(arguments.lines or LINES) == set(LINES):
        rewrite(arguments.page, "make bench", _section(found, arguments.rounds))
        console.print(f"Written: {arguments.page}")
    missed = [text for result in found for text in result.missed()]
    for text in missed:
        console.print(f"NOT REACHED  {text}")
    sys.exit(1 if missed else 0)


def _played(lines: Iterable[str], rounds: int) -> Iterator[Shown]:
    for name in lines:
        results = cast(
            "Callable[[int, Callable[[str], None]], Iterator[Shown]]",
            importlib.import_module(LINES[name]).results,
        )
        yield from results(rounds, lambda text: print(text, file=sys.stderr, flush=True))


def _save(found: Sequence[Shown], file: Path | None) -> None:
    """After each line: what took half an hour is not lost to the line that follows."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine(), "results": found})))


def _draw(found: Sequence[Shown], folder: Path) -> None:
    charts = importlib.import_module("tests.bench.charts")
    folder.mkdir(parents=True, exist_ok=True)
    for result in found:
        (folder / f"{_name(result)}.svg").write_bytes(charts.draw(result.chart()))


def _section(found: Sequence[Shown], rounds: int) -> str:
    """Every table, in Markdown."""
    parts = [f"{machine()}; {rounds} rounds, medians."]
    for result in found:
        shown = result.table()
        # In the terminal the first header is the title, and what has to be said of the whole.
        about, *columns = [str(column.header) for column in shown.columns]
        rows = zip(*(column.cells for column in shown.columns), strict=True)
        parts += [f"### {result.line}", about.removeprefix(result.line).strip()]
        parts += [table(["", *columns], rows), str(shown.caption or "")]
    return "\n\n".join(filter(None, parts))


def _name(result: Shown) -> str:
    return re.sub("[^a-z0-9]+", "-", result.line.lower()).strip("-")


if __name__ == "__main__":
    main()
