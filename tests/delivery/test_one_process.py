"""Each role is a module with settings and serve(process, settings): all of them run in one process.

There ingest hands new deliveries over to the worker, which neither hears of them nor claims them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import httpx
import msgspec
import pytest

from dev.embedded import ports
from dev.harness.keys import ENCRYPTION_KEY
from dev.harness.receiver import Receiver, Reply
from dev.harness.stores import as_runtime
from dev.harness.waiting import wait_until
from services.analytics import __main__ as analytics
from services.analytics.settings import AnalyticsSettings
from services.delivery import __main__ as delivery
from services.delivery.worker import __main__ as worker
from services.delivery.worker.claims import Claim
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.domain.deliveries import Lease, Leased
from services.gateway import __main__ as gateway
from services.gateway.settings import GatewaySettings
from services.ingest import __main__ as ingest
from services.ingest.events import committer
from services.ingest.events.records import NewEvent, Result
from services.ingest.events.store import EventStore
from services.ingest.settings import IngestSettings
from services.platform import errors, ids
from services.platform.process import lifecycle
from services.platform.process.whole import Whole
from tests.delivery.world import LOOPBACK, PATIENT, Counted, World, until_true
from tests.ingest.conftest import Ingest


async def test_process_with_all_roles_accepts_and_delivers_a_webhook(world: World, receiver: Receiver) -> None:
    whole = Whole(("ingest", "delivery", "worker", "analytics", "gateway"), servers=3)
    of = {role: lifecycle.Process(role, whole=whole) for role in whole.roles}
    port, ingest_port, analytics_port = ports.free_port(), ports.free_port(), ports.free_port()
    of_delivery = world.delivery_settings()
    stores: dict[str, Any] = {"env": "development", "database_url": world.database_url}
    async with contextlib.AsyncExitStack() as stack:
        for serving in (
            ingest.serve(
                of["ingest"],
                IngestSettings(
                    **stores, redis_url=world.redis_url, grpc_port=ingest_port, encryption_keys=ENCRYPTION_KEY
                ),
            ),
            delivery.serve(of["delivery"], of_delivery),
            worker.serve(of["worker"], world.worker_settings()),
            analytics.serve(of["analytics"], AnalyticsSettings(**stores, grpc_port=analytics_port)),
            gateway.serve(
                of["gateway"],
                GatewaySettings(
                    env="development",
                    port=port,
                    ingest_addr=f"127.0.0.1:{ingest_port}",
                    delivery_addr=f"127.0.0.1:{of_delivery.grpc_port}",
                    analytics_addr=f"127.0.0.1:{analytics_port}",
                ),
            ),
        ):
            await stack.enter_async_context(serving)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        )

        async def is_ready() -> bool:
            failures, degraded = await whole.health.state()
            return not failures and not degraded

        await wait_until(is_ready, what="readiness of all roles")
        made = await http.post("/api/v1/subscriptions", json={"target_url": receiver.url()})
        assert made.status_code == 201, made.text
        accepted = await http.post(f"/api/v1/webhooks/ingest/{made.json()['id']}", json={"order": 1})
        assert accepted.status_code == 202, accepted.text
        (request,) = await receiver.wait_for(1)
        assert request.headers["webhook-id"] == accepted.json()["delivery_id"]
        # The statistics of the fifth role, over the fourth channel.
        assert (await http.get("/api/v1/stats")).status_code == 200
    await whole.cancel_all()
    assert not whole.failed


# -- handing over --

MANY_SLOTS: dict[str, Any] = {**PATIENT, "worker_concurrency": 64}


@dataclass(kw_only=True)
class Together:
    """Ingest and a worker in one process, and a delivery service in another."""

    client: Ingest
    worker: contextlib.AsyncExitStack
    # Of the deliveries since the start: handed over, and rung for.
    handed_over: Counted
    rung: Counted

    async def send(self, subscription: UUID, **fields: Any) -> UUID:
        """Send an event to a subscription; return its delivery."""
        return UUID((await self.client.send(str(subscription), **fields)).delivery_id)


@contextlib.asynccontextmanager
async def together(world: World, **changes: Any) -> AsyncIterator[Together]:
    whole = Whole(("ingest", "worker"))
    of_ingest, of_worker = (lifecycle.Process(role, whole=whole) for role in whole.roles)
    settings = IngestSettings(
        env="development",
        database_url=as_runtime(world.database_url),
        redis_url=world.redis_url,
        encryption_keys=ENCRYPTION_KEY,
        grpc_port=ports.free_port(),
    )
    async with (
        world.delivery(),
        ingest.serve(of_ingest, settings),
        contextlib.AsyncExitStack() as stack,
        grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel,
    ):
        await stack.enter_async_context(worker.serve(of_worker, world.worker_settings(**changes), policy=LOOPBACK))

        async def is_ready() -> bool:
            return not (await whole.health.state())[0]

        await wait_until(is_ready, what="readiness of both roles")
        yield Together(
            client=Ingest(channel, world.pool, tenant_id=world.tenant_id),
            worker=stack,
            handed_over=Counted("webhook_worker_ids_total", source="ingest"),
            rung=Counted("webhook_deliveries_rung_total"),
        )
    await whole.cancel_all()
    assert not whole.failed


async def test_a_delivery_is_handed_over_without_a_doorbell_and_without_a_claim(
    world: World, receiver: Receiver
) -> None:
    receiver.script(Reply(hang=True), then=200)
    subscription = await world.subscription(receiver.url(), secret_key="whsec_c2VjcmV0")
    async with together(world, **MANY_SLOTS) as running:
        delivery_id = await running.send(subscription, event_type="order.created", payload=b'{"n": 1}')
        (request,) = await receiver.wait_for(1)
        assert (await world.row(delivery_id))["status"] == "in_flight"
        # No statement has changed its row since the one that stored its event.
        assert await world.pool.fetchval(
            "SELECT q.xmin = e.xmin FROM delivery_queue q JOIN webhook_events e ON e.id = q.event_id"
        )
        receiver.release()
        await world.in_state(delivery_id, "delivered")
    assert (running.handed_over(), running.rung()) == (1, 0)
    assert request.headers["webhook-id"] == str(delivery_id)
    assert request.headers["content-type"] == "application/json"
    assert "webhook-signature" in request.headers
    assert request.body == b'{"n": 1}'
    (attempt,) = await world.attempts(delivery_id)
    assert (attempt["number"], attempt["outcome"], attempt["final"]) == (1, "success", True)
    await world.agrees()


async def test_a_delivery_that_was_handed_over_is_retried_and_counted_like_any_other(
    world: World, receiver: Receiver
) -> None:
    receiver.script(500, then=200)
    subscription = await world.subscription(receiver.url())
    failed = Counted("webhook_attempts_total", outcome="http_5xx")
    ended = Counted("webhook_deliveries_ended_total", status="delivered")
    claimed = Counted("webhook_worker_claims_total")
    async with together(world) as running:
        delivery_id = await running.send(subscription, idempotency_key="a key")
        await world.in_state(delivery_id, "delivered")
        assert await running.send(subscription, idempotency_key="a key") == delivery_id
        await wait_until(lambda: ended() == 1, what="the end to be counted")
    assert [attempt["status_code"] for attempt in await world.attempts(delivery_id)] == [500, 200]
    assert (running.handed_over(), failed(), claimed()) == (1, 1, 2)
    assert len(receiver.requests) == 2


async def test_what_is_handed_over_is_what_a_claim_would_return(world: World) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/", secret_key="whsec_c2VjcmV0", timeout_seconds=3.0)
    await world.pool.execute(
        "UPDATE subscriptions SET retry_policy = jsonb_build_object('retry_limit', 3), sealed_headers = 'x',"
        " sealed_client_certificate = 'y', endpoint_version = 7, relay_headers = true,"
        " template = '{}'"
    )
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, failing_since) VALUES ($1, now())", subscription
    )
    event_id = ids.new()
    event = NewEvent(
        id=event_id,
        tenant_id=world.tenant_id,
        event_type="order.created",
        content_type="text/plain",
        content_encoding="gzip",
        payload=b"payload",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        deliveries=[(ids.of_delivery(event_id, subscription), subscription, True)],
        sender_context='{"headers": {"X-GitHub-Event": "push"}}',
    )
    delivery_id = event.deliveries[0][0]
    nobody: Any = None
    lease = Lease(worker=nobody, token=ids.new(), seconds=60, delivery_ids=[delivery_id])
    await EventStore(world.pool, expiry_hours=1, key_hours=1).insert_events([event], hidden_seconds=10, lease=lease)
    store = WorkerStore(world.pool, world.worker_settings())
    (handed_over,) = store.claims(lease, [Leased(row, event) for row in lease.rows])
    assert handed_over.token == lease.token
    assert await deliveries.mark_due(world.pool, [delivery_id], token=lease.token) == {delivery_id}
    (claimed,) = await store.claim([delivery_id])
    times = {"token": None, "claimed_at": None, "claimed_monotonic": 0.0}
    assert msgspec.structs.replace(handed_over, **times) == msgspec.structs.replace(claimed, **times)
    assert all(
        getattr(handed_over, name) not in (None, False)
        for name in Claim.__struct_fields__
        if name not in ("expired", "deleted", "held_by", "probe", "failures", "erased")
    )


HELD = {
    "paused": "UPDATE subscriptions SET status = 'paused' WHERE id = $1",
    "disabled": "UPDATE subscriptions SET status = 'disabled' WHERE id = $1",
    "unverified": "UPDATE subscriptions SET status = 'unverified' WHERE id = $1",
    "deleted": "UPDATE subscriptions SET deleted_at = now() WHERE id = $1",
    "limited": "UPDATE subscriptions SET rate_limit_per_second = 1000 WHERE id = $1",
    "breaker open": "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
    " VALUES ($1, 'open', now() + interval '1 hour')",
    "breaker half open": "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
    " VALUES ($1, 'half_open', now() + interval '1 hour')",
}


@pytest.mark.parametrize("how", HELD)
async def test_what_is_held_when_it_is_stored_goes_by_doorbell(world: World, receiver: Receiver, how: str) -> None:
    """Postgres decides, for what ingest knows of the subscription may be old."""
    subscription = await world.subscription(receiver.url())
    async with together(world) as running:
        await world.in_state(await running.send(subscription), "delivered")
        await world.pool.execute(HELD[how], subscription)
        delivery_id = await running.send(subscription)
        await wait_until(lambda: running.rung() >= 1, what="a bell")
        expected = {"limited": "delivered", "deleted": "cancelled"}.get(how, "pending")
        await world.in_state(delivery_id, expected)
    assert running.handed_over() == 1
    assert len(receiver.requests) == 1 + (how == "limited")


@pytest.mark.parametrize(
    "bound",
    [{"tenant_concurrency": 2}, {"target_host_concurrency": 3}, {"worker_concurrency": 3}],
    ids=["of its tenant", "of its host", "of the worker"],
)
async def test_what_is_over_a_bound_is_not_handed_over(world: World, receiver: Receiver, bound: dict[str, int]) -> None:
    receiver.script(then=Reply(hang=True))
    subscription = await world.subscription(receiver.url())
    (number,) = bound.values()
    async with together(world, **{**MANY_SLOTS, **bound}) as running:
        for _ in range(number + 2):
            await running.send(subscription)
        await wait_until(lambda: running.rung() + running.handed_over() >= number + 2, what="all to be sent or rung")
        assert 0 < running.handed_over() <= number
        assert receiver.max_in_flight <= number
        assert (await world.statuses(subscription))["in_flight"] <= number
        receiver.release()
        await world.all_in(subscription, "delivered", number + 2)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests)


async def test_a_small_fan_out_is_handed_over_and_a_large_one_goes_by_doorbell(
    world: World, receiver: Receiver
) -> None:
    many = committer.MAX_HANDED_OVER + 1
    for _ in range(3):
        await world.subscription(receiver.url("/few"))
    async with together(world) as running:
        await running.client.send(event_type="order.created")
        await receiver.wait_for(3)
        assert (running.handed_over(), running.rung()) == (3, 0)
        made = [await running.client.create(receiver.url("/many")) for _ in range(many - 3)]
        await running.client.send(event_type="order.created")
        await receiver.wait_for(3 + many)
        assert (running.handed_over(), running.rung()) == (3, many)
        for one in made:
            await world.all_in(UUID(one.id), "delivered", 1)


@contextlib.asynccontextmanager
async def held_up(world: World, event_id: UUID) -> AsyncIterator[None]:
    """Let a statement that stores an event wait, and go on when this ends."""
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload) VALUES ($1, $2, '', '')",
            event_id,
            world.tenant_id,
        )
        yield
        await connection.execute("DELETE FROM webhook_events WHERE id = $1", event_id)


async def is_held_up(world: World) -> bool:
    return bool(await world.pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def test_a_worker_that_stops_waits_for_what_is_being_stored(world: World, receiver: Receiver) -> None:
    subscription, event_id = await world.subscription(receiver.url()), ids.new()
    async with together(world, **MANY_SLOTS) as running:
        async with held_up(world, event_id):
            sending = asyncio.create_task(running.send(subscription, event_id=str(event_id)))
            await until_true(lambda: is_held_up(world), "the event to wait")
            stopping = asyncio.create_task(running.worker.aclose())
            await asyncio.sleep(0)
            assert not stopping.done()
        await stopping
        await world.in_state(await sending, "delivered")
    assert (running.handed_over(), running.rung(), len(receiver.requests)) == (1, 0, 1)


async def test_what_is_stored_after_the_worker_has_stopped_is_given_back(world: World, receiver: Receiver) -> None:
    subscription, event_id = await world.subscription(receiver.url()), ids.new()
    async with together(world, **MANY_SLOTS) as running:
        async with held_up(world, event_id):
            sending = asyncio.create_task(running.send(subscription, event_id=str(event_id)))
            await until_true(lambda: is_held_up(world), "the event to wait")
            await running.worker.aclose()
        delivery_id = await sending
        # The dispatcher may have rung for it already.
        await world.in_state(delivery_id, "pending")
        assert not receiver.requests
        # What is new is not even reserved.
        other = await running.send(subscription)
        async with world.worker():
            await world.in_state(delivery_id, "delivered")
            await world.in_state(other, "delivered")
    assert len(await world.attempts(delivery_id)) == 1
    assert running.handed_over() == 0


@pytest.mark.parametrize("is_late", [False, True], ids=["before its error", "after its error"])
async def test_an_event_of_an_unknown_outcome_is_sent_once_and_before_its_lease_ends(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    """Its commit has an effect before or after the connection is lost."""
    insert, later = EventStore.insert_events, asyncio.Event()
    left: list[asyncio.Task[list[Result]]] = []

    async def lost(self: EventStore, events: Sequence[NewEvent], **others: Any) -> list[Result]:
        async def store() -> list[Result]:
            if is_late:
                await later.wait()
            return await insert(self, events, **others)

        monkeypatch.undo()
        left.append(asyncio.create_task(store()))
        if not is_late:
            await left[0]
        raise errors.OutcomeUnknown("the connection was lost")

    subscription, event_id = await world.subscription(receiver.url()), ids.new()
    async with together(world, **MANY_SLOTS) as running:
        monkeypatch.setattr(EventStore, "insert_events", lost)
        with pytest.raises(grpc.aio.AioRpcError):
            await running.send(subscription, event_id=str(event_id))
        later.set()
        await left[0]
        # What the gateway does next.
        delivery_id = await running.send(subscription, event_id=str(event_id))
        await world.in_state(delivery_id, "delivered")
        # Its slot is free again, and so the next one is handed over.
        await world.in_state(await running.send(subscription), "delivered")
    assert len(await world.attempts(delivery_id)) == 1
    assert (running.handed_over(), len(receiver.requests)) == (1, 2)


async def test_an_event_whose_caller_went_away_is_sent_once(world: World, receiver: Receiver) -> None:
    subscription, event_id = await world.subscription(receiver.url()), ids.new()
    async with together(world, **MANY_SLOTS) as running:
        async with held_up(world, event_id):
            sending = asyncio.create_task(running.send(subscription, event_id=str(event_id)))
            await until_true(lambda: is_held_up(world), "the event to wait")
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        delivery_id = await running.send(subscription, event_id=str(event_id))
        await world.in_state(delivery_id, "delivered")
    assert (running.handed_over(), running.rung(), len(receiver.requests)) == (1, 0, 1)


async def test_a_commit_that_fails_frees_its_slots(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> list[Result]:
        raise errors.Unavailable("not now")

    subscription = await world.subscription(receiver.url())
    async with together(world, worker_concurrency=1) as running:
        for _ in range(3):
            with monkeypatch.context() as patched:
                patched.setattr(EventStore, "insert_events", fail)
                with pytest.raises(grpc.aio.AioRpcError):
                    await running.send(subscription)
            await world.in_state(await running.send(subscription), "delivered")
    assert running.handed_over() == 3


async def test_what_is_stored_beside_a_repeat_that_cannot_be_read_is_sent_before_its_lease_ends(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of a commit is new, and another one a repeat, for which Postgres is away when it is asked."""

    async def away(*_: object) -> None:
        raise asyncpg.AdminShutdownError("terminating connection")

    subscription, again = await world.subscription(receiver.url()), ids.new()
    async with together(world, **MANY_SLOTS) as running:
        first = await running.send(subscription, event_id=str(again))
        await world.in_state(first, "delivered")
        new, old = (running.client.item(str(subscription), event_id=str(event_id)) for event_id in (ids.new(), again))
        monkeypatch.setattr(EventStore, "_answers", away)
        with pytest.raises(grpc.aio.AioRpcError):
            await running.client.batch(new, old)
        second = ids.of_delivery(UUID(new.event_id), subscription)
        await world.in_state(second, "delivered")
    assert len(await world.attempts(second)) == 1
    assert running.handed_over() == 1
