"""Numbered SQL files, each applied once."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from sinks.clickhouse import canary, migrations
from sinks.clickhouse.migrations import migrate
from sinks.sink import Unwritable


@dataclass
class MemoryClient:
    """A ClickHouse that remembers statements and the ledger."""

    ledger: dict[str, str] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    fail_at: str = "\0"

    @property
    def result_rows(self) -> list[tuple[str, str]]:
        """As clickhouse-connect."""
        return list(self.ledger.items())

    def query(self, _: str) -> Any:
        """As clickhouse-connect."""
        return self

    def command(self, statement: str) -> None:
        """As clickhouse-connect."""
        if self.fail_at in statement:
            raise ConnectionResetError
        self.statements.append(statement)

    def insert(self, _: str, rows: list[list[str]], column_names: list[str]) -> None:
        """As clickhouse-connect."""
        self.ledger |= dict(rows)  # type: ignore[arg-type]


def _code(statement: str) -> str:
    """A statement without its comments."""
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()


NAMES = [name for name, _ in migrations._files()]


def test_every_file_is_applied_in_order():
    """A new database gets every file, by number."""
    client = MemoryClient()

    assert migrate(client) == NAMES == sorted(NAMES)


def test_what_was_applied_is_not_applied_again():
    """A database that is up to date gets nothing but the question."""
    client = MemoryClient()
    migrate(client)
    client.statements.clear()

    assert migrate(client) == []
    assert len(client.statements) == 1


def test_a_file_that_was_cut_off_is_applied_from_its_start():
    """A file is noted after its last statement only: the next start does all of it again."""
    client = MemoryClient(fail_at="latest_feed")
    with pytest.raises(Exception, match="ConnectionResetError"):
        migrate(client)

    client.fail_at = "\0"

    assert migrate(client) == [name for name in NAMES if name >= "0004"]


def test_a_file_that_was_changed_is_refused():
    """A file that was applied and is another one now is named."""
    client = MemoryClient()
    migrate(client)
    client.ledger[NAMES[1]] = "of another text"

    with pytest.raises(Unwritable, match=rf"migration {NAMES[1]} was applied in another version"):
        migrate(client)


def test_every_piece_is_a_whole_statement():
    """Cutting the files into statements cuts no comment and no string: each begins as a statement and is balanced."""
    client = MemoryClient()
    migrate(client)

    for statement in map(_code, client.statements):
        assert statement.startswith(("CREATE ", "ALTER TABLE "))
        assert statement.count("(") == statement.count(")")
        assert statement.count("'") % 2 == 0


def test_every_statement_can_be_repeated():
    """Two sinks may migrate at once, and a migration may be cut off: every statement says IF NOT EXISTS, or sets a setting."""
    client = MemoryClient()
    migrate(client)

    assert [s for s in client.statements if not re.search(" IF NOT EXISTS | MODIFY SETTING ", s)] == []


def test_every_table_of_rows_has_a_window():
    """Every table that is inserted into, or fed by a view, remembers as many tokens as the canary asks for."""
    client = MemoryClient()
    migrate(client)

    tables = [s for s in map(_code, client.statements) if "MergeTree" in s and "schema_migrations" not in s]
    assert len(tables) == 5
    names = {re.search(r"EXISTS (\w+)", table)[1] for table in tables}  # type: ignore[index]
    window = f"MODIFY SETTING non_replicated_deduplication_window = {canary.LEAST_WINDOW}"
    assert names == {s.split()[2] for s in map(_code, client.statements) if s.endswith(window)}


def test_a_cluster_has_replicas_that_remember_for_a_week():
    """On a cluster tables are replicated, and forget no token before `readings` forgets the batch."""
    client = MemoryClient()
    migrate(client, cluster="main")

    tables = [s for s in map(_code, client.statements) if "MergeTree" in s and "schema_migrations" not in s]
    window = "replicated_deduplication_window_seconds = 604800, replicated_deduplication_window = 10000"
    assert [s for s in tables if f"SETTINGS {window}" not in s or "ENGINE = Replicated" not in s] == []
    assert [s for s in client.statements if "ON CLUSTER `main`" not in s] == []
