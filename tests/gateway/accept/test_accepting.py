"""Accepting webhooks and events."""

import asyncio
import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from protos.webhook.v1 import ingest_pb2
from services.gateway.accept.batches import IngestBatches
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.gateway.conftest import MAX_PAYLOAD_BYTES
from tests.gateway.fakes import TOKEN, Services

SUBSCRIPTION = str(ids.new())
WEBHOOK = f"/api/v1/webhooks/ingest/{SUBSCRIPTION}"
EVENTS = "/api/v1/events"
EXACT = '{"b":1,  "a" : 1.0e0, "é": "\\u00e9😀"}'.encode()


async def test_a_webhook_is_answered_with_its_delivery(client: httpx.AsyncClient, services: Services) -> None:
    answer = await client.post(WEBHOOK, content=b'{"payload": %b}' % EXACT)
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"delivery_id", "event_id", "status"}
    assert body["status"] == "pending"
    assert UUID(body["event_id"]).version == 7
    [item] = services.items
    assert item == ingest_pb2.IngestItem(
        event_id=body["event_id"],
        tenant_id="default",
        subscription_id=SUBSCRIPTION,
        content_type="application/json",
        payload=EXACT,
    )


async def test_a_body_without_an_envelope_is_delivered_as_it_came(
    client: httpx.AsyncClient, services: Services
) -> None:
    body = b'{"action":  "opened"}'
    headers = {"content-type": "application/json; charset=utf-8", "x-event-type": "pull_request"}
    answer = await client.post(WEBHOOK, content=body, headers=headers)
    assert answer.status_code == 202
    [item] = services.items
    assert (item.payload, item.content_type, item.event_type) == (body, headers["content-type"], "pull_request")


@pytest.mark.parametrize("path", [WEBHOOK, EVENTS])
async def test_a_trailing_slash_makes_no_difference(client: httpx.AsyncClient, services: Services, path: str) -> None:
    body = b'{"event_type": "a", "payload": 1}'
    answers = [await client.post(path + slash, content=body) for slash in ("", "/")]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert services.items[0].payload == services.items[1].payload


async def test_the_signature_goes_with_the_body_that_was_signed(client: httpx.AsyncClient, services: Services) -> None:
    for body in (b'{"payload": {"a": 1}}', b'{"a": 1}'):
        signature = "sha256=" + hmac.digest(b"secret", body, hashlib.sha256).hex()
        answer = await client.post(WEBHOOK, content=body, headers={"x-hub-signature-256": signature})
        assert answer.status_code == 202
        item = services.items[-1]
        assert (item.hub_signature.signature, item.payload) == (signature, body)
        assert item.enveloped == body.startswith(b'{"payload"')


async def test_a_filtered_webhook_has_no_delivery(client: httpx.AsyncClient, services: Services) -> None:
    services.result = lambda item: ingest_pb2.IngestResult(
        accepted=ingest_pb2.Accepted(event_id=item.event_id, status=ingest_pb2.INGEST_STATUS_FILTERED)
    )
    answer = await client.post(WEBHOOK, content=b'{"payload": 1}')
    assert answer.status_code == 202
    assert answer.json() == {"delivery_id": None, "event_id": services.items[0].event_id, "status": "filtered"}


async def test_an_event_is_answered_with_its_deliveries(client: httpx.AsyncClient, services: Services) -> None:
    services.result = lambda item: ingest_pb2.IngestResult(
        accepted=ingest_pb2.Accepted(event_id=item.event_id, deliveries=3, status=ingest_pb2.INGEST_STATUS_PENDING)
    )
    answer = await client.post(EVENTS, content=b'{"payload": %b, "event_type": "order.created"}' % EXACT)
    assert answer.status_code == 202
    [item] = services.items
    assert answer.json() == {"event_id": item.event_id, "deliveries": 3}
    assert item.WhichOneof("target") == "fan_out"
    assert (item.event_type, item.payload, item.content_type) == ("order.created", EXACT, "application/json")


async def test_an_event_to_many_is_answered_as_expanding(client: httpx.AsyncClient, services: Services) -> None:
    services.result = lambda item: ingest_pb2.IngestResult(
        accepted=ingest_pb2.Accepted(event_id=item.event_id, expanding=True, status=ingest_pb2.INGEST_STATUS_PENDING)
    )
    answer = await client.post("/api/v1/events", json={"event_type": "order.created", "payload": 1})
    (item,) = services.items
    assert answer.status_code == 202
    assert answer.json() == {"event_id": item.event_id, "expanding": True}


async def test_a_scheduled_event_is_answered_with_when_it_is_due(client: httpx.AsyncClient, services: Services) -> None:
    due = datetime(2026, 3, 14, 16, 0, tzinfo=UTC)

    def scheduled(item: ingest_pb2.IngestItem) -> ingest_pb2.IngestResult:
        # As ingest makes it: another time, and the same rest. It was sent again after its response was lost.
        accepted = ingest_pb2.Accepted(event_id=f"019ced70-1c5d{item.event_id[13:]}", replayed=True)
        accepted.status = ingest_pb2.INGEST_STATUS_SCHEDULED
        accepted.deliver_at.FromDatetime(due)
        return ingest_pb2.IngestResult(accepted=accepted)

    services.result = scheduled
    body = {"event_type": "a.b", "payload": 1, "deliver_at": "2026-03-14T17:00:00+01:00", "deliver_within_seconds": 60}
    answer = await client.post(EVENTS, json=body)
    (item,) = services.items
    assert answer.status_code == 202
    assert answer.json() == {"event_id": f"019ced70-1c5d{item.event_id[13:]}", "deliver_at": "2026-03-14T16:00:00.000Z"}
    assert "idempotent-replayed" not in answer.headers
    assert (item.deliver_at.ToDatetime(UTC), item.delay_seconds, item.deliver_within_seconds) == (due, 0, 60)
    batched = {"event_type": "a.b", "payload": 1, "delay_seconds": 5, "deliver_at": None}
    answer = await client.post(f"{EVENTS}/batch", json={"events": [batched]})
    assert answer.json()["results"][0].keys() == {"event_id", "deliver_at"}
    assert (services.items[-1].HasField("deliver_at"), services.items[-1].delay_seconds) == (False, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("deliver_at", wrong) for wrong in ("tomorrow", "2026-03-14T16:00:00", "2026-13-01T00:00:00Z")],
        *[("deliver_at", wrong) for wrong in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")],
        ("deliver_at", 5),
        ("deliver_at", {}),
        *[("delay_seconds", wrong) for wrong in (-1, 1.5, 2_592_001, True, 1 << 70)],
        ("delay_seconds", "5"),
        *[("deliver_within_seconds", wrong) for wrong in (0, -1, 2_592_001)],
        ("deliver_within_seconds", []),
    ],
)
async def test_times_that_are_not_valid_are_refused_by_their_field(
    client: httpx.AsyncClient, services: Services, field: str, value: object
) -> None:
    answer = await client.post(EVENTS, json={"event_type": "a.b", "payload": 1, field: value})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert services.items == []


async def test_an_event_without_subscribers_returns_no_deliveries(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.result = lambda item: ingest_pb2.IngestResult(
        accepted=ingest_pb2.Accepted(event_id=item.event_id, status=ingest_pb2.INGEST_STATUS_FILTERED)
    )
    answer = await client.post("/api/v1/events", json={"event_type": "order.created", "payload": 1})
    assert answer.json() == {"event_id": services.items[0].event_id, "deliveries": 0}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFound("there is no such subscription"), 404),
        (errors.SignatureMismatch("the signature does not match"), 401),
        (errors.InvalidArgument.field("subscription_id", "is bad"), 422),
        (errors.PayloadTooLarge.field("payload", "is too large"), 413),
        (errors.InvalidArgument("the key was used before", reason=errors.ErrorReason.IDEMPOTENCY_KEY_REUSED), 422),
        (errors.IdempotencyKeyInUse("it is still running"), 409),
        (errors.Overloaded("too much"), 429),
        (errors.Unavailable("Postgres is away"), 503),
    ],
)
async def test_rejected_item_returns_its_problem(
    client: httpx.AsyncClient, services: Services, error: errors.WebhookError, status: int
) -> None:
    refused = ingest_pb2.ItemError(
        code=grpc_errors.code_number(error),
        reason=error.reason,
        message=error.message,
        field=error.violations[0].field if error.violations else "",
    )
    services.result = lambda _: ingest_pb2.IngestResult(error=refused)
    answer = await client.post(WEBHOOK, content=b'{"payload": 1}')
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["reason"], document["detail"]) == (status, error.reason, error.message)
    assert [found["field"] for found in document.get("errors", ())] == [v.field for v in error.violations]
    assert ("retry-after" in answer.headers) == (status in {409, 429, 503})


async def test_a_bad_neighbour_in_the_batch_changes_nothing(client: httpx.AsyncClient, services: Services) -> None:
    accept = services.result
    refused = ingest_pb2.IngestResult(
        error=ingest_pb2.ItemError(code=5, reason=errors.ErrorReason.NOT_FOUND, message="unknown")
    )
    services.result = lambda item: refused if item.payload == b'"bad"' else accept(item)
    services.delay_seconds = 0.2  # so that the requests after the first two share a call
    payloads = [b'"bad"' if number % 3 == 0 else b"%d" % number for number in range(12)]
    answers = await asyncio.gather(
        *(client.post(WEBHOOK, content=b'{"payload": %b}' % payload) for payload in payloads)
    )
    assert [answer.status_code for answer in answers] == [404 if payload == b'"bad"' else 202 for payload in payloads]
    assert max(services.batch_sizes) > 1


async def test_event_types_are_checked(client: httpx.AsyncClient, services: Services) -> None:
    for event_type in ("a b", "", "a" * 129, "ü", "a,b"):
        answer = await client.post(WEBHOOK, content=b"1", headers={b"x-event-type": event_type.encode()})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "X-Event-Type"
    assert services.items == []


@pytest.mark.parametrize("path", [WEBHOOK, EVENTS])
async def test_a_payload_may_be_as_large_as_allowed_and_no_larger(
    client: httpx.AsyncClient, services: Services, path: str
) -> None:
    for size, status in ((MAX_PAYLOAD_BYTES, 202), (MAX_PAYLOAD_BYTES + 1, 413)):
        value = b'"' + b"x" * (size - 2) + b'"'
        prefix = b'"event_type": "a", ' if path == EVENTS else b""
        answer = await client.post(path, content=b'{%b"payload": %b}' % (prefix, value))
        assert answer.status_code == status
    assert len(services.items) == 1


async def test_a_body_that_comes_in_pieces_is_bounded_too(client: httpx.AsyncClient, services: Services) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1000
            await asyncio.sleep(0)

    headers = {"content-type": "text/plain"}
    assert (await client.post(WEBHOOK, content=pieces(10), headers=headers)).status_code == 202
    assert (await client.post(WEBHOOK, content=pieces(500), headers=headers)).status_code == 413
    assert [len(item.payload) for item in services.items] == [10_000]


async def test_encoded_bodies_and_other_types_are_refused(client: httpx.AsyncClient, services: Services) -> None:
    gzipped = await client.post(EVENTS, content=b"x", headers={"content-encoding": "gzip"})
    assert (gzipped.status_code, gzipped.json()["errors"][0]["field"]) == (415, "Content-Encoding")
    body = b'{"event_type": "a", "payload": 1}'
    form = await client.post(EVENTS, content=body, headers={"content-type": "text/plain"})
    assert (form.status_code, form.json()["errors"][0]["field"]) == (415, "Content-Type")
    assert services.items == []


async def test_malformed_ids_are_named(client: httpx.AsyncClient, services: Services) -> None:
    for bad in ("1", "%00", "%ff", SUBSCRIPTION.replace("-", ""), SUBSCRIPTION + "0", "x" * 36):
        answer = await client.post(f"/api/v1/webhooks/ingest/{bad}", content=b'{"payload": 1}')
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "subscription_id"
    assert services.items == []


@pytest.mark.parametrize("path", [WEBHOOK, EVENTS])
async def test_the_idempotency_key_goes_with_the_event(
    client: httpx.AsyncClient, services: Services, path: str
) -> None:
    body = b'{"event_type": "a", "payload": 1}'
    answer = await client.post(path, content=body, headers={"idempotency-key": "order 42"})
    assert answer.status_code == 202
    assert services.items[-1].idempotency_key == "order 42"


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
@pytest.mark.parametrize("path", [WEBHOOK, EVENTS, "/api/v1/subscriptions"])
async def test_a_key_that_cannot_be_one_is_named(
    client: httpx.AsyncClient, services: Services, path: str, key: str
) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    body = b'{"event_type": "a", "payload": 1}' if path != "/api/v1/subscriptions" else b'{"target_url": "http://a.b"}'
    answer = await client.post(path, content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert services.items == []


async def test_a_providers_headers_go_to_ingest_as_they_came_and_others_do_not(
    client: httpx.AsyncClient, services: Services
) -> None:
    sent = [
        (b"Stripe-Signature", b"t=1,v1=\xff"),
        (b"svix-signature", b"x" * 5000),
        (b"webhook-id", b"msg_1"),
        (b"x-github-event", b""),
        (b"x-shop", b"not theirs"),
    ]
    assert (await client.post(WEBHOOK, content=b'{"a": 1}', headers=sent)).status_code == 202
    assert (await client.post(WEBHOOK, content=b'{"payload": 1}', headers=sent[2:3])).status_code == 202
    assert (await client.post(WEBHOOK, content=b'{"payload": 1}', headers=sent[4:])).status_code == 202
    handed = services.items[0].verification
    assert [(header.name, header.value) for header in handed.headers] == [
        ("stripe-signature", "t=1,v1=\xff"),
        ("svix-signature", "x" * 1025),
        ("webhook-id", "msg_1"),
        ("x-github-event", ""),
    ]
    assert not services.items[2].HasField("verification")
    bodies = [(item.payload, item.enveloped) for item in services.items]
    assert bodies == [(b'{"a": 1}', False), (b'{"payload": 1}', True), (b"1", False)]


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [("gzip", "gzip"), ("identity", ""), ("", ""), ("br", "br"), ("gzip, br", "gzip, br"), ("Identity", "")],
)
async def test_an_encoded_webhook_is_handed_on_as_it_came(
    client: httpx.AsyncClient, services: Services, encoding: str, stored: str
) -> None:
    body = gzip.compress(b'{"payload": 1}')
    headers = {"content-encoding": encoding, "content-type": "application/json" if stored else "application/gzip"}
    assert (await client.post(WEBHOOK, content=body, headers=headers)).status_code == 202
    (item,) = services.items
    assert (item.payload, item.content_encoding, item.enveloped) == (body, stored, False)
    assert item.content_type == headers["content-type"]


@pytest.mark.parametrize("encoding", ["gzip,", "g zip", "\xff", "g" * 65])
async def test_an_encoding_that_could_not_be_sent_on_is_refused(
    client: httpx.AsyncClient, services: Services, encoding: str
) -> None:
    headers = [(b"content-encoding", encoding.encode("latin-1"))]
    answer = await client.post(WEBHOOK, content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Content-Encoding")
    assert services.items == []


@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf{}"])
async def test_an_empty_webhook_and_a_marked_one_are_handed_on_as_they_came(
    client: httpx.AsyncClient, services: Services, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    assert (await client.post(WEBHOOK, content=body, headers=headers)).status_code == 202
    assert (services.items[0].payload, services.items[0].content_type) == (body, "application/json")


async def test_a_sender_that_wants_no_body_gets_none(client: httpx.AsyncClient, services: Services) -> None:
    accepted = ingest_pb2.Accepted(
        event_id=str(ids.new()), status=ingest_pb2.INGEST_STATUS_PENDING, empty_answer=True, replayed=True
    )
    services.result = lambda _: ingest_pb2.IngestResult(accepted=accepted)
    answer = await client.post(WEBHOOK, content=b"command=%2Fx")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers
    assert answer.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("path", [WEBHOOK, EVENTS])
async def test_an_answer_is_marked_as_replayed_when_it_is_an_earlier_requests(
    client: httpx.AsyncClient, services: Services, path: str
) -> None:
    body = b'{"event_type": "a", "payload": 1}'
    assert "idempotent-replayed" not in (await client.post(path, content=body)).headers
    # It is this request's own event, which was sent to ingest twice.
    services.result = lambda item: ingest_pb2.IngestResult(
        accepted=ingest_pb2.Accepted(event_id=item.event_id, replayed=True)
    )
    assert "idempotent-replayed" not in (await client.post(path, content=body)).headers
    earlier = ingest_pb2.Accepted(event_id=str(ids.new()), replayed=True)
    services.result = lambda _: ingest_pb2.IngestResult(accepted=earlier)
    answer = await client.post(path, content=body)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (202, "true")
    assert answer.json()["event_id"] == earlier.event_id


async def test_a_handshake_is_answered_with_its_challenge(client: httpx.AsyncClient, services: Services) -> None:
    accepted = ingest_pb2.Accepted(status=ingest_pb2.INGEST_STATUS_HANDSHAKE, challenge='3eZ"☃')
    services.result = lambda _: ingest_pb2.IngestResult(accepted=accepted)
    answer = await client.post(WEBHOOK, content=b"{}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"challenge": '3eZ"☃'}


async def test_a_401_asks_for_the_header_that_was_looked_at(client: httpx.AsyncClient, services: Services) -> None:
    for reason in ("SIGNATURE_MISSING", "SIGNATURE_MISMATCH", "SIGNATURE_EXPIRED"):
        refused = ingest_pb2.ItemError(code=16, reason=reason, message="said why", field="X-Slack-Signature")
        result = ingest_pb2.IngestResult(error=refused)
        services.result = lambda _: result  # noqa: B023 - asked before the next one
        answer = await client.post(WEBHOOK, content=b"{}")
        assert (answer.status_code, answer.json()["reason"]) == (401, reason)
        assert answer.headers["www-authenticate"] == answer.json()["errors"][0]["field"] == "X-Slack-Signature"


async def test_an_event_waits_with_the_weight_of_its_tenant(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[int] = []
    accept = IngestBatches.accept

    async def noted(
        batches: IngestBatches, item: ingest_pb2.IngestItem, size_bytes: int, tenant: str, weight: int
    ) -> ingest_pb2.Accepted:
        weights.append(weight)
        return await accept(batches, item, size_bytes, tenant, weight)

    monkeypatch.setattr(IngestBatches, "accept", noted)
    for path in (WEBHOOK, f"{WEBHOOK}/{TOKEN}"):
        assert (await client.post(path, content=b"{}")).status_code == 202
    assert weights == [1, 3]


# -- versions --


async def test_a_webhook_states_its_version_in_a_header_or_in_its_url(
    client: httpx.AsyncClient, services: Services
) -> None:
    for path in (WEBHOOK, f"{WEBHOOK}/{TOKEN}"):
        for query, headers, expected in (
            ("", {}, 0),
            ("", {"X-Webhook-Event-Version": "2"}, 2),
            ("?event_version=1000000", {}, 1_000_000),
            ("?event%5Fversion=3", {}, 3),
            ("?a=event_version&b=1", {}, 0),
        ):
            answer = await client.post(path + query, content=b"{}", headers={"X-Event-Type": "a", **headers})
            assert (answer.status_code, services.items[-1].event_version) == (202, expected)


@pytest.mark.parametrize("version", ["", "0", "-1", "1.0", "00000001", "1000001", "two", "\u0662", "1 2"])
async def test_a_version_that_is_not_valid_is_named(
    client: httpx.AsyncClient, services: Services, version: str
) -> None:
    header = {b"x-webhook-event-version": version.encode()}
    answers = [
        (await client.post(WEBHOOK, content=b"1", headers=header), "X-Webhook-Event-Version"),
        (await client.post(WEBHOOK, content=b"1", params={"event_version": version}), "event_version"),
    ]
    for answer, field in answers:
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert services.items == []


async def test_a_version_is_stated_in_one_place(client: httpx.AsyncClient) -> None:
    header = {"X-Webhook-Event-Version": "1"}
    for path, headers in ((f"{WEBHOOK}?event_version=1", header), (f"{WEBHOOK}?event_version=1&event_version=1", {})):
        answer = await client.post(path, content=b"1", headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "event_version")
    answer = await client.post(WEBHOOK, content=b"1", headers=[*header.items(), *header.items()])
    assert answer.status_code == 400


async def test_an_event_states_its_version_in_its_body_or_in_a_header(
    client: httpx.AsyncClient, services: Services
) -> None:
    event = {"event_type": "a", "payload": 1}
    for body, headers, expected in (
        (event, {}, 0),
        (event, {"X-Webhook-Event-Version": "2"}, 2),
        ({**event, "event_version": None}, {"X-Webhook-Event-Version": "2"}, 2),
        ({**event, "event_version": 2}, {"X-Webhook-Event-Version": "2"}, 2),
        ({**event, "event_version": 3}, {}, 3),
    ):
        answer = await client.post("/api/v1/events", json=body, headers=headers)
        assert (answer.status_code, services.items[-1].event_version) == (202, expected)
    accepted = len(services.items)
    for body, version in (({**event, "event_version": 3}, "2"), (event, "0"), (event, "")):
        answer = await client.post("/api/v1/events", json=body, headers={"X-Webhook-Event-Version": version})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "X-Webhook-Event-Version")
    answer = await client.post(
        "/api/v1/events/batch", json={"events": [event]}, headers={"X-Webhook-Event-Version": "2"}
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "X-Webhook-Event-Version")
    assert len(services.items) == accepted


# -- tags --


async def test_tags_of_a_webhook_and_of_an_event_are_passed_on(client: httpx.AsyncClient, services: Services) -> None:
    header = {b"x-webhook-tags": "order=42 ,customer=ac=me, ,\tname=M\u00fcller".encode()}
    expected = {"order": "42", "customer": "ac=me", "name": "M\u00fcller"}
    token_path = f"{WEBHOOK}/{TOKEN}"
    for path, body in ((WEBHOOK, b"1"), (token_path, b"1"), (EVENTS, b'{"event_type": "a", "payload": %b}' % EXACT)):
        assert (await client.post(path, content=body, headers=header)).status_code == 202
        assert dict(services.items[-1].tags) == expected
    body = b'{"payload": %b, "tags": {"order": "42", "customer": "a, b"}, "event_type": "a"}' % EXACT
    assert (await client.post(EVENTS, content=body)).status_code == 202
    item = services.items[-1]
    assert (dict(item.tags), item.payload) == ({"order": "42", "customer": "a, b"}, EXACT)
    for body in (b'{"payload": 1, "tags": null, "event_type": "a"}', b'{"payload": 1, "tags": {}, "event_type": "a"}'):
        assert (await client.post(EVENTS, content=body, headers={"x-webhook-tags": ","})).status_code == 202
        assert not services.items[-1].tags


WRONG_TAGS = [
    *("order", "order=", "=42", "order=42,order=43", "a b=1", "a=\u00a0", f"{'k' * 65}=1", f"a={'v' * 256}"),
    ",".join(f"a{number}=1" for number in range(6)),
]


@pytest.mark.parametrize("value", [*(text.encode() for text in WRONG_TAGS), b"a=\xff", b"a=\xe2\x80\x8b"])
@pytest.mark.parametrize("path", [WEBHOOK, EVENTS])
async def test_a_wrong_header_of_tags_is_named(
    client: httpx.AsyncClient, services: Services, path: str, value: bytes
) -> None:
    body = b'{"event_type": "a", "payload": 1}'
    answer = await client.post(path, content=body, headers={b"x-webhook-tags": value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "X-Webhook-Tags")
    assert services.items == []


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        (b'["order=42"]', "tags"),
        (b'{"order": 42}', "tags"),
        (b'{"a b": "1"}', "tags"),
        (b'{"order": ""}', "tags.order"),
        (b'{"order": " 42"}', "tags.order"),
        (b'{"order": "\\u0000"}', "tags.order"),
        (b'{"order": "\\ud83d"}', "tags"),
        (b'{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1"}', "tags"),
    ],
    ids=str,
)
async def test_wrong_tags_in_a_body_are_named(
    client: httpx.AsyncClient, services: Services, tags: bytes, field: str
) -> None:
    event = b'{"event_type": "a", "payload": 1, "tags": %b}' % tags
    answer = await client.post(EVENTS, content=event)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    answer = await client.post(f"{EVENTS}/batch", content=b'{"events": [%b]}' % event)
    (result,) = answer.json()["results"]
    assert (result["error"]["status"], result["error"]["errors"][0]["field"]) == (422, field)
    assert services.items == []


async def test_tags_are_stated_in_one_place(client: httpx.AsyncClient, services: Services) -> None:
    header = {"X-Webhook-Tags": "order=42"}
    event = {"event_type": "a", "payload": 1, "tags": {"order": "42"}}
    for path, body in ((EVENTS, event), (f"{EVENTS}/batch", {"events": [event]})):
        answer = await client.post(path, json=body, headers=header)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "X-Webhook-Tags")
    answer = await client.post(EVENTS, json=event, headers=[("X-Webhook-Tags", "a=1"), ("X-Webhook-Tags", "b=1")])
    assert (answer.status_code, answer.json()["reason"]) == (400, "HEADER_REPEATED")
    assert services.items == []
