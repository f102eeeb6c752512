"""Devices in memory: of each what its process asks for, and nothing else, since a fleet is large."""

import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from schemas.device import UNKNOWN, Device, Known, known_of


class Devices(Protocol):
    """What an edge asks. Every answer comes from memory, at once."""

    def by_id(self, tenant: str, device: str) -> Device | None:
        """The enabled device of that id."""

    def by_token(self, token: str) -> Device | None:
        """The enabled device that this access token belongs to."""

    def by_certificate(self, der: bytes) -> Device | None:
        """The enabled device that this X.509 certificate (DER) was registered for."""


class Places(Protocol):
    """What a processor asks."""

    def known(self, tenant: str, device: str) -> Known:
        """Place and labels of the enabled device of that id; both empty where there is none."""


class DeviceTable:
    """Who may speak, by each thing that a device can be known by; not where it stands.

    A credential belongs to the device that named it last. Memory: about 500 bytes a device with one credential.
    """

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._by_id: dict[str, dict[str, Device]] = {}
        """Of each tenant: a tuple for each device would be a tenth of the memory."""
        self._by_credential: dict[str, Device] = {}
        for device in devices:
            self.put(device)

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def put(self, device: Device) -> None:
        """Add a device, or replace what was known about it.

        Others look meanwhile: there is no moment at which a device that stays is not known.
        """
        device = _speaker(device)
        known = self._by_id.get(device.tenant, {}).get(device.device)
        named = _credentials(device)
        self._by_id.setdefault(device.tenant, {})[device.device] = device
        for credential in named:
            self._by_credential[credential] = device
        if known is not None:
            self._end(known, _credentials(known) - named)

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""
        known = self._by_id.get(tenant, {}).pop(device, None)
        if known is not None:
            self._end(known, _credentials(known))

    def _end(self, device: Device, credentials: AbstractSet[str]) -> None:
        """Forget the credentials, as far as they are still this device's."""
        for credential in credentials:
            if self._by_credential.get(credential) is device:
                del self._by_credential[credential]

    def by_id(self, tenant: str, device: str) -> Device | None:
        """See `Devices.by_id`."""
        return _enabled(self._by_id.get(tenant, {}).get(device))

    def by_token(self, token: str) -> Device | None:
        """See `Devices.by_token`."""
        # The hash of a guess says nothing about the hash that is stored: a plain look-up leaks no timing of use.
        digest = _digest if len(token) <= _SHORT else _digest.__wrapped__
        return _enabled(self._by_credential.get(digest(token)))

    def by_certificate(self, der: bytes) -> Device | None:
        """See `Devices.by_certificate`."""
        return _enabled(self._by_credential.get("x509:" + sha256(der).hexdigest()))


_SHORT = 64
"""Characters of a token, as tokens are; the hash of a longer one is not remembered."""


KNOWN_TOKENS = 10_000
"""Whose hash is remembered: 400 bytes each."""


@lru_cache(KNOWN_TOKENS)
def _digest(token: str) -> str:
    """The hash of a token."""
    return sha256(token.encode()).hexdigest()


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
        self._known.setdefault(device.tenant, {})[device.device] = known_of(_enabled(device))

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""
        self._known.get(tenant, {}).pop(device, None)

    def known(self, tenant: str, device: str) -> Known:
        """See `Places.known`."""
        return self._known.get(tenant, _NOBODY).get(device, UNKNOWN)


_NOBODY: Mapping[str, Known] = {}


def _speaker(device: Device) -> Device:
    """The device as an edge needs it. What many have in common is one object."""
    return Device(
        tenant=sys.intern(device.tenant),
        device=device.device,
        enabled=device.enabled,
        token_sha256s=tuple(device.token_sha256s),
        certificate_sha256s=tuple(device.certificate_sha256s),
        components=tuple(map(sys.intern, device.components)),
    )


def _enabled(device: Device | None) -> Device | None:
    return device if device is not None and device.enabled else None


def _credentials(device: Device) -> set[str]:
    return {*device.token_sha256s, *("x509:" + digest for digest in device.certificate_sha256s)}
