"""`headrace verify`: settings, progress, report, exit code."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.verify import report
from headrace.verify.compare import Comparison
from headrace.verify.errors import Unjudged
from headrace.verify.findings import Account
from headrace.verify.ranges import KEPT_MS, Range, Snapshot
from processors.settings import ProcessSettings
from runtime.settings import KafkaSettings
from sinks.clickhouse.client import connect
from sinks.settings import ClickHouseSettings, SinkSettings
from sinks.sink import SinkError

QUERY_SECONDS = 600
"""How long ClickHouse may take for the one pass over the table `readings`."""


def run(topics: Sequence[str], *, since: datetime | None, as_json: bool, limit: int) -> int:
    """Hold the three places side by side; 0 if they agree, 1 if not, 2 if that cannot be told."""
    # Standard output is for the result: the rest may be looked at while it is piped.
    aside = Console(stderr=True)
    for library in ("urllib3", "clickhouse_connect"):
        # What they warn of is in the sentence that we print.
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        accounts = _accounts(topics, since, limit, aside)
    except Unjudged as error:
        aside.print(f"Not judged: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    if as_json:
        print(report.as_json(accounts))  # noqa: T201 - what was asked for
    else:
        report.show(accounts, Console())
    return 1 if any(account.counts for account in accounts) else 0


def _accounts(topics: Sequence[str], since: datetime | None, limit: int, aside: Console) -> list[Account]:
    kafka, window = KafkaSettings(), ProcessSettings().window_seconds
    now = datetime.now(UTC)
    earliest = int(now.timestamp() * 1000) - KEPT_MS
    begin = earliest if since is None else max(earliest, int(since.timestamp() * 1000))
    try:
        client = connect(ClickHouseSettings(), insert_timeout=QUERY_SECONDS)
    except SinkError as error:
        raise Unjudged(f"ClickHouse: {error}") from error
    try:
        comparison = Comparison(kafka, client, window_seconds=window, limit=limit)
        snapshot = Snapshot(kafka, group=SinkSettings().group)
        ranges = snapshot.ranges(topics, since=begin, longest=window * 1250)
        ranges = [comparison.still_there(one) for one in ranges]
        _require_something(ranges)
        with _progress(aside) as progress:
            task = progress.add_task("messages", total=sum(one.size for one in ranges if one.judged))
            return list(comparison.accounts(ranges, lambda count: progress.advance(task, count)))
    finally:
        client.close()


def _require_something(ranges: Sequence[Range]) -> None:
    """Nothing to look at is no proof, unless nothing was accepted.

    Raises:
        Unjudged: there is nothing to look at.

    """
    if any(one.judged for one in ranges):
        return
    waiting = sum(one.waiting for one in ranges)
    if any(one.is_gone for one in ranges):
        raise Unjudged("what is stored is no longer on the logs: retention deleted it")
    if waiting:
        raise Unjudged(
            f"nothing of the range is stored yet; {waiting:,} messages wait for the processor and the sink"
        )


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
