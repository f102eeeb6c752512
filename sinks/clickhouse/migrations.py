"""Bring the tables up to date: numbered SQL files, each applied once, none changed afterwards."""

from collections.abc import Iterator
from hashlib import sha256
from importlib import resources
from string import Template
from typing import Any

from sinks.clickhouse.errors import translated
from sinks.sink import Unwritable

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations ${on_cluster}
(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ${replicated}MergeTree ORDER BY name
"""

# Replicas forget by age too, after an hour unless told otherwise: a batch may wait as long as `readings` keeps it.
_REPLICATED_WINDOW = "replicated_deduplication_window_seconds = 604800, replicated_deduplication_window"


def migrate(client: Any, *, cluster: str = "") -> list[str]:
    """Apply the files that are missing, in order; return their names.

    Every statement says IF NOT EXISTS or sets a setting, so that two processes may migrate at the same time, and a file that was cut off in
    the middle is finished by the next start.

    Raises:
        Unwritable: a file that was applied has changed since.
        Retryable: ClickHouse is away or not able to; again from the start.

    """
    with translated():
        client.command(_rendered(_LEDGER, cluster))
        applied = dict(client.query("SELECT name, checksum FROM schema_migrations").result_rows)
        done = []
        for name, text in _files():
            checksum = sha256(text.encode()).hexdigest()
            if name not in applied:
                for statement in text.split(";\n"):
                    if statement.strip():
                        client.command(_rendered(statement, cluster))
                client.insert("schema_migrations", [[name, checksum]], column_names=["name", "checksum"])
                done.append(name)
            elif applied[name] != checksum:
                raise Unwritable(
                    f"migration {name} was applied in another version; add a new file, never edit an old one"
                )
        return done


def _files() -> Iterator[tuple[str, str]]:
    folder = resources.files("sinks.clickhouse") / "sql"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            yield file.name, file.read_text(encoding="utf-8")


def _rendered(statement: str, cluster: str) -> str:
    """The statement for one server, or for every replica of a cluster."""
    return Template(statement).substitute(
        on_cluster=f"ON CLUSTER `{cluster}`" if cluster else "",
        replicated="Replicated" if cluster else "",
        dedup_window=_REPLICATED_WINDOW if cluster else "non_replicated_deduplication_window",
    )
