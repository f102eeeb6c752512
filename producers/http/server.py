"""The HTTP edge: one application for every dialect, errors in the words of each, and the process around it."""

import asyncio
import math
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from importlib.resources import files
from pathlib import Path
from typing import cast

import structlog
import uvloop
from aiohttp import web, web_protocol
from aiohttp.typedefs import Handler, Middleware

from producers import metrics
from producers.http import digital_twins, graph, not_http, thingsboard
from producers.http.bearer import Tenants
from producers.http.connections import Connections
from producers.http.dialect import Dialect, Door
from producers.http.key_set import KeySet
from producers.http.refusal import Refusal
from producers.http.tls import ServerCertificate
from producers.http.verifier import Verifier
from producers.limits import Limits
from producers.metrics import Credential, Outcome, count, observe
from producers.outbox import KafkaOutbox, Outbox
from producers.renewal import Renewal
from producers.settings import EdgeSettings, HttpSettings
from runtime import log as logging
from runtime.health import health
from runtime.process import until_told_to_stop
from runtime.publisher import Publisher, PublishError, TooLarge
from runtime.registry import Devices, Registry
from runtime.settings import HealthSettings, KafkaSettings, LogSettings

log = structlog.get_logger()

Refuse = Callable[[web.Request, Refusal], web.Response]

DIALECTS: Sequence[Dialect] = (graph.DIALECT, digital_twins.DIALECT, thingsboard.DIALECT)
"""Every dialect that the edge speaks."""

_SPEAKERS = [
    (tuple(f"{prefix}/" for prefix in dialect.prefixes), dialect.prefixes, dialect.name, dialect.refuse)
    for dialect in DIALECTS
]
"""Below which paths, and at which, in whose words errors are told."""

GRACE = 5
"""Seconds that an answer may take beyond Kafka's acknowledgement, when the process stops."""

HANDSHAKE = 10.0
"""Seconds that a TLS handshake may take."""

LINGER = 2.0
"""Seconds that the rest of a refused body is read and dropped, so that the client comes to read why it was refused."""

HEADERS = 64
"""Headers of a request, of 8 KB each: more than any client or proxy sends, and all that a stranger can make us keep."""

PIPELINED = 2
"""Requests that may wait on a connection behind the one that is answered, each with up to a MiB of headers; no client of the
dialects sends even one. aiohttp (3.14) takes 32; a parameter of its `Server` would remove this."""

BACKLOG = 1024
"""Connections that may wait to be taken: after a restart a fleet comes back at once."""


def application(
    outbox: Outbox, devices: Devices, settings: HttpSettings, edge: EdgeSettings
) -> web.Application:
    """The edge without a socket: what tests drive, and `main` listens with."""
    app = web.Application(middlewares=[_errors(edge)], client_max_size=settings.max_body_bytes)
    door = Door(tenants=Tenants(settings.tokens, _verifier(app, settings)), devices=devices)
    limits = Limits(edge.limits)
    metrics.RATE_BUCKETS.set_function(lambda: len(limits))
    for dialect in DIALECTS:
        for path in dialect.paths:
            app.router.add_post(path, _endpoint(dialect, door, limits, outbox, settings.body_timeout))
    app.router.add_get("/openapi.yaml", _document)
    app.on_response_prepare.append(_state_emptiness)
    return app


def _verifier(app: web.Application, settings: HttpSettings) -> Verifier | None:
    """What judges tokens that an issuer signed; its keys live as long as the application runs."""
    if not settings.jwks:
        return None
    keys = KeySet(settings.jwks, every=settings.jwks_refresh)

    async def kept(_: web.Application) -> AsyncIterator[None]:
        async with keys.kept():
            yield

    app.cleanup_ctx.append(kept)
    verifier = Verifier(
        keys,
        issuer=settings.issuer,
        audiences=settings.audiences,
        tenant_claim=settings.tenant_claim,
        roles=settings.roles,
    )
    metrics.REMEMBERED_TOKENS.set_function(lambda: len(verifier))
    return verifier


def _endpoint(dialect: Dialect, door: Door, limits: Limits, outbox: Outbox, patience: float) -> Handler:
    """The one order of events in every dialect: admit, limit, read, publish, count, answer.

    A device that is over its limit must not cost the reading of its body; only where the body names the devices it does.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(patience):
                speaker = await dialect.admit(request, door)
                if speaker.device:
                    _limit(limits, speaker.tenant, {speaker.device: 1})
                messages = await dialect.read(request, speaker)
        except TimeoutError as error:
            raise Refusal(408, "The body did not come in time.") from error
        if not speaker.device:
            _limit(limits, speaker.tenant, Counter(message.device for message in messages))
        await outbox.put(messages)
        count(dialect.name, Outcome.ACCEPTED, len(messages))
        return dialect.success(request)

    return handle


def _limit(limits: Limits, tenant: str, devices: Mapping[str, int]) -> None:
    """Refuse the request as a whole when one device, or their tenant, is over its rate."""
    wait = limits.take_all(tenant, devices)
    if wait > 0:
        seconds = str(math.ceil(wait))
        raise Refusal(429, "Too many messages; try again later.", headers={"Retry-After": seconds})


async def _document(_: web.Request) -> web.Response:
    document = files("producers.http").joinpath("openapi.yaml").read_bytes()
    return web.Response(body=document, content_type="application/yaml", charset="utf-8")


def _errors(edge: EdgeSettings) -> Middleware:
    """Whatever is raised, the framework's own errors included, becomes an answer in the dialect of the path."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        name, refuse = _speaker(request.path)
        started = time.perf_counter()
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the rim: nothing beyond it knows the dialect
            refusal = _refusal(error, edge)
            count(name, refusal.outcome)
            return refuse(request, refusal)
        finally:
            observe(name, time.perf_counter() - started)

    return answer


def _refusal(error: Exception, edge: EdgeSettings) -> Refusal:
    match error:
        case Refusal():
            return error
        case TooLarge():
            return Refusal(413, str(error))
        case PublishError():
            return Refusal(
                503,
                "The telemetry was not stored; try again.",
                headers={"Retry-After": str(edge.retry_after)},
            )
        case web.HTTPException():
            allow = {name: value for name, value in error.headers.items() if name == "Allow"}
            return Refusal(error.status, error.text or error.reason, headers=allow)
        case _:
            log.error("request failed", exc_info=error)
            return Refusal(500, "An error of the server, not of the request; its log has more.")


def _speaker(path: str) -> tuple[str, Refuse]:
    for below, exactly, name, refuse in _SPEAKERS:
        if path.startswith(below) or path in exactly:
            return name, refuse
    return "none", _refuse_plainly


def _refuse_plainly(_: web.Request, refusal: Refusal) -> web.Response:
    return web.Response(text=f"{refusal.message}\n", status=refusal.status, headers=refusal.headers)


async def _state_emptiness(_: web.Request, response: web.StreamResponse) -> None:
    # aiohttp takes the header out, as RFC 9110 asks; both services send it, and a client may wait for it.
    if response.status == 204:  # noqa: PLR2004 - No Content
        response.headers["Content-Length"] = "0"


def main() -> None:
    """Run the edge until SIGTERM or SIGINT: `headrace http`."""
    logging.configure(LogSettings())
    settings, edge, kafka = HttpSettings(), EdgeSettings(), KafkaSettings()
    with Registry(kafka) as registry:
        uvloop.run(_serve(registry, settings, edge, kafka))


async def _serve(
    registry: Registry, settings: HttpSettings, edge: EdgeSettings, kafka: KafkaSettings
) -> None:
    publisher = Publisher(
        kafka, delivery_timeout=edge.delivery_timeout, max_queued_bytes=edge.max_queued_bytes
    )
    async with publisher:
        app = application(KafkaOutbox(publisher), registry, settings, edge)
        async with serving(app, settings, grace=edge.delivery_timeout + GRACE):
            with health(
                HealthSettings(),
                ready=lambda: publisher.error or registry.trouble,
                alive=lambda: publisher.error or registry.trouble,
            ):
                await until_told_to_stop()


@asynccontextmanager
async def serving(app: web.Application, settings: HttpSettings, *, grace: float) -> AsyncIterator[int]:
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
    app: web.Application, settings: HttpSettings, *, grace: float, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Take requests while the block runs, at the port that it is given; then finish those that are under way.

    Several processes may listen on one port: the kernel spreads connections over them. Port 0 is any that is free.
    """
    patience, most = settings.idle_timeout, settings.max_connections
    web_protocol.MAX_MSG_QUEUE_SIZE = PIPELINED
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=grace,
        logger=not_http.logger(),
        keepalive_timeout=patience,  # from the first byte on, also where no request ever comes
        lingering_time=LINGER,
        max_headers=HEADERS,
        auto_decompress=False,  # see `producers.http.dialect.whole_body`
    )
    await runner.setup()
    try:
        server = await asyncio.get_running_loop().create_server(
            Connections(cast("web.Server", runner.server), most=most, patience=patience),
            settings.host,
            settings.port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE if tls else None,
            backlog=BACKLOG,
            reuse_port=True,
        )
        with closing(server):
            bound: int = server.sockets[0].getsockname()[1]
            log.info("listening", host=settings.host, port=bound, tls=tls is not None)
            yield bound
            log.info("stopping")
    finally:
        await runner.cleanup()
