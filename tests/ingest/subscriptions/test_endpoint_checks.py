"""Subscriptions where targets are checked: which wait for a check, and what asks for one."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors
from tests.ingest.conftest import URL, Ingest, refused, serving

ACTIVE, PAUSED = pb.SubscriptionStatus.STATUS_ACTIVE, pb.SubscriptionStatus.STATUS_PAUSED
DISABLED, UNVERIFIED = pb.SubscriptionStatus.STATUS_DISABLED, pb.SubscriptionStatus.STATUS_UNVERIFIED
OTHER_URL = "https://example.com/another"


@pytest.fixture
async def checking(database: str, redis_url: str) -> AsyncIterator[Ingest]:
    """An ingest service that has targets checked."""
    async with serving(database, redis_url, endpoint_verification="echo") as running:
        yield running


async def verify(ingest: Ingest, subscription_id: str) -> None:
    """Answer the challenge, as far as the rows tell."""
    await ingest.pool.execute(
        "UPDATE subscriptions SET status = 'active', verified = true WHERE id = $1", UUID(subscription_id)
    )
    await ingest.pool.execute("DELETE FROM endpoint_checks")


async def checks(ingest: Ingest) -> list[tuple[str, int]]:
    """Return the subscriptions that are to be checked now, and how many challenges they were sent."""
    rows = await ingest.pool.fetch("SELECT subscription_id, sent FROM endpoint_checks WHERE due_at <= now()")
    return [(str(row["subscription_id"]), row["sent"]) for row in rows]


async def test_new_subscription_waits_for_its_check_and_keeps_its_events(checking: Ingest) -> None:
    made = await checking.create()
    assert made.status.status == UNVERIFIED
    found = await checking.get(made.id)
    assert found == made
    assert found.status.HasField("next_check_at")
    assert not found.status.HasField("check_error")
    assert await checks(checking) == [(made.id, 0)]
    accepted = await checking.send(made.id)
    (delivery,) = await checking.deliveries(accepted.event_id)
    assert delivery["due_in_seconds"] <= 0  # nobody was told of it
    await checking.pool.execute("UPDATE endpoint_checks SET error = 'no', due_at = NULL")
    found = await checking.get(made.id)
    assert (found.status.check_error, found.status.HasField("next_check_at")) == ("no", False)
    assert (await checking.page()).subscriptions[0] == found


async def test_another_target_is_checked_and_the_same_one_is_not(checking: Ingest) -> None:
    made = await checking.create()
    await verify(checking, made.id)
    assert (await checking.update(made.id, description="new")).status.status == ACTIVE
    changed = await checking.update(made.id, OTHER_URL)
    assert (changed.status.status, changed.spec.target_url) == (UNVERIFIED, OTHER_URL)
    assert changed == await checking.get(made.id)
    assert await checks(checking) == [(made.id, 0)]
    query = "SELECT changes FROM audit_entries WHERE action = 'subscription.update' ORDER BY id DESC LIMIT 1"
    told = json.loads(await checking.pool.fetchval(query))
    assert {"field": "status", "before": "active", "after": "unverified"} in told


async def test_check_of_a_deleted_subscription_is_forgotten_even_if_it_was_given_up(checking: Ingest) -> None:
    made, other = await checking.create(), await checking.create(OTHER_URL)
    await checking.pool.execute("UPDATE endpoint_checks SET due_at = NULL")
    await checking.delete(made.id)
    left = await checking.pool.fetch("SELECT subscription_id FROM endpoint_checks")
    assert [str(row["subscription_id"]) for row in left] == [other.id]


@pytest.mark.parametrize(
    ("action", "back", "status"),
    [
        (pb.SUBSCRIPTION_ACTION_PAUSE, pb.SUBSCRIPTION_ACTION_RESUME, PAUSED),
        (pb.SUBSCRIPTION_ACTION_DISABLE, pb.SUBSCRIPTION_ACTION_ENABLE, DISABLED),
    ],
)
async def test_unverified_target_is_checked_when_its_subscription_is_to_be_active(
    checking: Ingest,
    action: "pb.SubscriptionAction.ValueType",
    back: "pb.SubscriptionAction.ValueType",
    status: "pb.SubscriptionStatus.Status.ValueType",
) -> None:
    made = await checking.create()
    assert (await checking.set_status(made.id, back)).status.status == UNVERIFIED
    assert (await checking.set_status(made.id, action)).status.status == status
    await checking.update(made.id, OTHER_URL)
    assert (await checking.get(made.id)).status.status == status
    await checking.pool.execute("DELETE FROM endpoint_checks")
    assert (await checking.set_status(made.id, back)).status.status == UNVERIFIED
    assert await checks(checking) == [(made.id, 0)]
    await verify(checking, made.id)
    await checking.set_status(made.id, action)
    assert (await checking.set_status(made.id, back)).status.status == ACTIVE


async def test_a_person_may_ask_for_another_check(checking: Ingest) -> None:
    made = await checking.create()
    await checking.pool.execute("UPDATE endpoint_checks SET error = 'no', sent = 6, due_at = NULL")
    asked = await checking.set_status(made.id, pb.SUBSCRIPTION_ACTION_VERIFY)
    assert (asked.status.status, asked.status.check_error) == (UNVERIFIED, "")
    assert await checks(checking) == [(made.id, 0)]
    query = "SELECT count(*) FROM audit_entries WHERE action = 'subscription.verify'"
    assert await checking.pool.fetchval(query) == 1
    await verify(checking, made.id)
    assert (await checking.set_status(made.id, pb.SUBSCRIPTION_ACTION_VERIFY)).status.status == ACTIVE
    assert await checks(checking) == []
    for action, reason in (
        (pb.SUBSCRIPTION_ACTION_PAUSE, "SUBSCRIPTION_PAUSED"),
        (pb.SUBSCRIPTION_ACTION_DISABLE, "SUBSCRIPTION_DISABLED"),
    ):
        await checking.set_status(made.id, action)
        error = await refused(checking.set_status(made.id, pb.SUBSCRIPTION_ACTION_VERIFY))
        assert isinstance(error, errors.Conflict)
        assert error.reason == reason


@pytest.mark.parametrize("action", [pb.SUBSCRIPTION_ACTION_RESUME, pb.SUBSCRIPTION_ACTION_VERIFY])
async def test_nothing_is_checked_by_default_and_what_waited_for_it_can_go_on(
    ingest: Ingest, action: "pb.SubscriptionAction.ValueType"
) -> None:
    made = await ingest.create(URL)
    assert made.status.status == ACTIVE
    await ingest.update(made.id, OTHER_URL)
    assert await checks(ingest) == []
    await ingest.pool.execute("UPDATE subscriptions SET status = 'unverified' WHERE id = $1", UUID(made.id))
    assert (await ingest.set_status(made.id, action)).status.status == ACTIVE
    assert await checks(ingest) == []
