"""Scan: the records of a topic from one offset to another, read without joining any group."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.offsets import Reach, ScanFailed
from runtime.settings import KafkaSettings

SILENCE_SECONDS = 60
"""How long Kafka may give nothing where something is known to be."""


class Gone(ScanFailed):
    """Records of the range were deleted by retention. Another attempt at the same range fails again."""


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
        self._options = kafka.consuming(queued_bytes=16 << 20) | {
            "group.id": "headrace-scan-unused",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }

    def __enter__(self) -> Self:
        self._consumer = Consumer(self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, reach: Reach) -> Generator[Record, None, None]:
        """Every record of a range, in its order.

        Raises:
            Gone: the first of them is not on the log any more.
            ScanFailed: Kafka stopped answering.

        """
        if not reach:
            return
        try:
            self._consumer.assign([TopicPartition(reach.topic, reach.partition, reach.first)])
            while True:
                for message in self._some(reach):
                    if self._is_end(message, reach):
                        return
                    if message.error() is None:
                        yield _record(message)
                        if message.offset() + 1 >= reach.end:
                            return
        except KafkaException as error:
            raise ScanFailed(f"{reach.topic} [{reach.partition}]: {error.args[0].str()}") from error
        finally:
            self._consumer.unassign()

    def _some(self, reach: Reach) -> list[Any]:
        """What is here, once something is: a call for many at once would wait until it has them all."""
        first = self._consumer.poll(SILENCE_SECONDS)
        if first is None:
            raise ScanFailed(f"{reach.topic} [{reach.partition}]: nothing from Kafka for {SILENCE_SECONDS} s")
        return [first, *self._consumer.consume(1000, 0)]

    def _is_end(self, message: Any, reach: Reach) -> bool:
        """Whether the range ends before this message; raises for an error that librdkafka does not heal."""
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
            return bool(message.offset() >= reach.end)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's name
            raise Gone(f"{reach.topic} [{reach.partition}]: retention deleted offset {reach.first}")
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
