"""Event types and ids in providers' bodies; odd contents are no reason to refuse a webhook."""

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
import pytest

from services.domain import events
from services.ingest.events import verification
from services.ingest.events.verification import FORM, NOTHING, Content, Headers
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors

JSON = "application/json"


def slack(value: object, content_type: str = JSON) -> Content:
    body = urlencode(value).encode() if isinstance(value, dict) and content_type != JSON else msgspec.json.encode(value)
    return verification.read_slack(Headers(()), content_type, body)


def stripe(body: bytes) -> Content:
    return verification.read_stripe(Headers(()), JSON, body)


def form(event_type: str) -> Content:
    """A form: its users see the response."""
    return Content(event_type=event_type, empty_answer=True)


def test_github_says_it_in_headers() -> None:
    headers = Headers(
        [("x-github-event", "pull_request"), ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")]
    )
    found = verification.read_github(headers, JSON, b"not looked at")
    assert found == Content(event_type="pull_request", delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert verification.read_github(Headers(()), JSON, b"") == NOTHING


def test_shopify_says_it_in_headers() -> None:
    headers = Headers(
        [("X-Shopify-Topic", "orders/create"), ("X-Shopify-Webhook-Id", "b54557e4"), ("X-Shopify-Event-Id", "e")]
    )
    assert verification.read_shopify(headers, JSON, b"") == Content(event_type="orders/create", delivery_id="b54557e4")


def test_stripe_says_it_in_the_body() -> None:
    body = b'{"id": "evt_1", "data": {"object": {"type": "card", "id": "ch_1"}}, "type": "charge.succeeded"}'
    assert stripe(body) == Content(event_type="charge.succeeded", delivery_id="evt_1")


def test_standard_webhooks_says_it_in_the_body_and_in_a_header() -> None:
    for name in ("webhook-id", "svix-id"):
        headers = Headers([(name, "msg_1"), (name.replace("id", "signature"), "v1,x")])
        found = verification.read_standard(headers, JSON, b'{"type": "contact.created", "data": {}}')
        assert found == Content(event_type="contact.created", delivery_id="msg_1")
    assert verification.read_standard(Headers([("webhook-id", "msg_1")]), JSON, b"[1]") == Content(delivery_id="msg_1")


def test_slack_says_it_in_the_inner_event_or_in_the_outer_one() -> None:
    called = {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention", "text": "hi"}}
    assert slack(called) == Content(event_type="app_mention", delivery_id="Ev1")
    limited = {"type": "app_rate_limited", "token": "x"}
    assert slack(limited) == Content(event_type="app_rate_limited")


def test_slacks_forms_are_commands_and_interactions() -> None:
    for content_type in (FORM, "application/X-WWW-form-urlencoded; charset=utf-8"):
        assert slack({"command": "/weather", "text": "94070"}, content_type) == form("/weather")
        assert slack({"payload": '{"type": "block_actions"}'}, content_type) == form("block_actions")
        for odd in (
            {"payload": "{"},
            {"text": "command"},
            {"command": "not a type"},
            {"mycommand": "/x"},
        ):
            assert slack(odd, content_type) == form("")


def test_slacks_handshake_has_a_challenge() -> None:
    assert slack({"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}) == Content(challenge="3eZbrw1aB")
    for odd in ({}, {"challenge": ""}, {"challenge": "x" * 1025}, {"challenge": 7}, {"challenge": "\ufffd"}):
        with pytest.raises(errors.InvalidArgument) as raised:
            slack({"type": "url_verification"} | odd)
        assert [violation.field for violation in raised.value.violations] == ["challenge"]
    # An event is not a handshake, whatever it contains.
    assert slack({"type": "event_callback", "challenge": "x", "event": {"type": "url_verification"}}).challenge == ""


# What is next to the type and the id in a body, where only this is odd.
ODD = {
    "a cut emoji": rb'"paid \ud83d"',
    "two halves in the wrong order": rb'"\ude00\ud83d"',
    "a number beyond floats": b"1e999",
    "a number of many digits": b"9" * 5000,
    "another type": b"[[], {}, null]",
    "deep nesting": b'[{"id":' * 5000 + b"0" + b"}]" * 5000,
    "bytes that are not UTF-8": b'"\xff\xed\xa0\x80"',
    "brackets in a string": rb'"]}\"{["',
}
# Where each kind of body has the type, the id, and the odd part.
BODIES: dict[str, tuple[Callable[[Headers, str, bytes], Content], bytes]] = {
    "stripe": (verification.read_stripe, b'{"odd":%b,"id":"id_1","type":"a.b","more":%b}'),
    "slack": (
        verification.read_slack,
        b'{"odd":%b,"event_id":"id_1","type":"event_callback","event":{"type":"a.b","o":%b}}',
    ),
    "standard": (verification.read_standard, b'{"odd":%b,"type":"a.b","data":%b}'),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("provider", BODIES)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_an_odd_value_loses_neither_type_nor_id(provider: str, odd: bytes, mark: bytes) -> None:
    reader, shape = BODIES[provider]
    headers = Headers([("webhook-id", "id_1")])
    assert reader(headers, JSON, mark + shape % (odd, odd)) == Content(event_type="a.b", delivery_id="id_1")


@pytest.mark.parametrize("odd", [b"7", b"null", b"[]", b"{}", rb'"a.b\ud83d"', b'"\xff"', b"true", b'"a" "b"'])
def test_a_field_that_cannot_be_read_loses_no_other(odd: bytes) -> None:
    if odd != b'"a" "b"':  # which is not JSON, so nothing can be read
        assert stripe(b'{"id":"id_1","type":%b}' % odd) == Content(delivery_id="id_1")
        assert stripe(b'{"id":%b,"type":"a.b"}' % odd) == Content(event_type="a.b")
        found = verification.read_slack(Headers(()), JSON, b'{"event_id":"id_1","event":{"type":%b}}' % odd)
        assert found == Content(delivery_id="id_1")
        found = verification.read_slack(Headers(()), JSON, b'{"event_id":%b,"event":{"type":"a.b"}}' % odd)
        assert found == Content(event_type="a.b")
        found = verification.read_standard(Headers([("webhook-id", "id_1")]), JSON, b'{"type":%b}' % odd)
        assert found == Content(delivery_id="id_1")
    else:
        assert stripe(b'{"id":"id_1","type":%b}' % odd) == NOTHING


@pytest.mark.parametrize("odd", [b"7", b"[]", b"true", b'"event"'])
def test_an_odd_inner_event_of_slack_keeps_the_id_and_has_no_type(odd: bytes) -> None:
    body = b'{"type":"event_callback","event_id":"Ev1","event":%b}' % odd
    assert verification.read_slack(Headers(()), JSON, body) == Content(delivery_id="Ev1")


def test_the_last_of_a_field_that_is_there_twice_counts() -> None:
    """As in JSON.parse, and so in the provider's own packages."""
    assert stripe(b'{"id":"a","type":7,"type":"b.c","id":"d"}') == Content(event_type="b.c", delivery_id="d")


@pytest.mark.parametrize(
    "body",
    [
        b"command=%2Fx&text=\xff",
        b"text=%FF%ED&command=%2Fx",
        b"&".join(b"f%d=x" % n for n in range(5000)) + b"&command=%2Fx",
        b"command=%2Fx&command=%2Fy",
        b"text=%0A%00&;=&&command=%2Fx",
    ],
)
def test_an_odd_field_of_a_form_loses_no_command(body: bytes) -> None:
    assert verification.read_slack(Headers(()), FORM, body) == form("/x")


def test_an_odd_value_in_an_interaction_loses_no_type() -> None:
    for odd in ODD.values():
        body = urlencode({"payload": b'{"odd":%b,"type":"block_actions"}' % odd}).encode()
        assert verification.read_slack(Headers(()), FORM, body) == form("block_actions")


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
@pytest.mark.parametrize(
    "reader", [verification.read_stripe, verification.read_slack, verification.read_standard], ids=lambda r: r.__name__
)
def test_a_body_of_another_shape_says_nothing(reader: Callable[[Headers, str, bytes], Content], body: bytes) -> None:
    assert reader(Headers(()), JSON, body) == NOTHING


def test_types_and_ids_that_are_invalid_here_are_left_out() -> None:
    assert stripe(b'{"type": "two words", "id": "evt_1"}') == Content(delivery_id="evt_1")
    assert stripe('{"type": "a", "id": "☃"}'.encode()) == Content(event_type="a")
    assert stripe(b'{"type": "a", "id": "%b"}' % (b"x" * 256)) == Content(event_type="a")
    assert stripe(b'{"type": "%b"}' % (b"x" * 129)) == NOTHING
    twice = Headers([("x-github-event", "push"), ("x-github-event", "ping"), ("x-github-delivery", "\x00")])
    assert verification.read_github(twice, JSON, b"") == NOTHING


def test_the_gateway_passes_on_the_headers_of_every_provider() -> None:
    assert set(events.PROVIDER_HEADERS) == {*verification.PROVIDERS, Verification.GITHUB}
