"""What can be wrong with a message, and the account of a raw partition."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.reading_block import Fate


class Kind(StrEnum):
    """What is wrong: a closed set."""

    NOT_EMITTED = "not_emitted"
    """Accepted, and not in `readings`."""
    NOT_STORED = "not_stored"
    """Accepted and emitted, and no row of `messages`."""
    STORED_TWICE = "stored_twice"
    """Several rows of `messages`."""
    SURPLUS = "surplus"
    """In `readings` or in ClickHouse, and not on the raw log."""
    TWO_FATES = "two_fates"
    """Emitted again, with another fate than the first time."""
    OTHER_FATE = "other_fate"
    """`messages` has another fate than `readings`."""
    OTHER_COUNT = "other_count"
    """`messages` counts another number of readings than `readings` holds."""
    OTHER_IDENTITY = "other_identity"
    """The three places do not name the same message."""
    REPEAT_KEPT = "repeat_kept"
    """Kept, although the same message was kept within the window before it."""
    ORIGINAL_LOST = "original_lost"
    """Dropped as a duplicate, and no message that it repeats was kept."""
    READINGS_MISSING = "readings_missing"
    """Fewer rows of the table `readings` than the message has readings."""
    READINGS_SURPLUS = "readings_surplus"
    """More of them, or one of them twice."""
    DEAD_LETTER_MISSING = "dead_letter_missing"
    """A dead letter, and no row of `dead_letters`."""
    DEAD_LETTER_SURPLUS = "dead_letter_surplus"
    """Several rows of `dead_letters`, or one for a message that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A raw partition; a topic that was deleted and created again is another one."""

    topic: str
    topic_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one message."""

    kind: Kind
    offset: int
    text: str


@dataclass(slots=True, kw_only=True)
class Account:
    """What was found of one raw partition. Keeps `limit` findings of a kind, and counts all."""

    origin: Origin
    first: int
    last: int
    """The offsets that are judged; none if `last` is the smaller."""
    waiting: int = 0
    """Records on the raw log that the sink had not stored yet when this began: nothing is said about them."""
    limit: int = 10
    note: str = ""
    """Why the range begins later than was asked for; empty if it does not."""
    accepted: int = 0
    readings: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    unjudged: int = 0
    """Duplicates whose original may lie before what the log still has."""
    uncompared: int = 0
    """Messages that were emitted again so much later that their first fate was not remembered."""
    counts: Counter[Kind] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def found(self, kind: Kind, offset: int, text: str) -> None:
        """Note what is wrong with the message at an offset."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.limit:
            self.findings.append(Finding(kind, offset, text))

    def numbers(self) -> Mapping[str, int]:
        """The counts of its messages, by name."""
        return {
            "accepted": self.accepted,
            "duplicates": self.fates[Fate.DUPLICATE],
            "dead_letters": self.fates[Fate.DEAD_LETTER],
            "stored": self.fates[Fate.STORED],
            "readings": self.readings,
            "waiting": self.waiting,
            "findings": self.counts.total(),
        }
