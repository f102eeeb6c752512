"""Watchdog: a process that does not get on ends, so that another one can."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from processors.progress import Progress

log = structlog.get_logger()

PERIOD_SECONDS = 0.5


def _end() -> None:
    # Not sys.exit: whatever hangs would hang it too. Nothing is lost, since nothing was committed before its effect was there.
    sys.stderr.flush()
    os._exit(1)


class Watchdog:
    """Ends the process with code 1 and one sentence when it is stuck, from a thread that nothing of Faust can hold up.

    Stuck is: offsets do not follow the records that were taken; the event loop does not run; a part that Faust needs has ended
    or does not finish; the process was told to stop and is still there when its grace is over.

    Args:
        progress: of the offsets.
        patience: seconds.
        grace: seconds that a stop may take.
        vital: a sentence if a part of Faust is not what it should be, else "".
        end: ends the process.

    """

    def __init__(
        self,
        progress: Progress,
        *,
        patience: float,
        grace: float,
        vital: Callable[[], str] = str,
        end: Callable[[], None] = _end,
    ) -> None:
        self._progress = progress
        self._patience = patience
        self._grace = grace
        self._vital = vital
        self._end = end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = 0.0
        self._ill_since: float | None = None
        self._leaving_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch no more."""
        self._stopped.set()
        self._thread.join()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Also see that this loop runs."""
        self._beat = time.monotonic()
        self._loop = loop

    def leaving(self) -> None:
        """The process was told to stop: from now on its grace counts."""
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()

    def alive(self) -> str:
        """For /health: a sentence from half of the patience on, else ""."""
        return self.trouble(self._patience / 2)

    def trouble(self, patience: float) -> str:
        """What has been wrong for longer than these seconds, or ""."""
        now = time.monotonic()
        if self._leaving_since is not None:
            return (
                f"was told to stop and is still there after {self._grace:g} s"
                if now - self._leaving_since > self._grace
                else ""
            )
        if self._loop is not None and now - self._beat > patience:
            return f"the event loop has not run for {now - self._beat:.0f} s"
        if self._ill_since is not None and now - self._ill_since > patience:
            return f"{self._vital()}, for {now - self._ill_since:.0f} s"
        return self._progress.trouble(patience)

    def _look(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the process is about to end
                self._loop.call_soon_threadsafe(self._note_beat)
        if not self._vital():
            self._ill_since = None
        elif self._ill_since is None:
            self._ill_since = time.monotonic()

    def _note_beat(self) -> None:
        self._beat = time.monotonic()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            self._look()
            if sentence := self.trouble(self._patience):
                log.critical("giving up", reason=sentence)
                self._end()
                return
