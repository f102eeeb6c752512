"""What becomes of a message that no sink can write: its raw record is looked up, and put onto `dead-letters`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.publisher import Publisher, PublishError, send
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.codec import encode
from schemas.dead_letter import DeadLetter
from schemas.reading_block import Span
from schemas.topics import DEAD_LETTERS
from sinks.sink import Retryable, Unwritable

ANSWER_SECONDS = 20
"""How long Kafka may take to give one record, or to take one."""

_GONE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - librdkafka's names of its local errors
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's name
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's name
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """A raw record as it stands on the log, or, if it does not any more, a sentence that says so."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    missing: str = ""


class DeadLetters(Protocol):
    """Where raw records come from and dead letters go to."""

    def raw(self, span: Span, offset: int) -> RawRecord:
        """The untouched record at this offset of the raw partition that the span names.

        Raises:
            Retryable: Kafka does not answer.

        """

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Return when Kafka has each at least once; a reader tells repeats by their origin.

        Raises:
            Retryable: Kafka does not answer.
            Unwritable: one is larger than its topic takes.

        """


class KafkaDeadLetters:
    """The real ones. Both calls are rare, so each opens connections of its own."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    def raw(self, span: Span, offset: int) -> RawRecord:
        """See `DeadLetters.raw`."""
        place = f"{span.topic} [{span.partition}] at offset {offset}"
        if self._topic_id(span.topic) != span.topic_id:
            return RawRecord(missing=f"its raw record is gone: {span.topic} was deleted")
        consumer = Consumer(
            self._kafka.librdkafka()
            | {"group.id": "headrace-sink-unused", "enable.auto.commit": False, "auto.offset.reset": "error"}
        )
        try:
            consumer.assign([TopicPartition(span.topic, span.partition, offset)])
            found: Any = consumer.poll(ANSWER_SECONDS)
        except KafkaException as error:
            raise Retryable(f"{place}: {error}", code="kafka") from error
        finally:
            consumer.close()
        if found is None or (found.error() is not None and found.error().code() not in _GONE):
            reason = "no answer" if found is None else found.error().str()
            raise Retryable(f"{place}: {reason}", code="kafka")
        if found.error() is not None or found.offset() != offset:
            return RawRecord(missing=f"its raw record is gone: {place} was deleted")
        headers = {name: value or b"" for name, value in found.headers() or ()}
        return RawRecord(key=found.key(), value=found.value(), headers=headers)

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetters.publish`."""
        try:
            asyncio.run(self._publish(letters))
        except PublishError as error:
            kind = Retryable if error.retriable else Unwritable
            raise kind(f"{DEAD_LETTERS}: {error}", code="kafka") from error

    async def _publish(self, letters: Sequence[DeadLetter]) -> None:
        async with Publisher(self._kafka, delivery_timeout=ANSWER_SECONDS) as publisher:
            sent = [
                await send(
                    publisher,
                    DEAD_LETTERS,
                    encode(letter),
                    key=letter.key or b"",
                    timestamp_ms=letter.logged_at,
                )
                for letter in letters
            ]
            await asyncio.gather(*sent)

    def _topic_id(self, topic: str) -> str:
        """Kafka's id of a topic as of now; "" if there is none of the name."""
        try:
            return topic_ids(self._kafka, [topic], timeout=ANSWER_SECONDS)[topic]
        except TimeoutError as error:
            raise Retryable(f"{topic}: no answer", code="kafka") from error
        except UnknownTopic as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in _GONE:
                return ""
            raise Retryable(str(error), code="kafka") from error
