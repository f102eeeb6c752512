"""What Kafka's errors mean to a sink. The client says of neither a consumed nor a commit's error that it is retriable."""

from confluent_kafka import KafkaError

FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001 - librdkafka's names of its local errors
    },
)
"""The partition is, or will be, somebody else's."""

WEATHER = frozenset(
    {
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's name
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - librdkafka's name
        KafkaError._TIMED_OUT,  # noqa: SLF001 - librdkafka's name
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's name
        KafkaError._WAIT_COORD,  # noqa: SLF001 - librdkafka's name
    },
)
"""It passes: the client connects, or joins, anew by itself."""
