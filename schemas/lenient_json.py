"""JSON as Gson reads it when it is lenient: what ThingsBoard's device API accepts.

Unquoted and single-quoted names and strings, `=` or `=>` for `:`, `;` for `,`, comments, keywords in any case. A number keeps its
text; a bare word is a string, and so is `01` or `NaN`. Written after the behaviour of Gson 2.10's `JsonParser.parseString`.
"""

import re
from typing import Any

DEPTH = 100
"""Levels of nesting that are read; Gson's newer releases stop at 255, its older ones where the stack ends."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_SPACE = re.compile(r"(?:[ \t\r\n]++|//[^\r\n]*+|#[^\r\n]*+|/\*(?s:.*?)\*/)*+")
_BEGINS_SPACE = frozenset(" \t\r\n/#")
_BARE = re.compile(r"[^/\\;#={}\[\]:, \t\f\r\n]+")
_QUOTED = {
    # Possessive: there is no other way to read a string, and to remember each place for one takes 140 bytes a character.
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([^u]))", re.DOTALL)
_BROKEN_ESCAPE = re.compile(r"(?:[^\\]++|\\(?:u[0-9a-fA-F]{4}|[tbnrf\n'\"\\/]))*+", re.DOTALL)
_MEANS = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"}
_KEYWORDS = {"true": True, "false": False, "null": None}
_UNREADABLE_PREFIX = ")]}'\n"
"""What some servers put before JSON so that browsers cannot run it; Gson skips it."""


LONGEST = 128 << 10
"""Bytes that are read: what is lenient was written by a device's own hand, and a megabyte of it would keep an edge from
everybody else for a second. It is what CoAP takes of a body, unless the settings say otherwise."""


class NotJson(ValueError):
    """Not even lenient JSON."""


class Number(str):
    """A number, as it was written."""

    __slots__ = ()


def parse(body: bytes) -> Any:
    """The one value in the body: dict, list, str, bool, None or `Number`. Bytes that are no UTF-8 become U+FFFD.

    Raises:
        NotJson: it cannot be read, or something follows; or it is too long.

    """
    if len(body) > LONGEST:
        raise NotJson(f"nor is it read leniently beyond {LONGEST} bytes")
    text = body.decode(errors="replace").removeprefix("\ufeff")
    reader = _Reader(text)
    if text.startswith(_UNREADABLE_PREFIX, reader.skip()):
        reader.position += len(_UNREADABLE_PREFIX)
    value = reader.value(0)
    if reader.peek():
        raise NotJson(f"something follows at {reader.position}")
    return value


class _Reader:
    """A text, and how far it was read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.position = 0

    def skip(self) -> int:
        """Go to the next character that means something."""
        if self._text[self.position : self.position + 1] in _BEGINS_SPACE:
            found = _SPACE.match(self._text, self.position)
            self.position = found.end() if found else self.position
        return self.position

    def peek(self) -> str:
        """The next character that means something, or ""."""
        start = self.skip()
        return self._text[start : start + 1]

    def value(self, depth: int) -> Any:
        """Read one value."""
        match self.peek():
            case "{" | "[" if depth > DEPTH:
                raise NotJson("nested too deeply")
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case '"' | "'":
                return self._quoted()
            case _:
                return _meant(self._bare())

    def _object(self, depth: int) -> dict[str, Any]:
        self.position += 1
        members: dict[str, Any] = {}
        if self._take("}"):
            return members
        while True:
            name = self._quoted() if self.peek() in _QUOTED else self._bare()
            self._separate()
            members[name] = self.value(depth + 1)
            if self._take("}"):
                return members
            if not self._take(",;"):
                raise NotJson(f"an object goes on strangely at {self.position}")

    def _separate(self) -> None:
        if not self._take(":="):
            raise NotJson(f"a name without a value at {self.position}")
        if self._text.startswith("=>", self.position - 1):
            self.position += 1

    def _array(self, depth: int) -> list[Any]:
        self.position += 1
        items: list[Any] = []
        if self._take("]"):
            return items
        while True:
            # Nothing between two separators, or before the end, is null.
            items.append(None if self.peek() in (",", ";", "]") else self.value(depth + 1))
            if self._take("]"):
                return items
            if not self._take(",;"):
                raise NotJson(f"an array goes on strangely at {self.position}")

    def _take(self, characters: str) -> bool:
        found = self.peek()
        taken = found != "" and found in characters
        self.position += taken
        return taken

    def _quoted(self) -> str:
        found = _QUOTED[self._text[self.position]].match(self._text, self.position)
        if found is None:
            raise NotJson("a string that does not end")
        self.position = found.end()
        return _unescaped(found[1]) if "\\" in found[1] else found[1]

    def _bare(self) -> str:
        found = _BARE.match(self._text, self.skip())
        if found is None:
            raise NotJson(f"nothing that could be a value at {self.position}")
        self.position = found.end()
        return found[0]


def _meant(word: str) -> Any:
    if _NUMBER.fullmatch(word):
        return Number(word)
    return _KEYWORDS.get(word.lower(), word)


def _unescaped(text: str) -> str:
    if not _BROKEN_ESCAPE.fullmatch(text):
        raise NotJson("an escape sequence that means nothing")
    plain = _ESCAPE.sub(_character, text)
    # Two halves of a character were escaped one by one; half a character is none.
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _MEANS.get(found[2], found[2])
