"""Device: how one device proves who it is, and what is known about it."""

from collections.abc import Mapping, Sequence

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
