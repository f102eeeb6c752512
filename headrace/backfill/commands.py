"""`headrace replay`: what an operator types."""

from datetime import datetime
from typing import Annotated

import typer

from headrace.instant import FORMS, instant, milliseconds
from schemas.topics import RAW_TOPICS


def _dialect(text: str) -> str:
    if text not in RAW_TOPICS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(RAW_TOPICS)}")
    return text


def replay(
    *,
    since: Annotated[
        datetime,
        typer.Option("--from", parser=instant, metavar="INSTANT", help=f"Logged then or later. {FORMS}"),
    ],
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=instant, metavar="INSTANT", help="Logged before then; now by default."),
    ] = None,
    dialect: Annotated[
        list[str] | None,
        typer.Option(
            parser=_dialect,
            metavar="DIALECT",
            help=f"Of {', '.join(RAW_TOPICS)}; all by default. Repeatable.",
        ),
    ] = None,
    into: Annotated[
        str,
        typer.Option(
            metavar="TABLE", help="A new table like `readings`; no roll-up, nothing live is touched."
        ),
    ] = "",
    epoch: Annotated[
        str,
        typer.Option(
            help="Name of this backfill. Without --into it fills `readings`, where the range was dropped."
        ),
    ] = "",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that the pipeline may stand still before this gives up.")
    ] = 60,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be written, and write nothing.")
    ] = False,
) -> None:
    """Read a range of the raw log again, and store what the pipeline stored of it once more.

    Today's normalisers make the readings, and today's registry says where a device is; which messages count was decided by
    the pipeline, and stays: duplicates and dead letters are left out (`headrace dead-letters replay` is for these).

    --into TABLE makes a table like `readings` and fills it. --epoch E without it fills `readings` itself, and by it the
    roll-ups, after an operator has dropped partitions of both. The live pipeline goes on meanwhile, and does not notice.

    A command that was killed is simply run again with the same --into and --epoch: it goes on where it was, with the range
    that was fixed at the beginning.
    """
    from headrace.backfill.run import run  # noqa: PLC0415 - other commands do not wait for it

    run(
        milliseconds(since),
        milliseconds(until or instant("now")),
        dialect or list(RAW_TOPICS),
        into=into,
        epoch=epoch,
        timeout=timeout,
        dry_run=dry_run,
    )
