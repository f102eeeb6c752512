"""Devices in memory: of each what its process asks for, and nothing else, since a fleet is large."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

import msgspec

from schemas.device import UNKNOWN, Device, Known, known_of


class Speaker(msgspec.Struct, frozen=True, gc=False):
    """A device as an edge knows it: who it is, and what it may speak by; not where it stands."""

    tenant: str
    device: str
    enabled: bool
    components: Sequence[str]
    credentials: Sequence[bytes]
    """A digest each, as `_digest` and `_certificate` make them."""


class Devices(Protocol):
    """What an edge asks. Every answer comes from memory, at once."""

    def by_id(self, tenant: str, device: str) -> Speaker | None:
        """The enabled device of that id."""

    def by_token(self, token: str) -> Speaker | None:
        """The enabled device that this access token belongs to."""

    def by_certificate(self, der: bytes) -> Speaker | None:
        """The enabled device that this X.509 certificate (DER) was registered for."""


class Places(Protocol):
    """What a processor asks."""

    def known(self, tenant: str, device: str) -> Known:
        """Place and labels of the enabled device of that id; both empty where there is none."""


class DeviceTable:
    """Who may speak, by each thing that a device can be known by.

    A credential belongs to the device that named it last. Memory: about 350 bytes a device with one credential.
    """

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._by_id: dict[str, dict[str, Speaker]] = {}
        """Of each tenant: a tuple for each device would be a tenth of the memory."""
        self._by_credential: dict[bytes, Speaker] = {}
        for device in devices:
            self.put(device)

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def put(self, device: Device) -> None:
        """Add a device, or replace what was known about it.

        Others look meanwhile: there is no moment at which a device that stays is not known.
        """
        speaker = _speaker(device)
        known = self._by_id.get(device.tenant, {}).get(device.device)
        self._by_id.setdefault(speaker.tenant, {})[speaker.device] = speaker
        for credential in speaker.credentials:
            self._by_credential[credential] = speaker
        if known is not None:
            self._end(known)

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""
        known = self._by_id.get(tenant, {}).pop(device, None)
        if known is not None:
            self._end(known)

    def _end(self, former: Speaker) -> None:
        """Forget the credentials that still lead to what was known of a device."""
        for credential in former.credentials:
            if self._by_credential.get(credential) is former:
                del self._by_credential[credential]

    def by_id(self, tenant: str, device: str) -> Speaker | None:
        """See `Devices.by_id`."""
        return _enabled(self._by_id.get(tenant, {}).get(device))

    def by_token(self, token: str) -> Speaker | None:
        """See `Devices.by_token`."""
        # The hash of a guess says nothing about the hash that is stored: a plain look-up leaks no timing of use.
        digest = _digest if len(token) <= _SHORT else _digest.__wrapped__
        return _enabled(self._by_credential.get(digest(token)))

    def by_certificate(self, der: bytes) -> Speaker | None:
        """See `Devices.by_certificate`."""
        return _enabled(self._by_credential.get(_certificate(sha256(der).digest())))


_SHORT = 64
"""Characters of a token, as tokens are; the hash of a longer one is not remembered."""


KNOWN_TOKENS = 10_000
"""Whose hash is remembered: 350 bytes each."""


@lru_cache(KNOWN_TOKENS)
def _digest(token: str) -> bytes:
    """The hash of a token, as a credential."""
    return sha256(token.encode()).digest()


def _certificate(digest: bytes) -> bytes:
    """The hash of a certificate, as a credential: no token has that."""
    return b"x509" + digest


class PlaceTable:
    """Where each device stands, and its labels. Memory: about 100 bytes a device, and 200 more if no other has its labels."""

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._known: dict[str, dict[str, Known]] = {}
        for device in devices:
            self.put(device)

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def put(self, device: Device) -> None:
        """Add a device, or replace what was known about it."""
        self._known.setdefault(device.tenant, {})[device.device] = known_of(
            device if device.enabled else None
        )

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""
        self._known.get(tenant, {}).pop(device, None)

    def known(self, tenant: str, device: str) -> Known:
        """See `Places.known`."""
        return self._known.get(tenant, _NOBODY).get(device, UNKNOWN)


_NOBODY: Mapping[str, Known] = {}


def _speaker(device: Device) -> Speaker:
    """What many have in common is one object."""
    tokens = _digests(device.token_sha256s)
    certificates = map(_certificate, _digests(device.certificate_sha256s))
    return Speaker(
        tenant=sys.intern(device.tenant),
        device=device.device,
        enabled=device.enabled,
        components=tuple(map(sys.intern, device.components)),
        credentials=(*tokens, *certificates),
    )


def _digests(named: Iterable[str]) -> Iterator[bytes]:
    """What is not hexadecimal is the digest of nothing, and nobody is known by it. The rest of its entry holds: it may revoke."""
    for text in named:
        with contextlib.suppress(ValueError):
            yield bytes.fromhex(text)


def _enabled(speaker: Speaker | None) -> Speaker | None:
    return speaker if speaker is not None and speaker.enabled else None
