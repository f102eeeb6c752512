"""Raw messages of any content, for property tests."""

from hypothesis import strategies as st

from schemas.raw_message import RawMessage

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONG_TEXT = st.text("é", min_size=20, max_size=5000)
"""Its length in bytes is another one than in characters, and takes up to three bytes itself."""

RAW_MESSAGES = st.builds(
    RawMessage,
    tenant=TEXT | LONG_TEXT,
    dialect=TEXT | LONG_TEXT,
    device=TEXT | LONG_TEXT,
    message_id=TEXT | LONG_TEXT,
    received_at=INT64,
    content_type=TEXT | LONG_TEXT,
    attributes=st.dictionaries(TEXT | LONG_TEXT, TEXT | LONG_TEXT),
    body=st.binary(),
)
