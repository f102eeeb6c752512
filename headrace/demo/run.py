"""`headrace demo`: the stack, a fleet, its telemetry, and the verdict."""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import aiohttp
import clickhouse_connect
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.demo import digital_twins, graph, judge, thingsboard
from headrace.demo.errors import DemoError
from headrace.demo.ledger import Ledger
from headrace.stack.errors import StackError
from headrace.stack.settings import StackSettings
from headrace.stack.stack import Stack
from runtime.devices import PlaceTable
from runtime.publisher import Publisher
from runtime.registry import Registry
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key

TENANT, TOKEN = "demo", "demo-token"
DEVICES_A_DIALECT = 40
PATIENCE_SECONDS = 60
"""How long nothing may arrive in ClickHouse before the demo gives up."""


def run(*, messages: int, fresh: bool) -> int:
    """Run the demo; the exit code is 0 only if ClickHouse holds exactly what was accepted, once."""
    console = Console()
    # The SDK warns at each message about a time that it makes itself.
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        return asyncio.run(_demo(messages, fresh, console))
    except (StackError, DemoError, ValidationError) as error:
        console.print(f"[bold red]The demo failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1


async def _demo(messages: int, fresh: bool, console: Console) -> int:
    def report(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    began = time.monotonic()
    report("Starting Kafka, ClickHouse and Headrace on this machine.")
    settings = StackSettings()
    async with Stack(settings, fresh=fresh, report=report) as stack:
        report(f"Everything is up after {time.monotonic() - began:.0f} s.")
        demo_run = f"demo-{uuid.uuid4().hex[:6]}-"
        client = await asyncio.to_thread(clickhouse_connect.get_client, dsn=stack.clickhouse_url)
        fleet = await register(stack, demo_run)
        report(f"Registered {3 * DEVICES_A_DIALECT} devices named {demo_run}*.")
        ledgers = await send(stack, fleet, messages, console)
        await settle(client, demo_run, sum(ledger.accepted for ledger in ledgers.values()), console)
        wrong = await asyncio.to_thread(judge.differences, client, demo_run, ledgers)
        console.print(_table(ledgers, await asyncio.to_thread(judge.stored, client, demo_run)))
        _conclude(console, wrong, stack, demo_run)
        report(f"{time.monotonic() - began:.0f} s in all; stopping the stack.")
    return 1 if wrong else 0


async def register(stack: Stack, demo_run: str) -> Mapping[str, Sequence[str]]:
    """Register a fleet, and wait until every process knows it; returns the devices by dialect."""
    fleet = {
        dialect: [f"{demo_run}{dialect[0]}{number:02}" for number in range(DEVICES_A_DIALECT)]
        for dialect in ("graph", "digital_twins", "thingsboard")
    }
    kafka = KafkaSettings(bootstrap=stack.bootstrap)
    async with Publisher(kafka, delivery_timeout=30) as publisher:
        for device in (_device(name) for names in fleet.values() for name in names):
            await publisher.send(DEVICES, encode(device), key=key(TENANT, device.device))
    expected = await asyncio.to_thread(_registered, kafka)
    ports = [getattr(stack.settings, f"{name}_health_port") for name in ("http", "coap", "process")]
    async with aiohttp.ClientSession() as session:
        for port in ports:
            while await _known(session, port) < expected:  # noqa: ASYNC110 - another process's gauge
                await asyncio.sleep(0.05)
    return fleet


def _registered(kafka: KafkaSettings) -> int:
    with Registry(kafka, PlaceTable()) as registry:
        return len(registry.devices)


def _device(name: str) -> Device:
    return Device(
        tenant=TENANT,
        device=name,
        token_sha256s=[sha256(_access_token(name).encode()).hexdigest()],
        components=[digital_twins.COMPONENT],
        place=f"Hall {int(name[-2:]) % 4 + 1}",
        labels={"fleet": "demo"},
    )


def _access_token(device: str) -> str:
    return f"token-of-{device}"


async def _known(session: aiohttp.ClientSession, port: int) -> float:
    async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(
        (float(line.split()[1]) for line in lines if line.startswith("headrace_registry_devices ")), 0.0
    )


async def send(
    stack: Stack, fleet: Mapping[str, Sequence[str]], messages: int, console: Console
) -> Mapping[str, Ledger]:
    """Send about so many messages, a third through each dialect; returns what their clients were told."""
    each = messages // 3
    tokens = {name: _access_token(name) for name in fleet["thingsboard"]}
    with _progress(console) as progress:
        tasks = {dialect: progress.add_task(dialect, total=each) for dialect in fleet}

        def sender(dialect: str) -> Any:
            return lambda count: progress.advance(tasks[dialect], count)

        ledgers = await asyncio.gather(
            graph.send(stack.http_url, TOKEN, fleet["graph"], each, sender("graph")),
            digital_twins.send(stack.http_url, TOKEN, fleet["digital_twins"], each, sender("digital_twins")),
            thingsboard.send(stack.coap_url, tokens, fleet["thingsboard"], each, sender("thingsboard")),
        )
    return dict(zip(fleet, ledgers, strict=True))


async def settle(client: Any, demo_run: str, accepted: int, console: Console) -> None:
    """Wait until every accepted message has met its fate."""
    with _progress(console) as progress:
        task = progress.add_task("in ClickHouse", total=accepted)
        deadline, before = time.monotonic() + PATIENCE_SECONDS, -1
        while (now := await asyncio.to_thread(judge.arrived, client, demo_run)) < accepted:
            progress.update(task, completed=now)
            if now > before:
                deadline, before = time.monotonic() + PATIENCE_SECONDS, now
            if time.monotonic() > deadline:
                raise DemoError(f"{accepted - now} accepted messages did not arrive in ClickHouse")
            await asyncio.sleep(0.1)
        progress.update(task, completed=now)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _table(ledgers: Mapping[str, Ledger], held: Mapping[str, judge.Stored]) -> Table:
    """Eighty columns wide at the most."""
    title = "What clients were told, and what ClickHouse holds"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("dialect", no_wrap=True)
    headers = ("sent", "accepted", "refused", "duplicates\nabsorbed", "dead\nletters", "stored\nreadings")
    for header in (*headers, "latency, s\np50 / p99"):
        table.add_column(header, justify="right", no_wrap=True)
    for dialect, ledger in ledgers.items():
        fates = held[dialect]
        told = (ledger.sent, ledger.accepted, ledger.refused)
        counts = (*told, fates.duplicates, fates.dead_letters, fates.readings)
        table.add_row(dialect, *(f"{count:,.0f}" for count in counts), f"{fates.p50:.2f} / {fates.p99:.2f}")
    return table


def _conclude(console: Console, wrong: Sequence[str], stack: Stack, demo_run: str) -> None:
    if wrong:
        console.print(
            "[bold red]ClickHouse does not hold what was accepted:[/]", *map(escape, wrong), sep="\n  "
        )
        return
    console.print("[bold green]Every accepted message is in ClickHouse exactly once.[/]")
    console.print(
        f"`headrace up` keeps the stack running with this data; then try, on {stack.clickhouse_url}:"
    )
    for query in (
        f"SELECT device, quantity, number, place FROM latest WHERE startsWith(device, '{demo_run}') LIMIT 10",  # noqa: S608 - names of our own making
        "SELECT minute, quantity, sum(count) AS readings FROM readings_1m GROUP BY ALL ORDER BY ALL DESC LIMIT 10",
        "SELECT fate, reason, count() FROM messages GROUP BY ALL",
    ):
        console.print(
            f'  curl {stack.clickhouse_url} --data "{escape(query)} FORMAT PrettyCompact"',
            soft_wrap=True,
            highlight=False,
        )
