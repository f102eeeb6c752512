from processors.dedupe import Window

ONE, OTHER = b"1" * 16, b"2" * 16


def test_a_repeat_is_a_duplicate():
    """An identity that passed at a smaller offset does not pass again."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 1000)

    assert window.is_duplicate(ONE, 6)


def test_a_message_is_no_duplicate_of_itself():
    """The offset at which an identity passed passes again: a second attempt decides as the first did."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 1000)

    assert not window.is_duplicate(ONE, 5)


def test_what_came_later_is_no_hint():
    """An identity that was seen at a greater offset says nothing about a smaller one."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 1000)

    assert not window.is_duplicate(ONE, 4)


def test_identities_do_not_meet():
    """Another identity passes."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 1000)

    assert not window.is_duplicate(OTHER, 6)


def test_the_first_offset_counts():
    """An identity that is remembered twice keeps the offset of the first time."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 1000)
    window.remember(ONE, 9, 1000)

    assert window.is_duplicate(ONE, 7)


def test_a_window_reaches_back_for_its_seconds():
    """A repeat after exactly the window's length is still a duplicate."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 14_999)
    window.advance(74_999)

    assert window.is_duplicate(ONE, 6)


def test_a_window_forgets():
    """A repeat that comes more than a quarter later than the window reaches passes."""
    window = Window(seconds=60)
    window.remember(ONE, 5, 0)
    window.advance(75_000)

    assert (False, 0) == (window.is_duplicate(ONE, 6), len(window))


def test_time_does_not_run_backwards():
    """A record that is older than the one before leaves the log's time as it was."""
    window = Window(seconds=60)
    window.advance(2000)
    window.advance(1000)

    assert 2000 == window.now


def test_a_window_of_no_length_works():
    """Even one second can be cut into slices."""
    window = Window(seconds=1)
    window.remember(ONE, 5, 1000)

    assert window.is_duplicate(ONE, 6)
