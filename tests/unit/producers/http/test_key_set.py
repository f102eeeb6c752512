"""The issuer's keys: kept in memory, renewed in the background, and not lost when their source is."""

import asyncio
import json
from pathlib import Path

import pytest

from producers.http import key_set as module
from producers.http.key_set import COOLDOWN, LARGEST, KeySet
from producers.metrics import Credential
from tests.support.issuer import KeyServer, key_file, key_set
from tests.support.processes import until
from tests.support.renewals import renewals


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The seconds so far."""
        return self.now


async def test_keys_of_a_file_are_found(tmp_path: Path):
    """Every signing key in the file is known by its id, and no other."""
    keys = KeySet(key_file(tmp_path, "ec-1", "rsa-1"), every=60)
    async with keys.kept():
        assert "ec-1" in keys
        assert (await keys.find("rsa-1")).algorithm_name == "RS256"
        assert await keys.find("ec-2") is None


async def test_keys_of_a_url_are_found():
    """The keys that an issuer publishes are known before the first request."""
    server = KeyServer("ec-1")
    async with server.listening() as url:
        keys = KeySet(url, every=60)
        async with keys.kept():
            assert "ec-1" in keys
    assert server.asked == 1


async def test_an_unknown_key_causes_one_look():
    """Of many requests with new keys, one looks and all of them wait for it; then there is a pause."""
    server, clock = KeyServer("ec-1"), Clock()
    async with server.listening() as url:
        keys = KeySet(url, every=60, monotonic=clock)
        async with keys.kept():
            clock.now += COOLDOWN
            server.document = key_set("ec-1", "ec-2")
            found = await asyncio.gather(*(keys.find(f"ec-{number}") for number in range(2, 50)))
            assert [key.key_id for key in found if key is not None] == ["ec-2"]
            assert await keys.find("ec-99") is None
            assert server.asked == 2
            clock.now += COOLDOWN
            await keys.find("ec-99")
            assert server.asked == 3


async def test_guessing_keys_is_in_vain():
    """However many unknown keys are asked for, the source is asked once in a while."""
    server, clock = KeyServer("ec-1"), Clock()
    async with server.listening() as url:
        keys = KeySet(url, every=3600, monotonic=clock)
        async with keys.kept():
            for guess in range(1280):
                clock.now += COOLDOWN / 128
                assert await keys.find(f"guess-{guess}") is None
    assert server.asked == 1 + 10


async def test_a_hanging_source_is_asked_once_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """While a look hangs, those who ask for unknown keys wait a limited time, and cause no second look."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    server, clock = KeyServer("ec-1"), Clock()
    async with server.listening() as url:
        keys = KeySet(url, every=3600, monotonic=clock)
        async with keys.kept():
            server.answering.clear()
            for guess in range(20):
                clock.now += COOLDOWN
                assert await keys.find(f"guess-{guess}") is None
    assert server.asked == 2


async def test_a_look_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """A source that never answers is left after some seconds, like one that is away, and is asked again."""
    monkeypatch.setattr(module, "LONGEST", 0.01)
    server, before = KeyServer("ec-1"), renewals(Credential.KEY_SET, "failed")
    server.answering.clear()
    async with server.listening() as url:
        keys = KeySet(url, every=0.01)
        async with keys.kept():
            await until(lambda: server.asked >= 3)
    assert keys.empty
    assert renewals(Credential.KEY_SET, "failed") >= before + 2


async def test_failing_looks_are_said_each(capsys: pytest.CaptureFixture[str]):
    """While the source is away each look is one line in the log and one count, and the keys stay."""
    server, before = KeyServer("ec-1"), renewals(Credential.KEY_SET, "failed")
    async with server.listening() as url:
        keys = KeySet(url, every=0.01)
        async with keys.kept():
            server.status = 500
            await until(lambda: renewals(Credential.KEY_SET, "failed") >= before + 3)
            assert "ec-1" in keys
    failures = renewals(Credential.KEY_SET, "failed") - before
    assert capsys.readouterr().out.count("key set not read") == failures


async def test_a_long_key_set_is_read_to_its_end():
    """A key set that comes in many packets is read whole."""
    server = KeyServer("ec-1")
    server.document = b" " * 900_000 + server.document
    async with server.listening() as url:
        keys = KeySet(url, every=60)
        async with keys.kept():
            assert "ec-1" in keys


async def test_a_known_key_waits_for_nobody():
    """While a look is under way, keys that are known are found at once."""
    server, clock = KeyServer("ec-1"), Clock()
    async with server.listening() as url:
        keys = KeySet(url, every=60, monotonic=clock)
        async with keys.kept():
            clock.now += COOLDOWN
            waiting = asyncio.create_task(keys.find("ec-2"))
            await asyncio.wait({waiting}, timeout=0)
            assert (await keys.find("ec-1")).key_id == "ec-1"
            assert not waiting.done()
            await waiting


async def test_the_source_is_read_again():
    """A key that the issuer adds is known after a while, without anybody asking for it."""
    server = KeyServer("ec-1")
    async with server.listening() as url:
        keys = KeySet(url, every=0.01)
        async with keys.kept():
            server.document = key_set("ec-2")
            asked = server.asked
            # Whoever asks once more has read the answer before.
            while server.asked < asked + 3:
                await asyncio.wait_for(server.heard.acquire(), 5)
            assert "ec-2" in keys
            assert "ec-1" not in keys


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"keys": 1}'),
        (200, b'{"keys": [1, {"kty": "RSA"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}'),
        (200, b'{"keys": [{"kty": "RSA", "kid": "s3cret", "n": "?", "e": "AQAB"}]}'),
        (200, b"[" * 100_000),
        (200, b" " * LARGEST + key_set("ec-2")),
    ],
)
async def test_the_old_keys_stay_when_the_source_is_away(
    status: int, document: bytes, capsys: pytest.CaptureFixture[str]
):
    """An answer that is no key set leaves the keys in force, counts once, and leaves one line in the log that quotes nothing of it."""
    server, clock, before = KeyServer("ec-1"), Clock(), renewals(Credential.KEY_SET, "failed")
    async with server.listening() as url:
        keys = KeySet(f"{url}?code=s3cret", every=60, monotonic=clock)
        async with keys.kept():
            server.status, server.document = status, document
            clock.now += COOLDOWN
            assert await keys.find("ec-2") is None
            assert "ec-1" in keys
    said = capsys.readouterr().out
    assert said.count("key set not read") == renewals(Credential.KEY_SET, "failed") - before == 1
    assert "s3cret" not in said


@pytest.mark.parametrize("source", ["http://127.0.0.1:1/s3cret", "http://[s3cret", "/nowhere/s3cret"])
async def test_a_source_that_is_away_from_the_start(source: str, capsys: pytest.CaptureFixture[str]):
    """Without any key the edge starts all the same, and the log says so without naming the source."""
    keys = KeySet(source, every=60)
    async with keys.kept():
        assert keys.empty
    said = capsys.readouterr().out
    assert "key set not read" in said
    assert "s3cret" not in said


async def test_keys_that_are_not_for_signatures_are_left_aside(tmp_path: Path):
    """A key for encryption, one without an id and one of another curve are not used."""
    document = json.loads(key_set("ec-1", "ec-2", "ec-3"))
    document["keys"][1]["use"] = "enc"
    del document["keys"][2]["kid"]
    document["keys"].append({"kty": "EC", "crv": "P-384", "kid": "ec-4", "x": "AA", "y": "AA"})
    (tmp_path / "keys.json").write_text(json.dumps(document))
    keys = KeySet(str(tmp_path / "keys.json"), every=60)
    async with keys.kept():
        assert [name for name in ("ec-1", "ec-2", "ec-3", "ec-4") if name in keys] == ["ec-1"]
