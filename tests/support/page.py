"""Page: each run of the suite writes its own section of a page of the documentation, and leaves the rest as it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path


class NoPlace(RuntimeError):
    """The page does not have the two lines that a section stands between."""


def section(page: Path, command: str) -> str:
    """What stands in the place of the command.

    Raises:
        NoPlace: the page has no such place, or several.

    """
    return _cut(page, command)[1]


def rewrite(page: Path, command: str, text: str) -> None:
    """Put a section into the place of the one that the same command wrote before.

    Raises:
        NoPlace: as `section`.

    """
    before, _, after = _cut(page, command)
    page.write_text(f"{before}\n{text.strip()}\n\n{after}")


def _cut(page: Path, command: str) -> tuple[str, str, str]:
    """The page until the place, what stands there, and the rest."""
    begin = f"<!-- The table below is written by `{command}`. -->\n"
    end = f"<!-- The table above is written by `{command}`. -->\n"
    text = page.read_text()
    before, _, rest = text.partition(begin)
    found, _, after = rest.partition(end)
    if (text.count(begin), text.count(end), rest.count(end)) != (1, 1, 1):
        raise NoPlace(f"{page} does not have, once and in this order:\n{begin}{end}")
    return before + begin, found, end + after


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; numbers stand on the right."""
    rows = [list(row) for row in rows]
    right = [any(isinstance(row[index], int) for row in rows) for index in range(len(columns))]
    ruler = ["--:" if each else "---" for each in right]
    return "\n".join(map(_line, [columns, ruler, *rows]))


def _line(cells: Sequence[object]) -> str:
    texts = (f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(texts) + " |"
