"""Progress as commit metadata."""

import msgspec
import pytest

from sinks.progress import MOST_UNWRITABLE, Pending, Progress


@pytest.mark.parametrize(
    "progress",
    [
        Progress(),
        Progress(topic_id="t", stored={"a": 0, "b": (1 << 63) - 1}),
        Progress(
            topic_id="t",
            stored={"a": 7},
            pending=Pending(first=3, last=4, epoch="a", done=2, cuts=(5, 9), unwritable=(0, 1)),
        ),
    ],
)
def test_progress_comes_back(progress: Progress):
    """What was encoded is decoded to the same."""
    assert Progress.decode(progress.encode()) == progress


@pytest.mark.parametrize("metadata", [None, ""])
def test_no_metadata_is_a_beginning(metadata: str | None):
    """A group that never committed begins with nothing stored."""
    assert Progress.decode(metadata) == Progress()


def test_a_newer_version_is_readable():
    """A field that a later version added is no reason to forget the others."""
    assert Progress.decode('{"topic_id":"t","stored":{"a":7},"of_tomorrow":[1]}').stored == {"a": 7}


def test_an_older_version_is_readable():
    """Fields that an earlier version did not write have their defaults."""
    assert Progress.decode('{"topic_id":"t"}') == Progress(topic_id="t")


@pytest.mark.parametrize(
    "metadata", ["x", "[]", '{"pending":"3-4"}', '{"stored":{"a":"7"}}', '{"pending":[1]}']
)
def test_foreign_metadata_is_a_value_error(metadata: str):
    """What somebody else committed is named as it is."""
    with pytest.raises(ValueError, match="is no progress of a sink"):
        Progress.decode(metadata)


def _largest(pending: Pending) -> Progress:
    ids = [f"fGzPVaZwSkSJkN2MNDpn2{n}" for n in "ABC"]
    return Progress(topic_id=ids[0], stored=dict.fromkeys(ids, (1 << 63) - 1), pending=pending)


def test_three_dialects_fit():
    """Progress of three dialects takes a tenth of what Kafka keeps."""
    largest = (1 << 63) - 1

    assert len(_largest(Pending(first=largest, last=largest, epoch="0")).encode()) < 409


def test_a_batch_that_is_cut_fits():
    """With as many messages given up, and cuts between the others, as there may be, progress fits into what Kafka keeps."""
    largest, messages = (1 << 63) - 1, 1_048_448
    pending = Pending(first=largest, last=largest, epoch="abcdefghijklmnop")
    for index in range(MOST_UNWRITABLE):
        pending = msgspec.structs.replace(pending, unwritable=(*pending.unwritable, messages - index))
    while (piece := pending.piece(messages)).end - piece.first > 1:
        pending = pending.halved(piece)

    assert len(pending.cuts) == 19
    assert len(_largest(pending).encode()) < 4096 // 2
