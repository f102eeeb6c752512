import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.identity import content_id, exchange_id, identity
from schemas.raw_message import RawMessage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
FOUR = st.tuples(TEXT, TEXT, TEXT, TEXT)


@given(FOUR, FOUR)
def test_different_messages_have_different_identities(one, other):
    """No two tuples of tenant, dialect, device and message id share an identity."""
    assume(one != other)

    assert identity(*one) != identity(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b", "c", "d"), ("ab", "", "c", "d")),
        (("a", "b", "c", "d"), ("a", "bc", "", "d")),
        (("a", "b", "c\0", "d"), ("a", "b", "c", "\0d")),
        (("", "", "", "abcd"), ("abcd", "", "", "")),
    ],
)
def test_parts_do_not_run_together(one, other):
    """Text that moves from one part to the next makes another identity."""
    assert identity(*one) != identity(*other)


def test_an_identity_never_changes():
    """An identity is the same in every release, because the log remembers the old ones."""
    assert "de655c65d9c988e3c2681848c848d13e" == identity("acme", "graph", "boiler-7", "m-1").hex()


def test_a_raw_message_knows_its_identity():
    """A raw message's identity is made of its tenant, dialect, device and message id, and of nothing else."""
    message = RawMessage(
        tenant="acme",
        dialect="graph",
        device="boiler-7",
        message_id="m-1",
        received_at=1,
        content_type="application/json",
        attributes={},
        body=b"{}",
    )

    assert identity("acme", "graph", "boiler-7", "m-1") == message.identity()


def test_content_is_the_same_in_any_order_of_keys():
    """Two spellings of one JSON value have the same content id."""
    assert content_id({"a": 1, "b": {"c": 2, "d": 3}}) == content_id({"b": {"d": 3, "c": 2}, "a": 1})


def test_other_content_is_another_message():
    """A list in another order is another value, and has another content id."""
    assert content_id([1, 2]) != content_id([2, 1])


ENDPOINT = ("[2001:db8::1]:5683", 7, b"\1\2", b"{}", 494_000_000)


def test_a_retransmission_is_the_same_exchange():
    """The same endpoint, CoAP message id, token and payload within a minute make the same exchange id."""
    *exchange, received_at = ENDPOINT
    assert exchange_id(*ENDPOINT) == exchange_id(*exchange, received_at + 45_000_000)


@pytest.mark.parametrize(
    "other",
    [
        ("[2001:db8::1]:5684", 7, b"\1\2", b"{}", 494_000_000),
        ("[2001:db8::1]:5683", 8, b"\1\2", b"{}", 494_000_000),
        ("[2001:db8::1]:5683", 7, b"\1\3", b"{}", 494_000_000),
        ("[2001:db8::1]:5683", 7, b"\1\2", b"[]", 494_000_000),
        ("[2001:db8::1]:5683", 7, b"\1", b"\2{}", 494_000_000),
        ("[2001:db8::1]:5683", 7, b"\1\2", b"{}", 741_000_000),
    ],
    ids=[
        "endpoint",
        "message id",
        "token",
        "payload",
        "border of token and payload",
        "an exchange lifetime later",
    ],
)
def test_anything_else_is_another_exchange(other):
    """A difference in any part makes another exchange id."""
    assert exchange_id(*ENDPOINT) != exchange_id(*other)
