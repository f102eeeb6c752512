"""Rate limits of devices and tenants."""

import pytest
from pydantic import ValidationError

from producers.limits import REMEMBERED, Limits, TenantLimits
from producers.metrics import BUCKETS_DISPLACED
from producers.settings import EdgeSettings
from tests.support.counts import counts


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The seconds so far."""
        return self.now


def test_a_device_within_its_rate_is_admitted():
    """As many messages as the limit names are admitted at once."""
    limits = Limits({"acme": TenantLimits(device="3:1")}, monotonic=Clock())

    assert [limits.take("acme", "a") for _ in range(3)] == [0, 0, 0]


def test_a_device_over_its_rate_is_told_when_to_come_back():
    """The message beyond the limit is refused with the seconds until it would be admitted."""
    limits = Limits({"acme": TenantLimits(device="2:1")}, monotonic=Clock())
    limits.take("acme", "a", 2)

    assert limits.take("acme", "a") == 0.5


def test_time_heals():
    """After the seconds that were named, the message is admitted."""
    clock = Clock()
    limits = Limits({"acme": TenantLimits(device="2:1")}, monotonic=clock)
    limits.take("acme", "a", 2)
    clock.now += limits.take("acme", "a")

    assert limits.take("acme", "a") == 0


def test_devices_do_not_share_a_limit():
    """One device's haste costs another nothing."""
    limits = Limits({"acme": TenantLimits(device="1:1")}, monotonic=Clock())
    limits.take("acme", "a")

    assert limits.take("acme", "b") == 0


def test_devices_of_a_tenant_share_the_tenants_limit():
    """The tenant's limit is over all of its devices."""
    limits = Limits({"acme": TenantLimits(tenant="1:60")}, monotonic=Clock())
    limits.take("acme", "a")

    assert limits.take("acme", "b") == 60


def test_a_refused_message_uses_up_nothing():
    """What the tenant's limit refuses is not taken from the device's."""
    clock = Clock()
    limits = Limits({"acme": TenantLimits(device="2:1000", tenant="1:1")}, monotonic=clock)
    limits.take("acme", "a")
    limits.take("acme", "a")
    clock.now += 1

    assert limits.take("acme", "a") == 0


def test_other_tenants_have_the_default():
    """The limits of `*` hold for a tenant that has none of its own."""
    limits = Limits({"*": TenantLimits(device="1:1"), "acme": TenantLimits()}, monotonic=Clock())
    assert [limits.take("acme", "a"), limits.take("acme", "a")] == [0, 0]

    assert [limits.take("other", "a"), limits.take("other", "a")] == [0, 1]


def test_a_batch_larger_than_the_limit_passes_once():
    """A request that no waiting would make smaller is admitted by a full bucket, and paid for afterwards."""
    limits = Limits({"acme": TenantLimits(device="10:1")}, monotonic=Clock())
    assert limits.take("acme", "a", 100) == 0

    assert limits.take("acme", "a") == 9.1


def test_memory_is_bounded():
    """However many devices there are, no more buckets than stated are kept."""
    limits = Limits({"*": TenantLimits(device="1:1")}, monotonic=Clock())
    displaced = counts(BUCKETS_DISPLACED)
    for number in range(REMEMBERED + 10):
        limits.take("acme", str(number))

    assert (len(limits), displaced()) == (REMEMBERED, {(): 10})


def test_several_devices_are_admitted_together():
    """A request with messages of several devices is admitted as a whole, and counted for each of them."""
    limits = Limits({"acme": TenantLimits(device="2:1", tenant="4:1")}, monotonic=Clock())

    assert limits.take_all("acme", {"a": 2, "b": 1}) == 0
    assert limits.take("acme", "b") == 0
    assert limits.take("acme", "c") == 0.25


def test_a_request_that_is_refused_costs_nothing():
    """Where one device of several is over its rate, the others have lost nothing."""
    limits = Limits({"acme": TenantLimits(device="1:1")}, monotonic=Clock())
    limits.take("acme", "a")

    assert limits.take_all("acme", {"a": 1, "b": 1}) == 1
    assert limits.take("acme", "b") == 0


def test_more_devices_than_a_tenant_may_have_at_once_are_admitted_in_time():
    """A request that no full bucket holds is admitted from a full one, which is then in debt."""
    limits = Limits({"acme": TenantLimits(tenant="2:1")}, monotonic=Clock())

    assert limits.take_all("acme", {"a": 1, "b": 1, "c": 1, "d": 1}) == 0
    assert limits.take("acme", "a") == 1.5


def test_nothing_is_always_admitted():
    """A request without messages waits for nobody."""
    assert Limits({"acme": TenantLimits(device="1:1")}).take_all("acme", {}) == 0


@pytest.mark.parametrize("rate", ["0:1", "1:0", "5", "1:1,", "-1:1"])
def test_a_rate_of_nothing_is_a_wrong_setting(rate: str):
    """No messages, or no seconds, is no rate: who may send nothing is disabled in the registry instead."""
    with pytest.raises(ValidationError, match="limits"):
        EdgeSettings(limits={"*": {"device": rate}})
