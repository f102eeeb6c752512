import threading
from hashlib import sha256

import pytest

from runtime import registry
from runtime.registry import DeviceTable, Registry
from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key

CERTIFICATE = b"the DER of a certificate"


def boiler(**changes: object) -> Device:
    """The device of these tests, with what is different about it."""
    fields = {
        "tenant": "acme",
        "device": "boiler-7",
        "token_sha256s": [sha256(b"s3cret").hexdigest()],
        "certificate_sha256s": [sha256(CERTIFICATE).hexdigest()],
        "components": [],
    }
    return Device(**fields | changes)


def test_a_device_is_found_by_everything_it_is_known_by():
    """Id, token and certificate lead to the same device."""
    table = DeviceTable([boiler()])

    assert [boiler()] * 3 == [
        table.by_id("acme", "boiler-7"),
        table.by_token("s3cret"),
        table.by_certificate(CERTIFICATE),
    ]


def test_nobody_is_found_by_what_nobody_has():
    """A stranger's id, token and certificate lead nowhere."""
    table = DeviceTable([boiler()])

    assert [None] * 4 == [
        table.by_id("umbrella", "boiler-7"),
        table.by_id("acme", "boiler-8"),
        table.by_token(sha256(b"s3cret").hexdigest()),
        table.by_certificate(b"s3cret"),
    ]


def test_a_certificates_fingerprint_is_no_token():
    """Who knows the hash of a certificate cannot present its bytes as a token."""
    table = DeviceTable([boiler(token_sha256s=[])])

    assert table.by_token(CERTIFICATE.decode()) is None


def test_a_disabled_device_is_not_found():
    """A device that was disabled has no valid credential, and its messages come from nobody."""
    table = DeviceTable([boiler(enabled=False)])

    assert [None] * 3 == [
        table.by_id("acme", "boiler-7"),
        table.by_token("s3cret"),
        table.by_certificate(CERTIFICATE),
    ]


def test_a_newer_entry_replaces_the_older():
    """The last entry of a device is all that is known about it."""
    table = DeviceTable([boiler(place="cellar"), boiler(place="roof")])

    assert (1, "roof") == (len(table), table.by_token("s3cret").place)


def test_a_device_is_known_while_its_entry_is_replaced():
    """At no step of a change is a device unknown by what it keeps: those who look run in another thread."""
    table, seen = DeviceTable([boiler()]), []

    class Watched(dict):
        """Looks for the device after each step."""

        def __setitem__(self, *item) -> None:
            """Add, then look."""
            super().__setitem__(*item)
            look()

        def __delitem__(self, name) -> None:
            """Take out, then look."""
            super().__delitem__(name)
            look()

        def pop(self, *arguments):
            """Take out, then look."""
            found = super().pop(*arguments)
            look()
            return found

    def look() -> None:
        seen.append((table.by_id("acme", "boiler-7"), table.by_token("s3cret")))

    table._by_id, table._by_credential = Watched(table._by_id), Watched(table._by_credential)
    table.put(boiler(place="roof", certificate_sha256s=[]))

    assert table.by_certificate(CERTIFICATE) is None
    assert len(seen) > 2
    assert None not in [device for pair in seen for device in pair]


def test_the_same_entry_again_changes_nothing():
    """An entry that is put again leaves its device with all of its credentials."""
    device = boiler()
    table = DeviceTable([device, device])

    assert [device] * 2 == [table.by_token("s3cret"), table.by_certificate(CERTIFICATE)]


def test_a_credential_that_was_taken_away_is_forgotten():
    """An entry without the former token ends that token."""
    table = DeviceTable([boiler(), boiler(token_sha256s=[])])

    assert table.by_token("s3cret") is None


def test_a_removed_device_is_forgotten():
    """Nothing leads to a device that was removed."""
    table = DeviceTable([boiler()])

    table.remove("acme", "boiler-7")

    assert (0, None, None) == (len(table), table.by_id("acme", "boiler-7"), table.by_token("s3cret"))


def test_removing_a_stranger_changes_nothing():
    """A device that was never known can be removed."""
    table = DeviceTable([boiler()])

    table.remove("acme", "boiler-8")

    assert 1 == len(table)


def test_a_credential_belongs_to_the_device_that_named_it_last():
    """A token moves when another device is given it."""
    table = DeviceTable([boiler(), boiler(device="boiler-8")])

    assert "boiler-8" == table.by_token("s3cret").device


def test_a_credential_that_moved_stays_when_its_former_device_goes():
    """Removing a device does not end a token that is no longer its own."""
    table = DeviceTable([boiler(), boiler(device="boiler-8")])

    table.remove("acme", "boiler-7")

    assert "boiler-8" == table.by_token("s3cret").device


@pytest.fixture(name="registered")
def _registered(broker):
    """Puts entries on the topic, and returns when they are there."""

    def register(*entries):
        for value in entries:
            broker.produce(DEVICES, value, key("acme", "boiler-7"))
        assert broker.flush(10) == 0

    return register


class WatchedRegistry(Registry):
    """Says when an entry was put into it."""

    def __init__(self, kafka) -> None:
        super().__init__(kafka)
        self.changed = threading.Event()

    def put(self, device):
        """See `DeviceTable.put`."""
        super().put(device)
        self.changed.set()


def test_a_token_of_any_length_is_known():
    """The hash of a long token is not remembered, and found all the same."""
    token = "t" * 5000
    table = DeviceTable(
        [Device(tenant="acme", device="d", token_sha256s=[sha256(token.encode()).hexdigest()])]
    )
    before = registry._digest.cache_info().currsize
    assert table.by_token(token) is not None
    assert table.by_token(token + "t") is None
    assert registry._digest.cache_info().currsize == before


def test_the_whole_topic_is_known_at_once(kafka, registered):
    """The registry is entered when every entry on the topic was read."""
    registered(encode(boiler()))

    with Registry(kafka) as devices:
        assert boiler() == devices.by_token("s3cret")


def test_a_tombstone_removes_its_device(kafka, registered):
    """A null value under a device's key removes what was known."""
    registered(encode(boiler()), None)

    with Registry(kafka) as devices:
        assert 0 == len(devices)


def test_an_entry_that_cannot_be_read_is_skipped(kafka, registered):
    """One bad entry does not keep the others from speaking."""
    registered(b"no device", encode(boiler()))

    with Registry(kafka) as devices:
        assert boiler() == devices.by_token("s3cret")


def test_a_running_registry_hears_of_changes(kafka, registered):
    """An entry that is written later is known a moment later."""
    registered(None)

    with WatchedRegistry(kafka) as devices:
        registered(encode(boiler()))

        assert devices.changed.wait(10)
        assert boiler() == devices.by_token("s3cret")


def test_a_healthy_registry_has_no_trouble(kafka, registered):
    """The probe hears nothing as long as the topic is followed."""
    registered(None)

    with Registry(kafka) as devices:
        assert "" == devices.trouble
