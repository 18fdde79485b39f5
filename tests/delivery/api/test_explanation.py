"""What people are told of a delivery."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from dev.harness.receiver import Receiver, Reply
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api import explanation
from services.delivery.api.explanation import WaitsFor
from services.domain.states import FINAL, AttemptOutcome, DeliveryReason, DeliveryStatus, Hold
from tests.delivery.api.test_api import LATER, delivery_in, get
from tests.delivery.conftest import Shared
from tests.delivery.world import World

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a delivery."""

    status: DeliveryStatus = DeliveryStatus.PENDING
    attempt_count: int = 0
    due_at: datetime | None = AT
    expires_at: datetime | None = AT
    reason: str | None = None
    held_by: str | None = None
    probe_at: datetime | None = None
    last_status_code: int | None = None
    last_error_kind: str | None = None


BREAKER = "its endpoint keeps failing, so only a probe is sent to it from time to time; the next probe may be sent"
FAILED = Known(attempt_count=3, last_status_code=503, last_error_kind="http_5xx")


@pytest.mark.parametrize(
    ("known", "kind", "until", "text"),
    [
        (Known(), "worker", None, "Waiting for a free worker. It has not been attempted."),
        (
            replace(FAILED, status=DeliveryStatus.SCHEDULED), "retry", AT,
            "Waiting for attempt 4 at 2026-03-14T15:09:26Z. The receiver responded to attempt 3 with status code 503.",
        ),
        (
            replace(FAILED, status=DeliveryStatus.IN_FLIGHT), "response", None,
            "Being sent: attempt 4 waits for the receiver's answer.",
        ),
        (
            replace(FAILED, status=DeliveryStatus.SCHEDULED, held_by="breaker_open", probe_at=AT), "breaker_open", AT,
            f"Waiting: {BREAKER} at 2026-03-14T15:09:26Z. The receiver responded to attempt 3 with status code 503.",
        ),
        (
            Known(held_by="paused"), "paused", None,
            "Waiting: its subscription is paused. It has not been attempted.",
        ),
        (Known(status=DeliveryStatus.DELIVERED, attempt_count=1), None, None, "Delivered after 1 attempt."),
        (Known(status=DeliveryStatus.DELIVERED, attempt_count=2), None, None, "Delivered after 2 attempts."),
        (
            Known(
                status=DeliveryStatus.FAILED, reason="retries_exhausted", attempt_count=8, last_error_kind="timeout"
            ), None, None,
            "Failed: no retries are left. Attempt 8 failed: the receiver did not answer in time.",
        ),
        (
            Known(status=DeliveryStatus.CANCELLED, reason="cancelled"), None, None,
            "Cancelled: somebody cancelled it. It has not been attempted.",
        ),
        # What a later version wrote, which is being rolled out.
        (
            Known(status=DeliveryStatus.FAILED, reason="newer", attempt_count=1, last_error_kind="newer"), None, None,
            "Failed. Attempt 1 failed: newer.",
        ),
        (Known(held_by="newer"), "newer", None, "Waiting: newer. It has not been attempted."),
    ],
)  # fmt: skip
def test_a_delivery_is_explained(known: Known, kind: str | None, until: datetime | None, text: str) -> None:
    assert explanation.explain(known) == text
    assert explanation.waits_for(known) == (WaitsFor(kind=kind, until=until) if kind else None)


@pytest.fixture
async def api(world: World) -> AsyncIterator[Shared]:
    """A delivery service without a worker."""
    async with world.delivery() as client:
        yield Shared(world=world, client=client)


def test_every_hold_reason_and_error_has_words() -> None:
    for hold in Hold:
        if hold is not Hold.SUBSCRIPTION_DELETED:  # of the gauge alone
            assert explanation.explain(Known(held_by=hold)).startswith("Waiting: ")
            assert str(hold) not in explanation.explain(Known(held_by=hold)).split()
    for reason in DeliveryReason:
        known = Known(status=DeliveryStatus.FAILED, reason=reason)
        assert ": " in explanation.explain(known)
        assert "_" not in explanation.explain(known)
    for outcome in AttemptOutcome:
        if outcome is not AttemptOutcome.SUCCESS and not outcome.startswith("http_"):
            known = Known(attempt_count=1, last_error_kind=outcome)
            assert "Attempt 1 failed: " in explanation.explain(known)
            assert "_" not in explanation.explain(known)


@pytest.mark.parametrize("status", list(DeliveryStatus))
async def test_a_delivery_says_what_its_last_attempt_got_and_what_it_waits_for(
    api: Shared, status: DeliveryStatus
) -> None:
    delivery_id = await delivery_in(api.world, status)
    if status is not DeliveryStatus.DELIVERED:
        table, key = ("unsuccessful_deliveries", "id") if status in FINAL else ("delivery_queue", "delivery_id")
        await api.world.pool.execute(
            f"UPDATE {table} SET last_status_code = 500, last_error_kind = 'http_5xx' WHERE {key} = $1", delivery_id
        )
    listed = await api.client.ListDeliveries(
        pb.ListDeliveriesRequest(subscription_id=str((await api.world.row(delivery_id))["subscription_id"]))
    )
    waits = {"pending": "worker", "scheduled": "retry", "in_flight": "response"}.get(status)
    for found in (await get(api, delivery_id), *listed.deliveries):
        assert UUID(found.id) == delivery_id
        assert found.HasField("last_status_code") == (status is not DeliveryStatus.DELIVERED)
        assert (found.last_error_kind, found.last_status_code) in {("http_5xx", 500), ("", 0)}
        assert found.HasField("waits_for") == (waits is not None)
        assert found.waits_for.kind == (waits or "")
        assert found.waits_for.HasField("until") == (status is DeliveryStatus.SCHEDULED)
        assert found.explanation


async def test_a_delivery_behind_an_open_breaker_says_when_the_next_probe_may_be_sent(api: Shared) -> None:
    subscription = await api.world.subscription("http://127.0.0.1:1/")
    # A probe that nobody begins.
    probe_at = await api.world.pool.fetchval(
        "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
        " VALUES ($1, 'open', now() + interval '1 hour') RETURNING probe_at",
        subscription,
    )
    held = await api.world.deliver(subscription, due_in=-1.0)
    found = await get(api, held)
    assert found.waits_for.kind == found.held_by == "breaker_open"
    assert found.waits_for.until.ToDatetime(UTC) == probe_at
    waiting = await api.world.deliver(subscription, status="scheduled", due_in=LATER)
    assert (await get(api, waiting)).waits_for.kind == "retry"


@pytest.mark.parametrize(
    ("limit", "status"), [(1, "scheduled"), (0, "failed")], ids=["while it is retried", "once it has failed"]
)
async def test_what_the_last_attempt_got_is_kept_with_what_is_not_delivered(
    world: World, receiver: Receiver, limit: int, status: str
) -> None:
    receiver.script(then=Reply(status=503))
    subscription = await world.subscription(receiver.url())
    async with world.running(retry_limit=limit, retry_base_seconds=600.0) as client:
        delivery_id = await world.deliver(subscription)
        await world.in_state(delivery_id, status)
        found = (await client.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id)))).delivery
        assert (found.attempt_count, found.last_status_code, found.last_error_kind) == (1, 503, "http_5xx")
        wanted = pb.DeliveryFilter(status_code=["5xx"], min_attempts=1)
        listed = await client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=wanted))
        assert [one.id for one in listed.deliveries] == [str(delivery_id)]
        if status == "scheduled":
            await client.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=str(delivery_id)))
            listed = await client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=wanted))
            assert [one.last_status_code for one in listed.deliveries] == [503]
