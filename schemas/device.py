"""Device: how one device proves who it is, and what is known about it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from schemas.codec import Record


class Device(Record, frozen=True, kw_only=True):
    """An entry of the registry. A tombstone (null value) under the same key removes it."""

    tenant: str
    device: str
    enabled: bool = True
    token_sha256s: Sequence[str] = []
    certificate_sha256s: Sequence[str] = []
    components: Sequence[str] = []
    place: str = ""
    labels: Mapping[str, str] = {}


Known = tuple[str, str]
"""What readings carry of a device: its place, and its labels as a JSON object."""


def known_of(device: Device | None) -> Known:
    """Place and labels of a device; both empty for one that nobody registered. Equal ones are one object, mostly."""
    return UNKNOWN if device is None else _known(device.place, tuple(sorted(device.labels.items())))


@lru_cache(maxsize=4096)
def _known(place: str, labels: tuple[tuple[str, str], ...]) -> Known:
    return place, msgspec.json.encode(dict(labels)).decode()


UNKNOWN: Known = ("", "{}")
