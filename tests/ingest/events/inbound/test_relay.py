"""Providers' own headers: which are kept with a webhook, and for which subscriptions."""

import time
from typing import Any

import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import sender_context
from services.domain.events import RELAYED_HEADERS
from services.ingest.subscriptions.secrets import TYPED
from tests.ingest.conftest import Ingest, fields, refused
from tests.ingest.events.inbound.providers import (
    Signer,
    by_github,
    by_shopify,
    by_slack,
    by_standard,
    by_stripe,
    by_svix,
)
from tests.ingest.events.inbound.test_verification import SECRET, item, secrets

BODY = b'{"id": "evt_1", "type": "charge.succeeded"}'
# How a provider signs, what else it sends, and which headers deliveries have of that.
PROVIDERS: list[tuple[pb.Verification.ValueType, Signer, dict[str, str], set[str]]] = [
    (
        pb.VERIFICATION_GITHUB,
        by_github,
        {"x-github-event": "push", "x-github-delivery": "72d3", "x-github-hook-id": "1", "x-other": "no"},
        {"X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID"},
    ),
    (pb.VERIFICATION_STRIPE, by_stripe, {}, {"Stripe-Signature"}),
    (
        pb.VERIFICATION_SHOPIFY,
        by_shopify,
        {"x-shopify-topic": "orders/create", "x-shopify-shop-domain": "a.myshopify.com", "stripe-signature": "no"},
        {"X-Shopify-Hmac-Sha256", "X-Shopify-Topic", "X-Shopify-Shop-Domain"},
    ),
    (
        pb.VERIFICATION_SLACK,
        by_slack,
        {"x-slack-retry-num": "1"},
        {"X-Slack-Signature", "X-Slack-Request-Timestamp", "X-Slack-Retry-Num"},
    ),
    (pb.VERIFICATION_STANDARD_WEBHOOKS, by_standard, {}, set()),
    (pb.VERIFICATION_STANDARD_WEBHOOKS, by_svix, {}, {"svix-id", "svix-timestamp", "svix-signature"}),
]
every = pytest.mark.parametrize(
    ("preset", "sign", "more", "relayed"), PROVIDERS, ids=[sign.__name__ for _, sign, _, _ in PROVIDERS]
)


async def relaying(ingest: Ingest, preset: "pb.Verification.ValueType", **more: Any) -> pb.Subscription:
    """Create a subscription that relays a provider's headers."""
    given: dict[str, Any] = {"verification": preset, "verification_secrets": secrets(SECRET), "relay_headers": True}
    return await ingest.create(**given | more)


@every
async def test_a_providers_headers_are_kept_only_where_they_are_relayed(
    ingest: Ingest, preset: "pb.Verification.ValueType", sign: Signer, more: dict[str, str], relayed: set[str]
) -> None:
    headers = sign(SECRET, BODY, int(time.time())) | more
    sent = {name.lower(): value for name, value in headers.items()}
    for relays in (True, False):
        made = await relaying(ingest, preset, relay_headers=relays)
        assert made.spec.relay_headers is relays
        accepted = await ingest.send_item(item(ingest, made.id, headers))
        event = await ingest.event(accepted.event_id)
        assert event.relayed_headers == ({name: sent[name.lower()] for name in relayed} if relays else {})
        assert event.payload == BODY


def test_headers_are_known_of_every_provider_and_none_is_ours() -> None:
    assert RELAYED_HEADERS.keys() == TYPED
    names = {name.lower() for listed in RELAYED_HEADERS.values() for name in listed}
    assert not [name for name in names if name.startswith(("webhook-", "x-webhook-", "x-hub-"))]


async def test_a_signed_envelope_is_relayed_whole(ingest: Ingest) -> None:
    body = b'{"payload": {"id": 1}}'
    made = await relaying(ingest, pb.VERIFICATION_GITHUB)
    accepted = await ingest.send_item(item(ingest, made.id, by_github(SECRET, body, 0), body, enveloped=True))
    assert (await ingest.event(accepted.event_id)).payload == body


async def test_headers_that_cannot_be_sent_again_are_left_out(ingest: Ingest) -> None:
    made = await relaying(ingest, pb.VERIFICATION_GITHUB)
    sent = item(ingest, made.id, by_github(SECRET, BODY, 0) | {"x-github-event": "push"})
    for name, value in (
        ("x-github-delivery", "a\u00e9"),
        ("x-github-hook-id", "x" * 1025),
        ("x-github-enterprise-host", "a\r\nb"),
        ("x-github-enterprise-version", "1"),
        ("X-GitHub-Enterprise-Version", "2"),
    ):
        sent.verification.headers.add(name=name, value=value)
    signature = sent.hub_signature.signature
    sent.hub_signature.signature += "\r\n\u2028"
    event = await ingest.event((await ingest.send_item(sent)).event_id)
    assert event.relayed_headers.keys() == {"X-GitHub-Event", "X-Hub-Signature-256"}
    assert event.relayed_headers["X-Hub-Signature-256"] == signature


@pytest.mark.parametrize("preset", [pb.VERIFICATION_AUTO, pb.VERIFICATION_REQUIRED, pb.VERIFICATION_NONE])
async def test_relaying_requires_a_provider(ingest: Ingest, preset: "pb.Verification.ValueType") -> None:
    assert fields(await refused(relaying(ingest, preset))) == ["relay_headers"]
    made = await relaying(ingest, pb.VERIFICATION_GITHUB)
    assert fields(await refused(ingest.update(made.id, verification=preset, relay_headers=True))) == ["relay_headers"]
    assert not (await ingest.update(made.id, verification=preset)).spec.relay_headers


async def test_signatures_that_expire_are_warned_of(ingest: Ingest) -> None:
    for preset, warned in (
        (pb.VERIFICATION_STRIPE, True),
        (pb.VERIFICATION_SLACK, True),
        (pb.VERIFICATION_GITHUB, False),
        (pb.VERIFICATION_SHOPIFY, False),
    ):
        made = await relaying(ingest, preset)
        assert any("valid for 5 minutes" in warning for warning in made.status.warnings) is warned
        quiet = await ingest.update(made.id, verification=preset)
        assert not [warning for warning in quiet.status.warnings if warning.startswith("relay_headers")]


def test_nothing_to_keep_is_stored_as_nothing() -> None:
    assert sender_context.SenderContext(headers={}).text is None
    assert sender_context.parse(None) == sender_context.NOTHING
    made = sender_context.SenderContext(headers={"X-GitHub-Event": "push"})
    assert sender_context.parse(made.text) == made
