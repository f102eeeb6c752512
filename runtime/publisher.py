"""Publisher: records onto the log, each acknowledged by the broker before anybody is told so."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, Self

from confluent_kafka import KafkaError, KafkaException, Producer
from prometheus_client import Counter, Gauge

from runtime.settings import KafkaSettings

QUEUED = Gauge("headrace_publisher_queued_records", "Records that wait for Kafka's acknowledgement.")
REFUSED = Counter(
    "headrace_publisher_refused_records", "Times that a record was refused because too many waited."
)


class PublishError(Exception):
    """A record is not on the log, as far as we know."""

    retriable: bool = True
    """Whether the same record may succeed later."""


class Overloaded(PublishError):
    """The queue of unacknowledged records is full; nothing of the record was kept."""


class Undelivered(PublishError):
    """The broker did not acknowledge in time. The record may still be on the log."""


class TooLarge(PublishError):
    """The record is larger than its topic takes."""

    retriable = False


class Broken(PublishError):
    """The producer cannot go on without a gap; the process must end, and start again from its committed offset."""

    retriable = False


MOST_QUEUED = 100_000
"""Records; each takes a kilobyte of its own beside its bytes."""

QUEUE_FULL_SECONDS = 0.01

BUSY_SECONDS, IDLE_SECONDS = 0.001, 0.1
"""How often librdkafka is asked what happened, while something is on its way, and while nothing is."""

LEAVE_SECONDS = 10.0
"""How long a publisher that ends waits for what is on its way."""


Settled = Callable[[PublishError | None], None]
"""Hears what became of a record: None when it is on the log."""

Delivered = Callable[[KafkaError | None, Any], None]
"""The same for librdkafka's ears."""

Outgoing = tuple[str, bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]
"""A record on its way: topic, value, key, headers."""


class Log(Protocol):
    """Where records go: `Publisher`."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int = -1,
        timestamp_ms: int = 0,
    ) -> asyncio.Future[None]:
        """Queue a record; done when it is acknowledged."""


async def send(log: Log, topic: str, value: bytes | None, **options: Any) -> asyncio.Future[None]:
    """Queue a record as soon as there is room: what is on its way makes some, or ends with its time-out."""
    while True:
        try:
            return log.send(topic, value, **options)
        except Overloaded:
            await asyncio.sleep(QUEUE_FULL_SECONDS)


class Publisher:
    """An idempotent Kafka producer for asyncio.

    Memory is bounded by `max_queued_bytes` and `MOST_QUEUED`: beyond either, `send` raises `Overloaded`. Equal keys land on equal partitions
    in every client (`murmur2`).

    Args:
        kafka: where, and as whom.
        delivery_timeout: seconds until a record is given up as `Undelivered`; 0 never gives up, and then the first
            record that fails for good makes every later one fail too (`Broken`), so that no gap can arise.
        max_record_bytes: the largest record that is handed to librdkafka.

    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        delivery_timeout: float,
        max_record_bytes: int = 2 << 20,
        max_queued_bytes: int = 64 << 20,
        linger_ms: float = 2,
    ) -> None:
        gapless = delivery_timeout == 0
        self._options = kafka.librdkafka() | {
            "enable.idempotence": True,
            "enable.gapless.guarantee": gapless,
            "message.timeout.ms": int(delivery_timeout * 1000),
            "partitioner": "murmur2_random",
            "message.max.bytes": max_record_bytes,
            "queue.buffering.max.kbytes": max_queued_bytes >> 10,
            "queue.buffering.max.messages": MOST_QUEUED,
            "linger.ms": linger_ms,
            "compression.type": "lz4",
        }
        self._most_bytes = max_record_bytes - 4096  # the rest is for what Kafka puts beside them
        self._unsettled = 0
        self._idle = asyncio.Event()
        """Nothing is on its way: cleared by the first record, set at the first look after the last came home."""
        self._idle.set()
        self.error: str = ""
        """What broke the producer for good, or ""."""

    async def __aenter__(self) -> Self:
        """Start the producer. It connects in the background, and goes on trying."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._options, error_cb=self._on_error)
        self._timer = self._loop.call_later(IDLE_SECONDS, self._look)
        QUEUED.set_function(lambda: self._unsettled)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give queued records up to ten seconds to be acknowledged, then stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), LEAVE_SECONDS)
        self._timer.cancel()
        # librdkafka's threads end when nobody refers to the producer any more.
        del self._producer

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int = -1,
        timestamp_ms: int = 0,
    ) -> asyncio.Future[None]:
        """Queue a record; the future is done when the broker has it on all in-sync replicas.

        Records of one partition are acknowledged in the order they were sent. Cancelling the future takes nothing back.

        Raises:
            Overloaded: the queue is full.
            TooLarge: the value alone exceeds the limit.

        """
        future: asyncio.Future[None] = self._loop.create_future()

        def settled(error: PublishError | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        record: Outgoing = (topic, value, key, list(headers))
        self._produce(record, self._telling(settled), partition=partition, timestamp_ms=timestamp_ms)
        return future

    def post(self, records: Iterable[Outgoing], settled: Settled) -> None:
        """`send` for who waits for many records at once: of each, `settled` hears once, on the loop; it must not raise.

        Of a record that cannot even be queued it hears at once, with what `send` would raise, and those behind it are queued
        all the same.
        """
        delivered = self._telling(settled)
        for record in records:
            try:
                self._produce(record, delivered)
            except PublishError as error:
                settled(error)

    def _telling(self, settled: Settled) -> Delivered:
        def delivered(error: KafkaError | None, _: Any) -> None:
            self._unsettled -= 1
            settled(None if error is None else _translated(error))

        return delivered

    def _produce(
        self,
        record: Outgoing,
        delivered: Delivered,
        *,
        partition: int = -1,
        timestamp_ms: int = 0,
    ) -> None:
        topic, value, key, headers = record
        if value is not None and len(value) > self._most_bytes:
            raise TooLarge(f"{len(value)} bytes; {topic} takes {self._most_bytes}")
        try:
            self._producer.produce(
                topic, value, key, partition, delivered, timestamp=timestamp_ms, headers=headers
            )
        except BufferError as error:
            REFUSED.inc()
            raise Overloaded("too many records wait for the broker's acknowledgement") from error
        except KafkaException as error:
            raise _translated(error.args[0]) from error
        self._unsettled += 1
        if self._idle.is_set():
            self._idle.clear()
            self._timer.cancel()
            self._timer = self._loop.call_later(BUSY_SECONDS, self._look)

    def _look(self) -> None:
        # On the loop and not in a thread, which would fight with it for the interpreter at each acknowledgement.
        try:
            self._producer.poll(0)
        finally:
            if not self._unsettled:
                self._idle.set()
            self._timer = self._loop.call_later(BUSY_SECONDS if self._unsettled else IDLE_SECONDS, self._look)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.error = str(error)


def _translated(error: KafkaError) -> PublishError:
    if error.fatal():
        return Broken(error.str())
    match error.code():
        case KafkaError.MSG_SIZE_TOO_LARGE | KafkaError.RECORD_LIST_TOO_LARGE:
            return TooLarge(error.str())
        case KafkaError._QUEUE_FULL:  # noqa: SLF001 - librdkafka's name for a local error
            return Overloaded(error.str())
        case _:
            return Undelivered(error.str())
