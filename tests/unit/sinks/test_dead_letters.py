"""Dead letters onto a topic, against the mock cluster that librdkafka brings along."""

import functools

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from schemas.dead_letter import DeadLetter, Reason
from schemas.topics import DEAD_LETTERS, MAX_RAW_BYTES
from sinks import dead_letters
from sinks.dead_letters import KafkaDeadLetters

LETTERS = 10


def _letter(offset: int) -> DeadLetter:
    return DeadLetter(
        topic="raw-graph",
        topic_id="id of raw-graph",
        partition=0,
        offset=offset,
        logged_at=1_790_000_000_000,
        reason=Reason.UNWRITABLE,
        error="constraint violated",
        key=b"%d" % offset,
        value=bytes(MAX_RAW_BYTES),
        headers={},
    )


def test_more_letters_than_the_queue_takes_are_sent_once(monkeypatch: pytest.MonkeyPatch):
    """Letters that the producer's queue does not hold at once are sent one after the other, each once."""
    small = functools.partial(Publisher, max_queued_bytes=2 * MAX_RAW_BYTES, linger_ms=20)
    monkeypatch.setattr(dead_letters, "Publisher", small)
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    kafka = KafkaSettings(bootstrap=f"{broker.host}:{broker.port}")

    KafkaDeadLetters(kafka).publish([_letter(offset) for offset in range(LETTERS)])

    consumer = Consumer(kafka.librdkafka() | {"group.id": "unused"})
    partitions = consumer.list_topics(DEAD_LETTERS, timeout=10).topics[DEAD_LETTERS].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(DEAD_LETTERS, number))[1] for number in partitions]
    consumer.close()
    assert sum(ends) == LETTERS
