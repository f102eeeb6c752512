"""World: one Kafka, one ClickHouse behind a proxy, a crew, and a look at its consumer groups."""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import clickhouse_connect
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from headrace.stack import supervisor
from headrace.stack.stack import Stack
from runtime.publisher import Publisher
from runtime.settings import LIBRDKAFKA, KafkaSettings
from schemas.codec import encode
from schemas.topics import DEVICES, key
from tests.crash.crew import CODE, Crew, Failed
from tests.crash.emitted import Emitted
from tests.crash.kafka_proxy import KafkaProxy
from tests.crash.load import TENANT, TOKEN, Addresses, fleet
from tests.crash.proxy import Proxy
from tests.support.commands import Told, headrace
from tests.support.processes import free_ports, stack_settings, until

PARTITIONS = 4
SESSION_SECONDS = 3
"""After so long the group puts a frozen or killed member out."""

STANDING = ("http", "coap", "process-1", "process-2", "sink-1", "sink-2")
NEWCOMERS = ("process-3", "sink-3")
BEHIND_PROXY = "sink-1"
"""The other sinks reach ClickHouse by themselves."""
BEHIND_KAFKA_PROXY = ("http", "coap", "process-1")

VERDICTS = (0, 1)
"""Exit codes of `headrace verify` that has judged."""

GROUPS: Mapping[str, str] = {"process": "headrace-process", "sink": "headrace-sink"}


@dataclass(frozen=True, slots=True)
class World:
    """What a cell finds, and leaves as it was: everything runs, and nothing has a fault in it."""

    stack: Stack
    crew: Crew
    proxy: Proxy
    kafka_proxy: KafkaProxy
    emitted: Emitted
    addresses: Addresses
    clickhouse: Any

    async def register(self, prefix: str) -> None:
        """Make a cell's devices known."""
        kafka = KafkaSettings(bootstrap=self.stack.bootstrap)
        async with Publisher(kafka, delivery_timeout=30) as publisher:
            devices = fleet(prefix)
            await asyncio.gather(
                *(publisher.send(DEVICES, encode(each), key=key(TENANT, each.device)) for each in devices)
            )

    async def differences(self) -> list[str]:
        """A sentence for each kind of thing that `headrace verify` finds wrong in everything that was played here.

        Raises:
            Failed: it cannot judge that.
            TimeoutError: neither.

        """
        return differing(await headrace(self.stack, "verify", "--json"))

    async def kill_service(self, name: str) -> None:
        """Kill Kafka or ClickHouse; returns when it is back."""
        pid = self.stack.pid(name)
        os.kill(pid, signal.SIGKILL)
        await self.stack.restarted(name, after_pid=pid, within=180)

    @contextlib.contextmanager
    def frozen_service(self, name: str) -> Iterator[None]:
        """Kafka or ClickHouse stands still inside the block."""
        pid = self.stack.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def members(self, role: str) -> tuple[int, bool]:
        """How many members a group has, and whether it is at rest; -1 if Kafka does not say so just now."""
        group = GROUPS[role]
        # A new client each time: one that has seen its Kafka killed was never answered again.
        options = {"bootstrap.servers": self.stack.bootstrap}
        admin = AdminClient(options, logger=logging.getLogger(LIBRDKAFKA))
        described = admin.describe_consumer_groups([group], request_timeout=5)[group]
        try:
            found = await asyncio.to_thread(described.result, 10)
        except (KafkaException, TimeoutError):
            return -1, False
        return len(found.members), found.state is ConsumerGroupState.STABLE

    async def at_rest(self, role: str, members: int, *, within: float = 60) -> None:
        """Return when a group has exactly so many members, and is at rest."""

        async def condition() -> bool:
            return await self.members(role) == (members, True)

        await until(condition, within=within, every=0.2)

    async def moving(self, role: str, members: int) -> None:
        """Return when a group that had so many members has begun to change."""

        async def condition() -> bool:
            return await self.members(role) != (members, True)

        await until(condition, within=60, every=0.2)

    async def whole(self) -> None:
        """Return when every standing member is in its group; whoever has ended is started again."""

        async def condition() -> bool:
            await self.crew.revive()
            expected = {
                role: sum(1 for m in self.crew.members.values() if m.role == role and m.process is not None)
                for role in GROUPS
            }
            found = [await self.members(role) == (count, True) for role, count in expected.items()]
            return all(found)

        await until(condition, within=90, every=0.2)


def differing(told: Told) -> list[str]:
    """What `headrace verify --json` found, as `World.differences`."""
    if told.code not in VERDICTS or not told.out:
        raise Failed(f"headrace verify ended with {told.code}: {told.err}")
    partitions = json.loads(told.out)["partitions"]
    counts = sum((Counter[str](each["kinds"]) for each in partitions), Counter[str]())
    examples = {
        found["kind"]: f"{each['topic']} [{each['partition']}] at {found['offset']}: {found['text']}"
        for each in partitions
        for found in each["examples"]
    }
    return [
        f"headrace verify: {count} {kind.replace('_', ' ')}, such as {examples[kind]}"
        for kind, count in counts.items()
    ]


QUICKENED: Mapping[str, str] = {
    "HEADRACE_EDGE__DELIVERY_TIMEOUT": "2",
    "HEADRACE_EDGE__RETRY_AFTER": "1",
    "HEADRACE_PROCESS__SESSION_TIMEOUT": str(SESSION_SECONDS),
    "HEADRACE_PROCESS__CHUNK_MESSAGES": "50",
    "HEADRACE_SINK__SESSION_TIMEOUT": str(SESSION_SECONDS),
    "HEADRACE_SINK__BATCH_SECONDS": "0.5",
    "HEADRACE_SINK__INSERT_TIMEOUT": "5",
}
"""Settings of every member: what takes ten seconds or a minute elsewhere takes a few here."""


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    standing: Collection[str] = STANDING,
    settings: Mapping[str, str] = QUICKENED,
    forked: bool = True,
) -> AsyncIterator[World]:
    """Everything started; when the block is left, no process is left."""
    stack_at = stack_settings(folder / "stack", partitions=PARTITIONS)
    proxy_port, kafka_proxy_port, second_door = free_ports(3)
    async with contextlib.AsyncExitStack() as stack:
        # Kafka is away so often here that clients' words of it would bury the rest.
        logger = logging.getLogger(LIBRDKAFKA)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        # Here services are killed all the time, and are to come back at once.
        stack.enter_context(mock.patch.multiple(supervisor, CRASHES=1_000_000, BACKOFF=(0.1, 0.1)))
        kafka_proxy = await stack.enter_async_context(KafkaProxy(kafka_proxy_port, second_door))
        stack.enter_context(kafka_proxy.second_door())
        services = await stack.enter_async_context(
            Stack(stack_at, services=("kafka", "clickhouse"), fresh=True)
        )
        await services.create_topics()
        proxy = await stack.enter_async_context(Proxy(proxy_port, stack_at.clickhouse_port))
        crew = await stack.enter_async_context(Crew(folder / "crew", forked=forked))
        for name in (*STANDING, *NEWCOMERS):
            (port,) = free_ports(1)
            ways = {
                "HEADRACE_KAFKA__BOOTSTRAP": kafka_proxy.bootstrap
                if name in BEHIND_KAFKA_PROXY
                else services.bootstrap,
                "HEADRACE_CLICKHOUSE__URL": proxy.url if name == BEHIND_PROXY else services.clickhouse_url,
            }
            crew.add(name, port, {**_environment(services, port), **ways, **settings})
        emitted = Emitted(services.bootstrap, sink_group=GROUPS["sink"], partitions=PARTITIONS)
        stack.callback(emitted.close)
        clickhouse = clickhouse_connect.get_client(dsn=services.clickhouse_url, autogenerate_session_id=False)
        stack.callback(clickhouse.close)
        here = World(
            services,
            crew,
            proxy,
            kafka_proxy,
            emitted,
            Addresses(services.http_url, stack_at.coap_port),
            clickhouse,
        )
        await asyncio.gather(*(crew.start(name) for name in standing))
        await here.whole()
        yield here


def _environment(stack: Stack, health_port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(CODE),
        "PYTHONUNBUFFERED": "1",
        "HEADRACE_HEALTH__PORT": str(health_port),
        "HEADRACE_HTTP__PORT": str(stack.settings.http_port),
        "HEADRACE_HTTP__TOKENS": json.dumps({TOKEN: TENANT}),
        "HEADRACE_COAP__PORT": str(stack.settings.coap_port),
    }
