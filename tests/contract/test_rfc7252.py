"""RFC 7252 (and 7967), line by line, as a device sees the edge."""

from typing import Any

import pytest
from aiocoap import Code, Message
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.optiontypes import OpaqueOption

from runtime.publisher import Undelivered
from tests.support.coap import ACK, CON, NON, RST, TELEMETRY, HeldOutbox, MemoryRemote, acknowledge, request
from tests.support.coap_site import RETRY_AFTER, conversation

BODY = b'{"temperature":42}'
CREATED, EMPTY = Code.CREATED, Code.EMPTY


def with_option(number: int, value: bytes = b"x", **more: Any) -> bytes:
    """A good request with one more option."""
    data = request(b"", **more)
    # Behind the last option that a request has (Uri-Path, 11), without payload.
    delta = number - int(OptionNumber.URI_PATH)
    if delta < 0:
        raise ValueError(number)
    header = bytes([min(delta, 13) << 4 | len(value)]) if delta < 269 else bytes([0xE0 | len(value)])
    extended = b"" if delta < 13 else bytes([delta - 13]) if delta < 269 else (delta - 269).to_bytes(2, "big")
    return data + header + extended + value + b"\xff" + BODY


def options(*more: tuple[int, bytes]) -> bytes:
    """A good request with more options, their values as they are."""
    message = Message(code=Code.POST, payload=BODY, uri_path=TELEMETRY)
    for number, value in more:
        message.opt.add_option(OpaqueOption(OptionNumber(number), value))
    message.mid, message.mtype, message.token = 1, CON, b"t"
    return message.encode()


def raw(first: int, code: int, rest: bytes = b"", mid: bytes = b"\x12\x34") -> bytes:
    """A datagram, byte by byte."""
    return bytes([first, code]) + mid + rest


async def test_confirmable_request():
    """4.2, 5.2.1: a confirmable request is acknowledged by its answer: same Message ID, same token."""
    talk = conversation()
    answer = await talk.ask(request(BODY, mid=77, token=b"abc"))
    assert (answer.code, answer.mtype, answer.mid, answer.token) == (CREATED, ACK, 77, b"abc")
    assert talk.bodies == [BODY]


async def test_non_confirmable_request():
    """4.3, 5.2.3: a non-confirmable request is answered by a non-confirmable message with its token."""
    answer = await conversation().ask(request(BODY, mid=77, token=b"abc", mtype=NON))
    assert (answer.code, answer.mtype, answer.token) == (CREATED, NON, b"abc")


@pytest.mark.parametrize("length", [0, 1, 8])
async def test_token(length):
    """5.3.1: the token comes back as it is, also the empty one."""
    answer = await conversation().ask(request(BODY, token=b"12345678"[:length]))
    assert answer.token == b"12345678"[:length]


async def test_duplicate_confirmable():
    """4.5: a retransmission is executed once, and gets the identical answer."""
    talk = conversation()
    talk.layer.receive(talk.remote, request(BODY))
    first = await talk.remote.mail.get()
    talk.layer.receive(talk.remote, request(BODY))
    assert await talk.remote.mail.get() == first
    assert talk.bodies == [BODY]


async def test_duplicate_non_confirmable():
    """4.5: a repeated non-confirmable request is executed once, and ignored after that."""
    talk = conversation()
    await talk.ask(request(BODY, mtype=NON))
    await talk.silence(request(BODY, mtype=NON))
    assert talk.bodies == [BODY]


async def test_duplicate_while_it_is_handled():
    """5.2.2: a retransmission gets the empty acknowledgement again; the answer follows once."""
    outbox = HeldOutbox()
    talk = conversation(outbox, piggyback=0)
    empties = [await talk.ask(request(BODY)), await talk.ask(request(BODY))]
    assert [(empty.code, empty.mtype, empty.mid) for empty in empties] == [(EMPTY, ACK, 1)] * 2
    outbox.released.set()
    answer = await talk.remote.next()
    assert (answer.code, answer.mtype, answer.token) == (CREATED, CON, b"t")
    assert talk.bodies == [BODY]
    await talk.silence(acknowledge(answer))


async def test_separate_response_is_repeated():
    """4.2: a separate response is sent until it is acknowledged, and then no more."""
    outbox = HeldOutbox()
    talk = conversation(outbox, piggyback=0, ack_timeout=0.001)
    await talk.ask(request(BODY))
    outbox.released.set()
    first, second = await talk.remote.next(), await talk.remote.next()
    assert (first.mid, first.token, first.code) == (second.mid, second.token, second.code)
    talk.layer.receive(talk.remote, acknowledge(first))
    assert len(talk.layer._exchanges) == 0


async def test_reset_ends_a_separate_response():
    """4.2: a Reset ends it as well."""
    outbox = HeldOutbox()
    talk = conversation(outbox, piggyback=0)
    await talk.ask(request(BODY))
    outbox.released.set()
    answer = await talk.remote.next()
    talk.layer.receive(talk.remote, raw(0x70, 0, mid=answer.mid.to_bytes(2, "big")))
    assert len(talk.layer._exchanges) == 0


async def test_not_accepted_before_it_is_stored():
    """5.2.2: the empty acknowledgement says that it arrived, nothing says 2.01 before the outbox has it."""
    outbox = HeldOutbox()
    talk = conversation(outbox, piggyback=0)
    assert (await talk.ask(request(BODY))).code == EMPTY
    assert talk.remote.mail.empty()
    outbox.released.set()
    assert (await talk.remote.next()).code == CREATED
    assert talk.bodies == [BODY]


async def test_rebooted_device():
    """A device that restarts on its port and Message ID is heard again, under its new token (stricter than 4.5)."""
    talk = conversation()
    await talk.ask(request(b'{"a":1}', mid=9, token=b"old"))
    answer = await talk.ask(request(b'{"a":2}', mid=9, token=b"new"))
    assert (answer.code, answer.token) == (CREATED, b"new")
    assert talk.bodies == [b'{"a":1}', b'{"a":2}']


async def test_two_endpoints():
    """4.4: one Message ID of two endpoints is two messages."""
    talk = conversation()
    for name in ("one", "two"):
        assert (await talk.ask(request(BODY), MemoryRemote(key=name))).code == CREATED
    assert talk.bodies == [BODY, BODY]


async def test_one_token_for_everything():
    """5.3.1: requests that share a token (many devices send none) each get their own acknowledgement."""
    outbox = HeldOutbox()
    talk = conversation(outbox)
    for mid in (1, 2):
        talk.layer.receive(talk.remote, request(BODY, mid=mid, token=b""))
    outbox.released.set()
    assert {(await talk.remote.next()).mid for _ in range(2)} == {1, 2}
    assert talk.bodies == [BODY, BODY]


async def test_ping():
    """4.3: an empty confirmable message is answered by a Reset."""
    answer = await conversation().ask(raw(0x40, 0))
    assert (answer.mtype, answer.code, answer.mid) == (RST, EMPTY, 0x1234)


async def test_unexpected_response():
    """4.2: a confirmable response to nothing is reset."""
    answer = await conversation().ask(raw(0x40, 0x45))
    assert (answer.mtype, answer.mid) == (RST, 0x1234)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw(0x50, 0x45), id="non-confirmable response"),
        pytest.param(raw(0x60, 0), id="acknowledgement of nothing"),
        pytest.param(raw(0x70, 0), id="reset of nothing"),
        pytest.param(raw(0x60, 2, b"\xff{}"), id="request in an acknowledgement"),
        pytest.param(raw(0x50, 0), id="empty non-confirmable"),
        pytest.param(raw(0x00, 2), id="version 0"),
        pytest.param(raw(0x80, 2), id="version 2"),
        pytest.param(raw(0xC0, 2), id="version 3"),
        pytest.param(b"\x40\x02\x12", id="too short"),
        pytest.param(b"", id="nothing"),
        pytest.param(raw(0x59, 2, b"123456789"), id="non-confirmable with a long token"),
        pytest.param(raw(0x50, 2, b"\xff"), id="non-confirmable with an empty payload"),
    ],
)
async def test_silence(data):
    """3, 4.2, 4.3: what is no message of this version, or a malformed one that wants no acknowledgement, is ignored."""
    await conversation().silence(data)


@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(raw(0x40 | n, 2, b"1" * n), id=f"token of {n}") for n in range(9, 16)),
        pytest.param(raw(0x44, 2, b"12"), id="token that ends early"),
        pytest.param(raw(0x40, 2, b"\xff"), id="payload marker without payload"),
        pytest.param(raw(0x40, 2, b"\xb5api"), id="option that ends early"),
        pytest.param(raw(0x40, 2, b"\xf1a"), id="reserved option delta"),
        pytest.param(raw(0x40, 2, b"\x1fa"), id="reserved option length"),
        pytest.param(raw(0x40, 2, b"\xd1"), id="option header that ends early"),
        pytest.param(raw(0x40, 0, b"x"), id="empty message with something in it"),
        *(pytest.param(raw(0x40, kind << 5 | 1), id=f"code class {kind}") for kind in (1, 6, 7)),
    ],
)
async def test_message_format_error(data):
    """3, 4.2: a confirmable message with a format error is reset."""
    answer = await conversation().ask(data)
    assert (answer.mtype, answer.code, answer.mid) == (RST, EMPTY, 0x1234)


@pytest.mark.parametrize("number", [13, 19, 65, 2049])
async def test_unknown_critical_option(number):
    """5.4.1: a critical option that nobody knows is 4.02, and nothing is stored."""
    talk = conversation()
    assert (await talk.ask(with_option(number))).code == Code.BAD_OPTION
    assert talk.bodies == []


@pytest.mark.parametrize("number", [3, 7, 17, 23, 27])
async def test_repeated_option(number):
    """5.4.5: the second of a critical option that may come once is one that nobody knows: 4.02, and nothing is stored."""
    talk = conversation()
    assert (await talk.ask(options((number, b"\1"), (number, b"\1")))).code == Code.BAD_OPTION
    assert talk.bodies == []


@pytest.mark.parametrize(
    ("number", "length"),
    [(3, 0), (3, 256), (7, 3), (11, 256), (15, 256), (17, 3), (23, 4), (27, 4)],
)
async def test_critical_option_of_a_wrong_length(number, length):
    """5.4.3: a critical option of a length that it cannot have is one that nobody knows: 4.02, and nothing is stored."""
    talk = conversation()
    assert (await talk.ask(options((number, b"\0" * length)))).code == Code.BAD_OPTION
    assert talk.bodies == []


@pytest.mark.parametrize(("number", "length"), [(3, 255), (7, 0), (7, 2), (17, 2), (23, 0), (23, 3)])
async def test_critical_option_of_a_strange_length(number, length):
    """5.10: the longest and the shortest value that an option may have are taken."""
    assert (await conversation().ask(options((number, b"\0" * length)))).code == CREATED


@pytest.mark.parametrize(("number", "value"), [(60, b"\1" * 5), (258, b"\0\0\x1a")])
async def test_elective_option_of_a_wrong_length(number, value):
    """5.4.3: an elective option of a length that it cannot have is passed over."""
    assert (await conversation().ask(options((number, value)))).code == CREATED


@pytest.mark.parametrize("given", [{"if_match": [b"e"]}, {"if_none_match": True}])
async def test_precondition(given):
    """5.10.8: a precondition that cannot be checked is not passed over."""
    assert (await conversation().ask(request(BODY, **given))).code == Code.BAD_OPTION


async def test_unknown_critical_option_of_a_non_confirmable():
    """5.4.1: there, it is ignored."""
    talk = conversation()
    await talk.silence(with_option(65, mtype=NON))
    assert talk.bodies == []


@pytest.mark.parametrize("number", [14, 16, 252, 258 + 2, 2048])
async def test_unknown_elective_option(number):
    """5.4.1: an elective option that nobody knows does not matter."""
    assert (await conversation().ask(with_option(number, b""))).code == CREATED


@pytest.mark.parametrize("number", [OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME])
async def test_proxy(number):
    """5.7.2: a proxy is asked for, and this is none: 5.05."""
    assert (await conversation().ask(with_option(number, b"coap"))).code == Code.PROXYING_NOT_SUPPORTED


@pytest.mark.parametrize(
    "given", [{"content_format": 50}, {"accept": 50}, {"content_format": 60}, {"uri_host": "h"}]
)
async def test_options_of_every_client(given):
    """5.10: what clients send along does not matter; ThingsBoard never looks at the format either."""
    assert (await conversation().ask(request(BODY, **given))).code == CREATED


async def test_path_that_is_no_text():
    """5.4.3, 5.10.1: a path that is not UTF-8 is an option that cannot be processed: 4.02."""
    data = raw(0x40, 2, b"\xb3\xff\xfe\xfd\x02v1\xff{}")
    assert (await conversation().ask(data)).code == Code.BAD_OPTION


@pytest.mark.parametrize("method", [Code.PUT, Code.DELETE, Code.FETCH, Code.PATCH, Code.iPATCH])
async def test_other_methods(method):
    """5.8, 5.9.2.6: a method that is not for this path is 4.05."""
    assert (await conversation().ask(request(BODY, method=method))).code == Code.METHOD_NOT_ALLOWED


async def test_unknown_method():
    """5.8: and so is one that nobody knows."""
    data = bytearray(request(BODY))
    data[1] = 31
    assert (await conversation().ask(bytes(data))).code == Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (TELEMETRY, b"no JSON", Code.BAD_REQUEST),
        (("api", "v1", "nobody", "telemetry"), BODY, Code.UNAUTHORIZED),
        (("other",), BODY, Code.NOT_FOUND),
        ((".well-known", "core"), BODY, Code.NOT_FOUND),
        ((), BODY, Code.NOT_FOUND),
    ],
)
async def test_client_errors(path, body, code):
    """5.9.2: 4.00, 4.01 and 4.04 mean what they say, and carry no payload."""
    answer = await conversation().ask(request(body, path=path))
    assert (answer.code, answer.payload) == (code, b"")


async def test_kafka_is_away():
    """5.9.3.4: 5.03 carries in Max-Age when to try again; a new exchange is stored."""
    talk = conversation()
    talk.outbox.fail_with = Undelivered("the broker did not answer")
    answer = await talk.ask(request(BODY, mid=1))
    assert (answer.code, answer.opt.max_age) == (Code.SERVICE_UNAVAILABLE, RETRY_AFTER)
    talk.outbox.fail_with = None
    assert (await talk.ask(request(BODY, mid=2))).code == CREATED
    assert talk.bodies == [BODY]


@pytest.mark.parametrize("mtype", [CON, NON])
async def test_rate_limit(mtype):
    """RFC 8516: 4.29 carries in Max-Age when to try again."""
    talk = conversation(rate="1:30")
    await talk.ask(request(BODY, mid=1, mtype=mtype))
    answer = await talk.ask(request(BODY, mid=2, mtype=mtype))
    assert (answer.code, answer.opt.max_age) == (Code.TOO_MANY_REQUESTS, 30)


async def test_retransmission_is_not_rated():
    """RFC 8516: a retransmission costs nothing of the limit."""
    talk = conversation(rate="1:30")
    codes = [(await talk.ask(request(BODY, mid=1))).code for _ in range(3)]
    assert codes == [CREATED] * 3
    assert talk.bodies == [BODY]


@pytest.mark.parametrize(("body", "unwanted"), [(BODY, 2), (b"no JSON", 8), (BODY, 26)])
async def test_no_response(body, unwanted):
    """RFC 7967: a class of answers that the device does not want to hear is not sent."""
    await conversation().silence(request(body, mtype=NON, no_response=unwanted))


async def test_no_response_of_a_confirmable():
    """RFC 7967: a confirmable request is still acknowledged."""
    answer = await conversation().ask(request(BODY, no_response=26))
    assert (answer.code, answer.mtype) == (EMPTY, ACK)


async def test_other_class_is_wanted():
    """RFC 7967: who does not want success hears of errors."""
    answer = await conversation().ask(request(b"no JSON", mtype=NON, no_response=2))
    assert answer.code == Code.BAD_REQUEST


async def test_pings_leave_nothing_behind():
    """4.4, 11.3: thousands of pings and of unknown acknowledgements leave nothing in memory."""
    talk = conversation()
    for mid in range(5000):
        talk.layer.receive(talk.remote, raw(0x40, 0, mid=mid.to_bytes(2, "big")))
        talk.layer.receive(talk.remote, raw(0x60, 0, mid=mid.to_bytes(2, "big")))
    assert (len(talk.layer._duplicates), len(talk.layer._exchanges), talk.layer._running) == (0, 0, 0)
