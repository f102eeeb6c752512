"""Progress as commit metadata."""

import pytest

from sinks.progress import Progress


@pytest.mark.parametrize(
    "progress",
    [
        Progress(),
        Progress(topic_id="t", stored={"a": 0, "b": (1 << 63) - 1}),
        Progress(topic_id="t", stored={"a": 7}, pending=(3, 4)),
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


def test_three_dialects_fit():
    """Progress of three dialects takes a tenth of what Kafka keeps."""
    ids = [f"fGzPVaZwSkSJkN2MNDpn2{n}" for n in "ABC"]
    largest = (1 << 63) - 1
    progress = Progress(topic_id=ids[0], stored=dict.fromkeys(ids, largest), pending=(largest, largest))

    assert len(progress.encode()) < 409
