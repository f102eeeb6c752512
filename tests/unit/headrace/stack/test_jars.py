from pathlib import Path

import pytest

from headrace.stack.errors import StackError
from headrace.stack.jars import jars, java


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture(name="programs")
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that is searched for programs, beside the system's own shell."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_no_java_says_what_to_install(programs: Path):
    """A machine without Java is told the packages that bring it, on Debian and on macOS."""
    with pytest.raises(StackError, match=r"no `java` here: install a JDK 17 .*openjdk-17-jdk-headless.*brew"):
        java()


def test_an_old_java_says_what_to_install(programs: Path):
    """A Java that is too old is named, with what to install instead."""
    _program(programs, "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")

    with pytest.raises(
        StackError, match=r'Java 17, and `java -version` says openjdk version "11.0.2".*: install'
    ):
        java()


def test_no_maven_says_what_to_install(programs: Path, tmp_path: Path):
    """A machine without Maven is told the packages that bring it."""
    with pytest.raises(StackError, match=r"no `mvn` here: install Maven \(Debian.*apt install maven; macOS"):
        jars(tmp_path / "cache")


def test_a_failed_download_leaves_nothing(programs: Path, tmp_path: Path):
    """A download that fails shows what Maven said, and leaves no half cache."""
    _program(programs, "java", """echo 'openjdk version "17.0.1" 2021-10-19' >&2""")
    _program(programs, "mvn", "echo 'could not resolve'; exit 1")
    cache = tmp_path / "cache"

    with pytest.raises(StackError, match="could not resolve"):
        jars(cache)

    assert [file.name for file in cache.iterdir()] == ["kafka.lock"]


def test_a_download_is_done_once(programs: Path, tmp_path: Path):
    """Jars that are in the cache are taken from there, without Maven."""
    _program(programs, "java", """echo 'openjdk version "17.0.1" 2021-10-19' >&2""")
    _program(
        programs, "mvn", 'for last; do :; done; /bin/mkdir -p "${last#*=}"; echo > "${last#*=}/kafka.jar"'
    )
    first = jars(tmp_path / "cache")
    (programs / "mvn").unlink()

    assert first == jars(tmp_path / "cache")
    assert [file.name for file in first.iterdir()] == ["kafka.jar"]
