"""Ed25519 subscriptions: their keys are created or given, stored, rotated, and shown only if public."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import nacl.signing
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.secrets.signatures import SignatureScheme
from services.platform import errors
from tests.ingest.conftest import UNSIGNED, Ingest, fields, refused
from tests.ingest.subscriptions.secrets.test_secrets import BODY, create, passes, rotate, signed, stored

HMAC, ED25519 = pb.SIGNATURE_SCHEME_HMAC_SHA256, pb.SIGNATURE_SCHEME_ED25519
NONE = pb.SIGNATURE_SCHEME_NONE
SEEDS = [bytes([number]) * 32 for number in range(12)]


def whsk(seed: bytes) -> str:
    return "whsk_" + base64.b64encode(seed).decode()


def whpk(seed: bytes) -> str:
    """Return the public key, computed by another library."""
    return "whpk_" + base64.b64encode(nacl.signing.SigningKey(seed).verify_key.encode()).decode()


def public_keys(subscription: pb.Subscription) -> list[str]:
    return [key.public_key for key in subscription.status.public_keys]


async def to_ed25519(ingest: Ingest, subscription_id: str, **asked: Any) -> pb.RotateSubscriptionSecretResponse:
    request = pb.RotateSubscriptionSecretRequest(
        tenant_id=ingest.tenant_id, subscription_id=subscription_id, signature_scheme=ED25519, **asked
    )
    return await ingest.subscriptions.RotateSubscriptionSecret(request)


# -- created and given --


async def test_a_made_private_key_is_in_no_answer_and_its_public_key_in_each(ingest: Ingest) -> None:
    answer = await create(ingest, signature_scheme=ED25519, idempotency_key="k")
    made = answer.subscription
    (secret,) = (await stored(ingest, made.id)).kept
    assert secret.scheme is SignatureScheme.ED25519
    seed = base64.b64decode(secret.secret_key.removeprefix("whsk_"))
    again = await create(ingest, signature_scheme=ED25519, idempotency_key="k")
    rotated = await rotate(ingest, made.id)
    updated = await ingest.update(made.id)
    (listed,) = (await ingest.page()).subscriptions
    assert (answer.secret_key, again.secret_key, rotated.secret_key) == ("", "", "")
    for shown in (made, again.subscription, rotated.subscription, updated, listed, await ingest.get(made.id)):
        assert shown.spec.signature_scheme == ED25519
        assert shown.status.has_secret
        assert whpk(seed) in public_keys(shown)
        assert secret.secret_key.encode() not in shown.SerializeToString()
        assert b"whsk_" not in shown.SerializeToString()


@pytest.mark.parametrize("behind", [b"", nacl.signing.SigningKey(SEEDS[0]).verify_key.encode()])
async def test_a_given_private_key_is_taken_with_or_without_its_public_key(ingest: Ingest, behind: bytes) -> None:
    answer = await create(ingest, signature_scheme=ED25519, secret_key=whsk(SEEDS[0] + behind))
    assert (answer.secret_key, public_keys(answer.subscription)) == ("", [whpk(SEEDS[0])])


async def test_the_default_is_hmac_without_public_keys(ingest: Ingest) -> None:
    for made in (await ingest.create(secret_key="secret-s"), await ingest.create()):
        assert (made.spec.signature_scheme, public_keys(made)) == (HMAC, [])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"signature_scheme": ED25519, "secret_key": "secret-hunter2"}, "secret_key"),
        ({"signature_scheme": ED25519, "secret_key": "whsec_" + "bmV3" * 8}, "secret_key"),
        ({"signature_scheme": ED25519, "secret_key": whpk(SEEDS[1])}, "secret_key"),
        ({"signature_scheme": ED25519, "secret_key": whsk(SEEDS[1] + SEEDS[2])}, "secret_key"),
        ({"signature_scheme": ED25519, "secret_key": ""}, "secret_key"),
        ({"secret_key": ""}, "secret_key"),
        ({"secret_key": whsk(SEEDS[1])}, "secret_key"),
        ({"signature_scheme": HMAC, "secret_key": whsk(SEEDS[1])}, "secret_key"),
        ({"signature_scheme": 99, "secret_key": "secret-s"}, "signature_scheme"),
        ({"signature_scheme": -1}, "signature_scheme"),
    ],
)
async def test_a_secret_that_does_not_fit_the_scheme_is_refused_by_its_field(
    ingest: Ingest, asked: dict[str, Any], field: str
) -> None:
    made = await ingest.create(secret_key="secret-s")
    request = pb.RotateSubscriptionSecretRequest(tenant_id=ingest.tenant_id, subscription_id=made.id, **asked)
    rotating = ingest.subscriptions.RotateSubscriptionSecret(request)
    for call in (create(ingest, **asked), ingest.update(made.id, **asked), rotating):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == [field]
        assert "hunter2" not in str(error)
        assert whsk(SEEDS[1]) not in str(error)
    assert await ingest.get(made.id) == made


# -- changed --


async def test_a_rotation_keeps_the_scheme_and_shows_both_public_keys_until_the_old_one_ends(ingest: Ingest) -> None:
    made = (await create(ingest, signature_scheme=ED25519, secret_key=whsk(SEEDS[0]))).subscription
    rotated = (await rotate(ingest, made.id, whsk(SEEDS[1]), overlap_hours=2)).subscription
    assert public_keys(rotated) == [whpk(SEEDS[1]), whpk(SEEDS[0])]
    current, old = rotated.status.public_keys
    assert not current.HasField("expires_at")
    assert [secret.expires_at for secret in rotated.status.previous_secrets] == [old.expires_at]
    assert abs(old.expires_at.ToDatetime(UTC) - datetime.now(UTC) - timedelta(hours=2)) < timedelta(seconds=10)
    ended = (await rotate(ingest, made.id, whsk(SEEDS[2]), overlap_hours=0)).subscription
    assert public_keys(ended) == public_keys(await ingest.get(made.id)) == [whpk(SEEDS[2])]


async def test_a_rotation_to_another_scheme_lets_the_secret_hold_for_the_overlap(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-old")).subscription
    rotated = await to_ed25519(ingest, made.id, overlap_hours=1)
    assert (rotated.secret_key, rotated.subscription.spec.signature_scheme) == ("", ED25519)
    assert len(rotated.subscription.status.public_keys) == len(rotated.subscription.status.previous_secrets) == 1
    assert [secret.scheme for secret in (await stored(ingest, made.id)).kept] == [
        SignatureScheme.ED25519,
        SignatureScheme.HMAC_SHA256,
    ]
    assert await passes(ingest, made.id, "secret-old")
    query = "SELECT changes FROM audit_entries WHERE resource_id = $1 AND action = 'subscription.rotate_secret'"
    assert json.loads(await ingest.pool.fetchval(query, made.id)) == [
        {"field": "signature_scheme", "before": "hmac-sha256", "after": "ed25519"},
        {"field": "secret_key"},
    ]
    # And back: the response contains the created secret again.
    request = pb.RotateSubscriptionSecretRequest(
        tenant_id=ingest.tenant_id, subscription_id=made.id, signature_scheme=HMAC, overlap_hours=0
    )
    back = await ingest.subscriptions.RotateSubscriptionSecret(request)
    assert back.secret_key.startswith("whsec_")
    assert (back.subscription.spec.signature_scheme, public_keys(back.subscription)) == (HMAC, [])


async def test_an_update_keeps_the_scheme_and_changes_it_only_with_the_secret(ingest: Ingest) -> None:
    made = (await create(ingest, secret_key="secret-s")).subscription
    assert fields(await refused(ingest.update(made.id, signature_scheme=ED25519))) == ["signature_scheme"]
    assert (await ingest.update(made.id, signature_scheme=HMAC)).spec.signature_scheme == HMAC
    changed = await ingest.update(made.id, signature_scheme=ED25519, secret_key=whsk(SEEDS[0]))
    assert (changed.spec.signature_scheme, public_keys(changed)) == (ED25519, [whpk(SEEDS[0])])
    assert list(changed.status.previous_secrets) == []
    kept = await ingest.update(made.id)
    assert (kept.spec.signature_scheme, public_keys(kept)) == (ED25519, [whpk(SEEDS[0])])
    # An HMAC secret is not accepted.
    assert fields(await refused(ingest.update(made.id, secret_key="secret-s"))) == ["secret_key"]
    replaced = await ingest.update(made.id, secret_key=whsk(SEEDS[1]))
    assert public_keys(replaced) == [whpk(SEEDS[1])]
    back = await ingest.update(made.id, signature_scheme=HMAC, secret_key="secret-t")
    assert (back.spec.signature_scheme, public_keys(back)) == (HMAC, [])
    assert await passes(ingest, made.id, "secret-t")


@pytest.mark.parametrize("verification", [pb.VERIFICATION_REQUIRED, pb.VERIFICATION_GITHUB])
async def test_the_shared_secret_stays_while_what_comes_in_is_verified_with_it(
    ingest: Ingest, verification: pb.Verification.ValueType
) -> None:
    made = (await create(ingest, secret_key="secret-s", verification=verification)).subscription
    own: dict[str, Any] = {"signature_scheme": ED25519, "secret_key": whsk(SEEDS[0])}
    for call in (
        to_ed25519(ingest, made.id),
        ingest.update(made.id, **own),
        ingest.update(made.id, **UNSIGNED),
        create(ingest, signature_scheme=ED25519, verification=verification),
    ):
        assert fields(await refused(call)) == ["verification_secrets"]
    assert await ingest.get(made.id) == made
    # With a secret that only verifies incoming webhooks, it can be removed.
    theirs = pb.VerificationSecrets(values=["secret-theirs"])
    changed = await ingest.update(made.id, verification_secrets=theirs, **own)
    assert (changed.spec.signature_scheme, changed.spec.verification) == (ED25519, verification)
    assert await passes(ingest, made.id, "secret-theirs")
    assert not await passes(ingest, made.id, "secret-s")
    back = await ingest.update(made.id, verification_secrets=theirs, signature_scheme=HMAC, secret_key="secret-t")
    assert (await to_ed25519(ingest, back.id)).subscription.spec.signature_scheme == ED25519


async def test_changes_at_the_same_time_leave_no_subscription_that_nothing_can_verify(ingest: Ingest) -> None:
    for rotation_first in (True, False):
        made = (await create(ingest, secret_key="secret-s")).subscription
        changes = [to_ed25519(ingest, made.id), ingest.update(made.id, verification=pb.VERIFICATION_REQUIRED)]
        _, error = await ingest.in_turn(made.id, *(changes if rotation_first else changes[::-1]))
        assert error
        assert fields(error) == ["verification_secrets"]
        found = await ingest.get(made.id)
        assert (found.spec.signature_scheme == ED25519) == rotation_first
        assert (found.spec.verification == pb.VERIFICATION_REQUIRED) != rotation_first


async def test_an_unsigned_subscription_signs_once_it_has_a_secret(ingest: Ingest) -> None:
    made = (await create(ingest, **UNSIGNED)).subscription
    assert (made.spec.signature_scheme, made.status.has_secret, public_keys(made)) == (NONE, False, [])
    for scheme in (HMAC, ED25519):
        assert fields(await refused(ingest.update(made.id, signature_scheme=scheme))) == ["secret_key"]
    given = await ingest.update(made.id, signature_scheme=ED25519, secret_key=whsk(SEEDS[0]))
    assert (given.spec.signature_scheme, len(public_keys(given))) == (ED25519, 1)
    removed = await ingest.update(made.id, **UNSIGNED)
    assert (removed.spec.signature_scheme, removed.status.has_secret, public_keys(removed)) == (NONE, False, [])
    assert (await ingest.update(made.id)).spec.signature_scheme == NONE
    rotation = pb.RotateSubscriptionSecretRequest(
        tenant_id=ingest.tenant_id, subscription_id=made.id, signature_scheme=NONE
    )
    refusal = await refused(ingest.subscriptions.RotateSubscriptionSecret(rotation))
    assert fields(refusal) == ["signature_scheme"]
    rotated = await to_ed25519(ingest, made.id)
    assert (rotated.secret_key, len(rotated.subscription.status.public_keys)) == ("", 1)


# -- used and stored --


async def test_a_shared_secrets_signature_is_refused_where_there_is_none(ingest: Ingest) -> None:
    made = (await create(ingest, signature_scheme=ED25519, secret_key=whsk(SEEDS[0]))).subscription
    error = await refused(ingest.send(made.id, payload=BODY, hub_signature=signed(whsk(SEEDS[0]))))
    assert isinstance(error, errors.SignatureMismatch)
    assert "no secret to verify it with" in error.message
    assert not await passes(ingest, made.id, whpk(SEEDS[0]))
    # Without a signature, it is accepted as before.
    assert (await ingest.send(made.id, payload=BODY)).deliveries == 1


async def test_subscription_with_an_unreadable_key_shows_no_public_keys_and_is_fixed_by_an_update(
    ingest: Ingest,
) -> None:
    made = (await create(ingest, signature_scheme=ED25519)).subscription
    await ingest.pool.execute("UPDATE subscriptions SET sealed_secrets = 'x' WHERE id = $1::text::uuid", made.id)
    shown = await ingest.get(made.id)
    assert (shown.status.has_secret, shown.spec.signature_scheme, public_keys(shown)) == (True, ED25519, [])
    assert (await refused(rotate(ingest, made.id))).reason == "SECRET_UNREADABLE"
    mended = await ingest.update(made.id, secret_key=whsk(SEEDS[4]))
    assert public_keys(mended) == [whpk(SEEDS[4])]
