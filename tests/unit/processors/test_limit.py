import pytest

from processors.limit import DeadLetterLimit
from schemas.reading_block import Fate, MessageRow


def rows(pattern):
    """A row for each letter: S is stored, D is dead."""
    fates = {"S": Fate.STORED, "D": Fate.DEAD_LETTER}
    return [
        MessageRow(offset=n, fate=fates[letter], logged_at=0, dialect="graph", reason="malformed")
        for n, letter in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("chunks", "exceeded"),
    [
        (["SSSSSSSSSS"], False),
        (["DDDDD"], False),
        (["DDDDDD"], True),
        (["DDDSS", "SSDDD"], True),
        (["DDD", "SSSSSSS", "DDD"], False),
        (["DDDDDD" + "S" * 20], True),
        (["DS" * 50], False),
        (["DDDDD", "S" * 10, "DDDDD"], False),
    ],
)
def test_more_than_the_share_of_the_last_ones_exceeds(chunks, exceeded):
    """With a half of ten messages: more than five dead letters among any ten that follow each other."""
    limit = DeadLetterLimit(share=0.5, window=10)

    found = [limit.exceeded(rows(chunk)) for chunk in chunks]

    assert exceeded == any(found)


def test_a_share_of_one_is_never_exceeded():
    """Who wants no limit sets it to 1."""
    assert not DeadLetterLimit(share=1, window=10).exceeded(rows("D" * 100))


def test_a_limit_says_how_many_and_why():
    """The sentence holds the share as it is now, and the most frequent reason."""
    limit = DeadLetterLimit(share=0.5, window=10)
    limit.exceeded(rows("DDDDDDDSSS"))

    assert "7 of the last 10 messages were dead letters (most of them malformed)" == str(limit)
