"""Scheduled events: they wait without deliveries, and can be found and cancelled until they are due."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2
from services.ingest.events import search
from services.ingest.events.store import EventStore
from services.ingest.scheduled.store import ScheduledStore
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity, Portal
from services.platform.auth.roles import PortalCapability, Role
from services.platform.stores.walks import Span
from tests.ingest.conftest import CALL_SECONDS, Ingest, eventually, fields, refused
from tests.ingest.test_quotas import limit, sum_up

TYPE = "order.created"
SCHEDULED = ingest_pb2.INGEST_STATUS_SCHEDULED
HOUR = timedelta(hours=1)


def at(moment: datetime) -> Any:
    """Return a moment as requests have it."""
    item = ingest_pb2.IngestItem()
    item.deliver_at.FromDatetime(moment)
    return item.deliver_at


def soon(**later: float) -> datetime:
    """Return a moment in whole milliseconds."""
    moment = datetime.now(UTC) + timedelta(**later)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def cancel(ingest: Ingest, event_id: str) -> ingest_pb2.CancelEventResponse:
    request = ingest_pb2.CancelEventRequest(tenant_id=ingest.tenant_id, event_id=event_id)
    return await ingest.events.CancelEvent(request, timeout=CALL_SECONDS)


async def listed(ingest: Ingest, **filters: Any) -> list[str]:
    """Return the scheduled events that are wanted, those that are due first at the beginning."""
    request = ingest_pb2.ListEventsRequest(
        tenant_id=ingest.tenant_id, filter=ingest_pb2.EventFilter(scheduled=True, **filters), ascending=True
    )
    answer = await ingest.events.ListEvents(request, timeout=CALL_SECONDS)
    return [event.id for event in answer.events]


async def test_a_scheduled_event_waits_under_an_id_of_the_time_when_it_is_due(ingest: Ingest) -> None:
    await ingest.create()
    due = soon(days=3)
    accepted = await ingest.send(
        event_type=TYPE, deliver_at=at(due), deliver_within_seconds=60, payload=b'{"a": 1}', tags={"order": "42"}
    )
    assert (accepted.status, accepted.deliveries, accepted.delivery_id) == (SCHEDULED, 0, "")
    assert accepted.deliver_at.ToDatetime(UTC) == ids.moment_of(UUID(accepted.event_id)) == due
    assert (await ingest.count(), await ingest.count("webhook_deliveries")) == (0, 0)
    event = await ingest.event(accepted.event_id)
    assert (event.payload, event.payload_bytes, dict(event.tags)) == (b'{"a": 1}', 8, {"order": "42"})
    assert (event.deliver_at.ToDatetime(UTC), event.deliver_within_seconds) == (due, 60)
    assert abs(event.created_at.ToDatetime(UTC) - datetime.now(UTC)) < HOUR


async def test_a_delay_counts_from_the_time_in_the_id_and_a_time_is_never_rounded_down(ingest: Ingest) -> None:
    event_id = ids.new()
    accepted = await ingest.send(event_type=TYPE, event_id=str(event_id), delay_seconds=90)
    assert ids.milliseconds(UUID(accepted.event_id)) == ids.milliseconds(event_id) + 90_000
    assert accepted.event_id[14:] == str(event_id)[14:]
    due = soon(hours=2) + timedelta(microseconds=1)
    accepted = await ingest.send(event_type=TYPE, deliver_at=at(due))
    assert ids.moment_of(UUID(accepted.event_id)) == due + timedelta(microseconds=999)


async def test_a_time_that_has_passed_means_at_once(ingest: Ingest) -> None:
    await ingest.create()
    for moment in (soon(seconds=-1), datetime(1901, 1, 1, tzinfo=UTC)):
        accepted = await ingest.send(event_type=TYPE, deliver_at=at(moment))
        assert (accepted.status, accepted.deliveries) == (ingest_pb2.INGEST_STATUS_PENDING, 1)
    assert await ingest.count("scheduled_events") == 0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": 2_592_001}, "delay_seconds"),
        ({"delay_seconds": 5, "deliver_at": at(soon(hours=1))}, "delay_seconds"),
        ({"deliver_at": at(soon(days=31))}, "deliver_at"),
        ({"deliver_at": {"seconds": 1 << 62}}, "deliver_at"),
        ({"deliver_at": {"seconds": 4_000_000_000, "nanos": -5}}, "deliver_at"),
        ({"deliver_within_seconds": -1}, "deliver_within_seconds"),
        ({"deliver_within_seconds": 2_592_001}, "deliver_within_seconds"),
    ],
)
async def test_times_out_of_range_are_refused_by_their_field(ingest: Ingest, given: dict[str, Any], field: str) -> None:
    error = await refused(ingest.send(event_type=TYPE, **given))
    assert (error.reason, fields(error)) == (errors.ErrorReason.INVALID_ARGUMENT, [field])


async def test_a_repeated_call_and_a_repeated_key_get_the_first_id(ingest: Ingest) -> None:
    item = ingest.item(event_type=TYPE, event_id=str(ids.new()), delay_seconds=3600)
    first = await ingest.send_item(item)
    again = await ingest.send_item(item)
    assert (again.event_id, again.status, again.replayed) == (first.event_id, SCHEDULED, True)
    other = ingest.item(event_type=TYPE, event_id=item.event_id, delay_seconds=3600, payload=b"[]")
    assert (await refused(ingest.send_item(other))).reason is errors.ErrorReason.EVENT_ID_TAKEN
    given: dict[str, Any] = {"event_type": TYPE, "idempotency_key": "k", "deliver_at": at(soon(hours=1))}
    first = await ingest.send(**given)
    again = await ingest.send(**given)
    assert (again.event_id, again.replayed, again.deliver_at) == (first.event_id, True, first.deliver_at)
    error = await refused(ingest.send(**given | {"deliver_at": at(soon(hours=2))}))
    assert error.reason is errors.ErrorReason.IDEMPOTENCY_KEY_REUSED
    assert await ingest.count("scheduled_events") == 2


async def test_scheduled_events_are_listed_by_when_they_are_due(ingest: Ingest) -> None:
    made = {
        hours: (await ingest.send(event_type=f"order.{hours}", delay_seconds=hours * 3600, tags={"n": str(hours)}))
        for hours in (3, 1, 2)
    }
    names = {hours: accepted.event_id for hours, accepted in made.items()}
    await ingest.send(event_type="order.0")
    assert await listed(ingest) == [names[1], names[2], names[3]]
    assert await listed(ingest, event_type=["order.2", "order.3"]) == [names[2], names[3]]
    assert await listed(ingest, tag=["n=1"]) == [names[1]]
    assert await listed(ingest, from_time=at(soon(minutes=90)), to_time=at(soon(minutes=150))) == [names[2]]
    other = await ingest.of(f"other-{ids.new()}")
    assert await listed(other) == []
    first = ingest_pb2.ListEventsRequest(
        tenant_id=ingest.tenant_id, filter=ingest_pb2.EventFilter(scheduled=True), page_size=2
    )
    page = await ingest.events.ListEvents(first, timeout=CALL_SECONDS)
    assert [event.id for event in page.events] == [names[3], names[2]]
    assert page.events[0].deliver_at == made[3].deliver_at
    first.page_token = page.next_page_token
    rest = await ingest.events.ListEvents(first, timeout=CALL_SECONDS)
    assert ([event.id for event in rest.events], rest.next_page_token) == ([names[1]], "")


async def test_a_cancelled_event_is_gone_and_cancelling_it_again_changes_nothing(ingest: Ingest) -> None:
    accepted = await ingest.send(event_type=TYPE, delay_seconds=3600)
    assert (await cancel(ingest, accepted.event_id)).event_id == accepted.event_id
    assert (await cancel(ingest, accepted.event_id)).event_id == accepted.event_id
    assert await ingest.count("scheduled_events") == 0
    assert (await refused(ingest.event(accepted.event_id))).reason is errors.ErrorReason.NOT_FOUND
    entries = await ingest.pool.fetch(
        "SELECT action, tenant_id FROM audit_entries WHERE resource_id = $1", accepted.event_id
    )
    assert [tuple(entry) for entry in entries] == [("event.cancel", ingest.tenant_id)]


async def test_only_scheduled_events_of_the_tenant_can_be_cancelled(ingest: Ingest) -> None:
    sent = await ingest.send(event_type=TYPE)
    assert (await refused(cancel(ingest, sent.event_id))).reason is errors.ErrorReason.EVENT_NOT_SCHEDULED
    assert (await refused(cancel(ingest, str(ids.new())))).reason is errors.ErrorReason.NOT_FOUND
    assert fields(await refused(cancel(ingest, "x"))) == ["event_id"]
    other = await ingest.of(f"other-{ids.new()}")
    accepted = await ingest.send(event_type=TYPE, delay_seconds=3600)
    assert (await refused(cancel(other, accepted.event_id))).reason is errors.ErrorReason.NOT_FOUND
    assert (await refused(other.event(accepted.event_id))).reason is errors.ErrorReason.NOT_FOUND
    assert await ingest.count("scheduled_events") == 1
    await cancel(ingest, accepted.event_id)
    # Nor is it told that it was cancelled.
    assert (await refused(cancel(other, accepted.event_id))).reason is errors.ErrorReason.NOT_FOUND


async def test_an_event_that_is_due_is_not_cancelled_while_it_waits_to_be_moved(ingest: Ingest) -> None:
    # Of an hour ago: movers find it with their next look at everything, and skip it while it is locked.
    event_id = ids.at_millisecond(ids.new(), int((datetime.now(UTC) - HOUR).timestamp() * 1000))
    await ingest.pool.execute(
        "INSERT INTO scheduled_events (id, tenant_id, event_type, content_type, payload, payload_bytes)"
        " VALUES ($1, $2, 'order.created', 'application/json', '{}', 2)",
        event_id,
        ingest.tenant_id,
    )
    async with ingest.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM scheduled_events WHERE id = $1 FOR UPDATE", event_id)
        error = await refused(cancel(ingest, str(event_id)))
    assert error.reason is errors.ErrorReason.EVENT_NOT_SCHEDULED


async def test_a_limited_link_lists_what_is_for_its_subscriptions(ingest: Ingest) -> None:
    one, other = [await ingest.create() for _ in range(2)]
    own = await ingest.send(one.id, delay_seconds=3600)
    await ingest.send(other.id, delay_seconds=3600)
    await ingest.send(event_type=TYPE, delay_seconds=3600)
    store = ScheduledStore(ingest.pool, EventStore(ingest.pool, expiry_hours=168, key_hours=24))
    wanted = search.Filter(scheduled=True)
    portal = Portal(capabilities=frozenset({PortalCapability.VIEW}), subscriptions=frozenset({UUID(one.id)}))
    token = identity.CALLER.set(Identity(tenant_id=ingest.tenant_id, role=Role.PORTAL, portal=portal))
    try:
        found, _ = await store.search(ingest.tenant_id, wanted, Span.of(wanted), 10)
    finally:
        identity.CALLER.reset(token)
    assert [str(event.id) for event in found] == [own.event_id]


async def test_routing_says_that_an_event_is_scheduled(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["something.else"])
    accepted = await ingest.send(event_type=TYPE, delay_seconds=3600)
    request = ingest_pb2.ListEventRoutesRequest(tenant_id=ingest.tenant_id, event_id=accepted.event_id)
    (route,) = (await ingest.events.ListEventRoutes(request, timeout=CALL_SECONDS)).routes
    assert (route.subscription_id, route.routed, route.reason) == (made.id, False, "scheduled")
    assert accepted.deliver_at.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M") in route.explanation


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [("max_scheduled_events", 2, "QUOTA_SCHEDULED_EVENTS"), ("max_scheduled_bytes", 1 << 20, "QUOTA_SCHEDULED_BYTES")],
)
async def test_a_tenant_schedules_no_more_than_its_quota(ingest: Ingest, column: str, value: int, reason: str) -> None:
    await limit(ingest, **{column: value})
    made = [
        await ingest.send(event_type=TYPE, delay_seconds=3600, payload=b'"' + b"x" * 600_000 + b'"') for _ in range(2)
    ]

    async def scheduling_is_refused() -> bool:
        await sum_up(ingest)
        (result,) = await ingest.batch(ingest.item(event_type=TYPE, delay_seconds=3600))
        if result.error.reason == "":
            await cancel(ingest, result.accepted.event_id)
        return result.error.reason == reason

    await eventually(scheduling_is_refused, f"{reason} to be known")
    assert (await ingest.send(event_type=TYPE)).event_id, "which is not scheduled"
    for accepted in made:
        await cancel(ingest, accepted.event_id)

    async def scheduling_is_accepted() -> bool:
        await sum_up(ingest)
        (result,) = await ingest.batch(ingest.item(event_type=TYPE, delay_seconds=3600))
        return result.error.reason == ""

    await eventually(scheduling_is_accepted, "the sums to be known")
