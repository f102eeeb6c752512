"""Ranges: which offsets of each raw partition have to be in all three places, as of now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.verify.errors import Unjudged
from headrace.verify.findings import Origin
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.topics import READINGS
from sinks.progress import Progress

TIMEOUT_SECONDS = 30

KEPT_MS = (30 * 24 - 1) * 3600 * 1000
"""How long `messages` surely keeps a row: its month, less an hour for this to run in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Offsets of the first record of a partition, and behind the last one."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is read and judged of one raw partition."""

    origin: Origin
    begin: int
    """The first raw record that is read: messages of the range may repeat it."""
    first: int
    last: int
    """The offsets that are judged, up to the last one that the sink says is stored."""
    known_from: int | None
    """As of `repeats.Repeats`."""
    raw: Ends
    readings: Ends
    readings_begin: int
    note: str = ""
    """Why it begins later than was asked for."""

    @property
    def waiting(self) -> int:
        """Records that the sink had not stored yet."""
        return max(0, self.raw.high - 1 - max(self.last, self.raw.low - 1))

    @property
    def size(self) -> int:
        """Offsets that are read."""
        return max(0, self.last + 1 - self.begin)

    @property
    def judged(self) -> int:
        """Offsets that are judged."""
        return max(0, self.last + 1 - self.first)

    @property
    def is_gone(self) -> bool:
        """Whether something is stored, and nothing of it is on the logs any more."""
        return self.last >= 0 and (self.raw.low > self.last or bool(self.note and not self.judged))

    @property
    def readings_are_cut(self) -> bool:
        """Whether retention may have taken blocks of this range from `readings`."""
        return 0 < self.readings.low == self.readings_begin

    def cut(self, first: int | None) -> "Range":
        """The range without what retention took from `readings`, whose blocks begin at this offset; None: all of it."""
        first = self.last + 1 if first is None else first
        if first <= self.begin:
            return self
        note = f"{READINGS} no longer has what lies before offset {first}"
        return replace(
            self,
            begin=first,
            first=max(first, self.first),
            known_from=None,
            note=note if first > self.first else "",
        )


class Snapshot:
    """Kafka's state at one moment, asked in the order that makes it safe: what is stored first, the logs' ends after it.

    Args:
        kafka: where it is.
        group: of the sinks; it is looked at, and not joined.

    """

    def __init__(self, kafka: KafkaSettings, *, group: str) -> None:
        self._kafka = kafka
        self._group = group

    def ranges(self, topics: Sequence[str], *, since: int, longest: int) -> list[Range]:
        """The range of every partition of these raw topics.

        Args:
            topics: raw topics.
            since: milliseconds since 1970: what the log took earlier is not judged.
            longest: milliseconds that a message may repeat another after.

        Raises:
            Unjudged: Kafka is away, a topic is missing, or the group's offsets are not a sink's.

        """
        try:
            ids = topic_ids(self._kafka, [*topics, READINGS], timeout=TIMEOUT_SECONDS)
        except (UnknownTopic, TimeoutError) as error:
            reason = str(error) or f"no answer within {TIMEOUT_SECONDS} s"
            raise Unjudged(f"Kafka at {self._kafka.bootstrap}: {reason}") from error
        consumer = Consumer(self._kafka.librdkafka() | {"group.id": self._group, "enable.auto.commit": False})
        try:
            asked = _Asked(consumer)
            stored = self._stored(asked, ids[READINGS])
            return [
                self._range(
                    asked,
                    Origin(topic=topic, topic_id=ids[topic], partition=partition),
                    stored,
                    since,
                    longest,
                )
                for topic in topics
                for partition in asked.partitions(topic)
            ]
        except KafkaException as error:
            raise Unjudged(f"Kafka at {self._kafka.bootstrap}: {error.args[0].str()}") from error
        finally:
            consumer.close()

    def _stored(self, asked: "_Asked", topic_id: str) -> dict[tuple[str, int], int]:
        """The last stored offset by raw topic id and partition, as the sinks committed it."""
        stored: dict[tuple[str, int], int] = {}
        for partition, metadata in asked.committed(READINGS):
            try:
                progress = Progress.decode(metadata)
            except ValueError as error:
                raise Unjudged(f"group {self._group}, {READINGS} [{partition}]: {error}") from error
            if progress.topic_id not in {"", topic_id}:
                raise Unjudged(
                    f"{READINGS} was created anew, and the sink has not stored anything of it yet; try again once it has"
                )
            stored |= {(raw, partition): offset for raw, offset in progress.stored.items()}
        return stored

    def _range(
        self, asked: "_Asked", origin: Origin, stored: dict[tuple[str, int], int], since: int, longest: int
    ) -> Range:
        raw = asked.ends(origin.topic, origin.partition)
        readings = asked.ends(READINGS, origin.partition)
        began = since - longest
        begin = max(raw.low, asked.offset_at(origin.topic, origin.partition, began, raw))
        return Range(
            origin=origin,
            begin=begin,
            first=max(begin, asked.offset_at(origin.topic, origin.partition, since, raw)),
            last=stored.get((origin.topic_id, origin.partition), -1),
            known_from=0 if begin == 0 else (began if begin > raw.low else None),
            raw=raw,
            readings=readings,
            # A block is as old as the newest of its messages, or younger: none of the range lies before this.
            readings_begin=asked.offset_at(READINGS, origin.partition, began, readings),
        )


class _Asked:
    """What a consumer that joins nothing can be asked."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def partitions(self, topic: str) -> list[int]:
        found: Any = self._consumer.list_topics(topic, timeout=TIMEOUT_SECONDS)
        return sorted(found.topics[topic].partitions)

    def committed(self, topic: str) -> Iterator[tuple[int, str]]:
        """Partition and metadata of each offset that the group committed."""
        targets = [TopicPartition(topic, number) for number in self.partitions(topic)]
        for found in self._consumer.committed(targets, timeout=TIMEOUT_SECONDS):
            if found.error is not None:
                raise KafkaException(found.error)
            if found.offset >= 0:
                yield found.partition, found.metadata or ""

    def ends(self, topic: str, partition: int) -> Ends:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS
        )
        return Ends(low=low, high=high)

    def offset_at(self, topic: str, partition: int, time: int, ends: Ends) -> int:
        """Offset of the first record of that time (milliseconds since 1970) or younger; the end, if there is none."""
        target = TopicPartition(topic, partition, max(0, time))
        (found,) = self._consumer.offsets_for_times([target], timeout=TIMEOUT_SECONDS)
        if found.error is not None:
            raise KafkaException(found.error)
        return int(found.offset) if found.offset >= 0 else ends.high
