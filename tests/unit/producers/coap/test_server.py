"""What a serving CoAP edge shows of what it holds."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from producers.coap.server import serving
from producers.limits import TenantLimits
from producers.settings import CoapSettings, EdgeSettings
from tests.support.coap import HeldOutbox, fleet, peer, request


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> CoapSettings:
    """Both transports."""
    keys = tmp_path / "keys"
    keys.write_text(f"boiler-7:{bytes(16).hex()}\n")
    keys.chmod(0o600)
    return CoapSettings(port=0, dtls_port=0, tenant="acme", pre_shared_keys=str(keys))


async def test_what_is_held_is_shown(settings: CoapSettings):
    """Requests that wait, bodies under way, messages and rate limits that are remembered are counted when somebody asks."""
    outbox = HeldOutbox()
    edge = EdgeSettings(limits={"*": TenantLimits(device="9:1")})
    async with serving(outbox, fleet(), settings, edge) as ports, peer(ports.coap) as device:
        device.send(request(bytes(16), mid=1, block1=(0, True, 0)))
        await device.next()
        device.send(request(b'{"a":1}', mid=2))
        await outbox.arrived.wait()
        shown = {name: REGISTRY.get_sample_value(f"headrace_edge_{name}") for name in HELD}
        outbox.released.set()

    assert shown == HELD


HELD = {
    "waiting_requests": 1,
    "body_bytes": 1000 + 100 + 16,
    "remembered_messages": 2,
    "unacknowledged_answers": 0,
    "rate_buckets": 1,
    "dtls_sessions": 0,
    "dtls_strangers": 0,
}


@pytest.mark.parametrize("transport", ["coap", "coaps"])
async def test_what_waits_in_the_kernel_is_shown(settings: CoapSettings, transport: str):
    """Of each socket it is known what nobody has read yet, and what there was no room for."""
    async with serving(HeldOutbox(), fleet(), settings, EdgeSettings()):
        names = ("udp_queued_bytes", "udp_lost_datagrams")
        shown = [
            REGISTRY.get_sample_value(f"headrace_edge_{name}", {"transport": transport}) for name in names
        ]

    assert shown == [0, 0]
