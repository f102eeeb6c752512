"""Scan: the records of a topic from one offset to another, read without joining any group."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.settings import KafkaSettings

SILENCE_SECONDS = 30
"""How long Kafka may say nothing."""


class ScanFailed(RuntimeError):
    """The records could not be read; a sentence for the operator. Another attempt may succeed."""


class Gone(ScanFailed):
    """Records of the range were deleted by retention. Another attempt at the same range fails again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Offsets of one partition: from `first` up to, and without, `end`."""

    topic: str
    partition: int
    first: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.first)


@dataclass(slots=True, kw_only=True)
class Record:
    """A record as it stands on the log."""

    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970, as Kafka has it."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Scanner:
    """Reads ranges of topics, one after another; commits nothing, and no group knows of it.

    Memory: 16 MiB of records that were fetched ahead.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._bootstrap = kafka.bootstrap
        self._options = kafka.librdkafka() | {
            "group.id": "headrace-scan-unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": 16_384,
        }

    def __enter__(self) -> Self:
        self._consumer = Consumer(self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def reaches(self, topic: str, *, since: int = 0, until: int | None = None) -> list[Reach]:
        """What each partition holds now, from the first record of time `since` to the first of time `until`.

        Times are in milliseconds since 1970. Where a topic's times do not grow with its offsets, younger and older records
        stand in between.

        Raises:
            ScanFailed: Kafka is away, or has no such topic.

        """
        try:
            return [self._reach(topic, number, since, until) for number in self._partitions(topic)]
        except KafkaException as error:
            raise ScanFailed(
                f"Kafka at {self._bootstrap} says nothing of {topic}: {error.args[0].str()}"
            ) from error

    def read(self, reach: Reach) -> Generator[Record, None, None]:
        """Every record of a range, in its order.

        Raises:
            Gone: the first of them is not on the log any more.
            ScanFailed: Kafka stopped answering.

        """
        if not reach:
            return
        self._consumer.assign([TopicPartition(reach.topic, reach.partition, reach.first)])
        try:
            while True:
                for message in self._some(reach):
                    if self._is_end(message, reach):
                        return
                    if message.error() is None:
                        yield _record(message)
                        if message.offset() + 1 >= reach.end:
                            return
        finally:
            self._consumer.unassign()

    def _some(self, reach: Reach) -> list[Any]:
        """What is here, once something is: a call for many at once would wait until it has them all."""
        first = self._consumer.poll(SILENCE_SECONDS)
        if first is None:
            raise ScanFailed(f"{reach.topic} [{reach.partition}]: nothing from Kafka for {SILENCE_SECONDS} s")
        return [first, *self._consumer.consume(500, 0)]

    def _partitions(self, topic: str) -> list[int]:
        metadata: Any = self._consumer.list_topics(topic, timeout=SILENCE_SECONDS)
        partitions = sorted(metadata.topics[topic].partitions)
        if not partitions:
            raise ScanFailed(f"topic {topic} does not exist; `headrace topics apply` creates it")
        return partitions

    def _reach(self, topic: str, number: int, since: int, until: int | None) -> Reach:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(topic, number), timeout=SILENCE_SECONDS
        )
        first = self._at(topic, number, since, high) if since > 0 else low
        end = high if until is None else self._at(topic, number, until, high)
        return Reach(topic=topic, partition=number, first=max(first, low), end=end)

    def _at(self, topic: str, number: int, time: int, high: int) -> int:
        """Offset of the first record of that time or younger; the log's end if there is none."""
        (found,) = self._consumer.offsets_for_times(
            [TopicPartition(topic, number, time)], timeout=SILENCE_SECONDS
        )
        if found.error is not None:
            raise KafkaException(found.error)
        return high if found.offset < 0 else min(found.offset, high)

    def _is_end(self, message: Any, reach: Reach) -> bool:
        """Whether the range ends before this message; raises for an error that librdkafka does not heal."""
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
            return bool(message.offset() >= reach.end)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's name
            raise Gone(f"{reach.topic} [{reach.partition}]: offset {reach.first} is not on the log any more")
        if not error.retriable():
            raise ScanFailed(f"{reach.topic} [{reach.partition}]: {error.str()}")
        return False


def _record(message: Any) -> Record:
    return Record(
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=message.headers() or (),
    )
