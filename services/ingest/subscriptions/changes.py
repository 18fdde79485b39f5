"""What a request makes of a stored subscription, and what the audit log records of it.

Decided while its row is locked: no other change comes between.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.egress.policy import Policy
from services.domain.notices.audit import Action, FieldChange
from services.domain.retry_policy import RetrySettings
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import Secret, Vault
from services.domain.states import SUBSCRIPTION_CHANGES, SubscriptionChange, SubscriptionState
from services.ingest.subscriptions import labels, messages, secrets, templates
from services.ingest.subscriptions.client_certificates import ClientCertificate
from services.ingest.subscriptions.record import (
    CLIENT_CERTIFICATE,
    HEADERS,
    SECRET_KEY,
    TEMPLATE_SECRETS,
    WRITE_ONLY,
    Draft,
    Spec,
    Subscription,
    secret_violations,
)
from services.ingest.subscriptions.secrets import Verification
from services.ingest.subscriptions.templates import Checked
from services.platform import errors
from services.platform.auth import identity, roles
from services.platform.auth.roles import PortalCapability

# What a portal link needs to take a subscription's secret away.
_SECRETS = PortalCapability.SECRETS
# The client certificate of a request, and what is wrong with it.
Certificate: TypeAlias = tuple[ClientCertificate | None, Sequence[errors.Violation]]


# What a subscription keeps for as long as it exists.
_FIXED = ("kind", "destination")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Makes drafts of requests, by the settings of the service."""

    retries: RetrySettings
    egress: Policy
    vault: Vault

    def new(self, spec: pb.SubscriptionSpec, certificate: Certificate, template: Checked) -> Draft:
        """Return what a new subscription is to be. Raise InvalidArgument naming each field at fault."""
        unsigned = messages.is_unsigned(spec)
        scheme = (None if unsigned else messages.scheme(spec.signature_scheme)) or SignatureScheme.HMAC_SHA256
        made = None if unsigned else secrets.new_signing_secret(scheme)
        secret_key = spec.secret_key if spec.HasField("secret_key") else made
        draft = self._draft(spec, None, secret_key, scheme, spec.headers.values, certificate, template)
        templates.check_secrets(draft.template, template.used, draft.template_secrets)
        signs = verifies(secret_key, scheme)
        secrets.check_verification(draft.verification, draft.verification_secrets, signs=signs)
        return draft

    def updated(
        self,
        request: pb.UpdateSubscriptionRequest,
        stored: Subscription,
        stored_headers: Callable[[], Mapping[str, str]],
        certificate: Certificate,
        template: Checked,
    ) -> Draft | None:
        """Return what a subscription is to be from now on; None when the request changes nothing.

        Raise InvalidArgument naming each field at fault, or when the change does not fit what is kept.
        """
        spec = request.spec
        if request.HasField("update_mask"):
            if not request.update_mask.paths:
                return None
            spec = patched(request, stored)
        unsigned = messages.is_unsigned(spec)
        secret_key = spec.secret_key if spec.HasField("secret_key") else None
        scheme = None if unsigned else messages.scheme(spec.signature_scheme)
        headers: Mapping[str, str] = spec.headers.values
        keeps_headers = not spec.HasField("headers")
        if spec.headers.merge:
            headers, keeps_headers = merged_headers(stored_headers(), headers)
        found = certificate, template
        draft = self._draft(spec, stored, secret_key, scheme or stored.signature_scheme, headers, *found)
        kept = stored.template_secret_names if TEMPLATE_SECRETS not in draft.replaced else draft.template_secrets
        templates.check_secrets(draft.template, template.used, kept)
        for name in _FIXED:
            if getattr(draft, name) != (kept := getattr(stored, name)):
                raise errors.InvalidArgument.field(name, f"cannot be changed from {kept}")
        if stored.event_types and not draft.event_types and not (request.all_event_types or spec is not request.spec):
            expected = "is required because this subscription filters event types; send [] to receive all"
            raise errors.InvalidArgument.field("event_types", expected)
        if SECRET_KEY not in draft.replaced and scheme is not None:
            _check_scheme(stored, scheme)
        if SECRET_KEY in draft.replaced and stored.sealed_secrets is not None and not identity.has(_SECRETS):
            refused = roles.missing(_SECRETS)
            raise identity.refused(f"signature_scheme: {refused.message}", refused.reason)
        _reject_credentials_for_new_host(stored, draft, keeps_headers=keeps_headers)
        secret = draft.secret_key if SECRET_KEY in draft.replaced else stored.sealed_secrets
        given = draft.verification_secrets if "verification_secrets" in draft.replaced else None
        _check_verification(
            stored, self.vault, draft.verification, given, signs=verifies(secret, draft.signature_scheme)
        )
        return draft

    def _draft(
        self,
        spec: pb.SubscriptionSpec,
        stored: Subscription | None,
        secret_key: str | None,
        scheme: SignatureScheme,
        headers: Mapping[str, str],
        certificate: Certificate,
        template: Checked,
    ) -> Draft:
        found, refused = certificate
        return messages.draft(
            spec,
            stored,
            self.retries,
            self.egress,
            secret_key=secret_key,
            signature_scheme=scheme,
            headers=dict(headers),
            client_certificate=found,
            refused=[*refused, *template.refused],
        )


# A change of some fields, made whole: what the request does not name keeps its stored value.

_NESTED = "retry_policy"
# More than there are fields. A mask that repeats them is merged while the row is locked.
MAX_PATHS = 100
# Unset in a request they keep what is stored, so that naming one without a value has to say "none".
_NONE_IF_UNSET = WRITE_ONLY - {SECRET_KEY}


def patched(request: pb.UpdateSubscriptionRequest, stored: Subscription) -> pb.SubscriptionSpec:
    """Return the spec that replaces every field, from a request whose update_mask names some.

    Raise InvalidArgument when the mask names what cannot be changed.
    """
    paths = frozenset(request.update_mask.paths)
    _check_mask(request, paths)
    spec = messages.spec(stored)
    for name in messages.ENUMS:
        spec.ClearField(name)  # type: ignore[arg-type]  # an update keeps them anyway
    request.update_mask.MergeMessage(request.spec, spec, replace_message_field=True, replace_repeated_field=True)
    for name in messages.PAIRS:
        if getattr(request, f"merge_{name}") and name in paths:
            merged = {**labels.pairs(getattr(stored, name)), **getattr(request.spec, name)}
            getattr(spec, name).clear()
            getattr(spec, name).update({key: value for key, value in merged.items() if value})
    for name in _NONE_IF_UNSET & paths:
        if not request.spec.HasField(name):  # type: ignore[arg-type]  # one of _NONE_IF_UNSET
            getattr(spec, name).SetInParent()
    if "verification" in paths and not spec.verification:
        spec.verification = pb.VERIFICATION_AUTO
    if "signature_scheme" in paths and not spec.signature_scheme:
        spec.signature_scheme = pb.SIGNATURE_SCHEME_HMAC_SHA256
    if SECRET_KEY in paths and not request.spec.HasField("secret_key"):
        if "signature_scheme" in paths and spec.signature_scheme != pb.SIGNATURE_SCHEME_NONE:
            raise errors.InvalidArgument.field(SECRET_KEY, "is required to sign with this signature_scheme")
        spec.signature_scheme = pb.SIGNATURE_SCHEME_NONE
    return spec


def merged_headers(stored: Mapping[str, str], changes: Mapping[str, str]) -> tuple[Mapping[str, str], bool]:
    """Return the stored headers with these changes, and whether a stored value is among them.

    Names are compared without regard to case; an empty value removes a header.
    """
    named = {name.lower() for name in changes}
    kept = {name: value for name, value in stored.items() if name.lower() not in named}
    return kept | {name: value for name, value in changes.items() if value}, bool(kept)


def _check_mask(request: pb.UpdateSubscriptionRequest, paths: frozenset[str]) -> None:
    if len(request.update_mask.paths) > MAX_PATHS:
        raise errors.InvalidArgument.field("update_mask", f"must have at most {MAX_PATHS} entries")
    for path in paths:
        name, _, nested = path.partition(".")
        known = not nested or name == _NESTED
        mask = type(request.update_mask)(paths=[path])
        if not known or not mask.IsValidForDescriptor(request.spec.DESCRIPTOR):
            raise errors.InvalidArgument.field("update_mask", f"{path[:64]!r} is not a field that can be updated")


# What must fit what is kept.


def _check_scheme(stored: Subscription, scheme: SignatureScheme) -> None:
    if stored.sealed_secrets is None:
        expected = f"is required to sign with {scheme}; to have a secret generated, rotate it"
        raise errors.InvalidArgument.field(SECRET_KEY, expected)
    if scheme is not stored.signature_scheme:
        expected = f"is {stored.signature_scheme}; to change it, send secret_key with it or rotate the secret"
        raise errors.InvalidArgument.field("signature_scheme", expected)


def _reject_credentials_for_new_host(stored: Subscription, draft: Draft, *, keeps_headers: bool) -> None:
    """Raise InvalidArgument when stored credentials would go to another host than they were given for."""
    if origin(stored.target_url) == origin(draft.target_url):
        return
    kept = {
        HEADERS: keeps_headers and bool(stored.header_names),
        CLIENT_CERTIFICATE: CLIENT_CERTIFICATE not in draft.replaced and stored.client_certificate is not None,
        TEMPLATE_SECRETS: TEMPLATE_SECRETS not in draft.replaced and bool(stored.template_secret_names),
    }
    expected = "must be sent again, or null, because target_url has a new scheme, host, or port"
    wrong = [errors.Violation(field=name, description=expected) for name, is_kept in kept.items() if is_kept]
    if wrong:
        raise errors.InvalidArgument.of(*wrong)


def verifies(secret: str | bytes | None, scheme: SignatureScheme) -> bool:
    """Return whether what comes in can be verified with the subscription's own secret: one that its senders have."""
    return secret is not None and scheme is SignatureScheme.HMAC_SHA256


def _check_verification(
    stored: Subscription, vault: Vault, verification: Verification, given: Sequence[str] | None, *, signs: bool
) -> None:
    """Raise InvalidArgument when the secrets cannot serve this verification; `given` is None for the stored ones."""
    if given is None:
        try:
            given = vault.verification_secrets(stored.id, stored.sealed_verification_secrets)
        except CannotOpen:
            given = ()  # as good as none
    secrets.check_verification(verification, given, signs=signs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """Another secret for a subscription."""

    # None: one is made.
    secret_key: str | None = field(repr=False)
    # None: the scheme of the stored secrets.
    scheme: SignatureScheme | None

    def __post_init__(self) -> None:
        """Raise InvalidArgument when the secret is wrong whatever is stored."""
        self._check(self.scheme or secrets.likely_scheme(self.secret_key))

    def of(self, stored: Subscription, vault: Vault) -> Secret:
        """Return the new secret. Raise InvalidArgument when it does not fit what is kept."""
        scheme = self.scheme or stored.signature_scheme
        self._check(scheme)
        if scheme is not stored.signature_scheme:
            _check_verification(stored, vault, stored.verification, None, signs=scheme is SignatureScheme.HMAC_SHA256)
        return Secret(self.secret_key or secrets.new_signing_secret(scheme), scheme=scheme)

    def _check(self, scheme: SignatureScheme) -> None:
        if wrong := secret_violations(self.secret_key, scheme):
            raise errors.InvalidArgument.of(*wrong)


# The status of a subscription, when somebody changes it by hand.


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusChange:
    """A change of services/domain/states.py that a caller asks for."""

    change: SubscriptionChange
    # As the audit log calls it.
    action: Action
    # What it leads to.
    after: SubscriptionState

    def of(self, status: SubscriptionState, *, must_verify: bool = False) -> SubscriptionState:
        """Return what a status becomes, or stays; `must_verify`: before it may be active, its target is checked.

        Raise Conflict when another change must come first.
        """
        after = SubscriptionState.UNVERIFIED if must_verify and self.after is SubscriptionState.ACTIVE else self.after
        if status in SUBSCRIPTION_CHANGES[self.change] or status is after:
            return after
        if self.change is SubscriptionChange.CHECK and status is SubscriptionState.ACTIVE:
            return status
        if status is SubscriptionState.PAUSED:
            message, reason = "the subscription is paused; resume it", errors.ErrorReason.SUBSCRIPTION_PAUSED
        else:
            message, reason = "the subscription is disabled; enable it first", errors.ErrorReason.SUBSCRIPTION_DISABLED
        raise errors.Conflict(message, reason=reason)


def _change(change: SubscriptionChange, action: Action, after: SubscriptionState) -> StatusChange:
    return StatusChange(change=change, action=action, after=after)


STATUS_CHANGES: Mapping[int, StatusChange] = {
    pb.SUBSCRIPTION_ACTION_ENABLE: _change(
        SubscriptionChange.ENABLE, Action.ENABLE_SUBSCRIPTION, SubscriptionState.ACTIVE
    ),
    pb.SUBSCRIPTION_ACTION_DISABLE: _change(
        SubscriptionChange.DISABLE, Action.DISABLE_SUBSCRIPTION, SubscriptionState.DISABLED
    ),
    pb.SUBSCRIPTION_ACTION_PAUSE: _change(
        SubscriptionChange.PAUSE, Action.PAUSE_SUBSCRIPTION, SubscriptionState.PAUSED
    ),
    pb.SUBSCRIPTION_ACTION_RESUME: _change(
        SubscriptionChange.RESUME, Action.RESUME_SUBSCRIPTION, SubscriptionState.ACTIVE
    ),
    pb.SUBSCRIPTION_ACTION_VERIFY: _change(
        SubscriptionChange.CHECK, Action.VERIFY_SUBSCRIPTION, SubscriptionState.ACTIVE
    ),
}

# What the audit log records of a change: every field by its name, and the values that may be shown.

# What changes with every change, and what actions of their own change.
_NOT_TOLD = frozenset({"id", "tenant_id", "version", "created_at", "updated_at"}) | {
    *("status", "status_reason", "status_since", "filter_stopped_at")
}
# As requests name it.
_NAMES: Mapping[str, str] = {
    "sealed_secrets": SECRET_KEY,
    "ingest_token_hash": "ingest_token",
    "header_names": HEADERS,
    "template_secret_names": TEMPLATE_SECRETS,
    "verification": "verify",
    "sealed_verification_secrets": "verification_secrets",
}
# Of other fields, only the name is recorded. A spec has no secrets, but free text, and a source, may contain one.
_SHOWN = frozenset(Spec.__struct_fields__) - {"description", labels.METADATA, templates.FIELD}


def field_changes(before: Subscription, after: Subscription, *, replaced: Collection[str] = ()) -> list[FieldChange]:
    """Return the fields that changed, and those of `replaced`, as requests name them, even if they look the same."""
    return [
        FieldChange(field=name, before=_shown(column, old), after=_shown(column, value))
        for column, name, value in _fields(after)
        if value != (old := getattr(before, column)) or name in replaced
    ]


def field_changes_of_new(made: Subscription) -> list[FieldChange]:
    """Return what was asked of a new subscription: whatever is not nothing."""
    return [
        FieldChange(field=name, after=_shown(column, value))
        for column, name, value in _fields(made)
        if value is not None and value not in ((), "")
    ]


def _fields(subscription: Subscription) -> Iterator[tuple[str, str, Any]]:
    for column in Subscription.__struct_fields__:
        if column not in _NOT_TOLD:
            yield column, _NAMES.get(column, column), getattr(subscription, column)


def _shown(column: str, value: Any) -> Any:
    if column not in _SHOWN:
        return msgspec.UNSET
    if column == "target_url":
        return origin(value)
    if column in {"retry_policy", "tag_paths", "event_versions"} and value is not None:
        return msgspec.json.decode(value)
    return value


def origin(target_url: str) -> str:
    """Return scheme, host and port of a target, in lower case: what follows them may be a credential."""
    if not target_url:
        return ""
    parts = urlsplit(target_url)
    return f"{parts.scheme}://{parts.netloc}".lower()
