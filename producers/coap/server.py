"""The CoAP edge: UDP and DTLS in front of the dialects, Kafka behind them."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop
from OpenSSL import SSL

from producers import metrics
from producers.coap.dialect import Dialect
from producers.coap.dtls import DtlsTransport
from producers.coap.dtls_context import server_context
from producers.coap.messages import MessageLayer
from producers.coap.pre_shared_keys import PreSharedKeys
from producers.coap.site import Bounds, Site
from producers.coap.thingsboard import ThingsBoard
from producers.coap.udp import UdpTransport, bound_socket, queued
from producers.limits import Limits
from producers.metrics import Credential
from producers.outbox import KafkaOutbox, Outbox
from producers.renewal import Renewal
from producers.settings import CoapSettings, EdgeSettings
from runtime import log as runtime_log
from runtime.devices import Devices, DeviceTable
from runtime.health import health
from runtime.memory import give_back_freed
from runtime.process import until_told_to_stop
from runtime.publisher import Publisher
from runtime.registry import Registry
from runtime.settings import HealthSettings, KafkaSettings, LogSettings

DIALECTS: Mapping[tuple[str, ...], Callable[[Devices, str], Dialect]] = {
    ("api", "v1"): ThingsBoard,
}
"""By the root of its paths."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the edge listens."""

    coap: int
    coaps: int | None
    """None without a certificate and without pre-shared keys."""


@contextlib.asynccontextmanager
async def serving(
    outbox: Outbox, devices: Devices, settings: CoapSettings, edge: EdgeSettings
) -> AsyncIterator[Ports]:
    """Serve while the block runs; then answer what was begun, and tell the DTLS sessions goodbye.

    Raises:
        ValueError: the certificate, the authorities or the pre-shared keys cannot be used.
        OSError: a port is taken.

    """
    dialects = {root: dialect(devices, settings.tenant) for root, dialect in DIALECTS.items()}
    bounds = Bounds(settings.max_body_bytes, edge.retry_after)
    limits = Limits(edge.limits)
    site = Site(dialects, outbox, bounds, limits)
    messages = MessageLayer(site.respond)
    metrics.RATE_BUCKETS.set_function(lambda: len(limits))
    metrics.WAITING_REQUESTS.set_function(lambda: site.waiting)
    metrics.BODY_BYTES.set_function(lambda: site.body_bytes)
    metrics.REMEMBERED_MESSAGES.set_function(lambda: messages.remembered)
    metrics.UNACKNOWLEDGED_ANSWERS.set_function(lambda: messages.unacknowledged)
    async with contextlib.AsyncExitStack() as stack:
        coap = await stack.enter_async_context(_udp(settings, messages))
        secured = settings.certificate or settings.pre_shared_keys
        coaps = await stack.enter_async_context(_dtls(settings, messages)) if secured else None
        # Left first: requests are answered while there are still sockets to answer through.
        stack.push_async_callback(messages.close, edge.delivery_timeout + 1)
        yield Ports(coap, coaps)


@contextlib.asynccontextmanager
async def _udp(settings: CoapSettings, messages: MessageLayer) -> AsyncIterator[int]:
    sock = bound_socket(settings.host, settings.port)
    _show_queue(sock, "coap")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: UdpTransport(messages.receive), sock=sock
    )
    try:
        yield sock.getsockname()[1]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def _dtls(settings: CoapSettings, messages: MessageLayer) -> AsyncIterator[int]:
    names = [settings.certificate, settings.private_key, settings.authorities]
    renewal = Renewal(
        Credential.CERTIFICATE,
        [Path(name) for name in names if name],
        every=settings.certificate_refresh,
    )
    keys = PreSharedKeys(Path(settings.pre_shared_keys)) if settings.pre_shared_keys else None
    if keys is not None:
        keys.refresh()

    def context() -> SSL.Context:
        return server_context(
            settings.certificate, settings.private_key, authorities=settings.authorities, keys=keys
        )

    transport = DtlsTransport(context(), messages.receive, max_sessions=settings.max_sessions)
    metrics.DTLS_SESSIONS.set_function(lambda: transport.sessions)
    metrics.DTLS_STRANGERS.set_function(lambda: transport.strangers)
    sock = bound_socket(settings.host, settings.dtls_port)
    _show_queue(sock, "coaps")
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: transport, sock=sock)
    try:
        async with renewal.kept(lambda: transport.renew(context())):
            yield sock.getsockname()[1]
    finally:
        transport.close()


def _show_queue(sock: socket.socket, transport: str) -> None:
    metrics.UDP_QUEUED_BYTES.labels(transport).set_function(lambda: queued(sock).bytes)
    metrics.UDP_LOST.labels(transport).set_function(lambda: queued(sock).lost)


def main() -> None:
    """Run the CoAP edge until SIGTERM or SIGINT, with settings from the environment."""
    give_back_freed()
    runtime_log.configure(LogSettings())
    settings, edge, kafka = CoapSettings(), EdgeSettings(), KafkaSettings()
    with Registry(kafka, DeviceTable()) as registry:
        gc.freeze()  # what is loaded stays: no look for reference cycles goes through every device
        uvloop.run(_run(registry, settings, edge, kafka))


async def _run(
    registry: Registry[DeviceTable], settings: CoapSettings, edge: EdgeSettings, kafka: KafkaSettings
) -> None:
    async with (
        Publisher(
            kafka, delivery_timeout=edge.delivery_timeout, max_queued_bytes=edge.max_queued_bytes
        ) as publisher,
        serving(KafkaOutbox(publisher), registry.devices, settings, edge) as ports,
    ):
        # A registry that stopped still answers for the devices it knows: no reason to kill the process, but to send
        # new traffic elsewhere.
        with health(
            HealthSettings(),
            ready=lambda: publisher.error or registry.trouble,
            alive=lambda: publisher.error,
        ):
            log.info("listening", host=settings.host, coap=ports.coap, coaps=ports.coaps)
            await until_told_to_stop()
            log.info("stopping")
