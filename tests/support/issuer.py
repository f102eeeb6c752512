"""Issuer: signs tokens for tests, and says with which keys, in a file or over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://login.example/contoso/v2.0"
AUDIENCES = ["https://graph.microsoft.com", "https://digitaltwins.azure.net"]
GRAPH_ROLE = "PlaceDeviceTelemetry.ReadWrite.All"
OWNER = "Azure Digital Twins Data Owner"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def key(name: str) -> Key:
    """The private key of that name; those that begin with "rsa" are RSA keys, all others are of P-256."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def token(name: str = "ec-1", *, algorithm: str = "", signer: str = "", **changed: Any) -> str:
    """A token that names the key of that name; without changed claims, a good one. A claim that is None is left out."""
    private = key(signer or name)
    algorithm = algorithm or ("RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256")
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCES[0],
        "exp": int(time.time()) + 600,
        "tid": "contoso",
        "roles": [GRAPH_ROLE, OWNER],
    }
    claims = {claim: value for claim, value in (claims | changed).items() if value is not None}
    return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": name})


def key_set(*names: str) -> bytes:
    """The public halves of the keys, as an issuer publishes them."""
    return json.dumps({"keys": [_public(name) for name in names]}).encode()


def _public(name: str) -> dict[str, Any]:
    public = key(name).public_key()
    shown = RSAAlgorithm if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm
    return {**shown.to_jwk(public, as_dict=True), "kid": name, "use": "sig"}


def key_file(folder: Path, *names: str) -> str:
    """A file that holds the public halves of the keys."""
    file = folder / "keys.json"
    file.write_bytes(key_set(*names))
    return str(file)


class KeyServer:
    """Publishes a key set, and counts how often it was asked for it; hangs while `answering` is not set."""

    def __init__(self, *names: str) -> None:
        self.document = key_set(*names)
        self.status = 200
        self.asked = 0
        self.heard = asyncio.Semaphore(0)
        self.answering = asyncio.Event()
        self.answering.set()

    async def _answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        self.heard.release()
        await self.answering.wait()
        return web.Response(body=self.document, status=self.status, content_type="application/json")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve while the block runs, at the URL that it is given."""
        app = web.Application()
        app.router.add_get("/keys", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        finally:
            self.answering.set()
            await runner.cleanup()
