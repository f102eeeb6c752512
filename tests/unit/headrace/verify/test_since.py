"""`--since`: what operators may write."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from headrace.verify.since import since

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("30s", datetime(2026, 11, 22, 10, 59, 30, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("3d", datetime(2026, 11, 19, 11, tzinfo=UTC)),
        ("2026-11-21T20:00+00:00", datetime(2026, 11, 21, 20, tzinfo=UTC)),
        ("2026-11-21T20:00Z", datetime(2026, 11, 21, 20, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood(text, expected):
    """A duration counts back from now, and a time stands for itself."""
    assert expected == since(text, NOW)


@pytest.mark.parametrize("text", ["", "h", "2 h", "-2h", "yesterday", "2w"])
def test_anything_else_is_refused(text):
    """What is neither is refused with what would be."""
    with pytest.raises(ValueError, match="neither a duration such as 90m"):
        since(text, NOW)
