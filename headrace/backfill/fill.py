"""Run: raw records that were stored once, through today's normalisers, into the target."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from headrace.backfill.ledger import Entry, Ledger
from headrace.backfill.stretch import Refused, Stretch, batches
from headrace.backfill.target import READINGS, Target
from headrace.offsets import Reach
from headrace.scan import Record, Scanner
from processors.dedupe import Window
from processors.refine import Source, refine
from runtime.devices import Places
from runtime.faults import Moment, reached
from schemas.reading_block import Fate, MessageRow, Span, decode, encode
from sinks.clickhouse.tables import tables
from sinks.clickhouse.writer import ClickHouseSink
from sinks.sink import Batch, Block

ERRORS = 5
"""Explanations that are kept of messages that cannot be read any more."""


class Decided(Window):
    """A window that finds no duplicate: which messages are one was decided by the pipeline, and they are left out."""

    def __init__(self) -> None:
        super().__init__(seconds=1)

    def is_duplicate(self, *_: object) -> bool:
        """Never."""
        return False

    def remember(self, *_: object) -> None:
        """Nothing: memory stays as it is."""


@dataclass(slots=True)
class Backfill:
    """Fills a table, partition after partition and batch after batch.

    Each batch is inserted under a token of its own, and then noted in the ledger; a run that was killed in between is gone on
    with at that batch. Memory: a batch, which is 4 MiB of raw records or one larger one, and up to some 200 MB of readings.
    """

    scanner: Scanner
    devices: Places
    sink: ClickHouseSink
    target: Target
    ledger: Ledger
    epoch: str
    errors: list[str] = field(default_factory=list)
    """Why the first few messages of this run cannot be read any more."""

    def fill(self, entries: Iterable[Entry], report: Callable[[int], None]) -> None:
        """Do what is left of each partition; `report` is told how many raw records were handled.

        Raises:
            Refused: `messages` does not know what the pipeline decided, or a batch is there and cannot be made whole.
            ScanFailed: the raw log cannot be read; again from where it stopped, unless it is `Gone`.
            SinkError: ClickHouse is away, or refuses; again from where it stopped.

        """
        for entry in entries:
            stretch = entry.stretch
            reach = Reach(topic=stretch.topic, partition=stretch.partition, first=entry.next, end=stretch.end)
            # An earlier run may have ended between the insert and the note of it, or in the middle of the insert.
            doubtful = True
            with closing(self.scanner.read(reach)) as records:
                for batch in batches(records):
                    self._store(entry, batch, doubtful=doubtful)
                    doubtful = False
                    report(len(batch))

    def _store(self, entry: Entry, records: Sequence[Record], *, doubtful: bool) -> None:
        stretch = entry.stretch
        part = Stretch(
            topic=stretch.topic,
            topic_id=stretch.topic_id,
            partition=stretch.partition,
            first=records[0].offset,
            end=records[-1].offset + 1,
        )
        rows = self._refined(part, records)
        found = tables(_batch(part, rows)).get("readings")
        if found is not None and not (doubtful and self._is_whole(entry, part, found.num_rows)):
            self.sink.insert(self.target.table, found, self._token(part))
            reached(Moment.TABLE_INSERTED)
            if doubtful and self.target.rows(part) != found.num_rows:
                raise Refused(f"{part} was stored before, and is not now as it was then: {self._over()}")
        self.ledger.advance(
            entry,
            after=part.end,
            messages=sum(row.fate is Fate.STORED for row in rows),
            readings=0 if found is None else found.num_rows,
            refused=sum(row.fate is not Fate.STORED for row in rows),
        )

    def _refined(self, part: Stretch, records: Sequence[Record]) -> list[MessageRow]:
        stored = self.target.stored(part)
        source = Source(
            dialect=part.dialect, topic=part.topic, topic_id=part.topic_id, partition=part.partition
        )
        rows = refine(
            [record for record in records if record.offset in stored], source, Decided(), self.devices
        )
        for row in rows:
            if row.fate is not Fate.STORED and len(self.errors) < ERRORS:
                self.errors.append(
                    f"{part.topic} [{part.partition}] at {row.offset}: {row.reason}: {row.error}"
                )
        return rows

    def _is_whole(self, entry: Entry, part: Stretch, rows: int) -> bool:
        """Whether nothing is left to do about a batch; False only if its insert is sure to add no more than what is missing."""
        there = self.target.rows(part)
        if there == 0:
            return False
        if there == rows and self.target.table != READINGS:
            return True
        # ClickHouse writes `readings` first and then the roll-ups: it may have the rows, and they not. The same insert again
        # gives each of them what it lacks, as long as the tokens of what they have are remembered.
        if not self.target.remembers(entry.noted):
            raise Refused(
                f"{self.target.table} holds {there:,} of the {rows:,} readings of {part} since too long ago to tell"
                f" whether the insert came to its end: {self._over()}"
            )
        return False

    def _over(self) -> str:
        if self.target.table == READINGS:
            return (
                "drop the same partitions of `readings` and of its roll-ups, and fill them by another --epoch"
            )
        return f"drop {self.target.table}, and take another --epoch"

    def _token(self, part: Stretch) -> str:
        return (
            f"{self.epoch}:{part.topic_id}:{part.partition}:{part.first}-{part.end - 1}:{self.target.table}"
        )


def _batch(part: Stretch, rows: Sequence[MessageRow]) -> Batch:
    span = Span(
        topic=part.topic,
        topic_id=part.topic_id,
        partition=part.partition,
        first=part.first,
        last=part.end - 1,
        time=0,
    )
    block = Block(offset=0, span=span, messages=decode(encode(rows)))
    return Batch(topic_id="", partition=part.partition, first=0, last=0, blocks=[block])
