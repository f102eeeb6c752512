"""Partitions: the raw partitions that are ours, each with its window and the offset to go on at."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from processors import metrics
from processors.dedupe import Window
from processors.limit import DeadLetterLimit
from processors.progress import Progress
from processors.refine import Source


class Offsets(Protocol):
    """What is asked and told about offsets: `processors.chunks.ChunkConsumer`."""

    async def committed(self, tp: Any) -> int | None:
        """The group's committed offset."""

    async def seek(self, partition: Any, offset: int) -> None:
        """Deliver from this offset on."""

    def processed(self, tp: Any, offset: int, generation: int) -> None:
        """Everything up to the offset has had its effect."""

    def hold(self, tp: Any) -> None:
        """Deliver no more of this partition."""

    @property
    def generation(self) -> int:
        """Of the group, as of now; it need not grow: a group that Kafka forgot starts over."""


Rebuild = Callable[[Source, int | None, threading.Event], Window]
"""The window of a partition as of its committed offset; blocking; the event abandons it."""


@dataclass(slots=True)
class Owned:
    """One raw partition, for as long as it is ours without a break."""

    source: Source
    next: int
    """Offset of the record to process next. Within one life an offset is processed once."""
    window: Window
    limit: DeadLetterLimit
    generation: int
    acknowledged: int = -1
    """Offset of the last record whose block, and all before it, are on the log."""
    held: str = ""
    """Why nothing of it is processed, if so."""
    sought: int = -1
    """`moves` of the chunks for which a seek was asked last: one seek answers for all of them."""


class Partitions:
    """Takes partitions over as they are assigned, all at once.

    A partition that stays with us over a rebalance keeps its window, if nobody else can have had it in between: the group's
    generation is the very next one, and its committed offset not beyond what we did. Any other is rebuilt from the log.

    Args:
        offsets: of the consumer that delivers the chunks.
        source_of: the raw partition's source.
        rebuild: see there.
        limit: a new count of dead letters.
        threads: in which windows are rebuilt.
        start: runs a coroutine as a task; if it fails, everything should.
        progress: told when a rebuild is under way.

    """

    def __init__(
        self,
        offsets: Offsets,
        source_of: Callable[[Any], Awaitable[Source]],
        rebuild: Rebuild,
        limit: Callable[[], DeadLetterLimit],
        *,
        threads: Executor,
        start: Callable[[Coroutine[Any, Any, Owned]], asyncio.Task[Owned]],
        progress: Progress,
    ) -> None:
        self._offsets = offsets
        self._source_of = source_of
        self._rebuild = rebuild
        self._limit = limit
        self._threads = threads
        self._start = start
        self._progress = progress
        self._generation = -1
        self._owned: dict[Any, Owned] = {}
        self._adopting: dict[Any, asyncio.Task[Owned]] = {}

    def assigned(self, tps: Iterable[Any]) -> None:
        """Take over these partitions, and no other, in the group's present generation."""
        self.abandon()
        previous, generation = self._generation, self._offsets.generation
        kept = self._owned if generation == previous + 1 else {}
        for owned in self._owned.values():
            metrics.forget(owned.source.dialect, owned.source.partition)
        self._generation, self._owned = generation, {}
        for tp in tps:
            self._adopting[tp] = self._start(self._adopt(tp, kept.get(tp)))

    def abandon(self) -> None:
        """End every rebuild that is under way: the partitions are about to be assigned anew."""
        for task in self._adopting.values():
            task.cancel()
        self._adopting.clear()

    def awaited(self) -> frozenset[Any]:
        """The partitions whose windows are not there yet."""
        return frozenset(self._adopting)

    async def owned(self, tp: Any, generation: int) -> Owned | None:
        """The partition, as soon as its window is there; None if it is not ours in this generation."""
        if found := self._owned.get(tp):
            return found if generation == self._generation else None
        if generation != self._generation or tp not in self._adopting:
            return None
        task = self._adopting[tp]
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    def troubles(self) -> list[str]:
        """A sentence for each partition that is held; any thread may ask."""
        return [owned.held for owned in list(self._owned.values()) if owned.held]

    def acknowledged(self, owned: Owned, tp: Any, offset: int) -> None:
        """The blocks up to this offset are on the log: it may be committed, if the partition is still ours."""
        owned.acknowledged = offset
        if self._owned.get(tp) is owned:
            self._offsets.processed(tp, offset, owned.generation)

    async def _adopt(self, tp: Any, kept: Owned | None) -> Owned:
        generation = self._generation
        committed = await self._offsets.committed(tp)
        self._progress.committed(tp, committed or 0)
        if kept is not None and (committed or 0) <= kept.next:
            kept.generation, kept.sought = generation, -1
            owned = kept
        else:
            owned = await self._rebuilt(tp, committed, generation)
        self._owned[tp] = owned
        self._adopting.pop(tp)
        metrics.show(owned.source.dialect, owned.source.partition, len(owned.window), held=bool(owned.held))
        # Around a rebalance Faust drops chunks that it has fetched, and of two in a row one may end without a seek of its
        # own: on a log where nothing more arrives, nobody would miss them.
        await self._offsets.seek(tp, owned.next)
        if owned.acknowledged >= 0:
            # Delivery starts over at the committed offset, and what comes again is dropped: let the offset follow at once.
            self._offsets.processed(tp, owned.acknowledged, generation)
        return owned

    async def _rebuilt(self, tp: Any, committed: int | None, generation: int) -> Owned:
        source = await self._source_of(tp)
        self._progress.excuse(tp)
        abandoned = threading.Event()
        try:
            window = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._rebuild, source, committed, abandoned
            )
        finally:
            abandoned.set()
        self._progress.expect(tp)
        return Owned(source, committed or 0, window, self._limit(), generation)
