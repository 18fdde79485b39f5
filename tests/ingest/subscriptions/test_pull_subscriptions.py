"""Subscriptions that consumers pull from: what they may have, and what is stored for them."""

from typing import Any

import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors, ids
from tests.ingest.conftest import URL, Ingest, fields, refused, serving

PULL, HTTP = pb.DESTINATION_PULL, pb.DESTINATION_HTTP


@pytest.fixture
async def own(ingest: Ingest) -> Ingest:
    """A new tenant."""
    return await ingest.of(f"t{ids.new().hex}")


async def test_a_subscription_to_pull_from_has_no_target_and_stays_one(own: Ingest) -> None:
    made, sent_to = await own.create("", destination=PULL), await own.create()
    assert (made.spec.destination, made.spec.target_url) == (PULL, "")
    assert sent_to.spec.destination == HTTP
    assert made.status.status == pb.SubscriptionStatus.STATUS_ACTIVE
    assert made.status.has_secret
    assert (await own.update(made.id, "", description="new")).spec.destination == PULL
    for one, url, other in ((made, URL, HTTP), (sent_to, "", PULL)):
        error = await refused(own.update(one.id, url, destination=other))
        assert (error.code, fields(error)) == (errors.InvalidArgument.code, ["destination"])
    assert fields(await refused(own.create("", destination=99))) == ["target_url", "destination"]
    assert fields(await refused(own.create(""))) == ["target_url"]


@pytest.mark.parametrize(
    "given",
    [
        {"target_url": URL},
        {"timeout_seconds": 5},
        {"rate_limit_per_second": 5},
        {"client_certificate": pb.ClientCertificate(certificate="x", private_key="y")},
    ],
    ids=str,
)
async def test_what_says_how_requests_are_sent_cannot_be_combined_with_pull(own: Ingest, given: dict[str, Any]) -> None:
    error = await refused(own.create(**{"target_url": "", "destination": PULL, **given}))
    (name,) = given
    assert name in fields(error)[0]


async def test_its_deliveries_wait_and_nobody_is_told_to_send_them(own: Ingest) -> None:
    made = await own.create("", destination=PULL, event_types=["order.*"])
    for accepted in (await own.send(made.id, event_type="order.paid"), await own.send(event_type="order.paid")):
        (delivery,) = await own.deliveries(accepted.event_id)
        assert delivery["due_in_seconds"] <= 0  # no worker heard of it, for which the dispatcher would wait
    turns = "SELECT count(*) FROM due_subscriptions WHERE subscription_id = $1::text::uuid"
    assert await own.pool.fetchval(turns, made.id) == 0


async def test_its_target_is_not_checked_for_it_has_none(database: str, redis_url: str) -> None:
    async with serving(database, redis_url, endpoint_verification="echo") as checking:
        made = await checking.create("", destination=PULL)
        assert made.status.status == pb.SubscriptionStatus.STATUS_ACTIVE
        await checking.set_status(made.id, pb.SUBSCRIPTION_ACTION_PAUSE)
        resumed = await checking.set_status(made.id, pb.SUBSCRIPTION_ACTION_RESUME)
        assert resumed.status.status == pb.SubscriptionStatus.STATUS_ACTIVE
