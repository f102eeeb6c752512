"""The whole way: vendors' clients, Kafka, Faust, ClickHouse, and kills in between."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import clickhouse_connect
import pytest
import pytest_asyncio
import yaml
from rich.console import Console

from headrace.demo import judge
from headrace.demo.run import register, send, settle
from headrace.stack.stack import Stack
from tests.support.commands import headrace
from tests.support.processes import stack_settings, until
from tests.support.registry import known

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDKs' own: deprecated parts of their HTTP layers.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

QUIET = Console(quiet=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="stack")
async def _stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings = stack_settings(tmp_path_factory.mktemp("stack"))
    async with Stack(settings) as stack:
        yield stack


@pytest.fixture(scope="module", name="clickhouse")
def _clickhouse(stack: Stack) -> Iterator[Any]:
    client = clickhouse_connect.get_client(dsn=stack.clickhouse_url, autogenerate_session_id=False)
    yield client
    client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="fleet")
async def _fleet(stack: Stack) -> None:
    """The example fleet, registered as an operator does, and known everywhere: a place is added as of now."""
    environment = os.environ | {"HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap}
    command = (sys.executable, "-m", "headrace", "devices", "apply", str(stack.state.fleet))
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    await known(stack, len(yaml.safe_load(stack.state.fleet.read_text())["devices"]))


async def _stored(clickhouse: Any, where: str, expected: int) -> list[tuple[Any, ...]]:
    """The readings that meet a condition, once there are as many as expected."""
    query = f"SELECT quantity, number, place, toUnixTimestamp64Micro(measured_at) FROM readings WHERE {where} ORDER BY ALL"

    async def arrived() -> bool:
        return len((await asyncio.to_thread(clickhouse.query, query)).result_rows) >= expected

    await until(arrived, within=60)
    return [tuple(row) for row in clickhouse.query(query).result_rows]


async def _post(url: str, body: Any, headers: Mapping[str, str]) -> int:
    """The status, asked again while the edge does not know the fleet yet."""
    authorised = dict(headers) | {"Authorization": "Bearer demo-token"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=authorised) as response,
    ):
        return response.status


async def test_the_graph_example_is_found_in_clickhouse(stack: Stack, clickhouse: Any, fleet: None):
    """The first request of Microsoft's page, host and token replaced, is answered 204 and stored."""
    item = {
        "deviceId": "contoso_9D6816",
        "sensorType": "occupancy",
        "boolValue": False,
        "timestamp": "2021-03-31T09:36:05.144Z",
    }
    url = f"{stack.http_url}/beta/workplace/sensorDevices/ingestTelemetry"

    status = await _post(url, {"telemetry": [item]}, {})

    assert status == 204
    assert await _stored(clickhouse, "device = 'contoso_9D6816'", 1) == [
        ("occupancy", 0.0, "Building 1 / Floor 3 / Room 301", 1_617_183_365_144_000),
    ]


async def test_the_digital_twins_example_is_found_in_clickhouse(stack: Stack, clickhouse: Any, fleet: None):
    """The request of Microsoft's page is answered 204, and its values are stored under the twin."""
    url = f"{stack.http_url}/digitaltwins/myTwinId/telemetry?api-version=2023-10-31"
    headers = {"Message-Id": "m-1", "Telemetry-Source-Time": "2026-11-21T20:51:19.705337Z"}

    async def accepted() -> bool:
        return await _post(url, {"temperature": 1}, headers) == 204

    await until(accepted)

    assert await _stored(clickhouse, "device = 'myTwinId'", 1) == [
        ("temperature", 1.0, "Building 2", 1_795_294_279_705_337),
    ]


def _coap(*arguments: str) -> str:
    """What coap-client prints; nothing when it was answered 2.01."""
    command = [*arguments[:1], "-v", "6", "-B", "10", "-m", "POST", "-t", "application/json", *arguments[1:]]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"temperature":42, "humidity":73}', {("temperature", 42.0), ("humidity", 73.0)}),
        (
            '{"ts":1451649600512,"values":{"temperature":42.5,"humidity":73.5}}',
            {("temperature", 42.5), ("humidity", 73.5)},
        ),
        (
            '[{"ts":1451649600513,"values":{"temperature":43}},{"ts":1451649601000,"values":{"temperature":44}}]',
            {("temperature", 43.0), ("temperature", 44.0)},
        ),
    ],
    ids=["flat", "timed", "several"],
)
async def test_the_coap_examples_are_found_in_clickhouse(
    stack: Stack, clickhouse: Any, fleet: None, body: str, expected: set[tuple[str, float]]
):
    """Each coap-client line of ThingsBoard's page is answered 2.01, and its values are stored."""
    url = f"{stack.coap_url}/api/v1/A1_TEST_TOKEN/telemetry"

    async def accepted() -> bool:
        return "2.01" in await asyncio.to_thread(_coap, "coap-client-notls", "-e", body, url)

    await until(accepted)

    numbers = ", ".join(str(number) for _, number in expected)
    rows = await _stored(clickhouse, f"device = 'thermometer-1' AND number IN ({numbers})", len(expected))
    assert {(quantity, number) for quantity, number, *_ in rows} == expected


async def test_the_certificate_example_is_found_in_clickhouse(stack: Stack, clickhouse: Any, fleet: None):
    """ThingsBoard's line with an X.509 certificate is answered 2.01 over DTLS, and its values are stored."""
    proof = ("-c", str(stack.pki.certificate("device")), "-j", str(stack.pki.private_key("device")))
    body = '{"temperature":42,"humidity":73}'
    url = f"{stack.coaps_url}/api/v1/telemetry"

    async def accepted() -> bool:
        return "2.01" in await asyncio.to_thread(_coap, "coap-client-openssl", *proof, "-e", body, url)

    await until(accepted)

    rows = await _stored(clickhouse, "device = 'thermometer-2'", 2)
    assert {(quantity, number, place) for quantity, number, place, _ in rows} == {
        ("temperature", 42.0, "Greenhouse"),
        ("humidity", 73.0, "Greenhouse"),
    }


async def test_a_trace_reaches_clickhouse(stack: Stack, clickhouse: Any, fleet: None):
    """The trace context of a request stands beside its message in ClickHouse."""
    url = f"{stack.http_url}/digitaltwins/myTwinId/telemetry?api-version=2023-10-31"
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=1",
    }
    query = "SELECT traceparent, tracestate FROM messages WHERE message_id = 'm-traced'"

    async def stored() -> bool:
        return bool((await asyncio.to_thread(clickhouse.query, query)).result_rows)

    async def accepted() -> bool:
        return await _post(url, {"temperature": 2}, {"Message-Id": "m-traced", **trace}) == 204

    await until(accepted)
    await until(stored)

    assert [tuple(trace.values())] == clickhouse.query(query).result_rows


async def test_a_kafka_that_hangs_is_never_success(stack: Stack, clickhouse: Any, fleet: None):
    """While the broker is stopped a device hears 5.03, within its patience; what it sends again is stored once."""
    url = f"{stack.coap_url}/api/v1/A1_TEST_TOKEN/telemetry"
    body = '{"ts":1451649600999,"values":{"stopped":1}}'
    kafka = stack.pid("kafka")

    async def accepted() -> bool:
        return "2.01" in await asyncio.to_thread(_coap, "coap-client-notls", "-e", body, url)

    os.kill(kafka, signal.SIGSTOP)
    try:
        refused = await asyncio.to_thread(_coap, "coap-client-notls", "-e", body, url)
    finally:
        os.kill(kafka, signal.SIGCONT)
    await until(accepted)
    await until(accepted)

    assert "5.03" in refused
    assert "2.01" not in refused
    assert [("stopped", 1.0, "Greenhouse", 1_451_649_600_999_000)] == await _stored(
        clickhouse, "quantity = 'stopped'", 1
    )


async def test_a_running_pipeline_is_verified(stack: Stack, clickhouse: Any):
    """While three fleets send and retry, and when they are done, what is stored is found to be in order."""
    run = "verified-"
    fleet = await register(stack, run)
    sending = asyncio.create_task(send(stack, fleet, 1500, QUIET))

    async def under_way() -> bool:
        return await asyncio.to_thread(judge.arrived, clickhouse, run) > 0

    await until(under_way, within=60)
    early = await headrace(stack, "verify", "--json")
    ledgers = await sending
    await settle(clickhouse, run, sum(ledger.accepted for ledger in ledgers.values()), QUIET)
    late = await headrace(stack, "verify", "--json")

    assert (0, 0) == (early.code, late.code), early.out + late.out


async def test_kills_in_mid_stream_lose_and_repeat_nothing(stack: Stack, clickhouse: Any):
    """Processor, sink and ClickHouse are killed while three fleets send and retry; the accepted set is stored exactly."""
    run = "kills-"
    messages = 6000
    fleet = await register(stack, run)
    sending = asyncio.create_task(send(stack, fleet, messages, QUIET))

    for turn, name in enumerate(("process", "sink", "clickhouse", "process", "sink")):

        async def under_way(share: float = (turn + 1) / 8) -> bool:
            try:
                return await asyncio.to_thread(judge.arrived, clickhouse, run) > share * messages / 2
            except clickhouse_connect.driver.exceptions.ClickHouseError:
                return False

        await until(under_way, within=60)
        killed = stack.pid(name)
        os.kill(killed, signal.SIGKILL)
        await stack.restarted(name, after_pid=killed)
    ledgers = await sending
    await settle(clickhouse, run, sum(ledger.accepted for ledger in ledgers.values()), QUIET)

    assert await asyncio.to_thread(judge.differences, clickhouse, run, ledgers) == []
    told = await headrace(stack, "verify", "--json")
    assert 0 == told.code, told.out


async def test_the_log_holds_what_every_process_did(stack: Stack):
    """Nothing that a process logged is a traceback."""
    for name in ("http", "coap", "process", "sink"):
        assert "Traceback" not in (stack.state.logs / f"{name}.log").read_text()
