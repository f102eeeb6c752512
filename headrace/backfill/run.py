"""Run: one backfill, from its plan to its summary, and what the operator is told."""

from collections.abc import Sequence
from contextlib import ExitStack

import typer
from rich.console import Console
from rich.table import Table

from headrace.backfill.fill import Backfill
from headrace.backfill.ledger import Entry, Ledger
from headrace.backfill.stretch import Refused, Stretch, without
from headrace.backfill.target import READINGS, Target
from headrace.instant import spoken
from headrace.offsets import Offsets, ScanFailed
from headrace.pipeline import Goal, Pipeline, StandsStill
from headrace.scan import Scanner
from headrace.terminal import progress, told, wait_for
from processors.settings import ProcessSettings
from runtime.devices import PlaceTable
from runtime.registry import Registry
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.topics import RAW_TOPICS
from sinks.clickhouse.client import connect
from sinks.clickhouse.writer import ClickHouseSink
from sinks.settings import ClickHouseSettings, SinkSettings
from sinks.sink import SinkError

EPOCH = "replay"
"""Of a backfill into a table of its own, if none is given."""

_EXPECTED = (Refused, ScanFailed, StandsStill, UnknownTopic, SinkError)


def run(
    since: int,
    until: int,
    dialects: Sequence[str],
    *,
    into: str,
    epoch: str,
    timeout: float,
    dry_run: bool,
) -> None:
    """Store once more what was logged from `since` up to `until` (milliseconds since 1970), or go on with it."""
    name = epoch or (EPOCH if into else "")
    with told(*_EXPECTED):
        _check(name, into)
        _Run(name, into or READINGS, timeout=timeout).run(since, until, dialects, dry_run=dry_run)


def _check(epoch: str, into: str) -> None:
    if not epoch:
        raise Refused(
            "say --into TABLE for a new table, or --epoch E to fill `readings` where its range was dropped"
        )
    if not (epoch.isascii() and epoch.isalnum() and epoch == epoch.lower() and len(epoch) <= 16):  # noqa: PLR2004 - as the sink's
        raise Refused(f"{epoch!r} is no epoch: up to 16 lower-case letters and digits")
    if epoch == SinkSettings().epoch:
        raise Refused(f"{epoch!r} is the epoch of the live sink: take another")
    if into == READINGS:
        raise Refused("--into makes a new table; to fill `readings` say --epoch E alone")


class _Run:
    """One run of the command."""

    def __init__(self, epoch: str, table: str, *, timeout: float) -> None:
        self._kafka, clickhouse, sink = KafkaSettings(), ClickHouseSettings(), SinkSettings()
        client = connect(clickhouse, insert_timeout=sink.insert_timeout)
        self._epoch = epoch
        self._timeout = timeout
        self._target = Target(client, table, cluster=clickhouse.cluster)
        self._sink = ClickHouseSink(client)
        self._ledger = Ledger(client, self._sink, epoch=epoch, target=table)
        self._pipeline = Pipeline(self._kafka, processors=ProcessSettings().group, sinks=sink.group)

    def run(self, since: int, until: int, dialects: Sequence[str], *, dry_run: bool) -> None:
        """Plan, or find the plan of an earlier run; fill; sum up."""
        entries = self._ledger.entries()
        if entries:
            typer.echo(
                f"Going on with epoch {self._epoch} into {self._target.table}: what was logged from"
                f" {spoken(entries[0].since)} to {spoken(entries[0].until)}."
            )
        else:
            stretches = self._stretches(since, until, dialects)
            if dry_run or not stretches:
                self._foretell(stretches)
                return
            entries = self._ledger.begin(self._permitted(stretches), since=since, until=until)
        if dry_run:
            self._foretell([entry.stretch for entry in entries])
            return
        self._same_topics(entries)
        self._fill(entries)

    def _stretches(self, since: int, until: int, dialects: Sequence[str]) -> list[Stretch]:
        """What is on the raw log of the time, once the pipeline has handled it."""
        topics = [RAW_TOPICS[dialect] for dialect in dialects]
        ids = topic_ids(self._kafka, topics)
        with Offsets(self._kafka) as offsets:
            found = [
                Stretch(
                    topic=topic,
                    topic_id=ids[topic],
                    partition=reach.partition,
                    first=reach.first,
                    end=reach.end,
                )
                for topic in topics
                for reach in offsets.reaches(topic, since=since, until=until)
                if reach
            ]
        goals = [
            Goal(topic=each.topic, topic_id=each.topic_id, partition=each.partition, last=each.end - 1)
            for each in found
        ]
        wait_for(self._pipeline, goals, patience=self._timeout)
        return found

    def _permitted(self, stretches: Sequence[Stretch]) -> list[Stretch]:
        """The parts that may be written, the target made ready for them."""
        if self._target.table != READINGS:
            self._target.create()
            if not self._target.is_empty():
                raise Refused(
                    f"{self._target.table} holds rows that epoch {self._epoch} did not write: take another name, or drop it"
                )
            return list(stretches)
        missing = [without(each, self._target.present(each), READINGS) for each in stretches]
        permitted = [each for each in missing if each]
        if not permitted:
            raise Refused(
                "`readings` holds all of this range: drop its partitions first, of readings_1m_state too, or say --into TABLE"
            )
        for each in permitted:
            self._target.check_roll_ups(each)
        return permitted

    def _same_topics(self, entries: Sequence[Entry]) -> None:
        ids = topic_ids(self._kafka, {entry.stretch.topic for entry in entries})
        for entry in entries:
            if entry.stretch.topic_id != ids[entry.stretch.topic]:
                raise Refused(
                    f"{entry.stretch.topic} was created anew since epoch {self._epoch} began: its range is gone"
                )

    def _fill(self, entries: Sequence[Entry]) -> None:
        with ExitStack() as stack:
            scanner = stack.enter_context(Scanner(self._kafka))
            registry = stack.enter_context(Registry(self._kafka, PlaceTable()))
            bar = stack.enter_context(progress())
            task = bar.add_task(
                "raw records",
                total=sum(len(entry.stretch) for entry in entries),
                completed=sum(entry.next - entry.stretch.first for entry in entries),
            )
            backfill = Backfill(
                scanner=scanner,
                devices=registry.devices,
                sink=self._sink,
                target=self._target,
                ledger=self._ledger,
                epoch=self._epoch,
            )
            backfill.fill(entries, lambda count: bar.advance(task, count))
        self._conclude(self._ledger.entries(), backfill.errors)

    def _foretell(self, stretches: Sequence[Stretch]) -> None:
        counts = {stretch: self._target.count(stretch) for stretch in stretches}
        rows = [(stretch, (count.messages, count.readings)) for stretch, count in counts.items()]
        Console().print(_table(rows, ("stored", "readings")))
        typer.echo(
            "Nothing was written: this was a dry run."
            if stretches
            else "The raw log holds nothing of that time."
        )

    def _conclude(self, entries: Sequence[Entry], errors: Sequence[str]) -> None:
        rows = [(entry.stretch, (entry.messages, entry.readings, entry.refused)) for entry in entries]
        Console().print(_table(rows, ("stored", "readings", "refused")))
        readings = sum(entry.readings for entry in entries)
        typer.echo(f"\n{self._target.table} has the {readings:,} readings of epoch {self._epoch}, each once.")
        if self._target.table == READINGS:
            for entry in entries:
                self._target.check_roll_ups(entry.stretch)
            typer.echo(
                "The roll-ups have them too. Next: `headrace verify` compares `readings` with the log."
            )
        else:
            typer.echo(
                f"Next: compare `{self._target.table}` with `{READINGS}`; DROP TABLE {self._target.table} when done."
                f" To do it over, drop it and take another --epoch."
            )
        refused = sum(entry.refused for entry in entries)
        if refused:
            typer.echo(
                f"\n{refused:,} messages were stored once, and this release cannot read them:", err=True
            )
            for error in errors:
                typer.echo(f"  {error}", err=True)
            raise typer.Exit(1)


def _table(rows: Sequence[tuple[Stretch, Sequence[int]]], counts: Sequence[str]) -> Table:
    table = Table("topic", box=None)
    for header in ("partition", "first", "last", "messages", *counts):
        table.add_column(header, justify="right")
    for stretch, numbers in rows:
        where = (str(stretch.partition), f"{stretch.first:,}", f"{stretch.end - 1:,}", f"{len(stretch):,}")
        table.add_row(stretch.topic, *where, *(f"{number:,}" for number in numbers))
    return table
