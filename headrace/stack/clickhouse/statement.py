"""What an HTTP request asks of ClickHouse, and where in its text an insert's data begins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_TRANSPORT = frozenset(
    {
        "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "compress",
        "database", "decompress", "default_format", "enable_http_compression", "http_headers_progress_interval_ms",
        "password", "query", "query_id", "quota_key", "role", "send_progress_in_http_headers", "session_check",
        "session_id", "session_timeout", "user", "wait_end_of_query",
    }
)  # fmt: skip
"""URL parameters that steer the HTTP interface; every other one is a setting of the query, as in ClickHouse."""

_GAP = rb"(?:\s|/\*.*?\*/|--[^\n]*\n)"
_NAME = rb"(?:`[^`]+`|\"[^\"]+\"|\w+)"
_VALUE = rb"(?:'(?:[^'\\]|\\.|'')*'|[\w.+-]+)"
_INSERT = re.compile(
    rb"%(gap)s*INSERT%(gap)s+INTO%(gap)s+(?P<target>(?:TABLE%(gap)s+)?%(name)s(?:\.%(name)s)?"
    rb"%(gap)s*(?:\((?:[^()]|\([^()]*\))*\))?)%(gap)s*"
    rb"(?:SETTINGS%(gap)s+(?P<settings>\w+%(gap)s*=%(gap)s*%(value)s(?:%(gap)s*,%(gap)s*\w+%(gap)s*=%(gap)s*%(value)s)*)%(gap)s+)?"
    rb"FORMAT%(gap)s+(?P<format>\w+)(?!\w)[ \t\f]*(?:\r?\n)?"
    % {b"gap": _GAP, b"name": _NAME, b"value": _VALUE},
    re.IGNORECASE | re.DOTALL,
)
_RESULT = re.compile(
    rb"%s*\(*%s*(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK|FROM)\b" % (_GAP, _GAP),
    re.IGNORECASE | re.DOTALL,
)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)


def quote(text: str) -> str:
    """The text as a ClickHouse string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Insert:
    """The head of an insert whose data follows in some format: `INSERT INTO target SETTINGS … FORMAT format`."""

    target: bytes
    settings: bytes
    format: bytes
    data_from: int

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """The head that the text begins with, or None: a query, or an insert of values, or of a select."""
        found = _INSERT.match(text)
        if found is None:
            return None
        return cls(found["target"].strip(), found["settings"] or b"", found["format"], found.end())

    def from_file(self, path: Path) -> bytes:
        """The same insert, with its data taken from a file."""
        settings = b" SETTINGS " + self.settings if self.settings else b""
        source = quote(str(path)).encode()
        return b"INSERT INTO %b FROM INFILE %b%b FORMAT %b" % (self.target, source, settings, self.format)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One thing for the engine to do, with the settings that hold for it alone."""

    text: bytes
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    default_format: str = "TabSeparated"

    @classmethod
    def of(cls, text: bytes, arguments: Mapping[str, str]) -> Self:
        """The statement that a text and the arguments of its URL make."""
        return cls(
            text=text,
            database=arguments.get("database", ""),
            settings={
                name: value
                for name, value in arguments.items()
                if name not in _TRANSPORT and not name.startswith("param_")
            },
            parameters={
                name.removeprefix("param_"): value
                for name, value in arguments.items()
                if name.startswith("param_")
            },
            default_format=arguments.get("default_format", "TabSeparated"),
        )

    @property
    def format(self) -> str | None:
        """The format of its result, or None if it is a command and has none."""
        if not _RESULT.match(self.text):
            return None
        named = _FORMAT.search(self.text)
        return named[1].decode() if named else self.default_format
