"""A stack that is given up is judged before."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.stack.errors import StackError
from tests.crash import shards
from tests.crash.cells import CELLS, Cell
from tests.crash.crew import Failed
from tests.crash.oracle import Verdict
from tests.crash.play import Result

FIRST, SECOND, THIRD = list(CELLS.values())[:3]


class Stage:
    """Stands for the stacks, what is played on them, and what `headrace verify` says of each."""

    def __init__(
        self, *verified: list[str] | Failed, fails: Sequence[Cell] = (), starts: bool = True
    ) -> None:
        self.events: list[str] = []
        self._verified = list(verified)
        self._fails = fails
        self._starts = starts

    @contextlib.asynccontextmanager
    async def world(self, _: Path) -> AsyncIterator[Any]:
        """As `tests.crash.world.world`."""
        if not self._starts:
            raise StackError("no room")
        self.events.append("start")
        yield SimpleNamespace(differences=self._differences)

    async def _differences(self) -> list[str]:
        self.events.append("verify")
        found = self._verified.pop(0)
        if isinstance(found, Failed):
            raise found
        return found

    async def play(self, _: Any, cell: Cell, *, turn: int) -> Result:
        """As `tests.crash.play.play`."""
        self.events.append(cell.name)
        if cell in self._fails:
            raise Failed("no verdict")
        return Result(cell=cell, verdict=Verdict(0, 0, []), accepted=turn, trouble=0, repeats=0, seconds=0.0)


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.tempfile, "mkdtemp", lambda prefix: str(tmp_path / prefix))
    monkeypatch.setattr(shards.shutil, "rmtree", lambda _: None)


def _set(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(shards, "world", stage.world)
    monkeypatch.setattr(shards, "play", stage.play)
    return stage


def test_a_stack_is_verified_before_it_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """A cell without a verdict ends its stack, but what was played there before it is held against the log first."""
    stage = _set(Stage(["1 not stored"], [], fails=[SECOND]), monkeypatch)

    played = shards.play_shard([FIRST, SECOND, THIRD])

    names = [FIRST.name, SECOND.name, "verify", "start", THIRD.name, "verify"]
    assert ["start", *names] == stage.events
    assert (["1 not stored"], [SECOND.name], 0) == (played.differences, played.undecided, played.unverified)
    assert [FIRST, THIRD] == [result.cell for result in played.results]


def test_what_cannot_be_verified_is_counted(monkeypatch: pytest.MonkeyPatch):
    """A stack that is too broken to be held against the log has no verdict, and the next one is played on."""
    _set(Stage(Failed("ended with 2"), [], fails=[FIRST]), monkeypatch)

    played = shards.play_shard([FIRST, SECOND])

    assert ([], [FIRST.name], 1) == (played.differences, played.undecided, played.unverified)


def test_a_stack_that_does_not_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch):
    """Where no stack starts, no cell has a verdict, and that has an end."""
    _set(Stage(starts=False), monkeypatch)

    assert [FIRST.name, SECOND.name] == shards.play_shard([FIRST, SECOND]).undecided
