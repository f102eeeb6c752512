import asyncio
import threading
import time
from contextlib import contextmanager

import pytest
from faust.types import TP

from processors import watchdog as watching
from processors.progress import Progress
from processors.watchdog import Watchdog
from tests.support.processes import until

HERE = TP("raw-graph", 3)


@pytest.fixture(autouse=True)
def _short_period(monkeypatch):
    """Look often."""
    monkeypatch.setattr(watching, "PERIOD_SECONDS", 0.01)


@pytest.fixture(name="progress")
def _progress():
    """Nothing was taken yet."""
    return Progress(time.monotonic)


@contextmanager
def guarding(progress, *, patience=60, grace=60, vital=str):
    """A watchdog that sets an event instead of ending the process."""
    ended = threading.Event()
    with Watchdog(progress, patience=patience, grace=grace, vital=vital, end=ended.set) as watchdog:
        yield watchdog, ended


def test_offsets_that_stand_still_end_the_process(progress):
    """What was taken and is not committed within the patience ends the process."""
    progress.taken(HERE, 100)
    with guarding(progress, patience=0.05) as (_, ended):
        assert ended.wait(10)


def test_a_loop_that_hangs_ends_the_process(progress):
    """An event loop that does nothing any more ends the process, though nothing was taken."""
    loop = asyncio.new_event_loop()
    with guarding(progress, patience=0.05) as (watchdog, ended):
        watchdog.watch(loop)
        assert ended.wait(10)
    loop.close()


async def test_a_loop_that_runs_is_well(progress):
    """A loop that takes its turns is noticed."""
    with guarding(progress) as (watchdog, _):
        watchdog.watch(asyncio.get_running_loop())
        before = watchdog._beat
        await until(lambda: watchdog._beat > before)

        assert "" == watchdog.trouble(60)


def test_a_part_that_ended_quietly_ends_the_process(progress):
    """A vital part that is not what it should be for longer than the patience ends the process."""
    with guarding(progress, patience=0.05, vital=lambda: "Faust fetches no more") as (watchdog, ended):
        assert ended.wait(10)
        assert watchdog.trouble(0.05).startswith("Faust fetches no more, for")


def test_a_stop_that_hangs_is_ended(progress):
    """A process that was told to stop is ended when its grace is over."""
    with guarding(progress, grace=0.05) as (watchdog, ended):
        watchdog.leaving()
        assert ended.wait(10)


def test_a_stop_has_its_grace(progress):
    """While it stops, a process is not ended for what it leaves undone."""
    progress.taken(HERE, 100)
    with guarding(progress) as (watchdog, _):
        watchdog.leaving()

        assert "" == watchdog.trouble(0)


def test_health_tells_before_the_end(progress):
    """From half of the patience on, /health says what is wrong."""
    moments = iter([0.0, 40.0, 40.0, 40.0, 40.0])
    progress = Progress(lambda: next(moments))
    progress.taken(HERE, 100)
    watchdog = Watchdog(progress, patience=60, grace=60)

    assert ("", True) == (watchdog.trouble(60), bool(watchdog.alive()))
