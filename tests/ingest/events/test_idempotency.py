"""Idempotency keys in ingest: one key, one request, one object, one response."""

import asyncio
import contextlib

import asyncpg
import pytest

from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2
from services.domain import idempotency
from services.domain.idempotency import key_of
from services.platform import errors, ids
from services.platform.stores import postgres
from tests.ingest.conftest import URL, Ingest, refused, serving

# Like a request that is not committed yet.
TAKE_KEY = """
INSERT INTO idempotency_keys (tenant_id, route, key, object_id, request_hash, response, expires_at)
VALUES ('default', $1, 'taken', gen_random_uuid(), 'another', '', now() + interval '1 hour')
"""


def unmarked(answer: ingest_pb2.Accepted) -> ingest_pb2.Accepted:
    """Return a response without the flag for repeated ones."""
    found = ingest_pb2.Accepted()
    found.CopyFrom(answer)
    found.ClearField("replayed")
    return found


async def send(ingest: Ingest, subscription_id: str, payload: bytes, key: str) -> ingest_pb2.Accepted:
    return await ingest.send(subscription_id, payload=payload, idempotency_key=key)


@pytest.fixture
def ingest(alone: Ingest) -> Ingest:
    """A server with new stores, whose rows can be counted."""
    return alone


async def test_the_same_key_and_body_make_one_event(ingest: Ingest) -> None:
    subscription = await ingest.create()
    first = await send(ingest, subscription.id, b"1", "a")
    again = await send(ingest, subscription.id, b"1", "a")
    assert (first.replayed, again.replayed) == (False, True)
    assert unmarked(again) == first
    assert await ingest.pool.fetchval("SELECT count(*) FROM webhook_events") == 1
    assert await ingest.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 1


async def test_the_same_key_and_another_body_is_refused(ingest: Ingest) -> None:
    subscription = await ingest.create()
    await send(ingest, subscription.id, b"1", "a")
    assert (await refused(send(ingest, subscription.id, b"2", "a"))).reason == "IDEMPOTENCY_KEY_REUSED"
    assert await ingest.pool.fetchval("SELECT count(*) FROM webhook_events") == 1


async def test_fifty_at_once_make_one_event(ingest: Ingest) -> None:
    subscription = await ingest.create()
    answers = await asyncio.gather(*(send(ingest, subscription.id, b"1", "a") for _ in range(50)))
    assert len({answer.event_id for answer in answers}) == 1
    assert await ingest.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 1


async def test_a_key_whose_first_request_is_still_running_is_in_use_and_keeps_no_neighbour(ingest: Ingest) -> None:
    subscription = await ingest.create()
    async with ingest.pool.acquire() as connection, connection.transaction():
        for route in (f"ingest/{subscription.id}", "subscriptions"):
            await connection.execute(TAKE_KEY, route)
        items = [
            ingest_pb2.IngestItem(subscription_id=subscription.id, payload=b"1", idempotency_key=key)
            for key in ("free", "taken", "free too")
        ]
        answer = await ingest.events.BatchIngest(ingest_pb2.BatchIngestRequest(items=items), timeout=60)
        assert [result.error.reason for result in answer.results] == ["", "IDEMPOTENCY_KEY_IN_USE", ""]
        in_use = await refused(ingest.create(idempotency_key="taken"))
        assert isinstance(in_use, errors.IdempotencyKeyInUse)
        assert in_use.retry_after_seconds == 1
    # another request used the key
    assert (await refused(send(ingest, subscription.id, b"1", "taken"))).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_keys_are_shared_by_two_servers(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        subscription = await one.create()
        keys = [str(number) for number in range(40)]
        sends = [send(server, subscription.id, key.encode(), key) for key in keys for server in (one, other)]
        answers = await asyncio.gather(*sends)
    pairs = zip(answers[::2], answers[1::2], strict=True)
    assert all(unmarked(first) == unmarked(second) for first, second in pairs)
    assert sum(answer.replayed for answer in answers) == len(keys)


async def test_batches_with_the_same_keys_in_opposite_orders_do_not_deadlock(ingest: Ingest) -> None:
    subscription = await ingest.create()
    items = [
        ingest_pb2.IngestItem(subscription_id=subscription.id, payload=b"1", idempotency_key=f"key {number}")
        for number in range(100)
    ]
    batches = [items, items[::-1]] * 5
    answers = await asyncio.gather(
        *(ingest.events.BatchIngest(ingest_pb2.BatchIngestRequest(items=batch)) for batch in batches)
    )
    assert all(result.HasField("accepted") for answer in answers for result in answer.results)
    assert await ingest.pool.fetchval("SELECT count(*) FROM webhook_events") == 100


async def test_keys_are_taken_in_one_order_however_they_are_given(database: str) -> None:
    """A statement that waits for the first key does not lock the following ones."""

    async def take(connection: postgres.Connection, *names: str, wait_seconds: float) -> int:
        keyed = [(ids.new(), key_of("default", "a", name, b"1"), b"{}") for name in names]
        return len(await idempotency.take(connection, keyed, hours=1, wait_seconds=wait_seconds))

    async with contextlib.AsyncExitStack() as stack:
        first, waiting, looking, watching = [await asyncpg.connect(database) for _ in range(4)]
        for connection in (first, waiting, looking, watching):
            stack.push_async_callback(connection.close)
        await stack.enter_async_context(looking.transaction())
        async with first.transaction():
            await take(first, "a", wait_seconds=1)
            both = asyncio.create_task(take(waiting, "b", "a", wait_seconds=10))

            async def waits() -> bool:
                query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
                return bool(await watching.fetchval(query, waiting.get_server_pid()))

            await wait_until(waits, what="a statement that waits for the first key")
            assert await take(looking, "b", wait_seconds=0.1) == 1
        await looking.execute("ROLLBACK; BEGIN")
        assert await both == 1


async def test_a_key_that_occurs_twice_in_a_batch_makes_one_event(ingest: Ingest) -> None:
    subscription = await ingest.create()
    item = ingest_pb2.IngestItem(subscription_id=subscription.id, payload=b"1", idempotency_key="a")
    other = ingest_pb2.IngestItem(subscription_id=subscription.id, payload=b"2", idempotency_key="a")
    plain = ingest_pb2.IngestItem(subscription_id=subscription.id, payload=b"3")
    answer = await ingest.events.BatchIngest(ingest_pb2.BatchIngestRequest(items=[item, plain, item, other]))
    first, unkeyed, second, refused = answer.results
    assert (first.accepted.replayed, second.accepted.replayed) == (False, True)
    assert first.accepted == unmarked(second.accepted)
    assert unkeyed.HasField("accepted")
    assert refused.error.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_the_same_key_at_another_target_is_another_key(ingest: Ingest) -> None:
    one, other = await ingest.create(), await ingest.create()
    assert (await send(ingest, one.id, b"1", "a")).event_id != (await send(ingest, other.id, b"1", "a")).event_id


async def test_a_fan_out_is_answered_alike(ingest: Ingest) -> None:
    for _ in range(3):
        await ingest.create()
    item = ingest_pb2.IngestItem(fan_out=ingest_pb2.FanOut(), event_type="a", payload=b"1", idempotency_key="a")
    first = await ingest.events.Ingest(ingest_pb2.IngestRequest(item=item))
    await ingest.create()
    again = await ingest.events.Ingest(ingest_pb2.IngestRequest(item=item))
    assert first.accepted.deliveries == 3
    assert unmarked(again.accepted) == first.accepted
    assert again.accepted.replayed


async def test_a_key_past_its_time_is_free_again(ingest: Ingest) -> None:
    subscription = await ingest.create()
    first = await send(ingest, subscription.id, b"1", "a")
    hours = await ingest.pool.fetchval("SELECT extract(epoch FROM expires_at - now()) / 3600 FROM idempotency_keys")
    assert 23.9 < hours <= 24
    await ingest.pool.execute("UPDATE idempotency_keys SET expires_at = now()")
    assert (await send(ingest, subscription.id, b"2", "a")).event_id != first.event_id


async def test_an_event_without_a_key_writes_none(ingest: Ingest) -> None:
    subscription = await ingest.create()
    await send(ingest, subscription.id, b"1", "")
    assert await ingest.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_a_key_whose_event_was_refused_is_free(ingest: Ingest) -> None:
    subscription = await ingest.create()
    used = await send(ingest, subscription.id, b"1", "")
    foreign = await (await ingest.of("other")).create()
    item = ingest_pb2.IngestItem(
        tenant_id="other",
        event_id=used.event_id,
        subscription_id=foreign.id,
        payload=b"1",
        idempotency_key="a",
    )
    assert (await refused(ingest.events.Ingest(ingest_pb2.IngestRequest(item=item)))).reason == "EVENT_ID_TAKEN"
    assert await ingest.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_a_subscription_is_made_once_per_key(ingest: Ingest) -> None:
    request = ingest.creation(target_url=URL, idempotency_key="a")
    made = await asyncio.gather(*(ingest.subscriptions.CreateSubscription(request) for _ in range(10)))
    assert all(answer.subscription == made[0].subscription for answer in made)
    assert sorted(answer.replayed for answer in made) == [False, *[True] * 9]
    assert await ingest.pool.fetchval("SELECT count(*) FROM subscriptions") == 1
    assert (await refused(ingest.create(URL + "/other", idempotency_key="a"))).reason == "IDEMPOTENCY_KEY_REUSED"
