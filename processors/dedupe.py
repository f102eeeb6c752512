"""Let each message pass once: a window of the identities that passed, bounded in time and in memory."""

import struct
import threading
import weakref
from operator import itemgetter

SLICES = 4

KEY_BYTES = 15
"""Of an identity's 16: 120 bits tell messages apart as well, and make a Python object a quarter smaller."""

_ONE = struct.Struct(f"{KEY_BYTES}sx")
_MANY = struct.Struct(f"{KEY_BYTES}sx" * 64)


class Window:
    """The identities of one raw partition that passed recently, by the log's own time.

    Whether a message is a duplicate depends on the log alone, and a second attempt decides as the first did. For that, a
    window holds only what passed at **smaller offsets** than the message in question, and no offset beside it. Whoever fills
    it keeps that promise: within a life each offset is taken once and in order, and a rebuild stops before the first offset
    that is to be processed again.

    An identity is remembered for at least `seconds` and at most a quarter longer: time is cut into slices, at the same places
    by every processor, and a slice is forgotten as a whole. Memory: about 100 bytes an identity. One thread fills
    a window; another may look at its size, or have it forget.
    """

    def __init__(self, *, seconds: int) -> None:
        self._slice_ms = max(1, seconds * 1000 // SLICES)
        self._now = 0
        self._number = 0
        self._filling: set[bytes] = set()
        self._slices = {self._number: self._filling}
        self._seen: tuple[set[bytes], ...] = (self._filling,)
        self._turning = threading.Lock()
        self.condemned: set[int] = set()
        """Offsets that an earlier life emitted as dead letters, and this one is about to process again: they stay what they
        are downstream, whatever a newer release makes of them, so a repeat of theirs is the first that counts."""

    def __len__(self) -> int:
        return sum(map(len, self._seen))

    @property
    def now(self) -> int:
        """The log's time: the greatest Kafka timestamp so far, in milliseconds."""
        return self._now

    def reaches_back_to(self, logged_at: int) -> int:
        """The beginning of the oldest slice that matters at this time of the log."""
        return max(0, (logged_at // self._slice_ms - SLICES) * self._slice_ms)

    def fills_at(self, logged_at: int) -> bool:
        """Whether what passes at this time of the log belongs to the slice that is being filled."""
        return logged_at // self._slice_ms == self._number

    def advance(self, logged_at: int) -> None:
        """Move the log's time on, and forget what is older than the window."""
        if logged_at <= self._now:
            return
        self._now = logged_at
        if not self.fills_at(logged_at):
            self._turn(logged_at // self._slice_ms)

    def _turn(self, number: int) -> None:
        with self._turning:
            self._number, self._filling = number, set()
            kept = {n: seen for n, seen in self._slices.items() if n >= number - SLICES}
            self._slices = kept | {number: self._filling}
            self._seen = tuple(self._slices.values())

    def forget_oldest(self) -> int:
        """Forget the oldest slice before its time; returns how many identities it held."""
        with self._turning:
            number = min(self._slices, key=lambda n: (not self._slices[n], n))
            forgotten = len(self._slices[number])
            if number == self._number:
                self._filling = self._slices[number] = set()
            else:
                del self._slices[number]
            self._seen = tuple(self._slices.values())
        return forgotten

    def is_duplicate(self, identity: bytes) -> bool:
        """Whether the same identity passed before."""
        key = identity[:KEY_BYTES]
        for seen in self._seen:  # noqa: SIM110 - a generator would cost half as much again, for each message
            if key in seen:
                return True
        return False

    def remember(self, identity: bytes) -> None:
        """Note a message that passed, at the log's time."""
        self._filling.add(identity[:KEY_BYTES])

    def remember_all(self, identities: memoryview) -> None:
        """Note messages that passed, at the log's time: 16 bytes each, one behind the other."""
        many = len(identities) // _MANY.size * _MANY.size
        for keys in _MANY.iter_unpack(identities[:many]):
            self._filling.update(keys)
        self._filling.update(map(itemgetter(0), _ONE.iter_unpack(identities[many:])))


class Allowance:
    """How many identities the windows of a processor may hold together; any thread may ask.

    What goes beyond is taken from the largest window: its oldest slice is forgotten before its time. A repeat of a message in
    it that comes later than that counts as new.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._windows: weakref.WeakSet[Window] = weakref.WeakSet()
        self._asking = threading.Lock()

    def window(self, *, seconds: int) -> Window:
        """A window that counts, for as long as somebody holds it."""
        window = Window(seconds=seconds)
        with self._asking:
            self._windows.add(window)
        return window

    @property
    def condemned(self) -> int:
        """How many offsets are condemned in them, which nothing takes away but their end."""
        with self._asking:
            return sum(len(window.condemned) for window in self._windows)

    def enforce(self) -> int:
        """Forget until they fit; returns how many identities were forgotten."""
        forgotten = 0
        with self._asking:
            while sum(map(len, self._windows)) > self._most:
                forgotten += max(self._windows, key=len).forget_oldest()
        return forgotten
