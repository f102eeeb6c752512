"""ClickHouse's errors as ours: which of them time or an operator can heal."""

import contextlib
import re
from collections.abc import Iterator

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3.exceptions import HTTPError

from sinks.sink import Retryable, Unwritable

RETRYABLE = {
    "UNEXPECTED_END_OF_FILE": 3,
    "CANNOT_READ_ALL_DATA": 33,
    "CANNOT_READ_FROM_FILE_DESCRIPTOR": 74,
    "CANNOT_WRITE_TO_FILE_DESCRIPTOR": 75,
    "CANNOT_OPEN_FILE": 76,
    "CANNOT_READ_FROM_SOCKET": 95,
    "CANNOT_WRITE_TO_SOCKET": 96,
    "FILE_DOESNT_EXIST": 107,
    "TIMEOUT_EXCEEDED": 159,
    "TOO_SLOW": 160,
    "READONLY": 164,
    "CANNOT_ALLOCATE_MEMORY": 173,
    "DNS_ERROR": 198,
    "QUOTA_EXCEEDED": 201,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 202,
    "NO_FREE_CONNECTION": 203,
    "CANNOT_FSYNC": 204,
    "SOCKET_TIMEOUT": 209,
    "NETWORK_ERROR": 210,
    "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING": 216,
    "NO_ZOOKEEPER": 225,
    "ABORTED": 236,
    "MEMORY_LIMIT_EXCEEDED": 241,
    "TABLE_IS_READ_ONLY": 242,
    "NOT_ENOUGH_SPACE": 243,
    "UNEXPECTED_ZOOKEEPER_ERROR": 244,
    "TOO_MANY_PARTS": 252,
    "NO_ACTIVE_REPLICAS": 254,
    "ALL_CONNECTION_TRIES_FAILED": 279,
    "TOO_FEW_LIVE_REPLICAS": 285,
    "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE": 286,
    "REPLICA_IS_NOT_IN_QUORUM": 289,
    "LIMIT_EXCEEDED": 290,
    "UNKNOWN_STATUS_OF_INSERT": 319,
    "UNFINISHED": 341,
    "RECEIVED_ERROR_TOO_MANY_REQUESTS": 364,
    "PART_IS_TEMPORARILY_LOCKED": 384,
    "QUERY_WAS_CANCELLED": 394,
    "REPLICA_STATUS_CHANGED": 416,
    "SYSTEM_ERROR": 425,
    "CANNOT_SCHEDULE_TASK": 439,
    "DEADLOCK_AVOIDED": 473,
    "S3_ERROR": 499,
    "AZURE_BLOB_STORAGE_ERROR": 500,
    "NOT_A_LEADER": 529,
    "RAFT_ERROR": 568,
    "NOT_INITIALIZED": 667,
    "THREAD_WAS_CANCELED": 677,
    "TOO_MANY_MUTATIONS": 692,
    "USER_SESSION_LIMIT_EXCEEDED": 700,
    "TABLE_IS_BEING_RESTARTED": 733,
    "QUERY_WAS_CANCELLED_BY_CLIENT": 735,
    "SERVER_OVERLOADED": 745,
    "TCP_CONNECTION_LIMIT_REACHED": 749,
    "HTTP_CONNECTION_LIMIT_REACHED": 762,
    "TABLE_IS_PERMANENTLY_READ_ONLY": 774,
    "MEMORY_RESERVATION_KILLED": 777,
    "MEMORY_RESERVATION_FAILED": 778,
    "KEEPER_EXCEPTION": 999,
    "POCO_EXCEPTION": 1000,
    "STD_EXCEPTION": 1001,
    "ASYNC_INSERT_FLUSH_TIMEOUT": 1017,
    "EXCHANGE_PEER_DISCONNECTED": 1018,
    "QUERY_SLOT_ACQUISITION_TIMEOUT": 1019,
    "MEMORY_RESERVATION_ACQUISITION_TIMEOUT": 1020,
}
"""ClickHouse's names and codes of what may pass: time-outs, network, memory, disk, read-only, too many parts or queries, a
server that shuts down, an insert of unknown status, trouble with Keeper, quorum or object storage.

One that is missing here costs nothing but the wait for a harmless insert, which then is refused too.
"""

_NAMES = {str(code): name for name, code in RETRYABLE.items()}
_CODE = re.compile(r"ClickHouse (?:exception, |error )code:? (\d+)|Code: (\d+)\. DB::")
_GATEWAY = re.compile(r"HTTP status (?:408|429|5\d\d)\b")
"""An answer of something between ClickHouse and us, which has no code of ClickHouse."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Let nothing of clickhouse-connect or urllib3 out: only `Retryable` and `Unwritable`."""
    try:
        yield
    except ClickHouseError as error:
        found = _CODE.search(str(error))
        code = next(filter(None, found.groups())) if found else ""
        away = isinstance(error, OperationalError) or _GATEWAY.search(str(error))
        if code in _NAMES or (not code and away):
            raise Retryable(str(error), code=_NAMES.get(code, "connection")) from error
        raise Unwritable(str(error), code=code or "client") from error
    except (HTTPError, OSError) as error:
        raise Retryable(f"{type(error).__name__}: {error}", code="connection") from error
