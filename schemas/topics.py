"""The one table of every topic: what it carries, how it is keyed, how long it stays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

DAY_MS = 24 * 60 * 60 * 1000

MAX_RAW_BYTES = 1 << 20
"""The largest raw record, in bytes. Edges refuse a body that would not fit."""

MAX_BLOCK_BYTES = 8 << 20
"""The largest block of readings, in bytes: one raw record grows up to eight times when it becomes columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as the broker should have it."""

    name: str
    carries: str
    key: str
    scaled: bool
    """True: as many partitions as the installation scales to. False: a few are enough."""
    config: Mapping[str, str] = field(default_factory=dict)


def _raw(name: str) -> Topic:
    # The broker's clock stamps raw records: de-duplication measures its window with it, and no edge's
    # clock that jumps can move it.
    return Topic(
        name=name,
        carries="RawMessage",
        key="tenant/device",
        scaled=True,
        config={
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(7 * DAY_MS),
            "max.message.bytes": str(MAX_RAW_BYTES + 64 * 1024),
        },
    )


_ANY_TIME = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": str((1 << 63) - 1),
    "message.timestamp.after.max.ms": str((1 << 63) - 1),
}
"""What a processor emits has the log's own time. Where a broker's clock once ran ahead that lies in the future, and by default
Kafka would refuse it from an hour on, for as long as the clock was ahead."""

READINGS = "readings"
DEVICES = "devices"
DEAD_LETTERS = "dead-letters"

RAW_TOPICS: Mapping[str, str] = MappingProxyType(
    {
        "graph": "raw-graph",
        "digital_twins": "raw-digital-twins",
        "thingsboard": "raw-thingsboard",
    },
)
"""Dialect to the topic of its raw messages."""

TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        topic.name: topic
        for topic in (
            *(_raw(name) for name in RAW_TOPICS.values()),
            Topic(
                name=READINGS,
                carries="ReadingBlock",
                key="none; the partition number is that of the raw records",
                scaled=True,
                config=_ANY_TIME
                | {"retention.ms": str(7 * DAY_MS), "max.message.bytes": str(MAX_BLOCK_BYTES)},
            ),
            Topic(
                name=DEVICES,
                carries="Device",
                key="tenant/device",
                scaled=False,
                config={"cleanup.policy": "compact"},
            ),
            Topic(
                name=DEAD_LETTERS,
                carries="DeadLetter",
                key="as the origin",
                scaled=False,
                config=_ANY_TIME
                | {"retention.ms": str(30 * DAY_MS), "max.message.bytes": str(2 * MAX_RAW_BYTES)},
            ),
        )
    },
)


def key(tenant: str, device: str) -> bytes:
    """The key that keeps everything of one device on one partition."""
    return f"{tenant}/{device}".encode()
