"""Many retries by hand: in one call, at once, and above the tenant's quota of waiting deliveries."""

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api.retries import Result, Retries
from services.domain.doorbell import IDS_PER_BELL, Stream
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.process.shares import OWNER
from services.platform.stores import redis
from tests.delivery.api.test_api import refusal, retry, wait_for_length
from tests.delivery.conftest import Shared
from tests.delivery.world import Counted, World

# So far in the future that the dispatcher ignores it.
LATER = 600.0


@pytest.fixture
async def api(world: World) -> Any:
    """A delivery service without a worker."""
    async with world.delivery() as client:
        yield Shared(world=world, client=client)


async def made(world: World, number: int, status: str = "failed") -> list[UUID]:
    """Make deliveries to one subscription in a state."""
    subscription = await world.subscription("http://127.0.0.1:1/")
    delivery_ids = await world.deliver_many(subscription, number, due_in=LATER)
    await world.put(*delivery_ids, status=status, due_in=LATER)
    return delivery_ids


async def retry_many(api: Shared, delivery_ids: Sequence[UUID]) -> list[str]:
    """Retry them in one call; return the state or the reason of each."""
    request = pb.BatchRetryDeliveriesRequest(delivery_ids=map(str, delivery_ids))
    answer = await api.client.BatchRetryDeliveries(request)
    return [
        result.error.reason or pb.DeliveryStatus.Name(result.delivery.status).removeprefix("DELIVERY_STATUS_").lower()
        for result in answer.results
    ]


async def transactions(world: World) -> int:
    """Return how many transactions inserted the rows of the queue."""
    return int(await world.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM delivery_queue"))


async def audited(world: World, delivery_ids: Sequence[UUID]) -> int:
    """Return the entries of the audit log about retries of these."""
    query = "SELECT count(*) FROM audit_entries WHERE action = 'delivery.retry' AND resource_id = ANY($1::text[])"
    return int(await world.pool.fetchval(query, [str(name) for name in delivery_ids]))


async def test_a_call_retries_many_and_says_of_each_what_became_of_it(api: Shared) -> None:
    (failed,), (delivered,), (cancelled,) = [
        await made(api.world, 1, status) for status in ("failed", "delivered", "cancelled")
    ]
    (scheduled,), (in_flight,), (disabled,), (gone,) = [
        await made(api.world, 1, status) for status in ("scheduled", "in_flight", "failed", "failed")
    ]
    query = "UPDATE subscriptions SET status = 'disabled' WHERE id = $1"
    await api.world.pool.execute(query, (await api.world.row(disabled))["subscription_id"])
    await api.world.drop_payload(gone)
    asked = [failed, in_flight, delivered, ids.new(), cancelled, disabled, scheduled, gone, failed]
    assert await retry_many(api, asked) == [
        "pending", "DELIVERY_IN_FLIGHT", "pending", "NOT_FOUND", "pending", "SUBSCRIPTION_DISABLED", "pending",
        "PAYLOAD_GONE", "pending",
    ]  # fmt: skip
    assert await audited(api.world, asked) == 5
    assert (await api.world.row(in_flight))["status"] == "in_flight"
    await api.world.agrees()


async def test_a_call_with_too_many_deliveries_is_refused(api: Shared) -> None:
    request = pb.BatchRetryDeliveriesRequest(delivery_ids=[str(ids.new())] * 1001)
    error = await refusal(api.client.BatchRetryDeliveries(request))
    assert (type(error), error.violations[0].field) == (errors.InvalidArgument, "delivery_ids")


async def test_retries_at_once_share_transactions_and_each_leaves_an_audit_entry(
    api: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = 0
    retry_now = Retries.retry

    async def counted(self: Retries, tenant_id: str, delivery_ids: Sequence[UUID]) -> list[Result]:
        nonlocal began
        began += 1
        return await retry_now(self, tenant_id, delivery_ids)

    monkeypatch.setattr(Retries, "retry", counted)
    delivery_ids = await made(api.world, 96)  # fewer than the calls of a connection
    async with api.world.pool.acquire() as connection, connection.transaction():
        # The first one waits until all have come.
        await connection.execute("SELECT FROM webhook_deliveries WHERE id = ANY($1) FOR UPDATE", delivery_ids)
        calls = [retry(api, delivery_id) for delivery_id in delivery_ids]
        await wait_until(lambda: began == len(delivery_ids), what="all to be asked for")
    answers = await asyncio.gather(*calls)
    assert [answer.delivery.id for answer in answers] == [str(delivery_id) for delivery_id in delivery_ids]
    assert {answer.delivery.status for answer in answers} == {pb.DELIVERY_STATUS_PENDING}
    # The one that was under way, and what waited behind it.
    assert await transactions(api.world) <= 1 + math.ceil(len(delivery_ids) / IDS_PER_BELL)
    assert await audited(api.world, delivery_ids) == len(delivery_ids)
    await api.world.agrees()


async def test_retries_of_one_delivery_at_once_all_succeed(api: Shared) -> None:
    (delivery_id,) = await made(api.world, 1)
    answers = await asyncio.gather(*(retry(api, delivery_id) for _ in range(20)))
    assert {answer.delivery.status for answer in answers} == {pb.DELIVERY_STATUS_PENDING}
    assert await audited(api.world, [delivery_id]) == 20
    await api.world.agrees()


async def test_the_results_of_a_call_hold_a_bounded_number_of_attempts(api: Shared) -> None:
    (delivery_id,) = await made(api.world, 1)
    await api.world.pool.execute(
        "INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id,"
        " started_at, outcome, response_body, final)"
        " SELECT id, gen_random_uuid(), 1, number, subscription_id, tenant_id, now(), 'http_5xx', repeat('x', 65536),"
        " false FROM webhook_deliveries CROSS JOIN generate_series(1, 100) AS number WHERE id = $1",
        delivery_id,
    )
    request = pb.BatchRetryDeliveriesRequest(delivery_ids=[str(delivery_id)] * 5)
    answer = await api.client.BatchRetryDeliveries(request)
    assert [len(result.delivery.attempts) for result in answer.results] == [100, 100, 0, 0, 0]
    assert answer.ByteSize() < 16 << 20


async def test_a_batch_takes_connections_of_the_share_of_its_caller() -> None:
    owners: list[str | None] = []

    class Store:
        async def retry(self, _: str, delivery_ids: Sequence[UUID], **others: object) -> list[errors.NotFound]:
            owners.append(OWNER.get())
            return [errors.NotFound(str(others["actor"])) for _ in delivery_ids]

    retries = Retries(Store(), None, None)  # type: ignore[arg-type]  # it needs no more of them

    async def retry(owner: str) -> None:
        OWNER.set(owner)
        identity.CALLER.set(identity.ANONYMOUS)
        await retries.retry(owner, [ids.new()])

    await asyncio.gather(retry("first"), retry("second"))
    assert sorted(map(str, owners)) == ["first", "second"]


async def test_a_batch_rings_once(api: Shared) -> None:
    delivery_ids = await made(api.world, IDS_PER_BELL)
    rung, messages = Counted("webhook_deliveries_rung_total"), Counted("webhook_doorbells_rung_total", result="rung")
    await retry_many(api, delivery_ids)
    async with redis.client(api.world.delivery_settings()) as client:
        assert await wait_for_length(Stream(client)) == 1
    assert (rung(), messages()) == (IDS_PER_BELL, 1)


async def test_a_retry_asks_for_the_probe_of_an_open_breaker_once(api: Shared) -> None:
    first, second = await made(api.world, 2)
    subscription = (await api.world.row(first))["subscription_id"]
    await api.world.pool.execute("UPDATE subscriptions SET status = 'paused'")  # nobody takes the probe
    await api.world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
        " VALUES ($1, 'open', now() + interval '1 hour')",
        subscription,
    )
    assert await retry_many(api, [first, second]) == ["pending", "pending"]
    query = "SELECT probe_delivery_id, probe_at <= now() AS due FROM subscription_health WHERE subscription_id = $1"
    row = await api.world.pool.fetchrow(query, subscription)
    assert row is not None
    assert (row["probe_delivery_id"], row["due"]) == (first, True)


# -- the quota of waiting deliveries --


async def use(world: World, waiting: int, *, age: timedelta = timedelta(0), quota: int | None = None) -> None:
    """Have the sums say that the tenant has so many unfinished deliveries."""
    await world.pool.execute("DELETE FROM tenant_usage")
    await world.pool.execute(
        "INSERT INTO tenant_usage (tenant_id, subscriptions, waiting_deliveries, stored_bytes, events_per_second,"
        " events) VALUES ($1, 1, $2, 0, 0, 0)",
        world.tenant_id, waiting,
    )  # fmt: skip
    await world.pool.execute("UPDATE usage_state SET measured_at = now() - $1::interval", age)
    await world.pool.execute("UPDATE tenants SET max_waiting_deliveries = $2 WHERE id = $1", world.tenant_id, quota)


async def test_a_retry_above_the_quota_of_waiting_deliveries_is_refused_and_changes_nothing(api: Shared) -> None:
    failed, again = await made(api.world, 2)
    (scheduled,) = await made(api.world, 1, "scheduled")
    refusals = Counted("webhook_quota_refusals_total", quota="waiting_deliveries")
    await use(api.world, 5, quota=5)
    error = await refusal(retry(api, failed))
    assert isinstance(error, errors.Overloaded)
    assert error.reason == "QUOTA_WAITING_DELIVERIES"
    assert "waiting_deliveries: 5 deliveries of the tenant are not finished, of at most 5" in error.message
    # What waits already adds nothing.
    assert await retry_many(api, [again, scheduled]) == ["QUOTA_WAITING_DELIVERIES", "pending"]
    assert refusals() == 2
    assert await audited(api.world, [failed, again, scheduled]) == 1
    assert {(await api.world.row(name))["status"] for name in (failed, again)} == {"failed"}
    await use(api.world, 4, quota=5)
    assert await retry_many(api, [failed]) == ["pending"]
    await api.world.agrees()


async def test_a_retry_is_judged_by_the_default_quota_and_not_by_old_sums(api: Shared) -> None:
    first, second = await made(api.world, 2)
    await use(api.world, 10_000_000)
    assert await retry_many(api, [first]) == ["QUOTA_WAITING_DELIVERIES"]
    await use(api.world, 10_000_000, age=timedelta(hours=1))
    assert await retry_many(api, [first]) == ["pending"]
    await use(api.world, 10_000_000, quota=10_000_001)
    assert await retry_many(api, [second]) == ["pending"]
