"""Run: what the commands of `headrace dead-letters` do, and what the operator is told."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.dead_letters.letters import SHOWN_DIGITS, Letter, Letters, Wanted, gather
from headrace.dead_letters.portrait import portrait
from headrace.dead_letters.replay import Bodies, Caught, Memory, Replay, Rules, Verdict, bodies, judged
from headrace.instant import spoken
from headrace.offsets import Offsets, ScanFailed
from headrace.pipeline import Pipeline, StandsStill
from headrace.scan import Record, Scanner
from headrace.terminal import progress, told, wait_for
from processors.settings import ProcessSettings
from runtime.publisher import Publisher, PublishError
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic
from schemas.topics import DEAD_LETTERS
from sinks.clickhouse.client import connect
from sinks.settings import ClickHouseSettings, SinkSettings
from sinks.sink import SinkError

DELIVERY_TIMEOUT = 30
"""Seconds that Kafka may take to acknowledge a letter that is put back."""

_EXPECTED = (ScanFailed, StandsStill, UnknownTopic, SinkError, PublishError)


def enumerate_letters(wanted: Wanted, *, limit: int) -> None:
    """Print the letters that are meant, the latest `limit` of them each on a line."""
    console = Console()
    with told(*_EXPECTED), Scanner(KafkaSettings()) as scanner:
        found = _gathered(scanner, wanted)
    _admit(found)
    chosen = found.chosen(wanted)
    if not chosen:
        typer.echo("There are no such dead letters.")
        return
    console.print(_lines(chosen[-limit:][::-1]))
    console.print()
    console.print(_sums(chosen))
    left = f", the latest {limit:,} of them above" if len(chosen) > limit else ""
    typer.echo(f"\n{len(chosen):,} messages died {sum(each.times for each in chosen):,} times{left}.")
    typer.echo(
        "Next: `headrace dead-letters show ID` explains one, `replay --dry-run` says what could go back."
    )


def explain_letter(identifier: str) -> None:
    """Print all of the letter whose id begins so."""
    wanted = Wanted(ids=(identifier,))
    with told(*_EXPECTED), Scanner(KafkaSettings()) as scanner:
        letter = _only(_gathered(scanner, wanted).chosen(wanted), identifier)
        (((_, dead),),) = bodies(scanner, [letter])
    Console().print(portrait(letter, dead))
    typer.echo(
        f"\nNext: `headrace dead-letters replay {letter.id[:SHOWN_DIGITS]}` puts it back, once it is cured."
    )


def replay_letters(wanted: Wanted, *, limit: int | None, rate: float, timeout: float, dry_run: bool) -> None:
    """Put the letters that are meant back, the first `limit` of them, and print what was done."""
    with told(*_EXPECTED), Scanner(KafkaSettings()) as scanner:
        found = _gathered(scanner, wanted)
        chosen = found.chosen(wanted)
        for each in wanted.ids:
            _only([letter for letter in chosen if letter.id.startswith(each)], each)
        _admit(found)
        _Replaying(scanner, timeout=timeout).run(chosen[:limit], rate=rate, dry_run=dry_run)


class _Replaying:
    """One run of the command."""

    def __init__(self, scanner: Scanner, *, timeout: float) -> None:
        self._scanner = scanner
        self._timeout = timeout
        self._kafka, self._process, sink = KafkaSettings(), ProcessSettings(), SinkSettings()
        clickhouse = ClickHouseSettings()
        self._memory = Memory(connect(clickhouse, insert_timeout=600), cluster=clickhouse.cluster)
        self._pipeline = Pipeline(self._kafka, processors=self._process.group, sinks=sink.group)
        self._caught = Caught(self._catch_up, window_seconds=self._process.window_seconds)

    def run(self, letters: Sequence[Letter], *, rate: float, dry_run: bool) -> None:
        """Judge the letters, send those that may be, and say what was done."""
        now = time.time_ns() // 1_000_000
        rules = Rules(now=now, window_seconds=self._process.window_seconds)
        if not dry_run and letters:
            self._caught.up()
        stored = self._memory.stored({letter.identity for letter in letters if letter.identity})
        verdicts = judged(letters, rules, stored)
        counts = Counter(verdicts.values())
        sendable = [letter for letter in letters if verdicts[letter.id] is Verdict.SENT]
        if not dry_run and sendable:
            sent, late = asyncio.run(self._send(sendable, rate, now))
            counts[Verdict.SENT] = sent
            counts[Verdict.STORED] += late
        _conclude(counts, dry_run=dry_run)

    async def _send(self, letters: Sequence[Letter], rate: float, now: int) -> tuple[int, int]:
        async with Publisher(self._kafka, delivery_timeout=DELIVERY_TIMEOUT) as publisher:
            replaying = Replay(publisher, self._memory, self._caught, rate=rate)
            with progress() as bar:
                task = bar.add_task("putting back", total=len(letters))

                def watched() -> Iterator[Bodies]:
                    for batch in bodies(self._scanner, letters):
                        yield batch
                        bar.update(task, completed=replaying.sent + replaying.stored)

                try:
                    await replaying.send(watched(), since=now)
                except _EXPECTED as error:
                    raise ScanFailed(
                        f"{replaying.sent:,} of {len(letters):,} were put back, then: {error}\n"
                        "Run the same command again: what is stored by then is left out."
                    ) from error
            return replaying.sent, replaying.stored

    def _catch_up(self) -> None:
        try:
            wait_for(self._pipeline, self._pipeline.goals(), patience=self._timeout)
        except StandsStill as error:
            raise StandsStill(
                f"Nothing more is put back before the pipeline has handled what is on the raw topics, and {error}."
                " See that it runs, or give it more --timeout."
            ) from error


def _gathered(scanner: Scanner, wanted: Wanted) -> Letters:
    """What the topic holds now."""
    with Offsets(KafkaSettings()) as offsets:
        reaches = offsets.reaches(DEAD_LETTERS, since=wanted.since)
    with progress() as bar:
        task = bar.add_task("dead letters", total=sum(map(len, reaches)))

        def read() -> Iterator[Record]:
            for reach in reaches:
                with closing(scanner.read(reach)) as records:
                    for record in records:
                        yield record
                        bar.advance(task)

        return gather(read(), wanted)


def _only(letters: Sequence[Letter], name: str) -> Letter:
    if len(letters) == 1:
        return letters[0]
    if not letters:
        raise ScanFailed(f"no dead letter's id begins with {name}; `headrace dead-letters list` shows them")
    raise ScanFailed(f"{len(letters)} ids begin with {name}: {', '.join(each.id for each in letters[:5])}")


def _lines(letters: Sequence[Letter]) -> Table:
    table = Table("id", "reason", "dialect", "tenant/device", box=None)
    table.add_column("times", justify="right")
    table.add_column("first")
    table.add_column("last")
    for letter in letters:
        table.add_row(
            letter.id[:SHOWN_DIGITS],
            letter.reason,
            letter.dialect or letter.topic,
            escape(f"{letter.tenant}/{letter.device}"),
            f"{letter.times:,}",
            spoken(letter.first),
            spoken(letter.last),
        )
    return table


def _sums(letters: Sequence[Letter]) -> Table:
    table = Table("reason", "dialect", box=None)
    for header in ("messages", "devices", "deaths"):
        table.add_column(header, justify="right")
    groups: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        groups.setdefault((letter.reason, letter.dialect or letter.topic), []).append(letter)
    for (reason, dialect), some in sorted(groups.items()):
        devices = {(letter.tenant, letter.device) for letter in some}
        deaths = sum(letter.times for letter in some)
        table.add_row(reason, dialect, f"{len(some):,}", f"{len(devices):,}", f"{deaths:,}")
    return table


def _admit(found: Letters) -> None:
    """Say what was left out, and why."""
    if found.beyond:
        typer.echo(
            f"Left out: {found.beyond:,} records of further messages; no more than {len(found.by_id):,} are held."
            " Narrow it by --since, --dialect, --tenant or --device.",
            err=True,
        )
    for partition, offset in found.damaged:
        typer.echo(f"{DEAD_LETTERS} [{partition}] at {offset} is no dead letter.", err=True)


_MEANINGS: Mapping[Verdict, str] = {
    Verdict.SENT: "on their raw topics again",
    Verdict.STORED: "left out: ClickHouse has them, once",
    Verdict.TOO_YOUNG: "left out: the processor takes them for duplicates until its window has passed",
    Verdict.TOO_OLD: "left out: ClickHouse no longer knows whether they are stored",
    Verdict.NOT_RAW: "left out: they did not come from a raw topic",
}


def _conclude(counts: Mapping[Verdict, int], *, dry_run: bool) -> None:
    for verdict, meaning in _MEANINGS.items():
        if counts.get(verdict):
            typer.echo(f"{verdict.value:<20} {counts[verdict]:>9,}  {meaning}")
    if dry_run:
        typer.echo("Nothing was sent: this was a dry run.")
    elif counts.get(Verdict.SENT):
        typer.echo("Next: `headrace dead-letters list --since 5m` shows what died again in spite of it.")
    else:
        typer.echo("Nothing was sent.")
