"""The memory of messages that were handled."""

from producers.coap.duplicates import LIFETIME, SLICES, Duplicates, mark


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds, as the test wants."""
        return self.now


def of(remote: str, message_id: int, content: str) -> int:
    """The mark of a message."""
    return mark(remote, b"%d %b" % (message_id, content.encode()))


def test_same_bytes_are_a_duplicate():
    """A message that comes again gets the answer of the first, or nothing as long as that has none."""
    duplicates = Duplicates(Clock())
    assert duplicates.seen(of("a", 1, "x")) is None
    assert duplicates.seen(of("a", 1, "x")) == b""
    duplicates.answered(of("a", 1, "x"), b"ok")
    assert duplicates.seen(of("a", 1, "x")) == b"ok"


def test_other_bytes_are_new():
    """A Message ID with other bytes belongs to a device that restarted: a new message."""
    duplicates = Duplicates(Clock())
    duplicates.seen(of("a", 1, "x"))
    assert duplicates.seen(of("a", 1, "y")) is None
    assert duplicates.seen(of("a", 1, "y")) == b""


def test_answer_of_a_replaced_message():
    """What the message before the restart is answered is not the answer of the one after it."""
    duplicates = Duplicates(Clock())
    duplicates.seen(of("a", 1, "x"))
    duplicates.seen(of("a", 1, "y"))
    duplicates.answered(of("a", 1, "x"), b"ok")
    assert duplicates.seen(of("a", 1, "y")) == b""


def test_other_remotes_are_others():
    """The same bytes from another endpoint are another message."""
    duplicates = Duplicates(Clock())
    duplicates.seen(of("a", 1, "x"))
    assert duplicates.seen(of("b", 1, "x")) is None


def test_message_ids_mean_the_same_only_for_a_while():
    """After the exchange lifetime identical bytes are a new message: a device that wakes up measures again."""
    clock = Clock()
    duplicates = Duplicates(clock)
    duplicates.seen(of("a", 1, "x"))
    clock.now = LIFETIME - 1
    assert duplicates.seen(of("a", 1, "x")) == b""
    clock.now = LIFETIME
    assert duplicates.seen(of("a", 1, "x")) is None


def test_retransmissions_come_in_time():
    """A message is remembered for as long as it can be retransmitted, whenever others came before it."""
    clock = Clock()
    duplicates = Duplicates(clock)
    duplicates.seen(of("a", 1, "x"))
    clock.now = LIFETIME / SLICES - 1
    duplicates.seen(of("b", 1, "x"))
    clock.now += 145
    assert duplicates.seen(of("b", 1, "x")) == b""


def test_number_of_messages():
    """Memory is bounded, whoever speaks: the oldest slice goes first."""
    duplicates = Duplicates(Clock(), total=4 * SLICES)
    for number in range(4 * SLICES + 1):
        duplicates.seen(of("a", number, "x"))
    assert len(duplicates) == 4 * SLICES - 3
    assert duplicates.seen(of("a", 4, "x")) == b""
    duplicates.answered(of("a", 0, "x"), b"too late")
    assert duplicates.seen(of("a", 0, "x")) is None


def test_old_messages_leave_nothing_behind():
    """What is older than the exchange lifetime is forgotten as soon as another message comes."""
    clock = Clock()
    duplicates = Duplicates(clock)
    for mid in (1, 2):
        duplicates.seen(of("a", mid, "x"))
    clock.now = LIFETIME
    duplicates.seen(of("b", 1, "x"))
    assert len(duplicates) == 1
