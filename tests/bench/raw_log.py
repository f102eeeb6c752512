"""A raw log for the bench: an hour that was processed, and a backlog behind it that is not."""

import hashlib
import time
from collections.abc import Callable, Iterator

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.codec import encode
from schemas.device import Device
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.reading_block import Fate, MessageRow, Span
from schemas.reading_block import encode as encode_block
from schemas.topics import DEVICES, READINGS, key
from tests.bench.rebuild import BLOCK, QUEUE, TOPIC, identity

TENANT, PARTITIONS = "acme", 4
READINGS_A_MESSAGE = 3


class RawLog(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on each partition of the raw topic, and who is registered."""

    bootstrap: str
    devices: int
    remembered: int
    """Messages of the last hour, all processed: the group's offset is behind them."""
    backlog: int
    """Messages that wait."""

    @property
    def waiting(self) -> int:
        """Messages that wait on all partitions."""
        return PARTITIONS * self.backlog

    def table(self) -> PlaceTable:
        """The registered devices."""
        return PlaceTable(_device(number) for number in range(self.devices))

    def identities(self) -> bytes:
        """Of the last hour of one partition, as a window takes them."""
        return b"".join(map(identity, range(self.remembered)))

    def fill(self, said: Callable[[str], None]) -> None:
        """Put it there."""
        producer = Producer({"bootstrap.servers": self.bootstrap, **QUEUE})
        (topic_id,) = topic_ids(KafkaSettings(bootstrap=self.bootstrap), [TOPIC]).values()
        now = time.time_ns() // 1_000_000
        for what, records in (
            (f"{self.devices:,} devices", self._registered(producer)),
            (f"{PARTITIONS * self.remembered:,} identities", self._past(producer, topic_id, now)),
            (f"{self.waiting:,} messages", self._present(producer, now)),
        ):
            said(f"making {what}")
            for number, _ in enumerate(records):
                if number % BLOCK == 0:
                    producer.poll(0)
            assert producer.flush(120) == 0

    def commit(self, group: str) -> None:
        """Have a new group begin behind the last hour."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        offsets = [TopicPartition(TOPIC, number, self.remembered) for number in range(PARTITIONS)]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()

    def _registered(self, producer: Producer) -> Iterator[None]:
        for number in range(self.devices):
            device = _device(number)
            yield producer.produce(DEVICES, encode(device), key(device.tenant, device.device))

    def _past(self, producer: Producer, topic_id: str, now: int) -> Iterator[None]:
        """The raw records are empty: a rebuild asks them for nothing but the time of the newest."""
        for partition in range(PARTITIONS):
            for _ in range(self.remembered):
                yield producer.produce(TOPIC, b"", partition=partition, timestamp=now)
            for first in range(0, self.remembered, BLOCK):
                last = min(self.remembered, first + BLOCK) - 1
                rows = [_passed(number, now) for number in range(first, last + 1)]
                span = Span(
                    topic=TOPIC, topic_id=topic_id, partition=partition, first=first, last=last, time=now
                )
                yield producer.produce(
                    READINGS, encode_block(rows), partition=partition, headers=span.headers(), timestamp=now
                )

    def _present(self, producer: Producer, now: int) -> Iterator[None]:
        for number in range(self.backlog):
            for partition in range(PARTITIONS):
                raw = _raw(number * PARTITIONS + partition, self.devices, now)
                yield producer.produce(
                    TOPIC,
                    encode(raw),
                    key(raw.tenant, raw.device),
                    partition=partition,
                    headers=[(IDENTITY_HEADER, raw.identity())],
                )


def create(bootstrap: str, topic: str) -> None:
    """Make a topic for what a peer puts out."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values()
    made.result(30)


def _device(number: int) -> Device:
    labels = {"line": str(number % 50), "model": "T-100"}
    return Device(tenant=TENANT, device=f"boiler-{number:06}", place=f"hall-{number % 200}", labels=labels)


def _passed(number: int, now: int) -> MessageRow:
    return MessageRow(
        offset=number, fate=Fate.STORED, logged_at=now, dialect="thingsboard", identity=identity(number)
    )


def _raw(number: int, devices: int, now: int) -> RawMessage:
    values = {"temperature": 20 + number % 100 / 7, "humidity": 40 + number % 17, "pressure": 1013.25}
    return RawMessage(
        tenant=TENANT,
        dialect="thingsboard",
        # A step without a common divisor with the number of devices: neighbours on the log differ.
        device=f"boiler-{number * 7919 % devices:06}",
        message_id=hashlib.blake2b(number.to_bytes(9, "big"), digest_size=16).hexdigest(),
        received_at=now * 1000,
        content_type="application/json",
        attributes={},
        body=msgspec.json.encode({"ts": now, "values": values}),
    )
