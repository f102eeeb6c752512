"""ClickHouse's ordinary client against the local engine's HTTP interface."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import aiohttp
import clickhouse_connect
import pyarrow as pa
import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from headrace.stack.stack import Stack
from tests.support.processes import stack_settings

Connect = Callable[..., Client]

EXACTLY_ONCE = {"async_insert": 0, "deduplicate_blocks_in_dependent_materialized_views": 1}


@pytest_asyncio.fixture(name="stack", scope="module", loop_scope="module")
async def _stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A running engine."""
    async with Stack(stack_settings(tmp_path_factory.mktemp("state")), services=["clickhouse"]) as stack:
        yield stack


@pytest.fixture(name="connect")
def _connect(stack: Stack) -> Connect:
    """Make a client of the running engine."""
    port = stack.settings.clickhouse_port
    return lambda **options: clickhouse_connect.get_client(host="127.0.0.1", port=port, **options)


@pytest.fixture(name="client")
def _client(connect: Connect) -> Client:
    """A client, in a database that nobody else uses."""
    client = connect()
    client.command("DROP DATABASE IF EXISTS test")
    client.command("CREATE DATABASE test")
    client.database = "test"
    return client


@pytest.fixture(name="table")
def _table(client: Client) -> str:
    """A table with an integer, a string and an instant."""
    client.command(
        "CREATE TABLE t (a Int64, b LowCardinality(String), at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY a"
    )
    return "t"


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_rows_come_back(client: Client, connect: Connect, table: str, compress: str | bool):
    """Rows that are inserted are read back the same, under each compression, both ways."""
    other = connect(compress=compress, database="test")
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    rows = [(number, f"it's {number}\t\\\n", at) for number in range(2000)]

    summary = other.insert(table, rows, column_names=["a", "b", "at"])

    assert summary.written_rows == 2000
    assert rows == other.query("SELECT * FROM t ORDER BY a", tz_mode="aware").result_rows


def test_arrow_comes_back(client: Client, table: str):
    """An Arrow table that is inserted is read back the same."""
    values = {
        "a": pa.array([1, 2]),
        "b": pa.array(["x", "y"]),
        "at": pa.array([1, 2], pa.timestamp("ms", "UTC")),
    }

    client.insert_arrow(table, pa.table(values))

    read = client.query_arrow("SELECT * FROM t ORDER BY a", use_strings=True)
    assert {name: column.to_pylist() for name, column in values.items()} == read.to_pydict()


def test_frames_commands_and_parameters(client: Client, table: str):
    """Data frames, commands and bound parameters work as on a server, also when a parameter is too long for a URL."""
    client.command("INSERT INTO t (a, b) VALUES", data="(1, 'x'), (2, 'y')")

    assert client.query_df("SELECT * FROM t").shape == (2, 3)
    assert client.command("SHOW TABLES") == "t"
    assert client.command("SELECT b FROM t WHERE a = {a:Int64}", parameters={"a": 2}) == "y"
    long = {"text": "it's\t" * 20_000}
    assert client.command("SELECT length({text:String})", parameters=long) == 100_000


def test_raw_data_of_any_format(client: Client, table: str):
    """Data in a text format is inserted as it is, from bytes and from a stream."""
    client.raw_insert(table, ["a", "b"], b'{"a": 1, "b": "x"}\n', fmt="JSONEachRow")
    client.raw_insert(table, ["a", "b"], iter([b"2,", b"y\n"]), fmt="CSV")

    assert client.raw_query("SELECT a, b FROM t ORDER BY a") == b"1\tx\n2\ty\n"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_async_client(stack: Stack, client: Client, table: str):
    """The asynchronous client inserts and queries."""
    port = stack.settings.clickhouse_port
    async with await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=port, database="test"
    ) as other:
        await other.insert(table, [[1, "x"]], column_names=["a", "b"])

        assert (await other.query("SELECT count() FROM t")).result_rows == [(1,)]
        assert (await other.query_arrow("SELECT * FROM t")).num_rows == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_curl(stack: Stack, client: Client):
    """A plain GET is answered as text and may not write; `/ping` says Ok."""
    async with aiohttp.ClientSession(stack.clickhouse_url) as session:
        async with session.get("/", params={"query": "SELECT 1"}) as response:
            assert (response.status, await response.text()) == (200, "1\n")
        async with session.get("/", params={"query": "CREATE DATABASE x"}) as response:
            assert response.headers["X-ClickHouse-Exception-Code"] == "164"
        async with session.post("/", data="SELECT 1 FORMAT JSONCompactEachRow") as response:
            assert await response.text() == "[1]\n"
        async with session.get("/ping") as response:
            assert await response.text() == "Ok.\n"


@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT 1 +", 62, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_have_clickhouses_codes(client: Client, statement: str, code: int, name: str):
    """A statement that fails raises the client's error, with the code and name that ClickHouse gives it."""
    with pytest.raises(DatabaseError) as caught:
        client.command(statement)

    assert (code, name) == (caught.value.code, caught.value.name)


def test_an_insert_that_fails_inserts_nothing(client: Client, table: str):
    """An insert whose data is torn is an error, and none of its rows are there."""
    data = b'{"a": 1}\n{"a": '

    with pytest.raises(DatabaseError):
        client.raw_insert(table, ["a"], data, fmt="JSONEachRow")

    assert client.command("SELECT count() FROM t") == 0


def test_settings_hold_for_their_own_statement(client: Client, connect: Connect):
    """Of statements that run at the same time, each has its own settings, also behind one that failed."""
    asked = connect(autogenerate_session_id=False)

    def ask(number: int) -> int:
        wanted = {"max_block_size": 1000 + number} if number % 2 else {}
        if number % 3 == 0:
            with pytest.raises(DatabaseError):
                asked.command("SELECT throwIf(1)", settings={"max_block_size": 77})
        return asked.command("SELECT getSetting('max_block_size')", settings=wanted)

    default = client.command("SELECT getSetting('max_block_size')")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(80)))

    assert [1000 + number if number % 2 else default for number in range(80)] == answers


def _deduplicated(client: Client) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    client.command(
        f"CREATE TABLE source (a Int64, b String) ENGINE = MergeTree PARTITION BY a % 3 ORDER BY a {window}"
    )
    client.command(f"CREATE TABLE target (b String, n UInt64) ENGINE = SummingMergeTree ORDER BY b {window}")
    client.command("CREATE MATERIALIZED VIEW v TO target AS SELECT b, count() AS n FROM source GROUP BY b")


def _counts(client: Client) -> tuple[int, int]:
    return client.command("SELECT count() FROM source"), client.command("SELECT sum(n) FROM target")


def _block(rows: int) -> pa.Table:
    numbers = pa.array(range(rows))
    words = pa.array([f"word {number % 10}" for number in range(rows)]).dictionary_encode()
    return pa.table({"a": numbers, "b": words}).combine_chunks()


@pytest.mark.parametrize("rows", [10, 100_000, 1_048_448])
def test_an_arrow_table_is_one_block(client: Client, rows: int):
    """The same table and token, sent again, are stored once, in the table and through a materialized view."""
    _deduplicated(client)
    block, settings = _block(rows), EXACTLY_ONCE | {"insert_deduplication_token": "t:0-9"}

    client.insert_arrow("source", block, settings=settings)
    parts = client.command("SELECT count() FROM system.parts WHERE database = 'test' AND table = 'source'")
    client.insert_arrow("source", block, settings=settings)

    assert parts == 3  # one a partition
    assert (rows, rows) == _counts(client)


def test_a_token_is_what_counts(client: Client):
    """Equal rows under another token are other rows."""
    _deduplicated(client)

    for token in ("one", "two"):
        client.insert_arrow(
            "source", _block(10), settings=EXACTLY_ONCE | {"insert_deduplication_token": token}
        )

    assert _counts(client) == (20, 20)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_survives_a_kill(stack: Stack, client: Client):
    """After kill -9 and a restart the rows are there, and the same token is still known."""
    _deduplicated(client)
    settings = EXACTLY_ONCE | {"insert_deduplication_token": "t:0-9"}
    client.insert_arrow("source", _block(100), settings=settings)
    killed = stack.pid("clickhouse")

    os.kill(killed, signal.SIGKILL)
    await stack.restarted("clickhouse", after_pid=killed)
    await asyncio.to_thread(client.insert_arrow, "source", _block(100), settings=settings)

    assert _counts(client) == (100, 100)
    assert list((stack.state.clickhouse / "uploads").iterdir()) == []
