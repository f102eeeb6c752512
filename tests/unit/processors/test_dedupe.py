import pytest

from processors.dedupe import Allowance, Window

ONE, OTHER = b"1" * 16, b"2" * 16


def window_at(logged_at, *identities):
    """A window of a minute, its log's time this one, in which these identities passed."""
    window = Window(seconds=60)
    window.advance(logged_at)
    for identity in identities:
        window.remember(identity)
    return window


def test_a_repeat_is_a_duplicate():
    """An identity that passed does not pass again."""
    assert window_at(1000, ONE).is_duplicate(ONE)


def test_identities_do_not_meet():
    """Another identity passes."""
    assert not window_at(1000, ONE).is_duplicate(OTHER)


def test_an_identity_is_remembered_once():
    """What passed twice takes no more room."""
    assert 1 == len(window_at(1000, ONE, ONE))


def test_a_window_reaches_back_for_its_seconds():
    """A repeat after exactly the window's length is still a duplicate."""
    window = window_at(14_999, ONE)
    window.advance(74_999)

    assert window.is_duplicate(ONE)


def test_a_window_forgets():
    """A repeat that comes more than a quarter later than the window reaches passes."""
    window = window_at(1, ONE)
    window.advance(75_000)

    assert (False, 0) == (window.is_duplicate(ONE), len(window))


def test_what_a_rebuild_must_read_is_what_a_window_holds():
    """A window reaches back to the slice that it has not forgotten, and no further."""
    kept, gone = window_at(45_000, ONE), window_at(44_999, ONE)
    for window in (kept, gone):
        window.advance(105_000)

    assert (45_000, True, False) == (
        kept.reaches_back_to(105_000),
        kept.is_duplicate(ONE),
        gone.is_duplicate(ONE),
    )


def test_time_does_not_run_backwards():
    """A record that is older than the one before leaves the log's time as it was."""
    window = window_at(2000)
    window.advance(1000)

    assert 2000 == window.now


def test_a_clock_that_was_set_back_shortens_no_window():
    """What passes after the broker's clock was set back is remembered as long as anything else, by the log's own time."""
    window = window_at(600_000)
    window.advance(1)
    window.remember(ONE)
    window.advance(655_000)

    assert window.is_duplicate(ONE)


def test_a_window_of_no_length_works():
    """Even one second can be cut into slices."""
    window = Window(seconds=1)
    window.advance(1000)
    window.remember(ONE)

    assert window.is_duplicate(ONE)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_packed_identities_are_remembered_like_single_ones(count):
    """However many are remembered at once, each is a duplicate from then on, and nothing else is."""
    identities = [bytes([n]) * 16 for n in range(count)]
    window = window_at(1000)
    window.remember_all(memoryview(b"".join(identities)))

    assert (count, True) == (len(window), all(map(window.is_duplicate, identities)))


def allowed(most, *sizes):
    """An allowance, and windows of these sizes under it."""
    allowance = Allowance(most)
    windows = []
    for size in sizes:
        window = allowance.window(seconds=60)
        for half in (0, 1):
            window.advance(1 + 15_000 * half)
            for n in range(half * size // 2, (half + 1) * size // 2):
                window.remember(n.to_bytes(16, "little"))
        windows.append(window)
    return allowance, windows


def test_what_fits_is_kept():
    """Up to the allowance nothing is forgotten."""
    allowance, windows = allowed(30, 10, 20)

    assert (0, [10, 20]) == (allowance.enforce(), [len(window) for window in windows])


def test_the_largest_window_forgets_its_oldest():
    """Beyond the allowance the oldest slice of the largest window goes, and the rest stays."""
    allowance, (small, large) = allowed(29, 10, 20)
    forgotten = allowance.enforce()

    assert (10, 10, 10) == (forgotten, len(small), len(large))
    assert (False, True) == (
        large.is_duplicate((0).to_bytes(16, "little")),
        large.is_duplicate((19).to_bytes(16, "little")),
    )


def test_memory_is_bounded_even_within_a_slice():
    """If all of it is in the slice that is being filled, that goes, and what comes then is remembered."""
    allowance, (window,) = allowed(3, 10)
    allowance.enforce()
    window.remember(ONE)

    assert (1, True) == (len(window), window.is_duplicate(ONE))


def test_a_window_that_is_gone_does_not_count():
    """The window of a partition that was lost makes room for others."""
    allowance, windows = allowed(20, 20, 20)
    del windows[0]

    assert 0 == allowance.enforce()


def test_what_is_condemned_is_counted():
    """Offsets that stay dead letters are counted over all windows."""
    allowance, windows = allowed(20, 1, 1)
    windows[0].condemned.update({1, 2})
    windows[1].condemned.add(3)

    assert 3 == allowance.condemned
