"""The memory of messages that were handled."""

from producers.coap.duplicates import LIFETIME, SLICES, Duplicates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds, as the test wants."""
        return self.now


def test_same_bytes_are_a_duplicate():
    """A message that comes again gets the answer of the first, or nothing as long as that has none."""
    duplicates = Duplicates(Clock())
    assert duplicates.seen("a", 1, b"x") is None
    assert duplicates.seen("a", 1, b"x") == b""
    duplicates.answered("a", 1, b"x", b"ok")
    assert duplicates.seen("a", 1, b"x") == b"ok"


def test_other_bytes_are_new():
    """A Message ID with other bytes belongs to a device that restarted, and replaces the old message."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    assert duplicates.seen("a", 1, b"y") is None
    assert duplicates.seen("a", 1, b"y") == b""
    assert len(duplicates) == 1


def test_answer_of_a_replaced_message():
    """What the message before the restart is answered is not the answer of the one after it."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    duplicates.seen("a", 1, b"y")
    duplicates.answered("a", 1, b"x", b"ok")
    assert duplicates.seen("a", 1, b"y") == b""


def test_other_remotes_are_others():
    """The same bytes from another endpoint are another message."""
    duplicates = Duplicates(Clock())
    duplicates.seen("a", 1, b"x")
    assert duplicates.seen("b", 1, b"x") is None


def test_message_ids_mean_the_same_only_for_a_while():
    """After the exchange lifetime identical bytes are a new message: a device that wakes up measures again."""
    clock = Clock()
    duplicates = Duplicates(clock)
    duplicates.seen("a", 1, b"x")
    clock.now = LIFETIME - 1
    assert duplicates.seen("a", 1, b"x") == b""
    clock.now = LIFETIME
    assert duplicates.seen("a", 1, b"x") is None


def test_retransmissions_come_in_time():
    """A message is remembered for as long as it can be retransmitted, whenever others came before it."""
    clock = Clock()
    duplicates = Duplicates(clock)
    duplicates.seen("a", 1, b"x")
    clock.now = LIFETIME / SLICES - 1
    duplicates.seen("b", 1, b"x")
    clock.now += 145
    assert duplicates.seen("b", 1, b"x") == b""


def test_number_of_messages():
    """Memory is bounded, whoever speaks: the oldest slice goes first."""
    duplicates = Duplicates(Clock(), total=4 * SLICES)
    for number in range(4 * SLICES + 1):
        duplicates.seen("a", number, b"x")
    assert len(duplicates) == 4 * SLICES - 3
    assert duplicates.seen("a", 4, b"x") == b""
    duplicates.answered("a", 0, b"x", b"too late")
    assert duplicates.seen("a", 0, b"x") is None


def test_old_messages_leave_nothing_behind():
    """What is older than the exchange lifetime is forgotten as soon as another message comes."""
    clock = Clock()
    duplicates = Duplicates(clock)
    for mid in (1, 2):
        duplicates.seen("a", mid, b"x")
    clock.now = LIFETIME
    duplicates.seen("b", 1, b"x")
    assert len(duplicates) == 1
