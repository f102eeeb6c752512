"""Report: the matrix as rows on a terminal, and as a page of the documentation."""

from collections.abc import Sequence

from tests.crash.cells import SENTENCES, Cell
from tests.crash.play import Result

_WIDTH = 42


def header() -> str:
    """What the columns are."""
    return f"{'cell':<{_WIDTH}} result     accepted  trouble  repeats  lost  twice  seconds"


def row(result: Result) -> str:
    """One cell on one line, and a line for each thing that is wrong."""
    wrong = result.verdict.findings
    line = (
        f"{result.cell.name:<{_WIDTH}} {outcome(result):<9} {result.accepted:>9,} {result.trouble:>8,}"
        f" {result.repeats:>8,} {result.verdict.lost:>5} {result.verdict.doubled:>6} {result.seconds:>8.1f}"
    )
    return "\n".join([line, *(f"    {finding}" for finding in wrong)])


def outcome(result: Result) -> str:
    """In a word."""
    if result.cell.broken:
        return "expected" if result.verdict.findings else "mended"
    return "WRONG" if result.verdict.findings else "exact"


def passed(result: Result) -> bool:
    """Whether the cell went as it should; one that is known to be broken has to be."""
    return bool(result.verdict.findings) == bool(result.cell.broken)


def totals(results: Sequence[Result], undecided: Sequence[str]) -> str:
    """The closing line."""
    exact = sum(not result.verdict.findings for result in results)
    return (
        f"{len(results) + len(undecided)} cells: {exact} exact, {len(results) - exact} wrong, {len(undecided)} without a"
        f" verdict; {sum(r.accepted for r in results):,} messages accepted, {sum(r.verdict.lost for r in results)} values"
        f" lost, {sum(r.verdict.doubled for r in results)} stored twice."
    )


def markdown(results: Sequence[Result], undecided: Sequence[str]) -> str:
    """The table of the documentation."""
    lines = [
        totals(results, undecided),
        "",
        "| cell | accepted | trouble | repeats | lost | twice | result |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for result in results:
        verdict = result.verdict
        lines.append(
            f"| `make crash CELL={result.cell.name}` | {result.accepted} | {result.trouble} | {result.repeats} |"
            f" {verdict.lost} | {verdict.doubled} | {outcome(result)} |"
        )
    lines += [f"| `make crash CELL={name}` | | | | | | no verdict |" for name in undecided]
    return "\n".join(lines) + "\n"


def listing(cells: Sequence[Cell]) -> str:
    """Every cell, and what happens in it."""
    return "\n".join(f"{cell.name:<{_WIDTH}} {SENTENCES[cell.plot]}" for cell in cells)
