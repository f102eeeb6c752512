"""The site: from a CoAP request to one message on the log, and to the answer that says so."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiocoap import Code

from producers.coap.answer import Answer, answer
from producers.coap.blockwise import Bodies
from producers.coap.dialect import Arrival, Dialect
from producers.coap.messages import Reply
from producers.coap.refusal import Refused
from producers.coap.remote import Remote
from producers.coap.wire import Datagram, Type
from producers.limits import Limits
from producers.metrics import Outcome, count, observe
from producers.outbox import Delivery, Outbox
from runtime.publisher import PublishError, TooLarge
from schemas.raw_message import RawMessage

MAX_WAITING = 10_000
"""Requests that may wait for Kafka at once; the publisher bounds their bytes, this what we keep beside them."""

_CREATED = answer(Code.CREATED)


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

    def respond(self, request: Datagram, remote: Remote, reply: Reply) -> None:
        """Answer a request, and count its message once; a block that is not the last is no message yet."""
        started = self._clock()
        name = self._nobody
        try:
            dialect, path = self._route(request)
            name = dialect.name
            message = self._read(dialect, path, request, remote)
            stored = None if message is None else self._store(message)
        except Refused as refused:
            self._count(name, refused.outcome, started)
            # RFC 7252, section 5.4.1: silently
            silent = refused.code == Code.BAD_OPTION and request.type == Type.NON
            reply.answer(None if silent else refused.answer())
        except Exception:
            self._count(name, Outcome.FAILED, started)
            raise
        else:
            block1 = request.options.block1
            if stored is None:
                reply.answer(answer(Code.CONTINUE, block1=block1))
                return
            created = _CREATED if block1 is None else answer(Code.CREATED, block1=block1)
            stored.add_done_callback(partial(self._stored, name, started, created, reply))

    def _route(self, request: Datagram) -> tuple[Dialect, Sequence[str]]:
        if request.options.refusal is not None:
            raise Refused(request.options.refusal, Outcome.MALFORMED)
        path = request.options.path
        for root, dialect in self._dialects.items():
            if path[: len(root)] == root:
                return dialect, path[len(root) :]
        raise Refused(Code.NOT_FOUND, Outcome.UNKNOWN)

    def _read(
        self, dialect: Dialect, path: Sequence[str], request: Datagram, remote: Remote
    ) -> RawMessage | None:
        """The message that a request completes; None as long as more blocks are to come."""
        device = dialect.admit(request.code, path, remote.proof)
        remote.admitted()
        body = self._bodies.feed(remote.key, request)
        if body is None:
            return None
        # Before the body is parsed: a device that is over its limit must not cost that either.
        wait = self._limits.take(device.tenant, device.device)
        if wait > 0:
            raise Refused(Code.TOO_MANY_REQUESTS, Outcome.LIMITED, max_age=math.ceil(wait))
        arrival = Arrival(
            path=path,
            endpoint=remote.endpoint,
            message_id=request.message_id,
            token=request.token,
            body=body,
            received_at=self._now(),
        )
        return dialect.read(device, arrival)

    def _store(self, message: RawMessage) -> Delivery:
        if self._waiting >= self._bounds.max_waiting:
            raise self._unavailable()
        stored = self._outbox.put([message])
        self._waiting += 1
        return stored

    def _stored(self, name: str, started: float, created: Answer, reply: Reply, stored: Delivery) -> None:
        """Tell the device what became of its message."""
        self._waiting -= 1
        error = stored.exception()
        if error is None:
            self._count(name, Outcome.ACCEPTED, started)
            reply.answer(created)
        elif isinstance(error, PublishError):
            refused = self._not_stored(error)
            self._count(name, refused.outcome, started)
            reply.answer(refused.answer())
        else:
            self._count(name, Outcome.FAILED, started)
            reply.fail(error)

    def _not_stored(self, error: PublishError) -> Refused:
        if isinstance(error, TooLarge):
            return Refused(Code.REQUEST_ENTITY_TOO_LARGE, Outcome.TOO_LARGE)
        return self._unavailable()

    def _unavailable(self) -> Refused:
        return Refused(Code.SERVICE_UNAVAILABLE, Outcome.UNAVAILABLE, max_age=self._bounds.retry_after)

    def _count(self, name: str, outcome: Outcome, started: float) -> None:
        count(name, outcome)
        observe(name, self._clock() - started)
