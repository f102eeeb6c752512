from pathlib import Path

import pytest

from headrace.stack.clickhouse.statement import Insert, Statement, quote


@pytest.mark.parametrize(
    "head",
    [
        b"INSERT INTO t FORMAT Native\n",
        b"insert into db.t (a, `b c`) format JSONEachRow ",
        b"INSERT INTO `d`.`t` (`a`,`b`)\nFORMAT Arrow\r\n",
        b"/* why */ INSERT INTO TABLE t (* EXCEPT(a)) FORMAT CSV\n",
        b"-- why\nINSERT INTO t SETTINGS async_insert=0, insert_deduplication_token='a=b, c' FORMAT Native\n",
    ],
)
def test_the_data_of_an_insert_begins_behind_its_format(head: bytes):
    """What follows the format's name and one line break is data, byte for byte."""
    insert = Insert.parse(head + b"[\n 1]")

    assert insert is not None
    assert (head + b"[\n 1]")[insert.data_from :] == b"[\n 1]"


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT Native\n",
        b"INSERT INTO t VALUES ('x FORMAT Native\n')",
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) SELECT 'INSERT INTO t FORMAT Native\n'",
    ],
)
def test_other_statements_carry_no_data(text: bytes):
    """Queries, inserts of values and inserts of a select are the engine's to read, as a whole."""
    assert Insert.parse(text) is None


def test_an_insert_keeps_its_own_settings():
    """Settings that an insert names go with it when its data comes from a file."""
    insert = Insert.parse(b"INSERT INTO t (a) SETTINGS x='1' FORMAT CSV\n1")

    assert insert is not None
    assert (
        insert.from_file(Path("/d/it's"))
        == b"INSERT INTO t (a) FROM INFILE '/d/it\\'s' SETTINGS x='1' FORMAT CSV"
    )


def test_arguments_are_transport_settings_or_parameters():
    """Of a URL's arguments, the transport's are used up, `param_` ones are parameters, the rest are settings."""
    arguments = {"database": "d", "query_id": "q", "session_id": "s", "max_threads": "1", "param_x": "2"}

    statement = Statement.of(b"SELECT 1", arguments)

    assert (
        statement.database,
        statement.settings,
        statement.parameters,
    ) == ("d", {"max_threads": "1"}, {"x": "2"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1", "TabSeparated"),
        (b"WITH 1 AS x SELECT x FORMAT JSON", "JSON"),
        (b"(SELECT 1)", "TabSeparated"),
        (b"CREATE TABLE t (a Int8) ENGINE = Log", None),
    ],
)
def test_only_queries_have_a_format(text: bytes, expected: str | None):
    """A query's result has the format that it names or the default; a command's has none."""
    assert expected == Statement(text=text).format


def test_quotes_cannot_be_left():
    """A literal ends where it should, whatever is in it."""
    assert quote("'; DROP \\") == r"'\'; DROP \\'"
