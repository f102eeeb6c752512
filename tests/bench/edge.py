"""An edge under load: a process of its own, a broker that costs it nothing, and the peers that stand beside it."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256

from confluent_kafka import Producer

from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key
from tests.bench.fleet import TENANTS, access_token, bearer
from tests.bench.line import LOAD, Clock, Figure
from tests.support.broker import broker
from tests.support.processes import free_ports

TENANT = TENANTS[0]
TOKEN = bearer(TENANT)
WARM, SECONDS = 0.5, 2.0
"""How long a server is loaded before it is measured, and while."""

START = 30.0


@contextlib.contextmanager
def kafka(devices: Sequence[str]) -> Iterator[str]:
    """The address of a broker that knows these devices."""
    with broker(DEVICES) as started:
        producer = Producer({"bootstrap.servers": started.kafka.bootstrap})
        for name in devices:
            known = Device(
                tenant=TENANT,
                device=name,
                token_sha256s=[sha256(access_token(name).encode()).hexdigest()],
            )
            producer.produce(DEVICES, encode(known), key(TENANT, name))
        assert producer.flush(START) == 0
        yield started.kafka.bootstrap


@contextlib.contextmanager
def edge(protocol: str, bootstrap: str, **more: str) -> Iterator[tuple[int, int]]:
    """Port and process id of `headrace http` or `headrace coap`, ready."""
    port, dtls, health = free_ports(3)
    name = protocol.upper()
    settings = {
        "HEADRACE_KAFKA__BOOTSTRAP": bootstrap,
        f"HEADRACE_{name}__PORT": str(port),
        "HEADRACE_COAP__DTLS_PORT": str(dtls),
        "HEADRACE_HTTP__TOKENS": f'{{"{TOKEN}": "{TENANT}"}}',
        "HEADRACE_HEALTH__PORT": str(health),
        "HEADRACE_LOG__LEVEL": "error",
        **more,
    }
    with _process([sys.executable, "-m", "headrace", protocol], settings) as pid:
        _wait(lambda: _answers(f"http://127.0.0.1:{health}/ready"))
        yield port, pid


@contextlib.contextmanager
def peer(name: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server of `tests.bench.peers`, ready."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.peers", name, str(port), *arguments]
    with _process(command, {}, stdout=subprocess.PIPE) as pid:
        yield port, pid


@contextlib.contextmanager
def program(*command: str, port: int) -> Iterator[tuple[int, int]]:
    """Port and process id of another server; its first answer tells that it is ready."""
    with _process(command, {}) as pid:
        yield port, pid


@contextlib.contextmanager
def _process(
    command: Sequence[str], settings: Mapping[str, str], *, stdout: int = subprocess.DEVNULL
) -> Iterator[int]:
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=stdout) as process:
        try:
            if process.stdout is not None and not process.stdout.readline():
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield process.pid
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - on this machine
            return bool(response.status == 200)
    except OSError:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("an edge is not ready")
        time.sleep(0.05)


def under_load(load: Callable[[float], int], pid: int, *, each: int = 1) -> Figure:
    """What a server's process took for what it answered, once warm.

    Args:
        load: sends for so many seconds, waits for what is under way, and returns how many were answered.
        pid: the server's process.
        each: units in a request.

    """
    load(WARM)
    clock, sender = Clock(pid), Clock()
    work = load(SECONDS) * each
    return clock.figure(work, **{LOAD: sender.cpu})
