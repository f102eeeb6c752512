"""`headrace devices`: what is written to the topic, and what the operator is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner, Result

from headrace import devices
from runtime.devices import DeviceTable
from runtime.publisher import Undelivered
from schemas.codec import decode
from schemas.device import Device

FLEET = "tenant: a\ndevices:\n- {id: x, tokens: [t]}\n- {id: y, place: Roof}\n"


class Topic:
    """The topic of devices: a publisher and a registry that share a memory."""

    def __init__(self) -> None:
        self.devices: dict[Any, Any] = devices._Entries()
        self.written: list[str] = []
        self.fail = False

    async def __aenter__(self) -> Self:
        """As a publisher."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """As a publisher."""

    def __enter__(self) -> Self:
        """As a registry."""
        return self

    def __exit__(self, *_: object) -> None:
        """As a registry."""

    async def send(self, topic: str, value: bytes | None, *, key: bytes) -> None:
        """As a publisher."""
        if self.fail:
            raise Undelivered("timed out")
        tenant, _, device = key.decode().partition("/")
        self.written.append(f"{topic} {tenant}/{device}")
        if value is None:
            self.devices.remove(tenant, device)
        else:
            self.devices.put(decode(Device, value))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """What the commands write to, and read from."""
    shared = Topic()
    monkeypatch.setattr(devices, "Publisher", lambda *_, **__: shared)
    monkeypatch.setattr(devices, "Registry", lambda *_: shared)
    return shared


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A fleet of two devices."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    return fleet


def run(*arguments: Any) -> Result:
    """The command, as typed."""
    return CliRunner().invoke(devices.app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_apply_registers(topic: Topic, file: Path):
    """Every device of the file is written, and its token is good from then on."""
    told = run("apply", file)
    assert told.output.splitlines() == ["added     a/x", "added     a/y", "unchanged 0 of 2"]
    assert topic.written == ["devices a/x", "devices a/y"]
    assert DeviceTable(topic.devices.values()).by_token("t") is not None


def test_apply_again_writes_nothing(topic: Topic, file: Path):
    """Only what differs from the registry is written."""
    run("apply", file)
    topic.written.clear()
    assert run("apply", file).output.splitlines() == ["unchanged 2 of 2"]
    file.write_text(FLEET.replace("Roof", "Cellar"))
    assert run("apply", file).output.splitlines() == ["changed   a/y", "unchanged 1 of 2"]
    assert topic.written == ["devices a/y"]


def test_dry_run_writes_nothing(topic: Topic, file: Path):
    """A dry run tells the same, and that it did nothing."""
    told = run("apply", file, "--dry-run").output.splitlines()
    assert told[:2] == ["added     a/x", "added     a/y"]
    assert "dry run" in told[-1]
    assert topic.written == []


def test_one_mistake_stops_all(topic: Topic, file: Path):
    """A file with a mistake registers nothing, and the mistake is told on standard error."""
    file.write_text(FLEET + "- {id: z, tokn: [t]}\n")
    told = run("apply", file)
    assert (told.exit_code, topic.written) == (1, [])
    assert "line 5, device z: Object contains unknown field `tokn`" in told.stderr


def test_kafka_away_is_said(topic: Topic, file: Path):
    """What Kafka did not acknowledge is no success."""
    topic.fail = True
    told = run("apply", file)
    assert told.exit_code == 1
    assert "not registered: timed out" in told.stderr


def test_list_shows_every_device(topic: Topic, file: Path):
    """The table has a row for each device, with no credential in it."""
    run("apply", file)
    told = run("list").output
    assert [line.split()[:5] for line in told.splitlines()[1:]] == [
        ["a", "x", "yes", "1", "0"],
        ["a", "y", "yes", "0", "0"],
    ]


def test_remove_forgets(topic: Topic, file: Path):
    """A device that is removed has no credentials any more; one that is not there is an error."""
    run("apply", file)
    assert run("remove", "a", "x").output == "removed   a/x\n"
    assert DeviceTable(topic.devices.values()).by_token("t") is None
    assert run("remove", "a", "x").exit_code == 1
