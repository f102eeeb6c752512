import socket

import pytest

from headrace.stack.errors import StackError
from headrace.stack.ports import Port, require_free


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_taken_port_is_named(protocol: str, kind: int):
    """A port that another process has is named with its purpose and the variable that moves it."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        number = other.getsockname()[1]

        with pytest.raises(StackError) as caught:
            require_free([Port(number, "ClickHouse", "HEADRACE_STACK__CLICKHOUSE_PORT", protocol)])

    expected = (
        f"{protocol.upper()} port {number} (ClickHouse) is taken by another process; "
        "free it or set HEADRACE_STACK__CLICKHOUSE_PORT"
    )
    assert expected == str(caught.value)


def test_every_taken_port_is_named():
    """All ports that are taken are named at once, not one a try."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [Port(each.getsockname()[1], "it", "X") for each in (one, two)]

        with pytest.raises(StackError) as caught:
            require_free(ports)

    assert len(str(caught.value).splitlines()) == 2


def test_free_ports_pass():
    """Ports that nobody has are no error."""
    with socket.create_server(("127.0.0.1", 0)) as brief:
        number = brief.getsockname()[1]

    require_free([Port(number, "it", "X"), Port(number, "it", "X", "udp")])
