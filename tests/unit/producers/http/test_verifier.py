"""Tokens of an issuer: which are taken, which are not, and what nobody gets to see."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from producers.http.key_set import KeySet
from producers.http.refusal import Refusal
from producers.http.verifier import LEEWAY, REMEMBERED, Verifier
from producers.settings import ROLES
from tests.support.issuer import AUDIENCES, GRAPH_ROLE, ISSUER, OWNER, key_file, key_set, token


class Clock:
    """Seconds since 1970, which the test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.time() + self.ahead


def verifier_of(keys: KeySet, **changed: Any) -> Verifier:
    """A verifier as the settings make it."""
    options = {"issuer": ISSUER, "audiences": AUDIENCES, "tenant_claim": "tid", "roles": ROLES}
    return Verifier(keys, **options | changed)


@pytest.fixture(name="keys")
async def _keys(tmp_path: Path) -> AsyncIterator[KeySet]:
    """The keys of an issuer that has one of each kind."""
    keys = KeySet(key_file(tmp_path, "ec-1", "rsa-1"), every=60)
    async with keys.kept():
        yield keys


@pytest.mark.parametrize("name", ["ec-1", "rsa-1"])
async def test_a_good_token_names_its_tenant(keys: KeySet, name: str):
    """Tokens signed with ES256 and with RS256 are taken."""
    assert await verifier_of(keys).tenant(token(name), "graph") == "contoso"


@pytest.mark.parametrize(
    "claims",
    [
        lambda _: {"aud": ["x", AUDIENCES[1]]},
        lambda now: {"exp": now - LEEWAY + 15},
        lambda now: {"nbf": now + LEEWAY - 15},
        lambda _: {"roles": ["PlaceDevice.ReadWrite.All"]},
        lambda _: {"roles": None, "scp": "User.Read PlaceDevice.ReadWrite.All"},
        lambda _: {"tid": "26c5cf7b-0aa3-4f4e-8f0b-1b8b6c6f9a55"},
    ],
    ids=["one of its audiences", "just expired", "not yet valid", "higher role", "delegated", "a GUID"],
)
async def test_what_a_good_token_may_look_like(keys: KeySet, claims: Callable[[int], dict[str, Any]]):
    """Clocks may differ a little, audiences be several, and rights be an application's or a user's."""
    assert await verifier_of(keys).tenant(token(**claims(int(time.time()))), "graph")


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": int(time.time()) - LEEWAY - 60}, "Lifetime validation failed, the token is expired."),
        (
            {"nbf": int(time.time()) + LEEWAY + 86_400},
            "Lifetime validation failed, the token is not yet valid.",
        ),
        ({"exp": None}, "Access token validation failure."),
        ({"exp": "soon"}, "Access token validation failure."),
        ({"aud": "https://example.com"}, "Access token validation failure. Invalid audience."),
        ({"aud": None}, "Access token validation failure."),
        ({"iss": "https://evil.example"}, "Access token validation failure. Invalid issuer."),
        ({"iss": None}, "Access token validation failure."),
        ({"tid": None}, "Access token validation failure. Its claim tid names no tenant."),
        ({"tid": ["contoso"]}, "Access token validation failure. Its claim tid names no tenant."),
        ({"tid": "contoso/myTwinId"}, "Access token validation failure. Its claim tid names no tenant."),
        ({"signer": "ec-2"}, "Access token validation failure."),
        ({"name": "ec-9"}, "Access token validation failure."),
        ({"name": "rsa-1", "algorithm": "RS512"}, "Access token validation failure."),
        ({"name": "rsa-1", "signer": "ec-1"}, "Access token validation failure."),
    ],
)
async def test_what_is_wrong_with_a_token_is_said(keys: KeySet, claims: dict[str, Any], message: str):
    """A token out of its time, for somebody else, of nobody or not signed by its key is refused with 401."""
    with pytest.raises(Refusal) as caught:
        await verifier_of(keys).tenant(token(**claims), "graph")
    assert (caught.value.status, caught.value.message) == (401, message)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def forged(header: Any, payload: Any = None, signature: bytes = b"") -> str:
    """A token of any parts."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, signature))


CLAIMS = {"iss": ISSUER, "aud": AUDIENCES[0], "exp": 4102444800, "tid": "contoso", "roles": [GRAPH_ROLE]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stolen",
        "a.b.c",
        "é.é.é",
        "\udcff.x.y",
        forged({"alg": "none", "kid": "ec-1"}, CLAIMS),
        forged({"alg": "none"}, CLAIMS),
        forged({"alg": "ES256"}, CLAIMS, bytes(64)),
        forged({"alg": "ES256", "kid": "ec-1"}, CLAIMS, bytes(64)),
        forged({"alg": "ES256", "kid": ["ec-1"]}, CLAIMS, bytes(64)),
        forged({"alg": "ES256", "kid": "ec-1", "crit": ["b64"], "b64": False}, CLAIMS, bytes(64)),
        forged([], CLAIMS),
        forged(b"[" * 5000, CLAIMS),
        forged(b'{"alg":' + b'{"x":' * 1500, CLAIMS),
    ],
)
async def test_forgeries_are_refused(keys: KeySet, text: str):
    """Whatever is sent as a token gets a 401, never an error of ours."""
    with pytest.raises(Refusal, match="validation failure") as caught:
        await verifier_of(keys).tenant(text, "graph")
    assert caught.value.status == 401


async def test_a_public_key_is_no_secret(keys: KeySet):
    """A token that is signed with the public key as if that were a shared secret is refused."""
    head = {"alg": "HS256", "kid": "rsa-1"}
    (public,) = json.loads(key_set("rsa-1"))["keys"]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    body = forged(head, CLAIMS).rpartition(".")[0]
    signature = mac.sign(body.encode(), public["n"].encode())
    with pytest.raises(Refusal, match="validation failure"):
        await verifier_of(keys).tenant(forged(head, CLAIMS, signature), "graph")


async def test_each_dialect_has_its_own_roles(keys: KeySet):
    """A token may use the dialects of its roles, and gets 403 from the others."""
    verifier = verifier_of(keys)
    owner, sensor = token(roles=[OWNER]), token(roles=[GRAPH_ROLE])
    assert await verifier.tenant(owner, "digital_twins") == "contoso"
    assert await verifier.tenant(sensor, "graph") == "contoso"
    for refused, dialect in ((owner, "graph"), (sensor, "digital_twins"), (sensor, "another")):
        with pytest.raises(Refusal) as caught:
            await verifier.tenant(refused, dialect)
        assert caught.value.status == 403
        assert caught.value.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'


@pytest.mark.parametrize("roles", [None, [], "PlaceDevice.ReadWrite.All", [7], {"a": 1}])
async def test_without_roles_nothing_is_allowed(keys: KeySet, roles: Any):
    """A token without roles, or with roles that are none, gets 403."""
    with pytest.raises(Refusal) as caught:
        await verifier_of(keys).tenant(token(roles=roles), "graph")
    assert caught.value.status == 403


async def test_the_tenant_is_where_the_settings_say(keys: KeySet):
    """Another claim than the default may name the tenant."""
    verifier = verifier_of(keys, tenant_claim="org")
    assert await verifier.tenant(token(org="fabrikam", tid=None), "graph") == "fabrikam"


async def test_a_token_is_verified_once(keys: KeySet, monkeypatch: pytest.MonkeyPatch):
    """The second request with a token costs a look-up; one that is past its time is judged again."""
    clock, verified = Clock(), []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *args, **kw: verified.append(1) or decode(*args, **kw))
    verifier, text = verifier_of(keys, clock=clock), token()
    for _ in range(3):
        await verifier.tenant(text, "graph")
    assert len(verified) == 1
    clock.ahead = 700
    await verifier.tenant(text, "graph")
    assert len(verified) == 2


async def test_a_key_that_is_gone_ends_its_tokens(tmp_path: Path):
    """A token that was verified before is refused once the issuer withdrew its key."""
    keys = KeySet(key_file(tmp_path, "ec-1"), every=60)
    verifier, text = verifier_of(keys), token()
    async with keys.kept():
        await verifier.tenant(text, "graph")
        key_file(tmp_path, "ec-2")
        async with keys.kept():
            with pytest.raises(Refusal, match="validation failure"):
                await verifier.tenant(text, "graph")


async def test_memory_is_bounded(keys: KeySet, monkeypatch: pytest.MonkeyPatch):
    """However many tokens were verified, only the latest are remembered, and none of them by its text."""
    monkeypatch.setattr("producers.http.verifier.REMEMBERED", 3)
    verifier = verifier_of(keys)
    texts = [token(jti=str(number)) for number in range(5)]
    for text in texts:
        await verifier.tenant(text, "graph")
    assert REMEMBERED > len(verifier) == 3
    assert not [text for text in texts if text in repr(vars(verifier))]


async def test_without_any_key_the_client_comes_back(tmp_path: Path):
    """As long as no key could be read, a token is neither good nor bad: 503, and a time to come back."""
    keys = KeySet(str(tmp_path / "missing.json"), every=60)
    async with keys.kept():
        with pytest.raises(Refusal) as caught:
            await verifier_of(keys).tenant(token(), "graph")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")


async def test_a_short_key_signs_nothing(tmp_path: Path):
    """An RSA key of 1024 bits is not trusted, whoever publishes it."""
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - for this test only
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415 - for this test only

    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    entry = {**RSAAlgorithm.to_jwk(short.public_key(), as_dict=True), "kid": "short"}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [entry]}))
    keys = KeySet(str(tmp_path / "keys.json"), every=60)
    signer = RSAAlgorithm(RSAAlgorithm.SHA256)
    head = {"alg": "RS256", "kid": "short"}
    text = forged(head, CLAIMS, signer.sign(forged(head, CLAIMS).rpartition(".")[0].encode(), short))
    async with keys.kept():
        with pytest.raises(Refusal, match="validation failure"):
            await verifier_of(keys).tenant(text, "graph")
