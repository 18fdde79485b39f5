"""Subscriptions: the record, and what a valid one is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from services.domain import events
from services.domain.egress import targets
from services.domain.events import TypeFilter
from services.domain.retry_policy import Asked
from services.domain.secrets import ed25519, signatures
from services.domain.secrets.signatures import Key, Scheme
from services.ingest.subscriptions import client_certificates, custom_headers, secrets
from services.ingest.subscriptions import verification as presets
from services.ingest.subscriptions.client_certificates import ClientCertificate
from services.ingest.subscriptions.verification import Preset
from services.platform import errors

MAX_DESCRIPTION_LENGTH = 1024
# A request every 17 minutes: lower is a typing error, and numbers near 0 are none that buckets can count with.
MIN_RATE, MAX_RATE = 0.001, 100_000
MAX_BURST = 1_000_000
MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 1, 30

# Of a subscription: whether it gets the tenant's events, or what the service says of the others.
NORMAL, SYSTEM = "normal", "system"

# A subscription that an event goes to, and whether its deliveries are steady: nothing holds them back.
Target: TypeAlias = tuple[UUID, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """A live subscription as stored."""

    id: UUID
    tenant_id: str
    target_url: str
    # Encrypted (services/domain/secrets/vault.py); None when it has no secret.
    sealed_secrets: bytes | None = field(repr=False)
    # SHA-256 of the token in its own ingest URL; None when it has no such URL.
    ingest_token_hash: bytes | None = field(repr=False)
    event_types: tuple[str, ...]
    description: str
    version: int
    created_at: datetime
    updated_at: datetime
    # active, paused or disabled; the reason is None unless it is disabled.
    status: str
    status_reason: str | None
    status_since: datetime
    keep_when_disabled: bool
    # None: the service's default, or no limit.
    rate_limit_per_second: float | None
    rate_limit_burst: int | None
    timeout_seconds: float | None
    retry_policy: str | None
    # Of the headers that its requests carry besides the service's own; their values are for the workers alone.
    header_names: tuple[str, ...]
    # Whose signature what comes in must carry.
    verification: Preset
    # Encrypted, too; None when its own secrets verify.
    sealed_verification_secrets: bytes | None = field(repr=False)
    # NORMAL or SYSTEM.
    kind: str
    signature_scheme: Scheme
    # What is told of the client certificate, as JSON; None when it has none.
    client_certificate: str | None
    # Both made once, for each event asks.
    filter: TypeFilter = field(repr=False, compare=False)
    # Itself, or nothing while it takes no events.
    targets: Sequence[Target] = field(repr=False, compare=False)

    @property
    def etag(self) -> str:
        """What changes with every change to the subscription, as callers see it."""
        return str(self.version)

    @classmethod
    def from_row(cls, row: Any, sealed_secrets: bytes | None) -> "Subscription":
        """From a row of `subscriptions`; its secrets may stand there as a version before this one wrote them."""
        types = tuple(row["event_types"])
        return cls(
            id=row["id"],
            tenant_id=row["tenant_id"],
            target_url=row["target_url"],
            sealed_secrets=sealed_secrets,
            ingest_token_hash=row["ingest_token_hash"],
            event_types=types,
            description=row["description"],
            version=row["version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            status=row["status"],
            status_reason=row["status_reason"],
            status_since=row["status_since"],
            keep_when_disabled=row["keep_when_disabled"],
            rate_limit_per_second=row["rate_limit_per_second"],
            rate_limit_burst=row["rate_limit_burst"],
            timeout_seconds=row["timeout_seconds"],
            retry_policy=row["retry_policy"],
            header_names=tuple(row["header_names"]),
            verification=Preset(row["verification"]),
            sealed_verification_secrets=row["sealed_verification_secrets"],
            kind=row["kind"],
            signature_scheme=Scheme(row["signature_scheme"]),
            client_certificate=row["client_certificate"],
            filter=TypeFilter(types),
            targets=_targets(row),
        )


def _targets(row: Any) -> Sequence[Target]:
    if row["status"] == "disabled" and not row["keep_when_disabled"]:
        return ()
    return ((row["id"], row["status"] == "active" and row["rate_limit_per_second"] is None),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """What holds deliveries back while the endpoint fails."""

    state: str = "closed"
    since: datetime | None = None
    reason: str | None = None
    # Only while it is open.
    next_probe_at: datetime | None = None
    consecutive_failures: int = 0

    @classmethod
    def from_row(cls, row: Any) -> "Breaker":
        """From a row of `subscription_health`, which an endpoint that never failed has not."""
        if row["breaker"] is None:
            return cls()
        return cls(
            state=row["breaker"],
            since=row["breaker_since"],
            reason=row["breaker_reason"],
            next_probe_at=row["probe_at"] if row["breaker"] == "open" else None,
            consecutive_failures=row["consecutive_failures"],
        )


# What an answer shows. Ingest's hot path, and the cache, do without the second.
Shown: TypeAlias = tuple[Subscription, Breaker]


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a caller asks a subscription to be; valid once made."""

    target_url: str
    event_types: list[str]
    description: str
    secret_key: str | None = field(repr=False)
    # Of that secret, and of those that are made later.
    signature_scheme: Scheme = Scheme.HMAC_SHA256
    keep_when_disabled: bool = True
    rate_limit_per_second: float | None = None
    rate_limit_burst: int | None = None
    timeout_seconds: float | None = None
    # Checked where the service's own is known.
    retry_policy: Asked | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Of both: None keeps what is stored.
    verification: Preset | None = None
    verification_secrets: Sequence[str] | None = field(default=None, repr=False)
    # None: NORMAL for a new one; else as it is, for it cannot be changed.
    kind: str | None = None
    # Checked where there is time for it.
    client_certificate: ClientCertificate | None = None
    # What was found wrong before, to be said together with the rest.
    refused: Sequence[errors.Violation] = ()

    def __post_init__(self) -> None:
        """InvalidArgument naming each field at fault."""
        found = [
            *_url_violations(self.target_url),
            *events.type_violations("event_types", self.event_types),
            *_text_violations("description", self.description, MAX_DESCRIPTION_LENGTH),
            *secret_violations(self.secret_key, self.signature_scheme),
            *_limit_violations(self.rate_limit_per_second, self.rate_limit_burst),
            *_timeout_violations(self.timeout_seconds),
            *custom_headers.violations("headers", self.headers),
            *presets.secret_violations(self.verification_secrets or ()),
            *_certificate_violations(self.client_certificate, self.target_url),
            *self.refused,
        ]
        if found:
            raise errors.InvalidArgument.of(*found)


def _violation(field_name: str, description: str) -> list[errors.Violation]:
    return [errors.Violation(field=field_name, description=description)]


def _url_violations(url: str) -> list[errors.Violation]:
    try:
        targets.parse(url)
    except ValueError as error:
        return _violation("target_url", str(error))
    return []


def _text_violations(field_name: str, text: str, longest: int) -> list[errors.Violation]:
    if "\x00" in text:
        return _violation(field_name, "must not contain NUL")
    return _violation(field_name, f"must be at most {longest} characters") if len(text) > longest else []


def _certificate_violations(certificate: ClientCertificate | None, url: str) -> list[errors.Violation]:
    if certificate is None or url.lower().startswith("https:"):
        return []
    return _violation(client_certificates.FIELD, "requires a target_url that begins with https")


def secret_violations(secret_key: str | None, scheme: Scheme) -> list[errors.Violation]:
    """What is wrong with a secret, or a private key, that somebody gave."""
    if secret_key is None:
        return []
    if why := secrets.why_no_text(secret_key):
        return _violation("secret_key", why)
    if scheme is Scheme.HMAC_SHA256 and (why := _why_no_shared_secret(secret_key)):
        return _violation("secret_key", why)
    try:
        key = signatures.signer(secret_key, scheme)
    except ValueError as error:
        return _violation("secret_key", str(error))
    too_short = secrets.why_too_short(key) if isinstance(key, Key) else None
    return _violation("secret_key", too_short) if too_short else []


def _why_no_shared_secret(secret_key: str) -> str | None:
    if ed25519.is_private_key(secret_key):
        return "is a private key, which requires signature_scheme ed25519"
    if ed25519.is_public_key(secret_key):
        return "is a public key, which everybody may know: leave it out to have a secret made"
    return None


def _limit_violations(rate: float | None, burst: int | None) -> list[errors.Violation]:
    """Comparisons are written so that NaN fails them."""
    found = []
    if rate is not None and not MIN_RATE <= rate <= MAX_RATE:
        found += _violation("rate_limit_per_second", f"must be {MIN_RATE} to {MAX_RATE}")
    if burst is not None and not 1 <= burst <= MAX_BURST:
        found += _violation("rate_limit_burst", f"must be 1 to {MAX_BURST}")
    elif burst is not None and rate is None:
        found += _violation("rate_limit_burst", "requires rate_limit_per_second")
    return found


def _timeout_violations(seconds: float | None) -> list[errors.Violation]:
    if seconds is None or MIN_TIMEOUT_SECONDS <= seconds <= MAX_TIMEOUT_SECONDS:
        return []
    return _violation("timeout_seconds", f"must be {MIN_TIMEOUT_SECONDS} to {MAX_TIMEOUT_SECONDS}")
