"""Dialect: one vendor's HTTP protocol, and the requests, headers and empty answers that all of them share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from aiohttp import hdrs, web

from producers.http.bearer import Tenants
from producers.http.refusal import Refusal
from runtime.devices import Devices
from schemas.raw_message import RawMessage


class Request(web.BaseRequest):
    """A request, and what its path says."""

    parameters: Mapping[str, str] = MappingProxyType({})
    """What stands in the path where the dialect's path has a name in braces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a dialect asks before it lets a message in."""

    tenants: Tenants
    devices: Devices


class Speaker(NamedTuple):
    """Who a request speaks for, as far as that can be said before its body is read."""

    tenant: str
    device: str
    """Empty where the body says which devices it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A line of the table `producers.http.application.DIALECTS`.

    Args:
        name: as in `schemas.topics.RAW_TOPICS`.
        prefixes: every path below these is answered in this dialect, errors of the framework included.
        paths: what devices POST to; a name in braces stands for one segment.
        admit: who speaks, or a `Refusal`. Reads no body.
        read: the body of who may speak, whole and inflated, as messages, one if the device was known before; or a `Refusal`.
            Publishes nothing: the application does, and answers afterwards.
        success: the answer once every message is on the log.
        refuse: the answer that says why not.

    """

    name: str
    prefixes: Sequence[str]
    paths: Sequence[str]
    admit: Callable[[Request, Door], Awaitable[Speaker]]
    read: Callable[[Request, Speaker, bytes], Sequence[RawMessage]]
    success: Callable[[Request], web.StreamResponse]
    refuse: Callable[[Request, Refusal], web.StreamResponse]


def check_json(request: Request) -> None:
    """Refuse what does not say that it is JSON.

    Raises:
        Refusal: another media type.

    """
    if request.headers.get(hdrs.CONTENT_TYPE) != "application/json" != request.content_type:
        raise Refusal(415, "Content-Type must be application/json.")


def printable(headers: Mapping[str, str], name: str) -> str:
    """A header that may be stored and echoed: "" where it is missing, or holds bytes that are no text."""
    value = headers.get(name, "")
    return value if value.isprintable() else ""
