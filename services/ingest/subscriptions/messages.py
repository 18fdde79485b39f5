"""Subscriptions to and from their messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import retry_policy
from services.domain.egress import targets
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.retry_policy import Asked, RetryPolicy, RetrySettings
from services.domain.secrets.signatures import Scheme
from services.domain.secrets.vault import Secrets
from services.ingest.subscriptions.client_certificates import ClientCertificate, Facts
from services.ingest.subscriptions.record import NORMAL, SYSTEM, Breaker, Draft, Shown, Subscription
from services.ingest.subscriptions.verification import Preset
from services.platform import errors

_STATUS_PREFIX = "SUBSCRIPTION_STATUS_"
_STATE_PREFIX = "BREAKER_STATE_"
_VERIFICATION_PREFIX = "VERIFICATION_"
_KIND_PREFIX = "SUBSCRIPTION_KIND_"
_KINDS = {pb.SUBSCRIPTION_KIND_NORMAL: NORMAL, pb.SUBSCRIPTION_KIND_SYSTEM: SYSTEM}
_SCHEMES = {
    pb.SIGNATURE_SCHEME_HMAC_SHA256: Scheme.HMAC_SHA256,
    pb.SIGNATURE_SCHEME_ED25519: Scheme.ED25519,
}
_SCHEME_NUMBERS = {scheme: number for number, scheme in _SCHEMES.items()}


def scheme(number: "pb.SignatureScheme.ValueType") -> Scheme | None:
    """Return how a request asks to sign; None when it does not say. Raise InvalidArgument for an unknown number."""
    if number == pb.SIGNATURE_SCHEME_UNSPECIFIED:
        return None
    if number not in _SCHEMES:
        raise errors.InvalidArgument.field("signature_scheme", f"must be one of {', '.join(Scheme)}")
    return _SCHEMES[number]


def unsigned(request: pb.CreateSubscriptionRequest | pb.UpdateSubscriptionRequest) -> bool:
    """Return whether a request asks for no signature. Raise InvalidArgument when it has a secret as well."""
    if request.signature_scheme != pb.SIGNATURE_SCHEME_NONE:
        return False
    if request.HasField("secret_key"):
        raise errors.InvalidArgument.field("secret_key", "cannot be combined with signature_scheme none")
    return True


def draft(
    request: pb.CreateSubscriptionRequest | pb.UpdateSubscriptionRequest,
    settings: RetrySettings,
    policy: Policy,
    *,
    secret_key: str | None,
    signature_scheme: Scheme,
    headers: Mapping[str, str],
    client_certificate: ClientCertificate | None,
    refused: Sequence[errors.Violation],
) -> Draft:
    """What a request asks for, with this secret of this scheme; InvalidArgument naming each field at fault."""
    asked: Asked | None = None
    refused = (*refused, *_denied(request.target_url, policy))
    if request.kind not in pb.SubscriptionKind.values():
        refused = (*refused, errors.Violation(field="kind", description="must be normal or system"))
    if request.HasField("retry_policy"):
        try:
            asked = retry_policy.accepted(
                _asked(request.retry_policy), settings.retry_policy, expiry_hours=settings.delivery_expiry_hours
            )
        except errors.InvalidArgument as error:
            refused = (*refused, *error.violations)
    return Draft(
        target_url=request.target_url,
        event_types=list(request.event_types),
        description=request.description,
        secret_key=secret_key,
        signature_scheme=signature_scheme,
        keep_when_disabled=request.keep_when_disabled if request.HasField("keep_when_disabled") else True,
        rate_limit_per_second=request.rate_limit_per_second if request.HasField("rate_limit_per_second") else None,
        rate_limit_burst=request.rate_limit_burst if request.HasField("rate_limit_burst") else None,
        timeout_seconds=request.timeout_seconds if request.HasField("timeout_seconds") else None,
        retry_policy=asked,
        headers=headers,
        verification=_verification(request.verification),
        verification_secrets=list(request.verification_secrets.values)
        if request.HasField("verification_secrets")
        else None,
        kind=_KINDS.get(request.kind),
        client_certificate=client_certificate,
        refused=refused,
    )


def message(shown: Shown, secrets: Secrets, moment: datetime, service: RetryPolicy) -> pb.Subscription:
    """Return a subscription as answers show it.

    Of the secrets that are valid at this moment it has the ends and the public keys; `service` is the policy of
    subscriptions without one of their own.
    """
    subscription, breaker = shown
    found = pb.Subscription(
        id=str(subscription.id),
        tenant_id=subscription.tenant_id,
        target_url=subscription.target_url,
        event_types=subscription.event_types,
        description=subscription.description,
        has_secret=subscription.sealed_secrets is not None,
        has_ingest_token=subscription.ingest_token_hash is not None,
        status=pb.SubscriptionStatus.Value(_STATUS_PREFIX + subscription.status.upper()),
        status_reason=subscription.status_reason or "",
        keep_when_disabled=subscription.keep_when_disabled,
        rate_limit_per_second=subscription.rate_limit_per_second,
        rate_limit_burst=subscription.rate_limit_burst,
        timeout_seconds=subscription.timeout_seconds,
        retry_policy=policy(subscription),
        effective_retry_policy=_effective(subscription, service),
        breaker=_breaker(breaker),
        header_names=subscription.header_names,
        verification=pb.Verification.Value(_VERIFICATION_PREFIX + subscription.verification.upper().replace("-", "_")),
        has_verification_secret=subscription.sealed_verification_secrets is not None,
        kind=pb.SubscriptionKind.Value(_KIND_PREFIX + subscription.kind.upper()),
        signature_scheme=pb.SIGNATURE_SCHEME_NONE
        if subscription.sealed_secrets is None
        else _SCHEME_NUMBERS[subscription.signature_scheme],
        etag=subscription.etag,
        client_certificate=_certificate(subscription),
    )
    for secret in secrets.previous(moment):
        if secret.ends_at is not None:
            found.previous_secrets_expire_at.add().FromDatetime(secret.ends_at)
    for public_key, ends_at in secrets.public_keys(moment):
        key = found.public_keys.add(public_key=public_key)
        if ends_at is not None:
            key.expires_at.FromDatetime(ends_at)
    found.created_at.FromDatetime(subscription.created_at)
    found.updated_at.FromDatetime(subscription.updated_at)
    found.status_since.FromDatetime(subscription.status_since)
    return found


def _verification(number: pb.Verification.ValueType) -> Preset | None:
    """The preset that a request asks for; None when it asks for none, InvalidArgument when there is none such."""
    if number == pb.VERIFICATION_UNSPECIFIED:
        return None
    if number not in pb.Verification.values():
        raise errors.InvalidArgument.field("verification", f"must be one of {', '.join(Preset)}")
    return Preset(pb.Verification.Name(number).removeprefix(_VERIFICATION_PREFIX).lower().replace("_", "-"))


def _denied(url: str, policy: Policy) -> tuple[errors.Violation, ...]:
    """What is known before anything is resolved. A URL that is none is refused elsewhere."""
    try:
        target = targets.parse(url)
    except ValueError:
        return ()
    try:
        policy.check_target(target.host, target.port)
    except EgressDenied as denied:
        return (errors.Violation(field="target_url", description=f"may not be sent to (see EGRESS_ALLOW): {denied}"),)
    return ()


def _asked(policy: pb.RetryPolicy) -> Asked:
    return Asked(
        base_seconds=policy.base_seconds if policy.HasField("base_seconds") else None,
        factor=policy.factor if policy.HasField("factor") else None,
        cap_seconds=policy.cap_seconds if policy.HasField("cap_seconds") else None,
        limit=policy.limit if policy.HasField("limit") else None,
        delays_seconds=tuple(policy.delays_seconds),
        name=policy.name or None,
    )


def policy(subscription: Subscription) -> pb.RetryPolicy | None:
    """Return the retry policy of a subscription; None for the default of the service."""
    if subscription.retry_policy is None:
        return None
    asked = Asked.of_text(subscription.retry_policy)
    return pb.RetryPolicy(
        base_seconds=asked.base_seconds,
        factor=asked.factor,
        cap_seconds=asked.cap_seconds,
        limit=asked.limit,
        delays_seconds=asked.delays_seconds,
        name=asked.name or "",
    )


def _effective(subscription: Subscription, service: RetryPolicy) -> pb.RetryPolicy:
    text = subscription.retry_policy
    policy = service if text is None else retry_policy.stored(text, service)
    if policy.delays_seconds:
        return pb.RetryPolicy(delays_seconds=policy.delays_seconds)
    return pb.RetryPolicy(
        base_seconds=policy.base_seconds, factor=policy.factor, cap_seconds=policy.cap_seconds, limit=policy.limit
    )


def _certificate(subscription: Subscription) -> pb.ClientCertificateFacts | None:
    if subscription.client_certificate is None:
        return None
    facts = Facts.of_text(subscription.client_certificate)
    found = pb.ClientCertificateFacts(
        subject=facts.subject,
        issuer=facts.issuer,
        serial_number=facts.serial_number,
        sha256_fingerprint=facts.sha256_fingerprint,
    )
    found.not_before.FromDatetime(facts.not_before)
    found.not_after.FromDatetime(facts.not_after)
    return found


def _breaker(breaker: Breaker) -> pb.Breaker:
    found = pb.Breaker(
        state=pb.BreakerState.Value(_STATE_PREFIX + breaker.state.upper()),
        reason=breaker.reason or "",
        consecutive_failures=breaker.consecutive_failures,
    )
    if breaker.since is not None:
        found.since.FromDatetime(breaker.since)
    if breaker.next_probe_at is not None:
        found.next_probe_at.FromDatetime(breaker.next_probe_at)
    return found
