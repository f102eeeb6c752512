"""Judge: three places that should say the same of every message, page by page."""

from collections import Counter

from headrace.verify.findings import Account, Kind
from headrace.verify.page import UNKNOWN, Accepted, Emitted, Page, Rows, Stored, is_unwritable
from headrace.verify.repeats import Repeats, Verdict
from schemas.reading_block import Fate


class Judge:
    """Judges one raw partition in the order of its log. Pure: no clock, no Kafka, no ClickHouse."""

    def __init__(self, account: Account, repeats: Repeats) -> None:
        self._account = account
        self._repeats = repeats

    def watch(self, page: Page) -> None:
        """Take what lies before the range: it is not judged, but messages of the range may repeat it."""
        for offset, accepted in sorted(page.accepted.items()):
            if (emitted := page.emitted.get(offset)) is not None:
                self._repeats.judge(accepted.identity, accepted.logged_at, emitted.fate)

    def judge(self, page: Page) -> None:
        """Take the next page of the range."""
        for offset in page.offsets():
            emitted, stored = page.emitted.get(offset), page.stored.get(offset)
            accepted = page.accepted.get(offset)
            if accepted is None:
                places = {"readings": emitted, "messages": stored, "dead_letters": page.letters.get(offset)}
                where = " and ".join(name for name, found in places.items() if found)
                self._account.found(Kind.SURPLUS, offset, f"in {where}, and not on the raw log")
                continue
            self._account.accepted += 1
            if emitted is None:
                self._not_emitted(offset, stored)
                continue
            fate = Fate.DEAD_LETTER if is_unwritable(emitted, stored) else emitted.fate
            self._account.fates[fate] += 1
            self._account.readings += emitted.readings if fate is Fate.STORED else 0
            self._identity(offset, accepted, emitted)
            self._repeat(offset, accepted, emitted.fate)
            self._stored(offset, emitted, stored)
            self._letter(offset, fate, page.letters.get(offset, 0))

    def contradicted(self, offset: int, first: Fate, later: Fate) -> None:
        """A message was emitted again with another fate; only what is in the range is judged."""
        if self._account.first <= offset <= self._account.last:
            self._account.found(Kind.TWO_FATES, offset, f"emitted as {first}, and again as {later}")

    def readings(self, page: Page, rows: Rows) -> None:
        """Hold the rows of the table `readings` against the page."""
        expected = dict(page.expected())
        for offset in sorted(expected.keys() | rows.keys()):
            count, found = expected.get(offset, 0), rows.get(offset) or Counter[int]()
            missing = count - sum(position in found for position in range(count))
            surplus = sum(found.values()) - (count - missing)
            if missing:
                text = f"{missing} of its {count} readings are not in the table"
                self._account.found(Kind.READINGS_MISSING, offset, text)
            if surplus:
                text = f"{surplus} more in the table than its {count} readings"
                self._account.found(Kind.READINGS_SURPLUS, offset, text)

    def _not_emitted(self, offset: int, stored: Stored | None) -> None:
        where = "" if stored is None else f", though in messages as {stored.fate}"
        self._account.found(Kind.NOT_EMITTED, offset, f"on the raw log, and not in readings{where}")

    def _identity(self, offset: int, accepted: Accepted, emitted: Emitted) -> None:
        # A dead letter that cannot be decoded may go without.
        known = {accepted.identity, UNKNOWN} if emitted.fate is Fate.DEAD_LETTER else {accepted.identity}
        if emitted.identity not in known:
            text = f"{accepted.identity.hex()} on the raw log, {emitted.identity.hex()} in readings"
            self._account.found(Kind.OTHER_IDENTITY, offset, text)

    def _repeat(self, offset: int, accepted: Accepted, fate: Fate) -> None:
        match self._repeats.judge(accepted.identity, accepted.logged_at, fate):
            case Verdict.REPEAT_KEPT:
                text = f"message {accepted.identity.hex()} was kept within the window before"
                self._account.found(Kind.REPEAT_KEPT, offset, text)
            case Verdict.ORIGINAL_LOST:
                text = f"dropped as a duplicate of {accepted.identity.hex()}, which was not kept"
                self._account.found(Kind.ORIGINAL_LOST, offset, text)
            case Verdict.UNJUDGED:
                self._account.unjudged += 1
            case Verdict.RIGHT:
                pass

    def _stored(self, offset: int, emitted: Emitted, stored: Stored | None) -> None:
        if stored is None:
            text = f"{emitted.fate} in readings, and no row of messages"
            self._account.found(Kind.NOT_STORED, offset, text)
            return
        if stored.rows > 1:
            self._account.found(Kind.STORED_TWICE, offset, f"{stored.rows} rows of messages")
        if not is_unwritable(emitted, stored):
            if stored.fate != emitted.fate:
                text = f"{emitted.fate} in readings, {stored.fate} in messages"
                self._account.found(Kind.OTHER_FATE, offset, text)
            if stored.readings != emitted.readings:
                text = f"{emitted.readings} readings in readings, {stored.readings} by messages"
                self._account.found(Kind.OTHER_COUNT, offset, text)
        if stored.identity != emitted.identity:
            text = f"{emitted.identity.hex()} in readings, {stored.identity.hex()} in messages"
            self._account.found(Kind.OTHER_IDENTITY, offset, text)

    def _letter(self, offset: int, fate: Fate, rows: int) -> None:
        expected = int(fate is Fate.DEAD_LETTER)
        if rows < expected:
            self._account.found(Kind.DEAD_LETTER_MISSING, offset, "no row of dead_letters")
        elif rows > expected:
            text = f"{rows} rows of dead_letters, though {fate}"
            self._account.found(Kind.DEAD_LETTER_SURPLUS, offset, text)
