"""The fleet of a bench: tenants, devices, and what each of them proves itself with."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from headrace.stack.pki import Pki, ensure_pki
from headrace.stack.stack import Stack
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key
from tests.support.coap import der
from tests.support.registry import known

TENANTS = ("north", "east", "south", "west")
SECURED = TENANTS[0]
"""Whose devices have pre-shared keys as well."""

DEVICES_A_TENANT = 75
COMPONENT = "thermostat"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the edges are, for the processes that send."""

    http: int
    coap: int
    coaps: int
    pki: str
    """Folder of the authority whose device certificate is registered."""
    strange_pki: str
    """Folder of another one."""
    rate: float
    """Turns a second, of all clients together."""


def devices(tenant: str) -> Sequence[str]:
    """The ids of a tenant's devices."""
    return [f"{tenant}-{number:03}" for number in range(DEVICES_A_TENANT)]


def bearer(tenant: str) -> str:
    """The HTTP edge's token of a tenant."""
    return f"bearer-of-{tenant}"


def access_token(device: str) -> str:
    """ThingsBoard's token of a device."""
    return f"token-of-{device}"


def pre_shared_key(device: str) -> bytes:
    """The key of a device, for DTLS."""
    return sha256(device.encode()).digest()[:16]


def environment(folder: Path) -> Mapping[str, str]:
    """What the stack has to be told about the fleet; writes the file of keys into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = folder / "keys"
    keys.touch(0o600)
    keys.write_text("".join(f"{name}:{pre_shared_key(name).hex()}\n" for name in devices(SECURED)))
    tokens = {bearer(tenant): tenant for tenant in TENANTS}
    return {
        "HEADRACE_HTTP__TOKENS": msgspec.json.encode(tokens).decode(),
        "HEADRACE_COAP__TENANT": SECURED,
        "HEADRACE_COAP__PRE_SHARED_KEYS": str(keys),
    }


def target(stack: Stack, folder: Path, rate: float) -> Target:
    """Where a stack listens, and the certificates to come with."""
    ports = stack.settings
    strange = ensure_pki(folder / "strange")
    return Target(
        http=ports.http_port,
        coap=ports.coap_port,
        coaps=ports.coaps_port,
        pki=str(stack.pki.folder),
        strange_pki=str(strange.folder),
        rate=rate,
    )


async def register(stack: Stack) -> int:
    """Register the fleet, and return its size when every process knows it."""
    fleet = [_device(tenant, name, stack.pki) for tenant in TENANTS for name in devices(tenant)]
    async with Publisher(KafkaSettings(bootstrap=stack.bootstrap), delivery_timeout=30) as publisher:
        await asyncio.gather(
            *(publisher.send(DEVICES, encode(each), key=key(each.tenant, each.device)) for each in fleet)
        )
    await known(stack, len(fleet))
    return len(fleet)


def _device(tenant: str, name: str, pki: Pki) -> Device:
    """The first device of the secured tenant has the PKI's certificate."""
    certified = name == devices(SECURED)[0]
    return Device(
        tenant=tenant,
        device=name,
        token_sha256s=[sha256(access_token(name).encode()).hexdigest()],
        certificate_sha256s=[sha256(der(pki)).hexdigest()] if certified else [],
        components=[COMPONENT],
    )
