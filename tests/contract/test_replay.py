"""Whatever is killed in between, what counts downstream is what one undisturbed pass would have decided."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import rebuild, refine
from processors.dedupe import Allowance, Window
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from schemas.reading_block import Span, decode
from tests.support.raw import SOURCE, Raw, garbage, message, record

SECONDS = 8
"""Of the window: slices of two seconds."""
MANY = 7
"""Messages that there are; the logs are longer, so they repeat."""
DEVICES = PlaceTable()

Outcome = tuple[int, str, bytes]


@dataclass(frozen=True)
class Emitted:
    """A block on the log, as a Kafka consumer hands it out."""

    span: Span
    data: bytes

    def headers(self) -> list[tuple[str, bytes]]:
        """See `confluent_kafka.Message.headers`."""
        return self.span.headers()

    def value(self) -> bytes:
        """See `confluent_kafka.Message.value`."""
        return self.data

    def rows(self) -> list[Outcome]:
        """Offset, fate and identity of each message."""
        batch = decode(self.data)
        columns = (batch.column(name).to_pylist() for name in ("offset", "fate", "identity"))
        return list(zip(*columns, strict=True))


@dataclass
class Processor:
    """One life of a processor: it has a window from its first chunk on, and goes on from offset `next`."""

    next: int
    window: Window | None = None
    done: int = field(default=0)
    """What it may commit: the end of the last chunk whose blocks are all on the log."""

    def process(self, log: Sequence[Raw], readings: list[Emitted], chunk: int, lost: int) -> None:
        """Emit the blocks of the next chunk; the last `lost` of them do not reach the log, and then it is dead."""
        records = log[self.next : self.next + chunk]
        if self.window is None:
            self.window = rebuilt(readings, records[0])
        made = emitted(records, self.window)
        readings.extend(made[: max(0, len(made) - lost)])
        self.next += len(records)
        if not lost:
            self.done = self.next


def emitted(records: Sequence[Raw], window: Window) -> list[Emitted]:
    """The blocks that a chunk becomes."""
    before = window.now
    rows = refine.refine(records, SOURCE, window, DEVICES)
    return [Emitted(span, data) for span, data in refine.blocks(rows, SOURCE, time=before)]


def rebuilt(readings: Sequence[Emitted], first: Raw) -> Window:
    """The window that a processor begins with, from the blocks that Kafka finds for the time it asks for."""
    allowance = Allowance(len(readings) * 1000)
    window = allowance.window(seconds=SECONDS)
    reading = rebuild._Rebuild(KafkaSettings(), SOURCE, window, threading.Event(), allowance)
    since = window.reaches_back_to(first.timestamp)
    start = next((n for n, block in enumerate(readings) if block.span.time >= since), len(readings))
    for block in readings[start:]:
        reading.remember(block, first.offset)
    return window


def stored(readings: Sequence[Emitted]) -> list[Outcome]:
    """What a sink keeps of the blocks: the rows beyond the last one that it has."""
    kept: list[Outcome] = []
    for block in readings:
        kept += [row for row in block.rows() if not kept or row[0] > kept[-1][0]]
    return kept


@st.composite
def logs(draw: Any, *, backwards: int = 0) -> list[Raw]:
    """A raw partition with repeats and garbage; its clock may run up to so many milliseconds back."""
    log: list[Raw] = []
    now = 1_000_000
    for offset in range(draw(st.integers(1, 40))):
        now += draw(st.integers(-backwards, 3000))
        number = draw(st.integers(0, MANY))
        if number == MANY:
            log.append(garbage(offset, timestamp=now))
        else:
            log.append(record(offset, message(message_id=str(number)), timestamp=now))
    return log


@st.composite
def lives(draw: Any) -> list[tuple[str, int, int]]:
    """What happens: (start, -, -), or a chunk of a length by one of the living, some of its blocks lost."""
    step = st.one_of(
        st.tuples(st.just("start"), st.just(0), st.just(0)),
        st.tuples(st.just("chunk"), st.integers(1, 12), st.integers(0, 9)),
        st.tuples(st.just("crash"), st.integers(1, 12), st.integers(1, 3)),
    )
    return draw(st.lists(step, max_size=25))


def history(log: Sequence[Raw], steps: Sequence[tuple[str, int, int]]) -> list[Emitted]:
    """The log `readings` after these lives, and one last one that reaches the end."""
    readings: list[Emitted] = []
    committed = 0
    living = [Processor(0)]
    for step, length, number in steps:
        if step == "start" or not living:
            living.append(Processor(committed))
        if step == "start":
            continue
        # A number beyond the living is the newest; the others are zombies.
        at = min(number, len(living) - 1) if step == "chunk" else len(living) - 1
        if living[at].next == len(log):
            continue
        living[at].process(log, readings, length, number if step == "crash" else 0)
        if at == len(living) - 1:
            # Only the newest is in the group. Sometimes it dies before it commits.
            committed = living[at].done if step == "chunk" and length % 3 else committed
        if step == "crash":
            living.pop()
    last = Processor(committed)
    while last.next < len(log):
        last.process(log, readings, 5, 0)
    return readings


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Most chunks of more than three messages are split."""
    rows = [record(offset) for offset in range(3)]
    (only,) = emitted(rows, Window(seconds=SECONDS))
    monkeypatch.setattr(refine, "BLOCK_BYTES", len(only.data) + 200)


@settings(max_examples=300, deadline=None)
@given(log=logs(), steps=lives())
def test_a_second_attempt_decides_as_the_first_did(log, steps):
    """After crashes, zombies and re-emissions in other chunks, each offset counts once, with the fate of a single pass."""
    once = stored(emitted(log, Window(seconds=SECONDS)))

    assert once == stored(history(log, steps))


@settings(max_examples=300, deadline=None)
@given(log=logs(backwards=20_000), steps=lives())
def test_a_clock_that_jumps_back_changes_nothing(log, steps):
    """Also when the broker's clock runs backwards, a second attempt decides as the first did."""
    once = stored(emitted(log, Window(seconds=SECONDS)))

    assert once == stored(history(log, steps))


@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_a_message_passes_once_in_a_window(log):
    """Of two equal messages that are both stored, the second came later than the window reaches back."""
    times = {raw.offset: raw.timestamp for raw in log}
    seen: dict[bytes, int] = {}
    for offset, fate, identity in stored(emitted(log, Window(seconds=SECONDS))):
        if fate == "stored":
            assert identity not in seen or times[offset] - times[seen[identity]] >= SECONDS * 1000
            seen[identity] = offset


@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_a_duplicate_repeats_what_is_stored(log):
    """What is dropped as a duplicate repeats a stored message that is at most a quarter of the window too old."""
    times = {raw.offset: raw.timestamp for raw in log}
    seen: dict[bytes, int] = {}
    for offset, fate, identity in stored(emitted(log, Window(seconds=SECONDS))):
        if fate == "duplicate":
            assert times[offset] - times[seen[identity]] <= SECONDS * 1000 * 5 // 4
        elif fate == "stored":
            seen[identity] = offset
