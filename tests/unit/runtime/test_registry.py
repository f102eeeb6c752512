import threading
from hashlib import sha256

import pytest
from confluent_kafka import Consumer

from runtime import registry as module
from runtime.devices import DeviceTable
from runtime.registry import Registry
from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key


def boiler() -> Device:
    """The device of these tests."""
    return Device(tenant="acme", device="boiler-7", token_sha256s=[sha256(b"s3cret").hexdigest()])


@pytest.fixture(name="registered")
def _registered(broker):
    """Puts entries on the topic, and returns when they are there."""

    def register(*entries):
        for value in entries:
            broker.produce(DEVICES, value, key("acme", "boiler-7"))
        assert broker.flush(10) == 0

    return register


class WatchedTable(DeviceTable):
    """Says when an entry was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Event()

    def put(self, device):
        """See `DeviceTable.put`."""
        super().put(device)
        self.changed.set()


def test_the_whole_topic_is_known_at_once(kafka, registered):
    """The registry is entered when every entry on the topic was read."""
    registered(encode(boiler()))

    with Registry(kafka, DeviceTable()) as registry:
        assert "boiler-7" == registry.devices.by_token("s3cret").device


def test_little_is_fetched_ahead(nowhere, monkeypatch):
    """However many entries the topic has, few of them wait in memory to be taken."""
    asked = []
    monkeypatch.setattr(module, "Consumer", lambda options: asked.append(options) or Consumer(options))
    monkeypatch.setattr(module, "_assign_all", refuse)

    with (
        pytest.raises(RuntimeError, match="cannot read the device registry"),
        Registry(nowhere, DeviceTable()),
    ):
        pass

    assert asked[0]["queued.max.messages.kbytes"] << 10 == module.QUEUED_BYTES


def refuse(_):
    """Kafka as it is when it is away."""
    raise RuntimeError("away")


def test_a_tombstone_removes_its_device(kafka, registered):
    """A null value under a device's key removes what was known."""
    registered(encode(boiler()), None)

    with Registry(kafka, DeviceTable()) as registry:
        assert 0 == len(registry.devices)


def test_an_entry_that_cannot_be_read_is_skipped(kafka, registered):
    """One bad entry does not keep the others from speaking."""
    registered(b"no device", encode(boiler()))

    with Registry(kafka, DeviceTable()) as registry:
        assert "boiler-7" == registry.devices.by_token("s3cret").device


def test_a_running_registry_hears_of_changes(kafka, registered):
    """An entry that is written later is known a moment later."""
    registered(None)

    with Registry(kafka, WatchedTable()) as registry:
        registered(encode(boiler()))

        assert registry.devices.changed.wait(10)
        assert "boiler-7" == registry.devices.by_token("s3cret").device


def test_a_healthy_registry_has_no_trouble(kafka, registered):
    """The probe hears nothing as long as the topic is followed."""
    registered(None)

    with Registry(kafka, DeviceTable()) as registry:
        assert "" == registry.trouble
