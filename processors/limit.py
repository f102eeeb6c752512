"""Stop a partition before a bad release turns it into dead letters."""

from collections import Counter, deque
from collections.abc import Sequence

from schemas.reading_block import Fate, MessageRow

_DEAD = Fate.DEAD_LETTER
"""Looked up once: in Python 3.11 that takes longer than all else that is done with a message here."""


class DeadLetterLimit:
    """The dead letters among the last `window` messages of one raw partition, and how many there may be.

    Counting begins with the processor: what an earlier one did is not known. A share of 1 is never exceeded.
    """

    def __init__(self, *, share: float, window: int) -> None:
        self._most = share * window
        self._window = window
        self._messages = 0
        self._dead: deque[tuple[int, str]] = deque()

    def exceeded(self, rows: Sequence[MessageRow]) -> bool:
        """Count the messages of a chunk; whether at any of them there were too many dead letters."""
        before, exceeded = self._messages, False
        self._messages += len(rows)
        for number, row in enumerate(rows, before):
            if row.fate is _DEAD:
                self._dead.append((number, row.reason))
                self._forget(number)
                exceeded = exceeded or len(self._dead) > self._most
        return exceeded

    def _forget(self, newest: int) -> None:
        while self._dead and self._dead[0][0] <= newest - self._window:
            self._dead.popleft()

    def __str__(self) -> str:
        """The share, and the most frequent reason."""
        self._forget(self._messages - 1)
        reason, _ = Counter(reason for _, reason in self._dead).most_common(1)[0]
        return (
            f"{len(self._dead)} of the last {min(self._window, self._messages)} messages were dead letters"
            f" (most of them {reason})"
        )
