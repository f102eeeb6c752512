"""The readings in a ThingsBoard message: flat, timed, or a list of either."""

import math
from collections.abc import Iterator
from typing import Any

from processors.normalise.unusable import Unusable
from processors.normalise.values import parsed, storable
from schemas.dead_letter import Reason
from schemas.raw_message import RawMessage
from schemas.reading import Reading, reading


def readings(raw: RawMessage) -> Iterator[Reading]:
    """Quantity is the key. An object with both `ts` and `values` is timed; any other is flat, at the time of receipt.

    Raises:
        Unusable: not an object or a list of objects, `values` is no object, or `ts` is no time in milliseconds.

    """
    body = parsed(raw)
    for entry in body if isinstance(body, list) else [body]:
        if not isinstance(entry, dict):
            raise Unusable(Reason.MALFORMED, "the body is not an object or a list of objects")
        values, measured_at = entry, raw.received_at
        if "ts" in entry and "values" in entry:
            values, measured_at = entry["values"], _instant(entry["ts"])
            if not isinstance(values, dict):
                raise Unusable(Reason.MALFORMED, "values is not an object")
        for key, value in values.items():
            if value is not None:
                yield reading(key, value, measured_at)


def _instant(ts: Any) -> int:
    if isinstance(ts, bool) or not isinstance(ts, int | float | str):
        raise Unusable(Reason.MALFORMED, f"ts is not a number: {ts!r}")
    try:
        milliseconds = math.trunc(float(ts)) if not isinstance(ts, int) else ts
    except (ValueError, OverflowError) as error:
        raise Unusable(Reason.MALFORMED, f"ts is not a number: {ts!r}") from error
    return storable(milliseconds * 1000)
