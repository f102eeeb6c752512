"""Application: one answer to each request, in the words of its dialect, after its messages are on the log."""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.resources import files

import structlog
from aiohttp import HttpVersion11, hdrs, web

from producers import metrics
from producers.http import body, digital_twins, graph, thingsboard
from producers.http.bearer import Tenants
from producers.http.dialect import Dialect, Door, Request
from producers.http.key_set import KeySet
from producers.http.refusal import Refusal
from producers.http.routes import Route
from producers.http.verifier import Verifier
from producers.limits import Limits
from producers.metrics import Outcome, count, observe
from producers.outbox import Outbox
from producers.settings import EdgeSettings, HttpSettings
from runtime.devices import Devices
from runtime.publisher import PublishError, TooLarge

log = structlog.get_logger()

DIALECTS: Sequence[Dialect] = (graph.DIALECT, digital_twins.DIALECT, thingsboard.DIALECT)
"""Every dialect that the edge speaks."""

DOCUMENT = "/openapi.yaml"


@asynccontextmanager
async def application(
    outbox: Outbox, devices: Devices, settings: HttpSettings, edge: EdgeSettings
) -> AsyncIterator["Application"]:
    """The edge as the settings say; the keys of whoever signs tokens are kept current while the block runs."""
    async with AsyncExitStack() as stack:
        verifier = None
        if settings.jwks:
            keys = KeySet(settings.jwks, every=settings.jwks_refresh)
            await stack.enter_async_context(keys.kept())
            verifier = Verifier(
                keys,
                issuer=settings.issuer,
                audiences=settings.audiences,
                tenant_claim=settings.tenant_claim,
                roles=settings.roles,
            )
            metrics.REMEMBERED_TOKENS.set_function(verifier.__len__)
        limits = Limits(edge.limits)
        metrics.RATE_BUCKETS.set_function(limits.__len__)
        room = body.Room(settings.max_bodies_bytes, retry_after=edge.retry_after)
        metrics.LARGE_BODY_BYTES.set_function(lambda: room.taken)
        yield Application(
            Door(tenants=Tenants(settings.tokens, verifier), devices=devices),
            limits,
            outbox,
            room,
            body_timeout=settings.body_timeout,
            retry_after=edge.retry_after,
        )


class Application:
    """The edge without a socket.

    Args:
        door: who may come in.
        limits: how much each may send.
        outbox: where messages go.
        room: for large bodies.
        body_timeout: seconds that a body may take.
        retry_after: seconds after which a client should come back when the log did not take what it sent.

    """

    def __init__(
        self,
        door: Door,
        limits: Limits,
        outbox: Outbox,
        room: body.Room,
        *,
        body_timeout: float,
        retry_after: int,
    ) -> None:
        self._door = door
        self._limits = limits
        self._outbox = outbox
        self._room = room
        self._body_timeout = body_timeout
        self._retry_after = retry_after
        self._routes = [Route(dialect) for dialect in DIALECTS]

    async def __call__(self, request: Request) -> web.StreamResponse:
        """Answer. Whatever is raised, the framework's own errors included, becomes an answer in the dialect of the path."""
        path = request.rel_url.path_safe
        route = self._route(path)
        started = time.perf_counter()
        try:
            await _invite(request)
            if route is None:
                return _elsewhere(request, path)
            return await self._take(route, request, path)
        except Exception as error:  # noqa: BLE001 - the rim: nothing beyond it knows the dialect
            return self._refuse(request, route, error)
        finally:
            observe(route.dialect.name if route else "none", time.perf_counter() - started)

    def _route(self, path: str) -> Route | None:
        for route in self._routes:
            if route.is_for(path):
                return route
        return None

    async def _take(self, route: Route, request: Request, path: str) -> web.StreamResponse:
        """The one order of events in every dialect: admit, limit, read, publish, count, answer.

        A device that is over its limit must not cost the reading of its body; only where the body names the devices it does.
        """
        dialect = route.dialect
        request.parameters = route.parameters(path)
        if request.method != hdrs.METH_POST:
            raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
        speaker = await dialect.admit(request, self._door)
        if speaker.device:
            self._limit(speaker.tenant, {speaker.device: 1})
        share = body.Share(self._room)
        try:
            whole = await body.whole(request, share, patience=self._body_timeout)
            messages = dialect.read(request, speaker, whole)
            if not speaker.device:
                self._limit(speaker.tenant, Counter(message.device for message in messages))
            await self._outbox.put(messages)
        finally:
            share.free()
        count(dialect.name, Outcome.ACCEPTED, len(messages))
        return dialect.success(request)

    def _limit(self, tenant: str, devices: Mapping[str, int]) -> None:
        """Refuse the request as a whole when one device, or their tenant, is over its rate."""
        wait = self._limits.take_all(tenant, devices)
        if wait > 0:
            seconds = str(math.ceil(wait))
            raise Refusal(429, "Too many messages; try again later.", headers={"Retry-After": seconds})

    def _refuse(self, request: Request, route: Route | None, error: Exception) -> web.StreamResponse:
        # Apart from where errors are caught: one in a variable there would be a cycle that keeps the body for a while.
        refusal = self._refusal(error)
        count(route.dialect.name if route else "none", refusal.outcome)
        return route.dialect.refuse(request, refusal) if route else _refuse_plainly(refusal)

    def _refusal(self, error: Exception) -> Refusal:
        match error:
            case Refusal():
                return error
            case TooLarge():
                return Refusal(413, str(error))
            case PublishError():
                return Refusal(
                    503,
                    "The telemetry was not stored; try again.",
                    headers={"Retry-After": str(self._retry_after)},
                )
            case web.HTTPException():
                allow = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
                return Refusal(error.status, error.text or error.reason, headers=allow)
            case _:
                log.error("request failed", exc_info=error)
                return Refusal(500, "An error of the server, not of the request; its log has more.")


async def _invite(request: Request) -> None:
    """Ask for the body of who waits to be asked (RFC 9110, section 10.1.1)."""
    expected = request.headers.get(hdrs.EXPECT)
    if not expected or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # no answer was begun


def _elsewhere(request: Request, path: str) -> web.Response:
    """What belongs to no dialect."""
    if path != DOCUMENT:
        raise web.HTTPNotFound
    if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
        raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_GET, hdrs.METH_HEAD])
    document = files("producers.http").joinpath("openapi.yaml").read_bytes()
    return web.Response(body=document, content_type="application/yaml", charset="utf-8")


def _refuse_plainly(refusal: Refusal) -> web.Response:
    return web.Response(text=f"{refusal.message}\n", status=refusal.status, headers=refusal.headers)
