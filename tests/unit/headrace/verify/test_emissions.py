"""Emissions: the first block that has a message counts, and a later one is held against it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from headrace.verify import emissions
from headrace.verify.emissions import Emissions
from headrace.verify.findings import Origin
from schemas.reading_block import Fate, MessageRow, encode
from tests.support.blocks import message, span
from tests.support.group import Record

ORIGIN = Origin(topic="raw-graph", topic_id="id of raw-graph", partition=0)

Contradictions = list[tuple[int, Fate, Fate]]


def block(rows: Iterable[MessageRow], **where: str) -> Record:
    """A record of `readings` with these rows."""
    rows = list(rows)
    covered = span(rows[0].offset, rows[-1].offset, **where)
    return Record(0, encode(rows), covered.headers())


def run(first: int, last: int, **changes: Fate) -> Record:
    """A block of one message an offset."""
    return block(message(offset, **changes) for offset in range(first, last + 1))


def read(*found: Record) -> tuple[Emissions, Contradictions]:
    """The emissions on a log, and what contradicts as it is read."""
    contradictions: Contradictions = []

    def records() -> Iterator[Record]:
        yield from found

    return Emissions(records(), ORIGIN, lambda *what: contradictions.append(what)), contradictions


def test_pages_have_what_was_emitted_first():
    """However blocks overlap, each offset is in its page once."""
    emitted, contradictions = read(run(0, 4), run(3, 8), run(0, 8), run(9, 9))

    pages = [list(emitted.page(0, 5)), list(emitted.page(6, 20))]

    assert ([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]], []) == (pages, contradictions)


def test_another_partition_is_left_out():
    """Blocks of another raw topic, and of one of the same name that was deleted, are not taken."""
    other = block([message(0)], topic="raw-thingsboard")
    deleted = block([message(1)], topic_id="deleted")
    emitted, _ = read(other, deleted, run(2, 2))

    assert [2] == list(emitted.page(0, 9))


def test_another_fate_contradicts():
    """A second emission with another fate is told, whatever has been read in between."""
    emitted, contradictions = read(run(0, 4), run(5, 9), run(4, 5, fate=Fate.DUPLICATE))

    emitted.page(0, 9)
    emitted.drain()

    assert [(4, Fate.STORED, Fate.DUPLICATE), (5, Fate.STORED, Fate.DUPLICATE)] == contradictions


def test_what_was_left_out_has_no_fate():
    """An offset that only a later block has, behind the one that left it out, is no contradiction and is counted."""
    emitted, contradictions = read(run(0, 4), run(6, 9), run(5, 5))

    pages = list(emitted.page(0, 9))
    emitted.drain()

    assert ([0, 1, 2, 3, 4, 6, 7, 8, 9], [], 1) == (pages, contradictions, emitted.uncompared)


def test_fates_are_forgotten(monkeypatch):
    """What is emitted again too much later is counted, and not held against another message's fate."""
    monkeypatch.setattr(emissions, "REMEMBERED", 5)
    emitted, contradictions = read(run(0, 4), run(5, 9, fate=Fate.DUPLICATE), run(0, 4))

    emitted.page(0, 9)
    emitted.drain()

    assert ([], 5) == (contradictions, emitted.uncompared)


def test_what_is_no_block_is_left_out():
    """Garbage, a block without a range, and one with a fate that there is not, end nothing."""
    strange = replace(run(0, 0), content=run(0, 0).value().replace(b"stored", b"st0red"))
    emitted, _ = read(Record(0, b"garbage"), Record(0, b"", span(0, 0).headers()), strange, run(1, 1))

    assert [1] == list(emitted.page(0, 9))


def test_the_first_block_is_where_the_log_begins():
    """The first offset is known once something was read, and nothing is lost by it."""
    emitted, _ = read(block([message(0)], topic_id="deleted"), run(7, 8))

    emitted.begin()

    assert (7, [7, 8]) == (emitted.first, list(emitted.page(0, 9)))
