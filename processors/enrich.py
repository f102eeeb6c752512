"""Add what we know about the device."""

from functools import lru_cache

import msgspec

from schemas.device import Device


def known_of(device: Device | None) -> tuple[str, str]:
    """Place and labels (a JSON object) of a device, as of now; both empty for one that nobody registered."""
    return ("", "{}") if device is None else (device.place, _labels(tuple(device.labels.items())))


@lru_cache(maxsize=4096)
def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    return msgspec.json.encode(dict(sorted(pairs))).decode()
