"""Fetches: Kafka gathers messages for a moment before it answers, and its answers are read where they are processed.

A block costs 220 µs and 6 KB whatever is in it, and its reading costs the sink as much again. Stock faust-streaming 0.15.3 has
Kafka answer with the first message there is. It also lets an answer wait for 1.5 s: aiokafka has one fetch a broker under way, so
that a partition with a backlog stands still as long as one for the other partitions of its broker finds nothing.

Stock Faust also reads them in a thread of its own, so that agents which block the loop do not lose their place in the group. That
thread and the loop take the interpreter from each other, mostly from another core, where nothing of what it works on is in a cache:
a fifth of what a processor did. Here nothing blocks the loop for long (see `processors.refinery.LARGE_BYTES`), and one loop does both.

These internals are overridden; tests/contract/test_faust_internals.py fails when one has moved. Upstream: settings of Faust for
`fetch_min_bytes` and `fetch_max_wait_ms`, and a consumer without a thread.

- `AIOKafkaConsumerThread._create_worker_consumer`: to say it to the consumer before that starts.
- `AIOKafkaConsumer._fetch_min_bytes`, `_fetch_max_wait_ms`: read when it starts.
- `AIOKafkaConsumer._fetcher`, `Fetcher._records`: read only, to show how many partitions are fetched ahead.
- `ServiceThread.Worker`, `ServiceThread._serve`, `ServiceThread.thread_loop`: to serve in a task of the app's loop instead of a thread.
- `ServiceThread._gather_remaining_tasks`: not to cancel every task of that loop in the end.
"""

import asyncio
from typing import Any

import structlog
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from processors import metrics

log = structlog.get_logger()

ENOUGH_BYTES = 64 << 10
"""Kafka waits no longer as soon as it has so much, of all partitions of a broker: some hundred messages."""


class _Task:
    """What mode takes for the thread that a service runs in."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def start(self) -> None:
        """Serve until the service is told to stop."""
        self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        try:
            await self._service._serve()  # noqa: SLF001 - see the module's docstring
        except Exception:
            # A thread would end here as well; whoever waits for the service must hear.
            log.exception("Faust's consumer has failed")
            self._service.set_shutdown()

    def stop(self) -> None:
        """It has stopped: mode waits for the service before."""


class FetchTask(AIOKafkaConsumerThread):
    """The consumer thread of Faust's consumer, as a task of the app's loop."""

    Worker: Any = _Task

    def __init__(self, consumer: Any, *, loop: Any, **options: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **options)

    async def _gather_remaining_tasks(self) -> None:
        """Leave the tasks of the loop to those who began them."""

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
