"""The order of things in a sink: record, insert, commit."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from structlog.testing import capture_logs

from sinks.consumer import BlockConsumer
from sinks.partition import BLOCK_BYTES
from sinks.progress import Pending, Piece, Progress
from sinks.settings import SinkSettings
from sinks.sink import Batch, Retryable
from sinks.stranded import Stranded
from tests.support.blocks import batch, message, origins, whole
from tests.support.fakes import MemoryDeadLetters, MemorySink
from tests.support.group import Record, ScriptedConsumer, record

AWAY = Retryable("connection refused", code="connection")
TIMED_OUT = KafkaError._TIMED_OUT
FENCED = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
)


class JournalSink(MemorySink):
    """Writes into its consumer's journal."""

    def __init__(self, consumer: ScriptedConsumer, *failures: Any) -> None:
        super().__init__(*failures)
        self._consumer = consumer

    def write(self, batch: Batch, piece: Piece) -> None:
        """Note what is tried."""
        part = "" if piece == whole(batch) else f" messages {piece.first}-{piece.end}"
        self._consumer.journal.append(f"insert {batch.partition} {batch.first}-{batch.last}{part}")
        super().write(batch, piece)


def _give(*numbers: int) -> Callable[[ScriptedConsumer], None]:
    return lambda consumer: consumer.give(*numbers)


def _revoke(*numbers: int) -> Callable[[ScriptedConsumer], None]:
    return lambda consumer: consumer.revoke(*numbers)


def _run(consumer: ScriptedConsumer, *failures: Any, **settings: Any) -> JournalSink:
    """Run a sink until the script is over; a batch is one reading, unless it is said otherwise."""
    sink = JournalSink(consumer, *failures)
    _run_into(sink, consumer, **settings)
    return sink


def _run_into(sink: MemorySink, consumer: ScriptedConsumer, **settings: Any) -> None:
    _consumer(sink, consumer, **settings).run()


def _consumer(
    sink: MemorySink, consumer: ScriptedConsumer, *, letters: MemoryDeadLetters | None = None, **settings: Any
) -> BlockConsumer:
    return BlockConsumer(
        cast("Consumer", consumer),
        sink,
        letters or MemoryDeadLetters(),
        SinkSettings(**{"batch_rows": 1, **settings}),
        topic_id=lambda: consumer.topic_id,
        stopping=consumer.over,
        monotonic=consumer.clock,
    )


def _offsets(sink: MemorySink) -> list[int]:
    return [offset for batch in sink.batches.values() for _, offset in origins(batch)]


def test_a_batch_is_recorded_written_and_committed():
    """The range of a batch is on the broker before its insert, and its end only after."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), ())

    _run(consumer)

    assert consumer.journal == [
        "assign 0@-2",
        "commit 0@0 record 0-0",
        "insert 0 0-0",
        "commit 0@1",
        "close",
    ]


def test_the_commit_says_what_is_stored():
    """The metadata of the last commit has the topic, the watermarks, and no open range."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), ())

    _run(consumer)

    offset, metadata = consumer.group[0]
    assert (offset, Progress.decode(metadata)) == (1, Progress(topic_id="r", stored={"id of raw-graph": 4}))


def test_what_is_not_full_waits():
    """A stop leaves what is gathered and not due to the next owner."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], ())

    _run(consumer, batch_rows=100, batch_seconds=60)

    assert consumer.journal == ["assign 0@-2", "close"]


def test_an_open_range_is_written_first_and_exactly():
    """A new owner writes the recorded range again, against the watermarks of then, before anything else."""
    progress = Progress(
        topic_id="r", stored={"id of raw-graph": 4}, pending=Pending(first=1, last=2, epoch="0")
    )
    consumer = ScriptedConsumer(
        _give(0),
        [record(1, 3, 6), record(2, 7, 7), record(3, 8, 8)],
        (),
        (),
        committed={0: (1, progress.encode())},
    )

    sink = _run(consumer)

    assert consumer.journal[:4] == ["assign 0@1", "commit 0@1 record 1-2", "insert 0 1-2", "commit 0@3"]
    assert _offsets(sink) == [5, 6, 7, 8]


def test_a_topic_that_was_created_anew_starts_at_its_beginning():
    """The offset of another topic of the same name counts for nothing; what is stored of raw topics does."""
    progress = Progress(
        topic_id="of then", stored={"id of raw-graph": 3}, pending=Pending(first=40, last=41, epoch="0")
    )
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), (), committed={0: (40, progress.encode())})

    sink = _run(consumer)

    assert (consumer.journal[0], _offsets(sink)) == ("assign 0@-2", [4])


@pytest.mark.parametrize("code", FENCED)
def test_a_fenced_record_stops_the_insert(code: int):
    """A sink that may not record a range does not insert it, and forgets the partition."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], [record(1, 5, 5)], ())
    consumer.commit_errors = [code]

    sink = _run(consumer)

    assert (consumer.journal[1:], sink.batches) == (["commit 0 fails", "close"], {})


@pytest.mark.parametrize("code", FENCED)
def test_a_fenced_end_leaves_the_range_to_the_next_owner(code: int):
    """A sink that may not commit the end of a batch leaves the recorded range as it is."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), ())
    consumer.commit_errors = [0, code]

    _run(consumer)

    assert Progress.decode(consumer.group[0][1]).pending == Pending(first=0, last=0, epoch="0")


def test_a_fenced_partition_comes_back_with_the_assignment():
    """A partition that was given up is consumed again once the group gives it."""
    consumer = ScriptedConsumer(
        _give(0), [record(0, 0, 4)], (), _revoke(0), _give(0), [record(0, 0, 4)], (), (), ()
    )
    consumer.commit_errors = [KafkaError.ILLEGAL_GENERATION]

    sink = _run(consumer)

    assert _offsets(sink) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "code", [TIMED_OUT, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
)
def test_a_commit_outlives_bad_weather(code: int):
    """A commit that failed for a while is tried again, and its batch is inserted once."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), (), (), ())
    consumer.commit_errors = [code, 0, code]

    _run(consumer)

    assert [line for line in consumer.journal if line != "poll, paused"] == [
        "assign 0@-2",
        "commit 0 fails",
        "commit 0@0 record 0-0",
        "insert 0 0-0",
        "commit 0 fails",
        "commit 0@1",
        "close",
    ]


def test_an_unknown_commit_error_ends_the_sink():
    """A commit that fails for any other reason ends the process: the recorded range is what the next one needs."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), ())
    consumer.commit_errors = [KafkaError.OFFSET_METADATA_TOO_LARGE]

    with pytest.raises(KafkaException, match="OFFSET_METADATA_TOO_LARGE"):
        _run(consumer)

    assert consumer.journal[-1] == "close"


def test_a_failing_insert_is_tried_again_unchanged():
    """An insert that may succeed later is the same insert the next time, whatever has come meanwhile."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), *[()] * 20)

    _run(consumer, AWAY, AWAY)

    inserts = [line for line in consumer.journal if line.startswith("insert")]
    assert inserts == ["insert 0 0-0"] * 3


def test_polls_go_on_while_an_insert_fails():
    """While an insert fails the sink polls on, with its partitions paused, and resumes them after."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], *[()] * 20)

    _run(consumer, AWAY)

    assert "poll, paused" in consumer.journal
    assert not consumer.paused


def test_a_partition_given_while_an_insert_fails_is_paused_too():
    """What the group gives while an insert fails waits as the rest does: the buffer has a bound."""
    consumer = ScriptedConsumer(
        _give(0), [record(0, 0, 4)], _give(1), (), (), lambda c: seen.append(set(c.paused))
    )
    seen: list[set[int]] = []

    _run(consumer, *[AWAY] * 9)

    assert seen == [{0, 1}]


def test_a_revoked_partition_is_not_inserted_any_more():
    """A partition that was revoked while its insert failed is given up; its range is the next owner's."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), _revoke(0), (), ())

    _run(consumer, AWAY)

    assert consumer.journal.count("insert 0 0-0") == 1


def test_a_partition_that_went_and_came_back_is_begun_anew():
    """Revoked and given again while a commit failed, a partition is not committed from what was known before."""
    consumer = ScriptedConsumer(
        _give(0),
        [record(0, 0, 4)],
        lambda c: (c.revoke(0), c.group.update({0: (7, Progress(topic_id="r").encode())}), c.give(0))[0],
        (),
        (),
    )
    consumer.commit_errors = [TIMED_OUT]

    _run(consumer)

    assert consumer.group[0][0] == 7


def test_a_partition_that_comes_back_is_not_paused():
    """A partition that was paused when it was revoked is consumed when it is given again."""
    consumer = ScriptedConsumer(
        _give(0), [record(0, 0, 4)], _revoke(0), _give(0), lambda c: seen.append(set(c.paused)), (), ()
    )
    seen: list[set[int]] = []

    _run(consumer, AWAY)

    assert seen == [set()]


def test_a_revoked_partition_that_was_due_is_not_written():
    """Of several that are due, one that is revoked while another one's insert fails is not written."""
    consumer = ScriptedConsumer(
        _give(0, 1), [record(0, 0, 4), record(0, 0, 4, partition=1)], (), _revoke(1), *[()] * 9
    )

    _run(consumer, AWAY)

    assert [line for line in consumer.journal if line.startswith("insert 1")] == []


def test_it_polls_between_batches():
    """However many partitions are due, the sink polls after each: it must not be put out of its group."""
    consumer = ScriptedConsumer(
        _give(0, 1),
        [record(0, 0, 4), record(0, 0, 4, partition=1)],
        (),
        (),
        lambda c: c.journal.append("poll"),
        lambda c: c.journal.append("poll"),
        (),
    )

    _run(consumer)

    assert [line.partition(" ")[0] for line in consumer.journal[1:8]] == [
        *("commit", "insert", "commit", "poll"),
        *("commit", "insert", "commit"),
    ]


def test_a_stop_ends_the_retries():
    """A sink that is told to stop leaves a failing insert to the next owner."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], (), ())

    _run(consumer, *[AWAY] * 99)

    assert Progress.decode(consumer.group[0][1]).pending == Pending(first=0, last=0, epoch="0")


def test_a_refused_message_is_cut_out():
    """Each cut, and the message that is given up, is recorded before the next insert; all others land."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 3)], *[()] * 20)
    sink = JournalSink(consumer)
    sink.guilty = {("id of raw-graph", 2)}

    _run_into(sink, consumer)

    assert [line for line in consumer.journal[1:-1] if not line.startswith("poll")] == [
        "commit 0@0 record 0-0",
        "insert 0 0-0",
        "commit 0@0 record 0-0 cut at [2]",
        "insert 0 0-0 messages 0-2",
        "insert 0 0-0 messages 2-4",
        "commit 0@0 record 0-0 cut at [3]",
        "insert 0 0-0 messages 2-3",
        "commit 0@0 record 0-0 without [2]",
        "insert 0 0-0 messages 3-4",
        "commit 0@1",
    ]
    assert _fates(sink) == {0: "stored", 1: "stored", 2: "dead_letter", 3: "stored"}


def _fates(sink: MemorySink) -> dict[int, str]:
    return {
        row["offset"]: row["fate"]
        for batch in sink.batches.values()
        for block in batch.blocks
        for row in block.messages.select(["offset", "fate"]).to_pylist()
    }


def test_nothing_is_cut_while_everything_is_refused():
    """While ClickHouse refuses even what is harmless the batch waits as it is, and lands once that is cured."""
    consumer = ScriptedConsumer(
        _give(0), [record(0, 0, 3)], *[()] * 9, lambda _: setattr(sink, "broken", ""), *[()] * 99
    )
    sink = JournalSink(consumer)
    sink.broken = "a view fails"

    _run_into(sink, consumer)

    commits = [line for line in consumer.journal if line.startswith("commit")]
    assert (commits, set(_fates(sink).values())) == (["commit 0@0 record 0-0", "commit 0@1"], {"stored"})


def test_what_waits_says_why():
    """While nothing is written a sentence says where and why, and no longer once it is."""
    consumer = ScriptedConsumer(
        _give(0),
        [record(0, 0, 3)],
        (),
        (),
        lambda _: seen.append(running.trouble),
        (),
        lambda _: setattr(sink, "broken", ""),
        *[()] * 99,
    )
    seen: list[str] = []
    sink = JournalSink(consumer)
    sink.broken = "a view fails"
    running = _consumer(sink, consumer)

    running.run()

    assert (seen, running.trouble) == (["readings [0] cannot be written: a view fails: a view fails"], "")


def test_a_batch_keeps_its_epoch():
    """A batch that was begun under another epoch is written under that one, and the next one under the present."""
    progress = Progress(topic_id="r", pending=Pending(first=0, last=0, epoch="old"))
    consumer = ScriptedConsumer(
        _give(0), [record(0, 0, 0), record(1, 1, 1)], (), (), committed={0: (0, progress.encode())}
    )

    sink = _run(consumer, epoch="new")

    assert [key[2] for key in sink.batches] == ["old", "new"]


@pytest.mark.parametrize(("blocks", "written"), [(2, []), (3, [(0, 2)])])
def test_small_blocks_fill_the_buffer(blocks, written):
    """Blocks of one message are written when there is no room for more of them, however few bytes their columns have."""
    consumer = ScriptedConsumer(_give(0), [record(n, n, n) for n in range(blocks)], (), ())

    sink = _run(consumer, batch_rows=100, batch_seconds=1000, buffer_bytes=5 * BLOCK_BYTES // 2)

    assert written == [key[3:5] for key in sink.batches]


def test_recorded_batches_are_completed_one_at_a_time():
    """While too much is held, only the partition whose recorded batch is nearest to its end is fed."""
    progress = Progress(topic_id="r", pending=Pending(first=0, last=1, epoch="0")).encode()
    consumer = ScriptedConsumer(
        _give(0, 1),
        [record(0, 0, 0), record(0, 0, 9, partition=1)],
        lambda c: seen.append(set(c.paused)),
        [record(1, 10, 19, partition=1)],
        lambda c: seen.append(set(c.paused)),
        [record(1, 1, 1)],
        (),
        (),
        committed={0: (0, progress), 1: (0, progress)},
    )
    seen: list[set[int]] = []

    sink = _run(consumer, buffer_bytes=1)

    assert (seen, [key[1] for key in sink.batches]) == ([{0}, {1}], [1, 0])


def test_too_much_in_all_makes_the_fullest_be_written():
    """Beyond the bytes that may be held in all, the fullest partition is written although none is full."""
    consumer = ScriptedConsumer(_give(0, 1), [record(0, 0, 1), record(0, 0, 9, partition=1)], (), (), (), ())

    _run(consumer, batch_rows=100, batch_seconds=60, buffer_bytes=1)

    assert [line for line in consumer.journal if line.startswith("insert")] == [
        "insert 1 0-0",
        "insert 0 0-0",
    ]


def test_a_block_that_comes_twice_counts_once():
    """Blocks at offsets that are taken already are dropped, as a client may deliver them after a pause."""
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4), record(0, 0, 4), record(1, 5, 5)], (), (), ())

    sink = _run(consumer)

    assert _offsets(sink) == [0, 1, 2, 3, 4, 5]


FOREIGN = Record(0, b"\xff\x00 of somebody else", [("their", b"header")])
DAMAGED = {
    "its bytes": Record(0, b"\xff\x00 no block", record(0, 3, 7).header),
    "a tombstone": Record(0, None, record(0, 3, 7).header),
}
each_damaged = pytest.mark.parametrize("broken", DAMAGED.values(), ids=DAMAGED)


def _is_dead(sink: MemorySink, broken: Record) -> None:
    (batch,) = sink.batches.values()
    (row,) = batch.blocks[0].messages.to_pylist()
    assert (batch.blocks[0].span.topic_id, row["fate"], row["reason"], row["body"]) == (
        *("r", "dead_letter", "undecodable"),
        broken.content or b"",
    )
    assert origins(batch) == [("r", 0), ("id of raw-graph", 0)]


@pytest.mark.parametrize("foreign", [FOREIGN, Record(0, record(0, 0, 0).content)])
def test_a_foreign_record_becomes_a_dead_letter(foreign: Record):
    """A record that does not say what it covers is stored as a dead letter with its bytes, and the next one follows."""
    consumer = ScriptedConsumer(_give(0), [foreign, record(1, 0, 0)], (), (), ())

    sink = _run(consumer, batch_rows=9, batch_seconds=0.01)

    _is_dead(sink, foreign)


def test_kafka_has_a_foreign_record_before_it_is_accounted_for():
    """A record that is no block goes untouched onto the topic of dead letters; while Kafka takes none it waits."""
    consumer = ScriptedConsumer(_give(0), [FOREIGN], *[()] * 20)
    letters = MemoryDeadLetters(Retryable("no answer", code="kafka"))
    sink = MemorySink()

    _consumer(sink, consumer, letters=letters).run()

    (letter,) = letters.letters
    assert (letter.topic, letter.topic_id, letter.partition, letter.offset) == ("readings", "r", 0, 0)
    assert (letter.reason, letter.key, letter.value, letter.headers) == (
        *("undecodable", b"key", FOREIGN.content),
        {"their": b"header"},
    )
    assert (consumer.journal[-2:], len(sink.batches)) == (["commit 0@1", "close"], 1)


def test_a_foreign_record_that_is_too_large_is_named():
    """Of what the topic of dead letters does not take it gets the place, and where the bytes are."""
    consumer = ScriptedConsumer(_give(0), [Record(0, bytes(2 << 20))], (), ())
    letters, sink = MemoryDeadLetters(), MemorySink()

    _consumer(sink, consumer, letters=letters).run()

    (letter,) = letters.letters
    assert letter.value is None
    assert letter.error.endswith("; its 2097155 bytes are in ClickHouse's dead_letters alone")


@each_damaged
def test_a_block_that_cannot_be_read_ends_the_sink(broken: Record):
    """A block that says what it covers holds accepted messages: one that is damaged, or too new, is not passed over."""
    consumer = ScriptedConsumer(_give(0), [broken], (), ())
    sink = MemorySink()

    with pytest.raises(
        Stranded,
        match=r"readings \[0\]: the block at offset 0 cannot be read .* raw-graph accepted from 3 to 7",
    ):
        _run_into(sink, consumer)

    assert sink.batches == {}


@each_damaged
def test_a_block_that_cannot_be_read_is_skipped_when_told_to(broken: Record):
    """Told to, a sink goes on behind such a block, which becomes a dead letter, and says that it did."""
    consumer = ScriptedConsumer(_give(0), [broken, record(1, 0, 0)], (), (), ())

    with capture_logs() as lines:
        sink = _run(consumer, batch_rows=9, batch_seconds=0.01, skip_lost=True)

    _is_dead(sink, broken)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["block skipped"]


@pytest.mark.parametrize("metadata", ["", "x", "{}", '{"stored":{}}'])
def test_a_foreign_commit_is_refused(metadata: str):
    """An offset that no sink committed does not say what is stored: the operator is told, nothing is written."""
    consumer = ScriptedConsumer(_give(0), (), (), committed={0: (5, metadata)})

    with pytest.raises(
        Stranded, match=r"group headrace-sink, readings \[0\]: offset 5 was not committed by a sink"
    ):
        _run(consumer)


def test_a_committed_offset_that_cannot_be_had_is_no_beginning():
    """When Kafka cannot say what was committed, the partition is not begun from the start."""
    consumer = ScriptedConsumer(_give(0), (), ())
    consumer.committed_error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)

    with pytest.raises(KafkaException, match="UNSTABLE_OFFSET_COMMIT"):
        _run(consumer)

    assert consumer.journal == ["close"]


def test_a_missing_offset_is_told_to_the_operator():
    """An offset that is no longer on the log is named, with the partition and what it means."""
    gone = Record(-1, failure=KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range"))
    committed = {0: (7, Progress(topic_id="r").encode())}
    consumer = ScriptedConsumer(_give(0), [gone], (), committed=committed)

    with pytest.raises(Stranded, match=r"readings \[0\]: offset 7 is not on the log: .* \(out of range\)"):
        _run(consumer)


@pytest.mark.parametrize(("begins", "start"), [(6, 7), (7, 7), (8, 8)])
def test_lost_blocks_are_skipped_when_told_to(begins: int, start: int):
    """Told to, a sink goes on where the log begins, with its watermarks; an offset that is on the log stays."""
    progress = Progress(topic_id="r", stored={"id of raw-graph": 3})
    consumer = ScriptedConsumer(_give(0), [record(8, 0, 4)], (), (), committed={0: (7, progress.encode())})
    consumer.log_begins = begins

    sink = _run(consumer, skip_lost=True)

    assert (consumer.journal[0], _offsets(sink)) == (f"assign 0@{start}", [4])


def test_what_is_left_of_a_lost_batch_is_stored_once():
    """A recorded batch of which the log lost a part, and which was stored before, is not stored again in part."""
    sink = MemorySink()
    _run_into(sink, ScriptedConsumer(_give(0), [record(0, 0, 4), record(1, 5, 9)], (), ()), batch_rows=10)
    progress = Progress(topic_id="r", pending=Pending(first=0, last=1, epoch="0"))
    consumer = ScriptedConsumer(
        _give(0), [record(1, 5, 9), record(2, 10, 10)], *[()] * 9, committed={0: (0, progress.encode())}
    )
    consumer.log_begins = 1

    _run_into(sink, consumer, skip_lost=True)

    assert _offsets(sink) == list(range(11))


def _has_stored(*records: Record) -> MemorySink:
    """A sink that has these, in a group that has forgotten it."""
    sink = MemorySink()
    _run_into(sink, ScriptedConsumer(_give(0), records, *[()] * 9))
    return sink


def test_commits_that_are_lost_repeat_nothing():
    """Where the group has forgotten a partition, what is stored of it is asked of the sink, in one line of the log."""
    sink = _has_stored(record(0, 0, 4), record(1, 5, 9))
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4), record(1, 5, 9), record(2, 8, 12)], *[()] * 9)

    with capture_logs() as lines:
        _run_into(sink, consumer)

    assert _offsets(sink) == list(range(13))
    assert [line["stored"] for line in lines if line["event"] == "progress recovered from the tables"] == [
        {"id of raw-graph": 9}
    ]


class SlowSink(JournalSink):
    """Takes two seconds a batch."""

    def write(self, batch: Batch, piece: Piece) -> None:
        """Take them."""
        self._consumer.now += 2
        super().write(batch, piece)


def test_a_backlog_makes_full_batches():
    """While there is more a partition gathers on, though it is due by its age: an insert of another one took long."""
    consumer = ScriptedConsumer(
        _give(0, 1),
        [record(0, 0, 40), record(0, 0, 0, partition=1)],
        [record(n, n, n, partition=1) for n in range(1, 21)],
        [record(n, n, n, partition=1) for n in range(21, 41)],
        *[()] * 3,
        committed=dict.fromkeys([0, 1], (0, Progress(topic_id="r").encode())),
    )

    _run_into(SlowSink(consumer), consumer, batch_rows=41)

    assert [line for line in consumer.journal if line.startswith("insert")] == [
        "insert 0 0-0",
        "insert 1 0-40",
    ]


def test_what_came_during_an_insert_has_waited_for_it():
    """A batch is due by its age as soon as it is taken, if an insert of another partition took that long."""
    consumer = ScriptedConsumer(
        _give(0, 1),
        [record(0, 0, 40)],
        [record(0, 0, 0, partition=1)],
        lambda _: None,
        committed=dict.fromkeys([0, 1], (0, Progress(topic_id="r").encode())),
    )

    _run_into(SlowSink(consumer), consumer, batch_rows=41)

    assert [line for line in consumer.journal if line.startswith("insert")] == [
        "insert 0 0-0",
        "insert 1 0-0",
    ]


def test_no_poll_outwaits_a_batch():
    """A batch is begun at the age that was set, not when a poll comes home after it."""
    known = {0: (0, Progress(topic_id="r").encode())}
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 0)], (), (), (), lambda _: None, committed=known)

    sink = _run(consumer, batch_rows=41, batch_seconds=0.25)

    assert (_offsets(sink), consumer.now) == ([0], 0.25)


def test_it_polls_between_the_question_and_the_batch():
    """What is stored is asked in a turn of its own: its requests and those of a batch do not add up between two polls."""
    sink = _has_stored(record(0, 0, 4))
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 9)], lambda c: c.journal.append("poll"), *[()] * 9)

    _run_into(sink, consumer)

    assert consumer.journal == ["assign 0@-2", "poll", "commit 0@0 record 0-0", "commit 0@1", "close"]


def test_a_sink_that_cannot_say_what_is_stored_is_waited_for():
    """While nobody can say what is stored nothing is recorded or written, and the sink keeps its place in the group."""
    sink = _has_stored(record(0, 0, 4))
    sink.unsaid = [AWAY]
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4), record(1, 5, 9)], *[()] * 99)

    _run_into(sink, consumer)

    assert _offsets(sink) == list(range(10))
    assert consumer.journal[1] == "poll, paused"


def test_a_batch_in_doubt_that_nobody_knows_ends_the_sink():
    """Readings that are stored and not accounted for, of a batch that was forgotten, must not be written again."""
    sink = MemorySink()
    some = batch([message(0)])
    sink.write(some, whole(some))
    consumer = ScriptedConsumer(_give(0), [record(0, 0, 4)], ())

    with pytest.raises(Stranded, match=r"readings \[0\]: readings of messages .* they would count twice"):
        _run_into(sink, consumer)

    assert (consumer.journal, sink.batches) == (["assign 0@-2", "close"], {})


@pytest.mark.parametrize("begins", [0, 3])
def test_blocks_that_were_lost_with_the_commits_are_told(begins: int):
    """What is missing between what is stored and a log that has forgotten its beginning, or is a new one, is named."""
    sink = _has_stored(record(0, 0, 4))
    consumer = ScriptedConsumer(_give(0), [record(begins, 6, 9)], (), ())

    with pytest.raises(
        Stranded,
        match=r"readings \[0\]: raw-graph is stored up to 4, and the log has it from 6 on: .*SKIP_LOST",
    ):
        _run_into(sink, consumer)

    assert _offsets(sink) == [0, 1, 2, 3, 4]


def test_blocks_that_were_lost_with_the_commits_are_skipped_when_told_to():
    """Told to, a sink goes on behind them, and says what is missing, once."""
    sink = _has_stored(record(0, 0, 4))
    consumer = ScriptedConsumer(_give(0), [record(3, 6, 9), record(4, 11, 11)], *[()] * 9)

    with capture_logs() as lines:
        _run_into(sink, consumer, skip_lost=True)

    assert _offsets(sink) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 11]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["blocks lost"]


def test_a_log_that_has_what_follows_lost_nothing():
    """A log that has forgotten its beginning, and goes on where the sink is, lost nothing."""
    sink = _has_stored(record(0, 0, 4))

    _run_into(sink, ScriptedConsumer(_give(0), [record(3, 5, 9)], (), ()))

    assert _offsets(sink) == list(range(10))


def test_another_topic_of_the_same_name_ends_the_sink():
    """When the topic was created anew while the sink ran, its offsets count for nothing: a new sink begins with it."""
    consumer = ScriptedConsumer(
        _give(0),
        [record(0, 0, 4)],
        (),
        _revoke(0),
        lambda c: setattr(c, "topic_id", "of now"),
        _give(0),
        (),
    )

    with pytest.raises(Stranded, match=r"created anew while this sink ran \(id r then, of now now\)"):
        _run(consumer)

    assert consumer.journal[-1] == "close"


def test_a_beginning_is_no_loss():
    """A group that never committed begins where the log does, and loses nothing."""
    consumer = ScriptedConsumer(_give(0), [record(8, 0, 4)], (), ())
    consumer.log_begins = 8

    _run(consumer, skip_lost=True)

    assert consumer.journal[0] == "assign 0@-2"


@pytest.mark.parametrize("code", [KafkaError._MAX_POLL_EXCEEDED, KafkaError._TRANSPORT])
def test_weather_between_records_passes(code: int):
    """An error after which the client goes on by itself ends nothing."""
    consumer = ScriptedConsumer(_give(0), [Record(-1, failure=KafkaError(code)), record(0, 0, 4)], (), ())

    assert _offsets(_run(consumer)) == [0, 1, 2, 3, 4]


def test_an_unknown_error_between_records_ends_the_sink():
    """Any other error of the consumer ends the process."""
    denied = Record(-1, failure=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        _run(ScriptedConsumer(_give(0), [denied], (), ()))
