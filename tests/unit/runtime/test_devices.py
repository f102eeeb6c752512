from hashlib import sha256

from runtime import devices
from runtime.devices import DeviceTable, PlaceTable
from schemas.device import Device

CERTIFICATE = b"the DER of a certificate"


def boiler(**changes: object) -> Device:
    """The device of these tests, with what is different about it."""
    fields = {
        "tenant": "acme",
        "device": "boiler-7",
        "token_sha256s": (sha256(b"s3cret").hexdigest(),),
        "certificate_sha256s": (sha256(CERTIFICATE).hexdigest(),),
        "components": (),
    }
    return Device(**fields | changes)


def test_a_device_is_found_by_everything_it_is_known_by():
    """Id, token and certificate lead to the same device."""
    table = DeviceTable([boiler()])

    found = [
        table.by_id("acme", "boiler-7"),
        table.by_token("s3cret"),
        table.by_certificate(CERTIFICATE),
    ]
    assert [("acme", "boiler-7")] * 3 == [(each.tenant, each.device) for each in found]


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
    table = DeviceTable([boiler(token_sha256s=())])

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
    table = DeviceTable([boiler(components=["pump"]), boiler(components=["fan"])])

    assert (1, ["fan"]) == (len(table), list(table.by_token("s3cret").components))


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

    table._by_id["acme"] = Watched(table._by_id["acme"])
    table._by_credential = Watched(table._by_credential)
    table.put(boiler(place="roof", certificate_sha256s=()))

    assert table.by_certificate(CERTIFICATE) is None
    assert len(seen) > 2
    assert None not in [device for pair in seen for device in pair]


def test_the_same_entry_again_changes_nothing():
    """An entry that is put again leaves its device with all of its credentials."""
    table = DeviceTable([boiler(), boiler()])

    assert None not in [table.by_token("s3cret"), table.by_certificate(CERTIFICATE)]


def test_what_is_no_digest_is_nobodys():
    """The rest of its entry holds all the same: who was known by something else no longer is."""
    table = DeviceTable([boiler(), boiler(token_sha256s=("s3cret",), components=["fan"])])

    assert table.by_token("s3cret") is None
    assert ("fan",) == table.by_certificate(CERTIFICATE).components


def test_a_digest_may_be_written_in_capitals():
    """What tells apart is the number that the digits write."""
    table = DeviceTable([boiler(token_sha256s=(sha256(b"s3cret").hexdigest().upper(),))])

    assert table.by_token("s3cret") is not None


def test_a_credential_that_was_taken_away_is_forgotten():
    """An entry without the former token ends that token."""
    table = DeviceTable([boiler(), boiler(token_sha256s=())])

    assert table.by_token("s3cret") is None


def test_a_removed_device_is_forgotten():
    """Nothing leads to a device that was removed."""
    table = DeviceTable([boiler()])

    table.remove("acme", "boiler-7")

    assert (0, None, None) == (len(table), table.by_id("acme", "boiler-7"), table.by_token("s3cret"))


def test_place_and_labels_are_those_of_the_device_as_it_is_now():
    """What readings carry of a device follows each of its entries; of one that is disabled or gone it is nothing."""
    table, seen = PlaceTable([boiler(place="roof", labels={"b": "2", "a": "1"})]), []
    seen.append(table.known("acme", "boiler-7"))
    for change in ({"place": "cellar"}, {"enabled": False}, {"place": "attic"}):
        table.put(boiler(**change))
        seen.append(table.known("acme", "boiler-7"))
    table.remove("acme", "boiler-7")
    seen += [table.known("acme", "boiler-7"), table.known("umbrella", "boiler-7")]

    nothing = ("", "{}")
    assert [
        ("roof", '{"a":"1","b":"2"}'),
        ("cellar", "{}"),
        nothing,
        ("attic", "{}"),
        nothing,
        nothing,
    ] == seen


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


def test_a_token_of_any_length_is_known():
    """The hash of a long token is not remembered, and found all the same."""
    token = "t" * 5000
    table = DeviceTable(
        [Device(tenant="acme", device="d", token_sha256s=[sha256(token.encode()).hexdigest()])]
    )
    before = devices._digest.cache_info().currsize
    assert table.by_token(token) is not None
    assert table.by_token(token + "t") is None
    assert devices._digest.cache_info().currsize == before
