"""The peer quixstreams, as its documentation has it: a filter with state, RocksDB below it and a changelog behind it.

The state of a message's key holds the identities of its device, each an entry of its own. At least once, commits every five
seconds, its own serialiser (orjson): the defaults.
"""

import tempfile

from quixstreams import Application, State

from schemas.raw_message import RawMessage
from schemas.raw_record import read
from schemas.topics import RAW_TOPICS
from tests.bench.peer import OUT, Account, Work, refined


def main() -> None:
    """Do the work."""
    work = Work.given()
    account, devices = Account(work), work.devices()
    app = Application(
        work.bootstrap,
        consumer_group=work.group,
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
    )
    raw = app.topic(RAW_TOPICS["thingsboard"], key_deserializer="bytes", value_deserializer="bytes")
    out = app.topic(OUT, key_serializer="bytes", value_serializer="json")
    stream = app.dataframe(raw).apply(read).filter(_is_new, stateful=True)
    stream = stream.apply(lambda message: refined(message, devices)).to_topic(out)
    stream.update(lambda _: account.done())
    app.run()


def _is_new(message: RawMessage, state: State) -> bool:
    identity = message.identity().hex()
    if state.exists(identity):
        return False
    state.set(identity, True)
    return True


if __name__ == "__main__":
    main()
