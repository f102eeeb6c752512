"""How much a device and a tenant may send: token buckets, in memory that is bounded."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import msgspec

from producers.metrics import BUCKETS_DISPLACED

REMEMBERED = 100_000
"""Buckets that are kept, 650 bytes each with the longest ids; beyond it the one that was asked least recently starts full again."""

ANYBODY = "*"
"""The tenant whose limits hold for every tenant without limits of its own."""

_RATES = r"^([1-9]\d*:[1-9]\d*(,[1-9]\d*:[1-9]\d*)*)?$"


class Rate(NamedTuple):
    """So many messages in so many seconds; as many may come at once."""

    messages: float
    seconds: float


class TenantLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits as ThingsBoard writes them: `20:1,600:60` is 20 messages a second and 600 a minute; empty is no limit."""

    device: Annotated[str, msgspec.Meta(pattern=_RATES)] = ""
    tenant: Annotated[str, msgspec.Meta(pattern=_RATES)] = ""


class Limits:
    """Decides whether a message may come in now.

    Every process counts by itself: with several behind one address, each admits its share of the connections.
    """

    def __init__(
        self, limits: Mapping[str, TenantLimits], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = {
            tenant: (_rates(limit.device), _rates(limit.tenant)) for tenant, limit in limits.items()
        }
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, str, Rate], list[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, tenant: str, device: str, messages: int = 1) -> float:
        """Admit the messages and return 0; or admit none, and return after how many seconds to try again.

        More messages at once than a limit allows at all are admitted when its bucket is full, and leave it in debt.
        """
        return self.take_all(tenant, {device: messages}) if self._limits else 0.0

    def take_all(self, tenant: str, devices: Mapping[str, int]) -> float:
        """The same for one request with messages of several devices: all of them are admitted, or none is counted."""
        of_device, of_tenant = self._limits.get(tenant) or self._limits.get(ANYBODY) or ((), ())
        if not of_device and not of_tenant:
            return 0.0
        now = self._monotonic()
        asked = [
            (self._bucket((tenant, device, rate), now), rate, messages)
            for device, messages in devices.items()
            for rate in of_device
        ]
        total = sum(devices.values())
        asked += [(self._bucket((tenant, "", rate), now), rate, total) for rate in of_tenant]
        wait = max((_wait(bucket, rate, messages) for bucket, rate, messages in asked), default=0.0)
        if wait > 0:
            return wait
        for bucket, _, messages in asked:
            bucket[0] -= messages
        return 0.0

    def _bucket(self, key: tuple[str, str, Rate], now: float) -> list[float]:
        """Tokens and when they were counted, as of now."""
        rate = key[2]
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= REMEMBERED:
                self._buckets.popitem(last=False)
                BUCKETS_DISPLACED.inc()
            bucket = self._buckets[key] = [rate.messages, now]
        else:
            self._buckets.move_to_end(key)
        bucket[0] = min(rate.messages, bucket[0] + (now - bucket[1]) * rate.messages / rate.seconds)
        bucket[1] = now
        return bucket


def _rates(text: str) -> tuple[Rate, ...]:
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return tuple(Rate(float(messages), float(seconds)) for messages, seconds in pairs)


def _wait(bucket: list[float], rate: Rate, messages: int) -> float:
    missing = min(messages, rate.messages) - bucket[0]
    return missing * rate.seconds / rate.messages if missing > 0 else 0.0
