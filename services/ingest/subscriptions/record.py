"""A subscription: the record, and the rules of a valid one.

A plain field is written once, in `Spec`, by the name of its column and of its field in SubscriptionSpec. Rows, copies
in Redis, messages, the merge of a patch, and the audit log follow from it.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeAlias
from uuid import UUID

import msgspec

from services.domain import event_versions, events, limits
from services.domain.deliveries import Destination
from services.domain.egress import targets
from services.domain.events import TypeFilter
from services.domain.filters import expression
from services.domain.filters.expression import OnError
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key, SignatureScheme
from services.domain.states import BreakerState, StatusReason, SubscriptionState
from services.domain.subscriptions import Flag
from services.ingest.subscriptions import client_certificates, labels, secrets, templates
from services.ingest.subscriptions.client_certificates import ClientCertificate
from services.ingest.subscriptions.secrets import Verification
from services.ingest.subscriptions.tag_paths import TagPaths
from services.platform import errors

# What a record takes in memory, and each entry of its lists, besides the text in them; measured, and rounded up.
RECORD_BYTES = 2_000
ENTRY_BYTES = 200
# Fields that are write-only. An update keeps what is stored of those that it does not replace.
SECRET_KEY, HEADERS, VERIFICATION_SECRETS = "secret_key", "headers", "verification_secrets"
CLIENT_CERTIFICATE, TEMPLATE_SECRETS = client_certificates.FIELD, templates.SECRETS
WRITE_ONLY = frozenset({SECRET_KEY, HEADERS, VERIFICATION_SECRETS, CLIENT_CERTIFICATE, TEMPLATE_SECRETS})

# A subscription that an event goes to, and whether its deliveries are steady: nothing holds them back.
Target: TypeAlias = tuple[UUID, bool]


class Kind(StrEnum):
    """What a subscription gets: the tenant's events, or what the service says of the tenant's other subscriptions."""

    NORMAL = "normal"
    SYSTEM = "system"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a user sets of a subscription, but for what is write-only.

    Every field is required: a copy in Redis that lacks one was written by another version, and is not used.
    """

    destination: Destination
    # Of one that is pulled from: it is deleted when nobody has pulled for so long; None: it stays.
    expires_after_idle_seconds: int | None
    # Empty if it is pulled from.
    target_url: str
    event_types: tuple[str, ...]
    # An expression that an event has to fulfill besides; None: any event.
    filter: str | None
    # Whether it gets events that the filter cannot be evaluated for.
    filter_on_error: OnError
    description: str
    # None: it has no name.
    name: str | None
    # JSON of its pairs; None when it has none.
    metadata: str | None
    # The same: a path for the key of each tag.
    tag_paths: str | None
    kind: Kind
    keep_when_disabled: bool
    # None: no limit, or the default of the service.
    rate_limit_per_second: float | None
    rate_limit_burst: int | None
    timeout_seconds: float | None
    # JSON of retry_policy.Asked.
    retry_policy: str | None
    # Whose signature what comes in must carry.
    verification: Verification
    # Whether the provider's headers come with its deliveries.
    relay_headers: bool
    # Of the secret, and of those that are made later.
    signature_scheme: SignatureScheme
    # JSON of templates.Template; None: the payload is sent.
    template: str | None
    # JSON of domain/event_versions.py's pins; None when it has none.
    event_versions: str | None


class Subscription(Spec, frozen=True, kw_only=True, dict=True):
    """A live subscription as it is stored in Postgres, and kept in Redis."""

    id: UUID
    tenant_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    status: SubscriptionState
    # None unless it is disabled.
    status_reason: StatusReason | None
    status_since: datetime
    # When the filter was stopped because it is too slow; None: it was not.
    filter_stopped_at: datetime | None
    # Encrypted (services/domain/secrets/vault.py); None when it has no secret.
    sealed_secrets: bytes | None
    # SHA-256 of the token in its own ingest URL; None when it has no such URL.
    ingest_token_hash: bytes | None
    # Of the headers that its requests carry besides the service's own. Only workers read the values.
    header_names: tuple[str, ...]
    # Encrypted, too; None when its own secrets verify.
    sealed_verification_secrets: bytes | None
    # JSON of client_certificates.Facts; None when it has none.
    client_certificate: str | None
    # Of what its template knows as secrets. Only workers read the values.
    template_secret_names: tuple[str, ...]

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """Return the record of a row of `subscriptions`. It was checked when it was written."""
        return msgspec.convert(dict(row), cls)

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Subscription(id={self.id!r}, tenant_id={self.tenant_id!r}, version={self.version})"

    @property
    def etag(self) -> str:
        """What changes with every change to the subscription, as callers see it."""
        return str(self.version)

    @property
    def size_bytes(self) -> int:
        """An estimate of the memory that the record takes with what is made of it below."""
        texts = (
            self.target_url,
            self.filter,
            self.description,
            self.name,
            self.metadata,
            self.tag_paths,
            self.retry_policy,
            self.client_certificate,
            self.template,
            self.event_versions,
        )
        secret = (self.sealed_secrets, self.sealed_verification_secrets)
        return (
            RECORD_BYTES
            + sum(map(len, filter(None, (*texts, *secret))))
            + sum(
                ENTRY_BYTES + len(entry)
                for entry in (*self.event_types, *self.header_names, *self.template_secret_names)
            )
        )

    # Made once: every event reads them.

    @functools.cached_property
    def flags(self) -> Flag:
        """What it uses beyond the plain way of an event."""
        return Flag.NONE if self.filter is None or self.filter_stopped_at is not None else Flag.FILTER

    @functools.cached_property
    def types(self) -> TypeFilter:
        """The types of events that it wants."""
        return TypeFilter(self.event_types)

    @functools.cached_property
    def targets(self) -> Sequence[Target]:
        """Itself, or nothing while it takes no events."""
        if self.status is SubscriptionState.DISABLED and not self.keep_when_disabled:
            return ()
        if self.filter_stopped_at is not None and self.filter_on_error is OnError.SKIP:
            return ()
        steady = self.status is SubscriptionState.ACTIVE and self.rate_limit_per_second is None
        return ((self.id, steady and self.destination is Destination.HTTP),)

    @functools.cached_property
    def paths(self) -> TagPaths | None:
        """Where it finds the tags of what is sent to it; None if nowhere."""
        return None if self.tag_paths is None else TagPaths(labels.pairs(self.tag_paths))


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """What holds deliveries back while the endpoint fails."""

    state: BreakerState = BreakerState.CLOSED
    since: datetime | None = None
    reason: str | None = None
    # Only while it is open.
    next_probe_at: datetime | None = None
    consecutive_failures: int = 0

    @classmethod
    def from_row(cls, row: Any) -> "Breaker":
        """Return the breaker of a row of `subscription_health`; an endpoint that never failed has none."""
        if row["breaker"] is None:
            return cls()
        return cls(
            state=BreakerState(row["breaker"]),
            since=row["breaker_since"],
            reason=row["breaker_reason"],
            next_probe_at=row["probe_at"] if row["breaker"] == BreakerState.OPEN else None,
            consecutive_failures=row["consecutive_failures"],
        )


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the challenges that the target of an unverified subscription was sent."""

    # None: when somebody asks for it.
    next_at: datetime | None = None
    error: str | None = None

    @classmethod
    def from_row(cls, row: Any) -> "Check":
        """Return the check of a row of `endpoint_checks`; a subscription that is not unverified has none."""
        return cls(next_at=row["check_due_at"], error=row["check_error"])


class Shown(NamedTuple):
    """What an answer shows. Ingest's hot path, and the cache, do with the first."""

    subscription: Subscription
    breaker: Breaker = Breaker()
    check: Check = Check()

    @classmethod
    def of_new(cls, subscription: Subscription) -> "Shown":
        """Return what is shown of a subscription that was just created: its target is checked at once, if at all."""
        unverified = subscription.status is SubscriptionState.UNVERIFIED
        return cls(subscription, check=Check(next_at=subscription.status_since if unverified else None))


class Draft(Spec, frozen=True, kw_only=True):
    """What a caller asks a subscription to be; valid once made."""

    secret_key: str | None = None
    headers: Mapping[str, str] = {}
    verification_secrets: Sequence[str] = ()
    template_secrets: Mapping[str, str] = {}
    # Checked where there is time for it.
    client_certificate: ClientCertificate | None = None
    # Which of these five are replaced; the others stay as they are stored.
    replaced: frozenset[str] = WRITE_ONLY
    # What was found wrong before, to be reported together with the rest.
    refused: Sequence[errors.Violation] = ()

    def __post_init__(self) -> None:
        """Raise InvalidArgument naming each field at fault."""
        found = [
            *_destination_violations(self),
            *limits.IDLE_SECONDS.violations("expires_after_idle_seconds", self.expires_after_idle_seconds),
            *events.type_violations("event_types", self.event_types),
            *_filter_violations(self),
            *_text_violations("description", self.description, limits.MAX_DESCRIPTION_LENGTH),
            *labels.name_violations(self.name),
            *secret_violations(self.secret_key, self.signature_scheme),
            *_limit_violations(self.rate_limit_per_second, self.rate_limit_burst),
            *limits.TIMEOUT_SECONDS.violations("timeout_seconds", self.timeout_seconds),
            *header_violations(self.headers),
            *secrets.verification_secret_violations(self.verification_secrets),
            *secrets.relay_violations(self.verification, relay_headers=self.relay_headers),
            *templates.secret_violations(self.template_secrets),
            *templates.relay_violations(self.template, relay_headers=self.relay_headers),
            *_pin_violations(self),
            *self.refused,
        ]
        if found:
            raise errors.InvalidArgument.of(*found)

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Draft(target_url={self.target_url!r})"


def _violation(field_name: str, description: str) -> list[errors.Violation]:
    return [errors.Violation(field=field_name, description=description)]


# What says how requests are sent, which a subscription that is pulled from has no use for.
_OF_REQUESTS = ("target_url", "timeout_seconds", "rate_limit_per_second", "rate_limit_burst", "client_certificate")


def _destination_violations(draft: Draft) -> list[errors.Violation]:
    """Return what is wrong with where deliveries go, and how."""
    if draft.destination is Destination.PULL:
        given = (name for name in _OF_REQUESTS if getattr(draft, name) not in (None, ""))
        return [errors.Violation(field=name, description="cannot be combined with destination pull") for name in given]
    idle = draft.expires_after_idle_seconds
    return [
        *([] if idle is None else _violation("expires_after_idle_seconds", "requires destination pull")),
        *_url_violations(draft.target_url),
        *_certificate_violations(draft.client_certificate, draft.target_url),
    ]


def _url_violations(url: str) -> list[errors.Violation]:
    try:
        targets.parse(url)
    except ValueError as error:
        return _violation("target_url", str(error))
    return []


def _filter_violations(draft: Draft) -> Sequence[errors.Violation]:
    if draft.filter is not None and draft.kind is Kind.SYSTEM:
        return _violation(expression.FIELD, "cannot be combined with kind system")
    return expression.violations(draft.filter)


def _pin_violations(draft: Draft) -> list[errors.Violation]:
    if draft.event_versions is None:
        return []
    if draft.kind is Kind.SYSTEM:
        return _violation(event_versions.FIELD, "cannot be combined with kind system")
    if draft.relay_headers:
        return _violation("relay_headers", "cannot be combined with event_versions: the provider signed the payload")
    return []


def _text_violations(field_name: str, text: str, longest: int) -> list[errors.Violation]:
    if "\x00" in text:
        return _violation(field_name, "must not contain NUL")
    return _violation(field_name, f"must be at most {longest} characters") if len(text) > longest else []


def _certificate_violations(certificate: ClientCertificate | None, url: str) -> list[errors.Violation]:
    if certificate is None or url.lower().startswith("https:"):
        return []
    return _violation(client_certificates.FIELD, "requires an https target_url")


def secret_violations(secret_key: str | None, scheme: SignatureScheme) -> list[errors.Violation]:
    """Return what is wrong with a secret, or a private key, that a caller sent."""
    if secret_key is None:
        return []
    if why := secrets.why_no_text(secret_key):
        return _violation("secret_key", why)
    if scheme is SignatureScheme.HMAC_SHA256 and (why := _why_no_shared_secret(secret_key)):
        return _violation("secret_key", why)
    try:
        key = signatures.signer(secret_key, scheme)
    except ValueError as error:
        return _violation("secret_key", str(error))
    too_short = secrets.why_too_short(key) if isinstance(key, Key) else None
    return _violation("secret_key", too_short) if too_short else []


def _why_no_shared_secret(secret_key: str) -> str | None:
    if signatures.is_private_key(secret_key):
        return "is a private key, which requires signature_scheme ed25519"
    if signatures.is_public_key(secret_key):
        return "is a public key, which is not secret; leave it out to have a secret generated"
    return None


def _limit_violations(rate: float | None, burst: int | None) -> list[errors.Violation]:
    found = limits.RATE_PER_SECOND.violations("rate_limit_per_second", rate)
    wrong = limits.BURST.violations("rate_limit_burst", burst)
    if burst is not None and rate is None and not wrong:
        wrong = _violation("rate_limit_burst", "requires rate_limit_per_second")
    return [*found, *wrong]


# The headers that a subscription adds to its requests. Their values may be credentials: only the receiver gets them.

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")
# How a request is carried is the sender's to say (RFC 9110, 7.6.1), and what it is, ours.
_CARRIAGE = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("host", "expect", "content-length", "content-encoding", "accept-encoding"),
    }
)
_OURS = frozenset({"content-type", "user-agent", "x-event-type", "traceparent", "tracestate"})
_NOT_ALPHANUMERIC = re.compile(r"[^0-9a-z]")
_PREFIXES = ("proxy-", "webhook-", "x-webhook-", "x-hub-signature")


def header_violations(values: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with these values, by name. No value is repeated."""
    if len(values) > limits.MAX_HEADERS:
        return [errors.Violation(field=HEADERS, description=f"must have at most {limits.MAX_HEADERS} entries")]
    found = []
    seen: set[str] = set()
    for name, value in values.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            longest = limits.MAX_HEADER_NAME_LENGTH
            why = f"{name[:longest]!r} must be an HTTP token of 1 to {longest} characters"
            found.append(errors.Violation(field=HEADERS, description=why))
        elif _is_ours(lower):
            why = "is set by this service; '-', '_' and other punctuation count as the same"
            found.append(errors.Violation(field=f"{HEADERS}.{name}", description=why))
        elif lower in seen:
            why = "is a duplicate; header names are case-insensitive"
            found.append(errors.Violation(field=f"{HEADERS}.{name}", description=why))
        elif not _HEADER_VALUE.fullmatch(value):
            why = f"must be 1 to {limits.MAX_HEADER_VALUE_LENGTH} printable ASCII characters, with no space around them"
            found.append(errors.Violation(field=f"{HEADERS}.{name}", description=why))
        seen.add(lower)
    if not found and sum(len(name) + len(value) + 4 for name, value in values.items()) > limits.MAX_HEADER_BYTES:
        found.append(errors.Violation(field=HEADERS, description=f"must total at most {limits.MAX_HEADER_BYTES} bytes"))
    return found


def _is_ours(lower: str) -> bool:
    """Return whether a receiver can take the header for one that this service sets.

    CGI, and what follows it (WSGI, PHP, Rack), writes a name in capitals with an underscore for a hyphen, and some
    servers for other punctuation: `webhook_id` then replaces `webhook-id`, or is joined to it.
    """
    plain = _NOT_ALPHANUMERIC.sub("-", lower)
    return plain in _CARRIAGE or plain in _OURS or plain.startswith(_PREFIXES)
