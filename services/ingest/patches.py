"""An update of some fields, made whole: what the request does not name keeps its stored value."""

from collections.abc import Mapping

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.ingest import subscription_messages as messages
from services.ingest.subscriptions import Subscription
from services.platform import errors

_NESTED = "retry_policy"
# More than there are fields. A mask that repeats them is merged while the row is locked.
MAX_PATHS = 100
_FIXED = frozenset(("tenant_id", "subscription_id", "update_mask", "etags", "all_event_types"))
_FIELDS = frozenset(pb.UpdateSubscriptionRequest.DESCRIPTOR.fields_by_name) - _FIXED
# Unset in a request they keep what is stored, so that naming one without a value has to say "none".
_NONE_IF_UNSET = ("headers", "verification_secrets", "client_certificate")


def whole(request: pb.UpdateSubscriptionRequest, stored: Subscription) -> pb.UpdateSubscriptionRequest:
    """Return the request that replaces every field, from one whose update_mask names some.

    Raise InvalidArgument when the mask names what cannot be changed.
    """
    paths = frozenset(request.update_mask.paths)
    _check(request, paths)
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


def headers(stored: Mapping[str, str], changes: Mapping[str, str]) -> tuple[Mapping[str, str], bool]:
    """Return the stored headers with these changes, and whether a stored value is among them.

    Names are compared without regard to case; an empty value removes a header.
    """
    named = {name.lower() for name in changes}
    kept = {name: value for name, value in stored.items() if name.lower() not in named}
    return kept | {name: value for name, value in changes.items() if value}, bool(kept)


def _check(request: pb.UpdateSubscriptionRequest, paths: frozenset[str]) -> None:
    if len(request.update_mask.paths) > MAX_PATHS:
        raise errors.InvalidArgument.field("update_mask", f"must have at most {MAX_PATHS} paths")
    for path in paths:
        name, _, nested = path.partition(".")
        known = name in _FIELDS and (not nested or name == _NESTED)
        if not known or not type(request.update_mask)(paths=[path]).IsValidForDescriptor(request.DESCRIPTOR):
            raise errors.InvalidArgument.field("update_mask", f"{path[:64]!r} is not a field that can be updated")
