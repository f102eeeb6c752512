"""What the sink process reads from the environment."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from runtime.settings import Section


class ClickHouseSettings(Section, env_prefix="HEADRACE_CLICKHOUSE__"):
    """Where ClickHouse is, and as whom to write."""

    url: str = Field(
        "http://127.0.0.1:8123", description="http:// or https://, host and port of its HTTP interface."
    )
    database: str = "default"
    username: str = "default"
    password: SecretStr = SecretStr("")
    cluster: str = Field(
        "", description="Name of the cluster; tables are then replicated and created ON CLUSTER."
    )

    @field_validator("url")
    @classmethod
    def _has_a_host(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address such as http://127.0.0.1:8123")
        return url


class SinkSettings(Section, env_prefix="HEADRACE_SINK__"):
    """How readings are gathered into inserts."""

    group: str = Field(
        "headrace-sink", description="Kafka consumer group; its commits carry the sink's state."
    )
    instance: str = Field(
        "", description="Static member id, such as the pod's name: a restart then causes no rebalance."
    )
    session_timeout: float = Field(
        10.0, gt=0, description="Seconds after which a silent sink loses its partitions."
    )
    batch_rows: int = Field(
        200_000, gt=0, le=500_000, description="Readings that fill a batch of one partition."
    )
    batch_bytes: int = Field(
        32 << 20, gt=0, description="Bytes of blocks that fill a batch of one partition."
    )
    batch_seconds: float = Field(1.0, gt=0, description="Age at which a batch is written, full or not.")
    buffer_bytes: int = Field(
        256 << 20, gt=0, description="Bytes of blocks held in all; then the fullest is written."
    )
    insert_timeout: int = Field(
        60,
        gt=0,
        le=90,
        description="Seconds a request to ClickHouse may take; up to five of them come between two polls.",
    )
    skip_lost: bool = Field(
        False,
        description="Go on behind blocks that the log lost before they were stored, or that are damaged. Set it once, knowingly; see docs/sink.md.",
    )
    epoch: str = Field(
        "0",
        pattern=r"^[a-z0-9]{1,16}$",
        description="Part of every token; `headrace replay` takes another one.",
    )
