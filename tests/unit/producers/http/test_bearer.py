"""Bearer tokens: which tenant a request speaks for."""

from pathlib import Path

import pytest

from producers.http.bearer import Tenants
from producers.http.key_set import KeySet
from producers.http.refusal import Refusal
from producers.http.verifier import Verifier
from producers.settings import ROLES
from tests.support.issuer import AUDIENCES, ISSUER, key_file, token

TENANTS = Tenants({"s3cret": "contoso", "é": "fabrikam"})


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
async def test_token_names_its_tenant(value: str):
    """The scheme's case and stray spaces do not matter; the token does."""
    assert await TENANTS.of({"Authorization": value}, "graph") == "contoso"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}]
)
async def test_no_token_is_asked_for(headers: dict[str, str]):
    """A request without a bearer token is told which scheme is expected."""
    with pytest.raises(Refusal, match="Access token is empty") as caught:
        await TENANTS.of(headers, "graph")
    assert (caught.value.status, caught.value.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("unknown", ["S3CRET", "s3cret2", "contoso", "\udcff"])
async def test_unknown_token_is_refused(unknown: str):
    """A token that nobody has is refused, also one whose bytes are no text."""
    with pytest.raises(Refusal, match="validation failure"):
        await TENANTS.of({"Authorization": f"Bearer {unknown}"}, "graph")


def test_tokens_are_not_kept():
    """What is held in memory does not show a token."""
    assert "s3cret" not in repr(vars(TENANTS))


async def test_static_tokens_go_first(tmp_path: Path):
    """A static token still names its tenant where tokens of an issuer are taken as well."""
    keys = KeySet(key_file(tmp_path, "ec-1"), every=60)
    verifier = Verifier(keys, issuer=ISSUER, audiences=AUDIENCES, tenant_claim="tid", roles=ROLES)
    tenants = Tenants({"s3cret": "fabrikam"}, verifier)
    async with keys.kept():
        assert await tenants.of({"Authorization": "Bearer s3cret"}, "graph") == "fabrikam"
        assert await tenants.of({"Authorization": f"Bearer {token()}"}, "graph") == "contoso"
