"""Rows as ingest writes them, and the processes that deliver them, on a test's stores."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
import prometheus_client
import redis.asyncio

from dev.embedded import ports
from dev.harness import deliveries
from dev.harness.keys import ENCRYPTION_KEY, vault
from dev.harness.stores import as_runtime
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2_grpc
from services.delivery import __main__ as delivery
from services.delivery.api.store import DeliveryStore
from services.delivery.dispatcher.store import DispatcherStore
from services.delivery.settings import DeliverySettings, WorkerSettings
from services.delivery.worker import __main__ as worker
from services.delivery.worker.claims import Attempt, Claim
from services.delivery.worker.store import Sum
from services.domain.doorbell import IDS_PER_BELL, Ringer, Rung
from services.domain.egress.policy import Policy
from services.domain.notices import audit
from services.domain.secrets.vault import Secret
from services.domain.states import AttemptOutcome
from services.ingest.subscriptions import store as ingest
from services.platform import errors, ids
from services.platform.grpc import client as grpc_client
from services.platform.process import lifecycle
from services.platform.stores.postgres import Pool

# The class exists only in the type stubs.
Client: TypeAlias = "deliveries_pb2_grpc.DeliveryServiceAsyncStub"
FINAL = {"delivered", "failed", "cancelled"}
LOOPBACK = Policy.parse(["127.0.0.0/8", "::1/128"])
# Fast, and complete, so that the environment does not matter.
SETTINGS: dict[str, Any] = {
    "env": "development",
    "encryption_keys": ENCRYPTION_KEY,
    "postgres_pool_size": 8,
    "lease_seconds": 60.0,
    "delivery_expiry_hours": 168,
    "shutdown_grace_seconds": 8.0,
}


WORKER_SETTINGS: dict[str, Any] = {
    "worker_concurrency": 64,
    "retry_limit": 5,
    "retry_base_seconds": 0.2,
    "retry_factor": 2.0,
    "retry_cap_seconds": 3600.0,
    "retry_jitter": 0.1,
    "retry_after_cap_seconds": 3600.0,
    # Long enough for any request on a busy machine; a subscription that shall time out gets a timeout of its own.
    "delivery_timeout_seconds": 15.0,
    "max_response_bytes": 64 << 10,
    "stored_response_bytes": 4 << 10,
    "claimed_payload_bytes": 64 << 10,
    "large_payload_budget_bytes": 64 << 20,
}
# For receivers that hang until a test lets them go: no request times out before, however busy the machine is.
PATIENT: dict[str, Any] = {"delivery_timeout_seconds": 600.0, "lease_seconds": 700.0}


@dataclass(frozen=True, kw_only=True)
class World:
    """Stores, rows in them, and processes on them."""

    pool: Pool
    database_url: str
    redis_url: str
    tenant_id: str = "default"
    _ports: list[int] = field(default_factory=list)

    # -- rows --

    async def clear(self) -> None:
        """Delete all rows; this takes a tenth of the time of a new database."""
        for table in (
            "operational_facts", "exhausted_deliveries", "due_subscriptions", "delivery_queue",
            "unsuccessful_deliveries", "delivery_attempts", "webhook_deliveries", "event_tags", "webhook_events",
            "unattempted_ends", "subscription_health", "endpoint_checks", "endpoint_tests", "subscription_pulls",
            "subscriptions", "job_chunks", "jobs", "job_previews", "idempotency_keys",
        ):  # fmt: skip
            await self.pool.execute(f"DELETE FROM {table}")
        async with redis.asyncio.Redis.from_url(self.redis_url) as client:
            await client.flushdb()

    async def subscription(
        self,
        target_url: str = "",
        *,
        secret_key: str | None = None,
        deleted: bool = False,
        timeout_seconds: float | None = None,
        delays_seconds: Sequence[float] | None = None,
    ) -> UUID:
        """Create a subscription, one that is pulled from without a target; with delays, these are its retry policy."""
        made = ids.new()
        sealed = vault().seal(made, [Secret(secret_key)]) if secret_key else None
        await self.pool.execute(
            "INSERT INTO subscriptions (id, tenant_id, target_url, sealed_secrets, timeout_seconds, deleted_at,"
            " retry_policy, destination) VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END,"
            " CASE WHEN $7::float8[] IS NOT NULL THEN jsonb_build_object('delays_seconds', $7::float8[]) END, $8)",
            made, self.tenant_id, target_url, sealed, timeout_seconds, deleted, delays_seconds,
            "http" if target_url else "pull",
        )  # fmt: skip
        return made

    async def deliver(
        self,
        subscription_id: UUID,
        payload: bytes = b"{}",
        *,
        event_type: str | None = None,
        content_type: str = "application/json",
        due_in: float = 0.0,
        expires_in: float = 3600.0,
        status: str = "pending",
    ) -> UUID:
        """Create an event and its delivery, due in this many seconds; return the delivery's id."""
        event_id = ids.new()
        delivery_id = ids.of_delivery(event_id, subscription_id)
        await self.pool.execute(
            "INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload) VALUES ($1, $2, $3, $4, $5)",
            event_id, self.tenant_id, event_type, content_type, payload,
        )  # fmt: skip
        await deliveries.insert(
            self.pool, [(delivery_id, event_id)], subscription_id=subscription_id, tenant_id=self.tenant_id,
            event_type=event_type, status=status, due_in=due_in, expires_in=expires_in,
        )  # fmt: skip
        return delivery_id

    async def put(
        self,
        *delivery_ids: UUID,
        status: str,
        reason: str | None = None,
        due_in: float = 0.0,
        token: UUID | None = None,
    ) -> None:
        """Put deliveries into a state, in the queue and in history, whatever they were in."""
        await deliveries.put(self.pool, *delivery_ids, status=status, reason=reason, due_in=due_in, token=token)

    async def agrees(self) -> None:
        """Assert that exactly the pending ones of history are in the queue, and the unsuccessful ones are listed."""
        assert await self.pool.fetch("SELECT * FROM deliveries WHERE queued <> (history = 'pending')") == []
        assert (
            await self.pool.fetch("SELECT delivery_id FROM delivery_queue EXCEPT SELECT id FROM webhook_deliveries")
            == []
        )
        assert (
            await self.pool.fetch(
                "SELECT id, subscription_id, status FROM webhook_deliveries WHERE status IN ('failed', 'cancelled')"
                " EXCEPT SELECT id, subscription_id, status FROM unsuccessful_deliveries"
            )
            == await self.pool.fetch(
                "SELECT id, subscription_id, status FROM unsuccessful_deliveries"
                " EXCEPT SELECT id, subscription_id, status FROM webhook_deliveries"
            )
            == []
        )

    async def deliver_many(self, subscription_id: UUID, number: int, *, due_in: float = 0.0) -> list[UUID]:
        """Create this many events, with a delivery each."""
        event_ids = [ids.new() for _ in range(number)]
        delivery_ids = [ids.of_delivery(event_id, subscription_id) for event_id in event_ids]
        await self.pool.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload)"
            " SELECT id, $2, 'application/json', '{}' FROM unnest($1::uuid[]) AS id",
            event_ids, self.tenant_id,
        )  # fmt: skip
        pairs = list(zip(delivery_ids, event_ids, strict=True))
        await deliveries.insert(
            self.pool, pairs, subscription_id=subscription_id, tenant_id=self.tenant_id, due_in=due_in
        )
        return delivery_ids

    async def lease(self, delivery_id: UUID, *, seconds: float, token: UUID | None = None) -> UUID:
        """Put a delivery into the hands of a worker that may live or not; the claim's token.

        The dispatcher looks at it when its lease ends.
        """
        token = token or ids.new()
        await self.pool.execute(
            "UPDATE delivery_queue SET claim_token = $2, scheduled = false, lease_until = now() + $3::interval,"
            " due_at = now() + $3::interval WHERE delivery_id = $1",
            delivery_id, token, timedelta(seconds=seconds),
        )  # fmt: skip
        return token

    async def set(self, delivery_id: UUID, **columns: Any) -> None:
        """Change columns of an unfinished delivery's row in the queue."""
        for name, value in columns.items():
            await self.pool.execute(f"UPDATE delivery_queue SET {name} = $2 WHERE delivery_id = $1", delivery_id, value)

    async def delete_subscription(self, subscription_id: UUID) -> None:
        """Mark a subscription deleted, as ingest does first."""
        await self.pool.execute("UPDATE subscriptions SET deleted_at = now() WHERE id = $1", subscription_id)

    async def change_target(self, subscription_id: UUID, target_url: str) -> None:
        """Give a subscription another endpoint, as ingest does."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(ingest.SQL["begin_endpoint"], subscription_id)
            await connection.execute(
                "UPDATE subscriptions SET target_url = $2 WHERE id = $1", subscription_id, target_url
            )

    def store(self) -> DeliveryStore:
        """Return what the API asks of Postgres."""
        return DeliveryStore(self.pool, expiry_hours=168, retention_hours=72, recovery_hours=72, max_waiting=1_000_000)

    def dispatcher_store(self) -> DispatcherStore:
        """Return what the dispatcher asks of Postgres."""
        return DispatcherStore(self.pool, lease_seconds=60, policy=self.worker_settings().retry_policy)

    async def retry(self, delivery_id: UUID) -> None:
        """Retry a delivery by hand, without a bell."""
        (result,) = await self.store().retry(
            self.tenant_id, [delivery_id], actor=audit.SYSTEM, may_ring=lambda _: False
        )
        if isinstance(result, errors.WebhookError):
            raise result

    async def drop_payload(self, delivery_id: UUID) -> None:
        """Delete the event of a delivery, as retention does."""
        event_id = (await self.row(delivery_id))["event_id"]
        await self.pool.execute("DELETE FROM webhook_events WHERE id = $1", event_id)

    async def row(self, delivery_id: UUID) -> asyncpg.Record:
        """Return a delivery as it is now."""
        row: asyncpg.Record | None = await self.pool.fetchrow(
            "SELECT *, due_at <= clock_timestamp() AS due FROM deliveries WHERE id = $1", delivery_id
        )
        assert row
        return row

    async def attempts(self, delivery_id: UUID) -> list[asyncpg.Record]:
        """Return its attempts, oldest first."""
        query = "SELECT * FROM delivery_attempts WHERE delivery_id = $1 ORDER BY number"
        rows: list[asyncpg.Record] = await self.pool.fetch(query, delivery_id)
        return rows

    async def unattempted_ends(self) -> list[tuple[UUID, str | None, str, int]]:
        """Return what the statistics are told of deliveries that ended without an attempt, summed up."""
        rows = await self.pool.fetch(
            "SELECT subscription_id, event_type, status, sum(deliveries)::int FROM unattempted_ends GROUP BY 1, 2, 3"
        )
        return [tuple(row) for row in rows]

    async def statuses(self, subscription_id: UUID) -> dict[str, int]:
        """Return the number of a subscription's deliveries by status."""
        query = "SELECT status, count(*) FROM deliveries WHERE subscription_id = $1 GROUP BY 1"
        return {row["status"]: row["count"] for row in await self.pool.fetch(query, subscription_id)}

    async def in_state(self, delivery_id: UUID, *statuses: str) -> asyncpg.Record:
        """Wait until a delivery has one of these statuses (by default, a final one) and return it."""
        wanted = set(statuses) or FINAL

        async def found() -> asyncpg.Record | None:
            row = await self.row(delivery_id)
            return row if row["status"] in wanted else None

        untyped: Any = found  # mypy finds no T in wait_until for a coroutine function
        row: asyncpg.Record = await wait_until(untyped, what=f"a state of {wanted}")
        return row

    async def all_in(self, subscription_id: UUID, status: str, number: int) -> None:
        """Wait until this many deliveries of a subscription, and no others, have a status."""

        async def found() -> bool:
            return await self.statuses(subscription_id) == {status: number}

        await until_true(found, f"{number} deliveries to be {status}")

    # -- processes --

    def delivery_settings(self, **changes: Any) -> DeliverySettings:
        """Settings of a delivery service on these stores."""
        stores = {"database_url": as_runtime(self.database_url), "redis_url": self.redis_url}
        return DeliverySettings(**{**SETTINGS, **stores, "grpc_port": ports.free_port(), **changes})

    def worker_settings(self, **changes: Any) -> WorkerSettings:
        """Settings of a worker on these stores. The timeout may be longer than an operator's may."""
        stores = {"database_url": as_runtime(self.database_url), "redis_url": self.redis_url}
        wanted = {**SETTINGS, **WORKER_SETTINGS, **stores, **changes}
        timeout = wanted["delivery_timeout_seconds"]
        made = WorkerSettings(**{**wanted, "delivery_timeout_seconds": min(timeout, 30.0)})
        return made.model_copy(update={"delivery_timeout_seconds": timeout})

    @contextlib.asynccontextmanager
    async def delivery(self, **changes: Any) -> AsyncIterator[Client]:
        """Run a delivery service with its dispatcher; yield a client of it."""
        settings = self.delivery_settings(**changes)
        async with (
            self.delivery_process(settings),
            grpc_client.channel(f"127.0.0.1:{settings.grpc_port}") as channel,
        ):
            stub: Any = deliveries_pb2_grpc.DeliveryServiceStub(channel)
            yield stub

    @contextlib.asynccontextmanager
    async def delivery_process(self, settings: DeliverySettings) -> AsyncIterator[lifecycle.Process]:
        """Run a delivery service with its dispatcher."""
        async with _running(lifecycle.Process("delivery")) as process, delivery.serve(process, settings):
            yield process

    @contextlib.asynccontextmanager
    async def worker(self, *, policy: Policy = LOOPBACK, **changes: Any) -> AsyncIterator[lifecycle.Process]:
        """Run a worker."""
        async with (
            _running(lifecycle.Process("worker")) as process,
            worker.serve(process, self.worker_settings(**changes), policy=policy),
        ):
            yield process

    @contextlib.asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Client]:
        """Run a delivery service and a worker; yield a client of the former."""
        async with self.delivery() as client, self.worker(**changes):
            yield client


@contextlib.asynccontextmanager
async def _running(process: lifecycle.Process) -> AsyncIterator[lifecycle.Process]:
    """End the tasks of a process, and fail the test if one of them died."""
    try:
        yield process
    finally:
        await process.cancel_all()
    assert not process.failed, "a background task died"


@contextlib.asynccontextmanager
async def opened(database_url: str, redis_url: str) -> AsyncIterator[World]:
    """Return a world on these stores."""
    async with asyncpg.create_pool(database_url, min_size=0, max_size=8) as pool:
        yield World(pool=pool, database_url=database_url, redis_url=redis_url)


async def until_true(predicate: Callable[[], Any], what: str) -> None:
    """Wait until a plain or async predicate returns something true; mypy finds no T in wait_until for an async one."""
    await wait_until(predicate, what=what)


class Counted:
    """The growth of a metric since this was created."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name = name
        self._labels = labels
        self._before = self.now(name, **labels)

    def __call__(self) -> float:
        """Return the growth."""
        return self.now(self._name, **self._labels) - self._before

    @staticmethod
    def now(name: str, **labels: str) -> float:
        """Return the current value of the metric."""
        return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


def numbers(rows: Sequence[asyncpg.Record]) -> list[int]:
    """Return the numbers of attempts."""
    return [row["number"] for row in rows]


def outcomes(rows: Sequence[asyncpg.Record]) -> list[str]:
    """Return the outcomes of attempts."""
    return [row["outcome"] for row in rows]


# Rings for deliveries as ingest does.


# Rung and not yet due, as what ingest stores when it rings; for so long that a busy machine is far from the end of it.
RUNG = 600.0


async def ring(ringer: Ringer, *delivery_ids: UUID, subscription: UUID | None = None) -> None:
    """Ring a bell for each 64 of the ids; those of nothing are rung for as if they were of a subscription.

    Their own is looked up, unless it is said.
    """
    if subscription is None:
        query = "SELECT id, subscription_id FROM webhook_deliveries WHERE id = ANY($1)"
        owners = {row["id"]: row["subscription_id"] for row in await ringer._pool.fetch(query, delivery_ids)}
    else:
        owners = dict.fromkeys(delivery_ids, subscription)
    rung = [Rung(owners.get(delivery_id, UUID(int=0)), delivery_id) for delivery_id in delivery_ids]
    for start in range(0, len(rung), IDS_PER_BELL):
        bell = rung[start : start + IDS_PER_BELL]
        await until_true(partial(ringer.try_ring, bell), "a bell to be rung")


async def heard_one(world: World, ringer: Ringer, subscription: UUID) -> None:
    """Wait until the worker receives bells: from then on it does not poll Postgres."""
    delivery_id = await world.deliver(subscription, due_in=RUNG)
    await ring(ringer, delivery_id)
    await world.in_state(delivery_id)


# Claims for unit tests.


_EVENT, _SUBSCRIPTION = UUID("01890a5d-ac96-774b-8cce-b302099a8057"), UUID(int=2)
CLAIM = Claim(
    id=ids.of_delivery(_EVENT, _SUBSCRIPTION),
    token=UUID(int=1),
    event_id=_EVENT,
    subscription_id=_SUBSCRIPTION,
    tenant_id="default",
    event_type="order.created",
    number=1,
    failures=0,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    claimed_at=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
    claimed_monotonic=100.0,
    expired=False,
    deleted=False,
    held_by=None,
    probe=False,
    failing=False,
    timeout_seconds=None,
    retry_policy=None,
    endpoint_version=1,
    target_url="https://receiver.example/hook",
    sealed_secrets=None,
    sealed_headers=None,
    sealed_client_certificate=None,
    content_type="application/json",
    payload_bytes=2,
    payload=b"{}",
)


def claim(**changes: Any) -> Claim:
    """Return a claim that differs from CLAIM by these fields."""
    return msgspec.structs.replace(CLAIM, **changes)


def attempt(
    outcome: str, of: Claim = CLAIM, *, status_code: int | None = None, error_message: str | None = None
) -> Attempt:
    """Return an attempt of a claim with this outcome."""
    return Attempt(
        started_at=of.claimed_at,
        duration_ms=1,
        status_code=status_code,
        outcome=AttemptOutcome(outcome),
        error_message=error_message,
        response_body=None,
    )


def one_failure(subscription_id: UUID, **changes: Any) -> Sum:
    """Return one failure of an endpoint, as a worker counts it."""
    seen = Sum(
        subscription_id=subscription_id,
        endpoint_version=1,
        successes=0,
        failures=1,
        unbroken=1,
        probe=None,
        gone=False,
        too_many=None,
        last_error="the receiver responded with 500",
    )
    return msgspec.structs.replace(seen, **changes)
