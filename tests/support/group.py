"""A consumer group in memory, and a consumer in it that plays a script and writes down what is asked of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.reading_block import Span, encode
from schemas.topics import READINGS
from sinks.progress import Progress
from tests.support.blocks import message, span


@dataclass
class Record:
    """A consumed record, or an error in its place."""

    at: int
    content: bytes | None = b""
    header: list[tuple[str, bytes]] = field(default_factory=list)
    number: int = 0
    failure: KafkaError | None = None

    def error(self) -> KafkaError | None:
        """As confluent-kafka."""
        return self.failure

    def partition(self) -> int:
        """As confluent-kafka."""
        return self.number

    def offset(self) -> int:
        """As confluent-kafka."""
        return self.at

    def value(self) -> bytes | None:
        """As confluent-kafka."""
        return self.content

    def __len__(self) -> int:
        """As confluent-kafka: of its value."""
        return len(self.content or b"")

    def key(self) -> bytes:
        """As confluent-kafka."""
        return b"key"

    def headers(self) -> list[tuple[str, bytes]]:
        """As confluent-kafka."""
        return self.header

    def timestamp(self) -> tuple[int, int]:
        """As confluent-kafka: of its creation, in milliseconds."""
        return 1, 1_790_000_000_000


def record(at: int, first: int, last: int, *, partition: int = 0) -> Record:
    """A block as it lies on the log."""
    covered: Span = span(first, last, partition=partition)
    rows = [message(offset) for offset in range(first, last + 1)]
    return Record(at, encode(rows), covered.headers(), partition)


Step = Sequence[Record] | Callable[["ScriptedConsumer"], None]
"""What one poll gives: records, or something that happens inside it."""


class ScriptedConsumer:
    """Each poll plays the next step, and takes the time that it may when there is nothing; `over` at the end."""

    def __init__(self, *script: Step, committed: dict[int, tuple[int, str]] | None = None) -> None:
        self.script = list(script)
        self.group = committed or {}
        self.journal: list[str] = []
        self.commit_errors: list[int] = []
        self.committed_error: KafkaError | None = None
        self.now = 0.0
        self.assigned: list[TopicPartition] = []
        self.paused: set[int] = set()
        self.log_begins = 0
        self.topic_id = "r"

    def over(self) -> bool:
        """Whether every step was played."""
        return not self.script

    def clock(self) -> float:
        """Seconds, as far as polls took any."""
        return self.now

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """As confluent-kafka."""
        self.callbacks = callbacks

    def consume(self, count: int, seconds: float) -> Sequence[Record]:
        """As confluent-kafka; records of a step are given at once, however few are asked for."""
        step = self.script.pop(0) if self.script else ()
        self.journal += ["poll, paused"] if self.paused else []
        if callable(step):
            step(self)
            return ()
        if not step:
            self.now += seconds
        return step

    def give(self, *numbers: int) -> None:
        """The group gives partitions."""
        self.callbacks["on_assign"](self, [TopicPartition(READINGS, number) for number in numbers])

    def revoke(self, *numbers: int) -> None:
        """The group takes partitions."""
        self.callbacks["on_revoke"](self, [TopicPartition(READINGS, number) for number in numbers])
        self.assigned = [tp for tp in self.assigned if tp.partition not in numbers]

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """As confluent-kafka."""
        found = []
        for tp in partitions:
            offset, metadata = self.group.get(tp.partition, (-1001, ""))
            found.append(TopicPartition(tp.topic, tp.partition, offset, metadata))
        return [_Failed(tp, self.committed_error) for tp in found] if self.committed_error else found  # type: ignore[misc]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """As confluent-kafka; the log of each partition begins at `log_begins`."""
        return self.log_begins, 1 << 40

    def assign(self, partitions: list[TopicPartition]) -> None:
        """As confluent-kafka."""
        self.assigned += partitions
        self.journal.append("assign " + ", ".join(f"{tp.partition}@{tp.offset}" for tp in partitions))

    def assignment(self) -> list[TopicPartition]:
        """As confluent-kafka."""
        return list(self.assigned)

    def pause(self, partitions: list[TopicPartition]) -> None:
        """As confluent-kafka: outlives a revocation."""
        self.paused |= {tp.partition for tp in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        """As confluent-kafka."""
        self.paused -= {tp.partition for tp in partitions}

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        """As confluent-kafka; each of the `commit_errors` is raised once, 0 is none."""
        (target,) = offsets
        code = self.commit_errors.pop(0) if self.commit_errors else 0
        if code:
            self.journal.append(f"commit {target.partition} fails")
            raise KafkaException(KafkaError(code))
        self.group[target.partition] = (target.offset, target.metadata or "")
        pending = Progress.decode(target.metadata).pending
        recorded = "" if pending is None else f" record {pending.first}-{pending.last}"
        recorded += "" if pending is None or not pending.cuts else f" cut at {list(pending.cuts)}"
        recorded += (
            "" if pending is None or not pending.unwritable else f" without {list(pending.unwritable)}"
        )
        self.journal.append(f"commit {target.partition}@{target.offset}{recorded}")
        return offsets

    def close(self) -> None:
        """As confluent-kafka."""
        self.journal.append("close")


@dataclass
class _Failed:
    """A partition whose committed offset could not be had."""

    of: TopicPartition
    error: KafkaError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)
