"""Add what we know about the device."""

from functools import lru_cache

import msgspec

from processors import metrics
from schemas.device import Device

LABEL_SETS = 4096
"""Sets of labels that are kept as JSON: most devices of a fleet share one of a few."""


def known_of(device: Device | None) -> tuple[str, str]:
    """Place and labels (a JSON object) of a device, as of now; both empty for one that nobody registered."""
    return ("", "{}") if device is None else (device.place, _labels(tuple(device.labels.items())))


@lru_cache(LABEL_SETS)
def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    return msgspec.json.encode(dict(sorted(pairs))).decode()


metrics.LABEL_SETS.set_function(lambda: _labels.cache_info().currsize)
