"""Which processes make up the local stack, with which environment, and where they answer."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
from confluent_kafka import KafkaException

from headrace.stack.errors import StackError
from headrace.stack.kafka import Kafka, kafka_answers
from headrace.stack.pki import Pki, ensure_pki
from headrace.stack.ports import Port, require_free
from headrace.stack.service import Service
from headrace.stack.settings import StackSettings
from headrace.stack.state import State
from headrace.stack.supervisor import Supervisor
from runtime.settings import KafkaSettings
from runtime.topics import create_topics

SERVICES = ("kafka", "clickhouse", "http", "coap", "process", "sink")
"""What a whole stack consists of, in the order in which it is started."""

TOKENS: Mapping[str, str] = {"demo-token": "demo"}
"""Bearer tokens of the HTTP edge, and the tenant of each, unless HEADRACE_HTTP__TOKENS says otherwise."""

_PORTS = {
    "kafka": (("kafka", "Kafka", "tcp"), ("kafka_controller", "Kafka's controller", "tcp")),
    "clickhouse": (("clickhouse", "ClickHouse", "tcp"),),
    "http": (("http", "the HTTP edge", "tcp"), ("http_health", "health of the HTTP edge", "tcp")),
    "coap": (
        ("coap", "CoAP", "udp"),
        ("coaps", "CoAP over DTLS", "udp"),
        ("coap_health", "health of the CoAP edge", "tcp"),
    ),
    "process": (("process_health", "health of the processor", "tcp"),),
    "sink": (("sink_health", "health of the sink", "tcp"),),
}


def _silent(_: str) -> None:
    """Report nothing."""


class Stack:
    """The local stack, between entering and leaving its block: `async with Stack(StackSettings()) as stack`.

    A Kafka or a ClickHouse that the environment names (HEADRACE_KAFKA__BOOTSTRAP, HEADRACE_CLICKHOUSE__URL) is used
    as it is, and none of our own is started.
    """

    def __init__(
        self,
        settings: StackSettings,
        *,
        services: Collection[str] = SERVICES,
        fresh: bool = False,
        report: Callable[[str], None] = _silent,
    ) -> None:
        """Take the names of the services to start, all by default; a fresh stack forgets the data of earlier ones."""
        self.settings = settings
        self.state = State(settings.state)
        self.pki = Pki(self.state.pki)
        self._cache = settings.cache.expanduser().resolve()
        self._fresh = fresh
        self._report = report
        self._kafka = Kafka(self.state.kafka, settings.kafka_port, settings.kafka_controller_port)
        self._bootstrap = os.environ.get("HEADRACE_KAFKA__BOOTSTRAP")
        self._clickhouse = os.environ.get("HEADRACE_CLICKHOUSE__URL")
        external = {"kafka": self._bootstrap, "clickhouse": self._clickhouse}
        self.services = tuple(name for name in SERVICES if name in services and not external.get(name))
        self._supervisor = Supervisor((), logs=self.state.logs, report=report)
        self._creating = asyncio.Lock()
        self._created = False
        self._open = AsyncExitStack()

    @property
    def bootstrap(self) -> str:
        """Where Kafka answers."""
        return self._bootstrap or self._kafka.bootstrap

    @property
    def clickhouse_url(self) -> str:
        """Where ClickHouse answers."""
        return self._clickhouse or f"http://127.0.0.1:{self.settings.clickhouse_port}"

    @property
    def http_url(self) -> str:
        """Where the HTTP edge answers."""
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def coap_url(self) -> str:
        """Where the CoAP edge answers."""
        return f"coap://127.0.0.1:{self.settings.coap_port}"

    @property
    def coaps_url(self) -> str:
        """Where the CoAP edge answers over DTLS; its certificate names localhost too."""
        return f"coaps://127.0.0.1:{self.settings.coaps_port}"

    async def __aenter__(self) -> Self:
        """Start everything; when this returns, everything is ready.

        Raises:
            StackError: it cannot be started; the message says what to do.

        """
        async with AsyncExitStack() as opening:
            lock = await opening.enter_async_context(self.state.locked(report=self._report))
            require_free(self._ports())
            if self._fresh:
                self.state.clear()
            ensure_pki(self.state.pki)
            self.state.add_example_fleet()
            if "kafka" in self.services:
                await asyncio.to_thread(self._kafka.prepare, self._cache, self._report)
            services = [self._service(name) for name in self.services]
            logs = self.state.logs
            self._supervisor = Supervisor(services, logs=logs, report=self._report, lock=lock)
            opening.push_async_callback(self._supervisor.stop)
            await self._supervisor.start()
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; when this returns, no process is left."""
        await self._open.aclose()

    def pid(self, name: str) -> int:
        """The process id of a service, as of now."""
        return self._supervisor.pid(name)

    async def restarted(self, name: str, *, after_pid: int, within: float = 60) -> int:
        """Wait until a service is ready in another process than the one given; return its process id."""
        return await self._supervisor.restarted(name, after_pid=after_pid, within=within)

    async def wait(self) -> None:
        """Wait until the stack ends by itself, and raise the StackError that says why."""
        await self._supervisor.wait()

    async def create_topics(self) -> None:
        """Make the topics that are missing; a stack with a Headrace process in it has done so.

        Raises:
            StackError: Kafka refused, or did not answer.

        """
        kafka = KafkaSettings(bootstrap=self.bootstrap)
        try:
            await asyncio.to_thread(create_topics, kafka, partitions=self.settings.partitions)
        except KafkaException as error:
            raise StackError(f"topics cannot be created at {self.bootstrap}: {error}") from error

    async def _topics_once(self) -> None:
        async with self._creating:
            if not self._created:
                await self.create_topics()
                self._created = True

    def _ports(self) -> list[Port]:
        return [
            Port(
                getattr(self.settings, f"{name}_port"),
                purpose,
                StackSettings.variable(f"{name}_port"),
                "udp" if protocol == "udp" else "tcp",
            )
            for service in self.services
            for name, purpose, protocol in _PORTS[service]
        ]

    def _service(self, name: str) -> Service:
        if name == "kafka":
            return Service(name=name, argv=self._kafka.command(self._cache), ready=self._kafka_ready)
        if name == "clickhouse":
            path, port = str(self.state.clickhouse), str(self.settings.clickhouse_port)
            argv = (sys.executable, "-m", "headrace.stack.clickhouse", "--path", path, "--port", port)
            return Service(name=name, argv=argv, ready=lambda: answers(f"{self.clickhouse_url}/ping"))
        health = f"http://127.0.0.1:{getattr(self.settings, f'{name}_health_port')}/ready"
        return Service(
            name=name,
            argv=(sys.executable, "-m", "headrace", name),
            env=self._environment(name),
            ready=lambda: answers(health),
            needs=("kafka", "clickhouse") if name == "sink" else ("kafka",),
            prepare=self._topics_once,
        )

    async def _kafka_ready(self) -> bool:
        return await kafka_answers(self.bootstrap)

    def _environment(self, name: str) -> dict[str, str]:
        """What a Headrace process is told; what the caller's own environment says of its tokens stays."""
        settings = self.settings
        return {
            "PYTHONUNBUFFERED": "1",
            "HEADRACE_KAFKA__BOOTSTRAP": self.bootstrap,
            "HEADRACE_CLICKHOUSE__URL": self.clickhouse_url,
            "HEADRACE_HEALTH__PORT": str(getattr(settings, f"{name}_health_port")),
            # Static members: a process that was killed gets its partitions back at once.
            "HEADRACE_PROCESS__INSTANCE": "local",
            "HEADRACE_SINK__INSTANCE": "local",
            "HEADRACE_HTTP__PORT": str(settings.http_port),
            "HEADRACE_HTTP__TOKENS": os.environ.get("HEADRACE_HTTP__TOKENS", json.dumps(dict(TOKENS))),
            "HEADRACE_COAP__PORT": str(settings.coap_port),
            "HEADRACE_COAP__DTLS_PORT": str(settings.coaps_port),
            "HEADRACE_COAP__CERTIFICATE": str(self.pki.certificate("server")),
            "HEADRACE_COAP__PRIVATE_KEY": str(self.pki.private_key("server")),
        }


async def answers(url: str) -> bool:
    """True if a GET is answered with 200 within a second. Never raises."""
    timeout = aiohttp.ClientTimeout(total=1)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - OK
    except (aiohttp.ClientError, TimeoutError):
        return False
