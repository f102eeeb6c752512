"""Portrait: all that is known of one dead letter, for a person."""

import contextlib
from collections.abc import Iterator

import msgspec
from rich.markup import escape
from rich.table import Table

from headrace.dead_letters.letters import Letter
from headrace.instant import spoken
from processors.normalise import normalise
from processors.normalise.unusable import Unusable
from schemas.codec import Undecodable, decode
from schemas.dead_letter import DeadLetter
from schemas.raw_message import RawMessage

BODY_CHARACTERS = 20_000
"""Of a body, that are shown."""


def portrait(letter: Letter, dead: DeadLetter) -> Table:
    """Two columns: what, and its value; terminal codes in it are shown, not obeyed."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_death(letter, dead), *_content(dead)):
        table.add_row(name, escape(_printable(value)))
    return table


def _death(letter: Letter, dead: DeadLetter) -> Iterator[tuple[str, str]]:
    yield "id", letter.id
    yield "reason", dead.reason
    yield "error", dead.error
    yield "times", f"{letter.times:,}"
    yield "first", spoken(letter.first)
    yield "last", spoken(letter.last)
    yield "origin", f"{dead.topic} [{dead.partition}] at {dead.offset}, topic id {dead.topic_id}"
    yield "key", _text(dead.key or b"")
    yield "identity", letter.identity.hex() if letter.identity else "none"
    for name, value in dead.headers.items():
        yield f"header {name}", _text(value)


def _content(dead: DeadLetter) -> Iterator[tuple[str, str]]:
    try:
        raw = decode(RawMessage, dead.value or b"")
    except Undecodable as error:
        yield "this release", f"cannot decode it: {error}"
        yield "value", f"{len(dead.value or b''):,} bytes"
        yield "", _text(dead.value or b"")
        return
    try:
        yield "this release", f"reads {len(normalise(raw)):,} readings from it"
    except Unusable as error:
        yield "this release", f"{error.reason.value}: {error}"
    for name in ("tenant", "device", "dialect", "message_id", "content_type"):
        yield name, getattr(raw, name)
    yield "received_at", spoken(raw.received_at // 1000)
    for name, value in raw.attributes.items():
        yield name, value
    yield "body", f"{len(raw.body):,} bytes"
    yield "", _text(raw.body)


def _text(data: bytes) -> str:
    """As text if it is some, indented if it is JSON, else as hex."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _cut(data.hex(" ", 4))
    with contextlib.suppress(msgspec.DecodeError):
        text = msgspec.json.format(data, indent=2).decode()
    return _cut(text)


def _cut(text: str) -> str:
    left = len(text) - BODY_CHARACTERS
    return text if left <= 0 else f"{text[:BODY_CHARACTERS]} … and {left:,} characters more"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
