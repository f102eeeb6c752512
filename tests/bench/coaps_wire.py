"""A DTLS session for the load of a bench: its handshake is over before a request is sent."""

from OpenSSL import SSL

from tests.bench.coap_wire import BYTES, Plain
from tests.support.dtls import connection, output

HANDSHAKE_SECONDS = 10.0


class Secured:
    """DTLS with a pre-shared key, over UDP."""

    def __init__(self, port: int, identity: str, key: bytes) -> None:
        self.socket = Plain(port).socket
        self.socket.settimeout(HANDSHAKE_SECONDS)
        self._connection = connection(key=(identity, key))
        self._shake_hands()

    def send(self, message: bytes) -> None:
        """See `Channel.send`."""
        self._connection.send(message)
        self.socket.send(self._connection.bio_read(BYTES))

    def receive(self) -> bytes:
        """See `Channel.receive`. Each record of the edge has a datagram of its own."""
        self._connection.bio_write(self.socket.recv(BYTES))
        return self._connection.recv(BYTES)

    def _shake_hands(self) -> None:
        while True:
            try:
                self._connection.do_handshake()
            except SSL.WantReadError:
                self._flush()
                self._connection.bio_write(self.socket.recv(BYTES))
            else:
                self._flush()
                return

    def _flush(self) -> None:
        for datagram in output(self._connection):
            self.socket.send(datagram)
