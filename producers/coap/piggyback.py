"""Piggyback: requests whose answers may still travel with their acknowledgements."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Piggyback(Generic[T]):
    """What waits for an answer, each for the same time: one timer does, for the one that came first.

    Args:
        seconds: how long each waits.
        late: takes what waited as long.

    """

    def __init__(self, seconds: float, late: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._late = late
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, item: T) -> None:
        """It waits from now on."""
        self._due[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self, item: T) -> bool:
        """It waits no longer; whether it did."""
        return self._due.pop(item, None) is not None

    def close(self) -> None:
        """Nothing is late any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        while self._due:
            item, due = next(iter(self._due.items()))
            wait = due - self._loop.time()
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._look)
                return
            del self._due[item]
            self._late(item)
