import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processors import rebuild as rebuilding
from processors.dedupe import Window
from processors.rebuild import RebuildFailed, rebuild
from runtime.settings import KafkaSettings
from schemas import reading_block
from schemas.reading_block import Fate, MessageRow, Span
from tests.support.raw import LOGGED_AT, SOURCE

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
    ) -> None:
        span = Span(
            topic="raw-thingsboard",
            topic_id=topic_id,
            partition=3,
            first=rows[0].offset,
            last=rows[-1].offset,
            time=LOGGED_AT,
        )
        self._headers = span.headers() if headers is None else headers
        self._value = reading_block.encode(rows) if value is None else value

    def headers(self):
        """See `confluent_kafka.Message`."""
        return self._headers

    def value(self):
        """See `confluent_kafka.Message`."""
        return self._value


def row(offset, identity=ONE, fate=Fate.STORED):
    """A row of a block."""
    return MessageRow(offset=offset, fate=fate, logged_at=LOGGED_AT, dialect="thingsboard", identity=identity)


def remembered(*blocks, before=100):
    """The window after these blocks."""
    window, emitted = Window(seconds=60), -1
    for block in blocks:
        emitted = rebuilding._remember(block, SOURCE, window, before, emitted)
    return window


def test_what_was_stored_is_remembered():
    """An identity that a block stored is a duplicate from then on, and the log's time is the block's."""
    window = remembered(Block([row(5)]))

    assert (True, LOGGED_AT) == (window.is_duplicate(ONE, 6), window.now)


@pytest.mark.parametrize("fate", [Fate.DUPLICATE, Fate.DEAD_LETTER])
def test_what_was_not_stored_is_not_remembered(fate):
    """A duplicate is no second first time, and a dead letter may be sent again."""
    assert not remembered(Block([row(5, fate=fate)])).is_duplicate(ONE, 6)


def test_the_first_emission_counts():
    """If a message was emitted twice with different fates, the first one counts: the sink has it."""
    window = remembered(Block([row(5, fate=Fate.DEAD_LETTER)]), Block([row(5), row(6, OTHER)]))

    assert (False, True) == (window.is_duplicate(ONE, 7), window.is_duplicate(OTHER, 7))


def test_what_is_to_be_done_again_is_not_remembered():
    """Blocks of records that are about to be processed again, emitted before a crash, do not count."""
    window = remembered(Block([row(99), row(100, OTHER)]))

    assert (True, False) == (window.is_duplicate(ONE, 200), window.is_duplicate(OTHER, 200))


def test_a_topic_that_was_created_again_is_another_one():
    """Blocks of a raw topic of the same name that is gone are left out."""
    assert 0 == len(remembered(Block([row(5)], topic_id="gone")))


@pytest.mark.parametrize("options", [{"value": b"garbage"}, {"value": b""}, {"headers": []}])
def test_what_is_no_block_is_left_out(options):
    """Garbage in `readings` stops nobody."""
    assert 0 == len(remembered(Block([row(5)], **options)))


def test_a_kafka_that_does_not_answer_is_a_failure(monkeypatch):
    """A window that cannot be rebuilt is an error, not an empty window."""
    monkeypatch.setattr(rebuilding, "READ_TIMEOUT_SECONDS", 0.1)

    with pytest.raises(RebuildFailed):
        rebuild(KafkaSettings(bootstrap="127.0.0.1:1"), SOURCE, seconds=60, before=5, logged_at=LOGGED_AT)


def test_an_error_in_an_answer_is_an_error():
    """A partition whose time index cannot be asked is not taken for an empty one."""

    class Refusing:
        def offsets_for_times(self, targets, timeout):
            failed = type(
                "Failed", (), {"error": KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), "offset": -1}
            )
            return [failed()]

    with pytest.raises(KafkaException):
        rebuilding._range(Refusing(), TopicPartition("readings", 3, 0))
