"""Statistics: how much librdkafka has fetched ahead, as it says now and then."""

from collections.abc import Mapping

import msgspec

from sinks import metrics

PERIOD_MS = 10_000


class _Partition(msgspec.Struct):
    fetchq_size: int = 0
    """Bytes of records that nobody has taken yet, of all partitions."""


class _Topic(msgspec.Struct):
    partitions: Mapping[str, _Partition] = {}


class _Statistics(msgspec.Struct):
    topics: Mapping[str, _Topic] = {}


_decoder = msgspec.json.Decoder(_Statistics)


def note(text: str) -> None:
    """Take what librdkafka says of a consumer, a JSON object. All of its partitions share a queue, and each tells its size."""
    topics = _decoder.decode(text).topics.values()
    sizes = [partition.fetchq_size for topic in topics for partition in topic.partitions.values()]
    metrics.FETCHED.set(max(sizes, default=0))
