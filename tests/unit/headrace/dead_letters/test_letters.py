"""Which records of `dead-letters` are the same message, and what is counted of them."""

from typing import Any

import pytest

from headrace.dead_letters.letters import REASONS, UNWRITABLE, Letters, Wanted, gather
from headrace.scan import Record
from schemas import codec
from schemas.dead_letter import DeadLetter, Reason
from tests.support import raw

ALL = Wanted()


def died(offset: int, value: bytes | None = b"\xff", at: int = 0, **fields: Any) -> Record:
    """A dead letter of this origin, as it stands on the topic at ten times its origin's offset."""
    origin = {
        "topic": "raw-thingsboard",
        "topic_id": "T",
        "partition": 3,
        "offset": offset,
        "logged_at": offset * 1000,
        "reason": "undecodable",
        "error": "not in Avro",
        "key": b"acme/boiler-7",
        "value": value,
        "headers": {},
    }
    letter = DeadLetter(**origin | fields)
    return Record(
        partition=0,
        offset=at or offset * 10,
        timestamp=letter.logged_at,
        key=letter.key,
        value=codec.encode(letter),
        headers=(),
    )


def message(number: int, **fields: Any) -> bytes:
    """The value of a raw record."""
    return codec.encode(raw.message(message_id=f"m-{number}", **fields))


def summary(found: Letters, wanted: Wanted = ALL) -> list[tuple[int, int, int]]:
    """Times, first and last of each letter."""
    return [(letter.times, letter.first, letter.last) for letter in found.chosen(wanted)]


def test_a_message_that_died_again_is_one_letter():
    """The same message at another origin, its bytes new, is the same letter, and its times and place are those of all."""
    records = [died(1, message(1)), died(2, message(2)), died(3, message(1, received_at=7))]

    found = gather(records, ALL)

    assert [(1, 2000, 2000), (2, 1000, 3000)] == summary(found)
    assert 30 == found.chosen(ALL)[1].offset


def test_a_letter_that_was_emitted_again_counts_once():
    """The same origin again, as after a crash of the processor, is no further death."""
    records = [died(1), died(2), died(1, at=30), died(2, at=40), died(3, at=50)]

    assert [(3, 1000, 3000)] == summary(gather(records, ALL))


def test_another_topic_of_the_same_name_is_another_origin():
    """After a topic was deleted and created again, the same offset is a further death."""
    assert [(2, 1000, 1000)] == summary(gather([died(1), died(1, topic_id="U", at=20)], ALL))


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [
        ({}, {}, 1),
        ({}, {"value": b"\xfe"}, 2),
        ({}, {"key": b"acme/boiler-8"}, 2),
        ({"headers": {"identity": bytes(16)}}, {"headers": {"identity": bytes(16)}, "value": b"\xfe"}, 1),
        ({"headers": {"identity": bytes(16)}}, {"headers": {"identity": b"\1" * 16}}, 2),
        ({"headers": {"identity": b"short"}}, {}, 1),
        ({"value": None}, {"value": b""}, 1),
    ],
    ids=["bytes", "other bytes", "other key", "identity", "other identity", "no identity", "no value"],
)
def test_without_a_message_identity_or_bytes_decide(one, other, letters):
    """Records that nobody can decode are the same letter by the identity of their header or, without one, by their bytes."""
    assert letters == len(gather([died(1, **one), died(2, **other)], ALL).by_id)


def test_the_message_is_believed_more_than_its_header():
    """What would be stored is the identity of the value; a header that says another thing changes nothing."""
    claimed = {"identity": bytes(16)}
    found = gather([died(1, message(1)), died(2, message(1), headers=claimed)], ALL)

    assert [raw.message(message_id="m-1").identity()] == [each.identity for each in found.by_id.values()]


def test_memory_is_bounded():
    """Messages beyond the bound are counted and left out; those that are held are still counted."""
    records = [died(1, message(1)), died(2, message(2)), died(3, message(3)), died(4, message(1))]

    found = gather(records, ALL, held=2)

    assert ([(1, 2000, 2000), (2, 1000, 4000)], 1, 4) == (summary(found), found.beyond, found.records)


def test_what_is_no_dead_letter_is_told():
    """A record that is no dead letter is named, and hides no other."""
    foreign = Record(partition=1, offset=5, timestamp=0, key=None, value=b"?", headers=())

    found = gather([foreign, died(1)], ALL)

    assert ([(1, 5)], 1) == (found.damaged, len(found.by_id))


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Wanted(), {10, 20, 30}),
        (Wanted(reasons=frozenset({"malformed"})), {20}),
        (Wanted(topic="raw-graph"), {30}),
        (Wanted(tenant="acme"), {10, 20}),
        (Wanted(tenant="acme", device="other"), {20}),
        (Wanted(since=2000), {20, 30}),
        (Wanted(since=2000, reasons=frozenset({"undecodable"})), {30}),
    ],
    ids=["all", "reason", "topic", "tenant", "device", "since", "both"],
)
def test_conditions_choose(wanted, offsets):
    """Each condition leaves out what does not meet it."""
    records = [
        died(1),
        died(2, reason="malformed", key=b"acme/other"),
        died(3, topic="raw-graph", key=b"globex/boiler-7"),
    ]

    assert offsets == {letter.offset for letter in gather(records, wanted).chosen(wanted)}


def test_the_latest_reason_counts():
    """A message that died of one thing and then of another is found by what it died of last."""
    records = [died(1, message(1)), died(2, message(1), reason="malformed")]
    by = {reason: Wanted(reasons=frozenset({reason})) for reason in ("undecodable", "malformed")}

    assert {"undecodable": 0, "malformed": 1} == {
        reason: len(gather(records, wanted).chosen(wanted)) for reason, wanted in by.items()
    }


def test_an_id_finds_its_letter():
    """Any beginning of an id is enough, and finds no other letter."""
    found = gather([died(number, message(number)) for number in range(50)], ALL)
    for name in found.by_id:
        wanted = Wanted(ids=(name[:12],))
        assert [name] == list(gather([died(n, message(n)) for n in range(50)], wanted).by_id)


def test_a_message_that_the_sink_gave_up_is_marked():
    """When the processor passed it on is kept, also if it died otherwise since."""
    records = [died(1, message(1), reason=UNWRITABLE), died(2, message(1), reason="malformed")]

    assert [1000] == [letter.emitted for letter in gather(records, ALL).by_id.values()]


def test_reasons_are_those_of_the_contract():
    """Every reason can be asked for, and nothing else."""
    assert {reason.value for reason in Reason} | {UNWRITABLE} == set(REASONS)
