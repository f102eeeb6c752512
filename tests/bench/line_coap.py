"""Line coap: two readings a POST, beside libcoap doing nothing and stock aiocoap doing the same; and over DTLS."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.coap_wire import Channel, Plain, load
from tests.bench.coaps_wire import Secured
from tests.bench.edge import TENANT, edge, kafka, peer, program, under_load
from tests.bench.fleet import access_token, pre_shared_key
from tests.bench.line import OURS, Candidate, Figure, Result, play
from tests.support.coap import CON, NON
from tests.support.processes import free_ports

LIBCOAP, AIOCOAP = "libcoap no-op", "stock aiocoap"
UNSECURED = f"{AIOCOAP}, no DTLS"
SERVER = "coap-server-notls"
DEVICE = "boiler-7"
PATH = ("api", "v1", access_token(DEVICE), "telemetry")
SESSION_PATH = ("api", "v1", "telemetry")
"""Who speaks is what the session proved."""

BODY = b'{"temperature":21.5,"humidity":40.25}'


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test, and how to talk to it."""

    pid: int
    channel: Callable[[], Channel]
    path: tuple[str, ...] = PATH


@dataclass(frozen=True, slots=True)
class Line:
    """One way to ask, and who is asked."""

    name: str
    servers: Mapping[str, Server]
    mtype: object
    ratios: Mapping[str, float]


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """See `tests.bench.line`. Without libcoap's server its candidate is left out."""
    with contextlib.ExitStack() as stack:
        bootstrap = stack.enter_context(kafka([DEVICE]))
        coap, coaps = stack.enter_context(_edge(bootstrap))
        port, pid = stack.enter_context(peer("coap", bootstrap, *PATH))
        aiocoap = Server(pid, functools.partial(Plain, port))
        servers = {OURS: coap, AIOCOAP: aiocoap}
        if found := shutil.which(SERVER):
            (port,) = free_ports(1)
            # A POST makes the resource, and from then on changes it: memory is all that is touched.
            command = (found, "-A", "127.0.0.1", "-p", str(port), "-d", "10", "-v", "0")
            _, pid = stack.enter_context(program(*command, port=port))
            servers[LIBCOAP] = Server(pid, functools.partial(Plain, port))
        else:
            said(f"{SERVER} is missing: install libcoap3-bin (Debian, Ubuntu)")
        secured = {OURS: coaps, UNSECURED: aiocoap}
        yield _result(Line("CON", servers, CON, {LIBCOAP: 0.35, AIOCOAP: 12}), rounds, said)
        yield _result(Line("NON", servers, NON, {}), rounds, said)
        yield _result(Line("CON over DTLS", secured, CON, {UNSECURED: 3}), rounds, said)


@contextlib.contextmanager
def _edge(bootstrap: str) -> Iterator[Sequence[Server]]:
    """Our edge: without DTLS, and with."""
    (secured,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        keys = Path(folder) / "keys"
        keys.touch(0o600)
        keys.write_text(f"{DEVICE}:{pre_shared_key(DEVICE).hex()}\n")
        settings = {
            "HEADRACE_COAP__TENANT": TENANT,
            "HEADRACE_COAP__DTLS_PORT": str(secured),
            "HEADRACE_COAP__PRE_SHARED_KEYS": str(keys),
        }
        with edge("coap", bootstrap, **settings) as (port, pid):
            session = functools.partial(Secured, secured, DEVICE, pre_shared_key(DEVICE))
            yield Server(pid, functools.partial(Plain, port)), Server(pid, session, SESSION_PATH)


def _result(line: Line, rounds: int, said: Callable[[str], None]) -> Result:
    candidates: Mapping[str, Candidate] = {
        name: functools.partial(_measure, name, server, line.mtype, said)
        for name, server in line.servers.items()
    }
    title = f"coap: {line.name}, two readings, acknowledged by Kafka"
    return Result(title, "requests", play(candidates, rounds, said), ratios=line.ratios)


def _measure(name: str, server: Server, mtype: object, said: Callable[[str], None]) -> Figure:
    with load(server.channel, server.path, BODY, mtype) as sending:
        figure = under_load(sending, server.pid)
        if sending.lost:
            said(f"{name}: {sending.lost} requests were not answered")
        return figure
