"""What an edge holds that knows ever more devices, and has heard from each of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.bench import http_wire
from tests.bench.coap_fleet import send
from tests.bench.edge import TOKEN, edge, register
from tests.bench.held import Held
from tests.bench.resident import sample

DEVICES = (1_000, 10_000, 100_000)
MOST_MB = 150
"""With as many as there are at most."""

SECONDS = 2.0
"""Of load, until it is asked again whether all were heard."""
CONNECTIONS = 64

Heard = Callable[[int, Sequence[str]], None]


def results(bootstrap: str, said: Callable[[str], None]) -> Iterator[Held]:
    """Play the part; each edge is a process of its own for each number of devices."""
    sizes: dict[str, dict[str, float]] = {protocol: {} for protocol in HEARD}
    names: list[str] = []
    for count in DEVICES:
        more = [_name(number) for number in range(len(names), count)]
        register(bootstrap, more)
        names += more
        for protocol, heard in HEARD.items():
            with edge(protocol, bootstrap) as (port, pid):
                heard(port, names)
                size = sizes[protocol][f"{count:,} devices"] = sample(pid).resident * (1 << 20) / 1e6
            said(f"{protocol} edge, {count:,} devices: {size:.0f} MB")
    for protocol, found in sizes.items():
        yield Held(f"growth: {protocol} edge, each device known and heard", "MB", found, MOST_MB)


def _name(number: int) -> str:
    return f"boiler-{number:08}"


class _InTurn(http_wire.Load):
    """Another device each time."""

    def __init__(self, port: int, request: bytes, devices: int) -> None:
        super().__init__(port, request, CONNECTIONS)
        self.devices = devices

    @property
    def missing(self) -> bool:
        """Whether there are devices left that nothing was sent of."""
        return self._sent < self.devices

    def _next(self) -> bytes:
        self._sent += 1
        return b"%b%08d%b" % (self._before, self._sent % self.devices, self._after)


def _over_http(port: int, names: Sequence[str]) -> None:
    request = http_wire.post(
        "/digitaltwins/boiler-#NUMBER#/telemetry?api-version=2023-10-31",
        b'{"temperature":21.5,"humidity":40.25}',
        Authorization=f"Bearer {TOKEN}",
        Message_Id="message-1",
    )
    load = _InTurn(port, request, len(names))
    while load.missing:
        load(SECONDS)


def _over_coap(port: int, names: Sequence[str]) -> None:
    heard = 0
    while heard < len(names):
        # Devices take turns, from the first that is named.
        sent = send(port, names[heard:], None, SECONDS)
        assert sent.refused == sent.lost == 0, sent
        heard += sent.accepted


HEARD: Mapping[str, Heard] = {"http": _over_http, "coap": _over_coap}
