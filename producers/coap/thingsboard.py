"""ThingsBoard's CoAP API: telemetry and attributes, by access token in the path or by what the DTLS session proved."""

from collections.abc import Sequence
from functools import partial

from aiocoap import Code

from producers.coap.dialect import Arrival
from producers.coap.refusal import Refused
from producers.coap.remote import Proof
from producers.metrics import Outcome
from producers.thingsboard import NAME, message
from runtime.devices import Devices, Speaker
from schemas.identity import exchange_id
from schemas.raw_message import RawMessage
from schemas.reading import Feature
from schemas.thingsboard import NotTelemetry

_FEATURES = {feature.value: feature for feature in Feature}

# As numbers: a code is compared for each request, and an enumeration's member takes ten times as long.
_GET, _POST = int(Code.GET), int(Code.POST)


class ThingsBoard:
    """`POST /api/v1/{token}/telemetry`, `POST /api/v1/telemetry` and the same for attributes; codes as ThingsBoard answers.

    Where it differs on purpose stands in README.md of this folder.

    Args:
        devices: who is registered.
        tenant: whose devices are known by a pre-shared key or by a certificate authority.

    """

    name = NAME

    def __init__(self, devices: Devices, tenant: str = "") -> None:
        self._devices = devices
        self._tenant = tenant

    def admit(self, method: int, path: Sequence[str], proof: Proof) -> Speaker:
        """See `Dialect.admit`. Content-Format is nobody's concern: ThingsBoard never looks at it."""
        if method not in (_GET, _POST):
            raise Refused(Code.METHOD_NOT_ALLOWED, Outcome.MALFORMED)
        token, name = _addressed(path)
        if name not in _FEATURES:
            raise Refused(Code.BAD_REQUEST, Outcome.UNKNOWN)
        if method != _POST:
            raise Refused(Code.BAD_REQUEST, Outcome.MALFORMED)
        device = self._speaker(token, proof)
        if device is None:
            raise Refused(Code.UNAUTHORIZED, Outcome.UNAUTHORISED)
        return device

    def read(self, device: Speaker, arrival: Arrival) -> RawMessage:
        """See `Dialect.read`."""
        try:
            return message(
                tenant=device.tenant,
                device=device.device,
                feature=_FEATURES[_addressed(arrival.path)[1]],
                body=arrival.body,
                received_at=arrival.received_at,
                untimed_id=partial(
                    exchange_id,
                    arrival.endpoint,
                    arrival.message_id,
                    arrival.token,
                    arrival.body,
                    arrival.received_at,
                ),
            )
        except NotTelemetry as error:
            raise Refused(Code.BAD_REQUEST, Outcome.MALFORMED) from error

    def _speaker(self, token: str | None, proof: Proof) -> Speaker | None:
        if token is not None:
            return self._devices.by_token(token)
        registered = self._devices.by_certificate(proof.certificate) if proof.certificate else None
        if registered is not None or proof.device is None:
            return registered
        return self._devices.by_id(self._tenant, proof.device)


def _addressed(path: Sequence[str]) -> tuple[str | None, str]:
    """The access token, if one is in the path, and the feature in lower case."""
    if len(path) > 1:
        return path[0], path[1].lower()
    return None, path[0].lower() if path else ""
