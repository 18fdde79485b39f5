"""Every statement that changes a state makes exactly the changes that services/domain/states.py defines."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from services.delivery.api import store as api
from services.delivery.destinations.pull import store as pull
from services.delivery.dispatcher import store as dispatcher
from services.delivery.worker import store as worker
from services.delivery.worker.claims import Attempt, Outcome
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.domain.deliveries import Lease
from services.domain.states import (
    BREAKER_CHANGES,
    DELIVERY_CHANGES,
    SUBSCRIPTION_CHANGES,
    AttemptOutcome,
    BreakerChange,
    BreakerState,
    Changes,
    DeliveryChange,
    DeliveryReason,
    DeliveryStatus,
    Probe,
    SubscriptionChange,
    SubscriptionState,
)
from services.ingest.events.records import NewEvent
from services.ingest.events.store import EventStore
from services.ingest.subscriptions import store as ingest
from tests.delivery.world import World, attempt, claim

SERVICES = Path(__file__).parents[3] / "services"
# Where a state is, and in which columns: a delivery's is in two tables, of which one has no row once it has ended.
DELIVERIES, HEALTH, SUBSCRIPTIONS = "deliveries", "subscription_health", "subscriptions"
COLUMNS = {
    "webhook_deliveries": (DELIVERIES, "status"),
    "delivery_queue": (DELIVERIES, "claim_token|scheduled"),
    HEALTH: (HEALTH, "breaker"),
    SUBSCRIPTIONS: (SUBSCRIPTIONS, "status"),
}
SHOWN = {DELIVERIES: "id, status", HEALTH: "subscription_id AS id, breaker AS status", SUBSCRIPTIONS: "id, status"}
TOKEN = UUID(int=7)
Pairs: TypeAlias = set[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A row in each state: deliveries of one subscription, or subscriptions with a breaker."""

    ids: Sequence[UUID]
    subscription: UUID


Run: TypeAlias = Callable[[World, Rows], AsyncIterator[None]]


def statements(text: str) -> Iterator[tuple[str, str]]:
    """Return name and text of the statements that set a state."""
    for part in re.split(r"^-- (?=\w+ --$)", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition(" --\n")
        sql = re.sub(r"^--.*$", "", body, flags=re.MULTILINE)
        for table, (owner, column) in COLUMNS.items():
            update = rf"UPDATE\s+{table}\b(?:\s+\w+)?\s+SET\b(.*?)(?=\bFROM\b|\bWHERE\b|\Z)"
            inserts = re.findall(rf"INSERT INTO\s+{table}\b[^(]*\(([^)]*)\)(.*)", sql, re.DOTALL)
            sets = [
                *re.findall(update, sql, re.DOTALL),
                *(rest.partition("DO UPDATE")[2].partition("SET")[2] for _, rest in inserts),
            ]
            if (
                any(re.search(rf"(?:\A|,)\s*(?:{column})\s*=", text) for text in sets)
                or any(re.search(rf"\b(?:{column})\b", columns) for columns, _ in inserts)
                or (table == "delivery_queue" and re.search(r"DELETE FROM\s+delivery_queue\b", sql))
            ):
                yield name, owner


FOUND = {
    f"{path.parent.relative_to(SERVICES)}/{name}": table
    for path in SERVICES.rglob("*.sql")
    for name, table in statements(path.read_text())
}


def bounds(rows: Rows) -> tuple[UUID, UUID]:
    return min(rows.ids), max(rows.ids)


async def claimed(world: World, rows: Rows) -> AsyncIterator[None]:
    await WorkerStore(world.pool, world.worker_settings()).claim(rows.ids)
    yield


async def pulled(world: World, rows: Rows) -> AsyncIterator[None]:
    await world.pool.fetch(pull.SQL["pull"], rows.subscription, len(rows.ids), TOKEN, 60.0, 1 << 20)
    yield


async def recorded(world: World, rows: Rows) -> AsyncIterator[None]:
    store = WorkerStore(world.pool, world.worker_settings())
    for status in DeliveryStatus:
        if status is not DeliveryStatus.IN_FLIGHT:
            await store.record([_outcome(rows, delivery_id, TOKEN, status) for delivery_id in rows.ids])
            yield
    await world.pool.execute("UPDATE delivery_queue SET expires_at = now()")
    outcomes = [_outcome(rows, delivery_id, TOKEN, DeliveryStatus.SCHEDULED) for delivery_id in rows.ids]
    await store.record(outcomes)
    yield


async def recorded_late(world: World, rows: Rows) -> AsyncIterator[None]:
    store = WorkerStore(world.pool, world.worker_settings())
    for kind in (AttemptOutcome.HTTP_5XX, AttemptOutcome.SUCCESS):
        lost = UUID(int=8)
        made = [_outcome(rows, delivery_id, lost, DeliveryStatus.DELIVERED, attempt(kind)) for delivery_id in rows.ids]
        await store.record(made)
        yield


def _outcome(rows: Rows, delivery_id: UUID, token: UUID, status: DeliveryStatus, *attempts: Attempt) -> Outcome:
    held = claim(id=delivery_id, token=token, subscription_id=rows.subscription)
    return Outcome(claim=held, status=status, attempts=attempts)


async def taken(world: World, rows: Rows) -> AsyncIterator[None]:
    await world.pool.fetch(dispatcher.SQL["take_due"], rows.ids, 5)
    yield


async def stored_again(world: World, rows: Rows) -> AsyncIterator[None]:
    """A call that is repeated, of which a worker would send the deliveries: its events are there already."""
    query = "SELECT e.*, d.id AS delivery_id FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id"
    found = await world.pool.fetch(query)
    events = [
        NewEvent(
            id=row["id"],
            tenant_id=row["tenant_id"],
            event_type=row["event_type"],
            content_type=row["content_type"],
            payload=row["payload"],
            deliveries=[(row["delivery_id"], rows.subscription, True)],
        )
        for row in found
    ]
    nobody: Any = None
    lease = Lease(worker=nobody, token=TOKEN, seconds=60, delivery_ids=rows.ids)
    await EventStore(world.pool, expiry_hours=1, key_hours=1).insert_events(events, hidden_seconds=10, lease=lease)
    assert not lease.rows
    yield


async def given_back(world: World, rows: Rows) -> AsyncIterator[None]:
    assert not await deliveries.mark_due(world.pool, rows.ids, token=UUID(int=8))
    yield
    await deliveries.mark_due(world.pool, rows.ids)
    yield
    assert len(await deliveries.mark_due(world.pool, rows.ids, token=TOKEN)) == 1
    yield


async def leases_expired(world: World, rows: Rows) -> AsyncIterator[None]:
    for most in (10, 1):
        tokens = [TOKEN for _ in rows.ids]
        await world.pool.fetch(dispatcher.SQL["expire_leases"], rows.ids, *bounds(rows), most, 60, tokens)
        yield


async def ended(world: World, rows: Rows) -> AsyncIterator[None]:
    for status in (DeliveryStatus.FAILED, DeliveryStatus.CANCELLED):
        async with world.pool.acquire() as connection:
            await deliveries.end_waiting(connection, rows.ids, status=status, reason=DeliveryReason.EXPIRED)
        yield
    async with world.pool.acquire() as connection:
        await deliveries.end_waiting(
            connection, rows.ids, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.ERASED, in_flight=True
        )
    yield


async def retried(world: World, rows: Rows) -> AsyncIterator[None]:
    for delivery_id in rows.ids:
        await world.pool.fetch(api.SQL["retry_deliveries"], [delivery_id], [0.0], 24, delivery_id, delivery_id, None)
        for status in ("failed", "cancelled"):
            listed = [[delivery_id], [rows.subscription], [status]]
            await world.pool.execute(api.SQL["unlist"], *listed, delivery_id, delivery_id)
    yield


async def health_recorded(world: World, rows: Rows) -> AsyncIterator[None]:
    for failures, probe, too_many in (
        (0, None, None), (1, None, None), (10, None, None), (1, None, "8 of 10"), (0, Probe.SUCCESS, None),
        (1, Probe.FAILURE, None),
    ):  # fmt: skip
        seen = [1 - bool(failures), failures, failures, probe, too_many, "500"]
        await world.pool.fetch(
            worker.SQL["record_health"], rows.ids, *([value for _ in rows.ids] for value in seen), 10, 10, 600
        )
        yield


async def probes_begun(world: World, rows: Rows) -> AsyncIterator[None]:
    await world.pool.fetch(dispatcher.SQL["begin_probes"], rows.ids, rows.ids, 45)
    yield


async def health_reset(world: World, rows: Rows) -> AsyncIterator[None]:
    for subscription_id in rows.ids:
        await world.pool.execute(ingest.SQL["reset_health"], subscription_id)
    yield


async def status_set(world: World, rows: Rows) -> AsyncIterator[None]:
    for status in SubscriptionState:
        for subscription_id in rows.ids:
            await world.pool.execute(ingest.SQL["set_status"], subscription_id, status, None)
        yield


async def verified(world: World, rows: Rows) -> AsyncIterator[None]:
    for subscription_id in rows.ids:
        await world.pool.fetch(worker.SQL["verify"], subscription_id, 1)
    yield


async def disabled(world: World, rows: Rows) -> AsyncIterator[None]:
    await world.pool.fetch(worker.SQL["disable"], rows.ids, ["gone" for _ in rows.ids], [1 for _ in rows.ids])
    yield


def pairs(*changes: Mapping[Any, frozenset[Any]]) -> Pairs:
    return {(before, after) for change in changes for before, afters in change.items() for after in afters}


BY_OWNER = frozenset(SubscriptionChange) - {SubscriptionChange.DISABLE_DEAD, SubscriptionChange.VERIFY}
CASES: dict[str, tuple[Run, Pairs]] = {
    "delivery/worker/claim": (claimed, pairs(DELIVERY_CHANGES[DeliveryChange.CLAIM])),
    "delivery/destinations/pull/pull": (pulled, pairs(DELIVERY_CHANGES[DeliveryChange.PULL])),
    "delivery/worker/record": (recorded, pairs(DELIVERY_CHANGES[DeliveryChange.RECORD])),
    "delivery/worker/settle_late": (recorded_late, pairs(DELIVERY_CHANGES[DeliveryChange.RECORD_LATE])),
    "delivery/worker/record_health": (health_recorded, pairs(BREAKER_CHANGES[BreakerChange.RECORD])),
    "delivery/worker/disable": (disabled, pairs(SUBSCRIPTION_CHANGES[SubscriptionChange.DISABLE_DEAD])),
    "delivery/worker/verify": (verified, pairs(SUBSCRIPTION_CHANGES[SubscriptionChange.VERIFY])),
    "delivery/dispatcher/take_due": (taken, pairs(DELIVERY_CHANGES[DeliveryChange.TAKE_DUE])),
    "delivery/dispatcher/expire_leases": (leases_expired, pairs(DELIVERY_CHANGES[DeliveryChange.EXPIRE_LEASE])),
    "delivery/dispatcher/begin_probes": (probes_begun, pairs(BREAKER_CHANGES[BreakerChange.BEGIN_PROBE])),
    "delivery/api/retry_deliveries": (retried, pairs(DELIVERY_CHANGES[DeliveryChange.RETRY])),
    "domain/mark_due": (given_back, pairs(DELIVERY_CHANGES[DeliveryChange.GIVE_BACK])),
    "domain/end_waiting": (
        ended,
        pairs(DELIVERY_CHANGES[DeliveryChange.END_WAITING], DELIVERY_CHANGES[DeliveryChange.ERASE]),
    ),
    "ingest/events/insert_events": (stored_again, set()),
    "ingest/subscriptions/set_status": (status_set, pairs(*(SUBSCRIPTION_CHANGES[change] for change in BY_OWNER))),
    "ingest/subscriptions/reset_health": (health_reset, pairs(BREAKER_CHANGES[BreakerChange.RESET])),
}


async def _reset(world: World, table: str, rows: Rows, states: Sequence[str]) -> None:
    """Set the rows to the states, due, and claimed like a row in flight, so that only the state protects a row."""
    if table == DELIVERIES:
        await world.pool.execute("DELETE FROM delivery_attempts")
        for delivery_id, state in zip(rows.ids, states, strict=True):
            await world.put(delivery_id, status=state, due_in=-1, token=TOKEN)
    elif table == SUBSCRIPTIONS:
        await world.pool.execute(
            "UPDATE subscriptions d SET status = s.status FROM unnest($1::uuid[], $2::text[]) AS s (id, status)"
            " WHERE d.id = s.id",
            rows.ids, states,
        )  # fmt: skip
    else:
        await world.pool.execute("DELETE FROM subscription_health")
        await world.pool.execute(
            "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
            " SELECT id, status, now() FROM unnest($1::uuid[], $2::text[]) AS s (id, status)",
            rows.ids, states,
        )  # fmt: skip


async def _made(world: World, table: str) -> tuple[Rows, list[str]]:
    if table == DELIVERIES:
        subscription = await world.subscription("http://127.0.0.1:1/")
        states: list[str] = list(DeliveryStatus)
        ids = await world.deliver_many(subscription, len(states))
        return Rows(ids=ids, subscription=subscription), states
    states = list(SubscriptionState if table == SUBSCRIPTIONS else BreakerState)
    ids = [await world.subscription("http://127.0.0.1:1/") for _ in states]
    return Rows(ids=ids, subscription=ids[0]), states


@pytest.mark.parametrize("name", CASES)
async def test_states_change_as_they_are_drawn(world: World, name: str) -> None:
    table = FOUND[name]
    run, drawn = CASES[name]
    rows, states = await _made(world, table)
    query = f"SELECT {SHOWN[table]} FROM {table}"
    before = dict(zip(rows.ids, states, strict=True))
    made: Pairs = set()
    await _reset(world, table, rows, states)
    async for _ in run(world, rows):
        found = {row["id"]: row["status"] for row in await world.pool.fetch(query)}
        made |= {(before[row_id], found[row_id]) for row_id in rows.ids if found[row_id] != before[row_id]}
        await world.agrees()
        await _reset(world, table, rows, states)
    assert made == drawn


def test_states_are_changed_by_no_other_statement() -> None:
    assert FOUND.keys() == CASES.keys()


def _drawn(changes: Mapping[Any, Changes[Any]]) -> set[StrEnum]:
    return {after for change in changes.values() for afters in change.values() for after in afters}


def test_states_can_all_be_reached() -> None:
    assert _drawn(DELIVERY_CHANGES) == set(DeliveryStatus)
    assert _drawn(BREAKER_CHANGES) == set(BreakerState)
    assert _drawn(SUBSCRIPTION_CHANGES) == set(SubscriptionState)
