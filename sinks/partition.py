"""One partition of `readings` as a sink owns it: blocks gathered into batches, re-emitted messages dropped."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.reading_block import Span
from schemas.topics import READINGS
from sinks import metrics
from sinks.progress import Pending, Progress
from sinks.sink import Batch, Block

BLOCK_BYTES = 36 << 10
"""What a block takes beside its columns, however small it is: its schema above all. Measured."""


class _Held(NamedTuple):
    """A block that waits, and its size."""

    block: Block
    rows: int
    bytes: int


class Partition:
    """Gathers blocks, and says when which of them make a batch.

    Args:
        number: of the partition.
        position: offset of the next block that is expected.
        progress: as the last owner committed it.
        known: whether it says all that is stored; else `recover` has to be called before the first batch is made.
        epoch: of the batches that begin here; a recorded one keeps its own.
        monotonic: the clock, in seconds.

    """

    def __init__(
        self,
        number: int,
        position: int,
        progress: Progress,
        *,
        known: bool = True,
        epoch: str = "0",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self.position = position
        self.progress = progress
        self.known = known
        self.epoch = epoch
        self.rows = 0
        self.bytes = 0
        self.since = 0.0
        """When the oldest block that waits may have come, or the last batch was begun: by the clock."""
        self._monotonic = monotonic
        self._blocks: deque[_Held] = deque()
        self._expected: dict[str, int] = {}

    def recover(self, stored: Mapping[str, int]) -> None:
        """Take over what is known to be stored beside what was committed."""
        both = dict(self.progress.stored)
        for topic_id, last in stored.items():
            both[topic_id] = max(last, both.get(topic_id, -1))
        self.progress = msgspec.structs.replace(self.progress, stored=both)
        self.known = True
        # Where the log begins now, it may have lost what comes next. What was no block has no next one.
        own = self.progress.topic_id
        self._expected = {topic_id: last + 1 for topic_id, last in both.items() if topic_id != own}

    def lost(self, batch: Batch) -> Iterator[str]:
        """What is missing between what was recovered and the first block of a raw topic: a sentence for each, once."""
        for span in (block.span for block in batch.blocks):
            expected = self._expected.pop(span.topic_id, span.first)
            if span.first > expected:
                yield (
                    f"{READINGS} [{self.number}]: {span.topic} is stored up to {expected - 1}, and the log has it from"
                    f" {span.first} on: the blocks in between were deleted before they were stored"
                )

    def add(self, block: Block, size: int, *, since: float) -> None:
        """Append a consumed block of so many bytes, that may have waited to be taken since then."""
        if not self._blocks:
            self.since = since
        held = _Held(block, _rows(block.messages), size)
        self._blocks.append(held)
        self.position = block.offset + 1
        self.rows += held.rows
        self.bytes += held.bytes

    @property
    def held(self) -> int:
        """What all that waits takes of the memory: more than `bytes`, by which a batch is measured."""
        return self.bytes + len(self._blocks) * BLOCK_BYTES

    def due(self, *, rows: int, size: int, seconds: float) -> bool:
        """Whether a batch should be written now: full, old enough, or recorded by an earlier owner and complete."""
        if self.progress.pending is not None:
            return self.complete
        if not self._blocks:
            return False
        return self.rows >= rows or self.bytes >= size or self.rest(seconds) <= 0

    def rest(self, seconds: float) -> float:
        """Seconds until a batch is due by this age; one that an earlier owner recorded, or that nothing came for, never is."""
        if self.progress.pending is not None or not self._blocks:
            return math.inf
        return self.since + seconds - self._monotonic()

    @property
    def complete(self) -> bool:
        """Whether a batch that an earlier owner recorded, if any, is here to its last block."""
        return self.progress.pending is None or self.position > self.progress.pending.last

    def pending(self, *, rows: int, size: int) -> Pending:
        """What is to be recorded before the next batch is written: as an earlier owner did, or up to the block that fills it."""
        if self.progress.pending is not None:
            return self.progress.pending
        first, last = self._fill(rows, size)
        return Pending(first=first, last=last, epoch=self.epoch)

    def batch(self, pending: Pending) -> tuple[Batch, Progress]:
        """The batch of this record, and the progress once it is stored.

        A batch that was recorded before is made of exactly the recorded blocks, against the watermarks of then: the same
        rows in the same order, whoever makes it.
        """
        stored = dict(self.progress.stored)
        blocks = []
        for block, _, _ in self._blocks:
            if pending.first <= block.offset <= pending.last:
                span = block.span
                blocks.append(dataclasses.replace(block, messages=_beyond(stored, span, block.messages)))
                stored[span.topic_id] = max(span.last, stored.get(span.topic_id, -1))
        batch = Batch(
            topic_id=self.progress.topic_id,
            partition=self.number,
            first=pending.first,
            last=pending.last,
            blocks=blocks,
            epoch=pending.epoch,
        )
        return batch, msgspec.structs.replace(self.progress, stored=stored, pending=None)

    def done(self, batch: Batch, progress: Progress, *, since: float) -> None:
        """Forget the blocks of a batch that is stored and committed; what is left ages from when it was begun."""
        while self._blocks and self._blocks[0].block.offset <= batch.last:
            held = self._blocks.popleft()
            self.rows -= held.rows
            self.bytes -= held.bytes
        self.since = since
        self.progress = progress

    def _fill(self, rows: int, size: int) -> tuple[int, int]:
        """First and last block of a new batch: however much has gathered, it has to fit into one insert."""
        for held in self._blocks:
            rows -= held.rows
            size -= held.bytes
            if rows <= 0 or size <= 0:
                return self._blocks[0].block.offset, held.block.offset
        return self._blocks[0].block.offset, self._blocks[-1].block.offset


def _rows(messages: pa.RecordBatch) -> int:
    """Rows of the table that gets the most."""
    readings: int = len(messages.column("readings").values)
    return max(int(messages.num_rows), readings)


def _beyond(stored: Mapping[str, int], span: Span, messages: pa.RecordBatch) -> pa.RecordBatch:
    """The messages whose origin is not stored yet.

    Blocks of one emitter arrive in order and without gaps, so everything up to the watermark is a re-emission: by a
    processor that was started again, by a zombie, with whatever chunk borders.
    """
    watermark = stored.get(span.topic_id)
    if watermark is None:
        return messages
    if span.first > watermark + 1:
        metrics.GAPS.inc()
    if span.first > watermark:
        return messages
    fresh = messages.filter(pc.greater(messages.column("offset"), watermark))
    metrics.REEMITTED.inc(messages.num_rows - fresh.num_rows)
    return fresh
