"""What librdkafka says of itself."""

import json

from prometheus_client import REGISTRY

from sinks.statistics import note


def said(**partitions: int) -> str:
    """As librdkafka says it, of what it fetched."""
    sizes = {number: {"fetchq_size": size, "fetchq_cnt": 1} for number, size in partitions.items()}
    return json.dumps({"name": "rdkafka", "topics": {"readings": {"topic": "readings", "partitions": sizes}}})


def test_what_is_fetched_ahead_is_shown():
    """Partitions share a queue, and each tells its size; the internal one has none."""
    note(said(p0=2000, p1=2000, internal=0))

    assert 2000 == REGISTRY.get_sample_value("headrace_sink_fetched_bytes")


def test_before_there_are_partitions_nothing_is_fetched():
    """A consumer without an assignment holds nothing."""
    note(said())

    assert 0 == REGISTRY.get_sample_value("headrace_sink_fetched_bytes")
