"""What a size of the bench is judged by."""

from tests.bench.held import Held


def test_a_size_beyond_the_most_is_said():
    """Each size that is larger than allowed is a sentence; one that is as large is not."""
    held = Held("edge", "MB", {"few devices": 90, "some devices": 150, "many devices": 151}, 150)
    assert held.missed() == ["edge: 151 MB with many devices, 150 are allowed"]
