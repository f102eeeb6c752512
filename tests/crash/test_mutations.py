"""Mutations keep up with the source that they break."""

import shutil

import pytest

from tests.crash.cells import CELLS
from tests.crash.crew import CODE
from tests.crash.mutations import MUTATIONS, Edit, Moved


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_breaks_the_source_of_today(mutation, tmp_path):
    """Each text that a mutation replaces is there once, what comes of it is Python, and its cells exist."""
    for file in {edit.file for edit in mutation.edits}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CODE / file, tmp_path / file)

    for edit in mutation.edits:
        edit.apply(tmp_path)

    for edit in mutation.edits:
        compile((tmp_path / edit.file).read_text(), edit.file, "exec")
    assert set(mutation.cells) <= CELLS.keys()


def test_a_text_that_moved_is_noticed(tmp_path):
    """A mutation that would change nothing is an error."""
    (tmp_path / "module.py").write_text("moved = True\n")

    with pytest.raises(Moved):
        Edit("module.py", "here = True", "here = False").apply(tmp_path)
