"""Processes of one group that share a backlog: what all of them do, by the CPU that one of them takes."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.request import urlopen

from tests.bench.line import Clock, Figure
from tests.support.processes import free_ports

WARM = 1_000
"""Units after which a member is under way: it has what it was given, and has loaded what it needs."""
PATIENCE = 240.0

Member = tuple[int, int]
"""Process id, and port of its metrics."""


def shared(
    command: str, count: int, settings: Mapping[str, str], counter: re.Pattern[str], total: int
) -> Figure:
    """So many processes, from when each of them is under way, so that the group has settled, to when all is done.

    The CPU is that of one of them, in the mean; the rate is thereby what they can do together when each has a core.

    Args:
        command: of `headrace`.
        count: how many.
        settings: their environment.
        counter: finds what a process has done in its metrics.
        total: units that wait.

    """
    with _members(command, count, settings) as members:
        first = _done(members, counter, [WARM] * count)
        # Who came first gave something up when the last one came, and has to go on behind that.
        begun = _done(members, counter, [each + WARM for each in first])
        clocks, wall = [Clock(pid) for pid, _ in members], time.perf_counter()
        work = sum(_done(members, counter, begun, total)) - sum(begun)
        return Figure(work, sum(clock.cpu for clock in clocks) / count, time.perf_counter() - wall)


@contextlib.contextmanager
def _members(command: str, count: int, settings: Mapping[str, str]) -> Iterator[Sequence[Member]]:
    with contextlib.ExitStack() as stack:
        members = []
        for port in free_ports(count):
            own = {"HEADRACE_HEALTH__PORT": str(port), "HEADRACE_LOG__LEVEL": "error"}
            process = subprocess.Popen(
                [sys.executable, "-m", "headrace", command],
                env={**os.environ, **settings, **own},
                stdout=subprocess.DEVNULL,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            members.append((process.pid, port))
        yield members


def _done(
    members: Sequence[Member], counter: re.Pattern[str], least: Sequence[int], total: int = 0
) -> Sequence[int]:
    """What each member has done, as soon as that is its least, and all together have done the total.

    Raises:
        RuntimeError: a member has nothing to do, or does not get on.

    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = [_counted(port, counter) for _, port in members]
        if all(each >= wanted for each, wanted in zip(done, least, strict=True)) and sum(done) >= total:
            return done
        time.sleep(0.1)
    raise RuntimeError(f"of {total:,} the members have done {done}")


def _counted(port: int, counter: re.Pattern[str]) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return int(sum(map(float, counter.findall(answer.read().decode()))))
    except OSError:
        return 0  # not yet
