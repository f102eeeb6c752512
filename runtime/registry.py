"""Registry: every known device, held in memory, kept current from the compacted topic `devices`."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import Gauge

from runtime.settings import KafkaSettings
from schemas.codec import Undecodable, decode
from schemas.device import Device
from schemas.topics import DEVICES

log = structlog.get_logger()

KNOWN = Gauge("headrace_registry_devices", "Devices that this process knows.")


class Devices(Protocol):
    """What an edge or a processor asks of the registry. Every answer comes from memory, at once."""

    def by_id(self, tenant: str, device: str) -> Device | None:
        """The enabled device of that id."""

    def by_token(self, token: str) -> Device | None:
        """The enabled device that this access token belongs to."""

    def by_certificate(self, der: bytes) -> Device | None:
        """The enabled device that this X.509 certificate (DER) was registered for."""


class DeviceTable:
    """The devices in memory, by each thing that a device can be known by.

    A credential belongs to the device that named it last. Memory: about 1 KB a device with one credential.
    """

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._by_id: dict[tuple[str, str], Device] = {}
        self._by_credential: dict[str, Device] = {}
        for device in devices:
            self.put(device)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Device]:
        """Every device, also those that are not enabled, as of now."""
        return iter(list(self._by_id.values()))

    def put(self, device: Device) -> None:
        """Add a device, or replace what was known about it.

        Others look meanwhile: there is no moment at which a device that stays is not known.
        """
        known = self._by_id.get((device.tenant, device.device))
        named = _credentials(device)
        self._by_id[device.tenant, device.device] = device
        for credential in named:
            self._by_credential[credential] = device
        if known is not None:
            self._end(known, _credentials(known) - named)

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""
        known = self._by_id.pop((tenant, device), None)
        if known is not None:
            self._end(known, _credentials(known))

    def _end(self, device: Device, credentials: AbstractSet[str]) -> None:
        """Forget the credentials, as far as they are still this device's."""
        for credential in credentials:
            if self._by_credential.get(credential) is device:
                del self._by_credential[credential]

    def by_id(self, tenant: str, device: str) -> Device | None:
        """The enabled device of that id."""
        return _enabled(self._by_id.get((tenant, device)))

    def by_token(self, token: str) -> Device | None:
        """The enabled device that this access token belongs to."""
        # The hash of a guess says nothing about the hash that is stored: a plain look-up leaks no timing of use.
        digest = _digest if len(token) <= _SHORT else _digest.__wrapped__
        return _enabled(self._by_credential.get(digest(token)))

    def by_certificate(self, der: bytes) -> Device | None:
        """The enabled device that this X.509 certificate (DER) was registered for."""
        return _enabled(self._by_credential.get("x509:" + sha256(der).hexdigest()))


_SHORT = 64
"""Characters of a token, as tokens are; the hash of a longer one is not remembered."""


@lru_cache(10_000)
def _digest(token: str) -> str:
    """The hash of a token: 400 bytes each, 4 MB of those that were asked for last."""
    return sha256(token.encode()).hexdigest()


def _enabled(device: Device | None) -> Device | None:
    return device if device is not None and device.enabled else None


def _credentials(device: Device) -> set[str]:
    return {*device.token_sha256s, *("x509:" + digest for digest in device.certificate_sha256s)}


class Registry(DeviceTable):
    """The device table of this process, current within a moment of `headrace devices apply`.

    `with Registry(kafka) as devices:` returns when the whole topic was read once; a thread follows it from then on.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__()
        self._kafka = kafka
        self._stopping = threading.Event()
        self._loaded = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def __enter__(self) -> Self:
        """Read the topic to its end.

        Raises:
            RuntimeError: the topic does not exist, or Kafka refused.

        """
        self._thread.start()
        self._loaded.wait()
        if self._failure is not None:
            raise RuntimeError(f"cannot read the device registry: {self._failure}") from self._failure
        log.info("registry loaded", devices=len(self))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following the topic."""
        self._stopping.set()
        self._thread.join()

    @property
    def trouble(self) -> str:
        """Why the table is no longer current, or ""."""
        return f"the device registry stopped: {self._failure}" if self._failure is not None else ""

    def _run(self) -> None:
        try:
            self._follow()
        except (KafkaException, RuntimeError) as error:
            self._failure = error
        finally:
            self._loaded.set()

    def _follow(self) -> None:
        consumer = Consumer(
            self._kafka.librdkafka()
            | {
                "group.id": "headrace-registry-unused",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            },
        )
        try:
            unread = _assign_all(consumer)
            while not self._stopping.is_set():
                for message in consumer.consume(1000, 0.2):
                    error = message.error()
                    if error is None:
                        self._take(message)
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                        unread.discard(message.partition())
                    elif not error.retriable():
                        raise RuntimeError(error.str())
                KNOWN.set(len(self))
                if not unread:
                    self._loaded.set()
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        key = (message.key() or b"").decode(errors="replace")
        value = message.value()
        if value is None:
            tenant, _, device = key.partition("/")
            self.remove(tenant, device)
            return
        try:
            self.put(decode(Device, value))
        except Undecodable as error:
            # Skipped, not fatal: one bad entry must not keep the other devices from speaking.
            log.warning("registry entry ignored", key=key, offset=message.offset(), error=str(error))


def _assign_all(consumer: Consumer) -> set[int]:
    metadata: Any = consumer.list_topics(DEVICES, timeout=30)
    partitions: Mapping[int, Any] = metadata.topics[DEVICES].partitions
    if not partitions:
        raise RuntimeError(f"topic {DEVICES} does not exist; `headrace topics apply` creates it")
    consumer.assign([TopicPartition(DEVICES, number, 0) for number in partitions])
    return set(partitions)
