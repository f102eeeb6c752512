"""The judge: a world in order is clean, and each damage is named with the origin that it was done to."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.verify.findings import Account, Kind, Origin
from headrace.verify.judge import Judge
from headrace.verify.page import UNKNOWN, Accepted, Emitted, Page, Rows, Stored, pages
from headrace.verify.repeats import Repeats
from processors.dedupe import Window
from schemas.reading_block import Fate

SECONDS = 8
"""Of the window."""
ORIGIN = Origin(topic="raw-graph", topic_id="T", partition=0)


@dataclass
class World:
    """The three places, each by offset."""

    accepted: dict[int, Accepted]
    emitted: dict[int, Emitted]
    stored: dict[int, Stored]
    letters: dict[int, int]
    rows: dict[int, Counter[int]]

    def account(self, *, page: int = 7, first: int = 0) -> Account:
        """What the judge finds, told a few offsets at a time."""
        account = Account(origin=ORIGIN, first=first, last=max([*self.accepted, *self.stored]))
        judge = Judge(account, Repeats(seconds=SECONDS, known_from=0))
        for begin in range(0, account.last + 1, page):
            end = min(begin + page - 1, account.last)
            shown = self._page(begin, end)
            if begin >= first:
                judge.judge(shown)
                judge.readings(shown, self._rows(begin, end))
            else:
                judge.watch(shown)
        return account

    def _page(self, first: int, last: int) -> Page:
        def part(place: dict[int, Any]) -> dict[int, Any]:
            return {offset: found for offset, found in place.items() if first <= offset <= last}

        return Page(
            first=first,
            last=last,
            accepted=part(self.accepted),
            emitted=part(self.emitted),
            stored=part(self.stored),
            letters=part(self.letters),
        )

    def _rows(self, first: int, last: int) -> Rows:
        return {offset: rows for offset, rows in self.rows.items() if first <= offset <= last}


def world(messages: list[tuple[int, int | None, int]]) -> World:
    """What an undisturbed pipeline makes of messages: milliseconds since the one before, number, readings.

    A number that is None is a record that cannot be decoded.
    """
    made = World({}, {}, {}, {}, {})
    window, now = Window(seconds=SECONDS), 1_000_000
    for offset, (later, number, count) in enumerate(messages):
        now += later
        identity = UNKNOWN if number is None else number.to_bytes(16, "little")
        window.advance(now)
        if number is None:
            fate = Fate.DEAD_LETTER
        elif window.is_duplicate(identity):
            fate = Fate.DUPLICATE
        else:
            fate = Fate.STORED
            window.remember(identity)
        readings = count if fate is Fate.STORED else 0
        made.accepted[offset] = Accepted(identity, now)
        made.emitted[offset] = Emitted(fate, identity, readings, now * 1000)
        made.stored[offset] = Stored(1, fate, "", identity, readings)
        if fate is Fate.DEAD_LETTER:
            made.letters[offset] = 1
        if readings:
            made.rows[offset] = Counter(range(readings))
    return made


MESSAGES = st.lists(
    st.tuples(st.integers(-1000, 4000), st.none() | st.integers(1, 6), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)

STEADY = [(1000, number, 2) for number in range(1, 20)]
"""Distinct messages, a second apart."""


@settings(max_examples=300, deadline=None)
@given(messages=MESSAGES, page=st.integers(1, 50))
def test_a_world_in_order_is_clean(messages, page):
    """Whatever is sent and repeated, what the processor's own window decides is found to be right."""
    account = world(messages).account(page=page)

    assert ([], len(messages)) == (account.findings, account.accepted)


def lose_emission(w: World) -> None:
    """No block has the message."""
    del w.emitted[3], w.rows[3]


def lose_row(w: World) -> None:
    """No row of `messages`."""
    del w.stored[3]


def store_twice(w: World) -> None:
    """Two rows of `messages`."""
    w.stored[3] = msgspec.structs.replace(w.stored[3], rows=2)


def come_from_nowhere(w: World) -> None:
    """No edge accepted it."""
    del w.accepted[3]


def change_fate(w: World) -> None:
    """`messages` says that it was a duplicate."""
    w.stored[3] = msgspec.structs.replace(w.stored[3], fate="duplicate")


def change_identity(w: World) -> None:
    """`messages` names another message."""
    w.stored[3] = msgspec.structs.replace(w.stored[3], identity=bytes(15) + b"?")


def change_content(w: World) -> None:
    """The raw log holds another message."""
    w.accepted[3] = msgspec.structs.replace(w.accepted[3], identity=bytes(15) + b"?")


def miscount(w: World) -> None:
    """`messages` counts more readings."""
    w.stored[3] = msgspec.structs.replace(w.stored[3], readings=5)


def lose_reading(w: World) -> None:
    """One row of `readings` less."""
    del w.rows[3][1]


def repeat_reading(w: World) -> None:
    """One row of `readings` twice."""
    w.rows[3][1] += 1


def add_reading(w: World) -> None:
    """A row of `readings` that no block has."""
    w.rows[3][7] += 1


def add_letter(w: World) -> None:
    """A row of `dead_letters` for a message that is none."""
    w.letters[3] = 1


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lose_emission, Kind.NOT_EMITTED),
        (lose_row, Kind.NOT_STORED),
        (store_twice, Kind.STORED_TWICE),
        (come_from_nowhere, Kind.SURPLUS),
        (change_fate, Kind.OTHER_FATE),
        (change_identity, Kind.OTHER_IDENTITY),
        (change_content, Kind.OTHER_IDENTITY),
        (miscount, Kind.OTHER_COUNT),
        (lose_reading, Kind.READINGS_MISSING),
        (repeat_reading, Kind.READINGS_SURPLUS),
        (add_reading, Kind.READINGS_SURPLUS),
        (add_letter, Kind.DEAD_LETTER_SURPLUS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_damage_is_named(damage: Callable[[World], None], kind: Kind):
    """One message is damaged, and it is the one finding."""
    damaged = world(STEADY)
    damage(damaged)

    assert [(kind, 3)] == [(finding.kind, finding.offset) for finding in damaged.account().findings]


def test_a_missing_dead_letter_is_named():
    """A dead letter without its row is found."""
    damaged = world([*STEADY, (0, None, 0)])
    damaged.letters.clear()

    assert [(Kind.DEAD_LETTER_MISSING, 19)] == [(f.kind, f.offset) for f in damaged.account().findings]


def test_a_repeat_that_was_kept_is_named():
    """Of two equal messages within the window that both count, the second is found."""
    damaged = world([*STEADY, (0, 100, 1)])
    same = damaged.accepted[18].identity
    damaged.accepted[19] = msgspec.structs.replace(damaged.accepted[19], identity=same)
    damaged.emitted[19] = msgspec.structs.replace(damaged.emitted[19], identity=same)
    damaged.stored[19] = msgspec.structs.replace(damaged.stored[19], identity=same)

    assert [(Kind.REPEAT_KEPT, 19)] == [(f.kind, f.offset) for f in damaged.account().findings]


@pytest.mark.parametrize(("later", "found"), [(9_999, []), (10_001, [(Kind.ORIGINAL_LOST, 1)])])
def test_a_duplicate_of_nothing_is_named(later, found):
    """What was dropped as a duplicate, and whose original is older than the window and a quarter, is found."""
    made = world([(0, 1, 0), (0, 1, 0)])
    made.accepted[1] = msgspec.structs.replace(made.accepted[1], logged_at=made.accepted[0].logged_at + later)

    assert found == [(f.kind, f.offset) for f in made.account().findings]


def test_an_original_before_the_range_is_known():
    """A message of the range that repeats one before it is judged, and what lies before is not."""
    made = world([(0, 1, 1), (0, None, 0), (1000, 1, 1)])
    made.letters.clear()

    account = made.account(page=2, first=2)

    assert ([], 1, 1) == (account.findings, account.accepted, account.fates[Fate.DUPLICATE])


def test_what_the_log_no_longer_has_is_not_judged():
    """A duplicate whose original may have been deleted is counted as not judged."""
    made = world([(0, 1, 1), (1000, 1, 1)])
    account = Account(origin=ORIGIN, first=1, last=1)
    judge = Judge(account, Repeats(seconds=SECONDS, known_from=None))

    judge.judge(made._page(1, 1))

    assert ([], 1) == (account.findings, account.unjudged)


def test_an_unwritable_message_is_right():
    """What ClickHouse refused is a dead letter there, stored by its block, and no finding."""
    made = world(STEADY)
    made.stored[3] = msgspec.structs.replace(
        made.stored[3], fate="dead_letter", reason="unwritable", readings=0
    )
    made.letters[3] = 1
    del made.rows[3]

    account = made.account()

    assert ([], 1) == (account.findings, account.fates[Fate.DEAD_LETTER])


def test_a_dead_letter_for_another_reason_is_not():
    """Only `unwritable` excuses a message that is stored by its block and a dead letter in ClickHouse."""
    made = world(STEADY)
    made.stored[3] = msgspec.structs.replace(made.stored[3], fate="dead_letter", reason="malformed")

    assert Kind.OTHER_FATE in made.account().counts


def test_every_finding_counts_and_few_are_kept():
    """However much is wrong, memory stays small and the count is right."""
    damaged = world(STEADY)
    damaged.stored.clear()

    account = damaged.account()

    assert (10, 19) == (len(account.findings), account.counts[Kind.NOT_STORED])


@given(first=st.integers(0, 300_000), length=st.integers(0, 300_000))
def test_pages_cover_a_range_once(first, length):
    """Pages follow each other from the first offset to the last, and none is larger than a page."""
    found = list(pages(first, first + length - 1))

    assert [offset for page in found for offset in page][::2] == sorted({page[0] for page in found})
    assert sum(last + 1 - first for first, last in found) == length
    assert all(page[0] // 50_000 == page[1] // 50_000 for page in found)
