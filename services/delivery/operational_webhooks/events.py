"""Operational events: what the service says of a tenant's subscriptions, as they are stored and sent.

docs/guides/operational-events.md shows them.
"""

import asyncio
import collections
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import prometheus_client

from services.domain.deliveries import DUE
from services.domain.egress import targets
from services.domain.notices.operational_facts import FACTS, EventType
from services.platform import ids
from services.platform.process import background
from services.platform.stores import postgres, sql
from services.platform.stores.signals import Signals

SQL = sql.Queries("services.delivery.operational_webhooks")
FACTS_AT_ONCE = 1_000
# Of a subscription there is one delivery.exhausted in so long: it counts what ended since the one before.
EXHAUSTED_SECONDS = 60.0
EVENTS = prometheus_client.Counter(
    "webhook_operational_events_total", "Operational events created, by type.", ["event_type"]
)
INTERVAL_SECONDS = 0.5
RETRY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What an event says, and of which subscription."""

    event_type: EventType
    tenant_id: str
    subscription_id: UUID
    happened_at: datetime
    reason: str | None
    last_error: str | None
    # Of delivery.exhausted: how many ended since `first_at`, and the last of them.
    deliveries: int = 0
    first_at: datetime | None = None
    last_delivery_id: UUID | None = None
    last_event_id: UUID | None = None
    last_attempts: int | None = None

    @classmethod
    def of_fact(cls, row: Any) -> "Telling":
        """From a row of `operational_facts`."""
        return cls(
            event_type=EventType(row["event_type"]),
            happened_at=row["happened_at"],
            **{name: row[name] for name in ("tenant_id", "subscription_id", "reason", "last_error")},
        )

    @classmethod
    def of_exhausted(cls, row: Any) -> "Telling":
        """From a row of `exhausted_deliveries`."""
        own = ("deliveries", "first_at", "last_delivery_id", "last_event_id", "last_attempts")
        return cls(
            event_type=EventType.EXHAUSTED,
            happened_at=row["last_at"],
            **{name: row[name] for name in ("tenant_id", "subscription_id", "reason", "last_error", *own)},
        )

    def payload(self, target_url: str) -> bytes:
        """Return the JSON body to send."""
        data: dict[str, Any] = {
            "subscription_id": self.subscription_id,
            "target_host": targets.host_of(target_url),
            "reason": self.reason,
            "last_error": self.last_error,
        }
        if self.event_type is EventType.EXHAUSTED:
            data |= {
                "deliveries": self.deliveries,
                "since": _time(self.first_at or self.happened_at),
                "last_delivery_id": self.last_delivery_id,
                "last_event_id": self.last_event_id,
                "last_attempts": self.last_attempts,
            }
        document = {"type": self.event_type, "timestamp": _time(self.happened_at), "data": data}
        return msgspec.json.encode(document)


def _time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as everywhere."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


class OperationalEventStore:
    """Safe in any number of copies: one tells at a time."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int, exhausted_seconds: float = EXHAUSTED_SECONDS) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours
        self._exhausted_seconds = exhausted_seconds

    async def is_anything(self) -> bool:
        """Whether there is something to tell, now or later."""
        return bool(await self._pool.fetchval(SQL["is_anything"]))

    async def tell(self) -> tuple[collections.Counter[str], bool]:
        """Make events of what there is to tell; how many of which type, and whether there may be more at once."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(SQL["try_lock"]):
                return collections.Counter(), False
            facts = await connection.fetch(SQL["take_facts"], FACTS_AT_ONCE)
            facts.sort(key=lambda row: row["id"])
            exhausted = [row for row in facts if row["event_type"] == EventType.EXHAUSTED]
            await self._add(connection, exhausted)
            await connection.execute(SQL["forget_told"], self._exhausted_seconds)
            due = await connection.fetch(SQL["take_exhausted"], self._exhausted_seconds, FACTS_AT_ONCE)
            tellings = [Telling.of_fact(row) for row in facts if row["event_type"] != EventType.EXHAUSTED]
            tellings += [Telling.of_exhausted(row) for row in due]
            told = await self._insert(connection, tellings) if tellings else collections.Counter()
        return told, FACTS_AT_ONCE in {len(facts), len(due)}

    async def _add(self, connection: postgres.Connection, facts: Sequence[Any]) -> None:
        """Add up deliveries that ended, by subscription; each row of what is to be told is touched once."""
        by_subscription: dict[UUID, list[Any]] = {}
        for row in facts:
            by_subscription.setdefault(row["subscription_id"], []).append(row)
        sums = list(by_subscription.values())
        if not sums:
            return
        await connection.execute(
            SQL["add_exhausted"],
            list(by_subscription),
            [rows[-1]["tenant_id"] for rows in sums],
            [sum(row["deliveries"] for row in rows) for rows in sums],
            [rows[0]["happened_at"] for rows in sums],
            [rows[-1]["happened_at"] for rows in sums],
            [rows[-1]["reason"] for rows in sums],
            [rows[-1]["last_error"] for rows in sums],
            [rows[-1]["last_delivery_id"] for rows in sums],
            [rows[-1]["last_event_id"] for rows in sums],
            [rows[-1]["last_attempts"] for rows in sums],
        )

    async def _insert(self, connection: postgres.Connection, tellings: Sequence[Telling]) -> collections.Counter[str]:
        """Store an event for each that somebody wants, and its delivery."""
        found = await connection.fetch(
            SQL["select_receivers"],
            [telling.subscription_id for telling in tellings],
            [telling.event_type for telling in tellings],
        )
        wanted = [(tellings[row["place"] - 1], row["target_url"], row["receiver_id"]) for row in found]
        event_ids = [ids.new() for _ in wanted]
        receivers = [receiver_id for _, _, receiver_id in wanted]
        await connection.execute(
            SQL["insert_events"],
            event_ids,
            [telling.tenant_id for telling, _, _ in wanted],
            [telling.event_type for telling, _, _ in wanted],
            [telling.payload(target_url) for telling, target_url, _ in wanted],
            [ids.of_delivery(*pair) for pair in zip(event_ids, receivers, strict=True)],
            receivers,
            self._expiry_hours,
        )
        return collections.Counter(telling.event_type for telling, _, _ in wanted)


async def run(store: OperationalEventStore, heard: Signals) -> None:
    """Make events until cancelled. What cannot be told now stays where it is."""

    async def step() -> float:
        if not await store.is_anything():
            await asyncio.sleep(INTERVAL_SECONDS)  # however often others say that there is something
            return heard.pace(INTERVAL_SECONDS)
        told, more = await store.tell()
        for event_type, number in told.items():
            EVENTS.labels(event_type).inc(number)
        if told:
            heard.wake(DUE)
        if not more:
            await asyncio.sleep(INTERVAL_SECONDS)
        return 0.0

    await background.repeat(
        step, interval_seconds=INTERVAL_SECONDS, retry_seconds=RETRY_SECONDS, wake=heard.alarm(FACTS)
    )
