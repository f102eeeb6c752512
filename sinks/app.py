"""The sink process: its parts put together, run until told to stop."""

import functools
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer

from runtime import log as logging
from runtime.health import health
from runtime.memory import give_back_freed
from runtime.settings import HealthSettings, KafkaSettings, LogSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.topics import READINGS
from sinks.clickhouse import canary
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseSink
from sinks.consumer import BlockConsumer
from sinks.dead_letters import KafkaDeadLetters
from sinks.settings import ClickHouseSettings, SinkSettings
from sinks.sink import Retryable, Unwritable
from sinks.statistics import PERIOD_MS, note
from sinks.stranded import Stranded

log = structlog.get_logger()

POLL_INTERVAL_SECONDS = 600
"""Longest time between two polls: five requests of the longest `insert_timeout`, and then some."""

QUEUED_BYTES = 64 << 20
"""What librdkafka fetches ahead."""

ANSWER_BYTES = 16 << 20
"""The most that Kafka puts into one answer: one may overfill the queue, and one is held whole until its last block is taken."""

LARGE_BYTES, KEPT_BYTES = 2 << 20, 16 << 20
"""From which size on malloc gives back at once what was freed, and how much it may keep at the end of an arena. Blocks of
readings come and go all the time, below the first: to have new pages cleared for each took a fifth of the sink's CPU."""

STUCK_SECONDS = float(POLL_INTERVAL_SECONDS)

T = TypeVar("T")


def main() -> None:
    """Run one sink until SIGTERM or SIGINT; where going on would lose or repeat readings it exits with 1 and says why."""
    give_back_freed(large_bytes=LARGE_BYTES, kept_bytes=KEPT_BYTES)
    kafka, clickhouse, settings = KafkaSettings(), ClickHouseSettings(), SinkSettings()
    logging.configure(LogSettings())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running: list[BlockConsumer] = []

    def ready() -> str:
        return running[0].trouble if running else "waiting for ClickHouse and Kafka"

    def alive() -> str:
        still = time.monotonic() - running[0].last_loop if running else 0.0
        return f"the loop has not come round for {still:.0f} s" if still > STUCK_SECONDS else ""

    with health(HealthSettings(), ready=ready, alive=alive):
        try:
            run(kafka, clickhouse, settings, stop, running)
        except (Stranded, Unwritable) as error:
            log.error("stopped for good", reason=str(error))  # noqa: TRY400 - the sentence says all; a trace would hide it
            sys.exit(1)
    log.info("stopped")


def run(
    kafka: KafkaSettings,
    clickhouse: ClickHouseSettings,
    settings: SinkSettings,
    stop: threading.Event,
    running: list[BlockConsumer],
) -> None:
    """Wait for ClickHouse and Kafka, then consume until told to stop; `running` gets the consumer for the probes.

    Raises:
        Unwritable: the tables are not what exactly-once needs.
        Stranded: see `BlockConsumer.run`.

    """
    sink = persistently(functools.partial(prepare, clickhouse, settings), stop, (Retryable,))
    if sink is None:
        return
    look = functools.partial(topic_ids, kafka, [READINGS], timeout=10)
    if persistently(look, stop, (UnknownTopic, TimeoutError)) is None:
        return
    consumer = BlockConsumer(
        Consumer(consumer_options(kafka, settings)),
        sink,
        KafkaDeadLetters(kafka),
        settings,
        # In a rebalance Kafka may be as slow here as with what was committed.
        topic_id=lambda: topic_ids(kafka, [READINGS], timeout=30)[READINGS],
        stopping=stop.is_set,
    )
    running.append(consumer)
    consumer.run()


def prepare(clickhouse: ClickHouseSettings, settings: SinkSettings) -> ClickHouseSink:
    """A sink whose tables are up to date and proven to de-duplicate.

    Raises:
        Retryable: ClickHouse is away.
        Unwritable: a sentence for the operator.

    """
    client: Any = connect(clickhouse, insert_timeout=settings.insert_timeout)
    for name in migrate(client, cluster=clickhouse.cluster):
        log.info("migrated", file=name)
    sink = ClickHouseSink(client, cluster=clickhouse.cluster)
    canary.check(client, sink)
    log.info("de-duplication proven", server=client.server_version)
    return sink


def consumer_options(kafka: KafkaSettings, settings: SinkSettings) -> dict[str, Any]:
    """The consumer's configuration: explicit offsets, strict about offsets that are gone, memory bounded."""
    options = kafka.consuming(queued_bytes=QUEUED_BYTES) | {
        "group.id": settings.group,
        # An offset that is no longer on the log means loss: an operator has to know, a default must not decide.
        "auto.offset.reset": "error",
        "fetch.message.max.bytes": 8 << 20,
        "fetch.max.bytes": ANSWER_BYTES,
        "fetch.wait.max.ms": 100,
        "max.poll.interval.ms": POLL_INTERVAL_SECONDS * 1000,
        "session.timeout.ms": int(settings.session_timeout * 1000),
        "heartbeat.interval.ms": int(settings.session_timeout * 100),
        "partition.assignment.strategy": "range",
        "statistics.interval.ms": PERIOD_MS,
        "stats_cb": note,
    }
    if settings.instance:
        options["group.instance.id"] = settings.instance
    return options


def persistently(
    attempt: Callable[[], T], stop: threading.Event, weather: tuple[type[Exception], ...]
) -> T | None:
    """The attempt's result, tried every second until it comes; None if told to stop first."""
    while not stop.is_set():
        try:
            return attempt()
        except weather as error:
            log.warning("waiting", reason=str(error) or type(error).__name__)
            stop.wait(1)
    return None
