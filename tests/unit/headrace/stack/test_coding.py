import gzip
import random
import zlib

import lz4.frame
import pytest

from headrace.stack.clickhouse.coding import CorruptBodyError, Decoder, UnknownCodingError, encode

BODY = random.Random(1).randbytes(50_000) + bytes(200_000)


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip", "deflate", "identity", ""])
def test_a_body_comes_through(coding: str):
    """What is encoded and comes in small pieces is decoded to the same bytes."""
    encoded, used = encode(BODY, coding)
    decoder = Decoder(used)

    plain = b"".join(decoder.feed(encoded[at : at + 1000]) for at in range(0, len(encoded), 1000))
    decoder.close()

    assert plain == BODY


def test_a_body_may_be_several_frames():
    """Frames that follow each other are one body."""
    decoder = Decoder("lz4")

    assert decoder.feed(lz4.frame.compress(b"one ") + lz4.frame.compress(b"two")) == b"one two"


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip", "deflate"])
def test_a_body_of_another_coding_is_refused(coding: str):
    """Bytes that are not of the coding that the header names are an error, not data."""
    with pytest.raises(CorruptBodyError):
        Decoder(coding).feed(b"not compressed at all, whatever the header says")


def test_half_a_body_is_refused():
    """A body that ends in the middle of a frame is an error: half an insert must not count."""
    decoder = Decoder("gzip")
    decoder.feed(gzip.compress(BODY)[:1000])

    with pytest.raises(CorruptBodyError, match="middle"):
        decoder.close()


def test_an_unknown_coding_is_named():
    """A coding that is not offered is named, with those that are."""
    with pytest.raises(UnknownCodingError, match="'br' is not one of lz4, zstd"):
        Decoder("br")


def test_the_client_chooses_the_coding():
    """An answer is encoded only as the client accepts it."""
    encoded, used = encode(BODY, "br;q=1.0, gzip;q=0.5, deflate")

    assert (used, zlib.decompress(encoded, wbits=31)) == ("gzip", BODY)
    assert encode(BODY, "br") == (BODY, "")
