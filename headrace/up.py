"""`headrace up`: the local stack in a terminal, from the first download to Ctrl-C."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.stack.errors import StackError
from headrace.stack.settings import StackSettings
from headrace.stack.stack import Stack


def run(*, fresh: bool, partitions: int | None) -> int:
    """Run the stack until it is told to stop; return the exit code."""
    console = Console()
    try:
        settings = StackSettings() if partitions is None else StackSettings(partitions=partitions)
        asyncio.run(_until_told(settings, fresh, console))
    except (StackError, ValidationError) as error:
        console.print(
            f"[bold red]The stack is down:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        return 1
    console.print("Stopped. No process is left; the data is kept.")
    return 0


async def _until_told(settings: StackSettings, fresh: bool, console: Console) -> None:
    serving = asyncio.ensure_future(_serve(settings, fresh, console))
    told = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, told.set)
    # Once it is told, it stops in order: a second Ctrl-C does not interrupt that.
    telling = asyncio.ensure_future(told.wait())
    await asyncio.wait([serving, telling], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if not serving.done():
        console.print("Stopping.")
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _serve(settings: StackSettings, fresh: bool, console: Console) -> None:
    def report(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    report("Starting the local stack; Ctrl-C stops it.")
    async with Stack(settings, fresh=fresh, report=report) as stack:
        _show(stack, console)
        await stack.wait()


def _show(stack: Stack, console: Console) -> None:
    """Say what runs where, and what to do next."""
    addresses = {
        "kafka": stack.bootstrap,
        "clickhouse": stack.clickhouse_url,
        "http": stack.http_url,
        "coap": f"{stack.coap_url} {stack.coaps_url}",
        "process": "",
        "sink": "",
    }
    table = Table("service", "pid", "address", "log", box=None, header_style="dim")
    for name, address in addresses.items():
        if name in stack.services:
            log = _short(stack.state.logs / f"{name}.log")
            table.add_row(name, str(stack.pid(name)), address, log)
        else:
            table.add_row(name, "", address, "not ours")
    console.print(table)
    fleet = _short(stack.state.fleet)
    query = f"curl {stack.clickhouse_url} --data 'SELECT count() FROM readings'"  # noqa: S608 - for a person
    console.print(f"Register devices:  [bold]headrace devices apply {escape(fleet)}[/]", soft_wrap=True)
    console.print(f"Query:             [bold]{escape(query)}[/]", soft_wrap=True)
    console.print("Stop:              [bold]Ctrl-C[/]; `headrace up` goes on where it stopped")


def _short(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
