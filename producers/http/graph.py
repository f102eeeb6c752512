"""Microsoft Graph (beta): `ingestTelemetry` of workplace sensor devices."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import msgspec
from aiohttp import web

from producers.http.dialect import Dialect, Door, json_body, printable
from producers.http.refusal import Refusal
from schemas.identity import content_id
from schemas.raw_message import RawMessage
from schemas.reading import EARLIEST_US, LATEST_US
from schemas.topics import MAX_RAW_BYTES

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

    device_id: Name = ""
    sensor_id: Name | None = None
    sensor_type: str
    bool_value: bool | None = None
    int_value: Int32 | None = None
    event_value: EventValue | None = None
    location_hint: Name | None = None
    timestamp: datetime | None = None

    @property
    def device(self) -> str:
        """Who it is about. A badge event may name its place instead of a device, as Microsoft Places allows."""
        if not self.device_id and self.sensor_type.lower() == "badge":
            return self.location_hint or ""
        return self.device_id


class Arrived(NamedTuple):
    """An item, and the bytes it came in."""

    item: Item
    raw: msgspec.Raw


SENSOR_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "occupancy": "boolValue",
        "peopleCount": "intValue",
        "inferredOccupancy": "boolValue",
        "heartbeat": "boolValue",
        "badge": "eventValue",
        "wifi": "",
    },
)
"""Each sensorType, and the property that it needs; Microsoft documents none for wifi."""

_VALUE_OF = {sensor_type.lower(): value for sensor_type, value in SENSOR_TYPES.items()}

_NAMES = {
    name.lower(): name for struct in (Item, EventValue, User) for name in struct.__struct_encode_fields__
}
"""How property names are spelled, by their lower case: Microsoft's own samples write `sensorid`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def messages(body: bytes, *, tenant: str, received_at: int, nonce: str) -> list[RawMessage]:
    """One message per device, in the order in which the devices first appear; or none, if one item is wrong.

    Equal items make equal message ids, however they were spelled. `nonce` sets apart requests whose items carry no
    timestamp: there, equal content later is a new reading.

    Raises:
        Refusal: 400, naming the item and the property; 413, if what one device sent does not fit a raw record.

    """
    devices: dict[str, list[Arrived]] = defaultdict(list)
    for index, raw in enumerate(_telemetry(body)):
        item = _item(index, raw)
        devices[item.device].append(Arrived(item, raw))
    return [
        RawMessage(
            tenant=tenant,
            dialect=DIALECT.name,
            device=device,
            message_id=_message_id(device, [arrived.item for arrived in arrivals], nonce),
            received_at=received_at,
            content_type="application/json",
            attributes={},
            body=_body(device, [bytes(arrived.raw) for arrived in arrivals]),
        )
        for device, arrivals in devices.items()
    ]


def _telemetry(body: bytes) -> list[msgspec.Raw]:
    try:
        properties = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        for name, value in properties.items():
            if name.lower() == "telemetry":
                return msgspec.json.decode(value, type=list[msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f'The body must be {{"telemetry": [...]}} in JSON: {error}') from error
    raise Refusal(400, "telemetry: required")


def _item(index: int, raw: msgspec.Raw) -> Item:
    try:
        properties = _spelled(msgspec.json.decode(raw))
        item = msgspec.convert(properties, Item)
    except (ValueError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        raise Refusal(400, f"telemetry[{index}]{where.rstrip('`')}: {what}") from error
    value = _VALUE_OF.get(item.sensor_type.lower())
    if value is None:
        raise Refusal(400, f"telemetry[{index}].sensorType: expected one of {', '.join(SENSOR_TYPES)}")
    if value and properties.get(value) is None:
        raise Refusal(400, f"telemetry[{index}].{value}: required by sensorType {item.sensor_type}")
    moment = _microseconds(item.timestamp)
    if moment is not None and not EARLIEST_US <= moment <= LATEST_US:
        raise Refusal(400, f"telemetry[{index}].timestamp: not between the years 1900 and 2299")
    if not item.device:
        raise Refusal(400, f"telemetry[{index}].deviceId: required")
    return item


def _spelled(value: Any) -> Any:
    """The value with every known property name in its proper case."""
    if isinstance(value, dict):
        return {_NAMES.get(name.lower(), name): _spelled(inner) for name, inner in value.items()}
    return value


def _body(device: str, items: Sequence[bytes]) -> bytes:
    body = b'{"telemetry":[%b]}' % b",".join(items)
    if len(body) > MAX_RAW_BYTES:
        raise Refusal(413, f"Device {device} sent {len(body)} bytes; one device may send {MAX_RAW_BYTES}.")
    return body


def _message_id(device: str, items: Sequence[Item], nonce: str) -> str:
    timed = all(item.timestamp is not None for item in items)
    return content_id((device, [_facts(item) for item in items], "" if timed else nonce))


def _facts(item: Item) -> tuple[object, ...]:
    """What makes a reading this reading. A sensor without an id is called by its type, in any case."""
    sensor_type = item.sensor_type.lower()
    return (
        (item.sensor_id or sensor_type).lower(),
        sensor_type,
        _microseconds(item.timestamp),
        item.bool_value,
        item.int_value,
        item.event_value,
    )


def _microseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:  # documented as always UTC; some clients leave that out
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


async def _accept(request: web.Request, door: Door) -> Sequence[RawMessage]:
    tenant = door.tenants.of(request.headers)
    body = await json_body(request)
    return messages(
        body,
        tenant=tenant,
        received_at=time.time_ns() // 1000,
        nonce=printable(request.headers, "client-request-id") or uuid4().hex,
    )


_CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    500: "InternalServerError",
    503: "serviceNotAvailable",
}


def _success(request: web.Request) -> web.Response:
    return web.Response(status=204, headers=_request_ids(request))


def _refuse(request: web.Request, refusal: Refusal) -> web.Response:
    ids = _request_ids(request)
    error = {
        "code": refusal.code or _CODES.get(refusal.status, "generalException"),
        "message": refusal.message,
        "innerError": {"date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", **ids},
    }
    return web.json_response({"error": error}, status=refusal.status, headers={**refusal.headers, **ids})


def _request_ids(request: web.Request) -> dict[str, str]:
    request_id = str(uuid4())
    client_request_id = printable(request.headers, "client-request-id") or request_id
    return {"request-id": request_id, "client-request-id": client_request_id}


DIALECT = Dialect(
    name="graph",
    prefixes=("/beta", "/v1.0"),
    paths=("/beta/workplace/sensorDevices/ingestTelemetry",),
    accept=_accept,
    success=_success,
    refuse=_refuse,
)
