"""The headers and signatures of a request, and the subscription's custom headers."""

import base64
import hashlib
import hmac
import time
from uuid import UUID

import pytest
import standardwebhooks

from dev.harness.keys import vault
from dev.harness.receiver import Receiver, Reply
from services.delivery.destinations.http import request
from services.domain.secrets.signatures import Key
from services.domain.sender_context import SenderContext
from services.domain.templates.template import Rendered
from tests.delivery.conftest import Shared
from tests.delivery.world import CLAIM, World, claim

# The request that a receiver gets.


ID = str(CLAIM.id)


KEY = base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize("event_type", [None, ""])
def test_the_headers_without_type_and_secret_are_these_and_no_others(event_type: str | None) -> None:
    built = request.build(claim(event_type=event_type), (), {}, b"{}", 1_700_000_000)
    assert built.headers == {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": request.USER_AGENT,
        "X-Webhook-Attempt": "1",
        "X-Webhook-Delivery-Id": ID,
        "X-Webhook-Event-Id": str(CLAIM.event_id),
        "webhook-id": ID,
        "webhook-timestamp": "1700000000",
    }


def test_a_type_and_a_secret_add_three_headers() -> None:
    built = request.build(claim(), [Key.of("s3cret")], {}, b"{}", 1_700_000_000)
    plain = request.build(claim(event_type=None), (), {}, b"{}", 1_700_000_000)
    assert built.headers.keys() - plain.headers.keys() == {"X-Event-Type", "webhook-signature", "X-Hub-Signature-256"}
    assert built.headers["X-Event-Type"] == "order.created"


def test_an_event_with_a_version_says_which_and_what_it_is_converted_to_has_its_own() -> None:
    versioned = claim(sender_context=SenderContext(event_version=3).text)
    plain = request.build(CLAIM, (), {}, b"{}", 0)
    built = request.build(versioned, (), {}, b"{}", 0)
    assert built.headers == {**plain.headers, "X-Webhook-Event-Version": "3"}
    made = Rendered(body=b"{}", content_type="application/json", headers={"X-Webhook-Event-Version": "1"})
    assert request.build(versioned, (), {}, b"{}", 0, made=made).headers["X-Webhook-Event-Version"] == "1"


def test_a_replayed_delivery_says_so() -> None:
    built = request.build(claim(id=UUID("01890a5d-ac96-774b-bcce-b302099a8057")), (), {}, b"{}", 0)
    plain = request.build(CLAIM, (), {}, b"{}", 0)
    assert built.headers.keys() - plain.headers.keys() == {"X-Webhook-Replay"}
    assert built.headers["X-Webhook-Replay"] == "true"


def test_the_subscriptions_own_headers_are_added_and_replace_none() -> None:
    values = {"Authorization": "Bearer t", "webhook-id": "forged", "User-Agent": "forged"}
    built = request.build(CLAIM, (), values, b"{}", 0)
    plain = request.build(CLAIM, (), {}, b"{}", 0)
    assert built.headers == {"Authorization": "Bearer t", **plain.headers}


RELAYED = SenderContext(headers={"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=theirs"}).text


def test_relayed_headers_replace_our_hub_signature_and_the_subscriptions_own_and_nothing_else() -> None:
    own = {"x-github-event": "forged", "X-Team": "billing"}
    relaying = claim(relay_headers=True, sender_context=RELAYED)
    built = request.build(relaying, [Key.of("s3cret")], own, b"{}", 1_700_000_000)
    plain = request.build(claim(), [Key.of("s3cret")], {"X-Team": "billing"}, b"{}", 1_700_000_000)
    assert built.headers == plain.headers | {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=theirs"}
    assert set(built.own) == {"X-Team"}


def test_headers_that_a_template_made_replace_the_subscriptions_own() -> None:
    made = Rendered(body=b"rendered", content_type="text/plain", headers={"ce-id": "1"})
    built = request.build(claim(), (), {"Ce-Id": "forged", "X-Team": "billing"}, b"{}", 0, made=made)
    assert {name: value for name, value in built.headers.items() if name.lower() == "ce-id"} == {"ce-id": "1"}
    assert (built.headers["X-Team"], built.body) == ("billing", b"rendered")


def test_headers_that_were_kept_are_not_sent_once_relaying_is_off() -> None:
    kept = claim(relay_headers=False, sender_context=RELAYED)
    assert request.build(kept, (), {}, b"{}", 0).headers == request.build(claim(), (), {}, b"{}", 0).headers


@pytest.mark.parametrize("name", ["Accept", "accept"])
def test_accept_may_be_the_subscriptions_own(name: str) -> None:
    built = request.build(CLAIM, (), {name: "application/vnd.github+json"}, b"{}", 0)
    assert [value for key, value in built.headers.items() if key.lower() == "accept"] == ["application/vnd.github+json"]


def test_headers_do_not_show_in_the_representation_of_a_request() -> None:
    built = request.build(CLAIM, (), {"Authorization": "hunter2"}, b"{}", 0)
    assert "hunter2" not in repr(built)


def test_the_body_and_the_url_are_passed_on_as_they_are() -> None:
    payload = b'{ "b":1.50,\n"a":"\xc3\xa9" }'
    built = request.build(CLAIM, (), {}, payload, 0)
    assert built.body is payload
    assert built.url == CLAIM.target_url


def test_the_content_type_is_the_events() -> None:
    encoded = request.build(claim(content_encoding="gzip"), (), {}, b"\x1f\x8b", 0)
    assert (encoded.headers["Content-Encoding"], encoded.body) == ("gzip", b"\x1f\x8b")
    assert "Content-Encoding" not in request.build(claim(), (), {}, b"{}", 0).headers
    assert request.build(claim(content_type="text/xml"), (), {}, b"<a/>", 0).headers["Content-Type"] == "text/xml"


@pytest.mark.parametrize("secret_key", [f"whsec_{KEY}", "whsec_" + base64.b64encode(b"\x00\xff" * 12).decode()])
def test_the_public_verifier_accepts_the_signature_of_a_whsec_secret(secret_key: str) -> None:
    body = b'{"n": 1}'
    headers = request.build(claim(), [Key.of(secret_key)], {}, body, int(time.time())).headers
    assert standardwebhooks.Webhook(secret_key).verify(body, headers) == {"n": 1}


def test_a_whsec_secret_signs_the_hub_signature_with_its_utf8_bytes_prefix_and_all() -> None:
    secret_key = f"whsec_{KEY}"
    headers = request.build(claim(), [Key.of(secret_key)], {}, b"{}", 0).headers
    assert (
        headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(secret_key.encode(), b"{}", hashlib.sha256).hexdigest()
    )


def test_the_trace_header_is_sent_only_if_it_is_given() -> None:
    assert "traceparent" not in request.build(CLAIM, (), {}, b"{}", 0).headers
    assert request.build(CLAIM, (), {}, b"{}", 0, trace="00-a-b-01").headers["traceparent"] == "00-a-b-01"


# Custom headers of a subscription reach its receiver.


SET = "UPDATE subscriptions SET sealed_headers = $2 WHERE id = $1"


async def _subscription(world: World, receiver: Receiver, values: dict[str, str]) -> UUID:
    made = await world.subscription(receiver.url(), secret_key="s3cret")
    await world.pool.execute(SET, made, vault().seal_headers(made, values))
    return made


async def test_a_request_carries_its_subscriptions_headers_and_no_others(shared: Shared, receiver: Receiver) -> None:
    values = {"Authorization": "Bearer t", "X-Shop": 'a, b; c="d"'}
    delivery_id = await shared.world.deliver(await _subscription(shared.world, receiver, values))
    await shared.world.in_state(delivery_id, "delivered")
    others = await shared.world.deliver(await shared.world.subscription(receiver.url()))
    await shared.world.in_state(others, "delivered")
    request, of_another = receiver.requests
    assert not values.keys() & {*of_another.headers}
    assert {name: request.headers[name] for name in values} == values
    assert request.headers["webhook-id"] == str(delivery_id)
    assert {"webhook-signature", "X-Hub-Signature-256"} <= {*request.headers}


async def test_an_attempt_carries_those_that_hold_at_its_time(shared: Shared, receiver: Receiver) -> None:
    subscription_id = await _subscription(shared.world, receiver, {"X-Token": "old"})
    receiver.script(Reply(status=500), 200)
    delivery_id = await shared.world.deliver(subscription_id)
    await shared.world.in_state(delivery_id, "scheduled")
    await shared.world.pool.execute(SET, subscription_id, vault().seal_headers(subscription_id, {"X-Token": "new"}))
    await shared.world.in_state(delivery_id, "delivered")
    assert [request.headers["X-Token"] for request in receiver.requests] == ["old", "new"]
