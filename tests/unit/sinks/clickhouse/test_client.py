"""ClickHouse's errors as ours."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    OperationalError,
    ProgrammingError,
)
from urllib3.exceptions import ReadTimeoutError

from sinks.clickhouse.client import connect
from sinks.clickhouse.errors import translated
from sinks.settings import ClickHouseSettings
from sinks.sink import Retryable, Unwritable

ANSWER = "Received ClickHouse exception, code: {0}, server response: Code: {0}. DB::Exception: {1} (version 26.9.2.1)"
GATEWAY = (
    "HTTP driver received HTTP status {0}, server response: <html>upstream</html> (for url http://ch:8123)"
)
REFUSED = "Error HTTPConnectionPool(host='ch', port=8123): Max retries exceeded with url: /?query_id=33"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseError(ANSWER.format(159, "Timeout exceeded")), "TIMEOUT_EXCEEDED"),
        (DatabaseError(ANSWER.format(241, "Query memory limit exceeded")), "MEMORY_LIMIT_EXCEEDED"),
        (DatabaseError(ANSWER.format(252, "Too many parts")), "TOO_MANY_PARTS"),
        (DatabaseError(ANSWER.format(319, "Unknown status of an insert")), "UNKNOWN_STATUS_OF_INSERT"),
        (DatabaseError(ANSWER.format(394, "Query was cancelled")), "QUERY_WAS_CANCELLED"),
        (OperationalError(ANSWER.format(242, "Table is in readonly mode")), "TABLE_IS_READ_ONLY"),
        (OperationalError(GATEWAY.format(503)), "connection"),
        (DatabaseError(GATEWAY.format(502)), "connection"),
        (DatabaseError(GATEWAY.format(504)), "connection"),
        (DatabaseError(GATEWAY.format(502) + "<p>Error code: 60</p>"), "connection"),
        (OperationalError(REFUSED), "connection"),
        (ReadTimeoutError(None, "/", "Read timed out."), "connection"),  # type: ignore[arg-type]
        (ConnectionResetError("reset by peer"), "connection"),
        (TimeoutError("timed out"), "connection"),
    ],
)
def test_what_passes_is_retryable(error: Exception, code: str):
    """What time or an operator can heal is to be tried again, with a short code for the metric."""
    with pytest.raises(Retryable) as found, translated():
        raise error

    assert found.value.code == code


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError(ANSWER.format(60, "Table default.readings does not exist")),
        DatabaseError(ANSWER.format(16, "No such column b in table")),
        DatabaseError(ANSWER.format(516, "Authentication failed")),
        OperationalError(ANSWER.format(62, "Syntax error, see Code: 241")),
        DatabaseError(GATEWAY.format(404)),
        DatabaseError(GATEWAY.format(413)),
        ProgrammingError("Unknown setting"),
        ClickHouseError(""),
    ],
)
def test_what_stays_is_unwritable(error: Exception):
    """What would fail again is not to be tried again, and says what ClickHouse said."""
    with pytest.raises(Unwritable) as found, translated():
        raise error

    assert str(found.value) == str(error)


def test_other_errors_are_not_touched():
    """An error of our own code stays what it is."""
    with pytest.raises(KeyError), translated():
        raise KeyError


@pytest.fixture(name="gateway")
def _gateway() -> Iterator[http.server.HTTPServer]:
    """A server that is not ClickHouse."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_gateway_without_clickhouse_is_retryable(gateway: http.server.HTTPServer):
    """A gateway that cannot reach ClickHouse is waited for: so says the client's own exception."""
    settings = ClickHouseSettings(url=f"http://127.0.0.1:{gateway.server_port}")

    with pytest.raises(Retryable, match="502"):
        connect(settings, insert_timeout=5)


def test_nobody_there_is_retryable(gateway: http.server.HTTPServer):
    """A port that nobody listens on is waited for: so says the client's own exception."""
    gateway.server_close()

    with pytest.raises(Retryable, match="refused"):
        connect(ClickHouseSettings(url=f"http://127.0.0.1:{gateway.server_port}"), insert_timeout=5)
