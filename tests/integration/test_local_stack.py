"""The local stack on the real Kafka and the real ClickHouse engine."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.stack.errors import StackError
from headrace.stack.stack import Stack
from tests.support.processes import lives, stack_settings, until

TOPIC = "raw-graph"


def _produce(bootstrap: str, value: bytes) -> None:
    """Return when Kafka has acknowledged the record."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    producer.produce(TOPIC, value, partition=0, on_delivery=lambda error, _: failures.append(error))
    producer.flush(30)
    assert failures == [None]


def _records(bootstrap: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        return [message.value() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


async def test_kafka_keeps_its_data(tmp_path: Path):
    """What was acknowledged is there after a stop and a start, and after kill -9."""
    settings = stack_settings(tmp_path)
    async with Stack(settings, services=["kafka"]) as stack:
        await stack.create_topics()
        await asyncio.to_thread(_produce, stack.bootstrap, b"before the stop")

    async with Stack(settings, services=["kafka"]) as stack:
        await asyncio.to_thread(_produce, stack.bootstrap, b"before the kill")
        killed = stack.pid("kafka")
        os.kill(killed, signal.SIGKILL)
        await stack.restarted("kafka", after_pid=killed)

        assert await asyncio.to_thread(_records, stack.bootstrap, 2) == [
            b"before the stop",
            b"before the kill",
        ]

    async with Stack(settings, services=["kafka"], fresh=True) as stack:
        await stack.create_topics()
        await asyncio.to_thread(_produce, stack.bootstrap, b"afresh")

        assert await asyncio.to_thread(_records, stack.bootstrap, 1) == [b"afresh"]


async def test_a_crash_shows_the_end_of_the_log(tmp_path: Path):
    """A service that is killed is back in a new process, and the report has the end of its log."""
    reports: list[str] = []
    async with Stack(stack_settings(tmp_path), services=["clickhouse"], report=reports.append) as stack:
        killed = stack.pid("clickhouse")
        os.kill(killed, signal.SIGKILL)

        assert killed != await stack.restarted("clickhouse", after_pid=killed)

    assert f"clickhouse (pid {killed}) was killed by SIGKILL" in "\n".join(reports)
    assert "    Ready: ClickHouse" in "\n".join(reports)


async def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path):
    """A port that is taken is named with the variable that moves it, and nothing was started."""
    settings = stack_settings(tmp_path)
    message = r"ClickHouse.* is taken .*HEADRACE_STACK__CLICKHOUSE_PORT"
    with (
        socket.create_server(("127.0.0.1", settings.clickhouse_port)),
        pytest.raises(StackError, match=message),
    ):
        await Stack(settings).__aenter__()

    assert not (tmp_path / "logs").exists()


async def test_a_state_folder_is_for_one_stack(tmp_path: Path):
    """A second stack on the same folder is told the pid of the first."""
    async with Stack(stack_settings(tmp_path), services=[]):
        with pytest.raises(StackError, match=f"already running in {tmp_path}, pid {os.getpid()}"):
            async with Stack(stack_settings(tmp_path), services=[]):
                pass


async def test_the_callers_own_servers_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the environment names a Kafka and a ClickHouse, none of our own is started."""
    monkeypatch.setenv("HEADRACE_KAFKA__BOOTSTRAP", "kafka.example:9092")
    monkeypatch.setenv("HEADRACE_CLICKHOUSE__URL", "https://clickhouse.example:8443")

    stack = Stack(stack_settings(tmp_path))

    assert stack.services == ("http", "coap", "process", "sink")
    assert (stack.bootstrap, stack.clickhouse_url) == (
        "kafka.example:9092",
        "https://clickhouse.example:8443",
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left(tmp_path: Path, signum: signal.Signals):
    """A stack that is told to stop, or is killed itself, leaves no process, and the next one starts at once."""
    settings = stack_settings(tmp_path)
    program = f"""
import asyncio, os, signal
from headrace.stack.settings import StackSettings
from headrace.stack.stack import Stack
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    settings = StackSettings.model_validate_json({settings.model_dump_json()!r})
    async with Stack(settings, services=["kafka", "clickhouse"]) as stack:
        print(os.getpid(), stack.pid("kafka"), stack.pid("clickhouse"), flush=True)
        await stack.wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert [lives(pid) for pid in pids] == [True] * 3

    process.send_signal(signum)
    await process.wait()
    if signum == signal.SIGKILL:
        await until(lambda: not any(map(lives, pids)))

    assert [lives(pid) for pid in pids] == [False] * 3
    async with Stack(settings, services=["clickhouse"]) as stack:
        assert lives(stack.pid("clickhouse"))
