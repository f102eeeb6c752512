"""What the edges read from the environment."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from producers.limits import TenantLimits
from runtime.settings import Section

ROLES: Mapping[str, Sequence[str]] = {
    "graph": ("PlaceDeviceTelemetry.ReadWrite.All", "PlaceDevice.ReadWrite.All"),
    "digital_twins": ("Azure Digital Twins Data Owner",),
}
"""What the vendors call the right to send telemetry."""


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
    """The HTTP edge: Microsoft Graph, Azure Digital Twins and ThingsBoard's device API."""

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
    max_bodies_bytes: int = Field(
        128 << 20,
        gt=0,
        description="Bytes of all bodies that are larger than 64 KiB and under way at the same time; who comes on top hears 503.",
    )
    max_connections: int = Field(
        1000,
        gt=0,
        description="Connections at once; 10 KiB each as a rule, see docs/memory.md. Beyond it the one goes that was silent "
        "longest.",
    )
    idle_timeout: float = Field(
        75.0,
        gt=0,
        description="Seconds that a connection may take to send the line and the headers of its next request, and to take "
        "the answers that wait for it.",
    )
    body_timeout: float = Field(
        60.0, gt=0, description="Seconds that the body of a request may take before the client hears 408."
    )
    jwks: str = Field(
        "",
        repr=False,
        description="URL or file of the key set (JWKS) of whoever issues tokens (JWT, RS256 or ES256); "
        "without it there are only static ones.",
    )
    jwks_refresh: float = Field(
        600.0,
        gt=0,
        description="Seconds after which the key set is read anew; a key that is gone ends with it.",
    )
    issuer: str = Field("", description="What the claim iss of every token must be.")
    audiences: Sequence[str] = Field(
        (), description="A JSON array of which the claim aud of every token must name one."
    )
    tenant_claim: str = Field("tid", min_length=1, description="The claim that names the tenant.")
    roles: Mapping[str, Sequence[str]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Roles of which a token must have one, a JSON object of dialect to an array; what is not named "
        "needs the vendor's: "
        + "; ".join(f"{name}: {', '.join(roles)}" for name, roles in ROLES.items())
        + ".",
    )
    certificate: str = Field("", description="PEM file of the server's chain; without it there is no TLS.")
    private_key: str = Field("", description="PEM file of the key that belongs to it, not encrypted.")
    certificate_refresh: float = Field(
        60.0, gt=0, description="Seconds between two looks whether the certificate was renewed."
    )

    @field_validator("roles")
    @classmethod
    def _complete_roles(cls, roles: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        unknown = roles.keys() - ROLES.keys()
        if unknown:
            raise ValueError(f"no dialect asks for roles under {', '.join(sorted(unknown))}")
        return {**ROLES, **roles}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.jwks and not (self.issuer and self.audiences):
            raise ValueError("HEADRACE_HTTP__JWKS needs HEADRACE_HTTP__ISSUER and _AUDIENCES")
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("HEADRACE_HTTP__CERTIFICATE and _PRIVATE_KEY belong together")
        if self.max_bodies_bytes < self.max_body_bytes:
            raise ValueError(
                "HEADRACE_HTTP__MAX_BODIES_BYTES is room for less than one body of HEADRACE_HTTP__MAX_BODY_BYTES"
            )
        return self


class CoapSettings(Section, env_prefix="HEADRACE_COAP__"):
    """The CoAP edge: ThingsBoard's device API."""

    host: str = "127.0.0.1"
    port: int = 5683
    dtls_port: int = 5684
    certificate: str = Field("", description="PEM file of the server's chain; without it there is no coaps.")
    private_key: str = Field("", description="PEM file of the key that belongs to it, not encrypted.")
    certificate_refresh: float = Field(
        60.0,
        gt=0,
        description="Seconds between two looks whether the certificate or the authorities were renewed.",
    )
    tenant: str = Field(
        "", description="Whose devices a pre-shared key or a certificate of an authority speaks for."
    )
    authorities: str = Field(
        "",
        description="PEM file of certificate authorities: who holds a certificate of theirs is the device that its "
        "common name names. Without it, a certificate has to be registered.",
    )
    pre_shared_keys: str = Field(
        "",
        description="File of lines IDENTITY:HEX, the identity being a device id; only its owner may have access. It is read "
        "anew when it changed.",
    )
    max_body_bytes: int = Field(128 << 10, description="The largest body, put together from blocks.")
    max_sessions: int = Field(
        5000,
        description="DTLS sessions of devices at once; 92 KiB each, the least recently used goes first. Strangers have 500 "
        "beside them, for a minute.",
    )

    @model_validator(mode="after")
    def _whose(self) -> Self:
        if (self.authorities or self.pre_shared_keys) and not self.tenant:
            raise ValueError("HEADRACE_COAP__AUTHORITIES and _PRE_SHARED_KEYS need HEADRACE_COAP__TENANT")
        if self.authorities and not self.certificate:
            raise ValueError("HEADRACE_COAP__AUTHORITIES needs HEADRACE_COAP__CERTIFICATE")
        return self
