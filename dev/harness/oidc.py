"""An OpenID provider: discovery, keys, a page that signs in at once, and tokens that are signed, over HTTP.

provider.person = Person(subject="ada", groups=["webhooks"])     # who signs in from now on
provider.token = lambda claims: sign(claims | {"aud": "other"})  # what is wrong with the next tokens
"""

import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from dev.harness.receiver import serving

CLIENT_ID, CLIENT_SECRET = "the-console", "a secret, with: signs & more"
KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})
TOKEN_SECONDS = 300

Claims = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with an account."""

    subject: str
    groups: Sequence[str] = ()
    name: str = "Ada Lovelace"


def sign(claims: Mapping[str, Any], *, key: RSAKey = KEY, algorithm: str = "RS256") -> str:
    """Return an ID token."""
    return jwt.encode({"alg": algorithm, "kid": key.kid}, dict(claims), key, algorithms=[algorithm])


def unsigned(claims: Mapping[str, Any]) -> str:
    """Return an ID token of the algorithm `none`."""
    header = {"alg": "none", "kid": KEY.kid}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return ".".join([*parts, ""])


@dataclass(kw_only=True)
class Provider:
    """A provider, and what it was asked for."""

    issuer: str = ""
    person: Person = Person(subject="ada")
    keys: Sequence[RSAKey] = (KEY,)
    token: Callable[[Claims], str] = sign
    # Over those of the discovery document.
    document: dict[str, Any] = field(default_factory=dict)
    # An answer in place of its own, by path.
    answers: dict[str, Callable[[], web.Response]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    # By code; each is taken once.
    _codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.asked.append(request.path)
        if request.path in self.answers:
            return self.answers[request.path]()
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self._document())
        if request.path == "/keys":
            return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})
        if request.path == "/authorize":
            return self._authorize(request.query)
        if request.path == "/token" and request.method == "POST":
            return self._exchange(request, dict(await request.post()))
        return web.Response(status=404)

    def _document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
            **self.document,
        }

    def _authorize(self, query: Mapping[str, str]) -> web.Response:
        if query.get("client_id") != CLIENT_ID or query.get("code_challenge_method") != "S256":
            return web.Response(status=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(query)
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{back}"})

    def _exchange(self, request: web.Request, form: Mapping[str, Any]) -> web.Response:
        given = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
        if request.headers.get("Authorization") != f"Basic {base64.b64encode(given).decode()}":
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self._codes.pop(str(form.get("code")), None)
        challenge = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims: Claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": self.person.subject,
            "name": self.person.name,
            "groups": list(self.person.groups),
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        return web.json_response({"access_token": "unused", "token_type": "Bearer", "id_token": self.token(claims)})


@contextlib.asynccontextmanager
async def providing(port: int = 0) -> AsyncIterator[Provider]:
    """Run a provider on a port of 127.0.0.1 until the context ends."""
    provider = Provider()
    async with serving(provider.handle, port=port) as taken:
        provider.issuer = f"http://127.0.0.1:{taken}"
        yield provider
