"""Where a backfill cuts the log, and what it leaves out."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backfill import stretch
from headrace.backfill.stretch import Present, Refused, Stretch, batches, without
from headrace.scan import Record

WHOLE = Stretch(topic="raw-graph", topic_id="T", partition=0, first=100, end=200)


def records(first: int, sizes: Sequence[int]) -> list[Record]:
    """Consecutive records whose values have these sizes."""
    return [
        Record(partition=0, offset=first + index, timestamp=0, key=None, value=bytes(size), headers=())
        for index, size in enumerate(sizes)
    ]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(stretch, "BATCH_OFFSETS", 10)
    monkeypatch.setattr(stretch, "BATCH_BYTES", 100)


@given(first=st.integers(0, 30), sizes=st.lists(st.integers(0, 120), max_size=60), data=st.data())
def test_a_run_that_goes_on_cuts_as_the_first_did(first, sizes, data):
    """From whichever cut a run begins, it makes the batches that an undisturbed run makes from there on."""
    log = records(first, sizes)
    whole = list(batches(log))
    done = data.draw(st.integers(0, len(whole)))

    assert whole[done:] == list(batches(log[sum(map(len, whole[:done])) :]))


@given(first=st.integers(0, 30), sizes=st.lists(st.integers(0, 120), max_size=60))
def test_batches_are_all_of_the_log_and_bounded(first, sizes):
    """Nothing is left out, and no batch of several records is larger than the bound or goes over a multiple."""
    log = records(first, sizes)
    whole = list(batches(log))

    assert log == [each for batch in whole for each in batch]
    for batch in whole:
        assert len(batch) == 1 or sum(len(each.value or b"") for each in batch) <= 100
        assert batch[0].offset // 10 == batch[-1].offset // 10


def present(lowest: int, highest: int, count: int, until_highest: int, from_lowest: int) -> Present:
    """What a table holds of the stretch."""
    return Present(
        lowest=lowest, highest=highest, count=count, until_highest=until_highest, from_lowest=from_lowest
    )


@pytest.mark.parametrize(
    ("there", "left"),
    [
        (present(0, 0, 0, 0, 90), (100, 200)),
        (present(150, 199, 45, 90, 45), (100, 150)),
        (present(101, 140, 30, 30, 90), (141, 200)),
        (present(101, 198, 90, 90, 90), (200, 200)),
    ],
    ids=["nothing", "the end", "the beginning", "all"],
)
def test_what_is_there_is_left_out(there, left):
    """A run of messages at an end of the range that the table holds already is not written again."""
    missing = without(WHOLE, there, "readings")

    assert left == (missing.first, missing.end)


def test_a_range_with_holes_is_refused():
    """What is there in the middle cannot be left out, and the operator is told where it is."""
    with pytest.raises(
        Refused, match=r"readings holds 5 of the messages of raw-graph .0. 100-199, between 120 and 180"
    ):
        without(WHOLE, present(120, 180, 5, 60, 60), "readings")
