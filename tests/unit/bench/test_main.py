"""What a line found takes the place of what it found before; what other lines found stays."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.bench.__main__ import COMMAND, save, write
from tests.bench.line import OURS, Figure, Result
from tests.support import page

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"


def _result(line: str, work: int) -> Result:
    return Result(line, "rows", {OURS: [Figure(work, 1.0, 1.0)]})


@pytest.fixture(name="copy")
def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(PAGE, tmp_path))


def test_the_page_has_the_newest_table_of_each_line(copy: Path):
    """A line stands where it stood, a new one at the end, and all that is not a line's is untouched."""
    titles = re.findall("^### (.*)", page.section(copy, COMMAND), re.MULTILINE)
    before = copy.read_text()
    write(_result(titles[1], 1234), "another machine", copy)
    write(_result("brand new", 5678), "this machine", copy)
    written = page.section(copy, COMMAND)
    assert re.findall("^### (.*)", written, re.MULTILINE) == [*titles, "brand new"]
    assert "1,234" in written.split("### ")[2]
    assert "another machine" in written.split("### ")[2]
    assert written.split("### ")[3] == before.split("### ")[3]
    assert copy.read_text().partition("### ")[0] == before.partition("### ")[0]
    assert copy.read_text().rpartition("<!-- ")[2] == before.rpartition("<!-- ")[2]


def test_the_file_has_the_newest_figures_of_each_line(tmp_path: Path):
    """The first line makes the file."""
    file = tmp_path / "made" / "bench.json"
    for line, work in ("sink", 1), ("process", 2), ("sink", 3):
        save(_result(line, work), f"{work} rounds", file)
    found = msgspec.json.decode(file.read_bytes())["results"]
    assert [(each["line"], each["about"], each["figures"][OURS][0]["work"]) for each in found] == [
        ("sink", "3 rounds", 3),
        ("process", "2 rounds", 2),
    ]
