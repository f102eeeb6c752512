"""Offsets: what Kafka says of a partition's ends and times, and of what a group committed; no group is joined."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.settings import KafkaSettings
from schemas.topics import READINGS
from sinks.progress import Progress

ANSWER_SECONDS = 30


class ScanFailed(RuntimeError):
    """Kafka did not give what was asked; a sentence for the operator. Another attempt may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Offsets of the first record of a partition, and behind the last one."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Offsets of one partition: from `first` up to, and without, `end`."""

    topic: str
    partition: int
    first: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.first)


class Offsets:
    """Asks; commits nothing.

    Args:
        kafka: where.
        group: whose commits are looked at. A consumer that subscribes to nothing does not join its group.

    Raises (every method):
        ScanFailed: Kafka is away, or does not know what was asked for.

    """

    def __init__(self, kafka: KafkaSettings, *, group: str = "headrace-offsets-unused") -> None:
        self._bootstrap = kafka.bootstrap
        self._group = group
        self._options = kafka.librdkafka() | {"group.id": group, "enable.auto.commit": False}

    def __enter__(self) -> Self:
        self._consumer = Consumer(self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """The numbers of the topic's partitions."""
        with self._translated(topic):
            metadata: Any = self._consumer.list_topics(topic, timeout=ANSWER_SECONDS)
        found = sorted(metadata.topics[topic].partitions)
        if not found:
            raise ScanFailed(f"topic {topic} does not exist; `headrace topics apply` creates it")
        return found

    def ends(self, topic: str, partition: int) -> Ends:
        """Where the partition begins and ends now."""
        with self._translated(topic):
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=ANSWER_SECONDS
            )
        return Ends(low=low, high=high)

    def at(self, topic: str, partition: int, time: int, ends: Ends) -> int:
        """Offset of the first record of that time (milliseconds since 1970) or younger; the end, if there is none."""
        target = TopicPartition(topic, partition, max(0, time))
        with self._translated(topic):
            (found,) = self._consumer.offsets_for_times([target], timeout=ANSWER_SECONDS)
            if found.error is not None:
                raise KafkaException(found.error)
        return ends.high if found.offset < 0 else min(found.offset, ends.high)

    def reaches(self, topic: str, *, since: int = 0, until: int | None = None) -> list[Reach]:
        """What each partition holds now, from the first record of time `since` to the first of time `until`.

        Times are in milliseconds since 1970. Where a topic's times do not grow with its offsets, younger and older records
        stand in between.
        """
        found = []
        for number in self.partitions(topic):
            ends = self.ends(topic, number)
            first = self.at(topic, number, since, ends) if since > 0 else ends.low
            end = ends.high if until is None else self.at(topic, number, until, ends)
            found.append(Reach(topic=topic, partition=number, first=max(first, ends.low), end=end))
        return found

    def committed(self, targets: Iterable[tuple[str, int]]) -> dict[tuple[str, int], TopicPartition]:
        """What the group committed of these topics and partitions; offset -1001 where it has not."""
        wanted = [TopicPartition(*target) for target in targets]
        if not wanted:
            return {}
        with self._translated(f"group {self._group}"):
            found = self._consumer.committed(wanted, timeout=ANSWER_SECONDS)
            for each in found:
                if each.error is not None:
                    raise KafkaException(each.error)
        return {(each.topic, each.partition): each for each in found}

    def progress(self) -> dict[int, Progress]:
        """What is stored, by partition of `readings`: the group has to be that of the sinks."""
        targets = [(READINGS, number) for number in self.partitions(READINGS)]
        try:
            return {
                number: Progress.decode(found.metadata)
                for (_, number), found in self.committed(targets).items()
            }
        except ValueError as error:
            raise ScanFailed(f"group {self._group}, {READINGS}: {error}") from error

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise ScanFailed(
                f"Kafka at {self._bootstrap} says nothing of {what}: {error.args[0].str()}"
            ) from error
