"""What is put back, what is left out, and when the pipeline is asked again."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headrace.dead_letters.letters import Letter
from headrace.dead_letters.replay import Bodies, Caught, Memory, Replay, Rules, Verdict, judged
from runtime.publisher import Overloaded, Undelivered
from schemas.dead_letter import DeadLetter

DAY_MS = 24 * 60 * 60 * 1000
NOW = 1_800_000_000_000
WINDOW = 3600
RULES = Rules(now=NOW, window_seconds=WINDOW)


def letter(number: int = 1, **fields: Any) -> Letter:
    """A letter that may be sent."""
    known: dict[str, Any] = {
        "id": f"{number:032x}",
        "identity": number.to_bytes(16, "big"),
        "topic": "raw-graph",
        "tenant": "acme",
        "device": "boiler-7",
        "reason": "malformed",
        "first": NOW - 1000,
        "last": NOW - 1000,
        "times": 1,
        "partition": 0,
        "offset": number,
    }
    return Letter(**known | fields)


def body(number: int = 1) -> DeadLetter:
    """Its record."""
    return DeadLetter(
        topic="raw-graph",
        topic_id="T",
        partition=0,
        offset=number,
        logged_at=NOW - 1000,
        reason="malformed",
        error="",
        key=b"acme/boiler-7",
        value=bytes([number]),
        headers={"identity": number.to_bytes(16, "big")},
    )


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (letter(), Verdict.SENT),
        (letter(2), Verdict.STORED),
        (letter(identity=None), Verdict.SENT),
        (letter(topic="readings"), Verdict.NOT_RAW),
        (letter(last=NOW - 28 * DAY_MS), Verdict.SENT),
        (letter(last=NOW - 30 * DAY_MS), Verdict.TOO_OLD),
        (letter(first=NOW - 30 * DAY_MS), Verdict.SENT),
        (letter(emitted=NOW - WINDOW * 1250), Verdict.TOO_YOUNG),
        (letter(emitted=NOW - WINDOW * 1600), Verdict.SENT),
    ],
    ids=["new", "stored", "nameless", "readings", "old", "too old", "again", "remembered", "forgotten"],
)
def test_a_letter_has_one_verdict(one, verdict):
    """What is stored, not from a raw topic, too old to tell, or still remembered by the processor is left out."""
    assert {one.id: verdict} == judged([one], RULES, {(2).to_bytes(16, "big")})


class Log:
    """A publisher that remembers, and fails when told to."""

    def __init__(self, *failures: Exception | None) -> None:
        self.sent: list[tuple[str, bytes | None, bytes | None, list[Any]]] = []
        self.failures = list(failures)

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[None]:
        """As `runtime.publisher.Publisher`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Overloaded):
            raise failure
        if failure is not None:
            done.set_exception(failure)
            return done
        self.sent.append((topic, value, key, list(headers)))
        done.set_result(None)
        return done


class Known:
    """What ClickHouse says: each answer in turn, the last one for ever."""

    def __init__(self, *answers: set[int]) -> None:
        self.answers = list(answers) or [set()]
        self.asked: list[tuple[list[int], int]] = []

    def stored(self, identities: Sequence[bytes], *, since: int = 0) -> set[bytes]:
        """As `headrace.dead_letters.replay.Memory`."""
        self.asked.append(([int.from_bytes(each, "big") for each in identities], since))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {number.to_bytes(16, "big") for number in found}


def replaying(log: Log, known: Known, caught: Caught) -> Replay:
    """As fast as it can."""
    return Replay(log, known, caught, rate=1e9)  # type: ignore[arg-type]


def batches(*numbers: Sequence[int]) -> Iterator[Bodies]:
    """Letters with their records."""
    for some in numbers:
        yield [(letter(number), body(number)) for number in some]


async def test_a_record_is_sent_as_it_was():
    """Topic, key, value and headers are those of the record that died; the key decides the partition."""
    log = Log()
    await replaying(log, Known(), Caught(lambda: None, window_seconds=WINDOW)).send(batches([1]), since=NOW)

    assert [("raw-graph", b"\1", b"acme/boiler-7", [("identity", (1).to_bytes(16, "big"))])] == log.sent


async def test_what_was_stored_meanwhile_is_left_out():
    """Each batch is asked for anew, a day before the first question on."""
    log, known = Log(), Known(set(), {3})
    replay = replaying(log, known, Caught(lambda: None, window_seconds=WINDOW))

    await replay.send(batches([1, 2], [3, 4]), since=NOW)

    assert ([b"\1", b"\2", b"\4"], 3, 1) == ([value for _, value, *_ in log.sent], replay.sent, replay.stored)
    assert [([1, 2], NOW - DAY_MS), ([3, 4], NOW - DAY_MS)] == known.asked


async def test_a_full_queue_is_waited_for():
    """A letter that has no room is sent as soon as it has."""
    log = Log(Overloaded("full"))
    await replaying(log, Known(), Caught(lambda: None, window_seconds=WINDOW)).send(batches([1]), since=NOW)

    assert 1 == len(log.sent)


async def test_what_kafka_did_not_take_is_an_error():
    """A letter that is not acknowledged ends the replay, and is not counted."""
    replay = replaying(Log(None, Undelivered("gone")), Known(), Caught(lambda: None, window_seconds=WINDOW))

    with pytest.raises(Undelivered):
        await replay.send(batches([1, 2]), since=NOW)

    assert 1 == replay.sent


async def test_an_old_answer_is_not_relied_on():
    """When a quarter of the window has passed, the pipeline has to catch up again before the next letter is sent."""
    times = iter([0.0, WINDOW / 4, WINDOW / 4 + 1, WINDOW / 4 + 2])
    looked: list[int] = []
    log = Log()
    caught = Caught(lambda: looked.append(len(log.sent)), window_seconds=WINDOW, clock=lambda: next(times))

    await replaying(log, Known(), caught).send(batches([1], [2], [3], [4]), since=NOW)

    assert [0, 2] == looked


def test_the_age_of_an_answer_counts_from_the_question():
    """Time that the pipeline took to catch up is time in which letters came that it does not answer for."""
    now = 0.0
    looked: list[float] = []

    def slow() -> None:
        nonlocal now
        looked.append(now)
        now += WINDOW

    caught = Caught(slow, window_seconds=WINDOW, clock=lambda: now)
    caught.up()
    caught.up()

    assert [0.0, float(WINDOW)] == looked


class Client:
    """A ClickHouse that writes down what it is asked."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.result_rows: list[tuple[str]] = [("0" * 31 + "1",)]

    def command(self, text: str) -> None:
        """As clickhouse-connect."""
        self.said.append(text)

    def query(self, text: str, parameters: dict[str, Any]) -> "Client":
        """As clickhouse-connect."""
        self.said.append(f"{len(parameters['identities'])} identities")
        return self


def test_many_identities_are_several_questions():
    """No question is longer than a URL may be; its answer is bytes again."""
    client = Client()

    found = Memory(client).stored([number.to_bytes(16, "big") for number in range(9000)])

    assert (["4000 identities", "4000 identities", "1000 identities"], {(1).to_bytes(16, "big")}) == (
        client.said,
        found,
    )


def test_a_replica_catches_up_first():
    """In a cluster the replica that is asked first fetches what the others have."""
    client = Client()

    Memory(client, cluster="all").stored([bytes(16)])

    assert ["SYSTEM SYNC REPLICA messages", "1 identities"] == client.said
