"""Bearer tokens: which tenant a request speaks for."""

import pytest

from producers.http.bearer import Tenants
from producers.http.refusal import Refusal

TENANTS = Tenants({"s3cret": "contoso", "é": "fabrikam"})


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
def test_token_names_its_tenant(value: str):
    """The scheme's case and stray spaces do not matter; the token does."""
    assert TENANTS.of({"Authorization": value}) == "contoso"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}]
)
def test_no_token_is_asked_for(headers: dict[str, str]):
    """A request without a bearer token is told which scheme is expected."""
    with pytest.raises(Refusal, match="Access token is empty") as caught:
        TENANTS.of(headers)
    assert (caught.value.status, caught.value.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("token", ["S3CRET", "s3cret2", "contoso", "\udcff"])
def test_unknown_token_is_refused(token: str):
    """A token that nobody has is refused, also one whose bytes are no text."""
    with pytest.raises(Refusal, match="validation failure"):
        TENANTS.of({"Authorization": f"Bearer {token}"})


def test_tokens_are_not_kept():
    """What is held in memory does not show a token."""
    assert "s3cret" not in repr(vars(TENANTS))
