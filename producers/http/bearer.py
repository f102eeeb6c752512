"""Bearer tokens: which tenant a request speaks for."""

from collections.abc import Mapping
from hashlib import blake2b

from producers.http.refusal import Refusal
from producers.http.verifier import Rejected, Verifier


class Tenants:
    """The tenants, by the static bearer tokens from the settings, or by tokens that the verifier judges.

    Of static tokens only hashes are kept and looked up, so that neither memory nor the time an answer takes gives a token
    away. They belong to an operator, and may use every dialect.
    """

    def __init__(self, tokens: Mapping[str, str], verifier: Verifier | None = None) -> None:
        self._by_digest = {_digest(token): tenant for token, tenant in tokens.items()}
        self._verifier = verifier

    async def of(self, headers: Mapping[str, str], dialect: str) -> str:
        """The tenant that the request's token belongs to.

        Raises:
            Refusal: 401, there is no bearer token, or it is not valid; 403, it may not use the dialect; 503, the keys to
                judge it by could not be read yet.

        """
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "Access token is empty.", headers={"WWW-Authenticate": "Bearer"})
        tenant = self._by_digest.get(_digest(token))
        if tenant is not None:
            return tenant
        if self._verifier is None:
            raise Rejected
        return await self._verifier.tenant(token, dialect)


def _digest(token: str) -> bytes:
    # A header may hold bytes that are no UTF-8; aiohttp hands them on as surrogates.
    return blake2b(token.encode(errors="surrogateescape")).digest()
