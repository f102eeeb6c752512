"""A CoAP edge without a socket: the message layer in front of a site with one device."""

import asyncio
from dataclasses import dataclass

from aiocoap import Message

from producers.coap.exchanges import Exchanges
from producers.coap.messages import MessageLayer
from producers.coap.site import Bounds, Site
from producers.coap.thingsboard import ThingsBoard
from producers.limits import ANYBODY, Limits, TenantLimits
from producers.outbox import Outbox
from tests.support.coap import MemoryRemote, fleet
from tests.support.fakes import MemoryOutbox

MAX_BODY = 70_000
RETRY_AFTER = 7


@dataclass
class Conversation:
    """One device and the edge, datagram by datagram."""

    layer: MessageLayer
    outbox: MemoryOutbox
    remote: MemoryRemote

    async def ask(self, datagram: bytes, remote: MemoryRemote | None = None) -> Message:
        """Send, and return the next datagram that comes back."""
        mine = remote or self.remote
        self.layer.receive(mine, datagram)
        return await mine.next()

    async def silence(self, datagram: bytes) -> None:
        """Send, let everything end that this began, and see that nothing came back."""
        self.layer.receive(self.remote, datagram)
        await self.layer.close(10)
        assert self.remote.mail.empty()

    @property
    def bodies(self) -> list[bytes]:
        """What was stored."""
        return [message.body for message in self.outbox.messages]


def conversation(
    outbox: Outbox | None = None, *, rate: str = "", piggyback: float = 10.0, ack_timeout: float = 2.0
) -> Conversation:
    """A fresh edge, and a device whose token is `TOKEN`."""
    kept = outbox or MemoryOutbox()
    rates = Limits({ANYBODY: TenantLimits(device=rate)}, monotonic=lambda: 0.0)
    dialects = {("api", "v1"): ThingsBoard(fleet())}
    site = Site(dialects, kept, Bounds(MAX_BODY, RETRY_AFTER), rates, clock=asyncio.get_running_loop().time)
    layer = MessageLayer(
        site.respond, piggyback_timeout=piggyback, exchanges=Exchanges(ack_timeout=ack_timeout)
    )
    return Conversation(layer, kept, MemoryRemote())
