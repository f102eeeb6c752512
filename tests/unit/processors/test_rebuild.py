import threading
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processors import rebuild as rebuilding
from processors.dedupe import Allowance
from processors.rebuild import Abandoned, RebuildFailed, rebuild
from processors.refine import refine
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from schemas import reading_block
from schemas.reading_block import Fate, MessageRow, Span
from tests.support.raw import LOGGED_AT, SOURCE, message, record

ONE, OTHER = b"1" * 16, b"2" * 16


class Block:
    """A record of `readings`."""

    def __init__(
        self,
        rows: list[MessageRow],
        *,
        topic_id: str = "T",
        value: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        time: int = LOGGED_AT,
    ) -> None:
        span = Span(
            topic="raw-thingsboard",
            topic_id=topic_id,
            partition=3,
            first=rows[0].offset,
            last=rows[-1].offset,
            time=time,
        )
        self._headers = span.headers() if headers is None else headers
        self._value = reading_block.encode(rows) if value is None else value

    def headers(self):
        """See `confluent_kafka.Message`."""
        return self._headers

    def value(self):
        """See `confluent_kafka.Message`."""
        return self._value


def row(offset, identity=ONE, fate=Fate.STORED, logged_at=LOGGED_AT):
    """A row of a block."""
    return MessageRow(offset=offset, fate=fate, logged_at=logged_at, dialect="thingsboard", identity=identity)


def reading(window=None):
    """A rebuild that has read nothing yet."""
    allowance = Allowance(1 << 20)
    return rebuilding._Rebuild(
        KafkaSettings(bootstrap="127.0.0.1:1"),
        SOURCE,
        window or allowance.window(seconds=60),
        threading.Event(),
        allowance,
    )


def remembered(*blocks, before=100):
    """The window after these blocks."""
    rebuild = reading()
    for block in blocks:
        rebuild.remember(block, before)
    return rebuild.window


def test_what_was_stored_is_remembered():
    """An identity that a block stored is a duplicate from then on, and the log's time is the block's."""
    window = remembered(Block([row(5)]))

    assert (True, LOGGED_AT) == (window.is_duplicate(ONE), window.now)


@pytest.mark.parametrize("fate", [Fate.DUPLICATE, Fate.DEAD_LETTER])
def test_what_was_not_stored_is_not_remembered(fate):
    """A duplicate is no second first time, and a dead letter may be sent again."""
    assert not remembered(Block([row(5, fate=fate)])).is_duplicate(ONE)


def test_the_first_emission_counts():
    """If a message was emitted twice with different fates, the first one counts: the sink has it."""
    window = remembered(Block([row(5, fate=Fate.DEAD_LETTER)]), Block([row(5), row(6, OTHER)]))

    assert (False, True) == (window.is_duplicate(ONE), window.is_duplicate(OTHER))


def test_what_is_to_be_done_again_is_not_remembered():
    """Blocks of records that are about to be processed again, emitted before a crash, do not count."""
    window = remembered(Block([row(99), row(100, OTHER)]))

    assert (True, False) == (window.is_duplicate(ONE), window.is_duplicate(OTHER))


def test_a_record_that_is_done_again_does_not_meet_itself():
    """Emitted before a crash and not committed, a message is stored by the second attempt as it was by the first.

    This is what a rebuild that reads on behind the committed offset would break: a window knows no offsets of its own.
    """
    again = record(100)
    done = MessageRow(
        offset=100,
        fate=Fate.STORED,
        logged_at=LOGGED_AT,
        dialect="thingsboard",
        identity=message(message_id="m-100").identity(),
    )
    window = remembered(Block([row(99)]), Block([done]), before=100)

    assert [Fate.STORED] == [each.fate for each in refine([again], SOURCE, window, PlaceTable())]


def test_a_dead_letter_that_is_done_again_makes_no_duplicate_of_its_repeat():
    """Emitted as a dead letter and cured by a new release before its offset was committed, a message is stored by its repeat.

    The first emission is what the sink has: were the second one remembered, the repeat would be a duplicate of nothing.
    """
    body = message(message_id="cured")
    window = remembered(Block([row(99)]), Block([row(100, fate=Fate.DEAD_LETTER)]), before=100)
    fates = [
        each.fate for each in refine([record(100, body), record(101, body)], SOURCE, window, PlaceTable())
    ]

    assert [Fate.STORED, Fate.STORED] == fates


def test_a_block_across_a_slice_is_cut_in_time():
    """What passed before the window's slices turned is forgotten before what passed after, as it was the first time."""
    begin = LOGGED_AT // 15_000 * 15_000
    rows = [row(5, logged_at=begin - 1), row(6, OTHER, logged_at=begin)]
    window = remembered(Block(rows, time=begin))
    window.advance(begin + 60_000)

    assert (False, True) == (window.is_duplicate(ONE), window.is_duplicate(OTHER))


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 300])
def test_many_identities_are_remembered_at_once(count):
    """Of a block within one slice exactly the stored identities are remembered."""
    fates = [Fate.STORED, Fate.DUPLICATE, Fate.DEAD_LETTER]
    rows = [row(10 + n, n.to_bytes(16, "little"), fates[n % 3]) for n in range(count)]
    window = remembered(Block([row(5)]), Block(rows), before=1000)

    stored = [each.identity for each in rows if each.fate is Fate.STORED]
    assert (len(stored) + 1, True) == (len(window), all(map(window.is_duplicate, stored)))


def test_a_topic_that_was_created_again_is_another_one():
    """Blocks of a raw topic of the same name that is gone are left out."""
    assert 0 == len(remembered(Block([row(5)], topic_id="gone")))


@pytest.mark.parametrize("options", [{"value": b"garbage"}, {"value": b""}, {"headers": []}])
def test_what_is_no_block_is_left_out(options):
    """Garbage in `readings` stops nobody."""
    assert 0 == len(remembered(Block([row(5)], **options)))


def test_a_kafka_that_does_not_answer_is_a_failure(monkeypatch):
    """A window that cannot be rebuilt is an error, not an empty window."""
    monkeypatch.setattr(rebuilding, "ANSWER_SECONDS", 0.1)

    with pytest.raises(RebuildFailed):
        rebuild(
            KafkaSettings(bootstrap="127.0.0.1:1"),
            SOURCE,
            5,
            seconds=60,
            abandoned=threading.Event(),
            allowance=Allowance(1),
        )


def test_a_rebuild_that_nobody_wants_ends_at_once():
    """However long Kafka says nothing, a rebuild ends as soon as it is abandoned."""
    abandoned = threading.Event()
    abandoned.set()

    with pytest.raises(Abandoned):
        rebuild(
            KafkaSettings(bootstrap="127.0.0.1:1"),
            SOURCE,
            5,
            seconds=60,
            abandoned=abandoned,
            allowance=Allowance(1),
        )


def test_an_error_in_an_answer_is_an_error():
    """A partition whose time index cannot be asked is not taken for an empty one."""

    class Refusing:
        def offsets_for_times(self, targets, timeout):
            failed = type(
                "Failed", (), {"error": KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), "offset": -1}
            )
            return [failed()]

    with pytest.raises(KafkaException):
        reading()._first_at(Refusing(), TopicPartition("readings", 3, 0))


@pytest.mark.parametrize(("low", "high", "before", "asked"), [(0, 9, 5, 5), (7, 9, 5, 7), (0, 9, 9, 8)])
def test_the_log_says_how_far_to_read_back(monkeypatch, low, high, before, asked):
    """The record that comes next tells the time; where it is gone or not there yet, the nearest one does."""
    found = []

    class Peeking:
        def assign(self, partitions):
            found.extend(target.offset for target in partitions)

        def poll(self, _):
            return SimpleNamespace(error=lambda: None, timestamp=lambda: (2, LOGGED_AT), offset=lambda: asked)

        def consume(self, *_):
            return []

        def close(self):
            """Nothing is open."""

    monkeypatch.setattr(rebuilding, "Consumer", lambda _: Peeking())
    rebuild = reading()
    since = rebuild._since(low, high, before)

    assert ([asked], rebuild.window.reaches_back_to(LOGGED_AT)) == (found, since)


def test_a_log_without_records_sets_no_bound():
    """Where retention has left nothing that could tell the time, everything is read."""
    assert 0 == reading()._since(9, 9, 9)
