"""Each run writes its own section of the page, and only a whole one does."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.crash import report
from tests.crash.__main__ import UNDECIDED, WRONG, exit_code
from tests.crash.cells import CELLS
from tests.crash.mutations import Notice, markdown
from tests.crash.oracle import Verdict
from tests.crash.play import Played, Result
from tests.crash.soak import Tally
from tests.support import page

PAGE = Path(__file__).parents[2] / "docs" / "crash-suite.md"
COMMANDS = ("make crash", "make soak", "make mutants")


def _result(*findings: str) -> Result:
    return Result(
        cell=CELLS["sink-kill-table-inserted"],
        verdict=Verdict(len(findings), 0, findings),
        accepted=1234,
        trouble=5,
        repeats=6,
        seconds=7.0,
    )


@pytest.fixture(name="copy")
def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(PAGE, tmp_path))


def test_sections_do_not_disturb_each_other(copy: Path):
    """Each command's section is where it was, and says what it said last, in whatever order they are written."""
    for round_ in ("first", "second"):
        for command in COMMANDS:
            page.rewrite(copy, command, f"{round_} of {command}\n")

    text = copy.read_text()
    assert [1, 1, 1] == [text.count(f"\n\nsecond of {command}\n\n<!--") for command in COMMANDS]
    assert "first of" not in text
    headings = [line for line in PAGE.read_text().splitlines() if line.startswith("#")]
    assert headings == [line for line in text.splitlines() if line.startswith("#")]


@pytest.mark.parametrize("text", ["", "<!-- The table above is written by `make soak`. -->\n"])
def test_a_page_without_the_place_is_left_alone(copy: Path, text: str):
    """A section is not put just anywhere."""
    copy.write_text(text)

    with pytest.raises(page.NoPlace):
        page.rewrite(copy, "make soak", "section")

    assert text == copy.read_text()


def test_numbers_stand_on_the_right():
    """A column of a table with a number in it stands on the right; what would end a cell is escaped."""
    assert "| a | b |\n| --- | --: |\n| x\\|y | 1,000 |\n| z |  |" == page.table(
        ("a", "b"), [("x|y", 1000), ("z", "")]
    )


@pytest.mark.parametrize(
    ("played", "code"),
    [
        (Played(results=[_result()]), 0),
        (Played(results=[_result("lost")]), WRONG),
        (Played(results=[_result()], differences=["1 not stored"]), WRONG),
        (Played(results=[_result()], differences=["1 not stored"], undecided=["sink-late-readings"]), WRONG),
        (Played(results=[_result()], undecided=["sink-late-readings"]), UNDECIDED),
        (Played(results=[_result()], unverified=1), UNDECIDED),
    ],
)
def test_a_difference_is_wrong(played: Played, code: int):
    """What `headrace verify` finds is as wrong as a loss; what nobody could judge is neither right nor wrong."""
    assert code == exit_code(played)


def test_what_is_wrong_is_on_the_page():
    """The section of the matrix has each cell, and what `headrace verify` says of all of them."""
    section = report.markdown(
        Played(results=[_result("lost")], undecided=["sink-late-readings"], differences=["1 not stored"])
    )

    assert "2 cells: 0 exact, 1 wrong, 1 without a verdict; 1,234 messages accepted, 1 values lost" in section
    assert "1 not stored" in section
    assert "| `make crash CELL=sink-kill-table-inserted` | 1,234 | 5 | 6 | 1 | 0 | WRONG |" in section
    assert "| `make crash CELL=sink-late-readings` |  |  |  |  |  | no verdict |" in section


def test_a_soak_has_one_row():
    """The section of a soak counts what happened, and names what is wrong."""
    tally = Tally(faults=Counter(kill=3), accepted=1234, lost=1, findings=["1 accepted values are lost"])

    section = tally.markdown(minutes=30.0, seed=7)

    assert "| 30 | 7 | 3 | 1,234 | 0 | 0 | 1 | 0 | no difference |" in section
    assert "- 1 accepted values are lost\n" in section


def test_mutations_have_the_cell_that_notices():
    """The section of the mutations has what the cell found; a mutation that nobody noticed says so."""
    section = markdown({"one": Notice("sink-late-readings", "1 values are stored twice"), "other": None})

    assert "| `one` | `sink-late-readings` | 1 values are stored twice |\n| `other` | none |  |" in section
