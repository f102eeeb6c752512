"""Emitted: all that processors ever put onto `readings`, read beside the sinks."""

import logging
from collections import defaultdict
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.settings import LIBRDKAFKA
from schemas.reading_block import Span, decode
from schemas.topics import RAW_TOPICS, READINGS

Origin = tuple[str, int, int]
"""Raw topic, partition, offset."""


class Emitted:
    """Follows `readings` from its beginning; blocking, for a thread."""

    def __init__(self, bootstrap: str, *, sink_group: str, partitions: int) -> None:
        # In the sinks' group, but never a member of it: to ask for its offsets.
        options = {"bootstrap.servers": bootstrap, "group.id": sink_group, "enable.auto.commit": False}
        self._consumer = Consumer(options, logger=logging.getLogger(LIBRDKAFKA))
        self._partitions = range(partitions)
        self._next = dict.fromkeys(self._partitions, 0)
        self._consumer.assign([TopicPartition(READINGS, number, 0) for number in self._partitions])
        self._covered: dict[tuple[str, int], int] = defaultdict(lambda: -1)
        self.fates: dict[Origin, set[str]] = defaultdict(set)
        """Every fate that an origin was given; a second one contradicts the first."""
        self.repeats = 0
        """Messages that were emitted once more."""

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()

    def forget(self) -> None:
        """Begin anew with fates and repeats: what comes now is another cell's."""
        self.catch_up()
        self.fates.clear()
        self.repeats = 0

    def settled(self) -> bool:
        """Whether processors have emitted all that is on the raw log, and sinks have committed all that was emitted."""
        try:
            return self._settled()
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                # After it was frozen Kafka takes its own broker for dead for a moment. A client that asks who leads a partition
                # just then hears nobody, and believes it until it is told to ask again.
                self._consumer.list_topics(timeout=10)
                return False
            raise

    def _settled(self) -> bool:
        self.catch_up()
        raw = [(topic, number) for topic in RAW_TOPICS.values() for number in self._partitions]
        if any(self._covered[each] + 1 < self._end(*each) for each in raw):
            return False
        mine = [TopicPartition(READINGS, number) for number in self._partitions]
        committed = self._consumer.committed(mine, timeout=10)
        return all(max(found.offset, 0) == self._end(READINGS, found.partition) for found in committed)

    def catch_up(self) -> None:
        """Read to the present end."""
        ends = self.ends(READINGS)
        while any(self._next[number] < end for number, end in ends.items()):
            for message in self._consumer.consume(500, 0.2):
                if message.error() is None:
                    self._take(message)

    def ends(self, topic: str) -> dict[int, int]:
        """The next offset of each partition of a topic."""
        return {number: self._end(topic, number) for number in self._partitions}

    def _end(self, topic: str, number: int) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
        return int(end)

    def _take(self, message: Any) -> None:
        self._next[message.partition()] = message.offset() + 1
        span, rows = Span.of(message.headers()), decode(message.value())
        place = (span.topic, span.partition)
        self._covered[place] = max(self._covered[place], span.last)
        for offset, fate in zip(
            rows.column("offset").to_pylist(), rows.column("fate").to_pylist(), strict=True
        ):
            fates = self.fates[(*place, offset)]
            self.repeats += bool(fates)
            fates.add(fate)
