"""Crew: several of each Headrace process, each of which can be started with a fault in it, and waited for."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from headrace.stack import warden
from headrace.stack.service import tail
from headrace.stack.stack import answers
from runtime.faults import Moment
from tests.support.processes import until

CODE = Path(__file__).parents[2]
"""What the members run: the tree that this file is in, also where that is a mutated copy."""

READY_SECONDS = 90
STOP_SECONDS = 15

_FORKS = multiprocessing.get_context("forkserver")
# A process of Headrace imports for three seconds; one that is forked from this server has done so.
_FORKS.set_forkserver_preload(
    [
        "headrace.cli",
        "headrace.devices",
        "producers.coap.server",
        "producers.http.server",
        "processors.app",
        "sinks.app",
        "tests.crash.crew",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A signal that a process sends to itself when it reaches a moment for the nth time."""

    moment: Moment
    signal: str = "KILL"
    after: int = 2

    def environment(self, latch: Path) -> Mapping[str, str]:
        """What `runtime.faults` reads."""
        return {
            "HEADRACE_FAULT__MOMENT": self.moment,
            "HEADRACE_FAULT__SIGNAL": self.signal,
            "HEADRACE_FAULT__AFTER": str(self.after),
            "HEADRACE_FAULT__LATCH": str(latch),
        }


class Failed(RuntimeError):
    """The suite itself could not go on: no verdict about Headrace."""


def _enter(role: str, folder: Path, log: Path, environment: Mapping[str, str], *, forked: bool) -> None:
    """In the new process: what a shell would do for `headrace ROLE`; forked, without importing everything first."""
    os.setsid()
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(environment)
    if not forked or "LD_PRELOAD" in environment:
        os.execve(sys.executable, [sys.executable, "-m", "headrace", role], os.environ)  # noqa: S606 - no shell is wanted
    sys.path.insert(0, str(CODE))
    sys.argv = ["headrace", role]
    from headrace.cli import main  # noqa: PLC0415 - this module's other readers do not need it

    main()


@dataclass(slots=True)
class Member:
    """One place in the crew, and the process that fills it now."""

    name: str
    role: str
    folder: Path
    health_port: int
    environment: Mapping[str, str]
    starts: int = 0
    process: multiprocessing.process.BaseProcess | None = None
    latch: Path = field(default_factory=Path)

    @property
    def log(self) -> Path:
        """What all of its processes said."""
        return self.folder.parent / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Of the process, as of now."""
        if self.process is None or self.process.pid is None:
            raise Failed(f"{self.name} does not run")
        return self.process.pid

    @property
    def struck(self) -> bool:
        """Whether its fault has happened."""
        return self.latch.exists()

    @property
    def frozen(self) -> bool:
        """Whether its process stands still. The latch comes first: to go on is not to be told to one that has yet to stop."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return status.rpartition(")")[2].split()[0] == "T"

    @property
    def gone(self) -> bool:
        """Whether its process has ended."""
        return self.process is None or not self.process.is_alive()

    def send(self, signum: signal.Signals) -> None:
        """Send its process a signal."""
        os.kill(self.pid, signum)


class Crew:
    """All members. Leaving the block ends them, and so does the end of this process, whatever ended it."""

    def __init__(self, folder: Path, *, forked: bool = True) -> None:
        """Forked members start in a tenth of a second instead of three."""
        self.folder = folder
        self._forked = forked
        self.members: dict[str, Member] = {}
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", warden.__file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    async def __aenter__(self) -> Self:
        """Nobody is there yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everybody."""
        await asyncio.gather(*(self.dismiss(name) for name in self.members))
        assert self._warden.stdin is not None
        self._warden.stdin.close()
        await asyncio.to_thread(self._warden.wait)

    def __getitem__(self, name: str) -> Member:
        """A member by name."""
        return self.members[name]

    def add(self, name: str, health_port: int, environment: Mapping[str, str]) -> None:
        """A place for a process; `sink-2` is one of role `sink`."""
        role = name.partition("-")[0]
        self.members[name] = Member(name, role, self.folder / name, health_port, environment)

    async def start(
        self, name: str, *, fault: Fault | None = None, environment: Mapping[str, str] | None = None
    ) -> Member:
        """Start a member, perhaps with a fault or more environment; returns when it is ready, or was hit already.

        Raises:
            Failed: it ended, or was not ready in time.

        """
        member = self.members[name]
        member.starts += 1
        member.folder.mkdir(parents=True, exist_ok=True)
        member.latch = self.folder / f"{name}.{member.starts}.latch"
        more = dict(environment or {}) | (dict(fault.environment(member.latch)) if fault else {})
        member.process = _FORKS.Process(
            target=_enter,
            args=(member.role, member.folder, member.log, {**member.environment, **more}),
            kwargs={"forked": self._forked},
            name=name,
        )
        await asyncio.to_thread(member.process.start)
        self._tell_warden("+", member.pid)
        await self._ready(member)
        return member

    async def _ready(self, member: Member) -> None:
        async def condition() -> bool:
            return (
                member.struck or member.gone or await answers(f"http://127.0.0.1:{member.health_port}/ready")
            )

        try:
            await until(condition, within=READY_SECONDS, every=0.2)
        except TimeoutError as error:
            raise Failed(f"{member.name} did not become ready:\n{tail(member.log)}") from error
        if member.gone and not member.struck:
            raise Failed(f"{member.name} ended before it was ready:\n{tail(member.log)}")

    async def dismiss(self, name: str) -> None:
        """Ask a member to leave, and see that it does; one that is frozen, or does not listen, is killed."""
        member = self.members[name]
        process = member.process
        if process is None:
            return
        if not member.gone:
            member.send(signal.SIGKILL if member.frozen else signal.SIGTERM)
        await asyncio.to_thread(process.join, STOP_SECONDS)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)
        self._tell_warden("-", member.pid)
        process.close()
        member.process = None

    async def restart(
        self, name: str, *, fault: Fault | None = None, environment: Mapping[str, str] | None = None
    ) -> Member:
        """Another process in a member's place."""
        await self.dismiss(name)
        return await self.start(name, fault=fault, environment=environment)

    async def revive(self) -> list[str]:
        """Start again whoever has ended, as an orchestrator does; returns their names."""
        ended = [name for name, member in self.members.items() if member.process is not None and member.gone]
        await asyncio.gather(*(self.restart(name) for name in ended))
        return ended

    def _tell_warden(self, sign: str, group: int) -> None:
        assert self._warden.stdin is not None
        self._warden.stdin.write(f"{sign}{group}\n")
        self._warden.stdin.flush()
