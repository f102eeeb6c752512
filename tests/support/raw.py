"""What processor tests share: raw records as Kafka delivers them, and a partition that they come from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from processors.refine import Source
from schemas import codec
from schemas.raw_message import IDENTITY_HEADER, RawMessage

SOURCE = Source(dialect="thingsboard", topic="raw-thingsboard", topic_id="T", partition=3)
LOGGED_AT = 1_700_000_000_000


@dataclass(kw_only=True)
class Raw:
    """A raw record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def message(body: Any = None, **fields: Any) -> RawMessage:
    """A message of one reading, unless told otherwise; a body that is no bytes is written as JSON."""
    body = {"temperature": 21.5} if body is None else body
    defaults: dict[str, Any] = {
        "tenant": "acme",
        "dialect": "thingsboard",
        "device": "boiler-7",
        "message_id": "m-1",
        "received_at": LOGGED_AT * 1000,
        "content_type": "application/json",
        "attributes": {},
        "body": body if isinstance(body, bytes) else json.dumps(body).encode(),
    }
    return RawMessage(**defaults | fields)


def record(offset: int, raw: RawMessage | None = None, *, timestamp: int = LOGGED_AT) -> Raw:
    """A record that an edge wrote: by default of a message that no other offset has."""
    raw = raw or message(message_id=f"m-{offset}")
    return Raw(
        offset=offset,
        timestamp=timestamp,
        key=f"{raw.tenant}/{raw.device}".encode(),
        value=codec.encode(raw),
        headers=[(IDENTITY_HEADER, raw.identity())],
    )


def garbage(offset: int, value: bytes | None = b"\xff\x00", *, timestamp: int = LOGGED_AT) -> Raw:
    """A record that no edge wrote."""
    return Raw(offset=offset, timestamp=timestamp, key=b"who/knows", value=value, headers=[])
