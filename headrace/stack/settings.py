"""What the local stack reads from the environment: where it keeps things, and its ports."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from runtime.settings import Section


class StackSettings(Section, env_prefix="HEADRACE_STACK__"):
    """Where the local stack keeps its state, and on which ports of this machine it answers."""

    state: Path = Field(Path(".headrace"), description="Folder of data, logs and certificates.")
    cache: Path = Field(Path("~/.cache/headrace"), description="Folder of downloads that stacks share.")
    partitions: int = Field(4, ge=1, description="Partitions of each topic that scales with traffic.")
    kafka_port: int = Field(9092, description="TCP: Kafka, for clients.")
    kafka_controller_port: int = Field(9093, description="TCP: Kafka, for itself.")
    clickhouse_port: int = Field(8123, description="TCP: ClickHouse's HTTP interface.")
    http_port: int = Field(8080, description="TCP: the HTTP edge.")
    coap_port: int = Field(5683, description="UDP: the CoAP edge.")
    coaps_port: int = Field(5684, description="UDP: the CoAP edge, over DTLS.")
    http_health_port: int = Field(9101, description="TCP: health and metrics of the HTTP edge.")
    coap_health_port: int = Field(9102, description="TCP: health and metrics of the CoAP edge.")
    process_health_port: int = Field(9103, description="TCP: health and metrics of the processor.")
    sink_health_port: int = Field(9104, description="TCP: health and metrics of the sink.")

    @model_validator(mode="after")
    def _each_port_once(self) -> Self:
        owners: dict[int, str] = {}
        for name in (name for name in type(self).model_fields if name.endswith("_port")):
            port = getattr(self, name)
            if port in owners:
                raise ValueError(f"{owners[port]} and {name} are both {port}")
            owners[port] = name
        return self

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that sets a field."""
        return f"{cls.model_config.get('env_prefix', '')}{field.upper()}"
