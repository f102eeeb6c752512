"""What the tables know of a partition, as it is asked."""

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from sinks.clickhouse.writer import ClickHouseSink


class EmptyClickHouse:
    """Has nothing, and keeps what it is told."""

    server_settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        self.requests: list[str] = []

    def command(self, statement: str) -> None:
        """As clickhouse-connect."""
        self.requests.append(statement)

    def query(self, query: str, parameters: Any) -> Any:
        """As clickhouse-connect."""
        self.requests.append(query.split(maxsplit=1)[0])
        return SimpleNamespace(result_rows=[])


@pytest.mark.parametrize(
    ("cluster", "before"),
    [("", []), ("c", ["SYSTEM SYNC REPLICA messages", "SYSTEM SYNC REPLICA readings"])],
)
def test_a_replica_catches_up_before_it_is_asked(cluster: str, before: list[str]):
    """On a cluster the replica first gets what the others have: the last owner may have written to another one."""
    client = EmptyClickHouse()

    assert ClickHouseSink(client, cluster=cluster).stored(0) == {}
    assert client.requests == [*before, "SELECT", "SELECT"]
