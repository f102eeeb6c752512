"""Fleet files: what an operator writes, and what is said of a mistake in it."""

from hashlib import sha256
from importlib import resources
from pathlib import Path

import pytest

from headrace import fleet
from headrace.stack.pki import ensure_pki
from headrace.stack.stack import TOKENS
from schemas.device import Device


def written(folder: Path, text: str) -> Path:
    """A fleet file of that text."""
    file = folder / "fleet.yaml"
    file.write_text(text)
    return file


def test_the_example_is_usable(tmp_path: Path):
    """The example beside the stack's own certificates registers what the three vendors' examples need."""
    ensure_pki(tmp_path / "pki")
    file = written(tmp_path, (resources.files("headrace") / "fleet.yaml").read_text())
    devices = {device.device: device for device in fleet.load(file)}
    assert {device.tenant for device in devices.values()} == set(TOKENS.values())
    assert {"contoso_9D6816", "contoso_9D6817", "myTwinId"} <= devices.keys()
    assert devices["myTwinId"].components == ["thermostat1"]
    assert devices["thermometer-1"].token_sha256s == [sha256(b"A1_TEST_TOKEN").hexdigest()]
    assert len(devices["thermometer-2"].certificate_sha256s) == 1
    assert not devices["spare-1"].enabled


def test_an_entry_needs_only_an_id(tmp_path: Path):
    """Everything but the id has a default."""
    file = written(tmp_path, "tenant: a\ndevices:\n- id: x\n")
    assert fleet.load(file) == [
        Device(
            tenant="a",
            device="x",
            token_sha256s=[],
            certificate_sha256s=[],
            components=[],
            place="",
            labels={},
        )
    ]


def test_tokens_do_not_leave(tmp_path: Path):
    """A token and its hash are the same credential, and only the hash is kept."""
    digest = sha256(b"t0ken").hexdigest()
    plain = fleet.load(written(tmp_path, "tenant: a\ndevices:\n- {id: x, tokens: [t0ken]}\n"))
    hashed = fleet.load(written(tmp_path, f"tenant: a\ndevices:\n- {{id: x, token_sha256s: [{digest}]}}\n"))
    assert plain == hashed
    assert "t0ken" not in repr(plain)


def test_every_mistake_is_named(tmp_path: Path):
    """All mistakes of a file are told at once, each with its line and device."""
    file = written(
        tmp_path,
        "tenant: a\ndevices:\n- id: 5\n- {id: x, tokn: [a]}\n- 3\n"
        "- {id: y, tokens: [a]}\n- {id: y}\n- {id: z, tokens: [a]}\n- {id: w, certificate_files: [w.pem]}\n",
    )
    with pytest.raises(fleet.Unusable) as caught:
        fleet.load(file)
    said = [mistake.removeprefix(str(file)) for mistake in caught.value.mistakes]
    assert said == [
        ", line 3, device 5: Expected `str`, got `int` - at `$.id`",
        ", line 4, device x: Object contains unknown field `tokn`",
        ", line 5: Expected `object`, got `int`",
        f", line 9, device w: [Errno 2] No such file or directory: '{tmp_path / 'w.pem'}'",
        ": device y is there 2 times",
        ": one token or certificate for y and z",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "tenant: a",
        "devices: []",
        "tenant: A/B\ndevices: []",
        "tenant: a\ndevices: [",
        "a: [*b]",
        "\0",
    ],
)
def test_what_is_no_fleet_is_said(tmp_path: Path, text: str):
    """A file that is no YAML, or no fleet, is named in one sentence."""
    file = written(tmp_path, text)
    with pytest.raises(fleet.Unusable, match=r"fleet\.yaml"):
        fleet.load(file)


@pytest.mark.parametrize("pem", ["", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_said(tmp_path: Path, pem: str):
    """A file without a certificate that can be read is a mistake of its entry."""
    (tmp_path / "x.pem").write_text(pem)
    file = written(tmp_path, "tenant: a\ndevices:\n- {id: x, certificate_files: [x.pem]}\n")
    with pytest.raises(fleet.Unusable, match="line 3, device x"):
        fleet.load(file)
