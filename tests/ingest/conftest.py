"""Ingest servers in this process, on real stores, with a client on a real channel."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import grpc
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, ports
from dev.harness.keys import ENCRYPTION_KEY
from dev.harness.stores import Stores, as_runtime
from dev.harness.stores import running as stores_of_a_run
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc, subscriptions_pb2, subscriptions_pb2_grpc
from services.domain import doorbell
from services.domain.deliveries import Destination
from services.domain.filters.expression import OnError
from services.domain.secrets.signatures import SignatureScheme
from services.ingest.__main__ import serve
from services.ingest.quotas import rates
from services.ingest.settings import IngestSettings
from services.ingest.subscriptions import cache
from services.ingest.subscriptions.record import Draft, Kind, Spec
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from services.platform.process import lifecycle
from services.platform.stores import postgres as postgres_store
from services.platform.stores.postgres import Pool

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.ingest_pb2_grpc import IngestServiceAsyncStub
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub

CALL_SECONDS = 30.0
URL = "https://example.com/hook"
# Schemes of subscriptions without a secret.
UNSIGNED: dict[str, Any] = {"signature_scheme": subscriptions_pb2.SIGNATURE_SCHEME_NONE}
# Fields of requests that are not part of the spec.
_OWN = ("idempotency_key", "update_mask", "etags", "all_event_types", "merge_metadata", "merge_tag_paths")


class Ingest:
    """A client of one ingest server, for one tenant."""

    def __init__(self, channel: grpc.aio.Channel, pool: Pool, *, tenant_id: str = "default") -> None:
        self.channel = channel
        # A connection to inspect the rows.
        self.pool = pool
        self.tenant_id = tenant_id
        self.subscriptions: SubscriptionServiceAsyncStub = subscriptions_pb2_grpc.SubscriptionServiceStub(channel)
        self.events: IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)

    async def of(self, tenant_id: str) -> "Ingest":
        """Return the same client for another tenant, which is created."""
        await self.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1) ON CONFLICT (id) DO NOTHING", tenant_id)
        return Ingest(self.channel, self.pool, tenant_id=tenant_id)

    # -- subscriptions --

    async def create(self, target_url: str = URL, **fields: Any) -> subscriptions_pb2.Subscription:
        request = self.creation(target_url=target_url, **fields)
        return (await self.subscriptions.CreateSubscription(request, timeout=CALL_SECONDS)).subscription

    def creation(self, **fields: Any) -> subscriptions_pb2.CreateSubscriptionRequest:
        """Return the request for a subscription with these fields, of the request itself or of its spec."""
        return subscriptions_pb2.CreateSubscriptionRequest(tenant_id=self.tenant_id, **_with_spec(fields))

    def change(self, subscription_id: str, **fields: Any) -> subscriptions_pb2.UpdateSubscriptionRequest:
        """Return the same for an update."""
        return subscriptions_pb2.UpdateSubscriptionRequest(
            tenant_id=self.tenant_id, subscription_id=subscription_id, **_with_spec(fields)
        )

    async def set_status(
        self, subscription_id: str, action: "subscriptions_pb2.SubscriptionAction.ValueType"
    ) -> subscriptions_pb2.Subscription:
        request = subscriptions_pb2.SetSubscriptionStatusRequest(
            tenant_id=self.tenant_id, subscription_id=subscription_id, action=action
        )
        return (await self.subscriptions.SetSubscriptionStatus(request, timeout=CALL_SECONDS)).subscription

    async def get(self, subscription_id: str) -> subscriptions_pb2.Subscription:
        request = subscriptions_pb2.GetSubscriptionRequest(tenant_id=self.tenant_id, subscription_id=subscription_id)
        return (await self.subscriptions.GetSubscription(request, timeout=CALL_SECONDS)).subscription

    async def update(
        self, subscription_id: str, target_url: str = URL, **fields: Any
    ) -> subscriptions_pb2.Subscription:
        request = self.change(subscription_id, target_url=target_url, **fields)
        return (await self.subscriptions.UpdateSubscription(request, timeout=CALL_SECONDS)).subscription

    async def delete(self, subscription_id: str) -> int:
        request = subscriptions_pb2.DeleteSubscriptionRequest(tenant_id=self.tenant_id, subscription_id=subscription_id)
        answer = await self.subscriptions.DeleteSubscription(request, timeout=CALL_SECONDS)
        return answer.cancelled_deliveries

    async def page(
        self, page_size: int = 0, page_token: str = "", **labels: Any
    ) -> subscriptions_pb2.ListSubscriptionsResponse:
        request = subscriptions_pb2.ListSubscriptionsRequest(
            tenant_id=self.tenant_id, page_size=page_size, page_token=page_token, **labels
        )
        return await self.subscriptions.ListSubscriptions(request, timeout=CALL_SECONDS)

    # -- events --

    def item(self, subscription_id: str = "", **fields: Any) -> ingest_pb2.IngestItem:
        """Return an item for the subscription, or for all that match its type."""
        item = ingest_pb2.IngestItem(**{"tenant_id": self.tenant_id, "payload": b"{}", **fields})
        if subscription_id:
            item.subscription_id = subscription_id
        else:
            item.fan_out.SetInParent()
        return item

    async def send(self, subscription_id: str = "", **fields: Any) -> ingest_pb2.Accepted:
        return await self.send_item(self.item(subscription_id, **fields))

    async def send_item(self, item: ingest_pb2.IngestItem) -> ingest_pb2.Accepted:
        return (await self.events.Ingest(ingest_pb2.IngestRequest(item=item), timeout=CALL_SECONDS)).accepted

    async def batch(self, *items: ingest_pb2.IngestItem) -> list[ingest_pb2.IngestResult]:
        request = ingest_pb2.BatchIngestRequest(items=items)
        return list((await self.events.BatchIngest(request, timeout=CALL_SECONDS)).results)

    async def event(self, event_id: str) -> ingest_pb2.Event:
        request = ingest_pb2.GetEventRequest(tenant_id=self.tenant_id, event_id=event_id)
        return (await self.events.GetEvent(request, timeout=CALL_SECONDS)).event

    # -- rows --

    async def deliveries(self, event_id: str) -> list[asyncpg.Record]:
        """Return the deliveries of an event, and in how many seconds each is due."""
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT *, extract(epoch FROM due_at - now())::float AS due_in_seconds"
            " FROM deliveries WHERE event_id = $1 ORDER BY id",
            UUID(event_id),
        )
        return rows

    async def held_up(self) -> bool:
        """Return whether a statement waits for a lock. Not for use in a transaction, which would see old statistics."""
        waiting: bool = await self.pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return waiting

    async def in_turn(self, subscription_id: str, *changes: Awaitable[object]) -> list[errors.WebhookError | None]:
        """Return the errors of changes that find a subscription locked, and get it in their order once all wait."""
        tasks: list[asyncio.Future[object]] = []

        async def all_wait() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return bool(await self.pool.fetchval(waiting) == len(tasks))

        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", UUID(subscription_id))
            for change in changes:
                tasks.append(asyncio.ensure_future(change))
                await eventually(all_wait, "all changes to wait for the lock")
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [
            grpc_errors.from_rpc_error(answer) if isinstance(answer, grpc.aio.AioRpcError) else None
            for answer in answers
        ]

    async def count(self, table: str = "webhook_events") -> int:
        """Return the rows of a table that belong to the tenant."""
        number: int = await self.pool.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", self.tenant_id)
        return number


def draft(target_url: str = URL, **fields: Any) -> Draft:
    """Return a subscription's spec, with defaults for fields that are not named."""
    given: dict[str, Any] = dict.fromkeys(Spec.__struct_fields__)
    given |= {"target_url": target_url, "event_types": (), "description": "", "keep_when_disabled": True}
    given |= {"destination": Destination.HTTP, "relay_headers": False, "filter_on_error": OnError.DELIVER}
    given |= {"kind": Kind.NORMAL, "verification": Verification.AUTO, "signature_scheme": SignatureScheme.HMAC_SHA256}
    return Draft(**given | fields)


def _with_spec(fields: dict[str, Any]) -> dict[str, Any]:
    own = {name: fields.pop(name) for name in _OWN if name in fields}
    return {**own, "spec": subscriptions_pb2.SubscriptionSpec(**fields)}


@contextlib.asynccontextmanager
async def serving(database_url: str, redis_url: str, **settings: Any) -> AsyncIterator[Ingest]:
    """An ingest server that is ready, and a client of it."""
    process = lifecycle.Process("ingest")
    port = settings.pop("grpc_port", 0) or ports.free_port()
    stores = {"database_url": as_runtime(database_url), "redis_url": redis_url, "encryption_keys": ENCRYPTION_KEY}
    made = IngestSettings(**{**stores, "grpc_port": port, "metrics_port": 0, "_env_file": None, **settings})
    async with (
        asyncpg.create_pool(database_url, min_size=0, max_size=2) as pool,
        serve(process, made),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await eventually(lambda: is_ready(process), "the server to be ready")
        yield Ingest(channel, pool)
    await process.cancel_all()
    assert not process.failed


async def is_ready(process: lifecycle.Process) -> bool:
    """Return whether a process reports that it is ready."""
    return not await process.health.ready()


async def eventually(
    check: Callable[[], Awaitable[object]], what: str, timeout_seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until the check returns true."""
    untyped: Any = check  # mypy finds no T in wait_until for a coroutine function
    await wait_until(untyped, timeout_seconds, what=what)


async def refused(call: Awaitable[object]) -> errors.WebhookError:
    """Return a call's error, rebuilt from its typed details."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return grpc_errors.from_rpc_error(raised.value)


def fields(error: errors.WebhookError) -> list[str]:
    """Return the fields with errors."""
    return [violation.field for violation in error.violations]


def counted(name: str, **labels: str) -> float:
    """Return a sample of this process's metrics, which all servers of a test run share."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Let no slow response on a busy machine count as an outage of Redis."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doorbell, "RING_TIMEOUT_SECONDS", 10.0)
        patch.setattr(rates, "TIMEOUT_SECONDS", 10.0)
        patch.setattr(cache, "REDIS_TIMEOUT_SECONDS", 10.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _connecting_patiently() -> Iterator[None]:
    """Let a Postgres that takes long to accept a connection not be one that is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_store, "CONNECT_TIMEOUT_SECONDS", 10.0)
        yield


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest) -> Iterator[None]:
    """Be patient, except in tests that cause outages."""
    causes_outages = "breakable" in request.fixturenames or request.node.get_closest_marker("without_redis")
    with contextlib.nullcontext() if causes_outages else _patience():
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _shared(stores: Stores) -> AsyncIterator[Ingest]:
    with stores.database() as database_url:
        async with contextlib.AsyncExitStack() as stack:
            with _patience():
                running = await stack.enter_async_context(serving(database_url, stores.redis_url()))
            yield running


@pytest.fixture
async def ingest(_shared: Ingest) -> Ingest:
    """A server that all tests share, with a new tenant for this test."""
    return await _shared.of(f"test-{ids.new()}")


@pytest.fixture
async def alone(database: str, redis_url: str) -> AsyncIterator[Ingest]:
    """A server with new stores."""
    async with serving(database, redis_url) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Breakable:
    """Stores that a test may stop, and a database on them."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    database_url: str
    redis_url: str


@pytest.fixture(scope="session")
def _breakable() -> Iterator[Stores]:
    with stores_of_a_run() as running:
        yield running


@pytest.fixture
def breakable(_breakable: Stores) -> Iterator[Breakable]:
    """Yield stores to stop; those that are stopped are restarted afterwards."""
    postgres, valkey = _breakable.postgres, _breakable.valkey
    with _breakable.database() as database_url:
        yield Breakable(postgres=postgres, valkey=valkey, database_url=database_url, redis_url=_breakable.redis_url())
        for store in (postgres, valkey):
            if not store.running:
                store.start()


@contextlib.contextmanager
def frozen(valkey: EmbeddedValkey) -> Iterator[None]:
    """Valkey accepts connections and never responds."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
