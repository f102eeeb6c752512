"""Stretches: which raw records a backfill reads, and where it cuts them into batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace.scan import Record
from schemas.topics import RAW_TOPICS

BATCH_OFFSETS = 10_000
BATCH_BYTES = 4 << 20
"""A batch ends at a multiple of `BATCH_OFFSETS`, or before its raw records exceed so many bytes."""

_DIALECTS = {topic: dialect for dialect, topic in RAW_TOPICS.items()}


class Refused(RuntimeError):
    """This backfill would not be exact; a sentence for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Offsets of one raw partition: from `first` up to, and without, `end`."""

    topic: str
    topic_id: str
    partition: int
    first: int
    end: int

    @property
    def dialect(self) -> str:
        """Of the topic."""
        return _DIALECTS[self.topic]

    def __len__(self) -> int:
        return max(0, self.end - self.first)

    def __str__(self) -> str:
        return f"{self.topic} [{self.partition}] {self.first}-{self.end - 1}"


def batches(records: Iterable[Record]) -> Iterator[Sequence[Record]]:
    """Cut consecutive records where every run cuts them: offsets and sizes alone decide.

    A run that begins at any of the cuts makes all the later ones, too.
    """
    batch: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if batch and (record.offset % BATCH_OFFSETS == 0 or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The messages of a stretch that a table holds already."""

    lowest: int
    highest: int
    count: int
    until_highest: int
    """Messages that it should hold, from the beginning of the stretch to the highest that it does hold."""
    from_lowest: int


def without(stretch: Stretch, present: Present, table: str) -> Stretch:
    """The part of a stretch that is missing, if what is present is one run at an end of it.

    Raises:
        Refused: it is not.

    """
    if present.count == 0:
        return stretch
    if present.count == present.from_lowest == present.until_highest:
        return _between(stretch, stretch.end, stretch.end)
    if present.count == present.from_lowest:
        return _between(stretch, stretch.first, present.lowest)
    if present.count == present.until_highest:
        return _between(stretch, present.highest + 1, stretch.end)
    raise Refused(
        f"{table} holds {present.count:,} of the messages of {stretch}, between {present.lowest} and {present.highest},"
        " and lacks others among them: drop all of the range"
    )


def _between(stretch: Stretch, first: int, end: int) -> Stretch:
    return Stretch(
        topic=stretch.topic,
        topic_id=stretch.topic_id,
        partition=stretch.partition,
        first=first,
        end=max(first, end),
    )
