import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.stack.pki import ensure_pki
from processors.app import _pump, build
from processors.settings import ProcessSettings
from runtime.publisher import Broken
from runtime.registry import DeviceTable
from runtime.settings import KafkaSettings


class FakeStream:
    """Delivers events, then says so and waits for ever, as a stream does."""

    def __init__(self, count: int) -> None:
        self.delivered = asyncio.Event()
        self.acknowledged = []
        self._events = [
            SimpleNamespace(message=SimpleNamespace(tp="tp", offset=n, generation_id=1)) for n in range(count)
        ]

    async def events(self):
        """See `faust.Stream.events`."""
        for event in self._events:
            yield event
        self.delivered.set()
        await asyncio.Event().wait()

    async def ack(self, event):
        """See `faust.Stream.ack`."""
        self.acknowledged.append(event.message.offset)


class FakeRefinery:
    """Each chunk is done when the test says so."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.outcomes = outcomes
        self.taken = []

    async def take(self, chunk):
        """See `processors.refinery.Refinery`."""
        self.taken.append(chunk.offset)
        return self.outcomes[chunk.offset]


@pytest.fixture(name="processed")
def _processed():
    """The offsets that may be committed."""
    return []


@pytest.fixture(name="app")
def _app(processed):
    """An app whose consumer remembers."""
    return SimpleNamespace(consumer=SimpleNamespace(processed=lambda _, offset, __: processed.append(offset)))


def done():
    """A chunk whose records are all acknowledged."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def failed():
    """A chunk that could not be delivered."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(Broken("gone"))
    return future


async def running(app, stream, refinery, in_flight=4):
    """Run until everything is delivered, then stop."""
    task = asyncio.create_task(_pump(app, stream, refinery, in_flight=in_flight))
    await asyncio.wait_for(stream.delivered.wait(), 10)
    await asyncio.wait([task], timeout=0)
    task.cancel()
    await asyncio.wait([task])


async def test_chunks_are_processed_in_order(app, processed):
    """A chunk that is acknowledged early waits for those before it."""
    stream, late = FakeStream(3), asyncio.get_running_loop().create_future()
    await running(app, stream, FakeRefinery([done(), late, done()]))

    assert ([0], [0]) == (processed, stream.acknowledged)


async def test_a_dropped_chunk_is_let_go(app, processed):
    """A chunk that led to nothing is acknowledged, and commits nothing."""
    stream = FakeStream(2)
    await running(app, stream, FakeRefinery([None, done()]))

    assert ([1], [0, 1]) == (processed, stream.acknowledged)


async def test_only_so_many_chunks_are_on_their_way(app):
    """Memory is bounded: with nothing acknowledged, the next chunk waits."""
    stream = FakeStream(10)
    refinery = FakeRefinery([asyncio.get_running_loop().create_future() for _ in range(10)])
    task = asyncio.create_task(_pump(app, stream, refinery, in_flight=2))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    # One is waited for, two are queued, one waits for a place in the queue.
    assert [0, 1, 2, 3] == refinery.taken


async def test_a_failed_delivery_fails_the_agent(app, processed):
    """If one block cannot be delivered the agent fails, and neither it nor what comes after it may be committed."""
    stream = FakeStream(3)

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(
            _pump(app, stream, FakeRefinery([done(), failed(), done()]), in_flight=4), timeout=10
        )

    assert raised.group_contains(Broken)
    assert [0] == processed


async def test_a_failed_chunk_fails_the_agent(app):
    """What goes wrong in a chunk itself, such as a window that cannot be rebuilt, reaches the agent too."""

    class Failing(FakeRefinery):
        async def take(self, chunk):
            raise RuntimeError("no window")

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(_pump(app, FakeStream(1), Failing([]), in_flight=4), timeout=10)

    assert raised.group_contains(RuntimeError, match="no window")


def test_a_failed_agent_ends_the_process():
    """The agent's supervisor does not start it again; and nothing is waited for at the end."""
    conf = build(KafkaSettings(), ProcessSettings(), DeviceTable()).conf

    assert ("CrashingSupervisor", False) == (conf.agent_supervisor.__name__, conf.stream_wait_empty)


def test_every_broker_is_used():
    """A list of brokers stays a list, IPv6 addresses among them."""
    kafka = KafkaSettings(bootstrap="one:9092, [::1]:9093")

    assert ["kafka://one:9092", "kafka://[::1]:9093"] == [
        str(url) for url in build(kafka, ProcessSettings(), DeviceTable()).conf.broker
    ]


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "PLAIN"), ("SASL_SSL", "SCRAM-SHA-256")],
)
def test_faust_proves_the_same_identity(protocol, mechanism):
    """Faust's own Kafka client logs in as every other client of ours does."""
    kafka = KafkaSettings(
        security_protocol=protocol, sasl_mechanism=mechanism, sasl_username="me", sasl_password="secret"
    )
    credentials = build(kafka, ProcessSettings(), DeviceTable()).conf.broker_credentials

    assert (protocol, mechanism, "me", "secret") == (
        credentials.protocol.value,
        credentials.mechanism.value,
        credentials.username,
        credentials.password,
    )


def test_faust_checks_the_brokers_certificate(tmp_path):
    """With TLS, a broker has to show a certificate of the authority that the settings name, for its own name."""
    pki = ensure_pki(tmp_path)
    kafka = KafkaSettings(security_protocol="SSL", ca_location=str(pki.authority))
    context = build(kafka, ProcessSettings(), DeviceTable()).conf.broker_credentials.context

    assert (True, ssl.CERT_REQUIRED, 1) == (
        context.check_hostname,
        context.verify_mode,
        context.cert_store_stats()["x509_ca"],
    )
