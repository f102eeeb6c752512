"""The topology: raw topics through one Faust agent into `readings` and `dead-letters`."""

import gc
import ssl
import threading
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import faust
from faust.types.auth import SASLMechanism

from processors.chunks import ChunkApp, ChunkConsumer, ChunkSchema
from processors.processor import Processor
from processors.progress import Progress
from processors.settings import ProcessSettings
from processors.watchdog import Watchdog
from runtime import log as logging
from runtime.devices import Places, PlaceTable
from runtime.health import health
from runtime.memory import give_back_freed
from runtime.registry import Registry
from runtime.settings import HealthSettings, KafkaSettings, LogSettings
from schemas.reading_block import encode
from schemas.topics import RAW_TOPICS

GARBAGE = (50_000, 10, 10)
"""When Python looks for reference cycles: a chunk alone is some thousand objects in none, and 700, the default, means a look at
all that is in flight several times a chunk."""


def build(kafka: KafkaSettings, settings: ProcessSettings, devices: Places) -> ChunkApp:
    """The Faust app. Nothing connects before a worker starts it."""
    app = ChunkApp(settings.group, **_options(kafka, settings))
    app.chunk_topics = frozenset(RAW_TOPICS.values())
    app.chunk_messages = settings.chunk_messages
    app.fetch_seconds = settings.fetch_seconds
    app.grace_seconds = settings.grace_seconds
    app.progress = Progress(time.monotonic)
    raw = app.topic(*RAW_TOPICS.values(), schema=ChunkSchema(), maxsize=settings.chunks_in_flight)

    @app.agent(raw, name="refine")
    async def refine(stream: Any) -> None:
        """See `processors.processor.Processor`."""
        stream.enable_acks = False
        consumer = cast("ChunkConsumer", app.consumer)
        await Processor(kafka, settings, devices, consumer, app.progress).run(stream)

    return app


def _options(kafka: KafkaSettings, settings: ProcessSettings) -> dict[str, Any]:
    """Faust's settings."""
    return {
        "broker": [f"kafka://{quote(broker.strip(), safe=':[]')}" for broker in kafka.bootstrap.split(",")],
        "broker_credentials": _credentials(kafka),
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.session_timeout / 10,
        "broker_commit_interval": 1.0,
        "broker_max_poll_records": 5 * settings.chunk_messages,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": settings.instance or None,
        # We wait ourselves, and not for ever: see `ChunkApp._consumer_wait_empty`.
        "stream_wait_empty": False,
        "stream_buffer_maxsize": settings.chunks_in_flight,
        "stream_recovery_delay": 0.0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "agent_supervisor": "mode.CrashingSupervisor",
        "autodiscover": False,
        "web_enabled": False,
    }


def _credentials(kafka: KafkaSettings) -> Any:
    """The same proof of identity for Faust's own Kafka client."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = None
    if kafka.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=kafka.ca_location or None)
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        mechanism=SASLMechanism(kafka.sasl_mechanism),
        username=kafka.sasl_username,
        password=kafka.sasl_password.get_secret_value(),
        ssl_context=context,
    )


def main() -> None:
    """Run one processor until SIGTERM or SIGINT; exits with 1 on anything unexpected, nothing committed."""
    give_back_freed()
    gc.set_threshold(*GARBAGE)
    kafka, settings = KafkaSettings(), ProcessSettings()
    logging.configure(LogSettings(), quiet=("faust", "mode", "aiokafka", "processors.chunks"))
    # The first block makes pyarrow import what it can use: seconds that belong before readiness, not before a message.
    encode([])
    joined = threading.Event()
    with Registry(kafka, PlaceTable()) as registry:
        app = build(kafka, settings, registry.devices)
        app.on_partitions_assigned.connect(lambda *_, **__: joined.set(), weak=False)
        watchdog = Watchdog(
            app.progress, patience=settings.stuck_seconds, grace=settings.grace_seconds, vital=app.vital
        )
        app.leaving = watchdog.leaving

        def ready() -> str:
            held = app.successor.troubles() if app.successor is not None else []
            return (
                registry.trouble
                or "; ".join(held)
                or ("" if joined.is_set() else "joining the consumer group")
            )

        with health(HealthSettings(), ready=ready, alive=watchdog.alive), watchdog:
            worker = faust.Worker(
                app, override_logging=False, redirect_stdouts=False, quiet=True, workdir=Path.cwd()
            )
            watchdog.watch(worker.loop)
            worker.execute_from_commandline()
