"""The memory of messages that were handled."""

from producers.coap.duplicates import LIFETIME, Duplicates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds, as the test wants."""
        return self.now


def test_same_bytes_are_a_duplicate():
    """A message that comes again finds the entry of the first."""
    duplicates = Duplicates(Clock())
    first, repeated = duplicates.seen("a", 1, b"x")
    assert not repeated
    first.answer = b"ok"
    again, repeated = duplicates.seen("a", 1, b"x")
    assert repeated
    assert again.answer == b"ok"


def test_other_bytes_are_new():
    """A Message ID with other bytes belongs to a device that restarted, and replaces the old message."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    assert not duplicates.seen("a", 1, b"y")[1]
    assert duplicates.seen("a", 1, b"y")[1]
    assert len(duplicates) == 1


def test_other_remotes_are_others():
    """The same bytes from another endpoint are another message."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    assert not duplicates.seen("b", 1, b"x")[1]


def test_message_ids_mean_the_same_only_for_a_while():
    """After the exchange lifetime identical bytes are a new message: a device that wakes up measures again."""
    clock = Clock()
    duplicates = Duplicates(clock)
    duplicates.seen("a", 1, b"x")
    clock.now = LIFETIME - 1
    assert duplicates.seen("a", 1, b"x")[1]
    clock.now = LIFETIME
    assert not duplicates.seen("a", 1, b"x")[1]


def test_bounds():
    """Memory is bounded per remote, oldest message first, and in total, least recently heard remote first."""
    duplicates = Duplicates(Clock(), per_remote=2, total=4)
    for mid in (1, 2, 3):
        duplicates.seen("a", mid, b"x")
    assert len(duplicates) == 2
    for remote in ("b", "c"):
        duplicates.seen(remote, 1, b"x")
    assert duplicates.seen("a", 3, b"x")[1]
    duplicates.seen("d", 1, b"x")
    assert len(duplicates) == 4
    assert not duplicates.seen("b", 1, b"x")[1]


def test_forget():
    """A remote that will not come back leaves nothing behind, and forgetting it twice is harmless."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    duplicates.forget("a")
    duplicates.forget("a")
    assert len(duplicates) == 0


def test_silent_remotes_are_forgotten():
    """A remote that said nothing for an exchange lifetime leaves nothing behind as soon as another one speaks."""
    clock = Clock()
    duplicates = Duplicates(clock)
    for mid in (1, 2):
        duplicates.seen("a", mid, b"x")
    clock.now = 1
    duplicates.seen("b", 1, b"x")
    clock.now = LIFETIME
    assert not duplicates.seen("c", 1, b"x")[1]
    assert len(duplicates) == 2
    assert duplicates.seen("b", 1, b"x")[1]
