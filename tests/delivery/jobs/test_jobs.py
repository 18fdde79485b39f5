"""Jobs: each delivery is changed once, whatever happens to the processes, and counts say what was done."""

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from dev.harness import deliveries
from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2, jobs_pb2, jobs_pb2_grpc
from protos.webhook.v1.deliveries_pb2 import DeliveryFilter
from services.delivery.jobs import chunks
from services.delivery.jobs import store as jobs
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import Job
from services.delivery.jobs.store import JobStore
from services.domain import idempotency
from services.domain.idempotency import Key
from services.domain.states import JobKind, JobStatus
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.grpc import client as grpc_client
from services.platform.grpc import errors as grpc_errors
from tests.delivery.world import World

MANY = 1_200
RETRY, CANCEL = JobKind.RETRY, JobKind.CANCEL


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    token = identity.CALLER.set(Identity(key_id="anonymous", role=Role.WRITE, tenant_id="default"))
    yield
    identity.CALLER.reset(token)


def store_of(world: World) -> JobStore:
    return JobStore(world.pool, world.store(), retention_hours=72, recovery_hours=72, expiry_hours=168, key_hours=24)


def of(*subscription_ids: UUID, **fields: Any) -> DeliveryFilter:
    return DeliveryFilter(subscription_id=[str(name) for name in subscription_ids], **fields)


async def failed(world: World, subscription_id: UUID, number: int) -> list[UUID]:
    """Create deliveries that have failed."""
    made = await world.deliver_many(subscription_id, number)
    await world.put(*made, status="failed", reason="retries_exhausted")
    return made


async def created(store: JobStore, kind: JobKind, wanted: DeliveryFilter, *, rate_per_second: int = 10_000) -> Job:
    return (await store.create("default", kind, wanted, rate_per_second=rate_per_second)).job


async def finished(world: World, store: JobStore, job: Job) -> Job:
    """Do all chunks of a job at once."""
    while (now := await store.get("default", job.id)).status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        await world.pool.execute("UPDATE jobs SET due_at = now() WHERE id = $1", job.id)
        await store.move()
    return now


async def looked(world: World, store: JobStore) -> None:
    """See what became of all chunks."""
    await world.pool.execute("UPDATE job_chunks SET look_at = now()")
    while await store.look():
        pass


# -- end to end --


@contextlib.asynccontextmanager
async def client_of(world: World) -> AsyncIterator[Any]:
    """Run a delivery service and a worker; yield a client of the jobs of the former."""
    settings = world.delivery_settings()
    async with (
        world.delivery_process(settings),
        world.worker(),
        grpc_client.channel(f"127.0.0.1:{settings.grpc_port}") as channel,
    ):
        yield jobs_pb2_grpc.JobServiceStub(channel)


async def test_a_retry_job_gives_each_failed_delivery_one_attempt(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    mended = await failed(world, subscription, 120)
    async with client_of(world) as client:
        request = jobs_pb2.CreateJobRequest(
            kind=jobs_pb2.JOB_KIND_RETRY, filter=of(subscription), rate_per_second=2_000
        )
        job_id = (await client.CreateJob(request)).job.id

        async def complete() -> Any:
            job = (await client.GetJob(jobs_pb2.GetJobRequest(job_id=job_id))).job
            return job if job.status == jobs_pb2.JOB_STATUS_SUCCEEDED and job.results.delivered == 120 else None

        untyped: Any = complete
        job: Any = await wait_until(untyped, what="the job and its deliveries")
    assert (job.counts.matched, job.counts.done, job.counts.skipped, job.counts.gone) == (120, 120, 0, 0)
    assert (job.results.failed, job.results.waiting) == (0, 0)
    assert Counter(UUID(request.headers["webhook-id"]) for request in receiver.requests) == Counter(mended)
    await world.agrees()


@pytest.mark.parametrize("kind", [RETRY, JobKind.REPLAY])
async def test_a_filter_is_not_evaluated_again_for_deliveries_that_exist(world: World, kind: JobKind) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 3)
    statement = "UPDATE subscriptions SET filter = 'event.data.amount > 1', filter_on_error = 'skip' WHERE id = $1"
    await world.pool.execute(statement, subscription)
    store = store_of(world)
    job = await finished(world, store, await created(store, kind, of(subscription)))
    assert (job.matched, job.done, job.skipped) == (3, 3, 0)


async def test_a_job_without_a_bound_is_invalid(world: World) -> None:
    with pytest.raises(errors.InvalidArgument, match="must have a from time, a subscription_id, event_ids, a tag"):
        await created(store_of(world), RETRY, of())


async def test_a_status_that_the_kind_cannot_change_is_invalid(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    for kind, status in ((RETRY, "PENDING"), (CANCEL, "FAILED")):
        value = deliveries_pb2.DeliveryStatus.Value(f"DELIVERY_STATUS_{status}")
        with pytest.raises(errors.InvalidArgument, match=r"filter\.status"):
            await created(store_of(world), kind, of(subscription, status=[value]))


# -- what is done, and once --


async def test_jobs_of_processes_that_die_change_each_delivery_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    mended = await failed(world, subscription, MANY)
    store = store_of(world)
    monkeypatch.setattr(chunks, "CHUNK_DELIVERIES", 100)
    job = await created(store, RETRY, of(subscription))
    reopened: Counter[UUID] = Counter()
    await world.pool.execute("UPDATE jobs SET due_at = now() - interval '1 hour'")

    async def process() -> None:
        """Do chunks until there are none; it is killed somewhere."""
        while (await store.get("default", job.id)).status is not JobStatus.SUCCEEDED:
            await world.pool.execute("UPDATE jobs SET due_at = now() WHERE id = $1", job.id)
            await store_of(world).move()

    killed = 0
    while (await store.get("default", job.id)).status is not JobStatus.SUCCEEDED:
        tasks = [asyncio.create_task(process()) for _ in range(3)]
        for turns, task in enumerate(tasks):
            for _ in range(40 * (turns + 1) + 17 * (killed % 7)):
                await asyncio.sleep(0)
            if killed < 20:
                task.cancel()
                killed += 1
        await asyncio.gather(*tasks, return_exceptions=True)
    for row in await world.pool.fetch("SELECT delivery_ids FROM job_chunks"):
        reopened.update(row["delivery_ids"])
    assert killed >= 3
    assert reopened == Counter(mended)
    assert await world.statuses(subscription) == {"pending": MANY}
    now = await store.get("default", job.id)
    assert (now.matched, now.done, now.skipped, now.gone) == (MANY, MANY, 0, 0)
    await world.agrees()


async def test_a_chunk_that_fails_at_its_end_is_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 10)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))

    async def fail(*_arguments: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "_record", fail)
        with pytest.raises(RuntimeError):
            await store.move()
    assert await world.statuses(subscription) == {"failed": 10}
    assert (await store.get("default", job.id)).error == "internal error; it was logged"
    assert (await finished(world, store, job)).done == 10
    assert await world.statuses(subscription) == {"pending": 10}


async def test_a_job_touches_nothing_that_failed_after_it_was_created(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    before = await failed(world, subscription, 3)
    late = await world.deliver(subscription)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    await world.put(late, status="failed")
    after = await failed(world, subscription, 2)
    now = await finished(world, store, job)
    assert (now.matched, now.done, now.skipped, now.gone) == (3, 3, 0, 0)
    assert {(await world.row(name))["status"] for name in before} == {"pending"}
    assert {(await world.row(name))["status"] for name in [late, *after]} == {"failed"}


async def test_deliveries_that_others_change_and_those_without_payloads_are_counted(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    retried, gone, *_rest = await failed(world, subscription, 5)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    await world.retry(retried)
    await world.drop_payload(gone)
    now = await finished(world, store, job)
    assert (now.matched, now.done, now.skipped, now.gone) == (5, 3, 1, 1)
    assert now.matched_exact


async def test_deliveries_of_a_disabled_subscription_are_skipped(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 2)
    await world.pool.execute("UPDATE subscriptions SET status = 'disabled' WHERE id = $1", subscription)
    store = store_of(world)
    preview = await store.preview("default", RETRY, of(subscription))
    assert (preview.matched, preview.skipped, preview.gone) == (2, 2, 0)
    now = await finished(world, store, await created(store, RETRY, of(subscription)))
    assert (now.done, now.skipped) == (0, 2)


async def test_a_cancel_job_ends_what_waits_and_leaves_what_is_in_flight(world: World) -> None:
    subscription, other = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    waiting = await world.deliver_many(subscription, 4, due_in=3600)
    await world.put(waiting[0], status="scheduled", due_in=3600)
    await world.lease(waiting[1], seconds=60)
    await world.deliver_many(other, 2, due_in=3600)
    store = store_of(world)
    now = await finished(world, store, await created(store, CANCEL, of(subscription)))
    assert (now.status, now.matched, now.done, now.skipped) == ("succeeded", 3, 3, 0)
    assert await world.statuses(subscription) == {"cancelled": 3, "in_flight": 1}
    assert await world.statuses(other) == {"pending": 2}
    await world.agrees()


async def test_a_job_without_subscriptions_is_for_all_of_its_tenant_and_no_other(world: World) -> None:
    mine, too = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other') ON CONFLICT DO NOTHING")
    others = World(pool=world.pool, database_url=world.database_url, redis_url=world.redis_url, tenant_id="other")
    theirs = await others.subscription("https://receiver.example/hook")
    for owner, name in ((world, mine), (world, too), (others, theirs)):
        await failed(owner, name, 3)
    store = store_of(world)
    wanted = of()
    wanted.from_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    now = await finished(world, store, await created(store, RETRY, wanted))
    assert now.done == 6
    assert await world.statuses(theirs) == {"failed": 3}


async def test_a_job_can_be_of_the_events_with_a_tag_or_a_key(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    mended = sorted(await failed(world, subscription, 30))
    await failed(world, subscription, 5)
    await world.pool.execute(
        "INSERT INTO event_tags (event_id, tenant_id, tag)"
        " SELECT event_id, tenant_id, 'order=42' FROM webhook_deliveries WHERE id = ANY($1::uuid[])",
        mended[:20],
    )
    await world.pool.execute(
        "INSERT INTO idempotency_keys (tenant_id, route, key, object_id, expires_at, request_hash, response)"
        " SELECT tenant_id, 'events', 'k' || n, event_id, now() + interval '1 hour', '', ''"
        " FROM webhook_deliveries JOIN unnest($1::uuid[]) WITH ORDINALITY AS m (id, n) USING (id)",
        mended[20:22],
    )
    store = store_of(world)
    job = await finished(world, store, await created(store, RETRY, of(tag=["order=42", "order=43"])))
    assert (job.matched, job.done, job.skipped, job.gone) == (20, 20, 0, 0)
    job = await finished(world, store, await created(store, RETRY, of(idempotency_key=["k2", "k1"])))
    assert (job.matched, job.done, job.skipped, job.gone) == (2, 2, 0, 0)
    assert await world.statuses(subscription) == {"pending": 22, "failed": 13}
    assert (await store.preview("default", RETRY, of(provider_id=["k1"]))).matched == 0


async def test_results_follow_what_becomes_of_deliveries(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    first, second, _third = await failed(world, subscription, 3)
    store = store_of(world)
    job = await finished(world, store, await created(store, RETRY, of(subscription)))
    await looked(world, store)
    assert ((now := await store.get("default", job.id)).delivered, now.failed) == (0, 0)
    await world.put(first, status="delivered")
    await world.put(second, status="failed")
    await looked(world, store)
    await looked(world, store)
    assert ((now := await store.get("default", job.id)).delivered, now.failed) == (1, 1)
    assert len(await world.pool.fetch("SELECT FROM job_chunks")) == 1


async def test_a_job_waits_while_its_tenant_has_too_many_deliveries(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 2)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    await world.pool.execute("UPDATE usage_state SET measured_at = now()")
    await world.pool.execute(
        "INSERT INTO tenant_usage VALUES ('default', 1, 1000000, 0, 0, 0)"
        " ON CONFLICT (tenant_id) DO UPDATE SET waiting_deliveries = 1000000"
    )
    try:
        assert await store.move() is None
        waiting = await store.get("default", job.id)
        assert waiting.status is JobStatus.QUEUED
        assert "waiting_deliveries" in (waiting.error or "")
    finally:
        await world.pool.execute("DELETE FROM tenant_usage")
    assert (await finished(world, store, job)).done == 2


async def test_a_job_is_paced_by_its_rate(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 40)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription), rate_per_second=40)
    moved = await store.move()
    assert moved
    assert moved.done == 4
    seconds = await world.pool.fetchval(
        "SELECT extract(epoch FROM due_at - greatest(created_at, moved_at - interval '1 second')) FROM jobs"
        " WHERE id = $1 AND due_at >= created_at + interval '100 milliseconds'",
        job.id,
    )
    assert float(seconds) <= 0.1


async def test_jobs_take_turns_whatever_their_rates(world: World) -> None:
    store = store_of(world)
    subscriptions = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    for subscription in subscriptions:
        await failed(world, subscription, MANY)
    greedy, modest = [
        await created(store, RETRY, of(subscription), rate_per_second=rate)
        for subscription, rate in zip(subscriptions, (10_000, 500), strict=True)
    ]
    for _ in range(4):
        # Nobody keeps up with the first, so that it is behind by as much as a job can be.
        await world.pool.execute(
            "UPDATE jobs SET due_at = now() - CASE id WHEN $1 THEN interval '1 second' ELSE interval '1 ms' END",
            greedy.id,
        )
        await store.move()
    chunks = await world.pool.fetch("SELECT id, chunks FROM jobs")
    assert {row["id"]: row["chunks"] for row in chunks} == {greedy.id: 2, modest.id: 2}


# -- replays --


async def test_a_replay_makes_a_new_delivery_of_each_event_that_says_so(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    before = await world.deliver_many(subscription, 3)
    await world.put(*before, status="delivered")
    store = store_of(world)
    job = await finished(world, store, await created(store, JobKind.REPLAY, of(subscription)))
    assert (job.matched, job.done, job.skipped, job.gone) == (3, 3, 0, 0)
    async with world.running():
        await world.all_in(subscription, "delivered", 6)
    sent = {UUID(request.headers["webhook-id"]) for request in receiver.requests}
    assert len(sent) == 3
    assert sent.isdisjoint(before)
    assert {request.headers.get("X-Webhook-Replay") for request in receiver.requests} == {"true"}
    assert {name.bytes[:8] for name in sent} == {name.bytes[:8] for name in before}


async def test_a_replay_to_another_subscription_gives_it_each_event_once(world: World) -> None:
    first, second, new = [await world.subscription("https://receiver.example/hook") for _ in range(3)]
    (one,) = await world.deliver_many(first, 1)
    event_id = (await world.row(one))["event_id"]
    await deliveries.insert(world.pool, [(ids.of_delivery(event_id, second), event_id)], subscription_id=second)
    store = store_of(world)
    made = await store.create(
        "default", JobKind.REPLAY, of(first, second), rate_per_second=10_000, to_subscription_id=new
    )
    now = await finished(world, store, made.job)
    assert (now.matched, now.done, now.skipped) == (2, 1, 1)
    assert await world.statuses(new) == {"pending": 1}
    await world.agrees()


async def test_a_replay_to_a_subscription_of_another_tenant_is_not_found(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other') ON CONFLICT DO NOTHING")
    others = World(pool=world.pool, database_url=world.database_url, redis_url=world.redis_url, tenant_id="other")
    theirs = await others.subscription("https://receiver.example/hook")
    for make in (store_of(world).create, store_of(world).preview):
        fields: dict[str, Any] = {"rate_per_second": 1} if make.__name__ == "create" else {}
        with pytest.raises(errors.NotFound):
            await make("default", JobKind.REPLAY, of(subscription), to_subscription_id=theirs, **fields)


async def test_a_target_is_only_for_replays(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    with pytest.raises(errors.InvalidArgument, match="to_subscription_id"):
        await store_of(world).preview("default", RETRY, of(subscription), to_subscription_id=subscription)


# -- the rate --


async def moved(world: World, store: JobStore, job: Job) -> Job:
    """Do a chunk of a job, and return the job."""
    await world.pool.execute("UPDATE jobs SET due_at = now() WHERE id = $1", job.id)
    assert await store.move()
    return await store.get("default", job.id)


async def test_the_current_rate_is_that_of_the_last_seconds_and_says_when_the_job_ends(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    made = await created(store_of(world), RETRY, of(subscription))
    now = made.now
    job = dataclasses.replace(
        made, status=JobStatus.RUNNING, window_at=now - timedelta(seconds=20), window_from=100, matched=1_100,
        done=550, skipped=30, gone=20,
    )  # fmt: skip
    assert (job.current_rate_per_second, job.estimated_end_at) == (25.0, now + timedelta(seconds=20))
    stalled = dataclasses.replace(job, window_from=600)
    assert (stalled.current_rate_per_second, stalled.estimated_end_at) == (0.0, None)
    assert dataclasses.replace(job, matched_exact=False).estimated_end_at is None
    for changes in ({"status": JobStatus.PAUSED}, {"window_at": now - timedelta(seconds=0.5)}, {"window_at": None}):
        other = dataclasses.replace(job, **changes)
        assert (other.current_rate_per_second, other.estimated_end_at) == (None, None)


async def test_the_rate_is_measured_anew_every_ten_seconds_and_after_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_DELIVERIES", 5)
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 40)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    assert job.window_at is None
    for looked_at, measured_from in ((5, 5), (10, 5)):
        job = await moved(world, store, job)
        assert (job.looked_at, job.window_from) == (looked_at, measured_from)
    for looked_at, measured_from in ((15, 5), (20, 15)):
        later = "UPDATE jobs SET window_at = window_at - $1::interval, next_window_at = next_window_at - $1::interval"
        await world.pool.execute(later, timedelta(seconds=3_600))
        job = await moved(world, store, job)
        assert (job.looked_at, job.window_from) == (looked_at, measured_from)
        assert job.current_rate_per_second is not None
    assert (await store.pause("default", job.id)).window_at is None
    await store.resume("default", job.id)
    job = await moved(world, store, job)
    assert (job.looked_at, job.window_from) == (25, 25)


# -- repeated requests --


def key_of(wanted: DeliveryFilter, key: str = "one", tenant_id: str = "default") -> Key:
    request = jobs_pb2.CreateJobRequest(kind=jobs_pb2.JOB_KIND_RETRY, filter=wanted, idempotency_key=key)
    made = idempotency.key_of_request(tenant_id, "jobs", request)
    assert made
    return made


async def test_a_repeated_call_with_a_key_returns_the_job_as_it_is_now(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    await failed(world, subscription, 3)
    async with client_of(world) as client:
        request = jobs_pb2.CreateJobRequest(
            kind=jobs_pb2.JOB_KIND_RETRY, filter=of(subscription), rate_per_second=2_000, idempotency_key="one"
        )
        first = await client.CreateJob(request)
        assert not first.replayed

        async def complete() -> bool:
            found = await client.GetJob(jobs_pb2.GetJobRequest(job_id=first.job.id))
            return bool(found.job.status == jobs_pb2.JOB_STATUS_SUCCEEDED and found.job.results.delivered == 3)

        await wait_until(complete, what="the job and its deliveries")
        again = await client.CreateJob(request)
        assert (again.replayed, again.job.id, again.job.counts.done) == (True, first.job.id, 3)
        request.rate_per_second = 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.CreateJob(request)
        assert grpc_errors.from_rpc_error(raised.value).reason == "IDEMPOTENCY_KEY_REUSED"
    assert len(receiver.requests) == 3


async def test_requests_with_one_key_at_once_create_one_job(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 3)
    store, wanted = store_of(world), of(subscription)
    makes = [store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted)) for _ in range(6)]
    made = await asyncio.gather(*makes)
    assert len({one.job.id for one in made}) == 1
    assert sorted(one.replayed for one in made) == [False, *[True] * 5]
    assert await world.pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_repeated_start_with_a_key_returns_the_job_that_its_token_started(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    token = (await store.preview("default", RETRY, of(subscription))).token
    key = key_of(of(subscription))
    first = await store.start("default", token, rate_per_second=1, key=key)
    again = await store.start("default", token, rate_per_second=1, key=key)
    assert (again.job.id, first.replayed, again.replayed) == (first.job.id, False, True)


async def test_a_repeated_request_counts_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store, wanted = store_of(world), of(subscription)
    first = await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    monkeypatch.delattr(JobStore, "_counted")
    again = await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    assert (again.job.id, again.replayed) == (first.job.id, True)


async def test_the_key_of_a_request_that_was_refused_is_free(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store, wanted = store_of(world), of(subscription)
    other = await created(store, RETRY, wanted)
    with pytest.raises(errors.Conflict) as raised:
        await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    assert raised.value.reason == "JOB_CONFLICT"
    await store.cancel("default", other.id)
    made = await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    assert not made.replayed


async def test_a_key_is_of_a_tenant_and_ends(world: World) -> None:
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other') ON CONFLICT DO NOTHING")
    store = store_of(world)
    wanted = DeliveryFilter()
    wanted.from_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    mine = await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    theirs = await store.create("other", RETRY, wanted, rate_per_second=1, key=key_of(wanted, tenant_id="other"))
    assert (mine.replayed, theirs.replayed, theirs.job.id == mine.job.id) == (False, False, False)
    await store.cancel("default", mine.job.id)
    await world.pool.execute("UPDATE idempotency_keys SET expires_at = now()")
    later = await store.create("default", RETRY, wanted, rate_per_second=1, key=key_of(wanted))
    assert (later.replayed, later.job.id == mine.job.id) == (False, False)


# -- previews --


async def test_a_preview_says_what_its_job_then_does(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    mended = await failed(world, subscription, 12)
    await world.put(mended[0], status="failed", reason="expired")
    await world.drop_payload(mended[1])
    store = store_of(world)
    preview = await store.preview("default", RETRY, of(subscription))
    assert (preview.matched, preview.exact, preview.skipped, preview.gone) == (12, True, 0, 1)
    assert preview.reasons == {"retries_exhausted": 11, "expired": 1}
    assert [row["delivery_id"] for row in preview.samples] == sorted(mended)[:10]
    assert await world.statuses(subscription) == {"failed": 12}

    late = await failed(world, subscription, 3)
    made = await store.start("default", preview.token, rate_per_second=10_000)
    now = await finished(world, store, made.job)
    assert (now.matched, now.done, now.skipped, now.gone) == (12, 11, 0, 1)
    assert {(await world.row(name))["status"] for name in late} == {"failed"}


async def test_a_token_starts_one_job_of_its_tenant(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    token = (await store.preview("default", RETRY, of(subscription))).token
    with pytest.raises(errors.NotFound):
        await store.start("other", token, rate_per_second=1)
    await finished(world, store, (await store.start("default", token, rate_per_second=1)).job)
    with pytest.raises(errors.NotFound):
        await store.start("default", token, rate_per_second=1)


async def test_a_token_that_has_expired_starts_nothing(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    token = (await store.preview("default", RETRY, of(subscription))).token
    await world.pool.execute("UPDATE job_previews SET expires_at = now()")
    with pytest.raises(errors.NotFound):
        await store.start("default", token, rate_per_second=1)
    await store.preview("default", RETRY, of(subscription))
    assert await world.pool.fetchval("SELECT count(*) FROM job_previews") == 1


async def test_a_tenant_has_few_dry_runs_at_once_and_others_have_theirs(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store, wanted = store_of(world), of(subscription)
    running = [asyncio.create_task(store.preview("default", RETRY, wanted)) for _ in range(jobs.MAX_PREVIEWING)]
    await asyncio.sleep(0)  # each has begun
    with pytest.raises(errors.TenantOverloaded):
        await store.preview("default", RETRY, wanted)
    with pytest.raises(errors.NotFound):
        await store.preview("other", RETRY, wanted)
    await asyncio.gather(*running)
    assert (await store.preview("default", RETRY, wanted)).exact


async def test_a_tenant_keeps_its_newest_dry_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_PREVIEWS", 2)
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    oldest, *newest = [(await store.preview("default", RETRY, of(subscription))).token for _ in range(3)]
    await store.preview("other", RETRY, DeliveryFilter(tag=["order=1"]))
    with pytest.raises(errors.NotFound):
        await store.start("default", oldest, rate_per_second=1)
    for token in newest:
        await finished(world, store, (await store.start("default", token, rate_per_second=1)).job)


async def test_counting_ends_after_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "COUNT_SECONDS", -1.0)
    monkeypatch.setattr(jobs, "COUNTED_AT_ONCE", 5)
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 12)
    since = DeliveryFilter()
    since.from_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    store = store_of(world)
    of_deliveries = await store.preview("default", RETRY, of(subscription))
    of_events = await store.preview("default", JobKind.REPLAY, since, to_subscription_id=subscription, only=Only.ALL)
    assert {(found.matched, found.exact) for found in (of_deliveries, of_events)} == {(5, False)}


async def test_counts_over_the_bound_are_at_least(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "COUNTED", 10)
    monkeypatch.setattr(jobs, "COUNTED_AT_ONCE", 5)
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 30)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    assert (job.matched, job.matched_exact) == (10, False)
    now = await finished(world, store, job)
    assert (now.matched, now.matched_exact, now.done) == (30, True, 30)


# -- pause, resume, cancel, and what may run beside each other --


async def test_a_paused_job_does_nothing_until_it_is_resumed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_DELIVERIES", 4)
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 10)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    await store.move()
    assert (await store.pause("default", job.id)).status is JobStatus.PAUSED
    assert (await store.pause("default", job.id)).status is JobStatus.PAUSED
    await world.pool.execute("UPDATE jobs SET due_at = now()")
    assert await store.move() is None
    assert await world.statuses(subscription) == {"pending": 4, "failed": 6}
    assert (await store.resume("default", job.id)).status is JobStatus.RUNNING
    assert (await finished(world, store, job)).done == 10


async def test_a_cancelled_job_keeps_what_it_has_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_DELIVERIES", 4)
    subscription = await world.subscription("https://receiver.example/hook")
    await failed(world, subscription, 10)
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    await store.move()
    assert (await store.cancel("default", job.id)).status is JobStatus.CANCELLED
    assert (await store.cancel("default", job.id)).done == 4
    assert await store.move() is None
    for change in (store.pause, store.resume):
        with pytest.raises(errors.Conflict) as raised:
            await change("default", job.id)
        assert raised.value.reason == "JOB_FINISHED"
    assert await world.statuses(subscription) == {"pending": 4, "failed": 6}


async def test_two_jobs_of_a_kind_do_not_touch_one_subscription(world: World) -> None:
    first, second = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    store = store_of(world)
    running = await created(store, RETRY, of(first))
    everywhere = of()
    everywhere.from_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    for wanted in (of(first), of(second, first), everywhere):
        with pytest.raises(errors.Conflict) as raised:
            await created(store, RETRY, wanted)
        assert raised.value.reason == "JOB_CONFLICT"
    await created(store, CANCEL, of(first))
    await created(store, RETRY, of(second))
    await finished(world, store, running)
    await created(store, RETRY, of(first))


async def test_a_tenant_has_at_most_five_jobs_at_once(world: World) -> None:
    subscriptions = [await world.subscription("https://receiver.example/hook") for _ in range(6)]
    store = store_of(world)
    for name in subscriptions[:5]:
        await created(store, RETRY, of(name))
    with pytest.raises(errors.Conflict) as raised:
        await created(store, RETRY, of(subscriptions[5]))
    assert raised.value.reason == "TOO_MANY_JOBS"


async def test_jobs_of_another_tenant_are_not_found(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    job = await created(store, RETRY, of(subscription))
    for ask in (store.get, store.pause, store.resume, store.cancel):
        with pytest.raises(errors.NotFound):
            await ask("other", job.id)
    with pytest.raises(errors.NotFound):
        await store.create("other", RETRY, of(subscription), rate_per_second=1)
    assert await store.page("other", status=None, before=ids.new(), limit=10) == []


async def test_jobs_that_ended_long_ago_are_removed_with_the_next(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    old = await finished(world, store, await created(store, RETRY, of(subscription)))
    shifted = ids.shifted(old.id, -31 * 86_400)
    await world.pool.execute("UPDATE jobs SET id = $1, ended_at = now() - interval '31 days'", shifted)
    assert (await store.get("default", shifted)).id == shifted
    await created(store, RETRY, of(subscription))
    with pytest.raises(errors.NotFound):
        await store.get("default", shifted)


async def test_a_tenant_keeps_its_newest_jobs_and_those_that_have_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "KEEP_JOBS", 3)
    subscription = await world.subscription("https://receiver.example/hook")
    store = store_of(world)
    running = await created(store, RETRY, of(await world.subscription("https://receiver.example/other")))
    await store.pause("default", running.id)
    for _ in range(5):
        await finished(world, store, await created(store, RETRY, of(subscription)))
    made = [job.id for job in await store.page("default", status=None, before=paging.NEWEST, limit=50)]
    last = await created(store, RETRY, of(subscription))
    left = [job.id for job in await store.page("default", status=None, before=paging.NEWEST, limit=50)]
    assert left == [last.id, *made[:2], running.id]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("select_jobs", ("default", paging.NEWEST, None, 50)), ("forget_jobs", ("default", jobs.KEEP_DAYS, 100, 1_000))],
)
async def test_jobs_of_other_tenants_and_recent_ones_are_not_read_for_a_tenants(
    world: World, name: str, arguments: tuple[Any, ...]
) -> None:
    async with world.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        # Among few jobs any plan is good.
        await connection.execute(
            "INSERT INTO jobs (id, tenant_id, kind, filter, subscriptions, created_by, frozen_at, matched,"
            " matched_exact, status, rate_per_second)"
            " SELECT uuidv7(), 'other' || n, 'retry', '{}', '{}', '', now(), 0, true, 'succeeded', 1"
            " FROM generate_series(1, 5000) AS n"
        )
        await connection.execute("ANALYZE jobs")
        plan = await connection.fetch(f"EXPLAIN {jobs.SQL[name]}", *arguments)
        await transaction.rollback()
    bounds = [row[0] for row in plan if "Index Cond" in row[0]]
    assert any("tenant_id = " in bound and "id < " in bound for bound in bounds), plan
