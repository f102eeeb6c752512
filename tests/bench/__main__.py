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

from tests.bench.line import OURS, Figure, Result, Shown, machine, pace
from tests.bench.raw_log import READINGS_A_MESSAGE
from tests.support.page import rewrite, section, table

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


COMMAND = "make bench"
"""What the page says it is written by."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Play lines of the bench: Headrace and others do the same work in turns, and what counts is units of work"
        " by CPU-seconds of the process under test. Exits with 1 if something that is asked is not reached.",
        epilog="Lines: " + ", ".join(LINES),
    )
    parser.add_argument("lines", nargs="*", metavar="LINE", help="all of them, if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="of each line; the median counts (default: 5)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where every figure goes, beside those of lines that are not played",
    )
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="where each line is drawn, as SVG")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="which page the tables go into, each in the place of its last one",
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
    console, found, before = Console(width=120), list[Shown](), pace()
    # `together` looks at what was found only when all lines have been played.
    for result in chain(_played(arguments.lines or LINES, arguments.rounds), together(found)):
        found.append(result)
        after = pace()
        about = f"{machine()}, which added ten million numbers in {before:.0f} ms before and {after:.0f} ms after; {arguments.rounds} rounds, medians."
        before = after
        console.print(result.table(), about, sep="\n", end="\n\n")
        # At once: what took half an hour is not lost to the line that follows.
        if arguments.json:
            save(result, about, arguments.json)
        if arguments.page:
            write(result, about, arguments.page)
    if arguments.plot:
        _draw(found, arguments.plot)
    for what, where in (
        ("Every figure", arguments.json),
        ("Drawn", arguments.plot),
        ("Written", arguments.page),
    ):
        if where:
            console.print(f"{what}: {where}")
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


def save(result: Shown, about: str, file: Path) -> None:
    """In the place of what was found before; other lines stay."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = msgspec.json.decode(file.read_bytes())["results"] if file.exists() else ()
    lines = {each["line"]: each for each in before}
    lines[result.line] = msgspec.to_builtins(result) | {"about": about}
    file.write_bytes(msgspec.json.format(msgspec.json.encode({"results": list(lines.values())})))


def _draw(found: Sequence[Shown], folder: Path) -> None:
    charts = importlib.import_module("tests.bench.charts")
    folder.mkdir(parents=True, exist_ok=True)
    for result in found:
        (folder / f"{_name(result)}.svg").write_bytes(charts.draw(result.chart()))


def write(result: Shown, about: str, page: Path) -> None:
    """In the place of the table that was there before; other lines stay."""
    sections = re.split("^### ", section(page, COMMAND), flags=re.MULTILINE)[1:]
    lines = {text.partition("\n")[0]: text.strip() for text in sections}
    lines[result.line] = _shown(result, about)
    rewrite(page, COMMAND, "\n\n".join(f"### {text}" for text in lines.values()))


def _shown(result: Shown, about: str) -> str:
    """A table, in Markdown."""
    shown = result.table()
    # In the terminal the first header is the title, and what has to be said of the whole.
    first, *columns = [str(column.header) for column in shown.columns]
    rows = zip(*(column.cells for column in shown.columns), strict=True)
    parts = [
        result.line,
        first.removeprefix(result.line).strip(),
        table(["", *columns], rows),
        str(shown.caption or ""),
        about,
    ]
    return "\n\n".join(filter(None, parts))


def _name(result: Shown) -> str:
    return re.sub("[^a-z0-9]+", "-", result.line.lower()).strip("-")


if __name__ == "__main__":
    main()
