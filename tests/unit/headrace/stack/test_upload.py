import contextlib
from pathlib import Path

import pytest

from headrace.stack.clickhouse.coding import Decoder
from headrace.stack.clickhouse.upload import Upload


def _upload(folder: Path, query: bytes = b"", limit: int = 1000) -> Upload:
    return Upload(query, Decoder(""), folder=folder, limit=limit)


def test_an_inserts_data_is_in_a_file(tmp_path: Path):
    """An insert's data goes to a file, wherever the head is cut in two, and the file is gone afterwards."""
    with _upload(tmp_path) as upload:
        for piece in (b"INSERT INTO t FORMAT Na", b"tive\n\x00\x01", b"\xff"):
            upload.feed(piece)
        text = upload.text()
        (file,) = tmp_path.iterdir()
        assert file.read_bytes() == b"\x00\x01\xff"

    assert f"INSERT INTO t FROM INFILE '{file}' FORMAT Native".encode() == text
    assert list(tmp_path.iterdir()) == []


def test_an_insert_that_fails_leaves_no_file(tmp_path: Path):
    """The file is gone also when the request fails."""
    with contextlib.suppress(ZeroDivisionError), _upload(tmp_path) as upload:
        upload.feed(b"INSERT INTO t FORMAT CSV\n1")
        upload.text()
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_the_query_may_be_in_the_url(tmp_path: Path):
    """A URL's query and the body are one statement."""
    with _upload(tmp_path, b"INSERT INTO t FORMAT CSV") as upload:
        upload.feed(b"1,2\n")
        upload.text()
        (file,) = tmp_path.iterdir()

        assert file.read_bytes() == b"1,2\n"


def test_a_query_stays_in_memory(tmp_path: Path):
    """A query is its own text."""
    with _upload(tmp_path) as upload:
        upload.feed(b"SELECT ")
        upload.feed(b"1")

        assert upload.text() == b"SELECT 1"


def test_too_large_a_body_is_refused(tmp_path: Path):
    """A body beyond the limit is refused as soon as it is."""
    with (
        _upload(tmp_path, limit=10) as upload,
        pytest.raises(ValueError, match="larger than this server takes"),
    ):
        upload.feed(b"x" * 11)
