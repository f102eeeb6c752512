"""The embedded ClickHouse engine: open it once, give every statement a session of its own."""

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import chdb

from headrace.stack.clickhouse.statement import Statement, quote

_CODE = re.compile(r"Code: (\d+)\. ")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PYTHON_ONLY = frozenset({"arrowtable", "dataframe", "datastore"})
"""Formats that only chDB knows, and answers with Python objects."""


class EngineError(RuntimeError):
    """The engine refused a statement; `code` is ClickHouse's own error code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def of(cls, error: Exception) -> Self:
        """The same error, with the code that its message names (1002: unknown)."""
        message = str(error).strip()
        found = _CODE.search(message)
        return cls(message, int(found[1]) if found else 1002)


class EngineBusyError(RuntimeError):
    """Another process has had the data open for longer than we were told to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the engine said to one statement."""

    body: bytes
    rows_read: int
    bytes_read: int
    rows_written: int
    bytes_written: int
    seconds: float


def await_lock(path: Path, *, deadline: float) -> None:
    """Return once no process holds the engine's lock on the folder.

    The engine itself tries its lock once and gives up. The process that was here before us may still be in the
    act of dying, and the kernel frees its lock only then.
    """
    status = path / "status"
    until = time.monotonic() + deadline
    while status.exists():
        with status.open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    holder = status.read_text(errors="replace").partition("\n")[0]
                    raise EngineBusyError(f"{path} is open in another process ({holder})") from error
            else:
                return
        time.sleep(0.05)


class Engine:
    """The engine on one folder. One a process; sessions may run in as many threads as there are."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.version = ""
        self.timezone = ""

    @contextmanager
    def opened(self, *, lock_deadline: float = 15) -> Iterator[Self]:
        """Keep the engine running inside the block, background merges included."""
        Path(self._path).mkdir(parents=True, exist_ok=True)
        await_lock(Path(self._path), deadline=lock_deadline)
        with closing(chdb.connect(self._path)):
            facts = self.run(Statement(text=b"SELECT version(), timezone()")).body.decode()
            self.version, self.timezone = facts.strip().split("\t")
            yield self

    def run(self, statement: Statement) -> Answer:
        """Run one statement in a new session, and drop the session.

        A session costs a quarter of a millisecond. In exchange no setting, database or temporary table can
        outlive its request, also when resetting it would have failed.

        Raises:
            EngineError: the statement was refused or failed.

        """
        if statement.default_format.lower() in _PYTHON_ONLY:
            raise EngineError(f"Code: 73. DB::Exception: Unknown format {statement.default_format}.", 73)
        text = _preamble(statement) + statement.text
        try:
            with closing(chdb.connect(self._path)) as session:
                parameters = dict(statement.parameters)
                # Bytes are taken as they are: a statement need not be UTF-8.
                result = session.query(text, statement.default_format, parameters)
                return Answer(
                    body=result.bytes() or b"",
                    rows_read=result.storage_rows_read(),
                    bytes_read=result.storage_bytes_read(),
                    rows_written=result.rows_written(),
                    bytes_written=result.bytes_written(),
                    seconds=result.elapsed(),
                )
        except RuntimeError as error:
            raise EngineError.of(error) from error


def _preamble(statement: Statement) -> bytes:
    """What prepares the session: its database and settings, in one round trip with the statement itself."""
    for name in statement.settings:
        if not _SETTING.fullmatch(name):
            raise EngineError(
                f"Code: 115. DB::Exception: Unknown setting {quote(name)}. (UNKNOWN_SETTING)", 115
            )
    database = statement.database.replace("\\", "\\\\").replace("`", "\\`")
    use = f"USE `{database}`; " if database else ""
    values = ", ".join(f"{name}={quote(value)}" for name, value in statement.settings.items())
    return f"{use}SET {values}; ".encode() if values else use.encode()
