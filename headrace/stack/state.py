"""The state folder of a stack, and the lock that keeps two stacks from sharing it."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from headrace.stack.errors import StackError


class State:
    """A folder that one stack at a time may use. What is in it survives restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self.logs = self.folder / "logs"
        self.kafka = self.folder / "kafka"
        self.clickhouse = self.folder / "clickhouse"
        self.pki = self.folder / "pki"
        self.fleet = self.folder / "fleet.yaml"

    @asynccontextmanager
    async def locked(
        self, *, report: Callable[[str], None] = lambda _: None, deadline: float = 30
    ) -> AsyncIterator[int]:
        """Hold the lock inside the block; gives its file descriptor.

        A descriptor that is inherited holds the lock too: the warden's copy keeps the folder closed until it has
        ended what a killed supervisor left behind.

        Raises:
            StackError: a stack is running here, or the remains of one do not end within the deadline (seconds).

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "stack.pid", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            await self._lock(lock, report, deadline)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield lock
        finally:
            os.close(lock)

    async def _lock(self, lock: int, report: Callable[[str], None], deadline: float) -> None:
        until = time.monotonic() + deadline
        reported = False
        while not _try_lock(lock):
            holder = os.pread(lock, 32, 0).decode().strip()
            if holder and _lives(int(holder)):
                raise StackError(f"a stack is already running in {self.folder}, pid {holder}")
            if time.monotonic() >= until:
                raise StackError(f"what the stack of pid {holder} left in {self.folder} does not end")
            if not reported:
                report(f"The stack of pid {holder} was killed; waiting until its processes have ended")
                reported = True
            await asyncio.sleep(0.05)

    def add_example_fleet(self) -> None:
        """Put the example fleet beside the certificates that it names, unless a file is there: it may be somebody's own."""
        with contextlib.suppress(FileExistsError), self.fleet.open("x") as file:
            file.write((resources.files("headrace") / "fleet.yaml").read_text())

    def clear(self) -> None:
        """Forget all data. Certificates stay: devices were given theirs."""
        for folder in (self.kafka, self.clickhouse, self.logs):
            shutil.rmtree(folder, ignore_errors=True)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
