"""Fetches: Kafka gathers messages for a moment before it answers, so that a slow stream makes few blocks.

A block costs 220 µs and 6 KB whatever is in it, and its reading costs the sink as much again. Stock faust-streaming 0.15.3 has
Kafka answer with the first message there is. It also lets an answer wait for 1.5 s: aiokafka has one fetch a broker under way, so
that a partition with a backlog stands still as long as one for the other partitions of its broker finds nothing.

These internals are overridden; tests/contract/test_faust_internals.py fails when one has moved. Upstream: settings of Faust for
`fetch_min_bytes` and `fetch_max_wait_ms`.

- `AIOKafkaConsumerThread._create_worker_consumer`: to say it to the consumer before that starts.
- `AIOKafkaConsumer._fetch_min_bytes`, `_fetch_max_wait_ms`: read when it starts.
- `AIOKafkaConsumer._fetcher`, `Fetcher._records`: read only, to show how many partitions are fetched ahead.
"""

from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from processors import metrics

ENOUGH_BYTES = 64 << 10
"""Kafka waits no longer as soon as it has so much, of all partitions of a broker: some hundred messages."""


class FetchThread(AIOKafkaConsumerThread):
    """The thread of Faust's consumer."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        app: Any = self.app
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_min_bytes = ENOUGH_BYTES  # noqa: SLF001 - see the module's docstring
        consumer._fetch_max_wait_ms = int(app.fetch_seconds * 1000)  # noqa: SLF001 - likewise
        metrics.FETCHED.set_function(lambda: fetched_partitions(consumer))
        return consumer


def fetched_partitions(consumer: Any) -> int:
    """Of how many partitions it has records that nobody took yet; any thread may ask."""
    fetcher = consumer._fetcher  # noqa: SLF001 - see the module's docstring
    return 0 if fetcher is None else len(fetcher._records)  # noqa: SLF001 - likewise
