"""Bearer tokens: which tenant a request speaks for."""

from collections.abc import Mapping
from hashlib import sha256

from producers.http.refusal import Refusal


class Tenants:
    """The tenants, by the bearer tokens from the settings.

    Only hashes are kept and looked up, so that neither memory nor the time an answer takes gives a token away.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._by_digest = {_digest(token): tenant for token, tenant in tokens.items()}

    def of(self, headers: Mapping[str, str]) -> str:
        """The tenant that the request's token belongs to.

        Raises:
            Refusal: 401; there is no bearer token, or nobody has it.

        """
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "Access token is empty.", headers={"WWW-Authenticate": "Bearer"})
        tenant = self._by_digest.get(_digest(token))
        if tenant is None:
            raise Refusal(
                401,
                "Access token validation failure.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return tenant


def _digest(token: str) -> bytes:
    # A header may hold bytes that are no UTF-8; aiohttp hands them on as surrogates.
    return sha256(token.encode(errors="surrogateescape")).digest()
