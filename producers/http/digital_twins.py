"""Azure Digital Twins: telemetry of twins and of their components."""

import time
from codecs import BOM_UTF8
from collections.abc import Sequence

import msgspec
from aiohttp import web

from producers.http.dialect import Dialect, Door, Request, Speaker, check_json, printable
from producers.http.no_content import NoContent
from producers.http.refusal import Refusal
from schemas.raw_message import Attribute, RawMessage

API_VERSIONS = frozenset(
    {
        "2020-10-31",
        "2021-06-30-preview",
        "2022-05-31",
        "2023-02-27-preview",
        "2023-06-30",
        "2023-10-31",
    },
)

_USUAL_QUERIES = frozenset(f"api-version={version}" for version in API_VERSIONS)
"""What need not be taken apart."""

_object = msgspec.json.Decoder(dict[str, object])

MAX_BODY_BYTES = 32 << 10
"""The service's own limit, whatever the edge would take."""

_ATTRIBUTES = {
    Attribute.SOURCE_TIME: "Telemetry-Source-Time",
    Attribute.TRACEPARENT: "traceparent",
    Attribute.TRACESTATE: "tracestate",
}
"""Attribute to the header that it is taken from, verbatim: .NET's source time is no RFC 3339, and is accepted."""


def scoped(message_id: str, component: str) -> str:
    """The Message-Id in the scope of the twin, or of one of its components.

    By the vendor's text a Message-Id is unique within the twin. A client that counts per component would lose messages
    by that, so each component is a scope of its own. The tab cannot be part of a Message-Id: no two pairs meet.
    """
    return f"{component}\t{message_id}" if component else message_id


async def _admit(request: Request, door: Door) -> Speaker:
    tenant = await door.tenants.of(request.headers, DIALECT.name)
    if request.rel_url.raw_query_string not in _USUAL_QUERIES:
        _check_version(request.query.get("api-version", ""))
    if not printable(request.headers, "Message-Id"):
        raise Refusal(400, "Message-Id is missing, or not printable text.", code="InvalidArgument")
    twin = request.parameters["id"]
    _check_registered(door, tenant, twin, request.parameters.get("path", ""))
    check_json(request)
    return Speaker(tenant=tenant, device=twin)


def _read(request: Request, speaker: Speaker, body: bytes) -> Sequence[RawMessage]:
    body = body.removeprefix(BOM_UTF8)
    _check_content(body)
    attributes = {
        name: value for name, header in _ATTRIBUTES.items() if (value := printable(request.headers, header))
    }
    component = request.parameters.get("path", "")
    if component:
        attributes[Attribute.COMPONENT] = component
    message = RawMessage(
        tenant=speaker.tenant,
        dialect=DIALECT.name,
        device=speaker.device,
        message_id=scoped(printable(request.headers, "Message-Id"), component),
        received_at=time.time_ns() // 1000,
        content_type="application/json",
        attributes=attributes,
        body=body,
    )
    return [message]


def _check_version(version: str) -> None:
    if not version:
        raise Refusal(400, "The api-version query parameter is required.", code="MissingApiVersionParameter")
    if version not in API_VERSIONS:
        known = ", ".join(sorted(API_VERSIONS))
        raise Refusal(
            400, f"The api-version is not supported; these are: {known}.", code="UnsupportedApiVersionValue"
        )


def _check_registered(door: Door, tenant: str, twin: str, component: str) -> None:
    device = door.devices.by_id(tenant, twin)
    if device is None:
        raise Refusal(
            404,
            f"There is no digital twin instance that exists with the ID {twin}.",
            code="DigitalTwinNotFound",
        )
    if component and component not in device.components:
        raise Refusal(404, f"{twin} does not have component {component}.", code="ComponentNotFound")


def _check_content(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(413, f"The telemetry has {len(body)} bytes; the limit is {MAX_BODY_BYTES}.")
    try:
        _object.decode(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(
            400, f"The telemetry must be a JSON object: {error}", code="ValidationFailed"
        ) from error


_CODES = {
    400: "InvalidArgument",
    403: "Forbidden",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "RequestBodyTooLarge",
    415: "UnsupportedMediaType",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def _success(request: Request) -> web.StreamResponse:
    return NoContent(request)


def _refuse(_: Request, refusal: Refusal) -> web.Response:
    if refusal.status == 401:  # noqa: PLR2004 - the gateway answers before the service, in a form of its own
        gateway = {"statusCode": 401, "message": "Unauthorized"}
        return web.json_response(gateway, status=401, headers=refusal.headers)
    code = refusal.code or _CODES.get(refusal.status, "InvalidArgument")
    return web.json_response(
        {"error": {"code": code, "message": refusal.message}},
        status=refusal.status,
        headers={**refusal.headers, "x-ms-error-code": code},
    )


DIALECT = Dialect(
    name="digital_twins",
    prefixes=("/digitaltwins",),
    paths=("/digitaltwins/{id}/telemetry", "/digitaltwins/{id}/components/{path}/telemetry"),
    admit=_admit,
    read=_read,
    success=_success,
    refuse=_refuse,
)
