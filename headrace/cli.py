"""The command line: `headrace up` for the whole stack on this machine, and one command per process."""

import sys
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from headrace import devices, topics
from headrace.backfill.commands import replay
from headrace.dead_letters import commands as dead_letters
from headrace.instant import FORMS, instant
from runtime import log
from runtime.settings import LogSettings
from schemas.topics import RAW_TOPICS

_FIRST = """
Usually first:

- `headrace demo` sends telemetry through the whole stack, and proves that each message was stored once

- `headrace up` runs the stack until Ctrl-C

- `headrace devices apply .headrace/fleet.yaml` registers your own devices with it
"""

_VERIFY = """
What the sink says is stored is judged, up to the moment the command began; the pipeline may go on meanwhile. Nothing is
written, and no consumer group is disturbed.

Each finding names the message by its origin: raw topic, partition, offset. Not emitted, not stored and missing mean loss;
twice, surplus and repeat mean that something counts twice.

Exit code: 0 clean, 1 something was found, 2 it cannot be judged (Kafka or ClickHouse is away, or the range is gone from
the logs).

- `headrace verify --since 2h` looks at the last two hours

- `headrace verify --json | jq .partitions[].examples` names what is wrong
"""

app = typer.Typer(
    name="headrace",
    epilog=_FIRST,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

_PROCESSES = "The processes"
"""Help panel of the commands that a deployment runs, one a container."""


@app.callback()
def headrace() -> None:
    """Telemetry from device fleets into ClickHouse, over Kafka, exactly once."""
    # For the commands that a person types; a process reads its own settings.
    log.configure(LogSettings(level="warning", format="console"))


@app.command()
def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the data of earlier runs.")] = False,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each topic that scales.")
    ] = None,
) -> None:
    """Run the whole stack on this machine: Kafka, ClickHouse and the four Headrace processes."""
    from headrace.up import run  # noqa: PLC0415 - other commands do not wait for what this one imports

    sys.exit(run(fresh=fresh, partitions=partitions))


@app.command(rich_help_panel=_PROCESSES)
def http() -> None:
    """Take telemetry over HTTP: the Microsoft Graph and Azure Digital Twins dialects."""
    from producers.http.server import main as serve  # noqa: PLC0415 - imported when it is wanted

    serve()


@app.command(rich_help_panel=_PROCESSES)
def coap() -> None:
    """Take telemetry over CoAP, also over DTLS: the ThingsBoard dialect."""
    from producers.coap.server import main as serve  # noqa: PLC0415 - imported when it is wanted

    serve()


@app.command(rich_help_panel=_PROCESSES)
def process() -> None:
    """Turn raw messages into clean readings: normalised, each once, with what is known of the device."""
    from processors.app import main as work  # noqa: PLC0415 - imported when it is wanted

    work()


@app.command(rich_help_panel=_PROCESSES)
def sink() -> None:
    """Store readings in ClickHouse, exactly once."""
    from sinks.app import main as work  # noqa: PLC0415 - imported when it is wanted

    work()


@app.command()
def demo(
    messages: Annotated[int, typer.Option(min=30, help="How many to send, about.")] = 3000,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the data of earlier runs.")] = False,
) -> None:
    """Send a fleet's telemetry through the whole stack, and prove that each message was stored once."""
    try:
        from headrace.demo.run import run  # noqa: PLC0415 - imported when it is wanted
    except ModuleNotFoundError as error:
        typer.echo(f"{error.name} is missing: pip install 'headrace[local]'", err=True)
        raise typer.Exit(1) from error
    sys.exit(run(messages=messages, fresh=fresh))


@app.command(epilog=_VERIFY)
def verify(
    since: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="INSTANT", help=f"Only what was accepted since. {FORMS}"),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(metavar="RAW_TOPIC", help="Judge this raw topic only; may be given several times."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Findings to print, of a kind and a partition.")] = 10,
) -> None:
    """Prove that every accepted message met one fate: hold the raw log, `readings` and ClickHouse side by side."""
    from headrace.verify.run import run  # noqa: PLC0415 - imported when it is wanted

    known = list(RAW_TOPICS.values())
    if unknown := set(topic or ()) - set(known):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: no raw topic (known: {', '.join(known)})")
    wanted = [name for name in known if not topic or name in topic]
    sys.exit(run(wanted, since=since, as_json=as_json, limit=limit))


app.command()(replay)
app.add_typer(dead_letters.app)
app.add_typer(devices.app)
app.add_typer(topics.app)


def main() -> None:
    """Run the command that the arguments name; a setting that is wrong is explained, and ends it with 2."""
    try:
        app()
    except ValidationError as error:
        for wrong in error.errors(include_url=False, include_input=False):
            where = "".join(f"{part}: " for part in wrong["loc"])
            typer.echo(f"{error.title}: {where}{wrong['msg'].removeprefix('Value error, ')}", err=True)
        sys.exit(2)
