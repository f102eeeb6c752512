"""The matrix: every cell as a row of a table, who is hit, when, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from runtime.faults import Moment


class Plot(StrEnum):
    """What happens in a cell; `tests.crash.scenes` plays it."""

    KILL = "kill"
    """The victim is killed at the moment, and started again."""
    RETURN = "return"
    """The same to a static member of its group, that comes back to its own partitions."""
    ZOMBIE = "zombie"
    """The victim freezes until others do its work (an edge: until its clients give up), and goes on where it was."""
    KAFKA_KILL = "kafka-kill"
    """While the victim stands still at the moment, Kafka is killed; it goes on when Kafka is back."""
    KAFKA_FREEZE = "kafka-freeze"
    """Kafka freezes while the victim stands still, and goes on long after the victim did."""
    CLICKHOUSE_KILL = "clickhouse-kill"
    """As `kafka-kill`, with ClickHouse."""
    CLICKHOUSE_FREEZE = "clickhouse-freeze"
    """As `kafka-freeze`, with ClickHouse, until an insert has timed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row of the matrix."""

    plot: Plot
    victim: str
    """Role of the process that is hit."""
    moment: Moment | None = None
    after: int = 2
    """At which time that the victim reaches the moment it is hit."""
    table: str = ""
    """Whose insert is cut off."""
    quick: bool = False
    """Whether every run of the tests has it."""
    broken: str = ""
    """Why it is known to fail."""

    @property
    def name(self) -> str:
        """Names the cell for ever."""
        return "-".join(part for part in (self.victim, self.plot, self.moment or "", self.table) if part)


EDGE = (Moment.EDGE_RECEIVED, Moment.EDGE_ACKNOWLEDGED)
PROCESS = (Moment.CHUNK_TAKEN, Moment.BLOCKS_SENT, Moment.BLOCKS_ACKNOWLEDGED, Moment.OFFSETS_COMMITTED)
SINK = (
    Moment.BATCH_GATHERED,
    Moment.RANGE_RECORDED,
    Moment.TABLE_INSERTED,
    Moment.BATCH_STORED,
    Moment.BATCH_COMMITTED,
)

MOMENTS = {"http": EDGE, "coap": EDGE, "process": PROCESS, "sink": SINK}
_QUICK = {("sink", Moment.TABLE_INSERTED), ("process", Moment.BLOCKS_ACKNOWLEDGED), ("http", Moment.EDGE_ACKNOWLEDGED)}


def _every_moment(plot: Plot, *roles: str, quick: bool = False) -> list[Cell]:
    return [
        Cell(plot=plot, victim=role, moment=moment, quick=quick and (role, moment) in _QUICK)
        for role in roles
        for moment in MOMENTS[role]
    ]


_ALL = [
    *_every_moment(Plot.KILL, "http", "coap", "process", "sink", quick=True),
    *_every_moment(Plot.ZOMBIE, "http", "coap", "process", "sink"),
]

CELLS: Mapping[str, Cell] = {cell.name: cell for cell in _ALL}
