"""Duplicates: which message was already handled, and what its sender was told (RFC 7252, section 4.5)."""

from collections import deque
from collections.abc import Callable, Hashable

from producers.coap.answer import Answer

LIFETIME = 247.0
"""EXCHANGE_LIFETIME: how long a Message ID means the same message. Identical bytes later are a new message: a device
that wakes every ten minutes with the same Message ID and the same temperature has measured it again."""

SLICES = 3
"""What a slice of the lifetime brought is forgotten at once, when the first of it is as old as that: a message is
remembered for at least 165 s. A retransmission comes within 145: 45 s until it is sent, 100 s on its way. Each slice more is
one more place to look in."""

TOTAL = 100_000
"""Messages; some 100 bytes each, whoever sends them: 10 MB, and no more at whatever rate."""

PENDING: Answer = b""
"""What a message is answered as long as nothing is."""


class _Slice(dict[int, Answer]):
    """The answers to messages by what identifies them, from some moment on."""

    def __init__(self, began: float) -> None:
        super().__init__()
        self.began = began


class Duplicates:
    """The last messages, bounded in time and in number; the oldest slice goes first.

    What falls out is handled again when it is retransmitted, and found out downstream by its identity.
    """

    def __init__(self, clock: Callable[[], float], *, total: int = TOTAL) -> None:
        self._clock = clock
        self._room = total // SLICES
        self._slices: deque[_Slice] = deque()
        """The newest first."""

    def __len__(self) -> int:
        # A copy: another thread may ask, for the metrics.
        return sum(map(len, list(self._slices)))

    def seen(self, mark: int) -> Answer | None:
        """What was answered to the message of that mark; None if it is new, and seen from now on."""
        slices, now = self._slices, self._clock()
        while slices and now - slices[-1].began >= LIFETIME:
            slices.pop()
        for each in slices:
            if mark in each:
                return each[mark]
        if not slices or now - slices[0].began >= LIFETIME / SLICES or len(slices[0]) >= self._room:
            slices.appendleft(_Slice(now))
            if len(slices) > SLICES:
                slices.pop()
        slices[0][mark] = PENDING
        return None

    def answered(self, mark: int, answer: Answer) -> None:
        """What a retransmission of this message gets from now on, if it is still remembered."""
        for each in self._slices:
            if mark in each:
                each[mark] = answer
                return


def mark(remote: Hashable, datagram: bytes) -> int:
    """What identifies a message: who sent it, and its bytes.

    The Message ID is one of them. If it comes back with other bytes then from a device that restarted: a new message.
    Python's hash of bytes is keyed per process: nobody outside can aim at a collision.
    """
    return hash((remote, datagram))
