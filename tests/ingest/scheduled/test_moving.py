"""Scheduled events that are due become events with deliveries: once, never early, and in the partition of their day."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2
from services.ingest.scheduled import mover
from services.platform import ids
from tests.ingest.conftest import Ingest, eventually, serving
from tests.ingest.scheduled.test_scheduling import TYPE, at, cancel, soon

# Long enough for a subscription to be changed before an event is due.
SOON_SECONDS = 1.0


async def moved(ingest: Ingest, *event_ids: str) -> None:
    """Wait until none of the events is scheduled any more."""

    async def none_is_left() -> bool:
        left = "SELECT EXISTS (SELECT FROM scheduled_events WHERE id = ANY($1::uuid[]))"
        return not await ingest.pool.fetchval(left, [UUID(event_id) for event_id in event_ids])

    await eventually(none_is_left, "the scheduled events to be moved")


async def scheduled(ingest: Ingest, number: int, moment: datetime, payload: bytes = b"{}") -> list[UUID]:
    """Write rows of events that are due at a moment, as if they had been accepted before."""
    made = [ids.at_millisecond(ids.new(), int(moment.timestamp() * 1000)) for _ in range(number)]
    await ingest.pool.execute(
        "INSERT INTO scheduled_events (id, tenant_id, event_type, content_type, payload, payload_bytes)"
        " SELECT id, $2, $3, 'application/json', $4::bytea, length($4::bytea) FROM unnest($1::uuid[]) AS id",
        made,
        ingest.tenant_id,
        TYPE,
        payload,
    )
    # So that a look comes soon: what others wrote is found only now and then.
    await ingest.send(event_type="wakes.movers", delay_seconds=1)
    return made


async def test_an_event_that_is_due_gets_its_deliveries_and_is_not_early(ingest: Ingest) -> None:
    made = await ingest.create()
    due = soon(seconds=SOON_SECONDS)
    accepted = await ingest.send(
        event_type=TYPE,
        deliver_at=at(due),
        payload=b'{"a":  1}',
        content_type="application/vnd.a+json",
        tags={"a": "b"},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    await moved(ingest, accepted.event_id)
    row = await ingest.pool.fetchrow("SELECT * FROM webhook_events WHERE id = $1", UUID(accepted.event_id))
    assert row is not None
    assert row["created_at"] >= due
    assert due - timedelta(minutes=5) < row["accepted_at"] < due
    assert (row["payload"], row["content_type"]) == (b'{"a":  1}', "application/vnd.a+json")
    event = await ingest.event(accepted.event_id)
    assert (event.HasField("deliver_at"), dict(event.tags)) == (False, {"a": "b"})
    (delivery,) = await ingest.deliveries(accepted.event_id)
    assert (str(delivery["subscription_id"]), delivery["status"]) == (made.id, "pending")
    assert delivery["expires_at"] == due + timedelta(hours=168)
    partition = await ingest.pool.fetchval(
        "SELECT tableoid::regclass::text FROM webhook_events WHERE id = $1", row["id"]
    )
    assert partition == f"webhook_events_{due:%Y%m%d}"


@pytest.mark.parametrize("delay_seconds", [0, 1])
async def test_an_own_expiry_counts_from_when_an_event_is_due(ingest: Ingest, delay_seconds: int) -> None:
    await ingest.create()
    accepted = await ingest.send(event_type=TYPE, delay_seconds=delay_seconds, deliver_within_seconds=90)
    await moved(ingest, accepted.event_id)
    (delivery,) = await ingest.deliveries(accepted.event_id)
    if delay_seconds:
        assert delivery["expires_at"] == accepted.deliver_at.ToDatetime(UTC) + timedelta(seconds=90)
    else:
        assert delivery["expires_at"] == delivery["created_at"] + timedelta(seconds=90)


async def test_subscriptions_are_matched_when_an_event_is_due(ingest: Ingest) -> None:
    gone = await ingest.create()
    changed = await ingest.create(event_types=[TYPE])
    addressed = await ingest.create(event_types=["something.else"])
    due = at(soon(seconds=2 * SOON_SECONDS))
    to_all = await ingest.send(event_type=TYPE, deliver_at=due)
    to_one = await ingest.send(addressed.id, event_type="something.else", deliver_at=due)
    to_gone = await ingest.send(gone.id, event_type=TYPE, deliver_at=due)
    await ingest.delete(gone.id)
    await ingest.update(changed.id, event_types=["another"])
    later = await ingest.create(event_types=[TYPE])
    await moved(ingest, to_all.event_id, to_one.event_id, to_gone.event_id)
    got = [[str(row["subscription_id"]) for row in await ingest.deliveries(one.event_id)] for one in (to_all, to_one)]
    assert got == [[later.id], [addressed.id]]
    assert await ingest.deliveries(to_gone.event_id) == []
    assert (await ingest.event(to_gone.event_id)).id == to_gone.event_id


async def test_filters_are_evaluated_when_an_event_is_due(ingest: Ingest) -> None:
    wanting = await ingest.create(filter="event.data.amount > 10 && event.tags.a == 'b'")
    given: dict[str, Any] = {"event_type": TYPE, "deliver_at": at(soon(seconds=SOON_SECONDS)), "tags": {"a": "b"}}
    sent = [await ingest.send(payload=b'{"amount": %d}' % amount, **given) for amount in (5, 20)]
    sent += [await ingest.send(wanting.id, payload=b'{"amount": %d}' % amount, **given) for amount in (5, 20)]
    await moved(ingest, *(one.event_id for one in sent))
    assert [len(await ingest.deliveries(one.event_id)) for one in sent] == [0, 1, 0, 1]


async def test_an_event_with_a_large_fan_out_is_expanded_when_it_is_due(ingest: Ingest) -> None:
    await ingest.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url)"
        " SELECT gen_random_uuid(), $1, 'http://127.0.0.1:1/' FROM generate_series(1, 120)",
        ingest.tenant_id,
    )
    await ingest.create(event_types=["something.else"])
    accepted = await ingest.send(event_type=TYPE, delay_seconds=1, deliver_within_seconds=60)

    async def all_are_made() -> bool:
        return len(await ingest.deliveries(accepted.event_id)) == 120

    await eventually(all_are_made, "the event to be expanded")
    due = accepted.deliver_at.ToDatetime(UTC)
    assert {row["expires_at"] for row in await ingest.deliveries(accepted.event_id)} == {due + timedelta(seconds=60)}


async def test_a_cancelled_event_is_never_delivered(ingest: Ingest) -> None:
    await ingest.create()
    due = at(soon(seconds=SOON_SECONDS))
    cancelled, other = [await ingest.send(event_type=TYPE, deliver_at=due) for _ in range(2)]
    await cancel(ingest, cancelled.event_id)
    await moved(ingest, other.event_id)
    assert [event_id for event_id in (cancelled, other) if await ingest.deliveries(event_id.event_id)] == [other]


async def test_processes_share_what_is_due_and_make_each_delivery_once(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "CHUNK_EVENTS", 40)
    monkeypatch.setattr(mover, "ALL_SECONDS", 0.2)
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        tenants = [one, await one.of("small"), await one.of("large")]
        for tenant in tenants:
            await tenant.create()
        due = datetime.now(UTC) - timedelta(seconds=20)
        await asyncio.gather(
            scheduled(tenants[0], 50, due), scheduled(tenants[1], 3, due), scheduled(tenants[2], 400, due)
        )
        await scheduled(Ingest(other.channel, one.pool), 10, due)

        async def all_are_moved() -> bool:
            return not await one.pool.fetchval("SELECT EXISTS (SELECT FROM scheduled_events)")

        await eventually(all_are_moved, "all events to be moved")
        made = await one.pool.fetch(
            "SELECT tenant_id, count(*) AS deliveries, count(DISTINCT event_id) AS events FROM webhook_deliveries"
            " WHERE event_type = $1 GROUP BY tenant_id ORDER BY tenant_id",
            TYPE,
        )
        assert [tuple(row) for row in made] == [("default", 60, 60), ("large", 400, 400), ("small", 3, 3)]
        changes = "SELECT sum(events) = 0 AND sum(bytes) = 0 FROM scheduled_changes"
        assert await one.pool.fetchval(changes)


async def test_an_event_that_was_due_long_ago_gets_the_partition_of_its_day(alone: Ingest) -> None:
    await alone.create()
    due = datetime.now(UTC) - timedelta(days=40)
    (event_id,) = await scheduled(alone, 1, due)
    await moved(alone, str(event_id))
    (delivery,) = await alone.deliveries(str(event_id))
    assert delivery["expires_at"] == ids.moment_of(event_id) + timedelta(hours=168)


async def test_an_event_that_cannot_be_moved_holds_up_no_other(alone: Ingest) -> None:
    await alone.create()
    due = datetime.now(UTC) - timedelta(seconds=1)
    await alone.pool.execute("ALTER TABLE event_tags ADD CONSTRAINT broken CHECK (tag <> 'a=broken') NOT VALID")
    bad = (await scheduled(alone, 1, due, b'"bad"'))[0]
    await alone.pool.execute("UPDATE scheduled_events SET tags = '{a=broken}' WHERE id = $1", bad)
    good = await scheduled(alone, 3, due)
    await moved(alone, *map(str, good))
    assert await alone.pool.fetchval("SELECT count(*) FROM scheduled_events WHERE id = $1", bad) == 1


async def test_scheduled_events_of_a_deleted_tenant_are_deleted(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "ALL_SECONDS", 0.1)
    async with serving(database, redis_url) as ingest:
        gone = await ingest.of("gone")
        kept = await ingest.send(event_type=TYPE, delay_seconds=3600)
        await gone.send(event_type=TYPE, delay_seconds=3600)
        await ingest.pool.execute("UPDATE tenants SET deleted_at = now() WHERE id = 'gone'")
        await ingest.send(event_type=TYPE, delay_seconds=1)

        async def only_one_is_left() -> bool:
            rows: Any = await ingest.pool.fetch("SELECT id FROM scheduled_events")
            return [str(row["id"]) for row in rows] == [kept.event_id]

        await eventually(only_one_is_left, "the tenant's event to be deleted")


async def test_an_event_with_a_verified_signature_is_matched_by_the_type_of_its_provider(ingest: Ingest) -> None:
    made = await ingest.create(event_types=[TYPE])
    accepted = await ingest.send(made.id, event_type=TYPE, delay_seconds=1)
    assert accepted.status == ingest_pb2.INGEST_STATUS_SCHEDULED
    await moved(ingest, accepted.event_id)
    assert len(await ingest.deliveries(accepted.event_id)) == 1
