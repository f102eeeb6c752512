"""The topology: raw topics through one Faust agent into `readings` and `dead-letters`."""

import asyncio
import functools
import ssl
import threading
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import faust
from faust.types.auth import SASLMechanism

from processors.chunks import ChunkApp, ChunkConsumer, ChunkSchema
from processors.rebuild import rebuild
from processors.refinery import Refinery
from processors.settings import ProcessSettings
from runtime import log as logging
from runtime.faults import Moment, reached
from runtime.health import health
from runtime.publisher import Publisher
from runtime.registry import Devices, Registry
from runtime.settings import HealthSettings, KafkaSettings, LogSettings
from runtime.topics import topic_ids
from schemas.reading_block import encode
from schemas.topics import MAX_BLOCK_BYTES, RAW_TOPICS


def build(kafka: KafkaSettings, settings: ProcessSettings, devices: Devices) -> ChunkApp:
    """The Faust app. Nothing connects before a worker starts it."""
    app = ChunkApp(settings.group, **_options(kafka, settings))
    app.chunk_topics = frozenset(RAW_TOPICS.values())
    app.chunk_messages = settings.chunk_messages
    raw = app.topic(*RAW_TOPICS.values(), schema=ChunkSchema(), maxsize=settings.chunks_in_flight)

    @app.agent(raw, name="refine")
    async def refine(stream: Any) -> None:
        """Normalise, de-duplicate and enrich each chunk; acknowledge it when its block is on the log."""
        stream.enable_acks = False
        ids = await asyncio.to_thread(topic_ids, kafka, RAW_TOPICS.values())
        publisher = Publisher(kafka, delivery_timeout=0, max_record_bytes=MAX_BLOCK_BYTES)
        async with publisher:
            refinery = Refinery(
                _offsets(app),
                publisher,
                devices,
                topic_ids=dict(ids),
                rebuild=functools.partial(rebuild, kafka, seconds=settings.window_seconds),
            )
            await _pump(app, stream, refinery, in_flight=settings.chunks_in_flight)

    return app


def _options(kafka: KafkaSettings, settings: ProcessSettings) -> dict[str, Any]:
    """Faust's settings."""
    return {
        "broker": [f"kafka://{quote(broker.strip(), safe=':[]')}" for broker in kafka.bootstrap.split(",")],
        "broker_credentials": _credentials(kafka),
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.session_timeout / 10,
        "broker_commit_interval": 1.0,
        "broker_max_poll_records": 10 * settings.chunk_messages,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": settings.instance or None,
        # What is not committed is done again, and the sink drops what it has: nothing has to be waited for.
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


def _offsets(app: ChunkApp) -> ChunkConsumer:
    return cast("ChunkConsumer", app.consumer)


async def _pump(app: ChunkApp, stream: Any, refinery: Refinery, *, in_flight: int) -> None:
    """Keep several chunks on their way, and count each as processed in the order of the log.

    Whatever fails here, also the delivery of a block, fails the agent; its supervisor ends the process.
    """
    sent: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue(in_flight)

    async def acknowledge() -> None:
        while True:
            event, delivered = await sent.get()
            if delivered is not None:
                await delivered
                reached(Moment.BLOCKS_ACKNOWLEDGED)
                chunk = event.message
                _offsets(app).processed(chunk.tp, chunk.offset, chunk.generation_id)
            await stream.ack(event)

    async with asyncio.TaskGroup() as group:
        acknowledger = group.create_task(acknowledge())
        async for event in stream.events():
            await sent.put((event, await refinery.take(event.message)))
        acknowledger.cancel()


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
    kafka, settings = KafkaSettings(), ProcessSettings()
    logging.configure(LogSettings(), quiet=("faust", "mode", "aiokafka", "processors.chunks"))
    # The first block makes pyarrow import what it can use: seconds that belong before readiness, not before a message.
    encode([])
    joined = threading.Event()
    with Registry(kafka) as devices:
        app = build(kafka, settings, devices)
        app.on_partitions_assigned.connect(lambda *_, **__: joined.set(), weak=False)

        def ready() -> str:
            return devices.trouble or ("" if joined.is_set() else "joining the consumer group")

        with health(HealthSettings(), ready=ready):
            worker = faust.Worker(
                app, override_logging=False, redirect_stdouts=False, quiet=True, workdir=Path.cwd()
            )
            worker.execute_from_commandline()
