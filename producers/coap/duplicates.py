"""Duplicates: which message was already handled, and what its sender was told (RFC 7252, section 4.5)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

LIFETIME = 247.0
"""EXCHANGE_LIFETIME: how long a Message ID means the same message. Identical bytes later are a new message: a device
that wakes every ten minutes with the same Message ID and the same temperature has measured it again."""

PER_REMOTE = 64
TOTAL = 100_000
"""Some 600 bytes each where every device sends one message, 230 where one device sends many."""


class Entry:
    """A message that is being handled, or was."""

    __slots__ = ("answer", "fingerprint", "since")

    def __init__(self, fingerprint: int, since: float) -> None:
        self.fingerprint = fingerprint
        self.since = since
        self.answer: bytes | None = None
        """What a retransmission gets; None as long as there is nothing to say yet."""


class Duplicates:
    """The last messages of each remote, bounded in time, per remote and in total; the least recently heard remote goes first.

    What falls out is handled again when it is retransmitted, and found out downstream by its identity.
    """

    def __init__(
        self, clock: Callable[[], float], *, per_remote: int = PER_REMOTE, total: int = TOTAL
    ) -> None:
        self._clock = clock
        self._per_remote = per_remote
        self._total = total
        self._remotes: OrderedDict[Hashable, dict[int, Entry]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def seen(self, remote: Hashable, message_id: int, datagram: bytes) -> tuple[Entry, bool]:
        """The entry of this message, and whether it was there before.

        A Message ID that comes back with other bytes belongs to a device that restarted: a new message.
        """
        now = self._clock()
        self._expire(now - LIFETIME)
        # Python's hash of bytes is keyed per process: nobody outside can aim at a collision.
        fingerprint = hash(datagram)
        window = self._window(remote)
        entry = window.get(message_id)
        if entry is not None and entry.fingerprint == fingerprint and now - entry.since < LIFETIME:
            return entry, True
        if entry is not None:
            del window[message_id]
            self._size -= 1
        elif len(window) >= self._per_remote:
            del window[next(iter(window))]
            self._size -= 1
        entry = window[message_id] = Entry(fingerprint, now)
        self._size += 1
        while self._size > self._total:
            self._size -= len(self._remotes.popitem(last=False)[1])
        return entry, False

    def forget(self, remote: Hashable) -> None:
        """Drop everything about a remote that will not come back."""
        self._size -= len(self._remotes.pop(remote, ()))

    def _expire(self, limit: float) -> None:
        """Drop remotes that said nothing new since then; those heard least recently come first."""
        while self._remotes:
            remote, window = next(iter(self._remotes.items()))
            if next(reversed(window.values())).since > limit:
                return
            self._size -= len(window)
            del self._remotes[remote]

    def _window(self, remote: Hashable) -> dict[int, Entry]:
        window = self._remotes.setdefault(remote, {})
        self._remotes.move_to_end(remote)
        return window
