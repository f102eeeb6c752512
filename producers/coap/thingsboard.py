"""The ThingsBoard dialect: telemetry by access token in the path, or by X.509 certificate."""

from collections.abc import Sequence

from aiocoap import Code

from producers.coap.dialect import Arrival
from producers.coap.payload import NotTelemetry, Telemetry, parse
from producers.coap.refusal import Refused
from producers.metrics import Outcome
from runtime.registry import Devices
from schemas.device import Device
from schemas.identity import content_id, exchange_id
from schemas.raw_message import RawMessage


class ThingsBoard:
    """`POST /api/v1/{token}/telemetry` and `POST /api/v1/telemetry`, with the codes that ThingsBoard answers.

    Where it differs: 4.00 instead of 5.00 for a `ts` that is no number, and `[]` is answered.
    """

    name = "thingsboard"

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def admit(self, method: Code, path: Sequence[str], certificate: bytes | None) -> Device:
        """See `Dialect.admit`. Content-Format is nobody's concern: ThingsBoard never looks at it."""
        if method not in (Code.GET, Code.POST):
            raise Refused(Code.METHOD_NOT_ALLOWED, Outcome.MALFORMED)
        token, feature = _addressed(path)
        if feature != "telemetry":
            raise Refused(Code.BAD_REQUEST, Outcome.UNKNOWN)
        if method != Code.POST:
            raise Refused(Code.BAD_REQUEST, Outcome.MALFORMED)
        device = self._speaker(token, certificate)
        if device is None:
            raise Refused(Code.UNAUTHORIZED, Outcome.UNAUTHORISED)
        return device

    def read(self, device: Device, arrival: Arrival) -> RawMessage:
        """See `Dialect.read`."""
        try:
            telemetry = parse(arrival.body)
        except NotTelemetry as error:
            raise Refused(Code.BAD_REQUEST, Outcome.MALFORMED) from error
        return RawMessage(
            tenant=device.tenant,
            dialect=self.name,
            device=device.device,
            message_id=_message_id(telemetry, arrival),
            received_at=arrival.received_at,
            content_type="application/json",
            attributes={},
            body=arrival.body,
        )

    def _speaker(self, token: str | None, certificate: bytes | None) -> Device | None:
        if token is not None:
            return self._devices.by_token(token)
        return self._devices.by_certificate(certificate) if certificate is not None else None


def _addressed(path: Sequence[str]) -> tuple[str | None, str]:
    """The access token, if one is in the path, and the feature in lower case."""
    match path:
        case [token, feature, *_]:
            return token, feature.lower()
        case [feature]:
            return None, feature.lower()
        case _:
            return None, ""


def _message_id(telemetry: Telemetry, arrival: Arrival) -> str:
    if telemetry.timed:
        return content_id(telemetry.value)
    return exchange_id(arrival.endpoint, arrival.message_id, arrival.token, arrival.body, arrival.received_at)
