"""Let each message pass once: a window of identities, each with the offset at which it was first seen."""

from collections import OrderedDict

SLICES = 4


class Window:
    """The identities of one raw partition that were seen recently, by the log's own time.

    Whether a message is a duplicate depends on the log alone: no clock is asked, and an identity that was first seen at the
    same or a greater offset is no hint of one. A second attempt therefore decides as the first did.

    An identity is remembered for at least `seconds` and at most a quarter longer: time is cut into slices, at the same
    places by every processor, and a slice is forgotten as a whole. Memory: about 100 bytes an identity.
    """

    def __init__(self, *, seconds: int) -> None:
        self._slice_ms = max(1, seconds * 1000 // SLICES)
        self._slices: OrderedDict[int, dict[bytes, int]] = OrderedDict()
        self._now = 0

    def __len__(self) -> int:
        return sum(map(len, self._slices.values()))

    @property
    def now(self) -> int:
        """The log's time: the greatest Kafka timestamp so far, in milliseconds."""
        return self._now

    def advance(self, logged_at: int) -> None:
        """Move the log's time on, and forget what is older than the window."""
        if logged_at <= self._now:
            return
        self._now = logged_at
        oldest = logged_at // self._slice_ms - SLICES
        for number in [n for n in self._slices if n < oldest]:
            del self._slices[number]

    def is_duplicate(self, identity: bytes, offset: int) -> bool:
        """Whether the same identity was seen at a smaller offset."""
        return any(seen.get(identity, offset) < offset for seen in self._slices.values())

    def remember(self, identity: bytes, offset: int, logged_at: int) -> None:
        """Note a message that passed."""
        self._slices.setdefault(logged_at // self._slice_ms, {}).setdefault(identity, offset)
