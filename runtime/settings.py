"""Settings from the environment: one frozen section a concern, unknown names refused, secrets silent."""

import logging
import os
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LIBRDKAFKA = "librdkafka"
"""The logger of the Kafka client; see `runtime.log`."""


class Section(BaseSettings):
    """A group of settings that share a prefix, read once when it is constructed.

    A section is defined as `class HttpSettings(Section, env_prefix="HEADRACE_HTTP__")`. A variable that begins with the
    prefix and names no setting is an error: a typing mistake must not silently leave a default in force.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        prefix = str(cls.model_config.get("env_prefix", ""))
        known = {prefix + name.upper() for name in cls.model_fields}
        unknown = {name for name in os.environ if prefix and name.startswith(prefix)} - known
        if unknown:
            raise ValueError(
                f"no such setting: {', '.join(sorted(unknown))} (known: {', '.join(sorted(known))})"
            )
        return values


class KafkaSettings(Section, env_prefix="HEADRACE_KAFKA__"):
    """Where Kafka is, and how to prove who we are."""

    bootstrap: str = Field("127.0.0.1:9092", description="Brokers to start from, host:port, comma-separated.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ca_location: str = Field("", description="File of CA certificates that the brokers are checked against.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            raise ValueError(
                f"{self.security_protocol} needs HEADRACE_KAFKA__SASL_USERNAME and _SASL_PASSWORD"
            )
        return self

    def librdkafka(self) -> dict[str, Any]:
        """These settings as librdkafka's configuration properties."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "logger": logging.getLogger(LIBRDKAFKA),
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password.get_secret_value(),
            }
        if self.ca_location:
            options["ssl.ca.location"] = self.ca_location
        return options

    def consuming(self, *, queued_bytes: int) -> dict[str, Any]:
        """The same for a consumer that commits what it is told to, and fetches about so many bytes ahead."""
        return self.librdkafka() | {
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": queued_bytes >> 10,
            # Once the queue is full librdkafka waits for a second, whoever empties it meanwhile.
            "fetch.queue.backoff.ms": 10,
        }


class HealthSettings(Section, env_prefix="HEADRACE_HEALTH__"):
    """Where a process answers probes and shows its metrics."""

    host: str = "127.0.0.1"
    port: int = Field(9100, description="TCP port of /health, /ready and /metrics.")


class LogSettings(Section, env_prefix="HEADRACE_LOG__"):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
