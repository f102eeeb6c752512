"""A line of the bench: Headrace and others doing the same work in turns, judged by the CPU-second."""

import ctypes
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from rich.table import Table

OURS = "headrace"
LOAD = "load"
"""Who sends, among what stands beside a figure."""

_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl.h."""


class Figure(msgspec.Struct, frozen=True):
    """What one candidate did in one round."""

    work: int
    """Units: messages, rows, requests."""
    cpu: float
    """Seconds of CPU of the process under test, by the kernel's account."""
    wall: float
    beside: Mapping[str, float] = {}
    """CPU-seconds of other processes that the work took, by name; not judged."""

    @property
    def rate(self) -> float:
        """Units a CPU-second."""
        return self.work / self.cpu


class Chart(msgspec.Struct, frozen=True):
    """What `tests.bench.charts` draws: a line for each series, or a bar where there is one point."""

    title: str
    points: Sequence[str]
    series: Mapping[str, Sequence[float]]


class Shown(Protocol):
    """What a line found."""

    line: str

    def missed(self) -> list[str]:
        """What was asked and is not reached: a sentence for each."""

    def table(self) -> Table:
        """For people."""

    def chart(self) -> Chart:
        """For a page."""


class Result(msgspec.Struct, frozen=True):
    """All rounds of one line whose candidates do the same work."""

    line: str
    unit: str
    figures: Mapping[str, Sequence[Figure]]
    """By candidate, ours under `OURS`."""
    least: float = 0.0
    """Units a CPU-second that ours should reach at least; 0 where nothing is asked."""
    ratios: Mapping[str, float] = {}
    """By candidate: how many times its rate ours should reach at least."""

    def rate(self, candidate: str) -> float:
        """The median of its rounds."""
        return statistics.median(figure.rate for figure in self.figures[candidate])

    def ratio(self, candidate: str) -> float:
        """The median of what ours did against it, round by round: what slows a round down slows both."""
        pairs = zip(self.figures[OURS], self.figures[candidate], strict=True)
        return statistics.median(ours.rate / other.rate for ours, other in pairs)

    def busy(self, candidate: str) -> float:
        """Which part of the time that it took the sender was at work; the rest it waited for the candidate."""
        return statistics.median(
            figure.beside.get(LOAD, 0.0) / figure.wall for figure in self.figures[candidate]
        )

    def wall_rate(self, candidate: str) -> float:
        """Units a second by the clock on the wall."""
        return statistics.median(figure.work / figure.wall for figure in self.figures[candidate])

    def missed(self) -> list[str]:
        """See `Shown`."""
        found = []
        if self.least and self.rate(OURS) < self.least:
            found.append(
                f"{self.line}: {self.rate(OURS):,.0f} {self.unit}/CPU-s, {self.least:,.0f} are asked"
            )
        for other, least in self.ratios.items():
            if other in self.figures and self.ratio(other) < least:
                found.append(f"{self.line}: {self.ratio(other):.2f} x {other}, {least:g} x is asked")
        return found

    def table(self) -> Table:
        """Rate, spread, and ours against each."""
        table = Table(self.line, box=None, title_justify="left")
        for header in (f"{self.unit}/CPU-s", "least to most", "ours against it", "asked"):
            table.add_column(header, justify="right")
        for name, figures in self.figures.items():
            rates = [figure.rate for figure in figures]
            ours = name == OURS
            asked = self.least if ours else self.ratios.get(name, 0.0)
            table.add_row(
                name,
                f"{self.rate(name):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                "" if ours else f"{self.ratio(name):.2f} x",
                (f"{asked:,.0f}" if ours else f"{asked:g} x") if asked else "",
            )
        told = [
            f"{busy:.0%} of the time at {self.wall_rate(name):,.0f} {self.unit} a second beside {name}"
            for name in self.figures
            if (busy := self.busy(name))
        ]
        if told:
            table.caption = f"The sender was at work, and waited for the rest: {', '.join(told)}."
            table.caption_justify = "left"
        return table

    def chart(self) -> Chart:
        """A bar for each candidate."""
        rates = {name: [self.rate(name)] for name in self.figures}
        return Chart(f"{self.line}\n{self.unit} by the CPU-second", [""], rates)


Candidate = Callable[[], Figure]


def play(
    candidates: Mapping[str, Candidate], rounds: int, said: Callable[[str], None]
) -> dict[str, list[Figure]]:
    """Each candidate once a round, in an order that turns; what was said is a line for each."""
    figures: dict[str, list[Figure]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            figure = candidates[name]()
            figures[name].append(figure)
            said(f"round {number + 1} of {rounds}  {name}: {figure.rate:,.0f} a CPU-second")
    return figures


T = TypeVar("T")


def apart(measure: Callable[..., T], *arguments: Any, patience: float = 300) -> T:
    """What a measurement says that has a process of its own; it has to be importable."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_answer, args=(there, measure, arguments))
    process.start()
    there.close()
    try:
        if not here.poll(patience):
            raise TimeoutError(f"{measure.__name__} has not answered within {patience:g} s")
        said: T = here.recv()
        return said
    finally:
        process.kill()
        process.join()


def _answer(there: Any, measure: Callable[..., object], arguments: Sequence[Any]) -> None:
    # Whoever ends the bench by a signal ends this too.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    there.send(measure(*arguments))


class Clock:
    """CPU and wall time since it was made: of this process, or of another by its pid."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._cpu, self._wall = self._spent(), time.perf_counter()

    def figure(self, work: int, **beside: float) -> Figure:
        """So much was done since."""
        return Figure(work, self.cpu, time.perf_counter() - self._wall, beside)

    @property
    def cpu(self) -> float:
        """Seconds since."""
        return self._spent() - self._cpu

    def _spent(self) -> float:
        return time.process_time() if self._pid is None else cpu_of(self._pid)


def cpu_of(pid: int) -> float:
    """CPU-seconds of a process so far, all its threads, by the kernel's account of nanoseconds.

    Raises:
        OSError: it is gone.

    """
    # The clock that clock_getcpuclockid(3) names: it counts threads that have ended, too.
    return time.clock_gettime((~pid << 3) | 2)


def machine() -> str:
    """Of what kind this machine is: a line."""
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown CPU",
    )
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Linux {os.uname().release}"


def pace() -> float:
    """Milliseconds of CPU that it takes just now to add ten million numbers: what a core is worth to Python.

    Where a machine is shared it changes from minute to minute, and with it every rate.
    """
    begun = time.process_time()
    sum(range(10_000_000))
    return (time.process_time() - begun) * 1000
