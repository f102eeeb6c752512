"""What the edges read from the environment."""

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import Field, field_validator

from producers.limits import TenantLimits
from runtime.settings import Section


class EdgeSettings(Section, env_prefix="HEADRACE_EDGE__"):
    """What every edge has in common."""

    delivery_timeout: float = Field(
        5.0,
        gt=0,
        description="Seconds that Kafka may take to acknowledge before the client hears 503 or 5.03.",
    )
    retry_after: int = Field(5, gt=0, description="Seconds after which a refused client should try again.")
    max_queued_bytes: int = Field(
        64 << 20, gt=0, description="Bytes that may wait for Kafka's acknowledgement."
    )

    limits: Mapping[str, TenantLimits] = Field(
        default_factory=dict,
        description="Rate limits, a JSON object of tenant (or * for any other) to its limits, such as "
        '{"*": {"device": "20:1,600:60", "tenant": "1000:1"}}.',
    )

    @field_validator("limits", mode="plain")
    @classmethod
    def _typed(cls, limits: Any) -> Mapping[str, TenantLimits]:
        return msgspec.convert(limits, dict[str, TenantLimits])


class HttpSettings(Section, env_prefix="HEADRACE_HTTP__"):
    """The HTTP edge: Microsoft Graph and Azure Digital Twins."""

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: Mapping[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="Static bearer tokens, a JSON object of token to tenant; for a laptop.",
    )
    max_body_bytes: int = Field(
        1 << 20, description="The largest body; Digital Twins takes 32 KiB whatever this says."
    )


class CoapSettings(Section, env_prefix="HEADRACE_COAP__"):
    """The CoAP edge: ThingsBoard's device API."""

    host: str = "127.0.0.1"
    port: int = 5683
    dtls_port: int = 5684
    certificate: str = Field("", description="PEM file of the server's chain; without it there is no coaps.")
    private_key: str = Field("", description="PEM file of the key that belongs to it.")
    max_body_bytes: int = Field(128 << 10, description="The largest body, put together from blocks.")
    max_sessions: int = Field(
        5000, description="DTLS sessions at once; 92 KiB each, the least recently used goes first."
    )
