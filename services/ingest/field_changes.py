"""What the audit log says of a change to a subscription: every field by its name, and the values that may be shown."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from services.domain.audit import FieldChange
from services.ingest.subscriptions import Subscription

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


def between(before: Subscription, after: Subscription, *, replaced: Collection[str] = ()) -> list[FieldChange]:
    """What is another than before; fields of `replaced`, as requests name them, whether one can see it or not."""
    return list(_changes(before, after, replaced))


def of_new(made: Subscription) -> list[FieldChange]:
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
