"""Fault points: named moments at which a test has a process killed or frozen; nothing happens otherwise."""

import functools
import itertools
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from runtime.settings import Section


class Moment(StrEnum):
    """Where a process may be hit: between any two steps that have an effect outside of it."""

    EDGE_RECEIVED = "edge-received"
    """A message was taken, and Kafka has nothing of it."""
    EDGE_ACKNOWLEDGED = "edge-acknowledged"
    """Kafka has it, and the device does not know."""
    CHUNK_TAKEN = "chunk-taken"
    """A processor has raw records, and nothing came of them."""
    BLOCKS_SENT = "blocks-sent"
    """Their blocks are on the way to Kafka."""
    BLOCKS_ACKNOWLEDGED = "blocks-acknowledged"
    """Kafka has the blocks, and the processor's offset does not say so."""
    OFFSETS_COMMITTED = "offsets-committed"
    """Now it does."""
    BATCH_GATHERED = "batch-gathered"
    """A sink has blocks that make a batch, and wrote nothing down."""
    RANGE_RECORDED = "range-recorded"
    """The batch's range stands in the commit metadata, and ClickHouse has nothing."""
    TABLE_INSERTED = "table-inserted"
    """ClickHouse has the rows of one table more."""
    BATCH_STORED = "batch-stored"
    """It has all of them, and the sink's offset does not say so."""
    BATCH_COMMITTED = "batch-committed"
    """Now it does."""


class FaultSettings(Section, env_prefix="HEADRACE_FAULT__"):
    """Which fault a test wants; none by default."""

    moment: Moment | Literal[""] = ""
    signal: Literal["KILL", "STOP"] = "KILL"
    after: int = Field(1, gt=0, description="Which time that the process reaches the moment is meant.")
    latch: Path = Field(
        Path("fault"),
        description="Created when it happens, with the process id in it; where it exists, nothing happens any more.",
    )


@functools.cache
def _armed() -> FaultSettings | None:
    settings = FaultSettings()
    return settings if settings.moment else None


_times = itertools.count(1)


def reached(moment: Moment) -> None:
    """Say that the process is there now. Costs a tenth of a microsecond when no test asked for a fault."""
    armed = _armed()
    if armed is not None and armed.moment == moment:
        _strike(armed)


def _strike(armed: FaultSettings) -> None:
    if next(_times) != armed.after:
        return
    try:
        with armed.latch.open("x", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.Signals[f"SIG{armed.signal}"])
