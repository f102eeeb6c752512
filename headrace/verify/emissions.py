"""Emissions: what `readings` says of one raw partition, the first time and again."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from headrace.verify.findings import Origin
from headrace.verify.page import Emitted
from schemas.reading_block import Fate, NotABlock, Span, decode

REMEMBERED = 1 << 20
"""Offsets whose first fate is kept, a byte each, to hold a later emission against it."""

_FATES = tuple(Fate)
_CODES = {fate: code for code, fate in enumerate(_FATES)}
_NOTHING = len(_FATES)

_Message = Any


class Emissions:
    """The blocks of one raw partition, as the sink takes them: what does not go beyond the offsets so far is a repeat.

    Args:
        found: the records of the partition of `readings` that has its number.
        origin: the raw partition.
        contradicted: told of a message that is emitted with another fate than before: offset, first fate, later fate.

    """

    def __init__(
        self, found: Iterator[_Message], origin: Origin, contradicted: Callable[[int, Fate, Fate], None]
    ) -> None:
        self._found = found
        self._origin = origin
        self._contradicted = contradicted
        self._watermark = -1
        self._fates = bytearray([_NOTHING]) * REMEMBERED
        self._waiting: dict[int, Emitted] = {}
        self.first: int | None = None
        """The first offset that the blocks have; known once something was read."""
        self.uncompared = 0
        """Messages emitted again whose first fate was not remembered."""

    def begin(self) -> None:
        """Read up to the first block."""
        while self.first is None and self._take():
            pass

    def page(self, first: int, last: int) -> dict[int, Emitted]:
        """What was emitted first of these offsets; pages are asked for in order."""
        while self._watermark < last and self._take():
            pass
        page = {offset: row for offset, row in self._waiting.items() if first <= offset <= last}
        self._waiting = {offset: row for offset, row in self._waiting.items() if offset > last}
        return page

    def drain(self) -> None:
        """Read what is left: it may contradict what was there before."""
        while self._take():
            self._waiting.clear()

    def _take(self) -> bool:
        """Read one record; false at the end."""
        message = next(self._found, None)
        if message is None:
            return False
        try:
            span = Span.of(message.headers())
            if Origin(topic=span.topic, topic_id=span.topic_id, partition=span.partition) == self._origin:
                self._block(decode(message.value() or b""))
        except NotABlock:
            pass  # The sink keeps it as a dead letter of its own; what it should have said is missed here.
        return True

    def _block(self, block: pa.RecordBatch) -> None:
        offsets = block.column("offset").to_pylist()
        fates = _fates(block.column("fate"))
        watermark = self._watermark
        if offsets and offsets[-1] > watermark:
            rows = zip(
                offsets,
                fates,
                block.column("identity").to_pylist(),
                block.column("readings").value_lengths().to_pylist(),
                block.column("received_at").cast(pa.int64()).to_pylist(),
                strict=True,
            )
            for offset, fate, identity, readings, received_at in rows:
                if offset > watermark:
                    self._waiting[offset] = Emitted(fate, identity, readings or 0, received_at)
        if offsets and offsets[0] <= watermark:
            self._compare(offsets, fates)
        self._remember(offsets, fates)
        if offsets and self.first is None:
            self.first = offsets[0]

    def _compare(self, offsets: list[int], fates: list[Fate]) -> None:
        for offset, fate in zip(offsets, fates, strict=True):
            if offset > self._watermark:
                return
            code = self._fates[offset % REMEMBERED]
            if offset <= self._watermark - REMEMBERED or code == _NOTHING:
                self.uncompared += 1
            elif _FATES[code] is not fate:
                self._contradicted(offset, _FATES[code], fate)

    def _remember(self, offsets: list[int], fates: list[Fate]) -> None:
        for offset, fate in zip(offsets, fates, strict=True):
            if offset > self._watermark:
                # What was left out in between has no fate, also not that of an offset long ago.
                left_out = range(max(self._watermark + 1, offset - REMEMBERED), offset)
                for skipped in left_out if self.first is not None else ():
                    self._fates[skipped % REMEMBERED] = _NOTHING
                self._fates[offset % REMEMBERED] = _CODES[fate]
                self._watermark = offset


def _fates(column: pa.DictionaryArray) -> list[Fate]:
    try:
        known = [Fate(name) for name in column.dictionary.to_pylist()]
        return [known[index] for index in column.indices.to_pylist()]
    except (ValueError, TypeError) as error:
        raise NotABlock(f"a message without a fate of ours: {error}") from error
