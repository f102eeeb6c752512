"""Instants as operators type them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from headrace.instant import instant, milliseconds, spoken


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_a_time_is_in_utc(text, expected):
    """A time is what it says; without a zone it is UTC."""
    assert expected == instant(text)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("now", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_so_long_ago(text, ago):
    """A duration counts back from now."""
    before = datetime.now(UTC)
    assert before - ago <= instant(text) <= datetime.now(UTC) - ago


@pytest.mark.parametrize("text", ["", "yesterday", "5", "h", "-1h"])
def test_anything_else_is_refused(text):
    """What is neither is a mistake of the person who typed it."""
    with pytest.raises(typer.BadParameter):
        instant(text)


def test_what_is_spoken_is_an_instant():
    """A time that a command prints can be typed again."""
    assert 1_769_860_800_000 == milliseconds(instant(spoken(1_769_860_800_000)))
