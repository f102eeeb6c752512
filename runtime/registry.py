"""Registry: every known device, held in memory, kept current from the compacted topic `devices`."""

import threading
from collections.abc import Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import Gauge

from runtime.memory import give_back_free
from runtime.settings import KafkaSettings
from schemas.codec import Undecodable, decode
from schemas.device import Device
from schemas.topics import DEVICES

log = structlog.get_logger()

QUEUED_BYTES = 4 << 20
"""Of entries that are fetched ahead, and about as much again in the answer that Kafka gives next."""

KNOWN = Gauge("headrace_registry_devices", "Devices that this process knows.")


class Table(Protocol):
    """Where the registry puts what it reads, in the order of the log."""

    def __len__(self) -> int:
        """How many devices there are."""

    def put(self, device: Device) -> None:
        """Add a device, or replace what was known about it."""

    def remove(self, tenant: str, device: str) -> None:
        """Forget a device, if it was known."""


T = TypeVar("T", bound=Table)


class Registry(Generic[T]):
    """Keeps a table of devices current, within a moment of `headrace devices apply`.

    `with Registry(kafka, DeviceTable()) as registry:` returns when the whole topic was read once into `registry.devices`; a
    thread follows it from then on.
    """

    def __init__(self, kafka: KafkaSettings, devices: T) -> None:
        self.devices = devices
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
        # Of 100,000 devices the records that were read leave 20 MB behind.
        give_back_free()
        log.info("registry loaded", devices=len(self.devices))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following the topic."""
        self._stopping.set()
        self._thread.join()

    @property
    def trouble(self) -> str:
        """Why the devices are no longer current, or ""."""
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
            self._kafka.consuming(queued_bytes=QUEUED_BYTES)
            | {"group.id": "headrace-registry-unused", "enable.partition.eof": True},
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
                KNOWN.set(len(self.devices))
                if not unread:
                    self._loaded.set()
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        key = (message.key() or b"").decode(errors="replace")
        value = message.value()
        if value is None:
            tenant, _, device = key.partition("/")
            self.devices.remove(tenant, device)
            return
        try:
            self.devices.put(decode(Device, value))
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
