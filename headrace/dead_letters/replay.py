"""Replay: dead letters back onto their raw topics, so that each is stored once, however often this is done."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headrace.dead_letters.letters import Letter
from headrace.offsets import Reach
from headrace.scan import Scanner
from runtime.publisher import Publisher, send
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.topics import DEAD_LETTERS, RAW_TOPICS
from sinks.clickhouse.errors import translated

BATCH_LETTERS = 500
BATCH_BYTES = 8 << 20
"""Letters in memory at a time: sent and acknowledged before the next are read. One may be 2 MiB on top."""

REMEMBERED_DAYS = 29
"""The table `messages` knows for 30 days what is stored; nobody can tell of an older letter."""

_DAY_MS = 24 * 60 * 60 * 1000
_QUESTION = 4000
"""Identities in one query: they travel in its URL, which ClickHouse takes up to 1 MiB."""

_STORED = """
SELECT DISTINCT lower(hex(identity)) FROM messages
WHERE fate = 'stored' AND logged_at >= fromUnixTimestamp64Milli({since:Int64})
  AND identity IN (SELECT toFixedString(unhex(arrayJoin({identities:Array(String)})), 16))
"""


class Verdict(StrEnum):
    """What is done with a letter: exactly one of these."""

    SENT = "put back"
    STORED = "already stored"
    TOO_YOUNG = "too young"
    TOO_OLD = "too old"
    NOT_RAW = "not from a raw topic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides about a letter beside what is stored."""

    now: int
    """Milliseconds since 1970."""
    window_seconds: int
    """Of the processors: what they take for a duplicate."""

    def verdict(self, letter: Letter) -> Verdict | None:
        """Why a letter must not be sent, whatever is stored; None if it may."""
        if letter.topic not in RAW_TOPICS.values():
            return Verdict.NOT_RAW
        if letter.last < self.now - REMEMBERED_DAYS * _DAY_MS:
            return Verdict.TOO_OLD
        # The processor has emitted it, and remembers it for a window and up to a quarter.
        if letter.emitted is not None and letter.emitted > self.now - 1500 * self.window_seconds:
            return Verdict.TOO_YOUNG
        return None


class Memory:
    """What ClickHouse says is stored."""

    def __init__(self, client: Any, *, cluster: str = "") -> None:
        self._client = client
        self._cluster = cluster

    def stored(self, identities: Iterable[bytes], *, since: int = 0) -> set[bytes]:
        """Those of the identities under which a message is stored that was logged at `since` (ms) or later.

        Raises:
            Retryable: ClickHouse is away.
            Unwritable: it refused.

        """
        found: set[bytes] = set()
        if self._cluster:
            # This replica may have less than the one that the sink wrote to.
            with translated():
                self._client.command("SYSTEM SYNC REPLICA messages")
        every = list(identities)
        for start in range(0, len(every), _QUESTION):
            some = every[start : start + _QUESTION]
            with translated():
                rows = self._client.query(
                    _STORED, {"since": since, "identities": [identity.hex() for identity in some]}
                ).result_rows
            found.update(bytes.fromhex(row[0]) for row in rows)
        return found


class Caught:
    """Makes sure that the pipeline has caught up with the raw topics as they were a moment ago.

    Whatever was on the log at that moment is stored, and ClickHouse knows it; whatever came later is within the processors'
    window, and absorbed there. So no letter is sent on an answer that is older than a quarter of the window.
    """

    def __init__(
        self, catch_up: Callable[[], None], *, window_seconds: int, clock: Callable[[], float] | None = None
    ) -> None:
        self._catch_up = catch_up
        self._good_for = window_seconds / 4
        # Counts also while the machine sleeps.
        self._clock = clock or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self._looked: float | None = None

    def up(self) -> None:
        """Catch up, if the last time is too long ago."""
        now = self._clock()
        if self._looked is None or now - self._looked > self._good_for:
            self._catch_up()
            self._looked = now


def judged(letters: Iterable[Letter], rules: Rules, stored: set[bytes]) -> Mapping[str, Verdict]:
    """Id to what is to be done with it."""
    return {
        letter.id: rules.verdict(letter) or (Verdict.STORED if letter.identity in stored else Verdict.SENT)
        for letter in letters
    }


Bodies = Sequence[tuple[Letter, DeadLetter]]


def bodies(scanner: Scanner, letters: Iterable[Letter]) -> Iterator[Bodies]:
    """The letters with their bytes, read again from the topic, a bounded number of bytes at a time.

    Raises:
        ScanFailed: one of them cannot be read.

    """
    wanted: dict[int, dict[int, Letter]] = {}
    for letter in letters:
        wanted.setdefault(letter.partition, {})[letter.offset] = letter
    some: list[tuple[Letter, DeadLetter]] = []
    size = 0
    for partition, by_offset in sorted(wanted.items()):
        reach = Reach(topic=DEAD_LETTERS, partition=partition, first=min(by_offset), end=max(by_offset) + 1)
        with closing(scanner.read(reach)) as records:
            for record in records:
                if found := by_offset.get(record.offset):
                    some.append((found, decode(DeadLetter, record.value or b"")))
                    size += len(record.value or b"")
                if len(some) >= BATCH_LETTERS or size >= BATCH_BYTES:
                    yield some
                    some, size = [], 0
    if some:
        yield some


class Replay:
    """Sends letters in batches, each acknowledged before the next is read.

    Args:
        publisher: idempotent.
        memory: what is stored.
        caught: see there.
        rate: letters a second, at most.

    """

    def __init__(self, publisher: Publisher, memory: Memory, caught: Caught, *, rate: float) -> None:
        self._publisher = publisher
        self._memory = memory
        self._caught = caught
        self._rate = rate
        self.sent = 0
        self.stored = 0
        """Letters of which ClickHouse learnt while we were sending."""

    async def send(self, batches: Iterable[Bodies], *, since: int) -> None:
        """Send what is not stored; `since` (ms): of what is older ClickHouse was asked before.

        Raises:
            PublishError: Kafka did not acknowledge; `sent` says how many it did.
            StandsStill: as `headrace.pipeline.Pipeline.wait`.
            SinkError: ClickHouse cannot tell what is stored.

        """
        for batch in batches:
            began = time.monotonic()
            self._caught.up()
            known = self._memory.stored(
                [letter.identity for letter, _ in batch if letter.identity], since=since - _DAY_MS
            )
            sendable = [dead for letter, dead in batch if letter.identity not in known]
            self.stored += len(batch) - len(sendable)
            # The untouched record goes to where its key belongs.
            acknowledged = [
                await send(
                    self._publisher, dead.topic, dead.value, key=dead.key, headers=list(dead.headers.items())
                )
                for dead in sendable
            ]
            for each in acknowledged:
                await each
                self.sent += 1
            await asyncio.sleep(max(0.0, len(sendable) / self._rate - (time.monotonic() - began)))
