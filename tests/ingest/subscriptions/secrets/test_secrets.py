"""Signing secrets: created, stored sealed, rotated, and used to verify."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, vault
from protos.webhook.v1 import ingest_pb2, subscriptions_pb2
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key
from services.domain.secrets.vault import Secrets
from services.platform import errors
from tests.ingest.conftest import UNSIGNED, URL, Ingest, eventually, fields, refused, serving

HOUR = 3600
BODY = b'{"n": 1}'


async def create(ingest: Ingest, **asked: Any) -> subscriptions_pb2.CreateSubscriptionResponse:
    request = ingest.creation(target_url=URL, **asked)
    return await ingest.subscriptions.CreateSubscription(request)


async def rotate(
    ingest: Ingest, subscription_id: str, secret_key: str | None = None, overlap_hours: float | None = None
) -> subscriptions_pb2.RotateSubscriptionSecretResponse:
    request = subscriptions_pb2.RotateSubscriptionSecretRequest(
        tenant_id=ingest.tenant_id,
        subscription_id=subscription_id,
        secret_key=secret_key,
        overlap_hours=overlap_hours,
    )
    return await ingest.subscriptions.RotateSubscriptionSecret(request)


async def row(ingest: Ingest, subscription_id: str) -> Any:
    return await ingest.pool.fetchrow("SELECT * FROM subscriptions WHERE id = $1", UUID(subscription_id))


async def stored(ingest: Ingest, subscription_id: str) -> Secrets:
    """Return a subscription's decrypted secrets in Postgres."""
    found = await row(ingest, subscription_id)
    return vault().secrets(found["id"], found["sealed_secrets"])


async def names(ingest: Ingest, subscription_id: str) -> list[str]:
    """The stored secrets, newest first."""
    return [secret.secret_key for secret in (await stored(ingest, subscription_id)).kept]


ABC = ("secret-a", "secret-b", "secret-c")


def signed(secret_key: str) -> ingest_pb2.HubSignature:
    return ingest_pb2.HubSignature(signature=signatures.hub(Key.of(secret_key), BODY))


async def passes(ingest: Ingest, subscription_id: str, secret_key: str) -> bool:
    """Return whether a webhook signed with this secret is accepted."""
    (result,) = await ingest.batch(ingest.item(subscription_id, payload=BODY, hub_signature=signed(secret_key)))
    assert result.HasField("accepted") or result.error.reason == "SIGNATURE_MISMATCH"
    return result.HasField("accepted")


# -- created --


async def test_a_secret_is_made_when_none_is_given_and_verifies_what_it_signed(ingest: Ingest) -> None:
    answer = await create(ingest)
    assert answer.subscription.status.has_secret
    assert len(base64.b64decode(answer.secret_key.removeprefix("whsec_"))) == 32
    assert await names(ingest, answer.subscription.id) == [answer.secret_key]
    assert await passes(ingest, answer.subscription.id, answer.secret_key)
    assert (await create(ingest)).secret_key != answer.secret_key


async def test_a_given_secret_is_not_repeated_and_none_is_made_for_an_unsigned_one(ingest: Ingest) -> None:
    given, unsigned = await create(ingest, secret_key="secret-hunter2"), await create(ingest, **UNSIGNED)
    assert (given.secret_key, unsigned.secret_key) == ("", "")
    assert (given.subscription.status.has_secret, unsigned.subscription.status.has_secret) == (True, False)
    assert await names(ingest, unsigned.subscription.id) == []
    assert fields(await refused(create(ingest, secret_key="secret-s", **UNSIGNED))) == ["secret_key"]


async def test_the_answer_to_a_repeated_creation_shows_no_secret_and_the_kept_one_has_none(ingest: Ingest) -> None:
    first, again = await create(ingest, idempotency_key="a"), await create(ingest, idempotency_key="a")
    assert again.subscription == first.subscription
    assert first.secret_key
    assert again.secret_key == ""
    for kept in await ingest.pool.fetch("SELECT response FROM idempotency_keys WHERE tenant_id = $1", ingest.tenant_id):
        assert first.secret_key.encode() not in kept["response"]


# -- stored --


async def test_an_update_with_a_secret_ends_all_that_were(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-a")).subscription
    await rotate(ingest, made.id, "secret-b")
    updated = await ingest.update(made.id, secret_key="secret-c")
    assert list(updated.status.previous_secrets) == []
    assert await names(ingest, made.id) == ["secret-c"]
    assert [await passes(ingest, made.id, secret) for secret in ABC] == [False, False, True]
    await rotate(ingest, made.id, "secret-d")
    await ingest.update(made.id)
    assert await names(ingest, made.id) == ["secret-d", "secret-c"]
    await ingest.update(made.id, **UNSIGNED)
    assert await names(ingest, made.id) == []


async def test_a_sealed_secret_that_was_moved_to_another_row_verifies_nothing(alone: Ingest) -> None:
    victim = (await create(alone, secret_key="secret-s")).subscription
    thief = (await create(alone, secret_key="secret-t")).subscription
    stolen = (await row(alone, victim.id))["sealed_secrets"]
    await alone.pool.execute("UPDATE subscriptions SET sealed_secrets = $2 WHERE id = $1", UUID(thief.id), stolen)
    # So that no earlier copy is used; and this process reads the other one first.
    await alone.update(victim.id)
    assert await passes(alone, victim.id, "secret-s")
    await alone.update(thief.id)
    error = await refused(alone.send(thief.id, payload=BODY, hub_signature=signed("secret-s")))
    assert type(error) is errors.WebhookError
    # Other events in the batch are accepted, it is still shown, and a new secret repairs it.
    results = await alone.batch(
        alone.item(thief.id, payload=BODY, hub_signature=signed("secret-s")),
        alone.item(victim.id),
        alone.item(thief.id),
    )
    assert [result.HasField("accepted") for result in results] == [False, True, True]
    assert (await alone.get(thief.id)).status.has_secret
    assert (await refused(rotate(alone, thief.id))).reason == "SECRET_UNREADABLE"
    await alone.update(thief.id, secret_key="secret-u")
    assert await passes(alone, thief.id, "secret-u")


# -- rotated --


async def test_a_rotation_keeps_the_old_secret_for_a_day(ingest: Ingest) -> None:
    first = await create(ingest)
    rotated = await rotate(ingest, first.subscription.id)
    assert rotated.secret_key not in ("", first.secret_key)
    (end,) = rotated.subscription.status.previous_secrets
    assert abs(end.expires_at.ToDatetime(UTC) - datetime.now(UTC) - timedelta(days=1)) < timedelta(seconds=10)
    assert await ingest.get(first.subscription.id) == rotated.subscription
    (listed,) = (await ingest.page()).subscriptions
    assert listed == rotated.subscription
    assert await names(ingest, first.subscription.id) == [rotated.secret_key, first.secret_key]
    for secret in (first.secret_key, rotated.secret_key):
        assert await passes(ingest, first.subscription.id, secret)


async def test_inbound_signatures_pass_under_an_old_secret_until_it_ends_and_then_not(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-old")).subscription
    await rotate(ingest, made.id, "secret-new", overlap_hours=2 / HOUR)
    assert await passes(ingest, made.id, "secret-old")
    assert await passes(ingest, made.id, "secret-new")

    async def ended() -> bool:
        return not await passes(ingest, made.id, "secret-old")

    await eventually(ended, "the old secret to end")
    assert await passes(ingest, made.id, "secret-new")
    assert list((await ingest.get(made.id)).status.previous_secrets) == []


async def test_an_overlap_of_nothing_ends_the_old_ones_at_once(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-a")).subscription
    await rotate(ingest, made.id, "secret-b")
    rotated = await rotate(ingest, made.id, "secret-c", overlap_hours=0)
    assert (rotated.secret_key, list(rotated.subscription.status.previous_secrets)) == ("", [])
    assert [await passes(ingest, made.id, secret) for secret in ABC] == [False, False, True]


async def test_ten_old_secrets_hold_and_an_eleventh_rotation_changes_nothing(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-0")).subscription
    for number in range(1, 11):
        await rotate(ingest, made.id, f"secret-{number}")
    assert [await passes(ingest, made.id, f"secret-{number}") for number in range(11)] == [True] * 11
    error = await refused(rotate(ingest, made.id, "secret-11"))
    assert (type(error), error.reason) == (errors.Conflict, "TOO_MANY_SECRETS")
    assert await names(ingest, made.id) == [f"secret-{number}" for number in range(10, -1, -1)]
    assert len((await ingest.get(made.id)).status.previous_secrets) == 10


async def test_rotations_at_once_lose_no_secret(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-0")).subscription
    await asyncio.gather(*(rotate(ingest, made.id, f"secret-{number}") for number in range(1, 9)))
    assert sorted(await names(ingest, made.id)) == [f"secret-{number}" for number in range(9)]


async def test_an_unsigned_subscription_gets_its_first_secret_by_a_rotation(ingest: Ingest) -> None:
    made = (await create(ingest, **UNSIGNED)).subscription
    rotated = await rotate(ingest, made.id)
    assert rotated.subscription.status.has_secret
    assert list(rotated.subscription.status.previous_secrets) == []
    assert await passes(ingest, made.id, rotated.secret_key)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"secret_key": "whsec_hunter2!"}, "secret_key"),
        ({"secret_key": "hunter2"}, "secret_key"),
        ({"overlap_hours": 168.1}, "overlap_hours"),
    ],
)
async def test_a_wrong_rotation_is_refused_by_its_field(ingest: Ingest, asked: dict[str, Any], field: str) -> None:
    made = (await create(ingest, secret_key="secret-s")).subscription
    error = await refused(rotate(ingest, made.id, **asked))
    assert fields(error) == [field]
    assert "hunter2" not in str(error)
    assert await names(ingest, made.id) == ["secret-s"]


async def test_secret_cannot_be_rotated_by_another_tenant(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-s")).subscription
    assert isinstance(await refused(rotate(await ingest.of("another"), made.id)), errors.NotFound)
    assert await names(ingest, made.id) == ["secret-s"]


async def test_a_rotation_holds_in_every_server(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        made = (await create(one, secret_key="secret-old")).subscription
        assert await passes(other, made.id, "secret-old")
        await rotate(one, made.id, "secret-new", overlap_hours=0)

        async def seen() -> bool:
            return await passes(other, made.id, "secret-new") and not await passes(other, made.id, "secret-old")

        await eventually(seen, "the other server to know")


# -- keys --


async def test_servers_with_a_new_first_key_read_what_the_old_one_sealed(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as before:
        made = (await create(before, secret_key="secret-s")).subscription
    async with serving(database, redis_url, encryption_keys=f"{OTHER_KEY},{ENCRYPTION_KEY}") as both:
        assert await passes(both, made.id, "secret-s")
        fresh = (await create(both, secret_key="secret-f")).subscription
        found = await row(both, fresh.id)
        assert vault(OTHER_KEY).opened(found["id"], found["sealed_secrets"]).kept[0].secret_key == "secret-f"
