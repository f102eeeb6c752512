"""ThingsBoard's HTTP device API: telemetry and attributes of the device that the token in the path belongs to."""

import secrets
import time
from collections.abc import Sequence

from aiohttp import web

from producers.http.dialect import Dialect, Door, Request, Speaker
from producers.http.refusal import Refusal
from producers.thingsboard import NAME, message
from schemas.raw_message import RawMessage
from schemas.reading import Feature
from schemas.thingsboard import NotTelemetry


async def _admit(request: Request, door: Door) -> Speaker:
    device = door.devices.by_token(request.parameters["token"])
    if device is None:
        raise Refusal(401, "Nobody has this access token.")
    return Speaker(tenant=device.tenant, device=device.device)


def _read(request: Request, speaker: Speaker, body: bytes) -> Sequence[RawMessage]:
    """Whatever media type it claims to be: ThingsBoard never looks at it.

    HTTP has no retransmissions that a server could see. So a body that does not name its times is a new message each time:
    equal readings later are new readings, and a client that repeats after an error may be stored twice, as with ThingsBoard.
    """
    try:
        found = message(
            tenant=speaker.tenant,
            device=speaker.device,
            feature=Feature(request.path.rpartition("/")[2]),
            body=body,
            received_at=time.time_ns() // 1000,
            untimed_id=lambda: secrets.token_hex(16),
        )
    except NotTelemetry as error:
        raise Refusal(400, str(error)) from error
    return [found]


def _success(_: Request) -> web.Response:
    return web.Response()


def _refuse(_: Request, refusal: Refusal) -> web.Response:
    """The status says it all, as ThingsBoard's answers do."""
    return web.Response(status=refusal.status, headers=refusal.headers)


DIALECT = Dialect(
    name=NAME,
    prefixes=("/api/v1",),
    paths=tuple(f"/api/v1/{{token}}/{feature}" for feature in Feature),
    admit=_admit,
    read=_read,
    success=_success,
    refuse=_refuse,
)
"""See `producers.http.dialect.Dialect`."""
