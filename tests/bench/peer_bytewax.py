"""The peer bytewax, as its documentation has it: the Kafka operators, and a stateful operator keyed by device.

The state of a key is the set of identities of its device, in memory. One worker, batches of a thousand, no recovery: the
defaults. It has no serialiser of its own; orjson is the fastest that its documentation uses.
"""

from collections.abc import Iterable

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from schemas.raw_message import RawMessage
from schemas.raw_record import read
from schemas.topics import RAW_TOPICS
from tests.bench.peer import OUT, Account, Work, refined


def main() -> None:
    """Do the work."""
    work = Work.given()
    account, devices = Account(work), work.devices()

    def put_out(keyed: tuple[str, RawMessage]) -> KafkaSinkMessage[bytes, bytes]:
        device, message = keyed
        value = orjson.dumps(refined(message, devices))
        account.done()
        return KafkaSinkMessage(device.encode(), value)

    flow = Dataflow("bench")
    brokers, topics = [work.bootstrap], [RAW_TOPICS["thingsboard"]]
    raw = kop.input("raw", flow, brokers=brokers, topics=topics, starting_offset=work.offset)
    keyed = op.map("read", raw.oks, lambda record: _by_device(read(record.value or b"")))
    new = op.stateful_flat_map("de-duplicate", keyed, _new)
    kop.output("out", op.map("refine", new, put_out), brokers=brokers, topic=OUT)
    cli_main(flow)


def _by_device(message: RawMessage) -> tuple[str, RawMessage]:
    return message.device, message


def _new(seen: set[bytes] | None, message: RawMessage) -> tuple[set[bytes], Iterable[RawMessage]]:
    seen, identity = set() if seen is None else seen, message.identity()
    if identity in seen:
        return seen, ()
    seen.add(identity)
    return seen, (message,)


if __name__ == "__main__":
    main()
