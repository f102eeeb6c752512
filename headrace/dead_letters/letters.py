"""Letters: the records of `dead-letters`, one line a message however often it died."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from headrace.scan import Record
from schemas.codec import Undecodable, decode
from schemas.dead_letter import DeadLetter, Reason
from schemas.identity import IDENTITY_BYTES
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.topics import RAW_TOPICS

HELD = 200_000
"""Messages that are told apart at most, about 1 KB each; what is beyond is counted, and left out."""

SHOWN_DIGITS = 12
"""Digits of an id that are shown; any beginning of it names the letter, if no other begins so."""

_DIALECTS = {topic: dialect for dialect, topic in RAW_TOPICS.items()}


@dataclass(slots=True, kw_only=True)
class Letter:
    """A message that died, once or again and again; no bytes of it."""

    id: str
    """Hexadecimal; the same in every run of a command."""
    identity: bytes | None
    """What de-duplication compares; None if neither header nor value says."""
    topic: str
    """Of the origin."""
    tenant: str
    device: str
    reason: str
    """Of the latest death, as the place is."""
    first: int
    """Milliseconds since 1970, by the broker's clock, of the first origin that is on the log."""
    last: int
    times: int
    partition: int
    """In `dead-letters`."""
    offset: int
    emitted: int | None = None
    """When a processor last passed it on, and the sink could not write it: it is still remembered as stored."""
    counted: dict[tuple[str, int], int] = field(default_factory=dict)
    """Raw topic id and partition to the last offset that was counted: a lower one is a re-emission."""

    @property
    def dialect(self) -> str:
        """Of the raw topic; empty if it is none."""
        return _DIALECTS.get(self.topic, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are meant; what is empty is no condition."""

    ids: tuple[str, ...] = ()
    reasons: frozenset[str] = frozenset()
    topic: str = ""
    tenant: str = ""
    device: str = ""
    since: int = 0
    """The last death is not older: milliseconds since 1970."""

    def maybe(self, letter: DeadLetter) -> bool:
        """Whether the message of a record may be meant: by what is the same in all of its deaths."""
        tenant, device = owner(letter.key)
        return (
            self.topic in {"", letter.topic}
            and self.tenant in {"", tenant}
            and self.device in {"", device}
            and (not self.ids or letter_id(letter).startswith(self.ids))
        )

    def surely(self, letter: Letter) -> bool:
        """Whether a message that `maybe` is meant is, now that all of its deaths are known."""
        return letter.last >= self.since and (not self.reasons or letter.reason in self.reasons)


@dataclass(slots=True)
class Letters:
    """What a reading of the topic found."""

    by_id: dict[str, Letter] = field(default_factory=dict)
    records: int = 0
    """Of messages that may be meant, re-emissions included."""
    beyond: int = 0
    """Of them, records of messages that were one too many to hold."""
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Partition and offset of the first records that are no dead letters."""

    def chosen(self, wanted: Wanted) -> list[Letter]:
        """The letters that are meant, those that died last at the end."""
        found = [letter for letter in self.by_id.values() if wanted.surely(letter)]
        return sorted(found, key=lambda letter: (letter.last, letter.id))


def gather(records: Iterable[Record], wanted: Wanted, *, held: int = HELD) -> Letters:
    """Read the records, in the order of each partition, and keep a digest of each message that may be meant."""
    found = Letters()
    for record in records:
        try:
            letter = decode(DeadLetter, record.value or b"")
        except Undecodable:
            found.damaged = [*found.damaged, (record.partition, record.offset)][:10]
            continue
        if wanted.maybe(letter):
            _take(found, letter, record, held)
    return found


def _take(found: Letters, letter: DeadLetter, record: Record, held: int) -> None:
    found.records += 1
    name = letter_id(letter)
    known = found.by_id.get(name)
    if known is None and len(found.by_id) >= held:
        found.beyond += 1
        return
    if known is None:
        known = found.by_id[name] = _new(name, letter)
    known.partition, known.offset = record.partition, record.offset
    known.reason = letter.reason
    if letter.reason == UNWRITABLE:
        known.emitted = max(letter.logged_at, known.emitted or 0)
    origin = (letter.topic_id, letter.partition)
    if letter.offset > known.counted.get(origin, -1):
        known.counted[origin] = letter.offset
        known.times += 1
        known.first = min(known.first, letter.logged_at)
        known.last = max(known.last, letter.logged_at)


def _new(name: str, letter: DeadLetter) -> Letter:
    tenant, device = owner(letter.key)
    return Letter(
        id=name,
        identity=identity_of(letter),
        topic=letter.topic,
        tenant=tenant,
        device=device,
        reason=letter.reason,
        first=letter.logged_at,
        last=letter.logged_at,
        times=0,
        partition=-1,
        offset=-1,
    )


UNWRITABLE = "unwritable"
"""The sink's own reason: the processor has passed the message on, and takes it for a duplicate within its window."""

REASONS = sorted({*(reason.value for reason in Reason), UNWRITABLE})


def identity_of(letter: DeadLetter) -> bytes | None:
    """The identity under which the message would be stored: that of its value, else the one that its header claims."""
    try:
        return decode(RawMessage, letter.value or b"").identity()
    except Undecodable:
        claimed = letter.headers.get(IDENTITY_HEADER, b"")
        return claimed if len(claimed) == IDENTITY_BYTES else None


def letter_id(letter: DeadLetter) -> str:
    """The same for each death of one message: it follows from its identity or, without one, from its bytes."""
    identity = identity_of(letter)
    parts = (letter.topic.encode(), identity or (letter.key or b"") + b"\0" + (letter.value or b""))
    return blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def owner(key: bytes | None) -> tuple[str, str]:
    """Tenant and device, as the key of a record says."""
    tenant, _, device = (key or b"").decode(errors="replace").partition("/")
    return tenant, device
