"""Duplicates: which message was already handled, and what its sender was told (RFC 7252, section 4.5)."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

LIFETIME = 247.0
"""EXCHANGE_LIFETIME: how long a Message ID means the same message. Identical bytes later are a new message: a device
that wakes every ten minutes with the same Message ID and the same temperature has measured it again."""

SLICES = 4
"""What a slice of the lifetime brought is forgotten at once, when the first of it is as old as that: a message is
remembered for at least 185 s. A retransmission comes within 145: 45 s until it is sent, 100 s on its way."""

TOTAL = 100_000
"""Messages; some 150 bytes each, whoever sends them: 15 MB, and no more at whatever rate."""

_FINGERPRINT_BYTES = 8


@dataclass(slots=True)
class _Slice:
    """Messages by remote and Message ID: what identifies their bytes, and the answer."""

    began: float
    answers: dict[int, bytes] = field(default_factory=dict)


class Duplicates:
    """The last messages, bounded in time and in number; the oldest slice goes first.

    What falls out is handled again when it is retransmitted, and found out downstream by its identity.
    """

    def __init__(self, clock: Callable[[], float], *, total: int = TOTAL) -> None:
        self._clock = clock
        self._room = total // SLICES
        self._slices: deque[_Slice] = deque()

    def __len__(self) -> int:
        # A copy: another thread may ask, for the metrics.
        return sum(len(each.answers) for each in list(self._slices))

    def seen(self, remote: Hashable, message_id: int, fingerprint: bytes) -> bytes | None:
        """What was answered to this message, b"" as long as that is nothing; None if it is new, and seen from now on.

        A Message ID that comes back with other bytes belongs to a device that restarted: a new message.
        """
        now = self._clock()
        while self._slices and now - self._slices[0].began >= LIFETIME:
            self._slices.popleft()
        key = hash((remote, message_id))
        known = self._find(key)
        if known is not None:
            found = known[key]
            if found.startswith(fingerprint):
                return found[len(fingerprint) :]
            del known[key]
        self._newest(now)[key] = fingerprint
        return None

    def answered(self, remote: Hashable, message_id: int, fingerprint: bytes, answer: bytes) -> None:
        """What a retransmission of this message gets from now on, if it is still remembered."""
        key = hash((remote, message_id))
        known = self._find(key)
        if known is not None and known[key].startswith(fingerprint):
            known[key] = fingerprint + answer

    def _find(self, key: int) -> dict[int, bytes] | None:
        for each in reversed(self._slices):
            if key in each.answers:
                return each.answers
        return None

    def _newest(self, now: float) -> dict[int, bytes]:
        """Where a new message goes."""
        newest = self._slices[-1] if self._slices else None
        if newest is None or now - newest.began >= LIFETIME / SLICES or len(newest.answers) >= self._room:
            newest = _Slice(now)
            self._slices.append(newest)
            if len(self._slices) > SLICES:
                self._slices.popleft()
        return newest.answers


def fingerprint(datagram: bytes) -> bytes:
    """What identifies the bytes of a message, in eight of them.

    Python's hash of bytes is keyed per process: nobody outside can aim at a collision.
    """
    return hash(datagram).to_bytes(_FINGERPRINT_BYTES, "big", signed=True)
