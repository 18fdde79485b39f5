"""Lookups, manual retries, and cancellations, over gRPC."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from dev.harness import deliveries
from dev.harness.receiver import Receiver
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.domain import doorbell
from services.domain.doorbell import Stream
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from services.platform.stores import redis
from tests.delivery.conftest import Shared
from tests.delivery.world import Counted, World, opened, outcomes

STATES = ["pending", "scheduled", "in_flight", "delivered", "failed", "cancelled"]
WAITING = ["pending", "scheduled"]
# So far in the future that the dispatcher ignores it.
LATER = 600.0


@pytest.fixture(scope="module")
async def api(stores: Stores) -> AsyncIterator[Shared]:
    """A delivery service without a worker."""
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made, made.delivery() as client:
            yield Shared(world=made, client=client)


async def delivery_in(world: World, status: str) -> UUID:
    """Create a delivery in a state that nobody changes, with a failed attempt in its log."""
    subscription = await world.subscription("http://127.0.0.1:1/")
    delivery_id = await world.deliver(subscription, status=status, due_in=LATER, event_type="order.created")
    await world.set(delivery_id, attempt_count=1, failure_count=1, interrupted_count=3)
    await world.pool.execute(
        "UPDATE webhook_deliveries SET attempt_count = 1,"
        " reason = CASE WHEN status = 'failed' THEN 'retries_exhausted' END WHERE id = $1 AND status <> 'pending'",
        delivery_id,
    )
    await world.pool.execute(
        "INSERT INTO delivery_attempts (delivery_id, claim_token, request, subscription_id, started_at, number,"
        " duration_ms, status_code, final, outcome, tenant_id, error_message, response_body)"
        " VALUES ($1, gen_random_uuid(), 1, $2, now(), 1, 12, 500, false, 'http_5xx', 'default',"
        " 'the receiver responded with 500', 'oops')",
        delivery_id, subscription,
    )  # fmt: skip
    return delivery_id


async def refusal(call: Any) -> errors.WebhookError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return grpc_errors.from_rpc_error(raised.value)


def retry(shared: Shared, delivery_id: UUID, **fields: str) -> Any:
    return shared.client.RetryDelivery(pb.RetryDeliveryRequest(delivery_id=str(delivery_id), **fields))


def cancel(shared: Shared, delivery_id: UUID, **fields: str) -> Any:
    return shared.client.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=str(delivery_id), **fields))


async def get(shared: Shared, delivery_id: UUID, **fields: str) -> pb.Delivery:
    answer = await shared.client.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id), **fields))
    return answer.delivery


def state(status: str) -> "pb.DeliveryStatus.ValueType":
    return pb.DeliveryStatus.Value(f"DELIVERY_STATUS_{status.upper()}")


# -- look-ups --


@pytest.mark.parametrize("status", STATES)
async def test_a_delivery_is_returned_with_its_attempts(api: Shared, status: str) -> None:
    delivery_id = await delivery_in(api.world, status)
    row = await api.world.row(delivery_id)
    found = await get(api, delivery_id)
    assert (found.id, found.event_id) == (str(delivery_id), str(row["event_id"]))
    assert (found.subscription_id, found.tenant_id) == (str(row["subscription_id"]), "default")
    assert (found.event_type, found.status, found.attempt_count) == ("order.created", state(status), 1)
    assert found.created_at.ToDatetime(UTC) == row["created_at"]
    assert found.HasField("expires_at") == (status not in {"delivered", "failed", "cancelled"})
    if found.HasField("expires_at"):
        assert found.expires_at.ToDatetime(UTC) == row["expires_at"]
    assert found.HasField("next_attempt_at") == (status == "scheduled")
    assert found.HasField("completed_at") == (status in {"delivered", "failed", "cancelled"})
    assert found.reason == ("retries_exhausted" if status == "failed" else "")
    (attempt,) = found.attempts
    assert (attempt.number, attempt.duration_ms, attempt.status_code) == (1, 12, 500)
    assert (attempt.error.kind, attempt.error.message) == ("http_5xx", "the receiver responded with 500")
    assert attempt.response_body == "oops"


async def test_unknown_fields_of_an_attempt_are_unset_and_a_success_has_no_error(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "delivered")
    await api.world.pool.execute(
        "INSERT INTO delivery_attempts"
        " (delivery_id, claim_token, request, subscription_id, started_at, number, final, outcome, tenant_id)"
        " SELECT id, gen_random_uuid(), 1, subscription_id, now(), number, false, outcome, 'default'"
        " FROM webhook_deliveries, (VALUES (3, 'success'), (2, 'interrupted')) AS a (number, outcome) WHERE id = $1",
        delivery_id,
    )
    _, interrupted, success = (await get(api, delivery_id)).attempts
    assert (interrupted.number, success.number) == (2, 3)
    for attempt in (interrupted, success):
        assert not attempt.HasField("duration_ms")
        assert not attempt.HasField("status_code")
        assert not attempt.HasField("response_body")
    assert interrupted.error.kind == "interrupted"
    assert not success.HasField("error")


@pytest.mark.parametrize("owner", [None, UUID(int=0), UUID(int=2**128 - 1)], ids=["new", "before all", "after all"])
async def test_an_unknown_delivery_is_not_found(api: Shared, owner: UUID | None) -> None:
    delivery_id = owner or ids.new()
    for call in (get(api, delivery_id), retry(api, delivery_id), cancel(api, delivery_id)):
        assert isinstance(await refusal(call), errors.NotFound)


async def test_an_id_given_to_the_wrong_look_up_says_what_it_is(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "failed")
    row = await api.world.row(delivery_id)
    event_id, subscription_id = row["event_id"], row["subscription_id"]

    async def said(call: Any) -> str:
        error = await refusal(call)
        assert isinstance(error, errors.NotFound)
        return error.message.partition(" not found")[2]

    def lists(**parent: Any) -> Any:
        return api.client.ListDeliveries(pb.ListDeliveriesRequest(**parent))

    def search(subscription: UUID) -> Any:
        wanted = pb.DeliveryFilter(subscription_id=[str(subscription)])
        return api.client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=wanted))

    assert await said(get(api, event_id)) == "; that is an event id"
    assert await said(get(api, subscription_id)) == "; that is a subscription id"
    assert await said(lists(event_id=str(delivery_id))) == "; that is a delivery id"
    assert await said(lists(subscription_id=str(event_id))) == "; that is an event id"
    assert await said(search(delivery_id)) == "; that is a delivery id"
    assert await said(get(api, ids.new())) == ""
    await add_tenant(api, "other")
    assert await said(get(api, event_id, tenant_id="other")) == ""


async def add_tenant(api: Shared, tenant_id: str) -> None:
    await api.world.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", tenant_id)


async def test_a_delivery_of_another_tenant_is_not_found(api: Shared) -> None:
    await add_tenant(api, "other")
    delivery_id = await delivery_in(api.world, "failed")
    for call in (
        get(api, delivery_id, tenant_id="other"),
        retry(api, delivery_id, tenant_id="other"),
        cancel(api, delivery_id, tenant_id="other"),
    ):
        assert isinstance(await refusal(call), errors.NotFound)
    assert (await api.world.row(delivery_id))["status"] == "failed"


@pytest.mark.parametrize(
    "text", ["", "x", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}"]
)
async def test_a_malformed_id_is_named(api: Shared, text: str) -> None:
    for call in (
        api.client.GetDelivery(pb.GetDeliveryRequest(delivery_id=text)),
        api.client.RetryDelivery(pb.RetryDeliveryRequest(delivery_id=text)),
        api.client.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=text)),
    ):
        found = await refusal(call)
        assert isinstance(found, errors.InvalidArgument)
        assert found.violations[0].field == "delivery_id"


# -- lists --


async def pages(shared: Shared, **fields: Any) -> list[list[UUID]]:
    """Return the ids of every page of a list."""
    found, token = [], ""
    while True:
        answer = await shared.client.ListDeliveries(pb.ListDeliveriesRequest(page_token=token, **fields))
        assert not any(delivery.attempts for delivery in answer.deliveries)
        found.append([UUID(delivery.id) for delivery in answer.deliveries])
        token = answer.next_page_token
        if not token:
            return found


@pytest.mark.parametrize(("number", "page_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (51, 0, [50, 1])])
async def test_the_deliveries_of_a_subscription_are_listed_newest_first_page_by_page(
    api: Shared, number: int, page_size: int, sizes: list[int]
) -> None:
    subscription = await api.world.subscription("http://127.0.0.1:1/")
    delivery_ids = await api.world.deliver_many(subscription, number, due_in=LATER)
    found = await pages(api, subscription_id=str(subscription), page_size=page_size)
    assert [len(page) for page in found] == sizes
    assert [each for page in found for each in page] == sorted(delivery_ids, reverse=True)


@pytest.mark.parametrize("parent", ["subscription", "event"])
async def test_a_list_can_be_of_one_state(api: Shared, parent: str) -> None:
    delivery_ids = {status: await delivery_in(api.world, status) for status in STATES}
    for status, delivery_id in delivery_ids.items():
        row = await api.world.row(delivery_id)
        fields: dict[str, Any] = {f"{parent}_id": str(row[f"{parent}_id"])}
        assert await pages(api, **fields) == [[delivery_id]]
        for asked in STATES:
            assert await pages(api, **fields, status=state(asked)) == [[delivery_id] if asked == status else []]


async def test_the_deliveries_of_an_event_are_listed_page_by_page_and_no_others(api: Shared) -> None:
    world = api.world
    first = await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=LATER)
    event_id = (await world.row(first))["event_id"]
    delivery_ids = [first]
    for _ in range(4):
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery_ids.append(ids.of_delivery(event_id, subscription))
        await deliveries.insert(world.pool, [(delivery_ids[-1], event_id)], subscription_id=subscription, due_in=LATER)
    await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=LATER)
    found = await pages(api, event_id=str(event_id), page_size=2)
    assert [len(page) for page in found] == [2, 2, 1]
    assert [each for page in found for each in page] == sorted(delivery_ids, reverse=True)


async def test_a_deleted_subscription_keeps_its_list(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "delivered")
    subscription = (await api.world.row(delivery_id))["subscription_id"]
    await api.world.delete_subscription(subscription)
    assert await pages(api, subscription_id=str(subscription)) == [[delivery_id]]


@pytest.mark.parametrize("parent", ["subscription_id", "event_id"])
@pytest.mark.parametrize("owner", [UUID(int=0), UUID(int=2**128 - 1), None])
async def test_the_list_of_an_unknown_owner_is_not_found(api: Shared, parent: str, owner: UUID | None) -> None:
    fields: dict[str, Any] = {parent: str(owner or ids.new())}
    assert isinstance(await refusal(api.client.ListDeliveries(pb.ListDeliveriesRequest(**fields))), errors.NotFound)


@pytest.mark.parametrize("parent", ["subscription_id", "event_id"])
async def test_the_list_of_another_tenants_owner_is_not_found(api: Shared, parent: str) -> None:
    await add_tenant(api, "other")
    row = await api.world.row(await delivery_in(api.world, "failed"))
    fields: dict[str, Any] = {parent: str(row[parent]), "tenant_id": "other"}
    assert isinstance(await refusal(api.client.ListDeliveries(pb.ListDeliveriesRequest(**fields))), errors.NotFound)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "parent"),
        ({"subscription_id": "x"}, "subscription_id"),
        ({"event_id": "x"}, "event_id"),
        ({"event_id": str(ids.new()), "page_size": -1}, "page_size"),
        ({"event_id": str(ids.new()), "page_size": 201}, "page_size"),
        ({"event_id": str(ids.new()), "page_token": "x"}, "page_token"),
        ({"event_id": str(ids.new()), "page_token": "\u00e9"}, "page_token"),
        ({"event_id": str(ids.new()), "page_token": "AAAA"}, "page_token"),
        ({"event_id": str(ids.new()), "status": 99}, "status"),
        ({"event_id": str(ids.new()), "tenant_id": "No Tenant"}, "tenant_id"),
    ],
)
async def test_a_wrong_field_of_a_list_is_named(api: Shared, fields: dict[str, Any], name: str) -> None:
    found = await refusal(api.client.ListDeliveries(pb.ListDeliveriesRequest(**fields)))
    assert isinstance(found, errors.InvalidArgument)
    assert found.violations[0].field == name


# -- manual retries --


@pytest.mark.parametrize("status", [status for status in STATES if status != "in_flight"])
async def test_a_retry_makes_a_delivery_pending_with_its_whole_schedule_before_it(api: Shared, status: str) -> None:
    delivery_id = await delivery_in(api.world, status)
    answer = await retry(api, delivery_id)
    assert (answer.delivery.status, answer.delivery.reason) == (state("pending"), "")
    assert not answer.delivery.HasField("completed_at")
    assert len(answer.delivery.attempts) == 1
    row = await api.world.row(delivery_id)
    assert (row["status"], row["reason"], row["completed_at"]) == ("pending", None, None)
    assert (row["attempt_count"], row["failure_count"], row["interrupted_count"]) == (1, 0, 0)


@pytest.mark.parametrize("status", ["scheduled", "delivered", "failed", "cancelled"])
async def test_a_retry_of_what_waits_or_has_ended_sends_it_and_continues_the_log(
    shared: Shared, receiver: Receiver, status: str
) -> None:
    delivery_id = await delivery_in(shared.world, status)
    subscription = (await shared.world.row(delivery_id))["subscription_id"]
    await shared.world.pool.execute(
        "UPDATE subscriptions SET target_url = $2 WHERE id = $1", subscription, receiver.url()
    )
    receiver.script(500)
    await retry(shared, delivery_id)
    row = await shared.world.in_state(delivery_id)
    assert (row["status"], row["attempt_count"]) == ("delivered", 3)
    assert outcomes(await shared.world.attempts(delivery_id)) == ["http_5xx", "http_5xx", "success"]


async def test_a_retry_of_what_has_expired_gives_it_another_week(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "scheduled")
    await api.world.set(delivery_id, expires_at=datetime.now(UTC) - timedelta(days=1))
    answer = await retry(api, delivery_id)
    left = answer.delivery.expires_at.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(hours=167.9) < left < timedelta(hours=168.1)


async def test_a_retry_rings_at_once(world: World) -> None:
    async with world.delivery() as client:
        shared = Shared(world=world, client=client)
        delivery_id = await delivery_in(world, "failed")
        await retry(shared, delivery_id)
        async with redis.client(world.delivery_settings()) as connected:
            await wait_for_length(Stream(connected))
            bells: Any = await connected.xrange(doorbell.PROMPT)
        # The dispatcher may ring for what other tests left.
        rung = [found for _, said in bells for ids_of in doorbell.heard(said[b"data"]).values() for found in ids_of]
        assert rung.count(delivery_id) == 1
        # Claimed, so the dispatcher ignores it.
        assert not (await world.row(delivery_id))["due"]


async def wait_for_length(stream: Stream) -> int:
    untyped: Any = stream.measure
    return int(await wait_until(untyped, what="a bell"))


@pytest.mark.parametrize("status", [status for status in STATES if status != "in_flight"])
async def test_a_retry_without_the_payload_is_gone(api: Shared, status: str) -> None:
    delivery_id = await delivery_in(api.world, status)
    await api.world.drop_payload(delivery_id)
    assert isinstance(await refusal(retry(api, delivery_id)), errors.Gone)
    assert (await api.world.row(delivery_id))["status"] == status


@pytest.mark.parametrize(("days_ago", "failed_hours_ago", "kept"), [(3, 73, True), (4, 73, False), (4, 71, True)])
async def test_a_retry_that_would_keep_a_day_beyond_its_retention_is_gone(
    api: Shared, days_ago: int, failed_hours_ago: int, *, kept: bool
) -> None:
    """Older than 72 hours from the end of its day, and failed longer ago; others keep the partition."""
    moment = datetime.now(UTC).replace(hour=12) - timedelta(days=days_ago)
    await api.world.pool.execute("SELECT create_partitions($1, $1)", moment.date())
    event_id = UUID(int=ids.least_at(moment).int | ids.new().int & (2**80 - 1))
    subscription = await api.world.subscription("http://127.0.0.1:1/")
    delivery_id = ids.of_delivery(event_id, subscription)
    await api.world.pool.execute(
        "INSERT INTO webhook_events (id, tenant_id, content_type, payload) VALUES ($1, 'default', 'text/plain', 'x')",
        event_id,
    )
    await deliveries.insert(api.world.pool, [(delivery_id, event_id)], subscription_id=subscription, status="failed")
    await api.world.pool.execute(
        "UPDATE webhook_deliveries SET completed_at = now() - make_interval(hours => $2) WHERE id = $1",
        delivery_id,
        failed_hours_ago,
    )
    if kept:
        await retry(api, delivery_id)
    else:
        error = await refusal(retry(api, delivery_id))
        assert isinstance(error, errors.Gone)
        assert "LOG_RETENTION_HOURS" in error.message
    row = await api.world.row(delivery_id)
    assert row["status"] == ("pending" if kept else "failed")
    if kept:  # with its whole schedule
        assert row["expires_at"] - row["due_at"] > timedelta(hours=167, minutes=59)


@pytest.mark.parametrize(
    ("status", "change", "reason"),
    [
        ("in_flight", "status = status", "DELIVERY_IN_FLIGHT"),
        *((status, "deleted_at = now()", "SUBSCRIPTION_DELETED") for status in ("delivered", "failed", "cancelled")),
        *((status, "status = 'disabled'", "SUBSCRIPTION_DISABLED") for status in STATES if status != "in_flight"),
    ],
)
async def test_a_retry_that_could_not_be_sent_is_a_conflict_and_changes_nothing(
    api: Shared, status: str, change: str, reason: str
) -> None:
    delivery_id = await delivery_in(api.world, status)
    before = await api.world.row(delivery_id)
    await api.world.pool.execute(f"UPDATE subscriptions SET {change} WHERE id = $1", before["subscription_id"])
    found = await refusal(retry(api, delivery_id))
    assert isinstance(found, errors.Conflict)
    assert found.reason == reason
    after = await api.world.row(delivery_id)
    unchanged = dict(before) | {"due": None}
    assert dict(after) | {"due": None} == unchanged


async def test_a_retry_to_a_paused_subscription_waits_for_it(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "failed")
    subscription_id = (await api.world.row(delivery_id))["subscription_id"]
    await api.world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", subscription_id)
    assert (await retry(api, delivery_id)).delivery.status == pb.DELIVERY_STATUS_PENDING


# -- cancellations --


@pytest.mark.parametrize("status", WAITING)
async def test_waiting_delivery_is_cancelled(api: Shared, status: str) -> None:
    delivery_id = await delivery_in(api.world, status)
    ended = Counted("webhook_deliveries_ended_total", status="cancelled")
    answer = await cancel(api, delivery_id)
    assert (answer.delivery.status, answer.delivery.reason) == (state("cancelled"), "cancelled")
    assert answer.delivery.HasField("completed_at")
    assert len(answer.delivery.attempts) == 1
    assert (await api.world.row(delivery_id))["status"] == "cancelled"
    assert ended() == 1


async def test_cancelled_delivery_stays_cancelled_and_is_not_counted_twice(api: Shared) -> None:
    delivery_id = await delivery_in(api.world, "scheduled")
    first = await cancel(api, delivery_id)
    ended = Counted("webhook_deliveries_ended_total", status="cancelled")
    assert await cancel(api, delivery_id) == pb.CancelDeliveryResponse(delivery=first.delivery)
    assert ended() == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [("in_flight", "DELIVERY_IN_FLIGHT"), ("delivered", "DELIVERY_FINISHED"), ("failed", "DELIVERY_FINISHED")],
)
async def test_delivery_that_is_not_waiting_is_not_cancelled(api: Shared, status: str, reason: str) -> None:
    delivery_id = await delivery_in(api.world, status)
    found = await refusal(cancel(api, delivery_id))
    assert isinstance(found, errors.Conflict)
    assert found.reason == reason
    assert (await api.world.row(delivery_id))["status"] == status


# -- stores unavailable --


async def test_calls_are_unavailable_within_two_seconds_while_postgres_is_down(world: World, stores: Stores) -> None:
    async with world.delivery(database_url="postgresql://postgres@127.0.0.1:1/none") as client:
        shared = Shared(world=world, client=client)
        for call in (get(shared, ids.new()), retry(shared, ids.new()), cancel(shared, ids.new())):
            found = await refusal(call)
            assert isinstance(found, errors.Unavailable)
