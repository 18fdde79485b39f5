"""What a provider calls what it sends; what is odd in it is no reason to refuse."""

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
import pytest

from services.common import errors
from services.ingest.verification import contents
from services.ingest.verification.contents import FORM, NOTHING, Content
from services.ingest.verification.headers import Headers

JSON = "application/json"


def slack(value: object, content_type: str = JSON) -> Content:
    body = urlencode(value).encode() if isinstance(value, dict) and content_type != JSON else msgspec.json.encode(value)
    return contents.slack(Headers(()), content_type, body)


def stripe(body: bytes) -> Content:
    return contents.stripe(Headers(()), JSON, body)


def test_github_says_it_in_headers() -> None:
    headers = Headers(
        [("x-github-event", "pull_request"), ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")]
    )
    found = contents.github(headers, JSON, b"not looked at")
    assert found == Content(event_type="pull_request", delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert contents.github(Headers(()), JSON, b"") == NOTHING


def test_shopify_says_it_in_headers() -> None:
    headers = Headers(
        [("X-Shopify-Topic", "orders/create"), ("X-Shopify-Webhook-Id", "b54557e4"), ("X-Shopify-Event-Id", "e")]
    )
    assert contents.shopify(headers, JSON, b"") == Content(event_type="orders/create", delivery_id="b54557e4")


def test_stripe_says_it_in_the_body() -> None:
    body = b'{"id": "evt_1", "data": {"object": {"type": "card", "id": "ch_1"}}, "type": "charge.succeeded"}'
    assert stripe(body) == Content(event_type="charge.succeeded", delivery_id="evt_1")


def test_standard_webhooks_says_it_in_the_body_and_in_a_header() -> None:
    for name in ("webhook-id", "svix-id"):
        headers = Headers([(name, "msg_1"), (name.replace("id", "signature"), "v1,x")])
        found = contents.standard(headers, JSON, b'{"type": "contact.created", "data": {}}')
        assert found == Content(event_type="contact.created", delivery_id="msg_1")
    assert contents.standard(Headers([("webhook-id", "msg_1")]), JSON, b"[1]") == Content(delivery_id="msg_1")


def test_slack_says_it_in_the_inner_event_or_in_the_outer_one() -> None:
    called = {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention", "text": "hi"}}
    assert slack(called) == Content(event_type="app_mention", delivery_id="Ev1")
    limited = {"type": "app_rate_limited", "token": "x"}
    assert slack(limited) == Content(event_type="app_rate_limited")


def test_slacks_forms_are_commands_and_interactions() -> None:
    for content_type in (FORM, "application/X-WWW-form-urlencoded; charset=utf-8"):
        assert slack({"command": "/weather", "text": "94070"}, content_type) == Content(event_type="/weather")
        assert slack({"payload": '{"type": "block_actions"}'}, content_type) == Content(event_type="block_actions")
        for odd in (
            {"payload": "{"},
            {"text": "command"},
            {"command": "not a type"},
            {str(n): "x" for n in range(300)},
        ):
            assert slack(odd, content_type) == NOTHING
    assert contents.slack(Headers(()), FORM, b"command=%2Fx&text=\xff") == NOTHING


def test_slacks_handshake_has_a_challenge() -> None:
    assert slack({"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}) == Content(challenge="3eZbrw1aB")
    for odd in ({}, {"challenge": ""}, {"challenge": "x" * 1025}):
        with pytest.raises(errors.InvalidArgument) as raised:
            slack({"type": "url_verification"} | odd)
        assert [violation.field for violation in raised.value.violations] == ["challenge"]
    # An event is no handshake, whatever stands in it.
    assert slack({"type": "event_callback", "challenge": "x", "event": {"type": "url_verification"}}).challenge == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"type"',
        b"{}",
        b'{"type": 1, "id": []}',
        b'{"type": "\xff"}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
@pytest.mark.parametrize("reader", [contents.stripe, contents.slack, contents.standard], ids=lambda r: r.__name__)
def test_a_body_of_another_shape_says_nothing(reader: Callable[[Headers, str, bytes], Content], body: bytes) -> None:
    assert reader(Headers(()), JSON, body) == NOTHING


def test_what_can_be_no_type_and_no_key_here_is_left_out() -> None:
    assert stripe(b'{"type": "two words", "id": "evt_1"}') == Content(delivery_id="evt_1")
    assert stripe('{"type": "a", "id": "☃"}'.encode()) == Content(event_type="a")
    assert stripe(b'{"type": "a", "id": "%b"}' % (b"x" * 256)) == Content(event_type="a")
    assert stripe(b'{"type": "%b"}' % (b"x" * 129)) == NOTHING
    twice = Headers([("x-github-event", "push"), ("x-github-event", "ping"), ("x-github-delivery", "\x00")])
    assert contents.github(twice, JSON, b"") == NOTHING
