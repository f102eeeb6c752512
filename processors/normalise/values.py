"""Bodies and times as devices write them."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from processors.normalise.unusable import Unusable
from schemas.dead_letter import Reason
from schemas.raw_message import RawMessage
from schemas.reading import EARLIEST_US, LATEST_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOTNET_FORMATS = ("%m/%d/%y %H:%M:%S %z", "%m/%d/%Y %H:%M:%S %z")


def parsed(raw: RawMessage) -> Any:
    """The body as JSON values.

    Raises:
        Unusable: it is not JSON.

    """
    try:
        return msgspec.json.decode(raw.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable(Reason.MALFORMED, f"the body is not JSON: {error}") from error


def instant(text: str) -> int | None:
    """A time as an SDK writes it, in microseconds since 1970; None if it is no time.

    ISO 8601 with any number of fraction digits, without an offset meaning UTC; and the form of Microsoft's .NET SDK, month
    first, `11/21/26 9:05:00 +00:00`.
    """
    found = None
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text.upper())
    for form in _DOTNET_FORMATS if found is None else ():
        with contextlib.suppress(ValueError):
            found = datetime.strptime(text, form)  # noqa: DTZ007 - the format has %z
            break
    if found is None:
        return None
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def storable(microseconds: int) -> int:
    """The same time, if ClickHouse can hold it.

    Raises:
        Unusable: it lies before 1900 or after 2299.

    """
    if not EARLIEST_US <= microseconds <= LATEST_US:
        raise Unusable(Reason.UNUSABLE_TIME, "the time of measurement is not between the years 1900 and 2299")
    return microseconds
