"""Facts out of Postgres, and the events that are made of them into it, in one transaction."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.delivery.operational_webhooks.payloads import Telling
from services.domain.operational_facts import EventType
from services.platform import ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.operational_webhooks")

FACTS_AT_ONCE = 1_000
# Of a subscription there is one delivery.exhausted in so long: it counts what ended since the one before.
EXHAUSTED_SECONDS = 60.0


class Store:
    """Safe in any number of copies: one tells at a time."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int, exhausted_seconds: float = EXHAUSTED_SECONDS) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours
        self._exhausted_seconds = exhausted_seconds

    async def tell(self) -> tuple[Counter[str], bool]:
        """Makes events of what there is to tell; how many of which type, and whether there may be more at once."""
        if not await self._pool.fetchval(SQL["is_anything"]):
            return Counter(), False
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(SQL["try_lock"]):
                return Counter(), False
            facts = await connection.fetch(SQL["take_facts"], FACTS_AT_ONCE)
            facts.sort(key=lambda row: row["id"])
            exhausted = [row for row in facts if row["event_type"] == EventType.EXHAUSTED]
            await self._add(connection, exhausted)
            await connection.execute(SQL["forget_told"], self._exhausted_seconds)
            due = await connection.fetch(SQL["take_exhausted"], self._exhausted_seconds, FACTS_AT_ONCE)
            tellings = [Telling.of_fact(row) for row in facts if row["event_type"] != EventType.EXHAUSTED]
            tellings += [Telling.of_exhausted(row) for row in due]
            told = await self._insert(connection, tellings) if tellings else Counter()
        return told, FACTS_AT_ONCE in {len(facts), len(due)}

    async def _add(self, connection: postgres.Connection, facts: Sequence[Any]) -> None:
        """Adds up deliveries that ended, by subscription; each row of what is to be told is touched once."""
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

    async def _insert(self, connection: postgres.Connection, tellings: Sequence[Telling]) -> Counter[str]:
        """Stores an event for each that somebody wants, and its delivery."""
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
        return Counter(telling.event_type for telling, _, _ in wanted)
