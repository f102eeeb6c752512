"""The wheel holds the six packages with all their data, and nothing else."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, DEVELOPMENT = PYPROJECT["project"], PYPROJECT["dependency-groups"]["dev"]
PEERS = PYPROJECT["dependency-groups"]["peers"]
PACKAGES = ("schemas", "runtime", "producers", "processors", "sinks", "headrace")


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(name="listing", scope="module")
def _listing(wheel):
    return set(wheel.namelist())


def files(*patterns):
    """The paths of this checkout's files, as a wheel names them."""
    found = {path for package in PACKAGES for pattern in patterns for path in (ROOT / package).rglob(pattern)}
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_there_is_nothing_but_the_packages(listing):
    """Tests, deployment files and caches stay at home."""
    assert {*PACKAGES, "headrace-0.1.0.dist-info"} == {PurePosixPath(name).parts[0] for name in listing}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(listing, package):
    """Type checkers of those who import a package see its types."""
    assert f"{package}/py.typed" in listing


@pytest.mark.parametrize("pattern", ["*.py", "*.avsc", "*.sql", "*.yaml"])
def test_every_file_of_a_kind_is_inside(listing, pattern):
    """Code, schemas, migrations and the example fleet travel with the wheel, all of them."""
    wanted = files(pattern)

    assert wanted
    assert wanted <= listing


def test_the_example_fleet_is_inside(listing):
    """The fleet that the demo registers is there without a checkout."""
    assert "headrace/fleet.yaml" in listing


def test_the_tables_are_inside(listing):
    """The migrations that the sink runs are there without a checkout."""
    assert any(name.startswith("sinks/clickhouse/sql/0001_") for name in listing)


def test_the_http_document_is_inside(listing):
    """The document that the HTTP edge serves is there without a checkout."""
    assert "producers/http/openapi.yaml" in listing


def test_the_licence_is_inside(listing):
    """Who gets the wheel gets the licence."""
    assert "headrace-0.1.0.dist-info/licenses/LICENSE" in listing


def test_there_is_one_command(wheel):
    """The wheel installs `headrace`, and no other command."""
    entry_points = wheel.read("headrace-0.1.0.dist-info/entry_points.txt").decode()

    assert ["[console_scripts]", "headrace = headrace.cli:main"] == entry_points.split("\n")[:2]


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/requirements.lock", "tests/bench/peers.lock"])
def test_a_lock_names_versions_and_hashes_only(lock):
    """Whoever installs from a lock chooses the index; the lock chooses the bytes."""
    lines = (ROOT / lock).read_text().splitlines()

    assert [] == [line for line in lines if not line.startswith("    --hash=sha256:") and "==" not in line]


def names(requirements):
    """The names of what is required, or pinned."""
    return {re.match(r"[A-Za-z0-9.-]+", line)[0].lower().replace(".", "-") for line in requirements}


def pinned(lock):
    """The names that a lock pins."""
    return names(line for line in (ROOT / lock).read_text().splitlines() if "==" in line)


def test_a_checkout_gets_what_the_project_asks_for():
    """The lock pins every dependency of the project, of its local stack and of its development."""
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["local"], *DEVELOPMENT]

    assert set() == names(asked) - pinned("requirements.lock")


def test_peers_have_an_environment_of_their_own():
    """The lock of the peers pins their group, and neither lock of Headrace pins a peer."""
    assert set() == names(PEERS) - pinned("tests/bench/peers.lock")
    assert set() == {"quixstreams", "bytewax"} & (
        pinned("requirements.lock") | pinned("deploy/requirements.lock")
    )


def test_the_image_gets_what_the_project_asks_for():
    """The image's lock pins every dependency of the project."""
    assert set() == names(PROJECT["dependencies"]) - pinned("deploy/requirements.lock")


def test_the_image_gets_nothing_else():
    """The image's lock has neither the local stack's engine nor anything for development."""
    assert set() == {"chdb", *names(DEVELOPMENT)} & pinned("deploy/requirements.lock")
