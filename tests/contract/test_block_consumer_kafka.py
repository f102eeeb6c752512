"""The sink's consumer on librdkafka's own consumer group, against the mock cluster that librdkafka brings along."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from runtime.settings import KafkaSettings
from schemas.reading_block import encode
from schemas.topics import READINGS
from sinks.app import consumer_options
from sinks.consumer import BlockConsumer
from sinks.progress import Piece, Progress
from sinks.settings import SinkSettings
from sinks.sink import Batch, Retryable
from sinks.stranded import Stranded
from tests.support.blocks import message, origins, span
from tests.support.fakes import MemoryDeadLetters, MemorySink

PARTITIONS = 4
BLOCKS = 10
MESSAGES = 5


class KilledError(RuntimeError):
    """The process ends here."""


class Topic:
    """`readings` on a cluster of its own, with numbered messages on it."""

    def __init__(self) -> None:
        self._producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.kafka = KafkaSettings(bootstrap=",".join(f"{broker.host}:{broker.port}" for broker in brokers))
        self.produced: list[tuple[str, int]] = []
        self._next = [0] * PARTITIONS

    def add(self, partition: int) -> None:
        """One more block."""
        first = self._next[partition]
        covered = span(first, first + MESSAGES - 1, topic_id=f"raw-{partition}", partition=partition)
        self._next[partition] = covered.last + 1
        value = encode([message(offset) for offset in range(first, covered.last + 1)])
        self._producer.produce(READINGS, value, partition=partition, headers=covered.headers())
        assert self._producer.flush(10) == 0
        self.produced += [(covered.topic_id, offset) for offset in range(first, covered.last + 1)]

    def consumer(self, group: str) -> Consumer:
        """A member of a group, as the sink configures it, only quicker to be missed."""
        options = consumer_options(self.kafka, SinkSettings(group=group))
        return Consumer(options | {"session.timeout.ms": 6000, "heartbeat.interval.ms": 100})


@pytest.fixture(scope="module", name="topic")
def _topic() -> Topic:
    topic = Topic()
    for _ in range(BLOCKS):
        for partition in range(PARTITIONS):
            topic.add(partition)
    return topic


@pytest.fixture(name="group")
def _group(request: pytest.FixtureRequest) -> str:
    """A group that no other test uses."""
    return str(request.node.name)


def _complete(topic: Topic, sink: MemorySink) -> bool:
    return len(_stored(sink)) >= len(topic.produced)


def _stored(sink: MemorySink) -> list[tuple[str, int]]:
    return [origin for batch in list(sink.batches.values()) for origin in origins(batch)]


def _member(
    topic: Topic, group: str, sink: MemorySink, stopping: Callable[[], bool], **settings: Any
) -> None:
    """Run a sink until it is told to stop, or raises."""
    some = SinkSettings(**{"group": group, "batch_rows": 2 * MESSAGES, "batch_seconds": 0.2, **settings})
    BlockConsumer(
        topic.consumer(group), sink, MemoryDeadLetters(), some, topic_id=lambda: "r", stopping=stopping
    ).run()


@contextlib.contextmanager
def _running(topic: Topic, group: str, sink: MemorySink) -> Iterator[None]:
    """A member in a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=_member, args=(topic, group, sink, stop.is_set))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _until(condition: Callable[[], bool], *, within: float = 40) -> Callable[[], bool]:
    """The condition, and a deadline, for a loop that asks now and then."""
    deadline = time.monotonic() + within

    def over() -> bool:
        if time.monotonic() > deadline:
            raise TimeoutError
        return condition()

    return over


def _wait(condition: Callable[[], bool]) -> None:
    over = _until(condition)
    pause = threading.Event()
    while not over():
        pause.wait(0.02)


class KilledOnceSink(MemorySink):
    """Is killed after its third batch is stored and before that is known."""

    def account(self, batch: Batch) -> None:
        """Store, and end."""
        super().account(batch)
        if len(self.batches) == 3:
            raise KilledError


def test_a_recorded_range_is_written_again_exactly(topic: Topic, group: str):
    """A sink that is killed between insert and commit leaves a range that the next one writes again, first and as it was."""
    killed = KilledOnceSink()
    with pytest.raises(KilledError):
        _member(topic, group, killed, _until(lambda: False))
    *_, (token, recorded) = killed.batches.items()
    topic.add(recorded.partition)

    heir = MemorySink()
    _member(topic, group, heir, _until(lambda: token in heir.batches), batch_rows=1)

    assert origins(heir.batches[token]) == origins(recorded)
    assert next(key for key in heir.batches if key[1] == recorded.partition) == token


def test_members_that_come_and_go_store_each_message_once(topic: Topic, group: str):
    """While members join and leave, each message is stored in exactly one batch."""
    sink = MemorySink()
    with _running(topic, group, sink):
        _wait(lambda: len(sink.batches) > 2)
        with _running(topic, group, sink):
            for partition in range(PARTITIONS):
                topic.add(partition)
            _wait(lambda: _complete(topic, sink))
        for partition in range(PARTITIONS):
            topic.add(partition)
        _wait(lambda: _complete(topic, sink))

    assert Counter(_stored(sink)) == Counter(topic.produced)


class BrokenSink(MemorySink):
    """Cannot write until it is repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.repaired = threading.Event()
        self.tried = threading.Event()

    def write(self, batch: Batch, piece: Piece) -> None:
        """Fail for a while."""
        if not self.repaired.is_set():
            self.tried.set()
            raise Retryable("away", code="connection")
        super().write(batch, piece)


def test_partitions_that_go_and_come_back_while_paused_are_consumed(topic: Topic, group: str):
    """Partitions that were paused for a failing insert, taken, and given back are not paused for ever."""
    sink = BrokenSink()
    with _running(topic, group, sink):
        sink.tried.wait(20)
        other = topic.consumer(group)
        other.subscribe([READINGS])
        over = _until(lambda: bool(other.assignment()))
        while not over():
            other.consume(1, 0.05)
        other.close()
        sink.repaired.set()
        _wait(lambda: _complete(topic, sink))

    assert Counter(_stored(sink)) == Counter(topic.produced)


def _commit(topic: Topic, group: str, offset: int, metadata: str) -> None:
    consumer = topic.consumer(group)
    consumer.commit(offsets=[TopicPartition(READINGS, 0, offset, metadata)], asynchronous=False)
    consumer.close()


def test_a_foreign_commit_ends_the_sink(topic: Topic, group: str):
    """An error inside the assignment ends the process with the operator's sentence, and nothing is written."""
    _commit(topic, group, 3, "")
    sink = MemorySink()

    with pytest.raises(Stranded, match=r"readings \[0\]: offset 3 was not committed by a sink"):
        _member(topic, group, sink, _until(lambda: False))

    assert sink.batches == {}


def test_an_offset_that_is_gone_ends_the_sink(topic: Topic, group: str):
    """An offset that the log does not have ends the process with the operator's sentence."""
    _commit(topic, group, 10_000, Progress(topic_id="r").encode())

    with pytest.raises((Stranded, KafkaException), match=r"readings \[0\]: offset 10000 is not on the log"):
        _member(topic, group, MemorySink(), _until(lambda: False))
