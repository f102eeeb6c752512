"""Refinery: chunks in the order of the log, each processed once a generation, each acknowledged last."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import structlog

from processors import metrics
from processors.dedupe import Allowance, Window
from processors.partitions import Offsets, Owned, Partitions
from processors.progress import Progress
from processors.rebuild import forget_early
from processors.refine import RawRecord, Source, blocks, dead_letter, refine
from runtime.devices import Places
from runtime.faults import Moment, reached
from runtime.publisher import Log, send
from schemas.codec import encode
from schemas.reading_block import Fate, MessageRow, Span
from schemas.topics import DEAD_LETTERS, READINGS

log = structlog.get_logger()

T = TypeVar("T")

LARGE_BYTES = 1 << 20
"""Of a chunk's records; one of more is processed in a thread. As readings it takes a second, for which the loop may stand still,
and many of them more seconds than the group waits for a sign of life."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A chunk whose records are on their way."""

    owned: Owned
    offset: int
    """Of its last record."""
    delivered: Awaitable[Any]
    """Done when everything it led to is acknowledged."""


class Refinery:
    """Turns chunks into blocks.

    Faust may deliver a chunk twice, or leave one out, inside one generation: offsets are therefore checked, repeats dropped,
    and a gap answered by seeking back to it. A partition with too many dead letters is held: nothing of the chunk that showed
    it, and nothing behind it, is emitted or committed until the process starts anew.

    Args:
        offsets: of the consumer that delivers the chunks.
        partitions: those that are ours.
        publisher: ordered and without gaps; anything that it cannot deliver is fatal.
        devices: the registry.
        allowance: of identities, over all partitions.
        progress: told which partitions are held.

    """

    def __init__(
        self,
        offsets: Offsets,
        partitions: Partitions,
        publisher: Log,
        devices: Places,
        *,
        allowance: Allowance,
        progress: Progress,
    ) -> None:
        self._offsets = offsets
        self._partitions = partitions
        self._publisher = publisher
        self._devices = devices
        self._allowance = allowance
        self._progress = progress

    async def take(self, chunk: Any) -> Taken | None:
        """Process a chunk; None if nothing came of it, and nothing has to be waited for."""
        if chunk.generation_id != self._offsets.generation:
            return None
        owned = await self._partitions.owned(chunk.tp, chunk.generation_id)
        if owned is None:
            return None
        if owned.held:
            self._hold(chunk.tp)
            return None
        if chunk.offset < owned.next:
            metrics.REDELIVERED.inc(len(chunk.value))
            return None
        if chunk.first > owned.next and await self._left_out(chunk, owned):
            return None
        records = [record for record in chunk.value if record.offset >= owned.next]
        return await self._process(records, chunk, owned)

    async def _left_out(self, chunk: Any, owned: Owned) -> bool:
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

    async def _process(self, records: Sequence[RawRecord], chunk: Any, owned: Owned) -> Taken | None:
        reached(Moment.CHUNK_TAKEN)
        began, before = time.perf_counter(), owned.window.now
        aside = sum(len(record.value or b"") for record in records) > LARGE_BYTES
        rows = await _call(aside, refine, records, owned.source, owned.window, self._devices)
        if owned.limit.exceeded(rows):
            owned.held = _held(owned)
            log.error(owned.held)
            self._hold(chunk.tp)
            metrics.HELD.labels(owned.source.dialect, owned.source.partition).set(1)
            return None
        owned.next = chunk.offset + 1
        whole = await _call(aside, partial(blocks, time=before), rows, owned.source)
        forget_early(self._allowance)
        _count(rows, whole, owned.source, owned.window)
        metrics.CHUNK_SECONDS.observe(time.perf_counter() - began)
        return Taken(owned, chunk.offset, await self._emit(rows, records, whole, owned.source))

    def _hold(self, tp: Any) -> None:
        self._progress.excuse(tp)
        self._offsets.hold(tp)

    async def _emit(
        self,
        rows: Sequence[MessageRow],
        records: Sequence[RawRecord],
        whole: Sequence[tuple[Span, bytes]],
        source: Source,
    ) -> Awaitable[Any]:
        sent, dead = [], Fate.DEAD_LETTER
        for row, record in zip(rows, records, strict=True):
            if row.fate is dead:
                letter = dead_letter(row, record, source)
                sent.append(
                    await send(
                        self._publisher,
                        DEAD_LETTERS,
                        encode(letter),
                        key=letter.key or b"",
                        timestamp_ms=row.logged_at,
                    )
                )
        sent += [
            await send(
                self._publisher,
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


async def _call(aside: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Its result, of this thread or of another."""
    return await asyncio.to_thread(function, *arguments) if aside else function(*arguments)


def _held(owned: Owned) -> str:
    return (
        f"{owned.source.topic} [{owned.source.partition}] is held: {owned.limit}; see `headrace dead-letters`, "
        "deploy a fix or raise HEADRACE_PROCESS__DEAD_LETTER_LIMIT, and restart"
    )


_fate_of = attrgetter("fate", "reason")


def _count(
    rows: Sequence[MessageRow], whole: Sequence[tuple[Span, bytes]], source: Source, window: Window
) -> None:
    for (fate, reason), messages in Counter(map(_fate_of, rows)).items():
        metrics.MESSAGES.labels(source.dialect, fate.value).inc(messages)
        if fate is Fate.DEAD_LETTER:
            metrics.DEAD_LETTERS.labels(source.dialect, reason).inc(messages)
    metrics.BLOCKS.inc(len(whole))
    for _, data in whole:
        metrics.BLOCK_BYTES.observe(len(data))
    metrics.READINGS.labels(source.dialect).inc(sum(len(row.readings) for row in rows))
    metrics.REMEMBERED.labels(source.dialect, source.partition).set(len(window))
