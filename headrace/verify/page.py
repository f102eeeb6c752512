"""Page: what each of the three places says of the same run of offsets of a raw partition."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from schemas.identity import IDENTITY_BYTES
from schemas.reading_block import Fate

PAGE = 50_000
"""Offsets of a page. Pages begin at multiples of it, so that ClickHouse can count by page."""

UNKNOWN = bytes(IDENTITY_BYTES)
"""The identity of a record that cannot be decoded."""

_UINT64 = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A record of the raw log."""

    identity: bytes
    logged_at: int
    """Milliseconds since 1970, by the broker's clock."""


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """The first row of `readings` for a message: the one that counts."""

    fate: Fate
    identity: bytes
    readings: int
    received_at: int
    """Microseconds since 1970, by the edge's clock."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The row of `messages`; of several, one of them."""

    rows: int
    fate: str
    reason: str
    identity: bytes
    readings: int


class Sum(msgspec.Struct, frozen=True, gc=False):
    """Rows of the table `readings`: how many, and a sum over their origins and positions (modulo 2**64)."""

    rows: int = 0
    hashes: int = 0


@dataclass(slots=True, kw_only=True)
class Page:
    """What the three places say of the offsets from `first` to `last`, each by offset."""

    first: int
    last: int
    accepted: Mapping[int, Accepted] = field(default_factory=dict)
    emitted: Mapping[int, Emitted] = field(default_factory=dict)
    stored: Mapping[int, Stored] = field(default_factory=dict)
    letters: Mapping[int, int] = field(default_factory=dict)
    """Rows of `dead_letters`."""

    def offsets(self) -> list[int]:
        """Every offset that any of the places knows, in order."""
        return sorted(self.accepted.keys() | self.emitted.keys() | self.stored.keys() | self.letters.keys())

    def expected(self) -> Iterator[tuple[int, int]]:
        """Offset of each emitted message, and how many rows it should have in the table `readings`."""
        for offset, emitted in self.emitted.items():
            unwritable = is_unwritable(emitted, self.stored.get(offset))
            yield offset, 0 if unwritable else emitted.readings

    def expected_sum(self) -> Sum:
        """The sum over all the rows that the table `readings` should have; `storage` has the same in SQL."""
        rows = hashes = 0
        for offset, count in self.expected():
            rows += count
            # The odd numbers up to 2n add up to n squared.
            hashes += _mixed(offset) * count * count
        return Sum(rows, hashes & _UINT64)


Rows = Mapping[int, Counter[int]]
"""Offset to the positions of its rows in the table `readings`, each with how often it is there."""


def _mixed(offset: int) -> int:
    mixed = offset * _ODD & _UINT64
    return (mixed ^ mixed >> 32) * _ODD & _UINT64


def is_unwritable(emitted: Emitted, stored: Stored | None) -> bool:
    """Whether the sink gave a message up that ClickHouse refuses: `readings` cannot know of it."""
    return stored is not None and (emitted.fate, stored.fate, stored.reason) == (
        Fate.STORED,
        Fate.DEAD_LETTER,
        UNWRITABLE,
    )


def pages(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The pages of a range of offsets: first and last offset of each."""
    while first <= last:
        end = min(last, first // PAGE * PAGE + PAGE - 1)
        yield first, end
        first = end + 1


UNWRITABLE = "unwritable"
"""The sink's reason for a dead letter whose block says `stored`."""
