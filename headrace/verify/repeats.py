"""Repeats: a plain model of which messages repeat which, to hold the processor's decisions against."""

from collections import OrderedDict
from enum import Enum, auto

from schemas.reading_block import Fate


class Verdict(Enum):
    """Whether a message had to be kept."""

    RIGHT = auto()
    REPEAT_KEPT = auto()
    ORIGINAL_LOST = auto()
    UNJUDGED = auto()
    """Dropped as a repeat of something that may lie before the first message that is known."""


class Repeats:
    """Follows one raw partition in the order of its log.

    The promise: a message is dropped if the same was kept within the window before it, and not dropped if none was within
    the window and a quarter. In between both are right. Time is the log's: the newest timestamp so far. Memory: about 250 bytes for each message kept within that time.

    Args:
        seconds: the window.
        known_from: milliseconds since 1970: what is older was not seen. None: the first message's time. 0: all was seen.

    """

    def __init__(self, *, seconds: int, known_from: int | None) -> None:
        # A quarter of the window is a whole number of milliseconds.
        quarter = max(1, seconds * 1000 // 4)
        self._window, self._longest = 4 * quarter, 5 * quarter
        self._known_from = known_from
        self._now = 0
        self._kept: OrderedDict[bytes, int] = OrderedDict()

    def judge(self, identity: bytes, logged_at: int, fate: Fate) -> Verdict:
        """Take the next message, with the fate that it met."""
        if self._known_from is None:
            self._known_from = logged_at
        self._now = max(self._now, logged_at)
        self._forget()
        if fate is Fate.DEAD_LETTER:
            return Verdict.RIGHT
        before = self._kept.get(identity)
        if fate is Fate.STORED:
            self._kept[identity] = self._now
            self._kept.move_to_end(identity)
            return (
                Verdict.RIGHT if before is None or self._now - before >= self._window else Verdict.REPEAT_KEPT
            )
        if before is not None:
            return Verdict.RIGHT
        return Verdict.UNJUDGED if self._now - self._longest < self._known_from else Verdict.ORIGINAL_LOST

    def _forget(self) -> None:
        while self._kept:
            identity, kept_at = next(iter(self._kept.items()))
            if self._now - kept_at <= self._longest:
                return
            del self._kept[identity]
