"""Verification of incoming webhooks: how it is configured, stored, and sealed, and what it accepts."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from dev.harness.keys import OTHER_KEY, vault
from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.notices import subscription_changes
from services.ingest.events.verification import FORM
from services.ingest.subscriptions import secrets as rules
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors
from tests.ingest.conftest import UNSIGNED, Ingest, eventually, fields, refused, serving
from tests.ingest.events.inbound.providers import (
    Signer,
    by_github,
    by_shopify,
    by_slack,
    by_standard,
    by_stripe,
    by_svix,
)

SECRET, OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = b'{"id": "evt_1", "type": "charge.succeeded"}'
PRESETS: list[tuple[pb.Verification.ValueType, Signer]] = [
    (pb.VERIFICATION_GITHUB, by_github),
    (pb.VERIFICATION_STRIPE, by_stripe),
    (pb.VERIFICATION_SHOPIFY, by_shopify),
    (pb.VERIFICATION_SLACK, by_slack),
    (pb.VERIFICATION_STANDARD_WEBHOOKS, by_standard),
    (pb.VERIFICATION_STANDARD_WEBHOOKS, by_svix),
]
every = pytest.mark.parametrize(("preset", "sign"), PRESETS, ids=[sign.__name__ for _, sign in PRESETS])


def secrets(*values: str) -> pb.VerificationSecrets:
    return pb.VerificationSecrets(values=values)


def item(
    ingest: Ingest, subscription_id: str, headers: Mapping[str, str], body: bytes = BODY, **more: Any
) -> ingest_pb2.IngestItem:
    """Return an item with these headers, as a gateway sends them."""
    made = ingest.item(subscription_id, payload=body, **more)
    for name, value in headers.items():
        if name == "x-hub-signature-256":
            made.hub_signature.signature = value
        else:
            made.verification.headers.add(name=name, value=value)
    return made


async def passes(ingest: Ingest, subscription_id: str, headers: Mapping[str, str]) -> bool:
    """Return whether a webhook with these headers is accepted; if not, the signature must be the reason."""
    (result,) = await ingest.batch(item(ingest, subscription_id, headers))
    assert result.HasField("accepted") or result.error.reason.startswith("SIGNATURE_")
    return result.HasField("accepted")


async def row(ingest: Ingest, subscription_id: str) -> Any:
    return await ingest.pool.fetchrow("SELECT * FROM subscriptions WHERE id = $1", UUID(subscription_id))


def now() -> int:
    return int(time.time())


# -- configured, stored, sealed --


async def test_verification_is_auto_with_the_subscriptions_own_secret_by_default(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s")
    assert (made.spec.verification, made.status.has_verification_secret) == (pb.VERIFICATION_AUTO, False)
    assert await passes(ingest, made.id, {})
    assert await passes(ingest, made.id, by_github("secret-s", BODY, 0))
    assert not await passes(ingest, made.id, by_github("secret-t", BODY, 0))


async def test_an_update_keeps_verification_unless_it_sets_another(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets(SECRET))
    for answer in (made, await ingest.update(made.id, description="other"), await ingest.get(made.id)):
        assert (answer.spec.verification, answer.status.has_verification_secret) == (pb.VERIFICATION_STRIPE, True)
        assert SECRET.encode() not in answer.SerializeToString()
    assert await passes(ingest, made.id, by_stripe(SECRET, BODY, now()))
    assert not await passes(ingest, made.id, {})
    changed = await ingest.update(made.id, verification=pb.VERIFICATION_AUTO)
    assert (changed.spec.verification, changed.status.has_verification_secret) == (pb.VERIFICATION_AUTO, True)
    assert await passes(ingest, made.id, {})
    assert await passes(ingest, made.id, by_github(SECRET, BODY, 0))
    removed = await ingest.update(made.id, verification_secrets=secrets())
    assert not removed.status.has_verification_secret
    assert not await passes(ingest, made.id, by_github(SECRET, BODY, 0))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"verification": pb.VERIFICATION_STRIPE}, "verification_secrets"),
        ({"verification": pb.VERIFICATION_GITHUB, **UNSIGNED}, "verification_secrets"),
        ({"verification": 99}, "verification"),
        ({"verification_secrets": secrets("secret-a", " hunter2-s3cret")}, "verification_secrets.1"),
        (
            {"verification": pb.VERIFICATION_STANDARD_WEBHOOKS, "verification_secrets": secrets("whsec_hunter2!")},
            "verification_secrets.0",
        ),
    ],
)
async def test_verification_that_cannot_work_is_rejected_with_its_field(
    ingest: Ingest, asked: dict[str, Any], field: str
) -> None:
    error = await refused(ingest.create(**asked))
    assert fields(error) == [field]
    assert "hunter2" not in str(error)
    assert await ingest.count("subscriptions") == 0
    made = await ingest.create(secret_key="secret-s")
    assert fields(await refused(ingest.update(made.id, **asked))) == [field]
    assert (await ingest.get(made.id)).spec.verification == pb.VERIFICATION_AUTO


async def test_an_update_is_refused_when_what_stays_stored_cannot_verify(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets("whsec_no base64"))
    for asked in (
        {"verification": pb.VERIFICATION_STANDARD_WEBHOOKS},
        {"verification_secrets": secrets()},
        {**UNSIGNED, "verification": pb.VERIFICATION_REQUIRED, "verification_secrets": secrets()},
    ):
        assert fields(await refused(ingest.update(made.id, **asked)))[0].startswith("verification_secrets")
    assert (await ingest.update(made.id, **UNSIGNED)).spec.verification == pb.VERIFICATION_STRIPE
    await ingest.update(made.id, verification=pb.VERIFICATION_GITHUB)


async def test_a_secret_as_supabase_gives_it_out_verifies(ingest: Ingest) -> None:
    made = await ingest.create(
        verification=pb.VERIFICATION_STANDARD_WEBHOOKS, verification_secrets=secrets("v1," + SECRET)
    )
    assert await passes(ingest, made.id, by_standard(SECRET, BODY, now()))
    assert not await passes(ingest, made.id, by_standard(OLD, BODY, now()))


async def test_responses_warn_of_a_short_secret(ingest: Ingest) -> None:
    advice = "has fewer than 24 bytes, which are easier to guess; use a longer secret"
    asked: dict[str, Any] = {"verification": pb.VERIFICATION_STRIPE, "idempotency_key": "k"}
    asked |= {"secret_key": "s" * 23, "verification_secrets": secrets("v" * 24, "whsec_" + "QUFB" * 4)}
    expected = [f"secret_key: {advice}", f"verification_secrets.1: {advice}"]
    made = await ingest.create(**asked)
    for answer in (
        made,
        await ingest.create(**asked),
        await ingest.get(made.id),
        (await ingest.page()).subscriptions[0],
    ):
        assert list(answer.status.warnings) == expected
    updated = await ingest.update(made.id, verification_secrets=secrets("v" * 23))
    assert list(updated.status.warnings) == [f"secret_key: {advice}", f"verification_secrets: {advice}"]
    request = pb.RotateSubscriptionSecretRequest(tenant_id=ingest.tenant_id, subscription_id=made.id)
    rotated = (await ingest.subscriptions.RotateSubscriptionSecret(request)).subscription
    assert list(rotated.status.warnings) == [f"verification_secrets: {advice}"]
    assert list((await ingest.create()).status.warnings) == []


async def test_a_change_holds_in_every_server(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        made = await one.create()
        assert await passes(other, made.id, {})
        await one.update(made.id, verification=pb.VERIFICATION_REQUIRED)

        async def seen() -> bool:
            return not await passes(other, made.id, {})

        await eventually(seen, "the other server to know")


# -- what it accepts --


@every
async def test_a_provider_signs_under_either_secret_and_nothing_else_passes(
    ingest: Ingest, preset: pb.Verification.ValueType, sign: Signer
) -> None:
    made = await ingest.create(secret_key="secret-own", verification=preset, verification_secrets=secrets(SECRET, OLD))
    for secret in (SECRET, OLD):
        assert await passes(ingest, made.id, sign(secret, BODY, now()))
    stored = await ingest.count()
    right = sign(SECRET, BODY, now())
    wrong = [
        {},
        sign("own", BODY, now()) if sign is not by_standard and sign is not by_svix else {},
        sign(SECRET, BODY + b" ", now()),
        {name: value[:-1] for name, value in right.items()},
        *(other(SECRET, BODY, now()) for _, other in PRESETS if other(SECRET, BODY, 0).keys() != right.keys()
          and {other, sign} != {by_standard, by_svix}),
    ]  # fmt: skip
    for headers in wrong:
        assert not await passes(ingest, made.id, headers)
    assert await ingest.count() == stored
    await ingest.update(made.id, verification_secrets=secrets(SECRET))
    assert not await passes(ingest, made.id, sign(OLD, BODY, now()))


@every
async def test_a_caller_of_its_own_over_grpc_needs_the_signature_too(
    ingest: Ingest, preset: pb.Verification.ValueType, sign: Signer
) -> None:
    made = await ingest.create(verification=preset, verification_secrets=secrets(SECRET))
    error = await refused(ingest.send(made.id, payload=BODY, event_type="a", idempotency_key="k"))
    assert isinstance(error, errors.SignatureMissing)
    assert fields(error)[0].lower() in {name.lower() for name in sign(SECRET, BODY, 0)} | {"webhook-signature"}
    assert await ingest.count() == 0


async def test_required_takes_nothing_unsigned_and_none_looks_at_nothing(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s", verification=pb.VERIFICATION_REQUIRED)
    assert not await passes(ingest, made.id, {})
    assert not await passes(ingest, made.id, by_github("secret-t", BODY, 0))
    assert await passes(ingest, made.id, by_github("secret-s", BODY, 0))
    await ingest.update(made.id, verification=pb.VERIFICATION_NONE)
    for headers in ({}, by_github("secret-t", BODY, 0), by_stripe("secret-t", BODY, 0)):
        assert await passes(ingest, made.id, headers)


async def test_auto_does_not_look_at_a_providers_headers(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["a"])
    headers = {"x-github-event": "push", "x-github-delivery": "1", "stripe-signature": "x" * 5000}
    for _ in range(2):
        accepted = await ingest.send_item(item(ingest, made.id, headers, event_type="a"))
        assert (await ingest.event(accepted.event_id)).event_type == "a"
    assert await ingest.count() == 2


async def test_github_verifies_with_the_subscriptions_own_secrets_when_there_is_no_other(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-old", verification=pb.VERIFICATION_GITHUB)
    request = pb.RotateSubscriptionSecretRequest(
        tenant_id=ingest.tenant_id, subscription_id=made.id, secret_key="secret-new"
    )
    await ingest.subscriptions.RotateSubscriptionSecret(request)
    for secret in ("secret-old", "secret-new"):
        assert await passes(ingest, made.id, by_github(secret, BODY, 0))
    await ingest.update(made.id, verification_secrets=secrets("secret-github"))
    assert not await passes(ingest, made.id, by_github("secret-new", BODY, 0))
    assert await passes(ingest, made.id, by_github("secret-github", BODY, 0))


async def test_a_signed_body_is_the_whole_one_where_the_payload_is_a_part(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_STANDARD_WEBHOOKS, verification_secrets=secrets(SECRET))
    whole = b'{"payload": {"n": 1}}'
    sent = item(ingest, made.id, by_standard(SECRET, whole, now()), b'{"n": 1}')
    assert isinstance(await refused(ingest.send_item(sent)), errors.SignatureMismatch)
    sent = item(ingest, made.id, by_standard(SECRET, whole, now()), whole, enveloped=True)
    accepted = await ingest.send_item(sent)
    assert (await ingest.event(accepted.event_id)).payload == b'{"n": 1}'
    # The same next to a signature that is not checked here.
    sent.hub_signature.signature = "sha256=00"
    again = await ingest.send_item(sent)
    assert (again.event_id, again.replayed) == (accepted.event_id, True)


async def test_secrets_that_cannot_be_opened_let_nothing_pass(alone: Ingest, database: str, redis_url: str) -> None:
    made = await alone.create(verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets(SECRET))
    moved = vault(OTHER_KEY).seal_verification(UUID(made.id), [SECRET])
    await alone.pool.execute("UPDATE subscriptions SET sealed_verification_secrets = $1", moved)
    async with serving(database, redis_url) as other:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            await client.delete(subscription_changes.KEY + made.id)
        sent = item(other, made.id, by_stripe(SECRET, BODY, now()))
        assert type(await refused(other.send_item(sent))) is errors.WebhookError
        assert fields(await refused(other.update(made.id))) == ["verification_secrets"]
        await other.update(made.id, verification_secrets=secrets(SECRET))
        await other.send_item(sent)


async def test_a_providers_headers_go_with_one_subscription(ingest: Ingest) -> None:
    sent = item(ingest, "", {"stripe-signature": "x"}, event_type="a")
    assert fields(await refused(ingest.send_item(sent))) == ["verification"]


# -- types and ids --


async def test_the_providers_own_type_is_filtered_by_and_comes_before_the_stated_one(ingest: Ingest) -> None:
    made = await ingest.create(
        event_types=["charge.*"], verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets(SECRET)
    )
    for body, stated, event_type, deliveries in (
        (b'{"type": "charge.succeeded"}', "", "charge.succeeded", 1),
        (b'{"type": "charge.succeeded"}', "order.paid", "charge.succeeded", 1),
        (b'{"type": "invoice.paid"}', "charge.succeeded", "invoice.paid", 0),
        (b"{}", "charge.stated", "charge.stated", 1),
        # A type that cannot be read passes no filter.
        (b"{}", "", "", 0),
        (b'{"type": 7}', "", "", 0),
        (b'{"type": "charge.succeeded", "type": null}', "", "", 0),
        (b'{"type": "charge.succeeded", "memo": "\\ud83d"}', "", "charge.succeeded", 1),
        (b"charge.succeeded", "", "", 0),
    ):
        accepted = await ingest.send_item(
            item(ingest, made.id, by_stripe(SECRET, body, now()), body, event_type=stated)
        )
        assert (await ingest.event(accepted.event_id)).event_type == event_type
        assert accepted.deliveries == deliveries


async def test_a_providers_repetition_is_answered_as_before_and_stored_once(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets(SECRET))
    # In the event, Stripe counts the endpoints that have yet to respond.
    first, again = (b'{"id": "evt_1", "type": "a", "pending_webhooks": %d}' % pending for pending in (2, 1))
    accepted = await ingest.send_item(item(ingest, made.id, by_stripe(SECRET, first, now()), first))
    for key in ("", "another"):
        repeated = item(ingest, made.id, by_stripe(SECRET, again, now() + 10), again, idempotency_key=key)
        again_accepted = await ingest.send_item(repeated)
        assert (again_accepted.event_id, again_accepted.replayed) == (accepted.event_id, True)
    assert await ingest.count() == 1
    # The same id belongs to another event in another subscription, and is not an idempotency key.
    neighbour = await ingest.create(verification=pb.VERIFICATION_STRIPE, verification_secrets=secrets(SECRET))
    await ingest.send_item(item(ingest, neighbour.id, by_stripe(SECRET, first, now()), first))
    await ingest.update(made.id, verification=pb.VERIFICATION_AUTO)
    await ingest.send(made.id, payload=b"{}", idempotency_key="evt_1")
    assert await ingest.count() == 3


@every
async def test_an_event_with_an_unreadable_type_goes_only_to_subscriptions_for_all_types(
    ingest: Ingest, preset: pb.Verification.ValueType, sign: Signer
) -> None:
    body = b'{"type": 7, "event": {"type": ["a"]}}'
    asked: dict[str, Any] = {"verification": preset, "verification_secrets": secrets(SECRET)}
    some, everything = await ingest.create(event_types=["a", "b.*"], **asked), await ingest.create(**asked)
    for made, status in ((some, ingest_pb2.INGEST_STATUS_FILTERED), (everything, ingest_pb2.INGEST_STATUS_PENDING)):
        headers = sign(SECRET, body, now()) | {"x-github-event": "no type", "x-shopify-topic": "☃"}
        accepted = await ingest.send_item(item(ingest, made.id, headers, body))
        assert accepted.status == status
        assert (await ingest.event(accepted.event_id)).payload == body


async def test_slacks_forms_are_stored_and_want_an_empty_answer(ingest: Ingest) -> None:
    made = await ingest.create(
        verification=pb.VERIFICATION_SLACK, verification_secrets=secrets(SECRET), event_types=["/weather"]
    )
    for body, status in (
        (b"command=%2Fweather&text=94070", ingest_pb2.INGEST_STATUS_PENDING),
        (b"payload=%7B%22type%22%3A%22block_actions%22%7D", ingest_pb2.INGEST_STATUS_FILTERED),
    ):
        headers = by_slack(SECRET, body, now())
        sent = item(ingest, made.id, headers, body, content_type=FORM, idempotency_key=str(status))
        accepted = await ingest.send_item(sent)
        assert (accepted.status, accepted.empty_answer) == (status, True)
        assert (await ingest.event(accepted.event_id)).payload == body
        again = await ingest.send_item(sent)
        assert (again.event_id, again.empty_answer, again.replayed) == (accepted.event_id, True, True)
    event = b'{"type": "event_callback", "event": {"type": "app_mention"}}'
    assert not (await ingest.send_item(item(ingest, made.id, by_slack(SECRET, event, now()), event))).empty_answer


async def test_repetitions_in_one_call_are_one_event(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_SHOPIFY, verification_secrets=secrets(SECRET))
    headers = by_shopify(SECRET, BODY, 0) | {"x-shopify-webhook-id": "1", "x-shopify-topic": "orders/create"}
    results = await ingest.batch(*(item(ingest, made.id, headers) for _ in range(5)))
    assert len({result.accepted.event_id for result in results}) == 1
    assert await ingest.count() == 1


async def test_a_handshake_is_answered_among_others_and_stored_nowhere(ingest: Ingest) -> None:
    made = await ingest.create(verification=pb.VERIFICATION_SLACK, verification_secrets=secrets(SECRET))
    asks = b'{"token": "t", "type": "url_verification", "challenge": "3eZbrw1aB"}'
    event = b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}'
    answered, forged, accepted = await ingest.batch(
        item(ingest, made.id, by_slack(SECRET, asks, now()), asks),
        item(ingest, made.id, by_slack("secret-other", asks, now()), asks),
        item(ingest, made.id, by_slack(SECRET, event, now()), event),
    )
    assert answered.accepted == ingest_pb2.Accepted(status=ingest_pb2.INGEST_STATUS_HANDSHAKE, challenge="3eZbrw1aB")
    assert forged.error.reason == "SIGNATURE_MISMATCH"
    assert (await ingest.event(accepted.accepted.event_id)).event_type == "app_mention"
    assert await ingest.count() == 1


# -- the secrets that a preset needs --

PROVIDERS = [Verification.STRIPE, Verification.SHOPIFY, Verification.SLACK, Verification.STANDARD_WEBHOOKS]


@pytest.mark.parametrize("preset", PROVIDERS)
def test_a_providers_secret_is_never_the_subscriptions_own(preset: Verification) -> None:
    for signs in (True, False):
        with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: ") as raised:
            rules.check_verification(preset, (), signs=signs)
        assert preset in raised.value.message
        rules.check_verification(preset, ["whsec_c2VjcmV0"], signs=signs)


@pytest.mark.parametrize("preset", [Verification.REQUIRED, Verification.GITHUB])
def test_secret_is_required_where_a_signature_is_required(preset: Verification) -> None:
    rules.check_verification(preset, (), signs=True)
    rules.check_verification(preset, ["s"], signs=False)
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: "):
        rules.check_verification(preset, (), signs=False)


@pytest.mark.parametrize("preset", [Verification.AUTO, Verification.NONE])
def test_secret_is_not_required_for_auto_or_none(preset: Verification) -> None:
    rules.check_verification(preset, (), signs=False)


@pytest.mark.parametrize("secret", ["whsec_!", "v1,whsec_!", "whsec_abc"])
def test_a_whsec_secret_must_be_base64_only_for_standard_webhooks(secret: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets\.1: ") as raised:
        rules.check_verification(Verification.STANDARD_WEBHOOKS, ["plain", secret], signs=True)
    assert secret not in raised.value.message.removesuffix("after whsec_")
    rules.check_verification(Verification.STRIPE, [secret], signs=True)


@pytest.mark.parametrize(
    ("secrets", "fields"),
    [
        ([], []),
        (
            [
                "a" * 8,
                "b" * 256,
            ],
            [],
        ),
        (["a", "b", "c"], ["verification_secrets"]),
        ([""], ["verification_secrets.0"]),
        (["a" * 8, "b" * 257], ["verification_secrets.1"]),
        (["a" * 7, "whsec_YWJjYWJjYQ=="], ["verification_secrets.0", "verification_secrets.1"]),
        (["secret-a\n", " secret-b"], ["verification_secrets.0", "verification_secrets.1"]),
        (["\x00", "a\x00"], ["verification_secrets.0", "verification_secrets.1"]),
    ],
)
def test_verification_secrets_are_refused_one_by_one(secrets: list[str], fields: list[str]) -> None:
    assert [violation.field for violation in rules.verification_secret_violations(secrets)] == fields
