"""What is stored of a partition: as its group committed it, or as the sink knows it where those commits are gone."""

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaException, TopicPartition

from schemas.topics import READINGS
from sinks.delivery import Keeper
from sinks.partition import Partition
from sinks.progress import Progress
from sinks.sink import Doubtful, Sink, SinkError
from sinks.stranded import Stranded

log = structlog.get_logger()

RETRY_SECONDS = 1.0


def recover(partition: Partition, sink: Sink, keeper: Keeper) -> None:
    """Return when the partition has its watermarks from the sink itself, however long that takes.

    Raises:
        Stranded: a batch was in doubt when the commits were lost, and part of it is stored.

    """
    stored = _stored(partition, sink, keeper)
    partition.recover(stored)
    if stored:
        log.info("progress recovered from the tables", partition=partition.number, stored=dict(stored))


def _stored(partition: Partition, sink: Sink, keeper: Keeper) -> Mapping[str, int]:
    while True:
        try:
            return sink.stored(partition.number)
        except Doubtful as error:
            raise Stranded(
                f"{READINGS} [{partition.number}]: {error}; what Kafka knew of their batch is lost, and written again they"
                " would count twice; docs/sink.md, Exit codes, has the way out"
            ) from error
        except SinkError as error:
            keeper.hold(error, RETRY_SECONDS)


def restored(found: TopicPartition, group: str) -> Progress:
    """The progress that a group has committed for a partition of `readings`.

    Raises:
        KafkaException: Kafka did not say.
        Stranded: it was not a sink that committed.

    """
    if found.error is not None:
        raise KafkaException(found.error)
    try:
        progress = Progress.decode(found.metadata)
    except ValueError as error:
        raise Stranded(_foreign(found, group)) from error
    if found.offset >= 0 and not progress.topic_id:
        raise Stranded(_foreign(found, group))
    return progress


def _foreign(found: TopicPartition, group: str) -> str:
    return (
        f"group {group}, {READINGS} [{found.partition}]: offset {found.offset} was not committed by a"
        f" sink (metadata {found.metadata!r:.200}), so what is stored is not known; a sink needs a group of its own,"
        " and its offsets cannot be reset by hand; docs/sink.md, Exit codes, has the way out"
    )
