"""Ed25519 signatures as a receiver gets them, verified by another library than the one that signs."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import nacl.exceptions
import nacl.signing
import standardwebhooks

from dev.harness.keys import vault
from dev.harness.receiver import Received, Receiver
from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import Secret
from tests.delivery.world import World

NEW, OLD, OLDER = (bytes([number]) * 32 for number in range(3))
SHARED, OLDER_SHARED = ("whsec_" + text * 8 for text in ("bmV3", "b2xk"))


def private(seed: bytes, ends_in: float | None = None) -> Secret:
    return Secret("whsk_" + base64.b64encode(seed).decode(), ending(ends_in), SignatureScheme.ED25519)


def ending(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)


async def keep(world: World, subscription_id: UUID, *secrets: Secret) -> None:
    """Give a subscription these secrets."""
    sealed = vault().seal(subscription_id, secrets)
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = $2 WHERE id = $1", subscription_id, sealed)


def holds(request: Received, seed: bytes) -> bool:
    """Whether a receiver that knows the public key takes the request: some v1a signature of it verifies."""
    key = nacl.signing.SigningKey(seed).verify_key
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    for part in request.headers["webhook-signature"].split(" "):
        version, _, signature = part.partition(",")
        try:
            if version == "v1a":
                key.verify(signed, base64.b64decode(signature))
                return True
        except nacl.exceptions.BadSignatureError:
            continue
    return False


async def test_a_delivery_is_signed_by_the_private_key_and_has_no_hub_signature(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, private(NEW))
    delivery_id = await world.deliver(subscription, '{"n":  1, "☃": 1.0}'.encode())
    async with world.running():
        await world.in_state(delivery_id, "delivered")
    (request,) = receiver.requests
    assert [holds(request, seed) for seed in (NEW, OLD)] == [True, False]
    assert request.headers["webhook-id"] == str(delivery_id)
    assert "X-Hub-Signature-256" not in request.headers
    assert " " not in request.headers["webhook-signature"]


async def test_during_an_overlap_both_keys_sign_newest_first_and_then_the_new_one_alone(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, private(NEW), private(OLD, 2), private(OLDER, -1))
    async with world.running():
        await world.in_state(await world.deliver(subscription))
        await world.in_state(await world.deliver(subscription, due_in=3), timeout_seconds=15)
    both, alone = receiver.requests
    assert [holds(both, seed) for seed in (NEW, OLD, OLDER)] == [True, True, False]
    assert [holds(alone, seed) for seed in (NEW, OLD)] == [True, False]
    first = both.headers["webhook-signature"].split(" ")[0]
    signed = f"{both.headers['webhook-id']}.{both.headers['webhook-timestamp']}.".encode() + both.body
    assert first == "v1a," + base64.b64encode(nacl.signing.SigningKey(NEW).sign(signed).signature).decode()


async def test_while_a_scheme_is_changed_receivers_of_either_take_what_they_know(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    shared = Secret(SHARED, ending(3600))
    await keep(world, subscription, private(NEW), shared, Secret(OLDER_SHARED, ending(3600)))
    async with world.running():
        await world.in_state(await world.deliver(subscription))
    (request,) = receiver.requests
    assert holds(request, NEW)
    versions = [part.partition(",")[0] for part in request.headers["webhook-signature"].split(" ")]
    assert versions == ["v1a", "v1", "v1"]
    standardwebhooks.Webhook(SHARED).verify(request.body, dict(request.headers), json_parse=False)
    # Of the newest secret that both sides have.
    hub = request.headers["X-Hub-Signature-256"]
    await keep(world, subscription, shared)
    receiver.requests.clear()
    async with world.running():
        await world.in_state(await world.deliver(subscription))
    assert receiver.requests[0].headers["X-Hub-Signature-256"] == hub
