"""Signing of deliveries: with one secret or several, and never unsigned if one cannot be decrypted."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import nacl.exceptions
import nacl.signing
import pytest
import standardwebhooks
import structlog

from dev.harness import certificates
from dev.harness.keys import OTHER_KEY, vault
from dev.harness.receiver import Received, Receiver
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key, SignatureScheme
from services.domain.secrets.vault import Secret, Vault
from services.platform import ids
from tests.delivery.world import World

NEW, OLD, OLDER = ("whsec_" + text * 8 for text in ("bmV3", "b2xk", "b2xl"))


async def keep(world: World, subscription_id: UUID, *secrets: Secret) -> None:
    """Set the secrets of a subscription."""
    sealed = vault().seal(subscription_id, secrets)
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = $2 WHERE id = $1", subscription_id, sealed)


def holds(request: Received, secret_key: str) -> bool:
    """Return whether a Standard Webhooks library with this secret accepts the request."""
    try:
        standardwebhooks.Webhook(secret_key).verify(request.body, dict(request.headers), json_parse=False)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def ending(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_delivery_during_an_overlap_carries_a_signature_of_each_secret(world: World, receiver: Receiver) -> None:
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


CERTIFICATE = certificates.authority().issue("shop")
SEALED: dict[str, tuple[str, Callable[[Vault, UUID], bytes | None]]] = {
    "signing secret or headers": ("sealed_secrets", lambda vault, name: vault.seal(name, [Secret(NEW)])),
    "template secrets": (
        "sealed_template_secrets",
        lambda vault, name: vault.seal_template_secrets(name, {"routing_key": NEW}),
    ),
    "client certificate": (
        "sealed_client_certificate",
        lambda vault, name: vault.seal_client_certificate(name, (CERTIFICATE.pem + CERTIFICATE.key_pem).encode()),
    ),
}


@pytest.mark.parametrize("what", SEALED)
@pytest.mark.parametrize("how", ["moved from another row", "under a key that is gone", "changed"])
async def test_a_secret_that_cannot_be_opened_fails_the_attempt_and_nothing_is_sent(
    world: World, receiver: Receiver, what: str, how: str
) -> None:
    column, seal = SEALED[what]
    subscription = await world.subscription(receiver.url(), secret_key=NEW)
    await world.pool.execute(
        "UPDATE subscriptions SET template = $2 WHERE id = $1", subscription, '{"preset": "slack"}'
    )
    sealed = {
        "moved from another row": seal(vault(), ids.new()),
        "under a key that is gone": seal(vault(OTHER_KEY), subscription),
        "changed": b"x",
    }[how]
    await world.pool.execute(f"UPDATE subscriptions SET {column} = $2 WHERE id = $1", subscription, sealed)
    delivery_id = await world.deliver(subscription)
    with structlog.testing.capture_logs() as logs:
        async with world.running(retry_limit=0):
            row = await world.in_state(delivery_id)
    assert (row["status"], row["reason"]) == ("failed", "retries_exhausted")
    (attempt,) = await world.attempts(delivery_id)
    assert attempt["outcome"] == "secret_unreadable"
    assert f"{what} cannot be decrypted; nothing was sent" in attempt["error_message"]
    assert receiver.requests == []
    (loud,) = [line for line in logs if line["log_level"] == "error"]
    assert loud["subscription_id"] == str(subscription)
    assert NEW not in str(logs)
    assert "PRIVATE KEY" not in str(logs)


async def test_delivery_that_failed_is_sent_by_its_retry_once_the_secret_is_fixed(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url(), secret_key=NEW)
    await world.pool.execute("UPDATE subscriptions SET sealed_secrets = 'x' WHERE id = $1", subscription)
    delivery_id = await world.deliver(subscription)
    async with world.running(retry_base_seconds=1.0):
        await world.in_state(delivery_id, "scheduled")
        await keep(world, subscription, Secret(NEW))
        assert (await world.in_state(delivery_id, "delivered"))["attempt_count"] >= 2
    assert [holds(request, NEW) for request in receiver.requests] == [True]


# Ed25519, verified by another library than the one that signs.

SEEDS = [bytes([number]) * 32 for number in range(3)]


def private(seed: bytes, ends_in: float | None = None) -> Secret:
    ends_at = None if ends_in is None else ending(ends_in)
    return Secret("whsk_" + base64.b64encode(seed).decode(), ends_at, SignatureScheme.ED25519)


def takes(request: Received, seed: bytes) -> bool:
    """Return whether a receiver with the public key accepts the request, by any of its v1a signatures."""
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
    await keep(world, subscription, private(SEEDS[0]))
    delivery_id = await world.deliver(subscription, '{"n":  1, "☃": 1.0}'.encode())
    async with world.running():
        await world.in_state(delivery_id, "delivered")
    (request,) = receiver.requests
    assert [takes(request, seed) for seed in SEEDS[:2]] == [True, False]
    assert request.headers["webhook-id"] == str(delivery_id)
    assert "X-Hub-Signature-256" not in request.headers
    assert " " not in request.headers["webhook-signature"]


async def test_private_keys_both_sign_during_an_overlap_newest_first_and_then_only_the_new_one(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    async with world.running():
        for seconds in (3600, -1):
            await keep(world, subscription, private(SEEDS[0]), private(SEEDS[1], seconds), private(SEEDS[2], -1))
            await world.in_state(await world.deliver(subscription))
    both, alone = receiver.requests
    assert [takes(both, seed) for seed in SEEDS] == [True, True, False]
    assert [takes(alone, seed) for seed in SEEDS[:2]] == [True, False]
    first = both.headers["webhook-signature"].split(" ")[0]
    signed = f"{both.headers['webhook-id']}.{both.headers['webhook-timestamp']}.".encode() + both.body
    assert first == "v1a," + base64.b64encode(nacl.signing.SigningKey(SEEDS[0]).sign(signed).signature).decode()


async def test_scheme_change_is_accepted_by_receivers_of_either_scheme(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    shared = Secret(NEW, ending(3600))
    await keep(world, subscription, private(SEEDS[0]), shared, Secret(OLD, ending(3600)))
    async with world.running():
        await world.in_state(await world.deliver(subscription))
    (request,) = receiver.requests
    assert takes(request, SEEDS[0])
    versions = [part.partition(",")[0] for part in request.headers["webhook-signature"].split(" ")]
    assert versions == ["v1a", "v1", "v1"]
    assert holds(request, NEW)
    # With the newest shared secret.
    hub = request.headers["X-Hub-Signature-256"]
    await keep(world, subscription, shared)
    receiver.requests.clear()
    async with world.running():
        await world.in_state(await world.deliver(subscription))
    assert receiver.requests[0].headers["X-Hub-Signature-256"] == hub
