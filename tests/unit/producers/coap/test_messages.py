"""The message layer: acknowledgements, retransmissions, answers."""

import asyncio
import logging
import tracemalloc

import pytest
from aiocoap import Code

from producers.coap.answer import answer
from producers.coap.exchanges import Exchanges
from producers.coap.messages import MessageLayer, Reply
from producers.coap.remote import Remote
from producers.coap.wire import Datagram
from producers.metrics import DROPPED
from tests.support.coap import ACK, CON, NON, RST, MemoryRemote, acknowledge, request
from tests.support.counts import counts
from tests.support.processes import until

CREATED = answer(Code.CREATED)
PATIENCE = 10
"""Seconds until an empty acknowledgement: longer than a busy machine holds up a test."""


class Handler:
    """Answers 2.01 once it is allowed to."""

    def __init__(self, *, held: bool = False) -> None:
        self.requests: list[Datagram] = []
        self._held = held
        self._replies: list[Reply] = []

    def __call__(self, datagram: Datagram, remote: Remote, reply: Reply) -> None:
        """See `producers.coap.messages.Handler`."""
        self.requests.append(datagram)
        self._replies.append(reply)
        if not self._held:
            self.release()

    def release(self) -> None:
        """Answer what was held."""
        self._held = False
        while self._replies:
            self._replies.pop(0).answer(CREATED)


async def test_piggybacked_answer():
    """A confirmable request is acknowledged by its answer."""
    remote = MemoryRemote()
    MessageLayer(Handler(), piggyback_timeout=PATIENCE).receive(remote, request(mid=7, token=b"abc"))
    answer = await remote.next()
    assert (answer.mtype, answer.code, answer.mid, answer.token) == (ACK, Code.CREATED, 7, b"abc")


async def test_non_confirmable():
    """A non-confirmable request gets a non-confirmable answer under a Message ID of ours."""
    remote = MemoryRemote()
    MessageLayer(Handler(), piggyback_timeout=PATIENCE).receive(remote, request(mtype=NON, token=b"abc"))
    answer = await remote.next()
    assert (answer.mtype, answer.code, answer.token) == (NON, Code.CREATED, b"abc")


async def test_retransmission_gets_the_stored_answer():
    """A request that comes again is answered with the same bytes, and handled once."""
    remote, handler = MemoryRemote(), Handler()
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request())
    first = await remote.mail.get()
    layer.receive(remote, request())
    assert await remote.mail.get() == first
    assert len(handler.requests) == 1


async def test_retransmission_while_the_handler_runs():
    """A request that comes again before its answer is known stays unanswered, and is answered once."""
    remote, handler = MemoryRemote(), Handler(held=True)
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request(mid=7))
    layer.receive(remote, request(mid=7))
    handler.release()
    assert (await remote.next()).code == Code.CREATED
    assert remote.mail.empty()
    assert len(handler.requests) == 1
    layer.receive(remote, request(mid=7))
    assert (await remote.next()).code == Code.CREATED


async def test_repeated_non_confirmable():
    """A non-confirmable request that comes again is ignored."""
    remote, handler = MemoryRemote(), Handler()
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request(mtype=NON))
    await remote.next()
    layer.receive(remote, request(mtype=NON))
    layer.receive(remote, request(mtype=NON, mid=2))
    await remote.next()
    assert len(handler.requests) == 2


async def test_reused_message_id():
    """A restarted device that uses a Message ID again has its new message handled."""
    remote, handler = MemoryRemote(), Handler()
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    for body in (b"old", b"new"):
        layer.receive(remote, request(body, mid=7, token=body))
        assert (await remote.next()).token == body
    assert [datagram.payload for datagram in handler.requests] == [b"old", b"new"]


async def test_separate_answer():
    """A handler that takes long: empty acknowledgement, then a confirmable answer, repeated until acknowledged."""
    remote, handler = MemoryRemote(), Handler(held=True)
    exchanges = Exchanges(ack_timeout=0.01)
    layer = MessageLayer(handler, piggyback_timeout=0, exchanges=exchanges)
    layer.receive(remote, request(mid=7, token=b"abc"))
    empty = await remote.next()
    assert (empty.mtype, empty.code, empty.mid) == (ACK, Code.EMPTY, 7)
    layer.receive(remote, request(mid=7, token=b"abc"))
    assert (await remote.next()).code == Code.EMPTY
    handler.release()
    answer = await remote.next()
    assert (answer.mtype, answer.code, answer.token) == (CON, Code.CREATED, b"abc")
    assert (await remote.next()).mid == answer.mid
    layer.receive(remote, acknowledge(answer))
    assert len(exchanges) == 0
    assert len(handler.requests) == 1


async def test_separate_answer_is_given_up():
    """A device that never acknowledges is left alone after four repetitions."""
    remote, handler = MemoryRemote(), Handler(held=True)
    exchanges = Exchanges(ack_timeout=0.001)
    MessageLayer(handler, piggyback_timeout=0, exchanges=exchanges).receive(remote, request())
    await remote.next()
    handler.release()
    for _ in range(5):
        await remote.next()
    await until(lambda: len(exchanges) == 0)
    assert remote.mail.empty()


async def test_too_many_unacknowledged_answers():
    """Beyond the bound answers are sent once and not repeated."""
    remote, handler = MemoryRemote(), Handler(held=True)
    layer = MessageLayer(handler, piggyback_timeout=0, exchanges=Exchanges(limit=0))
    layer.receive(remote, request())
    await remote.next()
    handler.release()
    assert (await remote.next()).mtype == NON


async def test_one_token_for_all_requests():
    """Two requests with one token get each its own answer: no answer acknowledges the other request."""
    remote, handler = MemoryRemote(), Handler(held=True)
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request(b"1", mid=1, token=b""))
    layer.receive(remote, request(b"2", mid=2, token=b""))
    handler.release()
    assert {(await remote.next()).mid, (await remote.next()).mid} == {1, 2}
    assert len(handler.requests) == 2


@pytest.mark.parametrize("mtype", [CON, NON])
async def test_no_response(mtype):
    """A client that does not want to hear of success hears no more than the acknowledgement."""
    remote, handler = MemoryRemote(), Handler()
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request(mtype=mtype, no_response=2))
    layer.receive(remote, request(mid=2))
    answer = await remote.next()
    assert answer.code == (Code.EMPTY if mtype == CON else Code.CREATED)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("40000007", id="ping"),
        pytest.param("40450007", id="a response that nobody asked for"),
        pytest.param("49020007", id="malformed"),
    ],
)
async def test_reset(data):
    """A confirmable message that makes no sense is reset."""
    remote = MemoryRemote()
    MessageLayer(Handler(), piggyback_timeout=PATIENCE).receive(remote, bytes.fromhex(data))
    answer = await remote.next()
    assert (answer.mtype, answer.code, answer.mid) == (RST, Code.EMPTY, 7)


@pytest.mark.parametrize(
    "data", ["", "4002", "00020007", "80020007", "50000007", "59020007", "60020007", "70000007"]
)
async def test_ignored(data):
    """What cannot be answered is ignored: other versions, strays, malformed messages that are not confirmable."""
    remote = MemoryRemote()
    MessageLayer(Handler(), piggyback_timeout=PATIENCE).receive(remote, bytes.fromhex(data))
    assert remote.mail.empty()


async def test_unexpected_error(capsys, caplog):
    """A handler that fails is logged, its device hears 5.00, and the next request is served."""

    def handler(datagram: Datagram, remote: Remote, reply: Reply) -> None:
        if datagram.payload == b"at once":
            raise ZeroDivisionError
        if datagram.payload == b"later":
            reply.fail(OverflowError())
        else:
            reply.answer(CREATED)

    remote = MemoryRemote()
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    with caplog.at_level(logging.ERROR):
        for mid, body in enumerate([b"at once", b"later"]):
            layer.receive(remote, request(body, mid=mid))
            assert (await remote.next()).code == Code.INTERNAL_SERVER_ERROR
    logged = caplog.text + capsys.readouterr().out
    assert "ZeroDivisionError" in logged
    assert "OverflowError" in logged
    layer.receive(remote, request(b"good", mid=2))
    assert (await remote.next()).code == Code.CREATED


async def test_close_lets_requests_end():
    """At the end running requests are answered, and new ones are left to the successor."""
    remote, handler = MemoryRemote(), Handler(held=True)
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request(mid=1))
    closing = asyncio.create_task(layer.close(10))
    await asyncio.sleep(0)
    layer.receive(remote, request(mid=2))
    assert not closing.done()
    handler.release()
    await closing
    assert (await remote.next()).mid == 1
    assert remote.mail.empty()


async def test_close_is_patient_for_a_while_only():
    """Requests that do not end in time are given up without an answer."""
    remote, handler = MemoryRemote(), Handler(held=True)
    layer = MessageLayer(handler, piggyback_timeout=PATIENCE)
    layer.receive(remote, request())
    await layer.close(0)
    handler.release()
    assert remote.mail.empty()


async def test_what_a_waiting_request_keeps():
    """A request that waits for its answer keeps its payload once, and not the datagram beside it."""
    layer, remote, size, number = MessageLayer(Handler(held=True)), MemoryRemote(), 60_000, 100
    tracemalloc.start()
    try:
        for mid in range(number):
            layer.receive(remote, request(b"x" * size, mid=mid))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number * size < kept < 1.5 * number * size
    await layer.close(0)


async def test_what_becomes_no_request_is_counted():
    """What is no message, and what comes again, count as dropped."""
    dropped = counts(DROPPED)
    layer, remote = MessageLayer(Handler(), piggyback_timeout=PATIENCE), MemoryRemote()
    for datagram in (b"", b"\x40\x02\x12", b"\x40\x02\x12\x34\xff", request(), request(), request()):
        layer.receive(remote, datagram)
    await layer.close(10)
    assert dropped() == {("malformed",): 3, ("duplicate",): 2}
