"""Pipeline: how far the processors and the sinks have come, seen from outside of their groups."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.scan import ScanFailed, Scanner
from runtime.settings import KafkaSettings
from runtime.topics import topic_ids
from schemas.topics import RAW_TOPICS, READINGS
from sinks.progress import Progress

ANSWER_SECONDS = 30
LOOK_SECONDS = 0.2


class StandsStill(RuntimeError):
    """The pipeline does not come any further; a sentence for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A raw partition, and its last offset at some time."""

    topic: str
    topic_id: str
    partition: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a raw partition still lacks until everything up to its goal is in ClickHouse."""

    goal: Goal
    messages: int
    stage: str
    """The command of the process that is to come further next."""

    def __str__(self) -> str:
        where = f"{self.goal.topic} [{self.goal.partition}]"
        return f"{where} lacks {self.messages:,} messages, and `headrace {self.stage}` is to come further"


class Pipeline:
    """Reads the groups' committed offsets; joins none, and commits nothing.

    Args:
        kafka: where.
        processors: group of the processors.
        sinks: group of the sinks; its commits say what is stored.

    """

    def __init__(self, kafka: KafkaSettings, *, processors: str, sinks: str) -> None:
        self._kafka = kafka
        self._processors = processors
        self._sinks = sinks

    def goals(self) -> list[Goal]:
        """What is on the raw topics now. Partitions that hold nothing have no goal.

        Raises:
            ScanFailed: Kafka is away.
            UnknownTopic: a raw topic does not exist.

        """
        ids = topic_ids(self._kafka, RAW_TOPICS.values())
        with Scanner(self._kafka) as scanner:
            return [
                Goal(topic=topic, topic_id=ids[topic], partition=reach.partition, last=reach.end - 1)
                for topic in RAW_TOPICS.values()
                for reach in scanner.reaches(topic)
                if reach
            ]

    def missing(self, goals: Sequence[Goal]) -> list[Missing]:
        """The goals that are not reached.

        Raises:
            ScanFailed: Kafka is away, or the sinks' group is not theirs.

        """
        try:
            stored = self._stored({goal.partition for goal in goals})
            behind = [goal for goal in goals if stored[goal.partition].get(goal.topic_id, -1) < goal.last]
            targets = [(goal.topic, goal.partition) for goal in behind]
            processed = {
                (tp.topic, tp.partition): tp.offset for tp in self._committed(self._processors, targets)
            }
        except (KafkaException, ValueError) as error:
            raise ScanFailed(f"how far the pipeline is cannot be told: {error}") from error
        return [
            Missing(
                goal=goal,
                messages=goal.last - stored[goal.partition].get(goal.topic_id, -1),
                stage="sink" if processed[goal.topic, goal.partition] > goal.last else "process",
            )
            for goal in behind
        ]

    def wait(self, goals: Sequence[Goal], *, patience: float, report: Callable[[int], None]) -> None:
        """Return when every goal is reached; `report` is told how many messages are missing.

        Raises:
            StandsStill: none of the missing messages arrived for `patience` seconds.
            ScanFailed: as `missing`.

        """
        least, since = None, time.monotonic()
        while missing := self.missing(goals):
            count = sum(each.messages for each in missing)
            report(count)
            if least is None or count < least:
                least, since = count, time.monotonic()
            if time.monotonic() - since > patience:
                first, *others = missing
                more = f" (and {len(others)} partitions more)" if others else ""
                raise StandsStill(f"nothing has moved for {patience:.0f} s: {first}{more}")
            time.sleep(LOOK_SECONDS)
        report(0)

    def _stored(self, partitions: set[int]) -> dict[int, dict[str, int]]:
        """Partition to the last stored offset of each raw topic in it."""
        found = self._committed(self._sinks, [(READINGS, number) for number in partitions])
        return {tp.partition: dict(Progress.decode(tp.metadata).stored) for tp in found}

    def _committed(self, group: str, targets: Sequence[tuple[str, int]]) -> list[Any]:
        if not targets:
            return []
        # A consumer that subscribes to nothing does not join its group.
        options = {"group.id": group, "enable.auto.commit": False}
        consumer = Consumer(self._kafka.librdkafka() | options)
        try:
            found: list[Any] = consumer.committed(
                [TopicPartition(*target) for target in targets], timeout=ANSWER_SECONDS
            )
        finally:
            consumer.close()
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        return found
