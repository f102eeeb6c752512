"""Refinery: chunks in the order of the log, each processed once a generation, each acknowledged last."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from processors import metrics
from processors.dedupe import Window
from processors.refine import RawRecord, Source, blocks, dead_letter, refine
from runtime.faults import Moment, reached
from runtime.publisher import Overloaded
from runtime.registry import Devices
from schemas.codec import encode
from schemas.reading_block import Fate, MessageRow, Span
from schemas.topics import DEAD_LETTERS, RAW_TOPICS, READINGS

log = structlog.get_logger()

QUEUE_FULL_SECONDS = 0.01

_DIALECTS = {topic: dialect for dialect, topic in RAW_TOPICS.items()}


class Log(Protocol):
    """Where blocks and dead letters go: `runtime.publisher.Publisher`."""

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


class Offsets(Protocol):
    """What is asked and told about offsets: `processors.chunks.ChunkConsumer`."""

    async def committed(self, tp: Any) -> int | None:
        """The group's committed offset."""

    async def seek(self, partition: Any, offset: int) -> None:
        """Deliver from this offset on."""

    def processed(self, tp: Any, offset: int, generation: int) -> None:
        """Everything up to the offset has had its effect."""

    @property
    def generation(self) -> int:
        """Of the group, as of now; it need not grow: a group that Kafka forgot starts over."""


@dataclass(slots=True)
class _Owned:
    """One raw partition in one generation of the group."""

    source: Source
    next: int
    window: Window | None = None
    sought: int = -1
    """`moves` of the chunks for which a seek was asked last: one seek answers for all of them."""


class Refinery:
    """Turns chunks into blocks.

    Faust may deliver a chunk twice, or leave one out, inside one generation: offsets are therefore checked, repeats dropped,
    and a gap answered by seeking back to it.

    Args:
        offsets: of the consumer that delivers the chunks.
        publisher: ordered and without gaps; anything that it cannot deliver is fatal.
        devices: the registry.
        topic_ids: Kafka's id of each raw topic.
        rebuild: the window of a partition as of an offset; blocking.

    """

    def __init__(
        self,
        offsets: Offsets,
        publisher: Log,
        devices: Devices,
        *,
        topic_ids: dict[str, str],
        rebuild: Callable[[Source, int, int], Window],
    ) -> None:
        self._offsets = offsets
        self._publisher = publisher
        self._devices = devices
        self._topic_ids = topic_ids
        self._rebuild = rebuild
        self._generation = -1
        self._owned: dict[Any, _Owned] = {}

    async def take(self, chunk: Any) -> Awaitable[Any] | None:
        """Process a chunk; the result is done when everything it led to is acknowledged. None: nothing to wait for."""
        if chunk.generation_id != self._offsets.generation:
            return None
        if chunk.generation_id != self._generation:
            self._generation = chunk.generation_id
            self._owned.clear()
        owned = self._owned.get(chunk.tp) or await self._adopt(chunk)
        if chunk.offset < owned.next:
            metrics.REDELIVERED.inc(len(chunk.value))
            return None
        if chunk.first > owned.next and await self._left_out(chunk, owned):
            return None
        records = [record for record in chunk.value if record.offset >= owned.next]
        if owned.window is None:
            loop = asyncio.get_running_loop()
            first = records[0]
            owned.window = await loop.run_in_executor(
                None, self._rebuild, owned.source, first.offset, first.timestamp
            )
        owned.next = chunk.offset + 1
        return await self._emit(records, owned.source, owned.window)

    async def _adopt(self, chunk: Any) -> _Owned:
        committed = await self._offsets.committed(chunk.tp)
        source = Source(
            dialect=_DIALECTS[chunk.topic],
            topic=chunk.topic,
            topic_id=self._topic_ids[chunk.topic],
            partition=chunk.partition,
        )
        owned = self._owned[chunk.tp] = _Owned(source, committed or 0)
        return owned

    async def _left_out(self, chunk: Any, owned: _Owned) -> bool:
        """Whether records are missing that can still be had; if so, delivery starts over at the first of them."""
        if chunk.since <= owned.next:
            # Kafka itself has nothing there: retention was faster than we were, or a new group meets an old log.
            if owned.next > 0:
                log.error(
                    "records are gone from the log", tp=str(chunk.tp), first=owned.next, last=chunk.first - 1
                )
                metrics.HOLES.inc(chunk.first - owned.next)
            return False
        if owned.sought != chunk.moves:
            metrics.RESEEKS.inc()
            owned.sought = chunk.moves
            await self._offsets.seek(chunk.tp, owned.next)
        return True

    async def _emit(self, records: Sequence[RawRecord], source: Source, window: Window) -> Awaitable[Any]:
        reached(Moment.CHUNK_TAKEN)
        began = time.perf_counter()
        before = window.now
        rows = refine(records, source, window, self._devices)
        whole = blocks(rows, source, time=before)
        _count(rows, whole, source, window)
        metrics.CHUNK_SECONDS.observe(time.perf_counter() - began)
        sent = [
            await self._send(
                DEAD_LETTERS,
                encode(dead_letter(row, record, source)),
                key=record.key or b"",
                timestamp_ms=row.logged_at,
            )
            for row, record in zip(rows, records, strict=True)
            if row.fate is Fate.DEAD_LETTER
        ]
        sent += [
            await self._send(
                READINGS,
                data,
                headers=span.headers(),
                partition=source.partition,
                timestamp_ms=span.time,
            )
            for span, data in whole
        ]
        reached(Moment.BLOCKS_SENT)
        return asyncio.gather(*sent)

    async def _send(self, topic: str, value: bytes, **options: Any) -> asyncio.Future[None]:
        """Queue a record, as soon as there is room: what is on its way makes some."""
        while True:
            try:
                return self._publisher.send(topic, value, **options)
            except Overloaded:
                await asyncio.sleep(QUEUE_FULL_SECONDS)


def _count(
    rows: Sequence[MessageRow], whole: Sequence[tuple[Span, bytes]], source: Source, window: Window
) -> None:
    for row in rows:
        metrics.MESSAGES.labels(source.dialect, row.fate.value).inc()
        if row.fate is Fate.DEAD_LETTER:
            metrics.DEAD_LETTERS.labels(source.dialect, row.reason).inc()
    metrics.BLOCKS.inc(len(whole))
    for _, data in whole:
        metrics.BLOCK_BYTES.observe(len(data))
    metrics.READINGS.labels(source.dialect).inc(sum(len(row.readings) for row in rows))
    metrics.REMEMBERED.labels(source.dialect, source.partition).set(len(window))
