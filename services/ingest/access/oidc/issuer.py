"""The issuer: its discovery document and its keys, which are kept, and the exchange of a code for an ID token.

The operator names the issuer, and may have it in a private network: it is trusted as Postgres is, and EGRESS_ALLOW does
not concern it. Nothing else is: each address that its document names has TLS, no redirect is followed, and each answer
has a bound and a time.
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
import msgspec
import structlog
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.ingest.access.oidc.settings import OidcSettings, is_protected
from services.platform import errors

log = structlog.get_logger(__name__)

DISCOVERY_PATH = "/.well-known/openid-configuration"
# Of one request, from the connection to the last byte.
REQUEST_SECONDS = 4.0
MAX_ANSWER_BYTES = 1 << 20
# After that they are asked for again. An issuer that changes its keys has both for a while.
KEPT_SECONDS = 3600.0
# Keys are asked for earlier for a token of an unknown key, but not more often.
UNKNOWN_KEY_SECONDS = 30.0
# After a failure, until the issuer is asked again.
RETRY_SECONDS = 1.0
# Codes that are exchanged at once; others wait, and so many of them.
MAX_EXCHANGES = 8
MAX_WAITING = 64

Value = TypeVar("Value")


class Refused(Exception):
    """The issuer does not take a code."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of the discovery document (OpenID Connect Discovery 1.0, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    # RFC 9207.
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a code is exchanged for; the access token is not used."""

    id_token: str
    access_token: str = ""


@dataclass(slots=True)
class _Kept(Generic[Value]):
    """A value that is asked for once at a time, and kept; a failure is repeated for a moment."""

    ask: Callable[[], Awaitable[Value]]
    value: Value | None = None
    # On time.monotonic(): when it was found, and when the last failure was.
    found_at: float = 0.0
    failed_at: float = -RETRY_SECONDS
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self, *, fresh_seconds: float = KEPT_SECONDS) -> Value:
        """Return the value if it is not older, and otherwise a new one; an old one while the issuer is away."""
        async with self.asking:
            now = time.monotonic()
            if self.value is not None and now - self.found_at < fresh_seconds:
                return self.value
            if now - self.failed_at >= RETRY_SECONDS:
                try:
                    self.value, self.found_at = await self.ask(), time.monotonic()
                except errors.Unavailable:
                    self.failed_at = time.monotonic()
            if self.value is None:
                raise errors.Unavailable("the OIDC issuer cannot be reached now; try again")
            return self.value


class Issuer:
    """The issuer of the settings."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._document: _Kept[Document] = _Kept(self._ask_document)
        self._keys: _Kept[KeySet] = _Kept(self._ask_keys)
        self._exchanges = asyncio.Semaphore(MAX_EXCHANGES)
        self._waiting = 0

    async def document(self) -> Document:
        """Return the discovery document; Unavailable if it cannot be had."""
        return await self._document.get()

    async def keys(self, *, with_new: bool = False) -> KeySet:
        """Return the keys of the issuer; `with_new` asks for them again, unless that was done just now."""
        return await self._keys.get(fresh_seconds=UNKNOWN_KEY_SECONDS if with_new else KEPT_SECONDS)

    async def exchange(self, code: str, verifier: str) -> Tokens:
        """Exchange a code; Refused if the issuer does not take it, Unavailable if it cannot be asked."""
        if self._waiting >= MAX_WAITING:
            raise errors.Overloaded("too many people are signing in; try again")
        self._waiting += 1
        try:
            async with self._exchanges:
                return await self._exchanged(code, verifier)
        finally:
            self._waiting -= 1

    async def _exchanged(self, code: str, verifier: str) -> Tokens:
        settings, document = self._settings, await self.document()
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=settings.oidc_redirect_url, code_verifier=verifier
        )
        method = "none"
        if settings.oidc_client_secret:
            supported = document.token_endpoint_auth_methods_supported
            method = "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"
        client = ClientAuth(settings.oidc_client_id, settings.oidc_client_secret, method)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, body = client.prepare("POST", document.token_endpoint, headers, body)
        status, answer = await _asked("POST", url, headers, body)
        if httpx.codes.is_client_error(status) and status != httpx.codes.TOO_MANY_REQUESTS:
            # Of RFC 6749, 5.2: a word, which tells operators what is wrong with the settings.
            log.warning("the OIDC issuer refused a code", status=status, error=_error_of(answer))
            raise Refused("the issuer refused the code")
        if status != httpx.codes.OK:
            raise _away("token endpoint", status)
        try:
            return msgspec.json.decode(answer, type=Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused("the issuer returned no ID token") from None

    async def _ask_document(self) -> Document:
        issuer = self._settings.oidc_issuer
        status, body = await _asked("GET", issuer.rstrip("/") + DISCOVERY_PATH)
        if status != httpx.codes.OK:
            raise _away("discovery document", status)
        try:
            found = msgspec.json.decode(body, type=Document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _away("discovery document", str(error)) from None
        if found.issuer != issuer:
            raise _away("discovery document", f"it is that of {found.issuer[:256]!r}; set OIDC_ISSUER to the same")
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not is_protected(url):
                raise _away("discovery document", f"{url[:256]!r} is not an https:// URL")
        return found

    async def _ask_keys(self) -> KeySet:
        status, body = await _asked("GET", (await self.document()).jwks_uri)
        if status != httpx.codes.OK:
            raise _away("keys", status)
        try:
            given = msgspec.json.decode(body, type=dict[str, Any])
            # Those of other kinds are for others: one of them must not stop all.
            usable = [key for key in given["keys"] if isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"}]
            return KeySet.import_key_set({"keys": [key for key in usable if key.get("use", "sig") == "sig"]})
        except (msgspec.DecodeError, UnicodeDecodeError, JoseError, LookupError, TypeError, ValueError) as error:
            raise _away("keys", type(error).__name__) from None


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Return the CA certificates of the system, or those of SSL_CERT_FILE: an issuer in-house may have its own."""
    return ssl.create_default_context()


async def _asked(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: str | None = None
) -> tuple[int, bytes]:
    """Return the status and the body of an answer; Unavailable if there is none in time, or it is too long."""
    # No proxy of the environment: that is for deliveries, and need not reach an issuer in-house.
    client = httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False, follow_redirects=False, verify=_trusted())
    try:
        async with asyncio.timeout(REQUEST_SECONDS), client:
            sent = {"accept": "application/json", **(headers or {})}
            async with client.stream(method, url, headers=sent, content=body) as answer:
                read = bytearray()
                async for chunk in answer.aiter_bytes():
                    read += chunk
                    if len(read) > MAX_ANSWER_BYTES:
                        raise _away(url, "the answer is too long")
                return answer.status_code, bytes(read)
    except (TimeoutError, httpx.HTTPError) as error:
        raise _away(url, type(error).__name__) from None


def _away(what: str, why: object) -> errors.Unavailable:
    """Note what is wrong, and return the error, which says nothing of it: who signs in is a stranger."""
    log.warning("the OIDC issuer cannot be used", what=what, why=why)
    return errors.Unavailable("the OIDC issuer cannot be reached now; try again")


def _error_of(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any]).get("error"))[:64]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
