import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.normalise.unusable import Unusable
from processors.normalise.values import instant, parsed, storable
from schemas.dead_letter import Reason
from schemas.reading import EARLIEST_US, LATEST_US
from tests.support.raw import message

NOON = 1_795_262_400_000_000
"""2026-11-21, 12:00 UTC."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T12:00:00Z", NOON),
        ("2026-11-21t12:00:00z", NOON),
        ("2026-11-21T12:00:00", NOON),
        ("2026-11-21 12:00:00", NOON),
        ("2026-11-21T14:00:00+02:00", NOON),
        ("2026-11-21T12:00:00.5Z", NOON + 500_000),
        ("2026-11-21T12:00:00.123456Z", NOON + 123_456),
        ("2026-11-21T12:00:00.1234567Z", NOON + 123_456),
        ("11/21/26 12:00:00 +00:00", NOON),
        ("11/21/2026 12:00:00 +00:00", NOON),
        ("1/2/26 3:04:05 -01:00", 1_767_326_645_000_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000_000),
        ("9999-12-31T23:59:59-14:00", 253_402_351_199_000_000),
    ],
)
def test_times_as_sdks_write_them(text, expected):
    """A time is read to the microsecond, whichever way its SDK writes it."""
    assert expected == instant(text)


@pytest.mark.parametrize(
    "text", ["", "noon", "21/11/26 12:00:00 +00:00", "11/21/26 12:00:00", "1795262400", "\0"]
)
def test_what_is_no_time(text):
    """A text that is no time is none, and no error."""
    assert instant(text) is None


@given(st.text(max_size=40))
def test_no_text_is_an_error(text):
    """Whatever the text, the answer is a number or none."""
    assert isinstance(instant(text), int | None)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives(moment):
    """Any time that Python can write is read back to the microsecond."""
    assert instant(moment.isoformat()) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)


@pytest.mark.parametrize("microseconds", [EARLIEST_US, 0, LATEST_US])
def test_what_can_be_stored(microseconds):
    """From 1900 to 2299, both included, a time is left as it is."""
    assert microseconds == storable(microseconds)


@pytest.mark.parametrize(
    "microseconds", [EARLIEST_US - 1, LATEST_US + 1, pytest.param(10**5000, id="endless")]
)
def test_what_cannot_be_stored(microseconds):
    """A time that ClickHouse cannot hold is a dead letter's reason, however long its number."""
    with pytest.raises(Unusable) as raised:
        storable(microseconds)

    assert Reason.UNUSABLE_TIME == raised.value.reason


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{}{}", b"[" * 100_000, b'"\\ud800"', b"9" * 10_000])
def test_what_is_not_json(body):
    """A body that is no JSON is a dead letter's reason, whatever is wrong with it."""
    with pytest.raises(Unusable) as raised:
        parsed(message(body))

    assert Reason.MALFORMED == raised.value.reason


@given(st.binary(max_size=64))
def test_no_body_is_another_error(body):
    """Whatever bytes a body holds, they are values or unusable."""
    with contextlib.suppress(Unusable):
        parsed(message(body))
