"""`--since`: how long ago, or when."""

import re
from datetime import datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+)([smhd])")


def since(text: str, now: datetime) -> datetime:
    """The time that a duration (`90m`, `2h`, `3d`) or an ISO 8601 time says; one without an offset is local.

    Raises:
        ValueError: it is neither.

    """
    if found := _DURATION.fullmatch(text):
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        return datetime.fromisoformat(text).astimezone(now.tzinfo)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither a duration such as 90m, 2h or 3d nor a time such as 2026-11-21T20:00"
        ) from error
