"""The process of the HTTP edge: what listens, for how long, and over TLS or not."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import cast

import structlog
import uvloop
from aiohttp import web, web_protocol

from producers.http import not_http
from producers.http.application import Application, application
from producers.http.connections import Connections
from producers.http.dialect import Request
from producers.http.handshakes import Handshakes
from producers.http.tls import ServerCertificate
from producers.metrics import Credential
from producers.outbox import KafkaOutbox
from producers.renewal import Renewal
from producers.settings import EdgeSettings, HttpSettings
from runtime import log as logging
from runtime.devices import DeviceTable
from runtime.health import health
from runtime.memory import give_back_freed
from runtime.process import until_told_to_stop
from runtime.publisher import Publisher
from runtime.registry import Registry
from runtime.settings import HealthSettings, KafkaSettings, LogSettings

log = structlog.get_logger()

GRACE = 5
"""Seconds that an answer may take beyond Kafka's acknowledgement, when the process stops."""

LINGER = 2.0
"""Seconds that the rest of a refused body is read and dropped, so that the client comes to read why it was refused."""

HEADERS = 64
"""Headers of a request, of 8 KB each: more than any client or proxy sends, and all that a stranger can make us keep."""

PIPELINED = 2
"""Requests that may wait on a connection behind the one that is answered, each with up to a MiB of headers; no client of the
dialects sends even one. aiohttp (3.14) takes 32; a parameter of its `Server` would remove this."""

BACKLOG = 1024
"""Connections that may wait to be taken: after a restart a fleet comes back at once."""


def main() -> None:
    """Run the edge until SIGTERM or SIGINT: `headrace http`."""
    give_back_freed()
    logging.configure(LogSettings())
    settings, edge, kafka = HttpSettings(), EdgeSettings(), KafkaSettings()
    with Registry(kafka, DeviceTable()) as registry:
        gc.freeze()  # what is loaded stays: no look for reference cycles goes through every device
        uvloop.run(_serve(registry, settings, edge, kafka))


async def _serve(
    registry: Registry[DeviceTable], settings: HttpSettings, edge: EdgeSettings, kafka: KafkaSettings
) -> None:
    publisher = Publisher(
        kafka, delivery_timeout=edge.delivery_timeout, max_queued_bytes=edge.max_queued_bytes
    )
    async with (
        publisher,
        application(KafkaOutbox(publisher), registry.devices, settings, edge) as app,
        serving(app, settings, grace=edge.delivery_timeout + GRACE),
    ):
        with health(
            HealthSettings(),
            ready=lambda: publisher.error or registry.trouble,
            alive=lambda: publisher.error or registry.trouble,
        ):
            await until_told_to_stop()


@asynccontextmanager
async def serving(app: Application, settings: HttpSettings, *, grace: float) -> AsyncIterator[int]:
    """Listen as the settings say, over TLS if there is a certificate.

    Raises:
        OSError: the port is taken, or the certificate cannot be used.

    """
    async with AsyncExitStack() as stack:
        context = None
        if settings.certificate:
            files = Path(settings.certificate), Path(settings.private_key)
            renewal = Renewal(Credential.CERTIFICATE, files, every=settings.certificate_refresh)
            certificate = ServerCertificate(*files)
            await stack.enter_async_context(renewal.kept(certificate.load))
            context = certificate.context
        yield await stack.enter_async_context(listening(app, settings, grace=grace, tls=context))


@asynccontextmanager
async def listening(
    app: Application, settings: HttpSettings, *, grace: float, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Take requests while the block runs, at the port that it is given; then finish those that are under way.

    Several processes may listen on one port: the kernel spreads connections over them. Port 0 is any that is free.
    """
    patience, most = settings.idle_timeout, settings.max_connections
    web_protocol.MAX_MSG_QUEUE_SIZE = PIPELINED
    loop = asyncio.get_running_loop()
    # Without an application of aiohttp's: its routes, middlewares and signals take as long as all that is done here.
    server = web.Server(
        cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", app),
        request_factory=partial(Request, loop=loop, client_max_size=settings.max_body_bytes),
        access_log=None,
        logger=not_http.logger(),
        keepalive_timeout=patience,  # from the first byte on, also where no request ever comes
        lingering_time=LINGER,
        max_headers=HEADERS,
        auto_decompress=False,  # see `producers.http.body.whole`
    )
    runner = web.ServerRunner(server, shutdown_timeout=grace)
    await runner.setup()
    connections = Connections(server, most=most, patience=patience)
    handshakes = Handshakes(connections, tls) if tls else None
    try:
        listener = await loop.create_server(
            handshakes or connections, settings.host, settings.port, backlog=BACKLOG, reuse_port=True
        )
        with closing(listener):
            bound: int = listener.sockets[0].getsockname()[1]
            log.info("listening", host=settings.host, port=bound, tls=tls is not None)
            yield bound
            log.info("stopping")
    finally:
        if handshakes:
            handshakes.stop()
        await runner.cleanup()
