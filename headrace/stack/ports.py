"""Find ports that are taken before anything is started."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headrace.stack.errors import StackError


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service is going to listen on, and the variable that moves it."""

    number: int
    purpose: str
    variable: str
    protocol: Literal["tcp", "udp"] = "tcp"

    def is_free(self) -> bool:
        """True if nobody listens on it, on any address of this machine."""
        kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as probe:
            if self.protocol == "tcp":
                # Connections that are in TIME_WAIT since our last run do not count; listeners still do.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", self.number))
            except OSError:
                return False
        return True


def require_free(ports: Iterable[Port]) -> None:
    """Return if all ports are free.

    Raises:
        StackError: names each port that is taken, who was to have it, and how to choose another.

    """
    taken = [
        f"{port.protocol.upper()} port {port.number} ({port.purpose}) is taken by another process; "
        f"free it or set {port.variable}"
        for port in ports
        if not port.is_free()
    ]
    if taken:
        raise StackError("\n".join(taken))
