"""Leases of consumers, as claims without what only a worker, or a request, takes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.delivery.worker import claims, decisions
from services.delivery.worker.claims import Attempt, Claim, Outcome
from services.domain import retry_policy
from services.domain.retry_policy import RetryPolicy
from services.domain.states import AttemptOutcome
from services.platform import ids

# What only workers have to know of a claim: no pull reads it.
UNREAD: Mapping[str, Any] = {
    "expired": False,
    "deleted": False,
    "held_by": None,
    "probe": False,
    "failing": False,
    "timeout_seconds": None,
    "target_url": "",
    "endpoint_version": 0,
    "sealed_client_certificate": None,
}
# What only the request takes, which a report is not about.
_UNSENT: Mapping[str, Any] = {
    "retry_policy": None,
    "sealed_secrets": None,
    "sealed_headers": None,
    "template_version": None,
    "content_type": None,
    "content_encoding": None,
    "traceparent": None,
    "relay_headers": False,
    "sender_context": None,
    "payload_bytes": None,
    "payload": None,
    "erased": False,
}
NOT_REPORTED = "the consumer did not report what became of the delivery before its lease ended"


def claim_of(row: Any, token: UUID, *, moment: datetime) -> Claim:
    """Return the claim that a consumer has, or had, from a row with its delivery."""
    known = {
        **UNREAD,
        **_UNSENT,
        **row,
        "attempt_count": row["attempt_count"] or 0,
        "failure_count": row["failure_count"] or 0,
        "claimed_at": moment,
    }
    return claims.claim_of(known, token, 0.0)


def attempt_of(
    claim: Claim,
    outcome: AttemptOutcome,
    *,
    status_code: int | None = None,
    error_message: str | None = None,
    response_body: str | None = None,
    duration_ms: int | None = None,
) -> Attempt:
    """Return the attempt that began with a claim, whose token is from that moment, and ends now."""
    started_at = min(ids.moment_of(claim.token), claim.claimed_at)
    if duration_ms is None:
        duration_ms = round((claim.claimed_at - started_at).total_seconds() * 1000)
    return Attempt(
        started_at=started_at,
        duration_ms=duration_ms,
        status_code=status_code,
        outcome=outcome,
        error_message=error_message,
        response_body=response_body,
    )


def expired(rows: Sequence[Any], service: RetryPolicy) -> list[Outcome]:
    """Return the outcomes of leases that ended without a report: failed attempts, which follow the retry policy."""
    found = []
    for row in rows:
        claim = claim_of(row, row["claim_token"], moment=row["now"])
        attempt = attempt_of(claim, AttemptOutcome.LEASE_EXPIRED, error_message=NOT_REPORTED)
        text = row["retry_policy"]
        policy = retry_policy.stored(text, service) if text else service
        found.append(decisions.decide(claim, [attempt], policy))
    return found
