"""What a process holds of the machine's memory, and the marks at which it is read off."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

SETTLED = 10
"""Samples whose median is the figure at a mark: one second is noise."""


class Sample(msgspec.Struct, frozen=True):
    """MiB of a process at an instant."""

    resident: float
    """RSS."""
    proportional: float
    """PSS: what is shared counts by its share."""
    unique: float
    """USS: what would be free without it."""


def sample(pid: int) -> Sample:
    """What a process holds now.

    Raises:
        OSError: it is gone.

    """
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value)
    unique = fields["Private_Clean:"] + fields["Private_Dirty:"]
    return Sample(fields["Rss:"] / 1024, fields["Pss:"] / 1024, unique / 1024)


def at(samples: Sequence[Sample], second: int) -> Sample:
    """The median of the last seconds until this one."""
    chosen = map(msgspec.structs.astuple, samples[max(0, second - SETTLED) : second])
    return Sample(*(statistics.median(values) for values in zip(*chosen, strict=True)))


def growth(samples: Mapping[str, Sequence[Sample]], since: int) -> dict[str, float]:
    """By process, by what part its RSS at the end is above that at a second; nothing of runs that were shorter."""
    return {
        name: at(series, len(series)).resident / at(series, since).resident - 1
        for name, series in samples.items()
        if len(series) > since
    }
