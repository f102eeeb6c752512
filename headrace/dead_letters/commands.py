"""`headrace dead-letters`: what an operator types."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from headrace.dead_letters.letters import REASONS, Wanted
from headrace.instant import FORMS, instant, milliseconds
from schemas.topics import RAW_TOPICS

app = typer.Typer(
    name="dead-letters",
    help="See what could not be used and why, and put it back once it is cured.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def _reason(text: str) -> str:
    if text not in REASONS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(REASONS)}")
    return text


def _dialect(text: str) -> str:
    topics = {**RAW_TOPICS, **{topic: topic for topic in RAW_TOPICS.values()}}
    if text not in topics:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(RAW_TOPICS)}")
    return topics[text]


Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", parser=_reason, help=f"Only of {', '.join(REASONS)}. Repeatable."),
]
Dialect = Annotated[str | None, typer.Option(parser=_dialect, help=f"Only of {', '.join(RAW_TOPICS)}.")]
Tenant = Annotated[str, typer.Option(help="Only of this tenant.")]
Device = Annotated[str, typer.Option(help="Only of this device.")]
Since = Annotated[
    datetime | None, typer.Option(parser=instant, metavar="INSTANT", help=f"Only what died since. {FORMS}")
]


@app.command(name="list")
def list_(
    *,
    reason: Reasons = None,
    dialect: Dialect = None,
    tenant: Tenant = "",
    device: Device = "",
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Lines at most, the latest deaths first.")] = 50,
) -> None:
    """Show the dead letters: a line a message, with how often it died, and a sum of each reason."""
    from headrace.dead_letters.run import enumerate_letters  # noqa: PLC0415 - other commands do not wait for it

    wanted = _wanted((), reason=reason, dialect=dialect, tenant=tenant, device=device, since=since)
    enumerate_letters(wanted, limit=limit)


@app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it, or its beginning.")],
) -> None:
    """Show all of one dead letter: where it came from, why it died, its headers, and its body as text or hex."""
    from headrace.dead_letters.run import explain_letter  # noqa: PLC0415 - as above

    explain_letter(identifier.lower())


@app.command()
def replay(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="As `list` shows them; all that are meant otherwise."),
    ] = None,
    *,
    reason: Reasons = None,
    dialect: Dialect = None,
    tenant: Tenant = "",
    device: Device = "",
    since: Since = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Letters at most, the oldest deaths first.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Letters a second, at most.")] = 1000,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that the pipeline may stand still before this gives up.")
    ] = 60,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Put dead letters back onto their raw topics, untouched, to go through the whole pipeline again.

    Each is stored once, however often it is replayed, and by however many operators: first this waits until the pipeline
    has handled everything, then it leaves out what ClickHouse has; what two replays send at the same time is absorbed as any
    other duplicate. A letter whose cause is not cured dies again, and stays one line of `list`.

    Uses the settings of the pipeline: HEADRACE_KAFKA__…, HEADRACE_CLICKHOUSE__…, HEADRACE_PROCESS__GROUP and
    _WINDOW_SECONDS, HEADRACE_SINK__GROUP.
    """
    from headrace.dead_letters.run import replay_letters  # noqa: PLC0415 - as above

    ids = tuple(each.lower() for each in identifiers or ())
    wanted = _wanted(ids, reason=reason, dialect=dialect, tenant=tenant, device=device, since=since)
    replay_letters(wanted, limit=limit, rate=rate, timeout=timeout, dry_run=dry_run)


def _wanted(
    ids: tuple[str, ...],
    *,
    reason: Sequence[str] | None,
    dialect: str | None,
    tenant: str,
    device: str,
    since: datetime | None,
) -> Wanted:
    return Wanted(
        ids=ids,
        reasons=frozenset(reason or ()),
        topic=dialect or "",
        tenant=tenant,
        device=device,
        since=milliseconds(since) if since else 0,
    )
