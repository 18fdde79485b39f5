"""Subscriptions to and from their messages. A plain field needs nothing here: it has one name everywhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import event_versions, retry_policy
from services.domain.deliveries import Destination
from services.domain.egress import targets
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.filters.expression import OnError
from services.domain.retry_policy import Asked, RetryPolicy, RetrySettings
from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import Secrets
from services.ingest.subscriptions import labels, tag_paths, templates
from services.ingest.subscriptions.client_certificates import ClientCertificate, Facts
from services.ingest.subscriptions.record import (
    CLIENT_CERTIFICATE,
    HEADERS,
    SECRET_KEY,
    TEMPLATE_SECRETS,
    VERIFICATION_SECRETS,
    Draft,
    Kind,
    Shown,
    Spec,
    Subscription,
)
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors
from services.platform.grpc import conversion

_FIELDS = pb.SubscriptionSpec.DESCRIPTOR.fields_by_name
# Enums: an update that does not name one keeps what is stored.
ENUMS = {name: _FIELDS[name].enum_type for name in Spec.__struct_fields__ if _FIELDS[name].enum_type is not None}
# Maps of texts, stored as JSON.
PAIRS = (labels.METADATA, tag_paths.TAG_PATHS)
# Of a new subscription, where unset means something.
_DEFAULTS: Mapping[str, Any] = {
    "destination": Destination.HTTP,
    "kind": Kind.NORMAL,
    "filter_on_error": OnError.DELIVER,
    "keep_when_disabled": True,
    "verification": Verification.AUTO,
    "signature_scheme": SignatureScheme.HMAC_SHA256,
}


def is_unsigned(spec: pb.SubscriptionSpec) -> bool:
    """Return whether a request asks for no signature. Raise InvalidArgument when it has a secret as well."""
    if spec.signature_scheme != pb.SIGNATURE_SCHEME_NONE:
        return False
    if spec.HasField("secret_key"):
        raise errors.InvalidArgument.field("secret_key", "cannot be combined with signature_scheme none")
    return True


def scheme(number: "pb.SignatureScheme.ValueType") -> SignatureScheme | None:
    """Return how a request asks to sign; None when it does not say. Raise InvalidArgument for an unknown number."""
    if number == pb.SIGNATURE_SCHEME_UNSPECIFIED:
        return None
    try:
        return SignatureScheme(conversion.texts(pb.SignatureScheme.DESCRIPTOR).get(number, ""))
    except ValueError:
        raise errors.InvalidArgument.field("signature_scheme", f"must be one of {', '.join(SignatureScheme)}") from None


def draft(
    spec: pb.SubscriptionSpec,
    stored: Subscription | None,
    settings: RetrySettings,
    policy: Policy,
    *,
    secret_key: str | None,
    signature_scheme: SignatureScheme,
    headers: Mapping[str, str],
    client_certificate: ClientCertificate | None,
    refused: Sequence[errors.Violation],
) -> Draft:
    """Return what a request asks for, with this secret of this scheme; `stored` is the subscription that it changes.

    Raise InvalidArgument naming each field at fault.
    """
    found = [*refused, *_denied(spec.target_url, policy), *labels.metadata_violations(spec.metadata)]
    found += tag_paths.violations(spec.tag_paths)
    found += event_versions.violations(spec.event_versions)
    values = {name: _value(spec, name, stored, found) for name in Spec.__struct_fields__}
    if spec.HasField("retry_policy"):
        try:
            asked = retry_policy.accepted(
                _asked(spec.retry_policy), settings.retry_policy, expiry_hours=settings.delivery_expiry_hours
            )
        except errors.InvalidArgument as error:
            found += error.violations
        else:
            values["retry_policy"] = asked.text
    values[event_versions.FIELD] = event_versions.text(spec.event_versions)
    if spec.HasField("template"):
        values["template"] = templates.of_message(spec.template).text
    replaced = {
        SECRET_KEY: stored is None or secret_key is not None or is_unsigned(spec),
        HEADERS: stored is None or spec.HasField("headers"),
        VERIFICATION_SECRETS: stored is None or spec.HasField("verification_secrets"),
        CLIENT_CERTIFICATE: stored is None or spec.HasField("client_certificate"),
        TEMPLATE_SECRETS: stored is None or spec.HasField("template_secrets"),
    }
    return Draft(
        **{**values, "signature_scheme": signature_scheme},
        secret_key=secret_key,
        headers=headers,
        verification_secrets=tuple(spec.verification_secrets.values),
        template_secrets=dict(spec.template_secrets.values),
        client_certificate=client_certificate,
        replaced=frozenset(name for name, is_replaced in replaced.items() if is_replaced),
        refused=found,
    )


def _value(spec: pb.SubscriptionSpec, name: str, stored: Subscription | None, found: list[errors.Violation]) -> Any:
    """Return a field as the record has it, and add to what was found wrong."""
    field = _FIELDS[name]
    value = getattr(spec, name)
    if name in ENUMS:
        texts = conversion.texts(ENUMS[name])
        if value and value not in texts:
            found.append(errors.Violation(field=name, description=f"must be one of {', '.join(texts.values())}"))
        elif value and name != "signature_scheme":
            return type(_DEFAULTS[name])(texts[value])
        return _DEFAULTS[name] if stored is None else getattr(stored, name)
    if name in PAIRS:
        return labels.text(value)
    if field.is_repeated:
        return tuple(value)
    if field.message_type is not None or (field.has_presence and not spec.HasField(name)):  # type: ignore[arg-type]
        return _DEFAULTS.get(name)
    return value


def spec(subscription: Subscription) -> pb.SubscriptionSpec:
    """Return what a user set of a subscription, but for what is write-only."""
    found: dict[str, Any] = {name: getattr(subscription, name) for name in Spec.__struct_fields__}
    for name, enum in ENUMS.items():
        found[name] = conversion.numbers(enum)[found[name]]
    for name in PAIRS:
        found[name] = labels.pairs(found[name])
    found[event_versions.FIELD] = event_versions.pins_of(subscription.event_versions)
    if subscription.sealed_secrets is None:
        found["signature_scheme"] = pb.SIGNATURE_SCHEME_NONE
    if subscription.retry_policy is not None:
        found["retry_policy"] = msgspec.json.decode(subscription.retry_policy)
    if subscription.template is not None:
        found["template"] = msgspec.json.decode(subscription.template)
    return pb.SubscriptionSpec(**found)


def message(
    shown: Shown,
    secrets: Secrets,
    moment: datetime,
    service: RetryPolicy,
    warnings: Sequence[str],
    *,
    timeout_seconds: float,
) -> pb.Subscription:
    """Return a subscription as responses show it.

    Of the secrets that are valid at this moment it has the ends and the public keys; `service` is the policy, and
    `timeout_seconds` the timeout, of subscriptions without one of their own.
    """
    subscription, breaker, check = shown
    certificate = subscription.client_certificate
    status = pb.SubscriptionStatus(
        status=pb.SubscriptionStatus.Status.Value(f"STATUS_{subscription.status.upper()}"),
        status_reason=subscription.status_reason,
        status_since=_time(subscription.status_since),
        filter_stopped_at=_time(subscription.filter_stopped_at),
        breaker=pb.Breaker(
            state=pb.BreakerState.Value(f"BREAKER_STATE_{breaker.state.upper()}"),
            since=_time(breaker.since),
            reason=breaker.reason,
            next_probe_at=_time(breaker.next_probe_at),
            consecutive_failures=breaker.consecutive_failures,
        ),
        effective_retry_policy=_effective(subscription, service),
        effective_timeout_seconds=_effective_timeout(subscription, timeout_seconds),
        has_secret=subscription.sealed_secrets is not None,
        public_keys=[
            pb.PublicKey(public_key=public_key, expires_at=_time(ends_at))
            for public_key, ends_at in secrets.public_keys(moment)
        ],
        previous_secrets=[pb.PreviousSecret(expires_at=_time(secret.ends_at)) for secret in secrets.previous(moment)],
        has_ingest_token=subscription.ingest_token_hash is not None,
        header_names=subscription.header_names,
        template_secret_names=subscription.template_secret_names,
        has_verification_secret=subscription.sealed_verification_secrets is not None,
        client_certificate=None
        if certificate is None
        else pb.ClientCertificateFacts(**msgspec.structs.asdict(Facts.of_text(certificate))),
        warnings=warnings,
        created_at=_time(subscription.created_at),
        updated_at=_time(subscription.updated_at),
        etag=subscription.etag,
        next_check_at=_time(check.next_at),
        check_error=check.error,
    )
    return pb.Subscription(
        id=str(subscription.id), tenant_id=subscription.tenant_id, spec=spec(subscription), status=status
    )


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def _denied(url: str, policy: Policy) -> tuple[errors.Violation, ...]:
    """Return what is known before anything is resolved. What is no URL is refused elsewhere."""
    try:
        target = targets.parse(url)
    except ValueError:
        return ()
    try:
        policy.check_target(target.host, target.port)
    except EgressDenied as denied:
        return (errors.Violation(field="target_url", description=f"is not allowed (see EGRESS_ALLOW): {denied}"),)
    return ()


def _asked(policy: pb.RetryPolicy) -> Asked:
    given = {field.name: list(value) if field.is_repeated else value for field, value in policy.ListFields()}
    return msgspec.convert(given, Asked)


def _effective_timeout(subscription: Subscription, timeout_seconds: float) -> float | None:
    if subscription.destination is not Destination.HTTP:
        return None
    return timeout_seconds if subscription.timeout_seconds is None else subscription.timeout_seconds


def _effective(subscription: Subscription, service: RetryPolicy) -> pb.RetryPolicy:
    text = subscription.retry_policy
    policy = service if text is None else retry_policy.stored(text, service)
    if policy.delays_seconds:
        return pb.RetryPolicy(delays_seconds=policy.delays_seconds)
    return pb.RetryPolicy(
        base_seconds=policy.base_seconds, factor=policy.factor, cap_seconds=policy.cap_seconds, limit=policy.limit
    )
