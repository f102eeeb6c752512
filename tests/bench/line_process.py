"""The line `process`: raw messages to blocks, beside the same functions in a bare loop, and beside stock Faust, quixstreams and bytewax."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import faust
import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.stack.stack import Stack
from processors.app import GARBAGE
from processors.dedupe import Window
from processors.refine import RawRecord, Source, blocks, refine
from processors.settings import ProcessSettings
from runtime.settings import KafkaSettings
from schemas.raw_record import read
from schemas.topics import READINGS
from tests.bench.line import OURS, Candidate, Clock, Figure, Result, apart, play
from tests.bench.peer import OUT, Work, refined
from tests.bench.raw_log import PARTITIONS, RawLog, create
from tests.bench.rebuild import TOPIC
from tests.support.processes import free_ports, stack_settings

DEVICES, REMEMBERED, BACKLOG = 100_000, 250_000, 75_000
"""Registered; and of each partition."""
PEER_MESSAGES = 20_000
"""Of a partition: what a peer is given to do."""
CHUNK = ProcessSettings().chunk_messages
"""As many as a processor takes at once."""
PEERS = ("quixstreams", "bytewax")
"""Each `peer_<name>.py`, run with the packages of `peers.lock`, that are not Headrace's."""
PEERS_PYTHON = Path(".venv/peers/bin/python")

_DONE = re.compile(r"^headrace_process_messages_total\S* (\S+)", re.MULTILINE)


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """Play the line."""
    with tempfile.TemporaryDirectory() as folder:
        yield asyncio.run(_played(Path(folder), rounds, said))


async def _played(folder: Path, rounds: int, said: Callable[[str], None]) -> Result:
    async with Stack(stack_settings(folder, partitions=PARTITIONS), services=("kafka",), fresh=True) as stack:
        await stack.create_topics()
        log = RawLog(bootstrap=stack.bootstrap, devices=DEVICES, remembered=REMEMBERED, backlog=BACKLOG)
        create(stack.bootstrap, OUT)
        await asyncio.to_thread(log.fill, said)
        figures = await asyncio.to_thread(play, _candidates(log, said), rounds, said)
    ratios = {"bare loop": 0.7, "stock Faust": 8.0} | dict.fromkeys(PEERS, 2.0)
    return Result("process", "messages", figures, least=60_000, ratios=ratios)


def _candidates(log: RawLog, said: Callable[[str], None]) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {
        OURS: lambda: processor(log),
        "bare loop": lambda: apart(bare_loop, log),
        "stock Faust": lambda: apart(stock_faust, log),
    }
    if PEERS_PYTHON.exists():
        return found | {name: partial(peer, name, log) for name in PEERS}
    said(f"{' and '.join(PEERS)} are left out: `make peers` sets them up")
    return found


def processor(log: RawLog) -> Figure:
    """Our own process, from its first message to its last, its window full and its registry loaded before."""
    group, (port,) = f"bench-{time.monotonic_ns()}", free_ports(1)
    log.commit(group)
    environment = os.environ | {
        "HEADRACE_KAFKA__BOOTSTRAP": log.bootstrap,
        "HEADRACE_PROCESS__GROUP": group,
        "HEADRACE_HEALTH__PORT": str(port),
        "HEADRACE_LOG__LEVEL": "warning",
    }
    with subprocess.Popen([sys.executable, "-m", "headrace", "process"], env=environment) as running:
        try:
            first = _processed(running, port, 1)
            clock = Clock(running.pid)
            return clock.figure(_processed(running, port, log.waiting) - first)
        finally:
            running.terminate()
            running.wait(60)


def _processed(running: subprocess.Popen[bytes], port: int, messages: int) -> int:
    """How many messages the processor has processed, as soon as there are so many."""
    deadline = time.monotonic() + 300
    while running.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                done = sum(map(float, _DONE.findall(answer.read().decode())))
        except OSError:
            done = 0
        if done >= messages:
            return int(done)
        # Not more often: an answer takes 10 ms of what is measured.
        time.sleep(0.5)
    raise RuntimeError("the processor ended, or does not get on")


def bare_loop(log: RawLog) -> Figure:
    """Consume, the pure functions, produce: nothing else, no group, no commit, no order kept over a failure."""
    gc.set_threshold(*GARBAGE)
    options = KafkaSettings(bootstrap=log.bootstrap).consuming(queued_bytes=64 << 20)
    consumer = Consumer(options | {"group.id": "bench-unused"})
    producer = Producer({"bootstrap.servers": log.bootstrap, "compression.type": "lz4", "linger.ms": 5})
    devices, windows = log.table(), [_full(log) for _ in range(PARTITIONS)]
    consumer.assign([TopicPartition(TOPIC, number, log.remembered) for number in range(PARTITIONS)])
    # The first blocks make libraries load what they need.
    done, clock = _chunk(consumer, producer, devices, windows), Clock()
    begun = done
    while done < log.waiting:
        done += _chunk(consumer, producer, devices, windows)
    producer.flush()
    return clock.figure(done - begun)


def _full(log: RawLog) -> Window:
    window = Window(seconds=3600)
    window.advance(time.time_ns() // 1_000_000)
    window.remember_all(memoryview(log.identities()))
    return window


class _Record:
    """A message of confluent-kafka as the pure functions read it."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, message: Any) -> None:
        self.offset, self.timestamp = message.offset(), message.timestamp()[1]
        self.key, self.value, self.headers = message.key(), message.value(), message.headers() or ()


def _chunk(consumer: Consumer, producer: Producer, devices: Any, windows: list[Window]) -> int:
    messages = consumer.consume(CHUNK, 1.0)
    runs: dict[int, list[RawRecord]] = {}
    for message in messages:
        runs.setdefault(message.partition() or 0, []).append(_Record(message))
    for partition, records in runs.items():
        source = Source(dialect="thingsboard", topic=TOPIC, topic_id="bench", partition=partition)
        rows = refine(records, source, windows[partition], devices)
        for span, data in blocks(rows, source, time=0):
            # Of no raw topic that exists: nobody takes them for what a processor emitted.
            producer.produce(READINGS, data, partition=partition, headers=span.headers())
    producer.poll(0)
    return len(messages)


def stock_faust(log: RawLog) -> Figure:
    """A Faust app as its documentation has it: an event a message, a table of identities, one send a message."""
    folder = tempfile.mkdtemp()
    asyncio.set_event_loop(asyncio.new_event_loop())
    app = faust.App(
        f"bench-faust-{time.monotonic_ns()}",
        broker=f"kafka://{log.bootstrap}",
        store="memory://",
        datadir=folder,
        topic_partitions=PARTITIONS,
        stream_recovery_delay=0.0,
        web_enabled=False,
    )
    log.commit(app.conf.id)
    raw = app.topic(TOPIC, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
    out = app.topic(OUT, partitions=PARTITIONS)
    seen: Any = app.Table("seen", default=bool)
    devices, wanted, clocks = log.table(), PARTITIONS * PEER_MESSAGES, list[Clock]()
    finished: asyncio.Future[Figure] = app.loop.create_future()

    @app.agent(raw)
    async def agent(stream: Any) -> None:
        done = 0
        async for data in stream:
            message = read(data)
            identity = message.identity().hex()
            if not seen[identity]:
                seen[identity] = True
                await out.send(key=message.device, value=refined(message, devices))
            done += 1
            if done == CHUNK:
                clocks.append(Clock())
            if done == wanted:
                finished.set_result(clocks[0].figure(done - CHUNK))

    async def run() -> Figure:
        await app.start()
        # This process ends with its answer: nothing of the app has to be stopped.
        return await finished

    return app.loop.run_until_complete(run())


def peer(name: str, log: RawLog) -> Figure:
    """A peer with packages of its own, by its own account."""
    group = f"bench-{name}-{time.monotonic_ns()}"
    log.commit(group)
    work = Work(log.bootstrap, group, log.remembered, CHUNK, PARTITIONS * PEER_MESSAGES)
    command = [PEERS_PYTHON, "-m", f"tests.bench.peer_{name}", *map(str, work)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=300, check=True)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Figure)
