"""Read a range of a Kafka partition, and of a raw partition what is to be compared."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.verify.errors import Unjudged
from headrace.verify.page import UNKNOWN, Accepted
from runtime.settings import KafkaSettings
from schemas.codec import Undecodable, decode
from schemas.identity import IDENTITY_BYTES
from schemas.raw_message import IDENTITY_HEADER, RawMessage

SILENCE_SECONDS = 60
"""How long Kafka may give nothing where something is known to be."""

FETCHED_KB = 32_768
"""What the client fetches ahead of a partition, at most."""

# confluent-kafka types even a consumed message's offset as optional.
_Message = Any


def records(kafka: KafkaSettings, topic: str, partition: int, first: int, end: int) -> Generator[_Message]:
    """The records from offset `first` up to, and without, `end`; joins no group, commits nothing.

    Raises:
        Unjudged: they are no longer there, or Kafka stopped answering.

    """
    if first >= end:
        return
    consumer = Consumer(
        kafka.librdkafka()
        | {
            "group.id": "headrace-verify-unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": FETCHED_KB,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, first)])
        while True:
            next_one: _Message = consumer.poll(SILENCE_SECONDS)
            if next_one is None:
                raise Unjudged(f"no record of {topic} [{partition}] for {SILENCE_SECONDS} s")
            # What was fetched with it; to ask for a number with a timeout would wait until there are so many.
            fetched: Sequence[_Message] = consumer.consume(1000, 0)
            for message in (next_one, *fetched):
                if message.error() is not None:
                    _judge(message.error(), f"{topic} [{partition}]")
                    return
                if message.offset() >= end:
                    return
                yield message
                if message.offset() + 1 == end:
                    return
    except KafkaException as error:
        raise Unjudged(f"{topic} [{partition}]: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _judge(error: KafkaError, where: str) -> None:
    """Return at the end of the partition: nothing but markers of transactions was left of the range."""
    match error.code():
        case KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
            return
        case KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's name
            raise Unjudged(f"{where}: retention deleted what was to be read; try a later --since")
        case _:
            raise Unjudged(f"{where}: {error.str()}")


class RawLog:
    """The records of a raw partition, page by page."""

    def __init__(self, found: Iterator[_Message]) -> None:
        self._found = found
        self._ahead: _Message = None

    def page(self, last: int) -> dict[int, Accepted]:
        """The records from where the page before ended up to this offset."""
        accepted = {}
        message = self._ahead or next(self._found, None)
        while message is not None and message.offset() <= last:
            accepted[message.offset()] = Accepted(_identity(message), message.timestamp()[1])
            message = next(self._found, None)
        self._ahead = message
        return accepted


def _identity(message: _Message) -> bytes:
    """As the edge wrote it beside the message; if it did not, of what the message says."""
    for name, value in message.headers() or ():
        if name == IDENTITY_HEADER and value and len(value) == IDENTITY_BYTES:
            return bytes(value)
    try:
        return decode(RawMessage, message.value() or b"").identity()
    except Undecodable:
        return UNKNOWN
