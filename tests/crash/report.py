"""Report: the matrix as rows on a terminal, and as a page of the documentation."""

from collections.abc import Sequence

from tests.crash.cells import SENTENCES, Cell
from tests.crash.play import Played, Result
from tests.support import page

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


def right(played: Played) -> bool:
    """Whether nothing is wrong, as far as there is a verdict."""
    return not played.differences and all(map(passed, played.results))


def exact(played: Played) -> bool:
    """Whether there is a verdict about everything, and nothing is wrong."""
    return right(played) and not played.undecided and not played.unverified


def totals(played: Played) -> str:
    """The closing lines."""
    results, undecided = played.results, len(played.undecided)
    well = sum(not result.verdict.findings for result in results)
    return (
        f"{len(results) + undecided} cells: {well} exact, {len(results) - well} wrong, {undecided} without a"
        f" verdict; {sum(r.accepted for r in results):,} messages accepted, {sum(r.verdict.lost for r in results)} values"
        f" lost, {sum(r.verdict.doubled for r in results)} stored twice. {_verified(played)}"
    )


def _verified(played: Played) -> str:
    """What `headrace verify` said."""
    if played.differences:
        return "; ".join(played.differences)
    return f"headrace verify {'could not judge all of it' if played.unverified else 'found no difference'}."


def markdown(played: Played) -> str:
    """The section of the documentation."""
    columns = ("cell", "accepted", "trouble", "repeats", "lost", "twice", "result")
    rows = [
        (
            _played_by(result.cell.name),
            *(result.accepted, result.trouble, result.repeats),
            *(result.verdict.lost, result.verdict.doubled),
            outcome(result),
        )
        for result in played.results
    ]
    rows += [(_played_by(name), "", "", "", "", "", "no verdict") for name in played.undecided]
    return f"{totals(played)}\n\n{page.table(columns, rows)}"


def _played_by(cell: str) -> str:
    return f"`make crash CELL={cell}`"


def listing(cells: Sequence[Cell]) -> str:
    """Every cell, and what happens in it."""
    return "\n".join(f"{cell.name:<{_WIDTH}} {SENTENCES[cell.plot]}" for cell in cells)
