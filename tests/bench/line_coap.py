"""Line coap: two readings a POST, its token in the path, beside libcoap doing nothing and stock aiocoap doing the same."""

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator, Mapping

from tests.bench.coap_wire import Load
from tests.bench.edge import edge, kafka, peer, program, under_load
from tests.bench.fleet import access_token
from tests.bench.line import OURS, Candidate, Figure, Result, play
from tests.support.coap import CON, NON
from tests.support.processes import free_ports

LIBCOAP, AIOCOAP = "libcoap no-op", "stock aiocoap"
SERVER = "coap-server-notls"
DEVICE = "boiler-7"
PATH = ("api", "v1", access_token(DEVICE), "telemetry")
BODY = b'{"temperature":21.5,"humidity":40.25}'

Server = tuple[int, int]
"""Port and process id."""


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """See `tests.bench.line`. Without libcoap's server its candidate is left out."""
    with contextlib.ExitStack() as stack:
        bootstrap = stack.enter_context(kafka([DEVICE]))
        servers = {
            OURS: stack.enter_context(edge("coap", bootstrap)),
            AIOCOAP: stack.enter_context(peer("coap", bootstrap, *PATH)),
        }
        if found := shutil.which(SERVER):
            (port,) = free_ports(1)
            # A POST makes the resource, and from then on changes it: memory is all that is touched.
            command = (found, "-A", "127.0.0.1", "-p", str(port), "-d", "10", "-v", "0")
            servers[LIBCOAP] = stack.enter_context(program(*command, port=port))
        else:
            said(f"{SERVER} is missing: install libcoap3-bin (Debian, Ubuntu)")
        yield Result(
            "coap: CON, two readings, acknowledged by Kafka",
            "requests",
            play(_candidates(servers, CON, said), rounds, said),
            ratios={LIBCOAP: 0.35, AIOCOAP: 12},
        )
        yield Result(
            "coap: NON, two readings, acknowledged by Kafka",
            "requests",
            play(_candidates(servers, NON, said), rounds, said),
        )


def _candidates(
    servers: Mapping[str, Server], mtype: object, said: Callable[[str], None]
) -> Mapping[str, Candidate]:
    def measure(name: str, server: Server) -> Figure:
        load = Load(server[0], PATH, BODY, mtype)
        figure = under_load(load, server[1])
        if load.lost:
            said(f"{name}: {load.lost} requests were not answered")
        return figure

    return {name: functools.partial(measure, name, server) for name, server in servers.items()}
