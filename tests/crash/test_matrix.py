"""A share of the matrix: `make crash` plays all of it."""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.crash.cells import CELLS, SENTENCES, Plot
from tests.crash.play import play
from tests.crash.scenes import SCENES
from tests.crash.world import World, world

QUICK = [cell for cell in CELLS.values() if cell.quick]
TURNS = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("crash")) as here:
        yield here


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("cell", QUICK, ids=lambda cell: cell.name)
async def test_what_was_accepted_is_stored_once(here: World, cell):
    """Whatever happens to the pipeline, each accepted message is stored once, in every table and roll-up."""
    result = await play(here, cell, turn=next(TURNS))

    assert [] == result.verdict.findings


@pytest.mark.asyncio(loop_scope="module")
async def test_what_happened_is_accounted_for(here: World):
    """After all of it, the raw log, `readings` and ClickHouse agree, message by message."""
    assert [] == await here.differences()


def test_every_plot_can_be_played():
    """A plot has a sentence, a scene, and a cell."""
    assert set(Plot) == set(SENTENCES) == set(SCENES) == {cell.plot for cell in CELLS.values()}
