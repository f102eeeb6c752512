"""From a request to a message on the log."""

import asyncio

import pytest
from aiocoap import Code, Message
from prometheus_client import REGISTRY

from producers.coap.answer import Answer
from producers.coap.site import Bounds, Site
from producers.coap.thingsboard import ThingsBoard
from producers.coap.wire import decode
from producers.limits import ANYBODY, Limits, TenantLimits
from producers.metrics import Outcome
from producers.outbox import Outbox
from runtime.publisher import Broken, Overloaded, TooLarge, Undelivered
from tests.support.coap import NON, TELEMETRY, HeldOutbox, MemoryRemote, fleet, request
from tests.support.fakes import MemoryOutbox, told


def site(outbox: Outbox, *, rate: str = "", **limits: int) -> Site:
    """A site with one device, behind an outbox."""
    values = {"max_body": 1000, "retry_after": 5} | limits
    rates = Limits({ANYBODY: TenantLimits(device=rate)}, monotonic=lambda: 0.0)
    return Site({("api", "v1"): ThingsBoard(fleet())}, outbox, Bounds(**values), rates, now=lambda: 123)


def counted() -> dict[str, float]:
    """What the edge counted so far, by outcome."""
    return {
        outcome: REGISTRY.get_sample_value(
            "headrace_edge_messages_total", {"dialect": "thingsboard", "outcome": outcome}
        )
        or 0
        for outcome in Outcome
    }


@pytest.fixture
def outcomes():
    """Returns the outcomes that were counted since the test began."""
    before = counted()
    return lambda: {name: value - before[name] for name, value in counted().items() if value != before[name]}


class Told:
    """What the site answers."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()

    def answer(self, response: Answer | None) -> None:
        """See `producers.coap.messages.Reply`."""
        header = b"\x60%c\0\0"
        self.future.set_result(response and Message.decode(header % response[0] + response[1:]))

    def fail(self, error: BaseException) -> None:
        """See `producers.coap.messages.Reply`."""
        self.future.set_exception(error)


async def ask(door: Site, data: bytes, remote: MemoryRemote | None = None):
    """The site's answer to a datagram."""
    told = Told()
    door.respond(decode(data), remote or MemoryRemote(), told)
    return await told.future


async def test_accepted(outcomes):
    """What the outbox took is answered 2.01 and counted as accepted."""
    outbox = MemoryOutbox()
    answer = await ask(site(outbox), request(b'{"a":1}'))
    assert (answer.code, answer.payload) == (Code.CREATED, b"")
    assert [(message.body, message.received_at) for message in outbox.messages] == [(b'{"a":1}', 123)]
    assert outcomes() == {"accepted": 1}


@pytest.mark.parametrize(
    ("token", "admitted"),
    [pytest.param("TOKEN1", True, id="ours"), pytest.param("TOKEN2", False, id="nobody's")],
)
async def test_admitted(token, admitted):
    """An endpoint is said to be a device's once a device of ours speaks there, even if what it says is no use."""
    remote = MemoryRemote()
    await ask(site(MemoryOutbox()), request(b"no JSON", path=["api", "v1", token, "telemetry"]), remote)
    assert remote.is_admitted is admitted


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(["/api/v1/TOKEN1/telemetry"], id="with a slash"),
        pytest.param(["api/v1/TOKEN1/telemetry"], id="without"),
    ],
)
async def test_whole_path_in_one_option(path):
    """The whole path in one Uri-Path option is understood."""
    assert (await ask(site(MemoryOutbox()), request(path=path))).code == Code.CREATED


@pytest.mark.parametrize(
    "path", [[], ["api"], ["api", "v2", "T", "telemetry"], ["API", "v1", "T"], [".well-known"]]
)
async def test_other_paths(path, outcomes):
    """Other root paths are 4.04."""
    assert (await ask(site(MemoryOutbox()), request(path=path))).code == Code.NOT_FOUND
    assert outcomes() == {"unknown": 1}


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (Overloaded("full"), Code.SERVICE_UNAVAILABLE, "unavailable"),
        (Undelivered("timed out"), Code.SERVICE_UNAVAILABLE, "unavailable"),
        (Broken("fatal"), Code.SERVICE_UNAVAILABLE, "unavailable"),
        (TooLarge("large"), Code.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    ],
)
async def test_outbox_fails(error, code, outcome, outcomes):
    """When the log did not take it: 5.03 with Max-Age, or 4.13 where trying again would not help."""
    outbox = MemoryOutbox()
    outbox.fail_with = error
    answer = await ask(site(outbox), request())
    assert answer.code == code
    assert answer.opt.max_age == (5 if code == Code.SERVICE_UNAVAILABLE else None)
    assert outcomes() == {outcome: 1}


class Faulty(MemoryOutbox):
    """An outbox with a bug."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__()
        self._at_once = at_once

    def put(self, messages: object) -> asyncio.Future[None]:
        """Fail in a way that nobody foresaw."""
        if self._at_once:
            raise LookupError("a bug")
        return told(LookupError("a bug"))


@pytest.mark.parametrize("at_once", [True, False])
async def test_our_own_error(at_once, outcomes):
    """What nobody foresaw counts as failed, whenever it happens, and takes nobody's place."""
    door = site(Faulty(at_once=at_once), max_waiting=1)
    for _ in range(2):
        with pytest.raises(LookupError):
            await ask(door, request())
    assert outcomes() == {"failed": 2}


async def test_too_many_wait(outcomes):
    """Requests that wait for the log are bounded: 5.03 beyond."""
    answer = await ask(site(HeldOutbox(), max_waiting=0), request())
    assert (answer.code, answer.opt.max_age) == (Code.SERVICE_UNAVAILABLE, 5)
    assert outcomes() == {"unavailable": 1}


async def test_blocks(outcomes):
    """Blocks are answered 2.31 until the last one makes the message, which is counted once."""
    outbox, remote = MemoryOutbox(), MemoryRemote()
    door = site(outbox)
    body = b'{"a":"' + b"x" * 20 + b'"}'
    first = await ask(door, request(body[:16], block1=(0, True, 0)), remote)
    assert (first.code, tuple(first.opt.block1)) == (Code.CONTINUE, (0, True, 0))
    last = await ask(door, request(body[16:], block1=(1, False, 0), mid=2), remote)
    assert (last.code, tuple(last.opt.block1)) == (Code.CREATED, (1, False, 0))
    assert [message.body for message in outbox.messages] == [body]
    assert outcomes() == {"accepted": 1}


async def test_strangers_blocks_are_not_kept(outcomes):
    """Who may not speak is refused at the first block."""
    door = site(MemoryOutbox())
    answer = await ask(
        door, request(b"x" * 16, path=["api", "v1", "nobody", "telemetry"], block1=(0, True, 0))
    )
    assert answer.code == Code.UNAUTHORIZED
    assert len(door._bodies) == 0
    assert outcomes() == {"unauthorised": 1}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"if_none_match": True}, Code.BAD_OPTION),
        ({"oscore": b"x"}, Code.BAD_OPTION),
        ({"proxy_uri": "coap://x"}, Code.PROXYING_NOT_SUPPORTED),
        ({"proxy_scheme": "coap"}, Code.PROXYING_NOT_SUPPORTED),
    ],
)
async def test_critical_options(options, code, outcomes):
    """A critical option that is not understood is 4.02, a wish for a proxy 5.05."""
    assert (await ask(site(MemoryOutbox()), request(**options))).code == code
    assert outcomes() == {"malformed": 1}


@pytest.mark.parametrize(
    "options",
    [{"content_format": 60}, {"content_format": 50}, {"accept": 50}, {"observe": 0}, {"uri_query": ["a=b"]}],
)
async def test_options_that_do_not_matter(options):
    """Content-Format is never checked, elective options are ignored."""
    assert (await ask(site(MemoryOutbox()), request(**options))).code == Code.CREATED


async def test_rejected_non_confirmable():
    """A non-confirmable request with a critical option that is not understood is rejected in silence."""
    assert await ask(site(MemoryOutbox()), request(mtype=NON, if_none_match=True)) is None


async def test_path_that_is_not_utf_8(outcomes):
    """A path that is no text is 4.02."""
    data = request(path=["api"]).replace(b"api", b"ap\xff")
    assert (await ask(site(MemoryOutbox()), data)).code == Code.BAD_OPTION
    assert outcomes() == {"malformed": 1}


async def test_oversize(outcomes):
    """A body beyond the limit is 4.13 with Size1, and counted."""
    answer = await ask(site(MemoryOutbox()), request(b"x" * 1001, path=TELEMETRY))
    assert (answer.code, answer.opt.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 1000)
    assert outcomes() == {"too_large": 1}


async def test_rate_limit(outcomes):
    """A device over its limit hears 4.29 and when to try again; what it sent is neither parsed nor stored."""
    outbox = MemoryOutbox()
    door = site(outbox, rate="1:60")
    codes = [(await ask(door, request(b'{"a":1}'))).code, (await ask(door, request(b"no JSON"))).code]
    answer = await ask(door, request(b'{"a":2}'))
    assert [*codes, answer.code] == [Code.CREATED, Code.TOO_MANY_REQUESTS, Code.TOO_MANY_REQUESTS]
    assert answer.opt.max_age == 60
    assert len(outbox.messages) == 1
    assert outcomes() == {"accepted": 1, "limited": 2}


async def test_blocks_count_as_one_message(outcomes):
    """The blocks of a body take one token of the device's bucket together."""
    outbox = MemoryOutbox()
    door = site(outbox, rate="1:60")
    blocks = [request(b'{"a":1' + b" " * 10, block1=(0, True, 0)), request(b"}", block1=(1, False, 0))]
    codes = [(await ask(door, block)).code for block in blocks]
    assert codes == [Code.CONTINUE, Code.CREATED]
    assert outcomes() == {"accepted": 1}
