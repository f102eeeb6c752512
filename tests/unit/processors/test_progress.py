import pytest
from faust.types import TP

from processors.progress import Progress

HERE, THERE = TP("raw-graph", 3), TP("raw-graph", 4)


class Clock:
    """A clock that stands until it is told to go on."""

    now = 0.0

    def __call__(self) -> float:
        """See `time.monotonic`."""
        return self.now


@pytest.fixture(name="clock")
def _clock():
    """It begins at 0."""
    return Clock()


@pytest.fixture(name="progress")
def _progress(clock):
    """Nothing was taken yet."""
    return Progress(clock)


def test_what_is_not_committed_in_time_is_trouble(progress, clock):
    """Records that were taken and not committed are reported, by partition and offset."""
    progress.taken(HERE, 100)
    clock.now = 11

    assert progress.trouble(10).startswith("raw-graph [3] has stood still for 11 s: records up to offset 99")


def test_an_idle_partition_is_no_trouble(progress, clock):
    """Where everything that was taken is committed, time does not matter."""
    progress.taken(HERE, 100)
    progress.committed(HERE, 100)
    clock.now = 1000

    assert "" == progress.trouble(10)


def test_patience_begins_with_the_first_that_waits(progress, clock):
    """After an idle time, a record has its full patience; those that follow it get no more."""
    progress.taken(HERE, 100)
    progress.committed(HERE, 100)
    clock.now = 1000
    progress.taken(HERE, 110)
    clock.now = 1009
    progress.taken(HERE, 120)
    early = progress.trouble(10)
    clock.now = 1011

    assert ("", True) == (early, bool(progress.trouble(10)))


def test_an_offset_that_moves_is_progress(progress, clock):
    """A partition that is behind, and moves, is no trouble."""
    progress.taken(HERE, 1000)
    for moment in range(0, 100, 9):
        clock.now = moment
        progress.committed(HERE, moment)

    assert "" == progress.trouble(10)


def test_one_partition_does_not_hide_another(progress, clock):
    """A partition that stands still is trouble, however well another one does."""
    progress.taken(HERE, 100)
    progress.taken(THERE, 100)
    clock.now = 11
    progress.committed(THERE, 100)

    assert progress.trouble(10).startswith("raw-graph [3]")


def test_a_reason_excuses(progress, clock):
    """A rebuild or a hold is no trouble; when it is over, patience begins anew."""
    progress.taken(HERE, 100)
    progress.excuse(HERE)
    clock.now = 1000
    excused = progress.trouble(10)
    progress.expect(HERE)
    fresh = progress.trouble(10)
    clock.now = 1011

    assert ("", "", True) == (excused, fresh, bool(progress.trouble(10)))


def test_a_redelivery_of_what_is_committed_is_no_trouble(progress, clock):
    """Records before the committed offset that come again need no commit."""
    progress.committed(HERE, 100)
    progress.taken(HERE, 90)
    clock.now = 1000

    assert "" == progress.trouble(10)


def test_a_partition_that_is_gone_is_no_trouble(progress, clock):
    """After a rebalance nothing is outstanding."""
    progress.taken(HERE, 100)
    progress.forget()
    clock.now = 1000

    assert "" == progress.trouble(10)
