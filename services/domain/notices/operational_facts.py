"""What the service tells a tenant's system subscription of its other ones, noted where it happens.

A fact is written in the transaction that makes it true, and only for a tenant with a system subscription; the delivery
service turns it into an event (services/delivery/operational_webhooks). There are no facts about system subscriptions,
so events never cause further events. Facts about deliveries are written by the statements that end them.
"""

import enum
from dataclasses import dataclass
from uuid import UUID

from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain.notices")
# The signal for who makes events of facts.
FACTS = "facts"


class EventType(enum.StrEnum):
    """The operational events."""

    DISABLED = "subscription.disabled"
    FAILING = "subscription.failing"
    RECOVERED = "subscription.recovered"
    FILTER_STOPPED = "subscription.filter_stopped"
    EXHAUSTED = "delivery.exhausted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something that became true of a subscription."""

    subscription_id: UUID
    event_type: EventType
    reason: str | None = None
    last_error: str | None = None


async def note(connection: postgres.Connection, *facts: Fact) -> None:
    """Write facts in the transaction that `connection` is in."""
    if facts:
        await connection.execute(
            SQL["insert_facts"],
            [fact.subscription_id for fact in facts],
            [fact.event_type for fact in facts],
            [fact.reason for fact in facts],
            [fact.last_error for fact in facts],
        )
