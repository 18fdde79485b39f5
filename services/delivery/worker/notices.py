"""What is told of what a worker does to subscriptions by itself: to the audit log, and to the tenant's operators."""

from typing import Any

from services.domain import audit
from services.domain.audit import Action, FieldChange
from services.domain.operational_facts import EventType, Fact


def disabled_entry(row: Any) -> audit.Entry:
    """For the audit log, from a row of the statement that disables."""
    return audit.Entry(
        action=Action.DISABLE_SUBSCRIPTION,
        tenant_id=row["tenant_id"],
        resource_id=str(row["id"]),
        changes=[
            FieldChange(field="status", before=row["status_before"], after="disabled"),
            FieldChange(field="status_reason", after=row["status_reason"]),
        ],
    )


def disabled_fact(row: Any, last_error: str | None) -> Fact:
    """For the system subscription, from the same."""
    return Fact(
        subscription_id=row["id"],
        event_type=EventType.DISABLED,
        reason=row["status_reason"],
        last_error=last_error or None,
    )


def breaker_fact(row: Any, before: str, last_error: str) -> Fact | None:
    """What is to be told of a breaker: that it opened or closed. A probe that failed goes on with what was told."""
    name, now = row["subscription_id"], row["breaker"]
    if before == "closed" and now == "open":
        return Fact(
            subscription_id=name,
            event_type=EventType.FAILING,
            reason=row["breaker_reason"],
            last_error=last_error or None,
        )
    if before != "closed" and now == "closed":
        return Fact(subscription_id=name, event_type=EventType.RECOVERED)
    return None
