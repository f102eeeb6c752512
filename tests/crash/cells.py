"""The matrix: every cell as a row of a table, who is hit, when, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from runtime.faults import Moment


class Plot(StrEnum):
    """What happens in a cell: `SENTENCES` says it, `tests.crash.scenes` plays it."""

    KILL = "kill"
    RETURN = "return"
    ZOMBIE = "zombie"
    KAFKA_KILL = "kafka-kill"
    KAFKA_FREEZE = "kafka-freeze"
    CLICKHOUSE_KILL = "clickhouse-kill"
    CLICKHOUSE_FREEZE = "clickhouse-freeze"
    STARVE = "starve"
    CUT_REQUEST = "cut-request"
    CUT_ANSWER = "cut-answer"
    HELD_KILL = "held-kill"
    HELD_JOIN = "held-join"
    LATE = "late"
    JOIN = "join"
    FOLDER = "folder"
    CLOCK_FORWARD = "clock-forward"
    CLOCK_BACK = "clock-back"


SENTENCES: Mapping[Plot, str] = {
    Plot.KILL: "The victim is killed at the moment, and started again.",
    Plot.RETURN: "The same to a static member of its group, that comes back to its own partitions.",
    Plot.ZOMBIE: "The victim freezes until others do its work (an edge: until its clients give up), and goes on where it was.",
    Plot.KAFKA_KILL: "While the victim stands still at the moment, Kafka is killed; it goes on when Kafka is back.",
    Plot.KAFKA_FREEZE: "Kafka freezes while the victim stands still, and goes on when clients have noticed.",
    Plot.CLICKHOUSE_KILL: "As `kafka-kill`, with ClickHouse.",
    Plot.CLICKHOUSE_FREEZE: "As `kafka-freeze`, with ClickHouse, until an insert of the victim has timed out.",
    Plot.STARVE: "The victim is killed while nothing that it produces reaches Kafka, and all else does.",
    Plot.CUT_REQUEST: "The connection to ClickHouse breaks in the middle of an insert.",
    Plot.CUT_ANSWER: "ClickHouse has carried out an insert, and the connection breaks before it says so.",
    Plot.HELD_KILL: "The same, and the sink is killed while it waits.",
    Plot.HELD_JOIN: "The same, and another sink joins while it waits; then the answer comes.",
    Plot.LATE: "A sink is frozen, and others do its work, before its insert arrives at ClickHouse.",
    Plot.JOIN: "Another member joins the group, and leaves it again, while the victim stands still.",
    Plot.FOLDER: "The victim is killed, and finds its working folder empty when it starts.",
    Plot.CLOCK_FORWARD: "The victim's clock jumps two hours on in mid-stream.",
    Plot.CLOCK_BACK: "It jumps two hours back.",
}


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
_QUICK = {
    ("sink", Moment.TABLE_INSERTED),
    ("process", Moment.BLOCKS_ACKNOWLEDGED),
    ("http", Moment.EDGE_ACKNOWLEDGED),
}


def _every_moment(plot: Plot, *roles: str, quick: bool = False) -> list[Cell]:
    return [
        Cell(plot=plot, victim=role, moment=moment, quick=quick and (role, moment) in _QUICK)
        for role in roles
        for moment in MOMENTS[role]
    ]


def _at(plot: Plot, role: str, *moments: Moment) -> list[Cell]:
    return [Cell(plot=plot, victim=role, moment=moment) for moment in moments]


_TABLES = ("readings", "messages", "dead_letters")
_QUICK_TABLES = {(Plot.CUT_ANSWER, "readings"), (Plot.LATE, "readings")}

_ALL = [
    *_every_moment(Plot.KILL, "http", "coap", "process", "sink", quick=True),
    *_every_moment(Plot.ZOMBIE, "http", "coap", "process", "sink"),
    *_at(Plot.RETURN, "process", Moment.BLOCKS_SENT, Moment.BLOCKS_ACKNOWLEDGED),
    *_at(Plot.RETURN, "sink", Moment.RANGE_RECORDED, Moment.TABLE_INSERTED, Moment.BATCH_STORED),
    *_every_moment(Plot.KAFKA_KILL, "http", "coap", "process", "sink"),
    *_at(Plot.KAFKA_FREEZE, "http", Moment.EDGE_ACKNOWLEDGED),
    *_at(Plot.KAFKA_FREEZE, "coap", Moment.EDGE_ACKNOWLEDGED),
    *_at(Plot.KAFKA_FREEZE, "process", Moment.CHUNK_TAKEN, Moment.BLOCKS_SENT),
    *_at(Plot.KAFKA_FREEZE, "sink", Moment.RANGE_RECORDED, Moment.BATCH_STORED),
    *_every_moment(Plot.CLICKHOUSE_KILL, "sink"),
    *_at(Plot.CLICKHOUSE_FREEZE, "sink", Moment.RANGE_RECORDED, Moment.TABLE_INSERTED),
    *(Cell(plot=Plot.STARVE, victim=role, quick=role == "process") for role in ("http", "coap", "process")),
    *(
        Cell(plot=plot, victim="sink", table=table, quick=(plot, table) in _QUICK_TABLES)
        for plot in (Plot.CUT_REQUEST, Plot.CUT_ANSWER)
        for table in _TABLES
    ),
    *(Cell(plot=plot, victim="sink", table="readings") for plot in (Plot.HELD_KILL, Plot.HELD_JOIN)),
    *(Cell(plot=Plot.LATE, victim="sink", table=table, quick=table == "readings") for table in _TABLES[:2]),
    *_at(Plot.JOIN, "process", Moment.CHUNK_TAKEN, Moment.BLOCKS_SENT, Moment.BLOCKS_ACKNOWLEDGED),
    *_at(Plot.JOIN, "sink", Moment.RANGE_RECORDED, Moment.TABLE_INSERTED, Moment.BATCH_STORED),
    *_at(Plot.FOLDER, "process", Moment.BLOCKS_ACKNOWLEDGED),
    *_at(Plot.FOLDER, "sink", Moment.TABLE_INSERTED),
    *(
        Cell(plot=plot, victim=role)
        for plot in (Plot.CLOCK_FORWARD, Plot.CLOCK_BACK)
        for role in ("http", "coap", "process", "sink")
    ),
]

CELLS: Mapping[str, Cell] = {cell.name: cell for cell in _ALL}
"""The whole matrix, by name."""
