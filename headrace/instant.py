"""Instants as operators type them: `2h` ago, or a time in ISO 8601."""

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

FORMS = "Such as 30m, 2h or 7d ago, or 2026-01-31T12:00:00Z; a time without a zone is UTC."
"""For the help of an option."""


def instant(text: str) -> datetime:
    """The instant that a person means by a text, in UTC.

    Raises:
        typer.BadParameter: neither a duration nor a time.

    """
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if text == "now":
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no instant. {FORMS}") from error
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def milliseconds(when: datetime) -> int:
    """Since 1970: as Kafka counts."""
    return int(when.timestamp() * 1000)


def spoken(time_ms: int) -> str:
    """Milliseconds since 1970 as a person reads them; the text is an instant again."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
