"""Events that a subscription has no delivery of, or all that it wants: they are replayed to it, and to nobody else."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1.deliveries_pb2 import DeliveryFilter
from services.delivery.jobs import chunks, missed
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import Job
from services.delivery.jobs.store import JobStore
from services.domain.states import JobKind
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from tests.delivery.jobs.test_jobs import finished, store_of
from tests.delivery.world import World


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    token = identity.CALLER.set(Identity(key_id="anonymous", role=Role.WRITE, tenant_id="default"))
    yield
    identity.CALLER.reset(token)


async def published(
    world: World, *, addressed_to: UUID | None = None, event_type: str | None = "order.created"
) -> UUID:
    """Create an event without deliveries."""
    event_id = ids.new()
    await world.pool.execute(
        "INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload, addressed_to)"
        " VALUES ($1, $2, $3, 'application/json', '{}', $4)",
        event_id, world.tenant_id, event_type, addressed_to,
    )  # fmt: skip
    return event_id


def lately(**fields: Any) -> DeliveryFilter:
    wanted = DeliveryFilter(**fields)
    wanted.from_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    return wanted


async def recovered(world: World, subscription_id: UUID, only: Only, **fields: Any) -> Job:
    store = store_of(world)
    preview = await store.preview(
        "default", JobKind.REPLAY, lately(**fields), to_subscription_id=subscription_id, only=only
    )
    made = await store.start("default", preview.token, rate_per_second=10_000)
    job = await finished(world, store, made.job)
    assert (job.matched, job.only) == (preview.matched, only)
    return job


async def events_sent(world: World, subscription_id: UUID) -> Counter[UUID]:
    rows = await world.pool.fetch("SELECT event_id FROM webhook_deliveries WHERE subscription_id = $1", subscription_id)
    return Counter(row["event_id"] for row in rows)


async def test_a_subscription_gets_the_events_that_it_wants_and_has_no_delivery_of(world: World) -> None:
    subscription, other = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    await world.pool.execute("UPDATE subscriptions SET event_types = '{order.*}' WHERE id = $1", subscription)
    (got,) = await world.deliver_many(subscription, 1)
    had = (await world.row(got))["event_id"]
    wanted = [
        await published(world),
        await published(world, event_type=None),
        await published(world, addressed_to=subscription),
    ]
    await published(world, addressed_to=other)
    await published(world, event_type="invoice.paid")
    expanding = await published(world)
    await world.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
        " VALUES ($1, 'default', 'order.created', now(), 20)",
        expanding,
    )
    erased = await published(world)
    await world.pool.execute("UPDATE webhook_events SET payload = NULL WHERE id = $1", erased)
    try:
        job = await recovered(world, subscription, Only.MISSING)
        assert (job.matched, job.done, job.skipped, job.gone) == (3, 3, 0, 0)
        assert await events_sent(world, subscription) == Counter([had, *wanted])
        job = await recovered(world, subscription, Only.MISSING)
        assert (job.matched, job.done) == (0, 0)
        job = await recovered(world, subscription, Only.ALL, event_type=["order.created"])
        assert (job.matched, job.done) == (2, 2)
        assert await events_sent(world, subscription) == Counter([had, *wanted, wanted[0], wanted[2]])
    finally:
        await world.pool.execute("DELETE FROM event_expansions")
    await world.agrees()


async def test_an_event_that_the_filter_does_not_let_through_is_not_replayed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    filter_ = "event.data.amount > 100 && event.tags.team == 'a'"
    await world.pool.execute("UPDATE subscriptions SET filter = $2 WHERE id = $1", subscription, filter_)
    wanted, cheap, others, unreadable = [await published(world) for _ in range(4)]
    for event_id, payload, tag in (
        (wanted, b'{"amount": 101}', "team=a"),
        (cheap, b'{"amount": 99}', "team=a"),
        (others, b'{"amount": 101}', "team=b"),
        (unreadable, b"{}", "team=a"),
    ):
        await world.pool.execute("UPDATE webhook_events SET payload = $2 WHERE id = $1", event_id, payload)
        await world.pool.execute(
            "INSERT INTO event_tags (event_id, tenant_id, tag) VALUES ($1, 'default', $2)", event_id, tag
        )
    # A look at events ends after each of them.
    monkeypatch.setattr(missed, "FILTERING_SECONDS", 0.0)
    job = await recovered(world, subscription, Only.MISSING)
    assert (job.matched, job.done, job.skipped) == (2, 2, 0)
    assert await events_sent(world, subscription) == Counter([wanted, unreadable])
    assert (await recovered(world, subscription, Only.MISSING)).matched == 0
    await world.pool.execute("UPDATE subscriptions SET filter_on_error = 'skip' WHERE id = $1", subscription)
    assert (await recovered(world, subscription, Only.ALL)).done == 1
    await world.pool.execute("UPDATE subscriptions SET filter_stopped_at = now() WHERE id = $1", subscription)
    assert (await recovered(world, subscription, Only.ALL)).matched == 0


async def test_events_are_replayed_once_whatever_happens_to_the_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_DELIVERIES", 4)
    subscription = await world.subscription("https://receiver.example/hook")
    wanted = [await published(world) for _ in range(10)]
    store = store_of(world)
    made = await store.create(
        "default", JobKind.REPLAY, lately(), rate_per_second=10_000, to_subscription_id=subscription, only=Only.ALL
    )
    job = made.job
    late = await published(world)

    async def fail(*_arguments: object) -> None:
        raise RuntimeError

    await store.move()
    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "_record", fail)
        await world.pool.execute("UPDATE jobs SET due_at = now()")
        with pytest.raises(RuntimeError):
            await store.move()
    now = await finished(world, store, job)
    assert (now.matched, now.done, now.skipped) == (10, 10, 0)
    assert await events_sent(world, subscription) == Counter(wanted)
    assert late not in wanted


async def test_nothing_is_replayed_to_a_subscription_that_is_disabled(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await published(world)
    await world.pool.execute("UPDATE subscriptions SET status = 'disabled' WHERE id = $1", subscription)
    job = await recovered(world, subscription, Only.MISSING)
    assert (job.matched, job.done, job.skipped) == (1, 0, 1)


@pytest.mark.parametrize(
    ("wanted", "target", "field"),
    [
        (lately(), False, "only"),
        (DeliveryFilter(), True, "filter.from"),
        (lately(min_attempts=1), True, "filter.min_attempts"),
    ],
)
async def test_a_replay_of_events_needs_a_target_and_a_time(
    world: World, wanted: DeliveryFilter, field: str, *, target: bool
) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    with pytest.raises(errors.InvalidArgument) as raised:
        await store_of(world).preview(
            "default", JobKind.REPLAY, wanted, to_subscription_id=subscription if target else None, only=Only.ALL
        )
    assert [violation.field for violation in raised.value.violations] == [field]
