"""Quotas of tenants: exceeding one is refused before anything is stored, with its name, and affects no other tenant."""

import asyncio
from typing import Any

import pytest

from protos.webhook.v1 import ingest_pb2
from services.analytics.usage import loop
from services.analytics.usage.store import UsageStore
from services.ingest.quotas import store as quota_store
from services.ingest.settings import IngestSettings
from services.platform import errors
from services.platform.grpc import errors as grpc_errors
from tests.ingest.conftest import Breakable, Ingest, counted, eventually, frozen, refused, serving


async def limit(ingest: Ingest, **quotas: float) -> None:
    """Set the tenant's quotas, by their columns."""
    for column, value in quotas.items():
        await ingest.pool.execute(f"UPDATE tenants SET {column} = $2 WHERE id = $1", ingest.tenant_id, value)


async def sum_up(ingest: Ingest) -> None:
    """Update the sums of what tenants use, as analytics does every few seconds."""
    await ingest.pool.execute("UPDATE usage_state SET due_at = now()")
    await loop.run_once(UsageStore(ingest.pool))


async def refusal_of_an_event(ingest: Ingest) -> errors.WebhookError | None:
    """Return why an event of the tenant is refused, if it is."""
    (result,) = await ingest.batch(ingest.item(event_type="a"))
    found = result.error
    return grpc_errors.make(found.code, found.message, reason=found.reason) if found.reason else None


async def until_refused(ingest: Ingest, reason: str) -> errors.WebhookError:
    """Send events until one is refused for this reason."""
    found: list[errors.WebhookError] = []

    async def is_refused() -> bool:
        await sum_up(ingest)
        refusal = await refusal_of_an_event(ingest)
        found.extend([refusal] if refusal is not None else [])
        return refusal is not None and refusal.reason == reason

    await eventually(is_refused, f"an event to be refused: {reason}")
    return found[-1]


async def until_accepted(ingest: Ingest) -> None:
    """Send events until one is accepted."""

    async def is_accepted() -> bool:
        await sum_up(ingest)
        return await refusal_of_an_event(ingest) is None

    await eventually(is_accepted, "an event to be accepted")


# -- subscriptions --


async def test_a_tenant_has_no_more_subscriptions_than_its_quota(ingest: Ingest) -> None:
    await limit(ingest, max_subscriptions=2)
    first = await ingest.create()
    await ingest.create()
    error = await refused(ingest.create())
    assert (type(error), error.reason) == (errors.Conflict, "QUOTA_SUBSCRIPTIONS")
    assert "2 subscriptions" in error.message
    assert "quota subscriptions" in error.message
    assert await ingest.count("subscriptions") == 2
    await ingest.delete(first.id)
    await ingest.create()


async def test_subscriptions_that_are_made_at_once_keep_the_quota_too(ingest: Ingest) -> None:
    await limit(ingest, max_subscriptions=3)
    answers = await asyncio.gather(*(ingest.create() for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 3
    assert await ingest.count("subscriptions") == 3


async def test_a_repeated_creation_is_answered_as_before_when_the_quota_is_used_up(ingest: Ingest) -> None:
    await limit(ingest, max_subscriptions=1)
    made = await ingest.create(idempotency_key="once")
    assert (await ingest.create(idempotency_key="once")).id == made.id
    assert (await refused(ingest.create(idempotency_key="another"))).reason == "QUOTA_SUBSCRIPTIONS"


async def test_subscriptions_are_counted_only_when_few_are_left(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_store, "MARGIN", 5)
    await limit(ingest, max_subscriptions=8)
    await sum_up(ingest)
    for _ in range(8):  # the sums do not count these yet, so more than five seem to be left
        await ingest.create()
    await ingest.create()
    await sum_up(ingest)
    assert (await refused(ingest.create())).reason == "QUOTA_SUBSCRIPTIONS"


# -- events per second --


async def test_events_above_the_rate_are_refused_and_not_stored(ingest: Ingest) -> None:
    await limit(ingest, max_events_per_second=2)
    other = await ingest.of(f"{ingest.tenant_id}-other")
    before = counted("webhook_quota_refusals_total", quota="events_per_second")
    error = await until_refused(ingest, "QUOTA_EVENTS_PER_SECOND")
    assert isinstance(error, errors.Overloaded)
    assert "2 events per second" in error.message
    assert counted("webhook_quota_refusals_total", quota="events_per_second") > before
    stored = await ingest.count()
    results = await ingest.batch(*(ingest.item(event_type="a") for _ in range(50)))
    accepted = sum(result.WhichOneof("outcome") == "accepted" for result in results)
    assert accepted <= 5
    assert await ingest.count() == stored + accepted
    # Events of another tenant in the same call are stored.
    mixed = [each for _ in range(10) for each in (ingest.item(event_type="a"), other.item(event_type="a"))]
    outcomes = [result.WhichOneof("outcome") for result in await ingest.batch(*mixed)]
    assert outcomes[1::2] == ["accepted"] * 10
    assert "error" in outcomes[::2]
    await until_accepted(ingest)


async def test_a_rate_is_kept_while_redis_is_away(breakable: Breakable) -> None:
    async with serving(breakable.database_url, breakable.redis_url) as running:
        ingest = await running.of("limited")
        await limit(ingest, max_events_per_second=5)

        async def some_refused() -> bool:
            results = await ingest.batch(*(ingest.item(event_type="a") for _ in range(20)))
            return any(result.error.reason == "QUOTA_EVENTS_PER_SECOND" for result in results)

        await eventually(some_refused, "some events to be refused")
        with frozen(breakable.valkey):
            before = await ingest.count()
            started = asyncio.get_running_loop().time()
            for _ in range(20):
                assert await some_refused()
                await asyncio.sleep(0.1)
            passed = asyncio.get_running_loop().time() - started
            stored = await ingest.count() - before
        assert 1 <= stored <= 5 * passed + 5


# -- waiting deliveries and stored bytes --


async def test_a_tenant_with_too_many_unfinished_deliveries_sends_no_more_until_some_have_ended(
    ingest: Ingest,
) -> None:
    await limit(ingest, max_waiting_deliveries=3)
    made = await ingest.create()
    error = await until_refused(ingest, "QUOTA_WAITING_DELIVERIES")
    assert isinstance(error, errors.Overloaded)
    assert "of at most 3" in error.message
    stored = await ingest.count()
    (result,) = await ingest.batch(ingest.item(made.id))
    assert result.error.reason == "QUOTA_WAITING_DELIVERIES"
    assert await ingest.count() == stored
    other = await ingest.of(f"{ingest.tenant_id}-other")
    assert await refusal_of_an_event(other) is None
    await ingest.delete(made.id)  # which cancels its waiting deliveries
    await until_accepted(ingest)


async def test_events_with_large_fan_outs_in_one_call_are_counted_before_their_deliveries_exist(ingest: Ingest) -> None:
    await limit(ingest, max_waiting_deliveries=150)
    await ingest.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url)"
        " SELECT gen_random_uuid(), $1, 'http://127.0.0.1:1/' FROM generate_series(1, 120)",
        ingest.tenant_id,
    )

    async def two_are_accepted() -> bool:
        results = await ingest.batch(*(ingest.item(event_type="a") for _ in range(5)))
        return [result.error.reason for result in results] == ["", "", *["QUOTA_WAITING_DELIVERIES"] * 3]

    await eventually(two_are_accepted, "the quota to be known")


async def test_a_tenant_that_stored_too_much_sends_no_more_until_its_quota_is_raised(ingest: Ingest) -> None:
    await limit(ingest, max_stored_bytes=1 << 20)
    for _ in range(2):
        await ingest.send(event_type="a", payload=b"x" * 600_000)
    error = await until_refused(ingest, "QUOTA_STORED_BYTES")
    assert "of at most 1048576" in error.message
    await limit(ingest, max_stored_bytes=1 << 30)
    await until_accepted(ingest)


async def test_stored_events_are_added_up_by_day_and_a_repeated_event_counts_once(ingest: Ingest) -> None:
    for _ in range(3):
        await ingest.send(event_type="a", payload=b"12345", idempotency_key="the same")
    await ingest.send(event_type="a", payload=b"123")

    async def added_up() -> bool:
        rows = await ingest.pool.fetch("SELECT * FROM tenant_storage WHERE tenant_id = $1", ingest.tenant_id)
        return (sum(row["events"] for row in rows), sum(row["bytes"] for row in rows)) == (2, 8)

    await eventually(added_up, "the events to be added up")


@pytest.mark.parametrize("expanding", [False, True], ids=["an event", "an event with a large fan-out"])
async def test_events_of_a_call_that_was_cancelled_are_stored_and_counted(
    database: str, redis_url: str, *, expanding: bool
) -> None:
    async with serving(database, redis_url, inline_deliveries=1) as ingest:
        for _ in range(2 if expanding else 1):
            await ingest.create()
        await ingest.send(event_type="a", payload=b"123")  # so that nothing has to be looked up
        async with ingest.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE webhook_events IN SHARE MODE")
            call = asyncio.ensure_future(ingest.send(event_type="a", payload=b"12345"))
            await eventually(ingest.held_up, "the event to wait to be stored")
            call.cancel()

            async def has_ended() -> bool:
                return counted("webhook_rpc_in_flight") == 0

            await eventually(has_ended, "the call to end")

        async def added_up() -> bool:
            rows = await ingest.pool.fetch("SELECT * FROM tenant_storage WHERE tenant_id = $1", ingest.tenant_id)
            return (sum(row["events"] for row in rows), sum(row["bytes"] for row in rows)) == (2, 8)

        await eventually(added_up, "the events to be added up")


async def test_sums_that_are_too_old_refuse_nothing(ingest: Ingest) -> None:
    await limit(ingest, max_waiting_deliveries=1)
    await ingest.create()
    await until_refused(ingest, "QUOTA_WAITING_DELIVERIES")
    await ingest.pool.execute("UPDATE usage_state SET measured_at = now() - interval '1 hour'")

    async def accepted() -> bool:
        return await refusal_of_an_event(ingest) is None

    await eventually(accepted, "an event to be accepted")


async def test_the_quotas_of_the_settings_apply_to_a_tenant_without_its_own(database: str, redis_url: str) -> None:
    async with serving(database, redis_url, quota_subscriptions=1, quota_events_per_second=1) as ingest:
        await ingest.create()
        assert (await refused(ingest.create())).reason == "QUOTA_SUBSCRIPTIONS"
        await until_refused(ingest, "QUOTA_EVENTS_PER_SECOND")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quota_subscriptions", 0),
        ("quota_events_per_second", 1e-300),
        ("quota_events_per_second", "nan"),
        ("quota_waiting_deliveries", 0),
        ("quota_stored_bytes", 1),
        ("quota_stored_bytes", 1 << 51),
    ],
)
def test_a_quota_of_the_settings_has_bounds(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        IngestSettings(**{name: value}, _env_file=None)


async def test_a_single_event_above_its_quota_names_when_to_retry(ingest: Ingest) -> None:
    await limit(ingest, max_events_per_second=0.01)
    await until_refused(ingest, "QUOTA_EVENTS_PER_SECOND")
    request = ingest_pb2.IngestRequest(item=ingest.item(event_type="a"))
    error = await refused(ingest.events.Ingest(request, timeout=60))
    assert (type(error), error.reason) == (errors.Overloaded, "QUOTA_EVENTS_PER_SECOND")
