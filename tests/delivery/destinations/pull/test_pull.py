"""Pulling from a delivery service: leases, reports, retries, and what keeps deliveries from being pulled."""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import grpc
import pytest

from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations.pull import idle as idle_module
from services.delivery.destinations.pull import pulls
from services.delivery.destinations.pull.idle import Idle
from services.domain.notices.subscription_changes import Copies
from services.platform import ids
from services.platform.stores import redis
from services.platform.stores.signals import Signals
from tests.delivery.conftest import Shared
from tests.delivery.world import Client, Counted, outcomes, until_true

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RECORDED, LEASE_EXPIRED, NOT_FOUND = (
    pb.PULL_RESULT_STATUS_RECORDED,
    pb.PULL_RESULT_STATUS_LEASE_EXPIRED,
    pb.PULL_RESULT_STATUS_NOT_FOUND,
)


async def pull(client: Client, subscription: UUID, **asked: Any) -> list[pb.PulledDelivery]:
    answer = await client.PullDeliveries(pb.PullDeliveriesRequest(subscription_id=str(subscription), **asked))
    return list(answer.deliveries)


async def report(client: Client, subscription: UUID, *results: pb.PullResult) -> list[int]:
    answer = await client.Report(pb.ReportRequest(subscription_id=str(subscription), results=results))
    return [result.status for result in answer.results]


def result(of: pb.PulledDelivery, outcome: "pb.PullOutcome.ValueType", **more: Any) -> pb.PullResult:
    return pb.PullResult(delivery_id=of.id, lease_token=of.lease_token, outcome=outcome, **more)


def success(of: pb.PulledDelivery, **more: Any) -> pb.PullResult:
    return result(of, pb.PULL_OUTCOME_SUCCESS, **more)


def failure(of: pb.PulledDelivery, **more: Any) -> pb.PullResult:
    return result(of, pb.PULL_OUTCOME_FAILURE, **more)


async def expire(shared: Shared, *delivery_ids: UUID) -> None:
    """Let leases end now."""
    for delivery_id in delivery_ids:
        await shared.world.set(delivery_id, lease_until=await _now(shared), due_at=await _now(shared))


async def _now(shared: Shared) -> Any:
    return await shared.world.pool.fetchval("SELECT now()")


async def test_a_pulled_delivery_is_the_signed_request_and_a_success_ends_it(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(secret_key=SECRET)
    delivery_id = await world.deliver(subscription, b'{"order": 42}', event_type="order.created")
    (pulled,) = await pull(client, subscription, wait_seconds=30)
    assert (pulled.id, pulled.event_type, pulled.attempt) == (str(delivery_id), "order.created", 1)
    assert pulled.payload == b'{"order": 42}'
    headers = pulled.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == headers["X-Webhook-Delivery-Id"] == pulled.id
    signed = f"{pulled.id}.{headers['webhook-timestamp']}.".encode() + pulled.payload
    digest = hmac.digest(b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"
    assert (await world.row(delivery_id))["status"] == "in_flight"

    assert await report(client, subscription, success(pulled, status_code=204, duration_ms=7)) == [RECORDED]
    assert (await world.row(delivery_id))["status"] == "delivered"
    (attempt,) = await world.attempts(delivery_id)
    assert (attempt["outcome"], attempt["status_code"], attempt["duration_ms"]) == ("success", 204, 7)
    assert await report(client, subscription, success(pulled)) == [RECORDED]  # again, as after a lost response
    assert len(await world.attempts(delivery_id)) == 1
    await world.agrees()


async def test_a_reported_failure_is_retried_by_the_policy_of_the_subscription(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(delays_seconds=[0.01])
    delivery_id = await world.deliver(subscription)
    (first,) = await pull(client, subscription)
    assert await report(client, subscription, failure(first, status_code=503, message="later")) == [RECORDED]
    (second,) = await pull(client, subscription, wait_seconds=30)
    assert (second.id, second.attempt, second.headers["X-Webhook-Attempt"]) == (first.id, 2, "2")
    assert await report(client, subscription, failure(second)) == [RECORDED]
    row = await world.in_state(delivery_id, "failed")
    assert row["reason"] == "retries_exhausted"
    attempts = await world.attempts(delivery_id)
    assert outcomes(attempts) == ["http_5xx", "consumer_failed"]
    assert [attempt["error_message"] for attempt in attempts] == ["later", "the consumer reported a failure"]


async def test_a_lease_that_expires_is_a_failed_attempt_and_a_message_that_kills_its_consumer_ends(
    shared: Shared,
) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(delays_seconds=[0.01])
    delivery_id = await world.deliver(subscription)
    counted = Counted("webhook_pull_attempts_total", outcome="lease_expired")
    for attempt in (1, 2):
        (pulled,) = await pull(client, subscription, wait_seconds=30)
        assert pulled.attempt == attempt
        await expire(shared, delivery_id)
    row = await world.in_state(delivery_id, "failed")
    assert (row["reason"], row["attempt_count"]) == ("retries_exhausted", 2)
    assert outcomes(await world.attempts(delivery_id)) == ["lease_expired", "lease_expired"]
    assert counted() >= 2
    await world.agrees()


async def test_a_lease_that_expires_is_told_to_those_who_watch(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(delays_seconds=[600])
    wanted = pb.DeliveryFilter(subscription_id=[str(subscription)])
    watched = client.Watch(pb.WatchRequest(topic=pb.WATCH_TOPIC_DELIVERIES, filter=wanted)).__aiter__()
    await anext(watched)  # it is being watched

    async def told_of_one() -> Sequence[Any]:
        while not (told := (await anext(watched)).recorded):
            pass
        return told

    telling = asyncio.create_task(told_of_one())
    expired: set[str] = set()
    while not telling.done():  # the dispatcher may not know yet that somebody watches
        delivery_id = await world.deliver(subscription)
        await pull(client, subscription, wait_seconds=30)
        await expire(shared, delivery_id)
        expired.add(str(delivery_id))
        await asyncio.wait({telling}, timeout=5)
    for one in await telling:
        assert (one.delivery_id in expired, one.error_kind, one.attempt_count) == (True, "lease_expired", 1)


async def test_late_reports_of_failures_change_nothing_and_a_late_success_is_the_truth(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(delays_seconds=[600])
    lost, done = await world.deliver_many(subscription, 2)
    pulled = {one.id: one for one in await pull(client, subscription)}
    await expire(shared, lost, done)
    for delivery_id in (lost, done):
        await world.in_state(delivery_id, "scheduled")
    assert await report(client, subscription, failure(pulled[str(lost)]), success(pulled[str(done)])) == [
        LEASE_EXPIRED,
        RECORDED,
    ]
    assert (await world.row(lost))["status"] == "scheduled"
    assert (await world.row(done))["status"] == "delivered"
    assert outcomes(await world.attempts(done)) == ["success"]
    # Also while another consumer has the lease.
    await world.set(lost, due_at=await _now(shared))
    (again,) = await pull(client, subscription)
    assert again.lease_token != pulled[str(lost)].lease_token
    assert await report(client, subscription, success(pulled[str(lost)])) == [RECORDED]
    assert (await world.row(lost))["status"] == "delivered"
    await world.agrees()


async def test_results_are_answered_each_for_itself(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription, other = await world.subscription(), await world.subscription()
    await world.deliver_many(subscription, 2)
    foreign_id = await world.deliver(other)
    held, extended = await pull(client, subscription)
    (foreign,) = await pull(client, other)
    unknown = pb.PullResult(delivery_id=str(ids.new()), lease_token=str(ids.new()), outcome=pb.PULL_OUTCOME_SUCCESS)
    forged = pb.PullResult(delivery_id=extended.id, lease_token=str(ids.new()), outcome=pb.PULL_OUTCOME_SUCCESS)
    assert await report(client, subscription, success(held), unknown, success(foreign), forged) == [
        RECORDED,
        NOT_FOUND,
        NOT_FOUND,
        LEASE_EXPIRED,
    ]
    until = (await world.row(foreign_id))["lease_until"]
    theirs = result(foreign, pb.PULL_OUTCOME_EXTEND, lease_seconds=3600)
    forged.outcome = pb.PULL_OUTCOME_EXTEND
    assert await report(client, subscription, theirs, forged) == [NOT_FOUND, LEASE_EXPIRED]
    assert ((await world.row(foreign_id))["status"], (await world.row(foreign_id))["lease_until"]) == (
        "in_flight",
        until,
    )
    before = (await world.row(UUID(extended.id)))["lease_until"]
    request = result(extended, pb.PULL_OUTCOME_EXTEND, lease_seconds=600)
    answer = await client.Report(pb.ReportRequest(subscription_id=str(subscription), results=[request]))
    after = (await world.row(UUID(extended.id)))["lease_until"]
    assert (after - before).total_seconds() > 400
    assert answer.results[0].lease_expires_at.ToDatetime() == after.replace(tzinfo=None)
    assert await report(client, subscription, result(held, pb.PULL_OUTCOME_EXTEND)) == [LEASE_EXPIRED]


async def test_a_consumer_waits_for_what_is_stored_and_one_that_leaves_takes_nothing(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    asked = pb.PullDeliveriesRequest(subscription_id=str(subscription), wait_seconds=30)
    left = client.PullDeliveries(asked)
    waiting = asyncio.ensure_future(pull(client, subscription, wait_seconds=30))
    await until_true(lambda: Counted.now("webhook_pullers") >= 2, "two consumers to wait")
    left.cancel()
    await until_true(lambda: Counted.now("webhook_pullers") == 1, "one to have left")
    delivery_id = await world.deliver(subscription)
    (pulled,) = await waiting
    assert pulled.id == str(delivery_id)
    assert await pull(client, subscription) == []


@pytest.mark.parametrize("hold", ["paused", "disabled"])
async def test_nothing_is_pulled_while_the_subscription_is_held(shared: Shared, hold: str) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    await world.deliver(subscription)
    set_status = "UPDATE subscriptions SET status = $2 WHERE id = $1"
    await world.pool.execute(set_status, subscription, hold)
    assert await pull(client, subscription) == []
    await world.pool.execute(set_status, subscription, "active")
    assert len(await pull(client, subscription)) == 1


async def test_no_worker_gets_what_waits_to_be_pulled_and_the_depth_does_not_count_it(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    # As if it had been rung for, or its subscription had been given a turn.
    delivery_id, *_ = await world.deliver_many(subscription, 3)
    columns = "subscription_id, tenant_id, turn_at, due_from"
    give_turn = f"INSERT INTO due_subscriptions ({columns}) VALUES ($1, 'default', now(), now())"
    await world.pool.execute(give_turn, subscription)
    has_turn = "SELECT EXISTS (SELECT FROM due_subscriptions WHERE subscription_id = $1)"

    async def turned_away() -> bool:
        return not await world.pool.fetchval(has_turn, subscription)

    await until_true(turned_away, "the turn to be taken away")
    await until_true(lambda: Counted.now("webhook_held_deliveries", reason="pull") >= 3, "what waits to be counted")
    found = await client.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id)))
    assert (found.delivery.held_by, found.delivery.waits_for.kind) == ("pull", "pull")
    assert "no consumer has pulled it yet" in found.delivery.explanation
    depths = await world.dispatcher_store().depths(limit=1000, hold_seconds=10, breakers=False)
    assert depths.pending == 0
    assert len(await pull(client, subscription)) == 3


async def test_an_answer_has_bounded_bytes(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    world, client = shared.world, shared.client
    monkeypatch.setattr(pulls, "ANSWER_BYTES", 1000)
    subscription = await world.subscription()
    for _ in range(3):
        await world.deliver(subscription, b"x" * 400)
    await world.deliver(subscription, b"y" * 5000)
    assert [len(one.payload) for one in await pull(client, subscription)] == [400, 400]
    assert [len(one.payload) for one in await pull(client, subscription)] == [400]
    assert [len(one.payload) for one in await pull(client, subscription)] == [5000]


async def test_deliveries_without_payload_and_expired_ones_are_not_pulled(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    gone = await world.deliver(subscription)
    expired = await world.deliver(subscription, expires_in=0.0)
    await world.drop_payload(gone)
    kept = await world.deliver(subscription)
    assert [one.id for one in await pull(client, subscription)] == [str(kept)]
    assert (await world.in_state(gone))["reason"] == "payload_gone"
    assert (await world.row(expired))["claim_token"] is None


async def test_a_retry_by_hand_can_be_pulled_at_once(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    await world.deliver(subscription)
    (first,) = await pull(client, subscription)
    await report(client, subscription, success(first))
    await client.RetryDelivery(pb.RetryDeliveryRequest(delivery_id=first.id))
    assert [one.attempt for one in await pull(client, subscription)] == [2]


async def test_a_stream_leases_no_more_than_its_consumer_holds_without_a_report(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    made = set(map(str, await world.deliver_many(subscription, 5)))
    stream = client.Pull(pb.PullRequest(subscription_id=str(subscription), max_outstanding=2)).__aiter__()
    seen: list[pb.PulledDelivery] = []
    for number in (2, 4):
        while len(seen) < number:
            seen += (await anext(stream)).deliveries
        assert len(seen) == number
        assert (await world.statuses(subscription))["in_flight"] == 2
        assert await report(client, subscription, *map(success, seen[-2:])) == [RECORDED] * 2
    seen += (await anext(stream)).deliveries
    assert {one.id for one in seen} == made
    # Nothing is due: it waits for more.
    later = str(await world.deliver(subscription))
    assert [one.id for one in (await anext(stream)).deliveries] == [later]
    # Its leases end somewhere else.
    await expire(shared, UUID(later), UUID(seen[-1].id))
    more = str(await world.deliver(subscription))
    assert [one.id for one in (await anext(stream)).deliveries] == [more]


async def test_streams_of_a_tenant_wait_while_it_has_too_much_unread(shared: Shared) -> None:
    world, unread = shared.world, Counted("webhook_pull_unread_bytes")
    # Three of these are more than half of the bound, and two are not.
    payload = bytes(pulls.MAX_UNREAD_BYTES // 5)
    streams = []

    async def leased() -> int:
        return int(await world.pool.fetchval("SELECT count(*) FROM delivery_queue WHERE claim_token IS NOT NULL"))

    async def open_stream() -> None:
        subscription = await world.subscription()
        await world.deliver(subscription, payload)
        # Nobody reads it.
        streams.append(shared.client.Pull(pb.PullRequest(subscription_id=str(subscription))))

    before = await leased()
    for _ in range(3):
        await open_stream()
    await until_true(lambda: unread() >= 3 * len(payload), "three responses that wait")
    # Not before: two that look at the same time both find room.
    await open_stream()
    await asyncio.sleep(0.2)
    assert await leased() == before + 3
    for stream in streams:
        stream.cancel()
    await until_true(lambda: unread() == 0, "nobody to wait for them")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"max_deliveries": 0}, "max_deliveries"),
        ({"max_deliveries": 101}, "max_deliveries"),
        ({"wait_seconds": float("nan")}, "wait_seconds"),
        ({"wait_seconds": 31}, "wait_seconds"),
        ({"lease_seconds": 9}, "lease_seconds"),
        ({"lease_seconds": 3601}, "lease_seconds"),
    ],
)
async def test_numbers_out_of_range_are_refused(shared: Shared, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await pull(shared.client, ids.new(), **asked)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (raised.value.details() or "").startswith(field)


async def test_a_subscription_with_a_target_cannot_be_pulled_from(shared: Shared) -> None:
    subscription = await shared.world.subscription("http://127.0.0.1:1/")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await pull(shared.client, subscription)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_subscription_that_nobody_pulls_from_is_deleted(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, client = shared.world, shared.client
    expiring, used, kept = [await world.subscription() for _ in range(3)]
    idle = "UPDATE subscriptions SET expires_after_idle_seconds = 60 WHERE id = ANY($1)"
    await world.pool.execute(idle, [expiring, used])
    waiting = await world.deliver(expiring)
    monkeypatch.setattr(idle_module, "NOTE_SECONDS", 0.01)
    await pull(client, used)
    noted = "SELECT EXISTS (SELECT FROM subscription_pulls WHERE subscription_id = $1)"

    async def is_noted() -> bool:
        return bool(await world.pool.fetchval(noted, used))

    await until_true(is_noted, "the pull to be noted")
    await world.pool.execute("UPDATE subscriptions SET updated_at = now() - interval '2 minutes'")
    async with redis.connect(world.delivery_settings(), timeout_seconds=10) as connection:
        expiry = asyncio.ensure_future(Idle(world.pool, Copies(Signals(connection))).expire())
        assert (await world.in_state(waiting))["reason"] == "subscription_deleted"
        expiry.cancel()
    query = "SELECT id FROM subscriptions WHERE deleted_at IS NOT NULL AND id = ANY($1)"
    assert [row["id"] for row in await world.pool.fetch(query, [expiring, used, kept])] == [expiring]
    entry = "SELECT actor, action FROM audit_entries WHERE resource_id = $1"
    assert [tuple(row) for row in await world.pool.fetch(entry, str(expiring))] == [("system", "subscription.delete")]


async def test_twenty_consumers_share_deliveries_each_exactly_once(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    made: list[UUID] = []
    seen: Counter[str] = Counter()

    async def consume() -> None:
        while sum(seen.values()) < 1000:
            pulled = await pull(client, subscription, max_deliveries=20, wait_seconds=1)
            seen.update(one.id for one in pulled)
            if pulled:
                assert set(await report(client, subscription, *map(success, pulled))) == {RECORDED}

    consumers = [asyncio.ensure_future(consume()) for _ in range(20)]
    for _ in range(10):
        made += await world.deliver_many(subscription, 100)
    await asyncio.gather(*consumers)
    assert seen == Counter(map(str, made))
    assert await world.statuses(subscription) == {"delivered": 1000}


async def test_what_is_leased_is_due_when_its_lease_ends_so_that_no_pull_reads_past_it(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription()
    await world.deliver_many(subscription, 300)
    for _ in range(3):
        assert len(await pull(client, subscription, lease_seconds=3600)) == 100
    due = "SELECT count(*) FROM delivery_queue WHERE subscription_id = $1 AND due_at <= now()"
    assert await world.pool.fetchval(due, subscription) == 0
