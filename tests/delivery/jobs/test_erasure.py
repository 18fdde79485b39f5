"""Erasing events: nothing that was sent or answered is in any row afterwards, and nothing can bring it back."""

import asyncio
import base64
import dataclasses
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from dev.harness import deliveries
from dev.harness.receiver import Receiver, Reply
from protos.webhook.v1.deliveries_pb2 import DELIVERY_STATUS_FAILED, DeliveryFilter
from services.delivery.jobs import erasure
from services.delivery.jobs.plans import Job
from services.delivery.jobs.store import JobStore
from services.delivery.worker import decisions
from services.delivery.worker.store import WorkerStore
from services.domain.idempotency import key_of
from services.domain.sender_context import SenderContext
from services.domain.states import AttemptOutcome, JobKind, JobStatus
from services.ingest.catalog.store import CatalogStore, Findings
from services.ingest.events.records import NewEvent
from services.ingest.events.store import EventStore
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Capability, Role
from tests.delivery.jobs.test_jobs import finished, store_of
from tests.delivery.worker.test_decisions import POLICY
from tests.delivery.world import World, attempt, until_true

ERASE = JobKind.ERASE
SECRET = b"card4111111111111111"
MAY_ERASE = Identity(
    key_id="anonymous", role=Role.WRITE, tenant_id="default", capabilities=frozenset((Capability.ERASE,))
)


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    token = identity.CALLER.set(MAY_ERASE)
    yield
    identity.CALLER.reset(token)


def of(*event_ids: UUID, **fields: Any) -> DeliveryFilter:
    return DeliveryFilter(event_ids=[str(name) for name in event_ids], **fields)


def since(age: timedelta = timedelta(hours=1), **fields: Any) -> DeliveryFilter:
    wanted = DeliveryFilter(**fields)
    wanted.from_time.FromDatetime(datetime.now(UTC) - age)
    return wanted


async def created(world: World, wanted: DeliveryFilter, *, rate_per_second: int = 10_000) -> Job:
    return (await store_of(world).create("default", ERASE, wanted, rate_per_second=rate_per_second)).job


async def erased(world: World, *event_ids: UUID) -> Job:
    """Erase events."""
    return await finished(world, store_of(world), await created(world, of(*event_ids)))


def events_of(world: World) -> EventStore:
    return EventStore(world.pool, expiry_hours=168, key_hours=24)


def event(payload: bytes, *subscriptions: UUID, key: str | None = None, event_type: str = "order.created") -> NewEvent:
    event_id = ids.new()
    return NewEvent(
        id=event_id,
        tenant_id="default",
        event_type=event_type,
        content_type="application/json",
        payload=payload,
        deliveries=[(ids.of_delivery(event_id, name), name, True) for name in subscriptions],
        key=key_of("default", "events", key, payload) if key else None,
        # As senders of CloudEvents repeat in attributes what is in the payload.
        sender_context=SenderContext(cloudevent={"id": "1", "source": "/", "card": payload.decode()}).text,
    )


def a_key() -> str:
    """Return an idempotency key that no other test has used: they outlive the rows of a test."""
    return f"order-{secrets.token_hex(8)}"


async def stored(world: World, made: NewEvent) -> NewEvent:
    insert = events_of(world).insert_keyed_events if made.key else events_of(world).insert_events
    (result,) = await insert([made], hidden_seconds=0)
    assert not isinstance(result, errors.WebhookError)
    return made


async def event_of(world: World, delivery_id: UUID) -> UUID:
    event_id: UUID = (await world.row(delivery_id))["event_id"]
    return event_id


async def tables_with(world: World, *needles: bytes) -> set[str]:
    """Return the tables of which a row has one of these, as bytes or as text, or in base64."""
    forms = [form for needle in needles for form in (needle.hex(), _base64(needle))]
    forms += [needle.decode() for needle in needles if needle.isascii() and needle.isalnum()]
    query = (
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind = 'r'"
    )
    found = set()
    for row in await world.pool.fetch(query):
        text = f"SELECT EXISTS (SELECT FROM {row['name']} AS t CROSS JOIN unnest($1::text[]) AS form (text)"
        if await world.pool.fetchval(f"{text} WHERE strpos(t::text, form.text) > 0)", forms):
            found.add(row["name"].rpartition("_20")[0] or row["name"])
    return found


def _base64(needle: bytes) -> str:
    # Of the middle, which is the same wherever the needle begins.
    return base64.b64encode(needle)[4:-4].decode()


def echo(secret: bytes, **fields: Any) -> Reply:
    """Return a response that has what was sent wherever a receiver can put it."""
    headers = {"X-Echo": secret.decode(), "Location": f"https://receiver.example/{secret.decode()}"}
    return Reply(body=lambda sent: sent, headers=headers, **fields)


# -- what is left --


async def test_an_erasure_by_tag_erases_the_tags_of_what_it_erases(world: World) -> None:
    owner = await world.subscription("https://receiver.example/hook")
    tagged = [dataclasses.replace(event(SECRET, owner), tags=["customer=acme", f"n={number}"]) for number in range(3)]
    tagged += [dataclasses.replace(event(SECRET), tags=["customer=other"])]
    for made in tagged:
        await stored(world, made)
    job = await finished(world, store_of(world), await created(world, DeliveryFilter(tag=["customer=acme", "n=0"])))
    assert (job.matched, job.done) == (3, 3)
    left = await world.pool.fetch("SELECT event_id, tag FROM event_tags")
    assert [(row["event_id"], row["tag"]) for row in left] == [(tagged[3].id, "customer=other")]
    assert await world.pool.fetchval("SELECT count(*) FROM webhook_events WHERE payload IS NOT NULL") == 1
    again = await created(world, DeliveryFilter(tag=["customer=acme"]))
    assert again.matched == 0


async def test_an_erasure_leaves_no_byte_of_the_payload_in_any_row_of_any_table(
    world: World, receiver: Receiver
) -> None:
    secret = secrets.token_hex(24).encode()
    receiver.script(then=echo(secret), path="/well")
    receiver.script(then=echo(secret, status=503), path="/badly")
    receiver.script(then=echo(secret, status=302), path="/elsewhere")
    targets = [await world.subscription(receiver.url(path)) for path in ("/well", "/badly", "/elsewhere")]
    made = await stored(world, event(b'{"card":"%b"}' % secret, *targets, key=a_key()))
    assert made.key
    async with world.running(record_attempt_details="all", retry_limit=1, retry_base_seconds=3600):
        well, badly, elsewhere = [delivery_id for delivery_id, _, _ in made.deliveries]
        await world.in_state(well, "delivered")
        for delivery_id in (badly, elsewhere):
            await world.in_state(delivery_id, "failed", "scheduled")
    everywhere = {"webhook_events", "delivery_attempts", "idempotency_keys"}
    assert await tables_with(world, secret, made.key.request_hash) == everywhere

    job = await erased(world, made.id)
    assert (job.status, job.matched, job.done, job.skipped, job.gone) == (JobStatus.SUCCEEDED, 1, 1, 0, 0)
    assert await tables_with(world, secret, made.key.request_hash) == set()
    assert (await world.row(well))["status"] == "delivered"
    for delivery_id in (badly, elsewhere):
        row = await world.row(delivery_id)
        assert (row["status"], row["reason"]) in {("cancelled", "erased"), ("failed", "retries_exhausted")}
    # What statistics are made of stays.
    for delivery_id in (well, badly, elsewhere):
        (kept,) = await world.attempts(delivery_id)
        assert (kept["status_code"], kept["duration_ms"] is None) in {(200, False), (503, False), (302, False)}
    await world.agrees()


async def test_an_erasure_erases_what_an_event_was_converted_to(world: World) -> None:
    made = await stored(world, event(b"{}"))
    await world.pool.execute("UPDATE webhook_events SET converted = $2 WHERE id = $1", made.id, SECRET)
    assert await tables_with(world, SECRET) == {"webhook_events"}
    await erased(world, made.id)
    assert await tables_with(world, SECRET) == set()


async def test_an_erasure_forgets_what_was_wrong_with_the_last_invalid_event(world: World) -> None:
    """It names members of a payload, and nobody knows of which event it was."""
    await world.pool.execute(
        "INSERT INTO tenants (id, name) SELECT id, id FROM unnest(ARRAY['default', 'another']) AS t (id)"
        " ON CONFLICT (id) DO NOTHING"
    )
    named = (("default", "order.paid"), ("default", "user.made"), ("another", "order.paid"))
    types = {name: ids.new() for name in named}
    for (tenant_id, name), type_id in types.items():
        statement = "INSERT INTO event_types (id, tenant_id, name) VALUES ($1, $2, $3)"
        await world.pool.execute(statement, type_id, tenant_id, name)
    catalog = CatalogStore(world.pool, key_hours=24)

    async def found() -> dict[UUID, tuple[int, list[str]]]:
        rows = await world.pool.fetch("SELECT event_type_id, events, last_errors FROM invalid_events")
        return {row["event_type_id"]: (row["events"], row["last_errors"]) for row in rows}

    wrong = [f"payload/{secrets.token_hex(8)}: is not allowed"]
    an_hour_ago = Findings(events=1, last_at=datetime.now(UTC) - timedelta(hours=1), last_errors=wrong)
    await catalog.add_findings(dict.fromkeys(types.values(), an_hour_ago))
    order, user, others = types.values()
    made = await stored(world, event(SECRET))
    await finished(world, store_of(world), await created(world, of(made.id, event_type=["order.*"])))
    assert await found() == {order: (1, []), user: (1, wrong), others: (1, wrong)}
    # What another process finds written down late is of before the erasure, and what comes later is not.
    later = Findings(
        events=1, last_at=datetime.now(UTC) + timedelta(minutes=1), last_errors=["payload/id: is required"]
    )
    await catalog.add_findings({order: an_hour_ago, user: later, others: an_hour_ago})
    assert await found() == {order: (2, []), user: (2, later.last_errors), others: (2, wrong)}
    # A job of another kind leaves it.
    await world.pool.execute("UPDATE jobs SET kind = 'cancel'")
    await catalog.add_findings({order: an_hour_ago})
    assert (await found())[order] == (3, wrong)


async def test_an_erasure_deletes_scheduled_events_that_it_selects(world: World) -> None:
    due = datetime.now(UTC) + timedelta(days=1)
    scheduled = [
        dataclasses.replace(
            event(SECRET, key=a_key()),
            id=ids.at_millisecond(ids.new(), int(due.timestamp() * 1000)),
            deliver_at=due,
            tags=[f"customer={name}"],
        )
        for name in ("acme", "acme", "other")
    ]
    due_ms = ids.milliseconds(scheduled[0].id)
    theirs, late = (
        dataclasses.replace(scheduled[0], id=ids.at_millisecond(ids.new(), due_ms), key=None, tenant_id=tenant)
        for tenant in ("other", "default")
    )
    for made in (*scheduled, theirs):
        await stored(world, made)
    job = await created(world, DeliveryFilter(tag=["customer=acme"]))
    await stored(world, late)
    job = await finished(world, store_of(world), job)
    assert job.done == 2
    left = {row["id"] for row in await world.pool.fetch("SELECT id FROM scheduled_events")}
    assert left == {scheduled[2].id, theirs.id, late.id}
    await world.pool.execute("DELETE FROM scheduled_events WHERE id = ANY($1)", [theirs.id, late.id])
    hashes = await world.pool.fetch("SELECT object_id FROM idempotency_keys WHERE request_hash <> ''")
    assert scheduled[2].id in {row["object_id"] for row in hashes}
    assert not {made.id for made in scheduled[:2]} & {row["object_id"] for row in hashes}
    assert (await erased(world, scheduled[2].id)).done == 1
    assert await tables_with(world, SECRET) == set()


@pytest.mark.parametrize("by", ["since", "tag", "event_ids"])
async def test_an_erasure_erases_what_became_due_before_it_came_to_it(world: World, by: str) -> None:
    job_at = datetime.now(UTC) - timedelta(hours=1)
    before, after = (
        dataclasses.replace(event(SECRET), tags=["customer=acme"], accepted_at=job_at + timedelta(minutes=minutes))
        for minutes in (-1, 1)
    )
    async with world.pool.acquire() as connection, connection.transaction():
        await events_of(world).insert_due(connection, [before, after], hidden_seconds=0)
    wanted = {
        "since": since(timedelta(hours=2)),
        "tag": DeliveryFilter(tag=["customer=acme"]),
        "event_ids": of(before.id, after.id),
    }
    job = await created(world, wanted[by])
    await world.pool.execute("UPDATE jobs SET frozen_at = $2 WHERE id = $1", job.id, job_at)
    await finished(world, store_of(world), job)
    rows = await world.pool.fetch("SELECT id, erased_at FROM webhook_events")
    assert {row["id"]: row["erased_at"] is not None for row in rows} == {before.id: True, after.id: False}


async def test_unfinished_deliveries_of_an_erased_event_are_cancelled_for_it(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    states = ["pending", "scheduled", "in_flight", "delivered", "failed", "cancelled"]
    made = await world.deliver_many(subscription, len(states))
    for name, status in zip(made, states, strict=True):
        await world.put(name, status=status, due_in=3600, token=ids.new())
    other = await world.deliver(subscription, due_in=3600)
    await erased(world, *[await event_of(world, name) for name in made])
    rows = [await world.row(name) for name in made]
    assert [row["status"] for row in rows] == ["cancelled"] * 3 + ["delivered", "failed", "cancelled"]
    assert [row["reason"] for row in rows[:3]] == ["erased"] * 3
    assert (await world.row(other))["status"] == "pending"
    assert await world.unattempted_ends() == [(subscription, None, "cancelled", 3)]
    await world.agrees()


async def test_what_a_worker_records_after_its_event_was_erased_has_nothing_of_it(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    delivery_id = await world.deliver(subscription, SECRET)
    store = WorkerStore(world.pool, world.worker_settings())
    (claimed,) = await store.claim([delivery_id])
    await erased(world, claimed.event_id)
    for kind in (AttemptOutcome.HTTP_5XX, AttemptOutcome.SUCCESS):
        seen = msgspec.structs.replace(
            attempt(kind, claimed, status_code=200, error_message=SECRET.decode()),
            response_body=SECRET.decode(),
            details=SECRET.decode(),
        )
        late = msgspec.structs.replace(claimed, token=ids.new())
        await store.record([decisions.decide(claimed, [seen], POLICY)])
        await store.record([decisions.decide(late, [seen], POLICY)])
        row = await world.row(delivery_id)
        assert (row["status"], row["reason"]) == ("cancelled", "erased")
    assert await world.attempts(delivery_id)
    assert await tables_with(world, SECRET) == set()
    await world.agrees()


async def test_a_worker_sends_nothing_of_an_event_without_payload(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    delivery_id = await world.deliver(subscription)
    await world.pool.execute("UPDATE webhook_events SET payload = NULL")
    async with world.running():
        row = await world.in_state(delivery_id)
    assert (row["status"], row["reason"]) == ("cancelled", "erased")
    assert receiver.requests == []


async def test_an_erased_event_no_longer_counts_for_the_stored_bytes_of_its_tenant(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    made = await stored(world, event(b"x" * 1_000, subscription))
    day = ids.moment_of(made.id).date()
    await world.pool.execute("DELETE FROM tenant_storage")
    await world.pool.execute("INSERT INTO tenant_storage VALUES ($1, 'default', 2, 1500), ($1, 'other', 1, 1000)", day)
    try:
        await erased(world, made.id)
        rows = await world.pool.fetch("SELECT tenant_id, events, bytes FROM tenant_storage ORDER BY tenant_id")
    finally:
        await world.pool.execute("DELETE FROM tenant_storage")
    assert [tuple(row) for row in rows] == [("default", 2, 500), ("other", 1, 1000)]


# -- what is refused afterwards --


async def test_an_erased_event_cannot_be_read_retried_or_replayed(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    delivery_id = await world.deliver(subscription)
    await world.put(delivery_id, status="failed", reason="retries_exhausted")
    event_id = await event_of(world, delivery_id)
    await erased(world, event_id)
    with pytest.raises(errors.Erased):
        await world.retry(delivery_id)
    with pytest.raises(errors.Erased):
        await events_of(world).event("default", event_id)
    store = store_of(world)
    for kind in (JobKind.RETRY, JobKind.REPLAY):
        wanted = DeliveryFilter(subscription_id=[str(subscription)])
        preview = await store.preview("default", kind, wanted)
        assert (preview.matched, preview.gone) == (1, 1)
        made = await store.create("default", kind, wanted, rate_per_second=10_000)
        now = await finished(world, store, made.job)
        assert (now.matched, now.done, now.gone) == (1, 0, 1)


async def test_a_repeated_request_of_an_erased_event_stores_nothing_again(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    key = a_key()
    keyed = await stored(world, event(SECRET, subscription, key=key))
    plain = await stored(world, event(SECRET, subscription))
    await erased(world, keyed.id, plain.id)
    again = event(SECRET, subscription, key=key)
    (answer,) = await events_of(world).insert_keyed_events([again], hidden_seconds=0)
    assert not isinstance(answer, errors.WebhookError)
    assert (answer.event_id, answer.repeated) == (keyed.id, True)
    (answer,) = await events_of(world).insert_events([plain], hidden_seconds=0)
    assert not isinstance(answer, errors.WebhookError)
    assert (answer.event_id, answer.repeated) == (plain.id, True)
    assert await tables_with(world, SECRET) == set()
    assert await world.statuses(subscription) == {"cancelled": 2}


# -- many deliveries --


async def test_an_event_with_many_deliveries_is_erased_in_chunks_by_whichever_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK_DELIVERIES", 4)
    subscriptions = [await world.subscription("https://receiver.example/hook") for _ in range(10)]
    made = await stored(world, event(SECRET, *subscriptions))
    small = await world.deliver(subscriptions[0])
    await world.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
        " VALUES ($1, 'default', 'order.created', now(), 20)",
        made.id,
    )
    job = await created(world, since())
    assert job.matched == 2
    await store_of(world).move()
    # The payload is the first to go, and no more deliveries are made.
    assert await tables_with(world, SECRET) == set()
    assert await world.pool.fetch("SELECT FROM event_expansions") == []
    states = [(await world.row(name))["status"] for name, _, _ in made.deliveries]
    assert states.count("cancelled") == 4
    assert (await store_of(world).get("default", job.id)).done == 0
    now = await finished(world, store_of(world), job)
    assert (now.done, now.chunks) == (2, 4)
    assert {(await world.row(name))["status"] for name in [small, *(name for name, _, _ in made.deliveries)]} == {
        "cancelled"
    }
    assert await world.pool.fetchval("SELECT count(*) FROM webhook_events WHERE erased_at IS NULL") == 0
    await world.agrees()


async def test_what_a_cancelled_erasure_has_begun_the_next_one_completes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK_DELIVERIES", 4)
    subscriptions = [await world.subscription("https://receiver.example/hook") for _ in range(6)]
    made = await stored(world, event(SECRET, *subscriptions))
    store = store_of(world)
    job = await created(world, of(made.id))
    await store.move()
    await store.cancel("default", job.id)
    assert await world.pool.fetchval("SELECT erased_at FROM webhook_events") is None
    assert (await erased(world, made.id)).done == 1
    assert {(await world.row(name))["status"] for name, _, _ in made.deliveries} == {"cancelled"}
    assert (await erased(world, made.id)).matched == 0


async def test_an_erasure_waits_for_whoever_makes_deliveries_of_its_event(world: World) -> None:
    first, second = [await world.subscription("https://receiver.example/hook") for _ in range(2)]
    made = await stored(world, event(SECRET, first))
    await world.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
        " VALUES ($1, 'default', 'order.created', now(), 2)",
        made.id,
    )
    job = await created(world, of(made.id))
    late = ids.of_delivery(made.id, second)
    async with world.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch("SELECT FROM event_expansions FOR UPDATE")
        moving = asyncio.create_task(store_of(world).move())

        async def waits() -> bool:
            return bool(await world.pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

        await until_true(waits, "the erasure to wait")
        await deliveries.insert(world.pool, [(late, made.id)], subscription_id=second)
        await transaction.commit()
        await moving
    await finished(world, store_of(world), job)
    assert (await world.row(late))["status"] == "cancelled"


# -- which events --


async def test_an_erasure_touches_the_events_that_it_names_and_no_others(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    mine = await world.deliver(subscription, event_type="order.created")
    typed = await world.deliver(subscription, event_type="invoice.paid")
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other') ON CONFLICT DO NOTHING")
    others = World(pool=world.pool, database_url=world.database_url, redis_url=world.redis_url, tenant_id="other")
    theirs = await others.deliver(
        await others.subscription("https://receiver.example/hook"), event_type="order.created"
    )

    job = await created(world, since(event_type=["order.*"]))
    late = await world.deliver(subscription, event_type="order.created")
    assert (await finished(world, store_of(world), job)).done == 1
    assert (await world.row(mine))["reason"] == "erased"
    assert {(await world.row(name))["status"] for name in (typed, theirs, late)} == {"pending"}

    job = await erased(world, await event_of(world, theirs), ids.new())
    assert (job.matched, job.done) == (0, 0)
    assert (await world.row(theirs))["status"] == "pending"


async def test_an_erasure_finds_events_by_what_they_were_accepted_under(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    key = a_key()
    keyed = await stored(world, event(SECRET, subscription, key=key))
    await stored(world, event(b"kept", subscription, key=a_key()))
    job = await created(world, DeliveryFilter(idempotency_key=[key]))
    assert (await finished(world, store_of(world), job)).done == 1
    assert await world.pool.fetchval("SELECT payload FROM webhook_events WHERE id <> $1", keyed.id) == b"kept"
    assert await tables_with(world, SECRET) == set()


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (DeliveryFilter(), "filter"),
        (DeliveryFilter(event_type=["order.created"]), "filter"),
        (since(subscription_id=[str(ids.new())]), "filter.subscription_id"),
        (since(status=[DELIVERY_STATUS_FAILED]), "filter.status"),
        (since(min_attempts=1), "filter.min_attempts"),
        (since(timedelta(hours=-1)), "filter.from"),
        (DeliveryFilter(event_ids=["no id"]), "event_ids"),
        (of(*[ids.new() for _ in range(erasure.MAX_NAMED + 1)]), "event_ids"),
    ],
)
async def test_an_erasure_that_is_not_of_events_or_without_a_bound_is_invalid(
    world: World, wanted: DeliveryFilter, field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        await created(world, wanted)
    assert [violation.field for violation in raised.value.violations] == [field]


async def test_a_preview_of_an_erasure_says_what_its_job_then_does(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    made = await world.deliver_many(subscription, 12)
    wanted = [await event_of(world, name) for name in made]
    store = store_of(world)
    preview = await store.preview("default", ERASE, since())
    assert (preview.matched, preview.exact, preview.skipped, preview.gone) == (12, True, 0, 0)
    assert [row["event_id"] for row in preview.samples] == sorted(wanted)[:10]
    assert preview.oldest_at
    assert await world.statuses(subscription) == {"pending": 12}
    late = await world.deliver(subscription)
    started = await store.start("default", preview.token, rate_per_second=10_000)
    now = await finished(world, store, started.job)
    assert (now.matched, now.done, now.skipped, now.gone) == (12, 12, 0, 0)
    assert (await world.row(late))["status"] == "pending"


async def test_events_that_go_during_an_erasure_are_gone(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    made = await world.deliver_many(subscription, 3)
    job = await created(world, since())
    await world.drop_payload(made[0])
    now = await finished(world, store_of(world), job)
    assert (now.matched, now.done, now.skipped, now.gone) == (3, 2, 0, 1)


# -- who may --


async def test_only_a_caller_with_the_capability_creates_or_changes_an_erasure(world: World) -> None:
    subscription = await world.subscription("https://receiver.example/hook")
    await world.deliver(subscription)
    store: JobStore = store_of(world)
    token = (await store.preview("default", ERASE, since())).token
    job = await created(world, since())
    identity.CALLER.set(Identity(key_id="anonymous", role=Role.WRITE, tenant_id="default"))
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: store.preview("default", ERASE, since()),
        lambda: store.create("default", ERASE, since(), rate_per_second=1),
        lambda: store.start("default", token, rate_per_second=1),
        lambda: store.pause("default", job.id),
        lambda: store.resume("default", job.id),
        lambda: store.cancel("default", job.id),
    ]
    for call in refused:
        with pytest.raises(errors.PermissionDenied) as raised:
            await call()
        assert raised.value.reason == "CAPABILITY_MISSING"
    assert (await store.get("default", job.id)).status is JobStatus.QUEUED
    for role in (Role.ADMIN, Role.ANYBODY):
        identity.CALLER.set(Identity(key_id="anonymous", role=role, tenant_id="default"))
        await store.pause("default", job.id)
        await store.resume("default", job.id)
