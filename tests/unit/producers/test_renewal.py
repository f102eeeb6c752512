"""Files that are put to use anew: when they changed, as often as it takes, and said each time."""

from pathlib import Path

import pytest

from producers.metrics import Credential
from producers.renewal import Renewal
from tests.support.processes import until
from tests.support.renewals import renewals


class Reader:
    """Uses a file: what is in it, unless that is nothing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.used: list[str] = []

    def __call__(self) -> None:
        """Take what the file holds."""
        text = self.file.read_text()
        if not text:
            raise ValueError("nothing in it")
        self.used.append(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What is renewed."""
    path = tmp_path / "chain.pem"
    path.write_text("first")
    return path


@pytest.fixture
def renewal(file: Path) -> Renewal:
    """Looks only when the test does."""
    return Renewal(Credential.CERTIFICATE, [file], every=3600)


def test_what_did_not_change_is_left_alone(file, renewal):
    """A file that is as it was is not read."""
    use = Reader(file)
    assert not renewal.look(use)
    assert use.used == []


def test_a_change_is_used_once(file, renewal):
    """A changed file is read once, and counted."""
    use, before = Reader(file), renewals(Credential.CERTIFICATE, "used")
    file.write_text("second")
    assert [renewal.look(use) for _ in range(3)] == [True, False, False]
    assert use.used == ["second"]
    assert renewals(Credential.CERTIFICATE, "used") == before + 1


@pytest.mark.parametrize("spoil", [lambda path: path.write_text(""), Path.unlink], ids=["half", "gone"])
def test_what_cannot_be_used_is_said_and_tried_again(file, renewal, spoil, capsys):
    """A file that cannot be used changes nothing; each look logs and counts that, until it can be."""
    use, before = Reader(file), renewals(Credential.CERTIFICATE, "failed")
    spoil(file)
    assert [renewal.look(use) for _ in range(2)] == [False, False]
    assert use.used == []
    assert renewals(Credential.CERTIFICATE, "failed") == before + 2
    assert capsys.readouterr().out.count("not renewed") == 2
    file.write_text("second")
    assert renewal.look(use)
    assert use.used == ["second"]


async def test_it_looks_by_itself(file):
    """While it is kept, a change is used without anybody asking."""
    use, renewal = Reader(file), Renewal(Credential.CERTIFICATE, [file], every=0.01)
    async with renewal.kept(use):
        file.write_text("second")
        await until(lambda: use.used[-1:] == ["second"])
