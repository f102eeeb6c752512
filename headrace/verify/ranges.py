"""Ranges: which offsets of each raw partition have to be in all three places, as of now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.offsets import ANSWER_SECONDS, Ends, Offsets
from headrace.verify.errors import Unjudged
from headrace.verify.findings import Origin
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.topics import READINGS

KEPT_MS = (30 * 24 - 1) * 3600 * 1000
"""How long `messages` surely keeps a row: its month, less an hour for this to run in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is read and judged of one raw partition."""

    origin: Origin
    begin: int
    """The first raw record that is read: messages of the range may repeat it."""
    first: int
    last: int
    """The offsets that are judged, up to the last one that the sink says is stored."""
    known_from: int | None
    """As of `repeats.Repeats`."""
    raw: Ends
    readings: Ends
    readings_begin: int
    note: str = ""
    """Why it begins later than was asked for."""

    @property
    def waiting(self) -> int:
        """Records that the sink had not stored yet."""
        return max(0, self.raw.high - 1 - max(self.last, self.raw.low - 1))

    @property
    def size(self) -> int:
        """Offsets that are read."""
        return max(0, self.last + 1 - self.begin)

    @property
    def judged(self) -> int:
        """Offsets that are judged."""
        return max(0, self.last + 1 - self.first)

    @property
    def is_gone(self) -> bool:
        """Whether something is stored, and nothing of it is on the logs any more."""
        return self.last >= 0 and (self.raw.low > self.last or bool(self.note and not self.judged))

    @property
    def readings_are_cut(self) -> bool:
        """Whether retention may have taken blocks of this range from `readings`."""
        return 0 < self.readings.low == self.readings_begin

    def cut(self, first: int | None) -> "Range":
        """The range without what retention took from `readings`, whose blocks begin at this offset; None: all of it."""
        first = self.last + 1 if first is None else first
        if first <= self.begin:
            return self
        note = f"{READINGS} no longer has what lies before offset {first}"
        return replace(
            self,
            begin=first,
            first=max(first, self.first),
            known_from=None,
            note=note if first > self.first else "",
        )


class Snapshot:
    """Kafka's state at one moment, asked in the order that makes it safe: what is stored first, the logs' ends after it.

    Args:
        kafka: where it is.
        group: of the sinks; it is looked at, and not joined.

    """

    def __init__(self, kafka: KafkaSettings, *, group: str) -> None:
        self._kafka = kafka
        self._group = group

    def ranges(self, topics: Sequence[str], *, since: int, longest: int) -> list[Range]:
        """The range of every partition of these raw topics.

        Args:
            topics: raw topics.
            since: milliseconds since 1970: what the log took earlier is not judged.
            longest: milliseconds that a message may repeat another after.

        Raises:
            Unjudged: Kafka does not answer, a topic is missing, or `readings` was created anew.
            ScanFailed: Kafka is away, or the group's offsets are not a sink's.

        """
        try:
            ids = topic_ids(self._kafka, [*topics, READINGS], timeout=ANSWER_SECONDS)
        except (UnknownTopic, TimeoutError) as error:
            reason = str(error) or f"no answer within {ANSWER_SECONDS} s"
            raise Unjudged(f"Kafka at {self._kafka.bootstrap}: {reason}") from error
        with Offsets(self._kafka, group=self._group) as offsets:
            stored = self._stored(offsets, ids[READINGS])
            return [
                self._range(
                    offsets,
                    Origin(topic=topic, topic_id=ids[topic], partition=partition),
                    stored,
                    since,
                    longest,
                )
                for topic in topics
                for partition in offsets.partitions(topic)
            ]

    def _stored(self, offsets: Offsets, topic_id: str) -> dict[tuple[str, int], int]:
        """The last stored offset by raw topic id and partition, as the sinks committed it."""
        progress = offsets.progress()
        if any(each.topic_id not in {"", topic_id} for each in progress.values()):
            raise Unjudged(
                f"{READINGS} was created anew, and the sink has not stored anything of it yet; try again once it has"
            )
        return {
            (raw, partition): offset
            for partition, each in progress.items()
            for raw, offset in each.stored.items()
        }

    def _range(
        self, offsets: Offsets, origin: Origin, stored: dict[tuple[str, int], int], since: int, longest: int
    ) -> Range:
        raw = offsets.ends(origin.topic, origin.partition)
        readings = offsets.ends(READINGS, origin.partition)
        began = since - longest
        begin = max(raw.low, offsets.at(origin.topic, origin.partition, began, raw))
        return Range(
            origin=origin,
            begin=begin,
            first=max(begin, offsets.at(origin.topic, origin.partition, since, raw)),
            last=stored.get((origin.topic_id, origin.partition), -1),
            known_from=0 if begin == 0 else (began if begin > raw.low else None),
            raw=raw,
            readings=readings,
            # A block is as old as the newest of its messages, or younger: none of the range lies before this.
            readings_begin=offsets.at(READINGS, origin.partition, began, readings),
        )
