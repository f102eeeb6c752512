"""The memory bench: minutes of mixed load with one bad client in ten, and what the processes hold through it."""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.stack.stack import Stack
from tests.bench import fleet, resident
from tests.bench.load import EDGES
from tests.bench.traffic import SEPARATOR
from tests.support.processes import stack_settings, until

PROCESSES = ("http", "coap", "process", "sink")
MARKS = (1, 2, 4, 6, 8, 10)
BASE = 2
"""The minute that the end is compared with: by then every start is over."""

BAR = 0.10

SHARE = 0.7
"""How much of what this machine can do, with Kafka, ClickHouse and the clients on it, the load is."""

CALM, CROWDED = 50.0, 10_000.0
"""Turns a second that it can surely do, and that it surely cannot."""
COUNTING = 15
"""Seconds for which their answers are counted to find out."""

WINDOW = {"HEADRACE_PROCESS__WINDOW_SECONDS": "60"}
"""What the processor remembers is to be as much as it will ever be before growth is measured: it grows for a window and a quarter."""

ACCEPTED = {"200", "204", "2.01"}


class Failed(Exception):
    """The run says nothing about memory; why is in the text."""


class Run(msgspec.Struct):
    """Everything that was measured."""

    samples: dict[str, list[resident.Sample]]
    """Of each process, one a second."""
    answers: list[dict[str, int]]
    """What the clients had been told, each second."""


class Generator:
    """A process of load, and its last account."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.answers: dict[str, int] = {}

    async def follow(self) -> None:
        """Read its accounts until it ends, which it does not by itself."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.answers = msgspec.json.decode(line, type=dict[str, int])
        raise Failed(f"a generator ended with code {await self._process.wait()}")


@asynccontextmanager
async def generating(target: fleet.Target) -> AsyncIterator[Sequence[Generator]]:
    """A generator for each edge, while the block runs."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        generators = []
        for edge in EDGES:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.bench.load",
                edge,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(process.wait)
            stack.callback(_end, process)
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(target) + b"\n")
            generators.append(Generator(process))
        following = [group.create_task(each.follow()) for each in generators]
        yield generators
        for task in following:
            task.cancel()


def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it ended by itself, which its follower has said
        process.terminate()


async def measure(minutes: float, rate: float | None, folder: Path, console: Console) -> Run:
    """Start the stack, load it, and sample once a second; without a rate, find out which is `SHARE` of what it can do."""
    os.environ.update(fleet.environment(folder) | WINDOW)
    async with Stack(stack_settings(folder / "state"), fresh=True, report=console.print) as stack:
        console.print(f"{await fleet.register(stack)} devices are registered.")
        if rate is None:
            calm, most = [await _accepted(fleet.target(stack, folder, each)) for each in (CALM, CROWDED)]
            rate = SHARE * CALM * most / calm
            console.print(
                f"{most:,.0f} messages a second are accepted at most; {SHARE:.0%} are {rate:,.0f} turns."
            )
        async with generating(fleet.target(stack, folder, rate)) as generators:
            return await _sampled(stack, generators, round(minutes * 60), console)


async def _accepted(target: fleet.Target) -> float:
    """Messages a second that are accepted when the clients take so many turns, or as many as they can."""

    def accepted() -> int:
        answers = sum((Counter(each.answers) for each in generators), Counter[str]())
        return sum(count for name, count in answers.items() if name.rpartition(SEPARATOR)[2] in ACCEPTED)

    async with generating(target) as generators:
        await until(lambda: all(each.answers for each in generators), within=60)
        before = accepted()
        await asyncio.sleep(COUNTING)
        return (accepted() - before) / COUNTING


async def _sampled(stack: Stack, generators: Sequence[Generator], seconds: int, console: Console) -> Run:
    pids = {name: stack.pid(name) for name in PROCESSES}
    run = Run({name: [] for name in PROCESSES}, [])
    now = asyncio.get_running_loop().time
    began = now()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=seconds)
        for second in range(1, seconds + 1):
            await asyncio.sleep(began + second - now())
            for name, pid in pids.items():
                if stack.pid(name) != pid:
                    raise Failed(f"{name} was restarted: its log is in {stack.state.logs}")
                run.samples[name].append(resident.sample(pid))
            run.answers.append(dict(sum((Counter(each.answers) for each in generators), Counter())))
            held = ", ".join(f"{name} {run.samples[name][-1].resident:.0f}" for name in PROCESSES)
            progress.update(
                task, advance=1, description=f"MiB: {held}; {rate_of(run, second):,.0f} answers/s"
            )
    return run


def rate_of(run: Run, second: int, over: int = 10) -> float:
    """Answers a second, up to a second of the run."""
    before, after = run.answers[max(0, second - over - 1)], run.answers[second - 1]
    return (sum(after.values()) - sum(before.values())) / max(1, min(over, second - 1))


def memory_table(run: Run) -> Table:
    """A row for each process: RSS at the marks, growth, and at the end the other two sizes."""
    seconds = len(run.answers)
    marks = [mark for mark in MARKS if mark * 60 <= seconds]
    table = Table(
        title=f"Resident memory, MiB, and its growth from minute {BASE} to the end",
        title_justify="left",
        padding=(0, 1, 0, 0),
        box=None,
    )
    table.add_column("process", no_wrap=True)
    for header in (*(f"{mark} min" for mark in marks), "end", "growth", "PSS", "USS"):
        table.add_column(header, justify="right", no_wrap=True)
    grown = resident.growth(run.samples, BASE * 60)
    for name, series in run.samples.items():
        found = [resident.at(series, second) for second in (*(60 * mark for mark in marks), seconds)]
        change = f"{grown[name]:+.1%}" if name in grown else "-"
        end = found[-1]
        sizes = [f"{each.resident:.1f}" for each in found]
        table.add_row(name, *sizes, change, f"{end.proportional:.1f}", f"{end.unique:.1f}")
    return table


def answer_table(run: Run) -> Table:
    """A row for each kind of client and of answer."""
    table = Table(title="What the clients were told", title_justify="left", box=None)
    for header, justify in (
        ("client", "left"),
        ("answer", "left"),
        ("messages", "right"),
        ("a second", "right"),
    ):
        table.add_column(header, justify=justify)
    for name, count in sorted(run.answers[-1].items()):
        kind, _, answer = name.partition(SEPARATOR)
        table.add_row(kind, answer, f"{count:,}", f"{count / len(run.answers):.2f}")
    return table


def mistakes(run: Run) -> list[str]:
    """Why the run is not good enough, a sentence each."""
    kinds: dict[str, set[str]] = {}
    for name in run.answers[-1]:
        kind, _, answer = name.partition(SEPARATOR)
        kinds.setdefault(kind, set()).add(answer)
    grown = resident.growth(run.samples, BASE * 60)
    return [
        *(
            f"{process} grew by {growth:.1%}, more than {BAR:.0%}"
            for process, growth in grown.items()
            if growth > BAR
        ),
        *(
            f"nothing of {kind} was ever accepted: {', '.join(sorted(answers))}"
            for kind, answers in kinds.items()
            if not kind.startswith("bad") and not kind.endswith("handshake") and not answers & ACCEPTED
        ),
    ]


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the load lasts.")] = 10,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Turns of clients a second, in all; one is 1 to 20 messages. 70 % of what this machine takes, if not given.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every sample and account here.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep state and logs here, instead of nowhere.")] = None,
) -> None:
    """Load the whole local stack through both edges, one client in ten a bad one, and watch what its processes hold.

    A hundred clients of a fleet of four tenants take turns at a steady rate: Graph, Digital Twins and ThingsBoard over
    HTTP; CoAP confirmable and not, in blocks, over DTLS by certificate, by pre-shared key and by token. The bad tenth
    tries what broken and hostile clients try, a way a turn.

    Prints RSS by minute, PSS and USS at the end (MiB), and what the clients were told. Exits with 1 if the RSS of a
    process at the end is more than 10 % above that of minute two (shorter runs judge nothing), if one was restarted, or
    if a kind of good client was never accepted. The processor remembers identities for a minute here: its window, which
    grows for as long as it remembers, is full before minute two.
    """
    console = Console()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as temporary:
        try:
            run = asyncio.run(measure(minutes, rate, folder or Path(temporary), console))
        except* Failed as failure:
            console.print(*failure.exceptions)
            sys.exit(1)
    if json is not None:
        json.write_bytes(msgspec.json.encode(run))
    console.print(answer_table(run), memory_table(run), sep="\n")
    seconds = len(run.answers)
    console.print(
        f"Answers a second: {rate_of(run, min(seconds, BASE * 60)):,.0f} by minute {BASE}, {rate_of(run, seconds):,.0f} at the end."
    )
    wrong = mistakes(run)
    for sentence in wrong:
        console.print(sentence)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
