"""Which messages are the same message: ids for dialects that send none, and one identity over all dialects."""

from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

IDENTITY_BYTES = 16
_NOTHING = blake2b(digest_size=IDENTITY_BYTES)
"""To copy it takes half as long as to make another."""

_canonical = msgspec.json.Encoder(order="sorted")


def identity(tenant: str, dialect: str, device: str, message_id: str) -> bytes:
    """128 bits that name one message in one installation.

    Each part is preceded by its length, so that no two different tuples run together.
    """
    # Written out, and what is the same for most is hashed once: this is done for every message.
    hashed = _whose(tenant, dialect).copy()
    c, d = device.encode(), message_id.encode()
    hashed.update(b"%b%b%b%b" % (len(c).to_bytes(4, "big"), c, len(d).to_bytes(4, "big"), d))
    return hashed.digest()


@lru_cache(1024)
def _whose(tenant: str, dialect: str) -> blake2b:
    """What every identity of a tenant's dialect begins with: less than 1 KB each."""
    a, b = tenant.encode(), dialect.encode()
    return blake2b(b"%b%b%b%b" % (_length(a), a, _length(b), b), digest_size=IDENTITY_BYTES)


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big")


def content_id(value: Any) -> str:
    """The message id of a message whose content makes it unique: a hash of its parsed values.

    Parsed values and not bytes, because two releases of one SDK order keys and escape text differently.
    """
    return blake2b(_canonical.encode(value), digest_size=IDENTITY_BYTES).hexdigest()


EXCHANGE_LIFETIME_US = 247_000_000
"""How long a CoAP Message ID stands for one message (RFC 7252, section 4.8.2), in microseconds."""


def exchange_id(endpoint: str, message_id: int, token: bytes, payload: bytes, received_at: int) -> str:
    """The message id of a CoAP message that carries no time of its own.

    Equal readings later are new readings, so only a retransmission may match: same endpoint, CoAP Message ID, token and
    payload (RFC 7252, section 4.2), within the same exchange lifetime. A device that sleeps longer and wakes with the same
    port, Message ID and values has something new to say. The edge absorbs retransmissions by itself; this is for those that
    reach another one, and time is cut into slots for it: one that falls across a border counts as new.
    """
    slot = received_at // EXCHANGE_LIFETIME_US
    coap = (message_id.to_bytes(2, "big"), len(token), token, payload)
    hashed = _NOTHING.copy()
    hashed.update(b"%b\0%d\0%b\0%c\0%b\0%b" % (endpoint.encode(), slot, *coap))
    return hashed.hexdigest()
