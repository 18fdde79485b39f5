"""Accepted events are delivered, whichever process or store dies."""

import signal
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
import psutil

from dev.harness import deliveries
from dev.harness.api import Api
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.domain.secrets import signatures
from services.platform import ids

SECRET = "It's a Secret to Everybody"
# Subscriptions of one event: so many that creating its deliveries takes a while.
MANY = 3_000
# Deliveries of a job, for five seconds.
FAILED = 500


async def test_a_worker_killed_in_mid_request_loses_time_and_no_delivery(
    api: Api, quick: Stack, receiver: Receiver
) -> None:
    receiver.script(Reply(hang=True))
    delivery = await api.sent(await api.subscribe(receiver.url()))
    await receiver.wait_for(1)
    quick.kill_role("worker")
    # The lease of 10 s, and the dispatcher's next turn.
    delivered = await api.until(delivery, "delivered")
    # One, unless the machine is so busy that the next lease runs out, too.
    *interrupted, success = delivered["attempts"]
    assert {(attempt["error"]["kind"], attempt["status_code"]) for attempt in interrupted} == {("interrupted", None)}
    assert success["status_code"] == 200
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery}


async def test_a_killed_valkey_takes_nothing_with_it(api: Api, quick: Stack, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url())
    _valkey(quick).kill()
    deliveries = [await api.sent(subscription, b'{"payload": %d}' % number) for number in range(20)]
    for delivery in deliveries:
        await api.until(delivery, "delivered")
    assert {request.body for request in receiver.requests} == {b"%d" % number for number in range(20)}


async def test_webhooks_without_valkey_are_accepted_and_delivered(api: Api, quick: Stack, receiver: Receiver) -> None:
    """Frozen, not killed: the supervisor would restart it at once."""
    receiver.script(500)
    subscription = await api.subscribe(receiver.url())
    valkey = _valkey(quick)
    valkey.suspend()
    try:
        # Retries become due without it, too.
        deliveries = [await api.sent(subscription) for _ in range(5)]
        for delivery in deliveries:
            await api.until(delivery, "delivered")
    finally:
        valkey.resume()


async def test_delivered_webhooks_are_there_after_a_restart(api: Api, quick: Stack, receiver: Receiver) -> None:
    receiver.script(200, then=500)
    subscription = await api.subscribe(receiver.url(), secret_key=SECRET)
    before = await api.until(await api.sent(subscription), "delivered")
    unfinished = await api.sent(subscription)
    await receiver.wait_for(2)

    quick.stop(signal.SIGINT)
    receiver.script(then=200)
    quick.start()

    assert await api.delivery(before["id"]) == before
    # Unfinished deliveries continue, signed with the secret from before.
    await api.until(unfinished, "delivered")
    assert receiver.requests[-1].headers["X-Hub-Signature-256"] == signatures.hub(signatures.Key.of(SECRET), b"{}")


async def test_a_job_goes_on_when_the_process_that_runs_it_is_killed_and_retries_each_delivery_once(
    api: Api, quick: Stack, receiver: Receiver
) -> None:
    subscription = await api.subscribe(receiver.url())
    failed = await _failed(quick, UUID(subscription), FAILED)
    body = {"kind": "retry", "filter": {"subscription_id": [subscription]}, "rate_per_second": 100}
    answer = await api.http.post("/api/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    path = answer.headers["location"]

    async def progress() -> dict[str, Any]:
        # The gateway may have lost the process that it asks.
        found = await api.http.get(path)
        return found.json() if found.status_code == 200 else {"counts": {"done": 0}, "status": "running"}

    async def has_begun() -> bool:
        return bool((await progress())["counts"]["done"] >= FAILED // 20)

    await wait_until(has_begun, what="a part of the job")
    assert (await progress())["status"] == "running"
    quick.kill_role("delivery")

    async def complete() -> bool:
        found = await progress()
        return bool(found["status"] == "succeeded" and found["results"]["delivered"] == FAILED)

    await wait_until(complete, what="the job and its deliveries")
    counts = (await progress())["counts"]
    assert counts == {"matched": FAILED, "matched_is_exact": True, "done": FAILED, "skipped": 0, "gone": 0}
    assert Counter(request.headers["webhook-id"] for request in receiver.requests) == Counter(map(str, failed))


async def _failed(stack: Stack, subscription_id: UUID, number: int) -> list[UUID]:
    """Create events of a subscription whose deliveries have failed."""
    event_ids = [ids.new() for _ in range(number)]
    pairs = [(ids.of_delivery(event_id, subscription_id), event_id) for event_id in event_ids]
    async with asyncpg.create_pool(stack.ports["database_url"], min_size=0, max_size=1) as pool:
        await pool.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload)"
            " SELECT id, 'default', 'application/json', '{}' FROM unnest($1::uuid[]) AS id",
            event_ids,
        )
        await deliveries.insert(pool, pairs, subscription_id=subscription_id, status="failed")
    return [delivery_id for delivery_id, _ in pairs]


def _valkey(stack: Stack) -> psutil.Process:
    return next(process for process in stack.processes() if process.name() == "valkey-server")


async def test_a_large_fan_out_is_delivered_once_if_ingest_is_killed_after_the_response(
    api: Api, quick: Stack, receiver: Receiver
) -> None:
    # They hold their deliveries, so that nothing is sent.
    first = await api.subscribe(receiver.url(), event_types=["survival.many"])
    await api.http.post(f"/api/v1/subscriptions/{first}/pause")
    connection = await asyncpg.connect(quick.ports["database_url"])
    try:
        await connection.execute(
            "INSERT INTO subscriptions (id, tenant_id, target_url, event_types, status)"
            " SELECT id, 'default', 'http://x', '{survival.many}', 'paused' FROM unnest($1::uuid[]) AS id",
            [ids.new() for _ in range(MANY - 1)],
        )
        # So that ingest looks again.
        await api.subscribe(receiver.url(), event_types=["survival.other"])
        answer = await api.http.post("/api/v1/events", json={"event_type": "survival.many", "payload": 1})
        quick.kill_role("ingest")
        assert answer.json() == {"event_id": answer.json()["event_id"], "expanding": True}

        async def expanded() -> bool:
            event = await api.http.get(f"/api/v1/events/{answer.json()['event_id']}")
            return event.status_code == 200 and "expanding" not in event.json()

        await wait_until(expanded, what="the event to be expanded")
        # Not those of other tests' subscriptions, to which every type goes.
        counted = (
            "SELECT count(*), count(DISTINCT d.subscription_id)"
            " FROM webhook_deliveries d JOIN subscriptions s ON s.id = d.subscription_id"
            " WHERE d.event_id = $1 AND s.event_types = '{survival.many}'"
        )
        (row,) = await connection.fetch(counted, UUID(answer.json()["event_id"]))
        assert tuple(row) == (MANY, MANY)
    finally:
        await connection.execute("UPDATE subscriptions SET deleted_at = now() WHERE event_types = '{survival.many}'")
        await connection.close()
