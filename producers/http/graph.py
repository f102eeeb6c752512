"""Microsoft Graph (beta): `ingestTelemetry` of workplace sensor devices."""

import contextlib
import time
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat, zip_longest
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from aiohttp import web

from producers.http.dialect import Dialect, Door, Request, Speaker, check_json, printable
from producers.http.no_content import NoContent
from producers.http.refusal import Refusal
from schemas.graph import SENSOR_TYPES
from schemas.identity import content_id
from schemas.raw_message import RawMessage
from schemas.reading import EARLIEST_US, LATEST_US
from schemas.topics import MAX_RAW_BYTES

_PATH = "/beta/workplace/sensorDevices/ingestTelemetry"

Name = Annotated[str, msgspec.Meta(max_length=256)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """emailIdentity: who held the badge."""

    id: str | None = None
    display_name: str | None = None
    email: str | None = None


class EventValue(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """workplaceSensorEventValue: what happened at a badge reader."""

    event_type: str
    user: User | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """workplaceSensorDeviceTelemetry: one value of one sensor. Properties that are not here are let through."""

    device_id: Name | None = None
    sensor_id: Name | None = None
    sensor_type: str
    bool_value: bool | None = None
    int_value: Int32 | None = None
    event_value: EventValue | None = None
    location_hint: Name | None = None
    timestamp: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})] | None = None

    @property
    def device(self) -> str:
        """Who it is about. A badge event may name its place instead of a device, as Microsoft Places allows."""
        if not self.device_id and self.sensor_type.lower() == "badge":
            return self.location_hint or ""
        return self.device_id or ""


Facts = tuple[object, ...]
"""What makes a reading this reading."""


class _Usual(Item, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An item as most are: every name spelled as documented, none beside them, and no event."""

    event_value: None = None


_NAMES = {
    name.lower(): name for struct in (Item, EventValue, User) for name in struct.__struct_encode_fields__
}
"""How property names are spelled, by their lower case: Microsoft's own samples write `sensorid`."""

_FIELDS = dict(zip(Item.__struct_encode_fields__, Item.__struct_fields__, strict=True))
"""Where an item has each property."""

_NEEDED = {
    sensor_type.lower(): (value, _FIELDS.get(value, "sensor_type"))
    for sensor_type, value in SENSOR_TYPES.items()
}
"""By the lower case of a sensorType, the property that it needs and where an item has it; one that needs none has its type."""

_properties = msgspec.json.Decoder(dict[str, msgspec.Raw])
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_usual = msgspec.json.Decoder(_Usual)
_usuals = msgspec.json.Decoder(list[_Usual])

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def messages(body: bytes, *, tenant: str, received_at: int, nonce: str) -> list[RawMessage]:
    """One message per device, in the order in which the devices first appear; or none, if one item is wrong.

    Equal items make equal message ids, however they were spelled. `nonce` sets apart requests whose items carry no
    timestamp: there, equal content later is a new reading.

    Raises:
        Refusal: 400, naming the item and the property; 413, if what one device sent does not fit a raw record.

    """
    facts: dict[str, list[Facts]] = defaultdict(list)
    raws: dict[str, list[msgspec.Raw]] = defaultdict(list)
    untimed = set()
    for index, (raw, item, event) in enumerate(_items(_telemetry(body))):
        moment = _checked(index, item)
        device = item.device_id or item.device
        facts[device].append(_facts(item, moment, event))
        raws[device].append(raw)
        if moment is None:
            untimed.add(device)
    attributes: Mapping[str, str] = {}
    return [
        RawMessage(
            tenant=tenant,
            dialect=DIALECT.name,
            device=device,
            message_id=content_id((device, told, nonce if device in untimed else "")),
            received_at=received_at,
            content_type="application/json",
            attributes=attributes,
            body=_body(device, raws[device]),
        )
        for device, told in facts.items()
    ]


def _telemetry(body: bytes) -> msgspec.Raw:
    try:
        for name, value in _properties.decode(body).items():
            if name.lower() == "telemetry":
                return value
    except (ValueError, RecursionError) as error:
        raise _no_telemetry(error) from error
    raise Refusal(400, "telemetry: required")


def _no_telemetry(error: Exception) -> Refusal:
    return Refusal(400, f'The body must be {{"telemetry": [...]}} in JSON: {error}')


def _items(telemetry: msgspec.Raw) -> Iterable[tuple[msgspec.Raw, Item, Any]]:
    """Each item behind the bytes that it came in, and its event with all its properties."""
    try:
        raws = _pieces.decode(telemetry)
    except (ValueError, RecursionError) as error:
        raise _no_telemetry(error) from error
    # A short cut: what is not usual, mistakes included, means what the rest makes of it.
    with contextlib.suppress(ValueError, RecursionError):
        return zip(raws, _usuals.decode(telemetry), repeat(None))
    return ((raw, *_item(index, raw)) for index, raw in enumerate(raws))


def _checked(index: int, item: Item) -> int | None:
    """The item's moment, if all of it means something.

    Raises:
        Refusal: 400, naming the property.

    """
    try:
        moment = _microseconds(item.timestamp)
    except ValueError as error:
        raise _wrong(index, error) from error
    needed = _NEEDED.get(item.sensor_type.lower())
    if needed is None:
        raise Refusal(400, f"telemetry[{index}].sensorType: expected one of {', '.join(SENSOR_TYPES)}")
    value, field = needed
    if getattr(item, field) is None:
        raise Refusal(400, f"telemetry[{index}].{value}: required by sensorType {item.sensor_type}")
    if moment is not None and not EARLIEST_US <= moment <= LATEST_US:
        raise Refusal(400, f"telemetry[{index}].timestamp: not between the years 1900 and 2299")
    if not item.device_id and not item.device:
        raise Refusal(400, f"telemetry[{index}].deviceId: required")
    return moment


def _item(index: int, raw: msgspec.Raw) -> tuple[Item, Any]:
    """The item, and its event with all its properties."""
    with contextlib.suppress(ValueError, RecursionError):
        return _usual.decode(raw), None
    try:
        properties = _spelled(msgspec.json.decode(raw))
        return msgspec.convert(properties, Item), properties.get("eventValue")
    except (ValueError, RecursionError) as error:
        raise _wrong(index, error) from error


def _wrong(index: int, error: Exception) -> Refusal:
    what, _, where = str(error).partition(" - at `$")
    return Refusal(400, f"telemetry[{index}]{where.rstrip('`')}: {what}")


def _spelled(value: Any) -> Any:
    """The value with every known property name in its proper case."""
    if isinstance(value, dict):
        return {_NAMES.get(name.lower(), name): _spelled(inner) for name, inner in value.items()}
    return value


def _body(device: str, items: Sequence[msgspec.Raw]) -> bytes:
    body = b'{"telemetry":[%b]}' % b",".join(items)
    if len(body) > MAX_RAW_BYTES:
        raise Refusal(413, f"Device {device} sent {len(body)} bytes; one device may send {MAX_RAW_BYTES}.")
    return body


def _facts(item: Item, moment: int | None, event: Any) -> Facts:
    """What makes a reading this reading. A sensor without an id is called by its type, in any case.

    Of an event everything counts, also what Microsoft does not document: who held the badge may be told in any property.
    So does where it happened, which becomes a part of the event's reading.
    """
    sensor_type = item.sensor_type.lower()
    if event is not None:
        event = _untyped(event | {"locationHint": item.location_hint} if item.location_hint else event)
    return (
        (item.sensor_id or sensor_type).lower(),
        sensor_type,
        moment,
        item.bool_value,
        item.int_value,
        event,
    )


def _untyped(value: Any) -> Any:
    """The value without OData's annotations of types, which some SDKs send and some do not."""
    if isinstance(value, dict):
        return {name: _untyped(inner) for name, inner in value.items() if name != "@odata.type"}
    return value


def _microseconds(timestamp: str | None) -> int | None:
    """The moment that the text names, in every form of ISO 8601 that an SDK lets through.

    Raises:
        ValueError: it names none.

    """
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp.upper())
    except ValueError:
        raise ValueError("Expected an ISO 8601 date and time - at `$.timestamp`") from None
    if moment.tzinfo is None:  # documented as always UTC; some clients leave that out
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


async def _admit(request: Request, door: Door) -> Speaker:
    tenant = await door.tenants.of(request.headers, DIALECT.name)
    check_json(request)
    return Speaker(tenant=tenant, device="")


def _read(request: Request, speaker: Speaker, body: bytes) -> Sequence[RawMessage]:
    return messages(
        body.removeprefix(BOM_UTF8),
        tenant=speaker.tenant,
        received_at=time.time_ns() // 1000,
        nonce=printable(request.headers, "client-request-id") or uuid4().hex,
    )


_CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    403: "accessDenied",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "serviceNotAvailable",
}


def _success(request: Request) -> web.StreamResponse:
    return NoContent(request, _request_ids(request))


def _refuse(request: Request, refusal: Refusal) -> web.Response:
    status, message = refusal.status, refusal.message
    if status == 404:  # noqa: PLR2004 - to OData, a path that leads nowhere is a mistake in the request
        status, message = 400, f"Resource not found for the segment '{_lost(request.path)}'."
    ids = _request_ids(request)
    error = {
        "code": refusal.code or _CODES.get(status, "generalException"),
        "message": message,
        "innerError": {"date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", **ids},
    }
    return web.json_response({"error": error}, status=status, headers={**refusal.headers, **ids})


def _lost(path: str) -> str:
    """The segment of the path that leads nowhere; /v1.0 has no workplace."""
    version, *segments = path.strip("/").split("/")
    known = _PATH.strip("/").split("/")[1:] if version == "beta" else []
    pairs = zip_longest(segments, known)
    return next((segment for segment, like in pairs if segment and segment != like), [version, *segments][-1])


def _request_ids(request: Request) -> dict[str, str]:
    request_id = str(uuid4())
    client_request_id = printable(request.headers, "client-request-id") or request_id
    return {"request-id": request_id, "client-request-id": client_request_id}


DIALECT = Dialect(
    name="graph",
    prefixes=("/beta", "/v1.0"),
    paths=(_PATH,),
    admit=_admit,
    read=_read,
    success=_success,
    refuse=_refuse,
)
