"""A sign-in by OpenID Connect: authorization code with PKCE (RFC 6749, 4.1; RFC 7636; OpenID Connect Core 1.0, 3.1).

The browser keeps an attempt: 32 random bytes, in a cookie that scripts cannot read. State, nonce, and verifier follow
from it and from the secret of the client, so that no process stores anything for people who never come back. A state is
the digest of its attempt's: who has it cannot go on with it, and each is used once.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from services.domain import limits
from services.ingest.access.members import Member
from services.ingest.access.oidc.issuer import Issuer, Refused, Tokens
from services.ingest.access.oidc.settings import GroupRole, OidcSettings
from services.platform import errors
from services.platform.auth.roles import Role

# Signatures that only the issuer can make. None of them is by a secret that this service has, too, and none is absent.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
# By which clocks may differ.
LEEWAY_SECONDS = 60
MAX_CODE_LENGTH = 4096
MAX_TOKEN_LENGTH = 64 << 10
MAX_SUBJECT_LENGTH = 255
_ATTEMPT_BYTES = 32
_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{43}")
_NAMES = ("name", "preferred_username", "email")


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """Where a browser goes, and what it keeps until it comes back."""

    url: str
    attempt: str


class SignIn:
    """Signs people in with the issuer of the settings."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._issuer = Issuer(settings)
        self._group_roles = settings.group_roles

    async def begin(self) -> Begun:
        """Return where to sign in; Unavailable if the issuer cannot be asked."""
        document = await self._issuer.document()
        attempt = secrets.token_urlsafe(_ATTEMPT_BYTES)
        scopes = self._settings.oidc_scopes.split()
        parameters = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._settings.oidc_redirect_url,
            "scope": " ".join(scopes if "openid" in scopes else ["openid", *scopes]),
            "state": self._derived(attempt, "state"),
            "nonce": self._derived(attempt, "nonce"),
            "code_challenge": create_s256_code_challenge(self._derived(attempt, "verifier")),
            "code_challenge_method": "S256",
        }
        return Begun(url=add_params_to_uri(document.authorization_endpoint, parameters.items()), attempt=attempt)

    async def complete(self, *, attempt: str, state: str, code: str, issuer: str) -> Member:
        """Return who has signed in, by what their browser kept and brought back; `issuer` as in RFC 9207, or empty.

        Unauthenticated if nobody has, PermissionDenied if they have no role here, Unavailable without the issuer.
        """
        if not _ATTEMPT.fullmatch(attempt):
            raise errors.Unauthenticated("the sign-in was not begun in this browser, or took too long; sign in again")
        if not hmac.compare_digest(state.encode(), self._derived(attempt, "state").encode()):
            raise errors.Unauthenticated("the state is not that of this browser; sign in again")
        document = await self._issuer.document()
        named = issuer or document.authorization_response_iss_parameter_supported
        if named and issuer != self._settings.oidc_issuer:
            raise errors.Unauthenticated("the answer comes from another issuer; sign in again")
        if not 1 <= len(code) <= MAX_CODE_LENGTH:
            raise errors.Unauthenticated("the issuer returned no code; sign in again")
        try:
            tokens = await self._issuer.exchange(code, self._derived(attempt, "verifier"))
        except Refused as refused:
            raise errors.Unauthenticated(f"{refused}; sign in again") from None
        try:
            claims = await self._claims(tokens, nonce=self._derived(attempt, "nonce"))
        except (JoseError, ValueError) as wrong:
            # The class names what is wrong; the text may have a part of the token.
            message = f"the ID token is not valid ({type(wrong).__name__}); sign in again"
            raise errors.Unauthenticated(message) from None
        return self._member(claims)

    def _derived(self, attempt: str, purpose: str) -> str:
        """Return what follows from an attempt for a purpose, in URL-safe base64."""
        key = f"{self._settings.oidc_client_secret}\n{attempt}".encode()
        return hmac.new(key, purpose.encode(), hashlib.sha256).hexdigest()

    async def _claims(self, tokens: Tokens, *, nonce: str) -> Mapping[str, Any]:
        """Return the claims of an ID token; JoseError or ValueError unless the issuer made it for this sign-in."""
        if len(tokens.id_token) > MAX_TOKEN_LENGTH:
            raise ValueError("it is too long")
        try:
            token = self._verified(tokens, await self._issuer.keys())
        except InvalidKeyIdError:
            token = self._verified(tokens, await self._issuer.keys(with_new=True))
        settings = self._settings
        options = {
            "iss": {"essential": True, "value": settings.oidc_issuer},
            "aud": {"essential": True, "value": settings.oidc_client_id},
        }
        context = {"nonce": nonce, "client_id": settings.oidc_client_id, "access_token": tokens.access_token}
        claims = CodeIDToken(token.claims, token.header, options, context)
        claims.validate(leeway=LEEWAY_SECONDS)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_LENGTH:
            raise ValueError("sub is not a text")
        return token.claims

    @staticmethod
    def _verified(tokens: Tokens, keys: KeySet) -> jwt.Token:
        return jwt.decode(tokens.id_token, keys, algorithms=list(ALGORITHMS))

    def _member(self, claims: Mapping[str, Any]) -> Member:
        given = claims.get(self._settings.oidc_groups_claim)
        listed = given if isinstance(given, list) else [given]
        groups = {each for each in listed if isinstance(each, str)}
        found = _first(self._group_roles, groups)
        if found is None:
            message = "none of your groups has a role here; ask an operator"
            raise errors.PermissionDenied(message, reason=errors.ErrorReason.ROLE_INSUFFICIENT)
        subject: str = claims["sub"]
        names = (_shown(claims.get(name)) for name in _NAMES)
        return Member(
            issuer=self._settings.oidc_issuer,
            subject=subject,
            name=next(filter(None, names), None) or _shown(subject) or "member",
            tenant_id=found.tenant_id,
            role=Role(found.role),
        )


def _first(roles: Sequence[GroupRole], groups: set[str]) -> GroupRole | None:
    return next((each for each in roles if each.group in groups), None)


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(each for each in value if each.isprintable()).strip()[: limits.MAX_NAME_LENGTH]
