"""Verifier: JSON Web Tokens, checked against the issuer's keys; whom they speak for, and what they may do."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import jwt

from producers.http.key_set import ALGORITHMS, KeySet
from producers.http.refusal import Refusal

REMEMBERED = 10_000
"""Verified tokens that are kept, about 700 bytes each, so that a client's next request costs a look-up."""

LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""

RETRY_AFTER = 5
"""Seconds after which to come back when no key is known yet."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_FAILURE = "Access token validation failure."


class Grant(NamedTuple):
    """What a verified token says."""

    tenant: str
    roles: frozenset[str]
    """The application's roles and the user's scopes."""
    expires: float
    key_id: str


class Rejected(Refusal):
    """401: the token is none, or not for us. The message never holds a part of it."""

    def __init__(self, message: str = _FAILURE) -> None:
        super().__init__(401, message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class Verifier:
    """Judges tokens that an issuer signed for one of the audiences.

    Args:
        keys: the issuer's.
        issuer: what `iss` must be.
        audiences: of which `aud` must name one.
        tenant_claim: the claim that names the tenant.
        roles: by dialect, of which a token must have one.
        clock: seconds since 1970.

    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audiences: Sequence[str],
        tenant_claim: str,
        roles: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = list(audiences)
        self._tenant_claim = tenant_claim
        self._roles = {dialect: frozenset(names) for dialect, names in roles.items()}
        self._clock = clock
        self._grants: OrderedDict[bytes, Grant] = OrderedDict()

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._grants)

    async def tenant(self, token: str, dialect: str) -> str:
        """Whom the token speaks for, if it may use the dialect.

        Raises:
            Refusal: 401, the token is not valid; 403, it has none of the dialect's roles; 503, no key could be read yet.

        """
        digest = sha256(token.encode(errors="surrogateescape")).digest()
        grant = self._remembered(digest)
        if grant is None:
            grant = await self._verified(token)
            self._grants[digest] = grant
            if len(self._grants) > REMEMBERED:
                self._grants.popitem(last=False)
        if not grant.roles & self._roles.get(dialect, frozenset()):
            raise Refusal(
                403,
                "The token has none of the roles that this needs.",
                headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
            )
        return grant.tenant

    def _remembered(self, digest: bytes) -> Grant | None:
        grant = self._grants.get(digest)
        if grant is None:
            return None
        if grant.expires <= self._clock() or grant.key_id not in self._keys:
            del self._grants[digest]
            return None
        self._grants.move_to_end(digest)
        return grant

    async def _verified(self, token: str) -> Grant:
        try:
            # A key id is looked up, never trusted; RecursionError: brackets within brackets in a header.
            key_id = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Rejected from None
        if not isinstance(key_id, str):
            raise Rejected
        key = await self._keys.find(key_id)
        if key is None:
            if self._keys.empty:
                raise Refusal(
                    503, "Tokens cannot be checked yet; try again.", headers={"Retry-After": str(RETRY_AFTER)}
                )
            raise Rejected
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audiences,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Rejected(_reason(error)) from None
        return self._grant(claims, key_id)

    def _grant(self, claims: Mapping[str, Any], key_id: str) -> Grant:
        tenant = claims.get(self._tenant_claim)
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
            raise Rejected(f"{_FAILURE} Its claim {self._tenant_claim} names no tenant.")
        roles, scopes = claims.get("roles"), claims.get("scp")
        names = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
        names += scopes.split() if isinstance(scopes, str) else []
        return Grant(tenant, frozenset(names), float(claims["exp"]), key_id)


def _reason(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "Lifetime validation failed, the token is expired."
        case jwt.ImmatureSignatureError():
            return "Lifetime validation failed, the token is not yet valid."
        case jwt.InvalidAudienceError():
            return f"{_FAILURE} Invalid audience."
        case jwt.InvalidIssuerError():
            return f"{_FAILURE} Invalid issuer."
        case _:
            return _FAILURE
