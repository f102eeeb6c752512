"""Report: accounts as a table and sentences, or as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.verify.findings import Account


def show(accounts: Sequence[Account], console: Console) -> None:
    """Print a row for each raw partition, then what is wrong, then the verdict."""
    console.print(_table(accounts))
    for account in accounts:
        for line in _lines(account):
            console.print(escape(line), highlight=False, soft_wrap=True)
    total = sum(account.counts.total() for account in accounts)
    judged = sum(account.accepted for account in accounts)
    if total:
        console.print(f"[bold red]{total:,} findings[/] in {judged:,} accepted messages.", highlight=False)
    else:
        console.print(
            f"[bold green]Clean:[/] each of {judged:,} accepted messages met one fate, and is where it belongs.",
            highlight=False,
            soft_wrap=True,
        )


def as_json(accounts: Sequence[Account]) -> str:
    """One object: `clean`, and for each raw partition its counts, its findings by kind, and the first of each kind."""
    return json.dumps(
        {
            "clean": not any(account.counts for account in accounts),
            "partitions": [_partition(account) for account in accounts],
        }
    )


def _partition(account: Account) -> dict[str, Any]:
    origin = account.origin
    return {
        "topic": origin.topic,
        "topic_id": origin.topic_id,
        "partition": origin.partition,
        "first": account.first,
        "last": account.last,
        **account.numbers(),
        "unjudged": account.unjudged,
        "uncompared": account.uncompared,
        "note": account.note,
        "kinds": dict(account.counts),
        "examples": [
            {"kind": finding.kind, "offset": finding.offset, "text": finding.text}
            for finding in account.findings
        ],
    }


def _table(accounts: Sequence[Account]) -> Table:
    """Eighty columns wide, as long as the counts have up to seven digits."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_footer=len(accounts) > 1)
    numbers = [account.numbers() for account in accounts]
    table.add_column("raw partition", footer="all", no_wrap=True)
    for name in numbers[0]:
        total = sum(each[name] for each in numbers)
        table.add_column(name.replace("_", "\n"), footer=f"{total:,}", justify="right", no_wrap=True)
    for account, each in zip(accounts, numbers, strict=True):
        origin = account.origin
        counts = (f"{count:,}" for count in each.values())
        table.add_row(escape(f"{origin.topic} [{origin.partition}]"), *counts)
    return table


def _lines(account: Account) -> list[str]:
    where = f"{account.origin.topic} [{account.origin.partition}]"
    lines = [
        f"{where} offset {finding.offset}: {finding.kind.replace('_', ' ')}: {finding.text}"
        for finding in account.findings
    ]
    lines += [
        f"{where} {count - account.limit:,} more: {kind.replace('_', ' ')}"
        for kind, count in account.counts.items()
        if count > account.limit
    ]
    lines += [f"{where} {account.note}"] if account.note else []
    if account.unjudged:
        lines.append(
            f"{where} {account.unjudged:,} duplicates may repeat what the log no longer has: not judged"
        )
    if account.uncompared:
        lines.append(f"{where} {account.uncompared:,} messages were emitted again too late to be compared")
    return lines
