"""Custom headers of a subscription: stored for the workers, and never shown."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2
from services.ingest.subscriptions import record
from services.platform import errors
from tests.ingest.conftest import Ingest, fields, refused

Headers = subscriptions_pb2.CustomHeaders
VALUES = {"Authorization": "Bearer hunter2", "x-shop": "hunter2"}


async def stored(ingest: Ingest, subscription_id: str) -> dict[str, str]:
    """Return what the workers will read."""
    query = "SELECT sealed_headers FROM subscriptions WHERE id = $1::text::uuid"
    sealed = await ingest.pool.fetchval(query, subscription_id)
    assert sealed is None or b"hunter2" not in sealed
    return dict(vault().headers(UUID(subscription_id), sealed))


async def test_answers_have_the_names_and_no_values(ingest: Ingest) -> None:
    made = await ingest.create(headers=Headers(values=VALUES), idempotency_key="k")
    again = await ingest.create(headers=Headers(values=VALUES), idempotency_key="k")
    changed = await ingest.update(made.id)
    (listed,) = (await ingest.page()).subscriptions
    for answer in (made, again, changed, listed, await ingest.get(made.id)):
        assert (answer.id, list(answer.status.header_names)) == (made.id, ["Authorization", "x-shop"])
        assert b"hunter2" not in answer.SerializeToString()
    assert await stored(ingest, made.id) == VALUES


async def test_an_idempotency_key_takes_no_headers_and_empty_ones_for_the_same_request(ingest: Ingest) -> None:
    first = await ingest.create(secret_key="q" * 32, idempotency_key="empty")
    assert await ingest.create(secret_key="q" * 32, headers=Headers(), idempotency_key="empty") == first


async def test_an_update_keeps_replaces_or_removes_them(ingest: Ingest) -> None:
    made = await ingest.create(headers=Headers(values=VALUES))
    assert list((await ingest.update(made.id, description="other")).status.header_names) == ["Authorization", "x-shop"]
    assert list((await ingest.update(made.id, headers=Headers(values={"A": "b"}))).status.header_names) == ["A"]
    assert await stored(ingest, made.id) == {"A": "b"}
    assert list((await ingest.update(made.id, headers=Headers())).status.header_names) == []
    assert await stored(ingest, made.id) == {}
    assert list((await ingest.get(made.id)).status.header_names) == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"webhook-id": "hunter2"}, "headers.webhook-id"),
        ({"Host": "hunter2"}, "headers.Host"),
        ({"X": "hunter2\r\nY: z"}, "headers.X"),
        ({"X: a\r\nY": "hunter2"}, "headers"),
    ],
)
async def test_reserved_or_malformed_headers_are_refused_and_not_repeated(
    ingest: Ingest, values: dict[str, str], field: str
) -> None:
    made = await ingest.create()
    for call in (
        ingest.create(headers=Headers(values=values)),
        ingest.update(made.id, headers=Headers(values=values)),
    ):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == [field]
        assert "hunter2" not in error.message
    assert await ingest.count("subscriptions") == 1


# -- which are accepted --


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"Authorization": "Bearer a.b-c_d~e+f/g=="},
        {"X-Key": "k", "Cookie": "a=b; c=d", "x_under.score": "\"quoted\", and 'so'"},
        {"n" * 64: "v"},
        {"X-Long": "v" * 1024},
        {f"X-{number}": "v" for number in range(20)},
        {f"X-{number}": "v" * (1024 - 7) for number in range(4)},
        {"X_Token": "v", "X-Token": "w", "webhooks_token": "v", "Accept": "text/plain", "trace_parent": "v"},
        {"Webhook": "v", "X-Hub": "v", "Proxy": "v", "X-Forwarded-For": "v", "Date": "v"},
    ],
)
def test_good_headers_are_taken(values: dict[str, str]) -> None:
    assert record.header_violations(values) == []


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "KEEP-ALIVE", "te", "Trailer", "Transfer-Encoding", "upgrade", "HTTP2-Settings",
        "Proxy-Connection", "proxy-authorization", "Host", "Expect", "Content-Length",
        "content-encoding", "Content-Type", "User-Agent",
        "X-Event-Type", "webhook-id", "Webhook-Signature", "webhook-anything", "X-Webhook-Delivery-Id",
        "X-Hub-Signature", "x-hub-signature-256", "Traceparent", "tracestate", "Accept-Encoding",
        # CGI and its successors (WSGI, PHP, Rack) read these like the names with hyphens.
        "webhook_id", "WEBHOOK_SIGNATURE", "webhook_anything", "x_webhook_delivery_id", "X_Hub-Signature_256",
        "content_type", "CONTENT_LENGTH", "User_Agent", "X_Event_Type", "transfer_encoding", "keep_alive",
        "proxy_connection", "X.Event.Type", "webhook.id", "webhook~id", "x-webhook_delivery!id",
    ],
)  # fmt: skip
def test_a_name_that_is_the_services_own_is_refused_and_named(name: str) -> None:
    (found,) = record.header_violations({"X-Fine": "v", name: "hidden-value"})
    assert found.field == f"headers.{name}"
    assert found.description.startswith("is set by this service")
    assert "hidden-value" not in found.description


@pytest.mark.parametrize(
    "name", ["", "n" * 65, "a b", "a:b", "a\r\nb", "a\x00", "\u00e9", "a(b", ":path", "a\t", "a/b"]
)
def test_a_malformed_name_is_refused(name: str) -> None:
    (found,) = record.header_violations({name: "v"})
    assert found.field == "headers"
    assert len(found.description) < 200


@pytest.mark.parametrize(
    "value", ["", "v" * 1025, "a\r\nX: y", "a\nb", "a\x00", "a\tb", "\u00e9", " secret", "secret ", "\x7f", "\u2028"]
)
def test_a_malformed_value_is_refused_and_not_repeated(value: str) -> None:
    (found,) = record.header_violations({"X-Key": value})
    assert found.field == "headers.X-Key"
    assert not value.strip() or value not in found.description


@pytest.mark.parametrize(
    "values",
    [
        {f"X-{number}": "v" for number in range(21)},
        {f"X-{number}": "v" * (1024 - 7 + (number == 0)) for number in range(4)},
        {"X-Key": "a", "x-key": "b"},
    ],
    ids=["21 headers", "4,097 bytes", "twice"],
)
def test_headers_beyond_a_limit_are_rejected(values: dict[str, str]) -> None:
    assert record.header_violations(values)


@given(st.dictionaries(st.text(max_size=70), st.text(max_size=70), max_size=22))
def test_accepted_headers_make_one_line_each(values: dict[str, str]) -> None:
    if not record.header_violations(values):
        lines = "".join(f"{name}: {value}\r\n" for name, value in values.items())
        assert lines.isascii()
        assert len(lines.split("\r\n")) == len(values) + 1
        assert all(character.isprintable() for character in lines.replace("\r\n", ""))
