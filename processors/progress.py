"""Progress: whether offsets follow the raw records that were taken."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Partition:
    taken: int = -1
    """Offset behind the last record that came from Kafka."""
    committed: int = -1
    since: float = 0.0
    """When the oldest of what is outstanding was taken, or the offset last moved."""
    excused: bool = False


class Progress:
    """Notes how far each partition was taken and committed, and tells when one stands still.

    One thread notes, any thread may ask. `clock` gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._partitions: dict[Any, _Partition] = {}

    def taken(self, tp: Any, following: int) -> None:
        """Records up to this offset, itself not included, came from Kafka."""
        partition = self._partitions.setdefault(tp, _Partition())
        if partition.committed >= partition.taken:
            partition.since = self._clock()
        partition.taken = max(partition.taken, following)

    def committed(self, tp: Any, offset: int) -> None:
        """The group's offset is there now."""
        partition = self._partitions.setdefault(tp, _Partition())
        partition.committed, partition.since = offset, self._clock()

    def excuse(self, tp: Any) -> None:
        """What is outstanding in this partition is so for a reason, until `expect`."""
        self._partitions.setdefault(tp, _Partition()).excused = True

    def expect(self, tp: Any) -> None:
        """From now on, offsets have to follow again."""
        if partition := self._partitions.get(tp):
            partition.excused, partition.since = False, self._clock()

    def forget(self) -> None:
        """No partition is ours any more."""
        self._partitions = {}

    def trouble(self, patience: float) -> str:
        """A sentence if some partition has stood still for longer than these seconds, else ""."""
        for tp, partition in list(self._partitions.items()):
            still = self._clock() - partition.since
            if not partition.excused and partition.taken > partition.committed and still > patience:
                return (
                    f"{tp.topic} [{tp.partition}] has stood still for {still:.0f} s: "
                    f"records up to offset {partition.taken - 1} were taken, and none of them was committed since"
                )
        return ""
