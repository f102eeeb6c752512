"""One process of the stack: how it is started, when it is ready, and what it said last."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TAIL_LINES = 15
_TAIL_WIDTH = 240
_TAIL_BYTES = 16 * 1024


async def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a supervisor has to know of a process.

    `prepare` is awaited once, before the first start. `ready` is asked again and again until it is true; it is not to
    raise. `needs` names services that have to be ready before this one is started, the first time and after a crash.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    prepare: Callable[[], Awaitable[None]] = _nothing
    ready_within: float = 60
    stop_within: float = 10


class Running:
    """A process of a service, from its start to its end."""

    def __init__(self, service: Service, process: asyncio.subprocess.Process) -> None:
        self._service = service
        self._process = process

    @classmethod
    async def start(cls, service: Service, log: Path) -> "Running":
        """Start it in a process group of its own, so that a Ctrl-C in the terminal is for the supervisor alone."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *service.argv,
                env={**os.environ, **service.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(service, process)

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its group."""
        return self._process.pid

    async def ended(self) -> str:
        """Wait until it has ended; say how."""
        code = await self._process.wait()
        return f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

    async def ready(self) -> bool:
        """Wait until it is ready; False if it ended before it was.

        Raises:
            TimeoutError: neither happened in time.

        """
        ended = asyncio.ensure_future(self._process.wait())
        try:
            async with asyncio.timeout(self._service.ready_within):
                while not ended.done():
                    if await self._service.ready():
                        return True
                    await asyncio.wait([ended], timeout=0.05)
        finally:
            ended.cancel()
        return False

    async def stop(self) -> None:
        """End it: ask, wait, make; then whatever it left in its group."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._service.stop_within)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"    {line[:_TAIL_WIDTH]}" for line in lines) or "    (nothing)"


def rotate(log: Path) -> None:
    """Begin an empty log; keep the one before."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    log.touch()
