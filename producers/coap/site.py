"""The site: from a CoAP request to one message on the log, and to the answer that says so."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiocoap import Code, Message
from aiocoap.numbers import OptionNumber

from producers.coap.blockwise import Bodies
from producers.coap.dialect import Arrival, Dialect
from producers.coap.refusal import Refused
from producers.coap.remote import Remote
from producers.coap.wire import Datagram, Type
from producers.limits import Limits
from producers.metrics import Outcome, count, observe
from producers.outbox import Outbox
from runtime.publisher import PublishError, TooLarge
from schemas.device import Device
from schemas.raw_message import RawMessage

MAX_WAITING = 10_000
"""Requests that may wait for Kafka at once; the publisher bounds their bytes, this what we keep beside them."""

_UNDERSTOOD: Mapping[int, range] = {
    OptionNumber.URI_HOST: range(1, 256),
    OptionNumber.URI_PORT: range(3),
    OptionNumber.URI_PATH: range(256),
    OptionNumber.URI_QUERY: range(256),
    OptionNumber.ACCEPT: range(3),
    OptionNumber.BLOCK1: range(4),
    OptionNumber.BLOCK2: range(4),
}
"""The critical options, and how many bytes each may have (RFC 7252, section 5.10; RFC 7959, section 2.1)."""

_REPEATABLE = frozenset({OptionNumber.URI_PATH, OptionNumber.URI_QUERY})
_PROXY = frozenset({OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME})
_CRITICAL = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken, and what is said beyond it."""

    max_body: int
    retry_after: int
    """Seconds."""
    max_waiting: int = MAX_WAITING


class Site:
    """Every dialect of this edge behind one door.

    Args:
        dialects: by root path.
        outbox: what it put there is accepted.
        bounds: see there.
        limits: how often a device and its tenant may speak.
        clock: seconds that only grow.
        now: microseconds since 1970, UTC.

    """

    def __init__(
        self,
        dialects: Mapping[tuple[str, ...], Dialect],
        outbox: Outbox,
        bounds: Bounds,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._dialects = dialects
        self._outbox = outbox
        self._bounds = bounds
        self._limits = limits
        self._clock = clock
        self._now = now
        self._bodies = Bodies(bounds.max_body, clock)
        self._waiting = 0
        # A request for no dialect at all counts for the first one: somebody has to.
        self._nobody = next(iter(dialects.values())).name

    @property
    def waiting(self) -> int:
        """Requests that wait for Kafka."""
        return self._waiting

    @property
    def body_bytes(self) -> int:
        """What is kept of bodies whose last block is to come."""
        return self._bodies.size

    async def respond(self, request: Datagram, remote: Remote) -> Message | None:
        """Answer a request, and count its message once; a block that is not the last is no message yet."""
        started = self._clock()
        name = self._nobody
        outcome: Outcome | None = Outcome.FAILED  # what is left of an unexpected error
        try:
            dialect, path = self._route(request)
            name = dialect.name
            response, outcome = await self._post(dialect, path, request, remote)
        except Refused as refused:
            outcome = refused.outcome
            response = refused.answer()
            if refused.code == Code.BAD_OPTION and request.type is Type.NON:
                return None  # RFC 7252, section 5.4.1: silently
        finally:
            if outcome is not None:
                count(name, outcome)
                observe(name, self._clock() - started)
        return response

    def _route(self, request: Datagram) -> tuple[Dialect, Sequence[str]]:
        _refuse_options(request)
        path = _path(request)
        for root, dialect in self._dialects.items():
            if path[: len(root)] == root:
                return dialect, path[len(root) :]
        raise Refused(Code.NOT_FOUND, Outcome.UNKNOWN)

    async def _post(
        self, dialect: Dialect, path: Sequence[str], request: Datagram, remote: Remote
    ) -> tuple[Message, Outcome | None]:
        device = dialect.admit(Code(request.code), path, remote.proof)
        remote.admitted()
        body = self._bodies.feed(remote.key, request)
        if body is None:
            return _about_block(Message(code=Code.CONTINUE), request), None
        self._check_rate(device)
        arrival = Arrival(
            path=path,
            endpoint=remote.endpoint,
            message_id=request.message_id,
            token=request.token,
            body=body,
            received_at=self._now(),
        )
        await self._store(dialect.read(device, arrival))
        return _about_block(Message(code=Code.CREATED), request), Outcome.ACCEPTED

    async def _store(self, message: RawMessage) -> None:
        if self._waiting >= self._bounds.max_waiting:
            raise self._unavailable()
        self._waiting += 1
        try:
            await self._outbox.put([message])
        except TooLarge as error:
            raise Refused(Code.REQUEST_ENTITY_TOO_LARGE, Outcome.TOO_LARGE) from error
        except PublishError as error:
            raise self._unavailable() from error
        finally:
            self._waiting -= 1

    def _check_rate(self, device: Device) -> None:
        """Before the body is parsed: a device that is over its limit must not cost that either."""
        wait = self._limits.take(device.tenant, device.device)
        if wait > 0:
            raise Refused(Code.TOO_MANY_REQUESTS, Outcome.LIMITED, max_age=math.ceil(wait))

    def _unavailable(self) -> Refused:
        return Refused(Code.SERVICE_UNAVAILABLE, Outcome.UNAVAILABLE, max_age=self._bounds.retry_after)


def _refuse_options(request: Datagram) -> None:
    """Of a length that it cannot have, or once too often, an option is like one that nobody knows (5.4.3, 5.4.5)."""
    previous = None
    for number, value in request.options:
        repeated = number == previous and number not in _REPEATABLE
        if number & _CRITICAL and (repeated or len(value) not in _UNDERSTOOD.get(number, ())):
            code = Code.PROXYING_NOT_SUPPORTED if number in _PROXY else Code.BAD_OPTION
            raise Refused(code, Outcome.MALFORMED)
        previous = number


def _path(request: Datagram) -> tuple[str, ...]:
    """The segments of the path; ThingsBoard's devices may also send all of it as one."""
    try:
        segments = tuple(str(value, "utf-8") for value in request.values(OptionNumber.URI_PATH))
    except UnicodeDecodeError as error:
        raise Refused(Code.BAD_OPTION, Outcome.MALFORMED) from error
    if len(segments) == 1 and "/" in segments[0]:
        return tuple(segments[0].removeprefix("/").split("/"))
    return segments


def _about_block(response: Message, request: Datagram) -> Message:
    """Tell which block this answers (RFC 7959, section 2.3)."""
    block = request.block1
    if block is not None:
        response.opt.block1 = (block.number, block.more, block.exponent)
    return response
