"""Which dialect a path belongs to, and what it says."""

import re
from collections.abc import Mapping

from aiohttp import web

from producers.http.dialect import Dialect

_NAME = re.compile(r"\{(\w+)\}")


class Route:
    """The paths of one dialect.

    Paths are those that aiohttp unquotes but for `%2F` and `%25`, so that a slash within a segment stays one.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._exactly = tuple(dialect.prefixes)
        self._below = tuple(f"{prefix}/" for prefix in dialect.prefixes)
        self._paths = [re.compile(_pattern(path)) for path in dialect.paths]

    def is_for(self, path: str) -> bool:
        """Whether whatever is said about the path is said in the dialect."""
        return path.startswith(self._below) or path in self._exactly

    def parameters(self, path: str) -> Mapping[str, str]:
        """What stands in the path where the dialect's has names.

        Raises:
            web.HTTPNotFound: the dialect has no such path.

        """
        for pattern in self._paths:
            if found := pattern.fullmatch(path):
                said = found.groupdict()
                return {name: _unquoted(value) for name, value in said.items()} if "%" in path else said
        raise web.HTTPNotFound


def _pattern(path: str) -> str:
    # Braces are left to those who forgot to fill in a name.
    return "".join(
        f"(?P<{part}>[^{{}}/]+)" if number % 2 else re.escape(part)
        for number, part in enumerate(_NAME.split(path))
    )


def _unquoted(segment: str) -> str:
    return segment.replace("%2F", "/").replace("%25", "%")
