"""What the processor reads from the environment."""

from pydantic import Field

from runtime.settings import Section


class ProcessSettings(Section, env_prefix="HEADRACE_PROCESS__"):
    """How raw messages become readings."""

    group: str = Field("headrace-process", description="Kafka consumer group; also Faust's application id.")
    instance: str = Field(
        "", description="Static member id, such as the pod's name: a restart then causes no rebalance."
    )
    window_seconds: int = Field(
        3600, gt=0, description="A repeat within at least this time, by Kafka's clock, is a duplicate."
    )
    max_identities: int = Field(
        10_000_000,
        gt=0,
        description="Most identities in memory, over all partitions, at less than 100 bytes each; "
        "beyond it the oldest quarter of the largest window is forgotten early, and its late repeats count as new.",
    )
    rebuild_threads: int = Field(4, gt=0, description="Windows that are rebuilt at the same time.")
    chunk_messages: int = Field(2000, gt=0, le=5000, description="Most messages that become one block.")
    fetch_seconds: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Seconds for which Kafka gathers messages while there are few: fewer and larger blocks, for that much more latency.",
    )
    chunks_in_flight: int = Field(
        8,
        gt=0,
        description="Chunks whose blocks Kafka has not acknowledged yet; as many may wait before them.",
    )
    dead_letter_limit: float = Field(
        0.5, gt=0, le=1, description="Share of dead letters beyond which a partition is held; 1 never holds."
    )
    dead_letter_window: int = Field(
        1000, gt=0, description="Messages of a partition, the last ones, that the share is taken of."
    )
    session_timeout: float = Field(
        10.0, description="Seconds after which a silent processor loses its partitions."
    )
    stuck_seconds: float = Field(
        120.0, gt=0, description="Seconds without progress, although there is work, that end the process."
    )
    grace_seconds: float = Field(
        20.0,
        gt=0,
        description="Seconds until a processor that was told to stop is gone; "
        "half of them for what is in flight, as on a rebalance.",
    )
    topic_check_seconds: float = Field(
        60.0, gt=0, description="Seconds between looks whether a raw topic was deleted and created again."
    )
