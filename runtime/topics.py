"""Make the broker match the table of topics, and ask it what its topics are."""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from runtime.settings import KafkaSettings
from schemas.topics import TOPICS

FEW = 3
"""Partitions of a topic that does not scale with the fleet's traffic."""


class UnknownTopic(RuntimeError):
    """A topic that we need is not there. It may be a moment later, or after `headrace topics apply`."""


def create_topics(
    kafka: KafkaSettings, *, partitions: int, replication: int = 1, timeout: float = 30
) -> list[str]:
    """Create the topics of `schemas.topics` that are missing; return their names.

    Topics that exist are left as they are: partitions cannot shrink, and settings are the operator's.

    Raises:
        KafkaException: Kafka is away, or refused.

    """
    admin = AdminClient(kafka.librdkafka())
    admin.list_topics(timeout=10)  # a broker that nobody reaches is told from one that refuses
    wanted = [
        NewTopic(topic.name, partitions if topic.scaled else FEW, replication, config=dict(topic.config))
        for topic in TOPICS.values()
    ]
    created = []
    for name, done in admin.create_topics(wanted, operation_timeout=timeout).items():
        try:
            done.result(timeout)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def topic_ids(kafka: KafkaSettings, names: Iterable[str], *, timeout: float = 30) -> Mapping[str, str]:
    """Kafka's own id of each topic.

    Raises:
        UnknownTopic: one of them did not exist within the timeout, in seconds.

    """
    admin = AdminClient(kafka.librdkafka())
    deadline = time.monotonic() + timeout
    pending = admin.describe_topics(TopicCollection(list(names)))
    ids = {}
    for name, future in pending.items():
        try:
            ids[name] = str(future.result(max(0.0, deadline - time.monotonic())).topic_id)
        except KafkaException as error:
            raise UnknownTopic(
                f"topic {name}: {error.args[0].str()}; `headrace topics apply` creates it"
            ) from error
    return ids
