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
    chunk_messages: int = Field(500, gt=0, le=5000, description="Most messages that become one block.")
    chunks_in_flight: int = Field(16, gt=0, description="Chunks whose blocks Kafka has not acknowledged yet.")
    session_timeout: float = Field(
        10.0, description="Seconds after which a silent processor loses its partitions."
    )
