"""What deliveries are signed with: one secret or several, and never none in place of one that cannot be opened."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import standardwebhooks
import structlog

from dev.harness.keys import OTHER_KEY, vault
from dev.harness.receiver import Received, Receiver
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key
from services.domain.secrets.vault import Secret
from services.platform import ids
from services.platform.process.lifecycle import StartError
from tests.delivery.world import World, outcomes

NEW, OLD, OLDER = ("whsec_" + text * 8 for text in ("bmV3", "b2xk", "b2xl"))


async def keep(world: World, subscription_id: UUID, *secrets: Secret) -> None:
    """Give a subscription these secrets."""
    sealed = vault().seal(subscription_id, secrets)
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = $2 WHERE id = $1", subscription_id, sealed)


def holds(request: Received, secret_key: str) -> bool:
    """Whether a library of Standard Webhooks that knows this secret takes the request."""
    try:
        standardwebhooks.Webhook(secret_key).verify(request.body, dict(request.headers), json_parse=False)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def ending(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_during_an_overlap_a_delivery_carries_a_signature_of_each_secret(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, Secret(NEW), Secret(OLD, ending(3600)), Secret(OLDER, ending(-1)))
    delivery_id = await world.deliver(subscription, b'{"n":  1}')
    async with world.running():
        await world.in_state(delivery_id)
    (request,) = receiver.requests
    assert [holds(request, secret) for secret in (NEW, OLD, OLDER)] == [True, True, False]
    now = int(request.headers["webhook-timestamp"])
    keys = [Key.of(NEW), Key.of(OLD)]
    # Separated by spaces, newest first.
    parts = request.headers["webhook-signature"].split(" ")
    assert parts == [signatures.standard([key], str(delivery_id), now, request.body) for key in keys]
    assert request.headers["X-Hub-Signature-256"] == signatures.hub(keys[0], request.body)


async def test_an_old_secret_signs_until_it_ends(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, Secret(NEW), Secret(OLD, ending(2)))
    async with world.running():
        await world.in_state(await world.deliver(subscription))
        await world.in_state(await world.deliver(subscription, due_in=3), timeout_seconds=15)
    assert [holds(request, OLD) for request in receiver.requests] == [True, False]
    assert [holds(request, NEW) for request in receiver.requests] == [True, True]


async def test_eleven_secrets_sign(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    old = [Secret(f"{number}", ending(3600)) for number in range(10)]
    await keep(world, subscription, Secret(NEW), *old)
    async with world.running():
        await world.in_state(await world.deliver(subscription))
    (request,) = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 11


@pytest.mark.parametrize("how", ["moved from another row", "under a key that is gone", "changed"])
async def test_a_secret_that_cannot_be_opened_fails_the_attempt_and_nothing_is_sent(
    world: World, receiver: Receiver, how: str
) -> None:
    subscription = await world.subscription(receiver.url(), secret_key=NEW)
    sealed = {
        "moved from another row": vault().seal(ids.new(), [Secret(NEW)]),
        "under a key that is gone": vault(OTHER_KEY).seal(subscription, [Secret(NEW)]),
        "changed": b"x",
    }[how]
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = $2 WHERE id = $1", subscription, sealed)
    delivery_id = await world.deliver(subscription)
    with structlog.testing.capture_logs() as logs:
        async with world.running(retry_limit=0):
            row = await world.in_state(delivery_id)
    assert (row["status"], row["reason"]) == ("failed", "retries_exhausted")
    attempts = await world.attempts(delivery_id)
    assert outcomes(attempts) == ["secret_unreadable"]
    assert "nothing was sent" in attempts[0]["error_message"]
    assert receiver.requests == []
    (loud,) = [line for line in logs if line["log_level"] == "error"]
    assert loud["subscription_id"] == str(subscription)
    assert NEW not in str(logs)


async def test_once_it_is_mended_what_failed_is_delivered_by_its_retry(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url(), secret_key=NEW)
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = 'x' WHERE id = $1", subscription)
    delivery_id = await world.deliver(subscription)
    async with world.running(retry_base_seconds=1.0):
        await world.in_state(delivery_id, "scheduled")
        await keep(world, subscription, Secret(NEW))
        assert (await world.in_state(delivery_id, "delivered"))["attempt_count"] >= 2
    assert [holds(request, NEW) for request in receiver.requests] == [True]


async def test_a_worker_with_other_keys_does_not_start(world: World) -> None:
    async with world.worker():
        pass
    with pytest.raises(StartError, match="ENCRYPTION_KEYS are not those of this database"):
        async with world.worker(encryption_keys=OTHER_KEY):
            pass
