"""What a request makes of a stored subscription, and what the audit log says of it.

Decided while its row is locked: no other change comes between.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.audit import FieldChange
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Scheme
from services.domain.secrets.vault import Secret, Vault
from services.ingest.subscriptions import messages, verification
from services.ingest.subscriptions import secrets as signing_secrets
from services.ingest.subscriptions.record import Draft, Subscription, secret_violations
from services.ingest.subscriptions.verification import Preset
from services.platform import errors

# An update of some fields, made whole: what the request does not name keeps its stored value.


_NESTED = "retry_policy"
# More than there are fields. A mask that repeats them is merged while the row is locked.
MAX_PATHS = 100


_FIXED = frozenset(("tenant_id", "subscription_id", "update_mask", "etags", "all_event_types"))


_FIELDS = frozenset(pb.UpdateSubscriptionRequest.DESCRIPTOR.fields_by_name) - _FIXED
# Unset in a request they keep what is stored, so that naming one without a value has to say "none".
_NONE_IF_UNSET = ("headers", "verification_secrets", "client_certificate")


def patched(request: pb.UpdateSubscriptionRequest, stored: Subscription) -> pb.UpdateSubscriptionRequest:
    """Return the request that replaces every field, from one whose update_mask names some.

    Raise InvalidArgument when the mask names what cannot be changed.
    """
    paths = frozenset(request.update_mask.paths)
    _check_mask(request, paths)
    update = pb.UpdateSubscriptionRequest(
        tenant_id=request.tenant_id,
        subscription_id=request.subscription_id,
        target_url=stored.target_url,
        event_types=stored.event_types,
        description=stored.description,
        keep_when_disabled=stored.keep_when_disabled,
        rate_limit_per_second=stored.rate_limit_per_second,
        rate_limit_burst=stored.rate_limit_burst,
        timeout_seconds=stored.timeout_seconds,
        retry_policy=messages.policy(stored),
        all_event_types=True,
    )
    request.update_mask.MergeMessage(request, update, replace_message_field=True, replace_repeated_field=True)
    for name in _NONE_IF_UNSET:
        if name in paths and not request.HasField(name):  # type: ignore[arg-type]  # one of _NONE_IF_UNSET
            getattr(update, name).SetInParent()
    if "verification" in paths and not request.verification:
        update.verification = pb.VERIFICATION_AUTO
    if "signature_scheme" in paths and not request.signature_scheme:
        update.signature_scheme = pb.SIGNATURE_SCHEME_HMAC_SHA256
    if "secret_key" in paths and not request.HasField("secret_key"):
        if "signature_scheme" in paths and update.signature_scheme != pb.SIGNATURE_SCHEME_NONE:
            raise errors.InvalidArgument.field("secret_key", "is required to sign with this signature_scheme")
        update.signature_scheme = pb.SIGNATURE_SCHEME_NONE
    return update


def merged_headers(stored: Mapping[str, str], changes: Mapping[str, str]) -> tuple[Mapping[str, str], bool]:
    """Return the stored headers with these changes, and whether a stored value is among them.

    Names are compared without regard to case; an empty value removes a header.
    """
    named = {name.lower() for name in changes}
    kept = {name: value for name, value in stored.items() if name.lower() not in named}
    return kept | {name: value for name, value in changes.items() if value}, bool(kept)


def _check_mask(request: pb.UpdateSubscriptionRequest, paths: frozenset[str]) -> None:
    if len(request.update_mask.paths) > MAX_PATHS:
        raise errors.InvalidArgument.field("update_mask", f"must have at most {MAX_PATHS} paths")
    for path in paths:
        name, _, nested = path.partition(".")
        known = name in _FIELDS and (not nested or name == _NESTED)
        if not known or not type(request.update_mask)(paths=[path]).IsValidForDescriptor(request.DESCRIPTOR):
            raise errors.InvalidArgument.field("update_mask", f"{path[:64]!r} is not a field that can be updated")


# What the audit log says of a change to a subscription: every field by its name, and the values that may be shown.


# What changes with every change, what actions of their own change, and what is made of the rest.
_NOT_TOLD = frozenset(
    ("id", "tenant_id", "version", "created_at", "updated_at", "status", "status_reason", "status_since")
) | {"filter", "targets"}
# As requests name it. Of a field that stands neither here nor below the name alone is told, its own.
_NAMES: Mapping[str, str] = {
    "sealed_secrets": "secret_key",
    "ingest_token_hash": "ingest_token",
    "header_names": "headers",
    "verification": "verify",
    "sealed_verification_secrets": "verification_secrets",
}


_SHOWN = frozenset(
    ("event_types", "keep_when_disabled", "rate_limit_per_second", "rate_limit_burst", "timeout_seconds")
) | {"retry_policy", "target_url", "kind", "verification", "signature_scheme"}


def field_changes(before: Subscription, after: Subscription, *, replaced: Collection[str] = ()) -> list[FieldChange]:
    """What is another than before; fields of `replaced`, as requests name them, whether one can see it or not."""
    return list(_changes(before, after, replaced))


def field_changes_of_new(made: Subscription) -> list[FieldChange]:
    """What was asked of a new subscription: whatever is not nothing."""
    return [
        FieldChange(field=_NAMES.get(name, name), after=_shown(name, value))
        for name, value in _fields(made)
        if value is not None and value not in ((), "")
    ]


def _changes(before: Subscription, after: Subscription, replaced: Collection[str]) -> Iterator[FieldChange]:
    for name, value in _fields(after):
        field, old = _NAMES.get(name, name), getattr(before, name)
        if value != old or field in replaced:
            yield FieldChange(field=field, before=_shown(name, old), after=_shown(name, value))


def _fields(subscription: Subscription) -> Iterator[tuple[str, Any]]:
    for name in Subscription.__dataclass_fields__:
        if name not in _NOT_TOLD:
            yield name, getattr(subscription, name)


def _shown(name: str, value: Any) -> Any:
    if name not in _SHOWN:
        return msgspec.UNSET
    if name == "target_url":
        return origin(value)
    if name == "retry_policy" and value is not None:
        return msgspec.json.decode(value)
    return value


def origin(target_url: str) -> str:
    """Scheme, host and port of a target, in lower case: what follows them may be a credential."""
    parts = urlsplit(target_url)
    return f"{parts.scheme}://{parts.netloc}".lower()


# What a request makes of a stored subscription, decided while its row is locked: no other change comes between.


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Other fields for a subscription; what is kept secret is replaced only where this says so."""

    draft: Draft
    # None: that of the stored secrets.
    scheme: Scheme | None
    set_secret: bool = False
    # An update to no types is meant for every type.
    all_event_types: bool = False
    set_headers: bool = False
    # Whether values of stored headers stay.
    keeps_headers: bool = True
    set_client_certificate: bool = False

    @property
    def set_verification_secrets(self) -> bool:
        """Whether those are replaced."""
        return self.draft.verification_secrets is not None

    @property
    def replaced(self) -> list[str]:
        """What is kept secret and replaced, as requests name it."""
        asked = {
            "secret_key": self.set_secret,
            "headers": self.set_headers,
            "verification_secrets": self.set_verification_secrets,
            "client_certificate": self.set_client_certificate,
        }
        return [name for name, is_set in asked.items() if is_set]

    def of(self, stored: Subscription, vault: Vault) -> Draft:
        """What to store, in the scheme of its secret; InvalidArgument when it does not go with what is kept."""
        if self.draft.kind not in {None, stored.kind}:
            raise errors.InvalidArgument.field("kind", f"cannot be changed; it is {stored.kind}")
        if stored.event_types and not self.draft.event_types and not self.all_event_types:
            expected = "is required: the subscription is limited to some types. Send [] to get every type"
            raise errors.InvalidArgument.field("event_types", expected)
        draft = dataclasses.replace(self.draft, signature_scheme=self._scheme(stored))
        self._reject_credentials_for_new_host(stored)
        secret = draft.secret_key if self.set_secret else stored.sealed_secrets
        _check_verification(
            stored,
            vault,
            preset=draft.verification,
            secrets=draft.verification_secrets,
            signs=verifies(secret, draft.signature_scheme),
        )
        return draft

    def _scheme(self, stored: Subscription) -> Scheme:
        if self.scheme is None or self.set_secret:
            return self.scheme or stored.signature_scheme
        if stored.sealed_secrets is None:
            expected = f"is required to sign with {self.scheme}; or have a secret made by rotating it"
            raise errors.InvalidArgument.field("secret_key", expected)
        if self.scheme is stored.signature_scheme:
            return self.scheme
        expected = f"is {stored.signature_scheme}; to change it, send secret_key with it or rotate the secret"
        raise errors.InvalidArgument.field("signature_scheme", expected)

    def _reject_credentials_for_new_host(self, stored: Subscription) -> None:
        """Raise InvalidArgument when stored credentials would go to another host than they were given for."""
        if origin(stored.target_url) == origin(self.draft.target_url):
            return
        kept = {
            "headers": self.keeps_headers and bool(stored.header_names),
            "client_certificate": not self.set_client_certificate and stored.client_certificate is not None,
        }
        expected = "must be sent again, or null, because target_url names another host than the stored values are for"
        wrong = [errors.Violation(field=name, description=expected) for name, is_kept in kept.items() if is_kept]
        if wrong:
            raise errors.InvalidArgument.of(*wrong)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """Another secret for a subscription."""

    # None: one is made.
    secret_key: str | None = field(repr=False)
    # None: that of the stored secrets.
    scheme: Scheme | None

    def __post_init__(self) -> None:
        """InvalidArgument when the secret is wrong whatever is stored."""
        self._check(self.scheme or signing_secrets.likely_scheme(self.secret_key))

    def of(self, stored: Subscription, vault: Vault) -> Secret:
        """The new secret; InvalidArgument when it does not go with what is kept."""
        scheme = self.scheme or stored.signature_scheme
        self._check(scheme)
        if scheme is not stored.signature_scheme:
            _check_verification(stored, vault, preset=None, secrets=None, signs=scheme is Scheme.HMAC_SHA256)
        return Secret(self.secret_key or signing_secrets.new_signing_secret(scheme), scheme=scheme)

    def _check(self, scheme: Scheme) -> None:
        if wrong := secret_violations(self.secret_key, scheme):
            raise errors.InvalidArgument.of(*wrong)


def verifies(secret: str | bytes | None, scheme: Scheme) -> bool:
    """Whether what comes in can be verified with the subscription's own secret: it has one that others know, too."""
    return secret is not None and scheme is Scheme.HMAC_SHA256


def _check_verification(
    stored: Subscription, vault: Vault, *, preset: Preset | None, secrets: Sequence[str] | None, signs: bool
) -> None:
    """InvalidArgument when the secrets that there will be cannot verify the preset that there will be.

    None for the preset or the secrets stands for the stored ones.
    """
    if secrets is None:
        try:
            secrets = vault.verification_secrets(stored.id, stored.sealed_verification_secrets)
        except CannotOpen:
            secrets = ()  # as good as none
    verification.check_preset(preset or stored.verification, secrets, signs=signs)
