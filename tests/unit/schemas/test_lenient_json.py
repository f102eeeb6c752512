"""What lenient JSON is, and what it is not."""

import tracemalloc

import pytest

from schemas.lenient_json import LONGEST, NotJson, Number, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a:1,'b':\"x\"}", {"a": "1", "b": "x"}),
        ('{"a"=1;"b"=>2}', {"a": "1", "b": "2"}),
        ("[1;2,,]", ["1", "2", None, None]),
        ("[]", []),
        ("{}", {}),
        ("TrUe", True),
        ("fAlse", False),
        ("NULL", None),
        ("nullx", "nullx"),
        (r'"\t\b\n\r\f\"\'\\\/\u0041"', "\t\b\n\r\f\"'\\/A"),
        ('"a\\\nb"', "a\nb"),
        (r"'\ud83d\ude00 \ud83d'", "😀 \ufffd"),
        ("/* a */ // b\n# c\r1 # d", "1"),
        ("\ufeff1", "1"),
        (")]}'\n1", "1"),
    ],
)
def test_value(text, value):
    """Gson's liberties are taken."""
    assert parse(text.encode()) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.50", "1e3", "-0.1E-5"])
def test_number(text):
    """A number of JSON's grammar keeps its text."""
    assert type(parse(text.encode())) is Number


@pytest.mark.parametrize("text", ["01", "+1", ".5", "5.", "1e", "NaN", "--1", "1x", "-"])
def test_no_number(text):
    """Anything else without quotes is text."""
    assert (type(parse(text.encode())), parse(text.encode())) == (str, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        *[
            "{",
            "[",
            "[1",
            "{a",
            "{a:",
            "{a:1",
            "{a:1,}",
            "{,}",
            "{:1}",
            '"a',
            "'a",
            "/",
            "]",
            "}",
            "{}{}",
            "{};",
            "=1",
            "[1}",
            "{a:]",
            "{a=>}",
        ],
        "{a 1}",
        "{a:1 b:2}",
        "/* a",
        "1 2",
        "1;",
        r'"\q"',
        r'"\u12"',
        r'"\u12xy"',
    ],
)
def test_not_json(text):
    """Where Gson gives up, so do we."""
    with pytest.raises(NotJson):
        parse(text.encode())


def test_depth():
    """A hundred levels below the first are read, one more is not."""
    parse(b"[" * 101 + b"]" * 101)
    with pytest.raises(NotJson, match="deep"):
        parse(b"[" * 102 + b"]" * 102)


@pytest.mark.parametrize("piece", [b"/*", b"#", b'"', b"\\", b"[", b"{a:", b" ", b"a", b"'\\", b"1"])
def test_time_grows_with_length(piece):
    """As much of anything as is read is judged at once: the test's own time limit is the proof."""
    try:
        parse(piece * (LONGEST // len(piece)))
    except NotJson:
        return


@pytest.mark.parametrize("piece", [b"x", b"\\n", b"\\u00e9"])
@pytest.mark.parametrize("mark", [b"'", b'"'])
def test_memory_of_a_long_text(mark, piece):
    """A long string takes a few times its length to be read, in either kind of quotes, escaped or not."""
    body = mark + piece * ((LONGEST - 2) // len(piece)) + mark
    tracemalloc.start()
    try:
        parse(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * LONGEST


def test_length():
    """What is longer than any device writes by hand is not read leniently."""
    assert parse(b"[" + b" " * (LONGEST - 2) + b"]") == []
    with pytest.raises(NotJson, match="beyond"):
        parse(b"[" + b" " * (LONGEST - 1) + b"]")
