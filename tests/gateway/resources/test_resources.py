"""The resources: from REST to gRPC, and back."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from google.protobuf import duration_pb2, timestamp_pb2

from protos.webhook.v1 import analytics_pb2, deliveries_pb2, ingest_pb2
from services.gateway.resources.stats import StatsOverTime
from services.platform import errors, ids
from services.platform.grpc import conversion
from tests.gateway.fakes import NOW, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
URL = "https://example.com/hook"
ID = str(ids.new())


async def create(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post(SUBSCRIPTIONS, json={"target_url": URL, **body})


async def test_a_subscription_is_created_looked_up_replaced_and_deleted(
    client: httpx.AsyncClient, services: Services
) -> None:
    created = await create(client, secret_key="secret-s3cret", event_types=["order.*"], description="d")
    assert created.status_code == 201
    body = created.json()
    assert body == {
        "id": body["id"],
        "tenant_id": "default",
        "destination": "http",
        "expires_after_idle_seconds": None,
        "target_url": URL,
        "event_types": ["order.*"],
        "description": "d",
        "name": None,
        "metadata": {},
        "tag_paths": {},
        "event_versions": {},
        "has_secret": True,
        "signature_scheme": "hmac-sha256",
        "public_keys": [],
        "previous_secrets": [],
        "has_ingest_token": False,
        "status": "active",
        "status_reason": None,
        "status_since": "2026-03-14T15:09:26.535Z",
        "next_check_at": None,
        "check_error": None,
        "keep_when_disabled": True,
        "rate_limit_per_second": None,
        "rate_limit_burst": None,
        "timeout_seconds": None,
        "retry_policy": None,
        "effective_retry_policy": {"delays_seconds": [5, 300]},
        "effective_timeout_seconds": 15.0,
        "header_names": [],
        "verify": "auto",
        "has_verification_secret": False,
        "relay_headers": False,
        "filter": None,
        "filter_on_error": "deliver",
        "filter_stopped_at": None,
        "kind": "normal",
        "client_certificate": None,
        "template": None,
        "template_secret_names": [],
        "breaker": {
            "state": "closed",
            "since": None,
            "reason": None,
            "next_probe_at": None,
            "consecutive_failures": 0,
        },
        "warnings": [],
        "created_at": "2026-03-14T15:09:26.535Z",
        "updated_at": "2026-03-14T15:09:26.535Z",
        "secret_key": None,
    }
    del body["secret_key"]
    path = created.headers["location"]
    assert path == f"{SUBSCRIPTIONS}/{body['id']}"
    assert (await client.get(path)).json() == body
    replaced = await client.put(path + "/", json={"target_url": "https://example.com/other"})
    assert (replaced.status_code, replaced.json()["target_url"]) == (200, "https://example.com/other")
    deleted = await client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.get(path)).status_code == 404
    assert services.stored == {}


async def test_a_list_is_paged(client: httpx.AsyncClient, services: Services) -> None:
    for _ in range(3):
        await create(client)
    page = (await client.get(f"{SUBSCRIPTIONS}/", params={"limit": 2, "cursor": "abc"})).json()
    assert (len(page["items"]), page["next_cursor"]) == (2, "next")
    assert (services.requests[-1].page_size, services.requests[-1].page_token) == (2, "abc")
    assert (await client.get(SUBSCRIPTIONS)).json()["next_cursor"] is None
    assert services.requests[-1].page_size == 50


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"target_url": 1}, ["target_url"]),
        ({"target_url": URL, "nope": 1, "x": 2}, ["nope", "x"]),
        ({"target_url": URL, "event_types": "a"}, ["event_types"]),
        ({"target_url": URL, "event_types": ["a", 1]}, ["event_types.1"]),
        ({"target_url": URL, "description": None}, ["description"]),
        ({"target_url": "x" * 3000}, ["target_url"]),
        ({"target_url": URL, "verify": "paypal"}, ["verify"]),
        ({"target_url": URL, "verification_secrets": "hunter2"}, ["verification_secrets"]),
        ([], ["body"]),
        ("x", ["body"]),
        (None, ["body"]),
    ],
)
async def test_a_wrong_body_names_the_fields(
    client: httpx.AsyncClient, services: Services, body: object, fields: list[str]
) -> None:
    content = json.dumps(body).encode()
    answer = await client.post(SUBSCRIPTIONS, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["errors"]] == fields
    assert services.requests == []


async def test_fields_that_a_service_refuses_are_named_as_it_names_them(
    client: httpx.AsyncClient, services: Services
) -> None:
    violations = [errors.Violation(field="event_types.0", description="is bad")]
    services.failure = errors.InvalidArgument.of(*violations)
    answer = await create(client)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": "event_types.0", "message": "is bad"}])


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"target_url": NaN}', "application/json", 400),
        (b'{"target_url": "\\ud800"}', "application/json", 400),
        (b'{"target_url": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"target_url": "https://example.com"}', "text/plain", 415),
        (b'{"target_url": "https://example.com"}', "", 201),
        (b'{"target_url": "' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
async def test_bodies_that_are_not_json_are_rejected(
    client: httpx.AsyncClient, services: Services, content: bytes, content_type: str, status: int
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post(SUBSCRIPTIONS, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert len(services.requests) == (status == 201)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1e2", "limit"),
        ("limit=%00", "limit"),
        ("nope=1", "nope"),
        ("cursor=" + "x" * 300, "cursor"),
    ],
)
async def test_a_wrong_query_names_the_parameter(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"{SUBSCRIPTIONS}?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{SUBSCRIPTIONS}/1", "subscription_id"),
        (f"{SUBSCRIPTIONS}/%00/stats", "subscription_id"),
        (f"{SUBSCRIPTIONS}/{ID}x/deliveries", "subscription_id"),
        ("/api/v1/webhooks/deliveries/%ff", "delivery_id"),
        ("/api/v1/events/x", "event_id"),
        (f"{SUBSCRIPTIONS}/{ID}/deliveries?status=lost", "status"),
        ("/api/v1/stats?window=5", "window"),
        ("/api/v1/stats?window=0h", "window"),
        ("/api/v1/stats?window=9999999d", "window"),
        ("/api/v1/stats/refusals?from=yesterday", "from"),
        ("/api/v1/stats/refusals?to=1", "to"),
        ("/api/v1/stats/refusals?limit=201", "limit"),
        (f"/api/v1/stats/refusals?subscription_id={ID}&subscription_id=x", "subscription_id.1"),
        ("/api/v1/stats/series?from=yesterday", "from"),
        ("/api/v1/stats/series?to=1", "to"),
        ("/api/v1/stats/series?step=2m", "step"),
        ("/api/v1/stats/series?group_by=tenant", "group_by"),
        ("/api/v1/stats/series?limit=0", "limit"),
        (f"/api/v1/stats/series?subscription_id={ID}&subscription_id=x", "subscription_id.1"),
        ("/api/v1/stats/series?" + "&".join([f"subscription_id={ID}"] * 101), "subscription_id"),
    ],
)
async def test_a_wrong_path_or_query_names_the_parameter(client: httpx.AsyncClient, path: str, field: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_delivery_is_answered_with_its_attempts(client: httpx.AsyncClient, services: Services) -> None:
    services.delivery = deliveries_pb2.Delivery(
        id=ID,
        tenant_id="default",
        event_id=ID,
        subscription_id=ID,
        event_type="order.created",
        status=deliveries_pb2.DELIVERY_STATUS_IN_FLIGHT,
        attempt_count=2,
        created_at=NOW,
        expires_at=NOW,
        last_status_code=503,
        last_error_kind="http_5xx",
        explanation="Being sent.",
        waits_for=deliveries_pb2.WaitsFor(kind="response"),
        event_version=2,
        attempts=[
            deliveries_pb2.Attempt(
                number=1,
                started_at=NOW,
                duration_ms=0,
                status_code=503,
                error=deliveries_pb2.AttemptError(kind="http_5xx", message="answered 503"),
                response_body="",
                actor="system",
                details=deliveries_pb2.AttemptDetails(
                    request_headers=[deliveries_pb2.AttemptHeader(name="webhook-id", value=ID)],
                    response_headers=[deliveries_pb2.AttemptHeader(name="retry-after", value="1")],
                    address="203.0.113.7",
                    connection_reused=True,
                    phases=[deliveries_pb2.AttemptPhase(name="first_byte", duration_ms=12.5)],
                ),
            ),
            deliveries_pb2.Attempt(number=2, started_at=NOW, actor="bootstrap"),
            deliveries_pb2.Attempt(number=3, started_at=NOW, actor="system", details=deliveries_pb2.AttemptDetails()),
        ],
    )
    moment = "2026-03-14T15:09:26.535Z"
    summary = {
        "id": ID,
        "tenant_id": "default",
        "event_id": ID,
        "subscription_id": ID,
        "event_type": "order.created",
        "status": "in_flight",
        "reason": None,
        "attempt_count": 2,
        "created_at": moment,
        "next_attempt_at": None,
        "completed_at": None,
        "expires_at": moment,
        "held_by": None,
        "last_status_code": 503,
        "last_error_kind": "http_5xx",
        "explanation": "Being sent.",
        "waits_for": {"kind": "response", "until": None},
        "event_version": 2,
    }
    whole = summary | {
        "trace_id": None,
        "attempts": [
            {
                "number": 1,
                "started_at": moment,
                "duration_ms": 0,
                "status_code": 503,
                "error": {"kind": "http_5xx", "message": "answered 503"},
                "response_body": "",
                "actor": "system",
                "details": {
                    "request_headers": [{"name": "webhook-id", "value": ID}],
                    "response_headers": [{"name": "retry-after", "value": "1"}],
                    "headers_cut": False,
                    "address": "203.0.113.7",
                    "connection_reused": True,
                    "phases": [{"name": "first_byte", "duration_ms": 12.5}],
                },
            },
            {
                "number": 2,
                "started_at": moment,
                "duration_ms": None,
                "status_code": None,
                "error": None,
                "response_body": None,
                "actor": "bootstrap",
                "details": None,
            },
            {
                "number": 3,
                "started_at": moment,
                "duration_ms": None,
                "status_code": None,
                "error": None,
                "response_body": None,
                "actor": "system",
                "details": {
                    "request_headers": [],
                    "response_headers": [],
                    "headers_cut": False,
                    "address": None,
                    "connection_reused": False,
                    "phases": [],
                },
            },
        ],
    }
    for path in (f"/api/v1/deliveries/{ID}", f"/api/v1/webhooks/deliveries/{ID}"):
        assert (await client.get(path)).json() == whole
        assert (await client.post(f"{path}/retry")).json() == whole
        assert (await client.post(f"{path}/cancel/")).json() == whole
    for parent in (f"{SUBSCRIPTIONS}/{ID}", f"/api/v1/events/{ID}"):
        page = await client.get(f"{parent}/deliveries?status=in_flight&limit=7")
        assert page.json() == {"items": [summary], "next_cursor": "more"}
        request = services.requests[-1]
        assert (request.status, request.page_size) == (deliveries_pb2.DELIVERY_STATUS_IN_FLIGHT, 7)


async def test_a_search_passes_its_filters_on_and_says_what_was_searched(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.delivery = deliveries_pb2.Delivery(
        id=ID, event_id=ID, subscription_id=ID, status=deliveries_pb2.DELIVERY_STATUS_FAILED, created_at=NOW
    )
    asked = (
        f"subscription_id={ID}&status=failed&status=pending&reason=expired&event_type=order.*&event_type=a"
        "&status_code=5xx&error_kind=timeout&held_by=paused&min_attempts=2&order=oldest&limit=7&cursor=abc"
        "&idempotency_key=k&provider_id=p&provider_id=q&tag=order%3D42&tag=a=b=c"
        "&from=2026-03-14T15:09:26Z&to=2026-03-14T16:09:26%2B00:00"
    )
    answer = (await client.get(f"/api/v1/deliveries?{asked}")).json()
    assert [found["id"] for found in answer.pop("items")] == [ID]
    moment = "2026-03-14T15:09:26.535Z"
    assert answer == {"next_cursor": "more", "from": moment, "to": None, "scanned_to": moment}
    request = services.requests[-1]
    since = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
    assert request == deliveries_pb2.SearchDeliveriesRequest(
        tenant_id="default",
        filter=deliveries_pb2.DeliveryFilter(
            subscription_id=[ID],
            status=[deliveries_pb2.DELIVERY_STATUS_FAILED, deliveries_pb2.DELIVERY_STATUS_PENDING],
            reason=["expired"],
            event_type=["order.*", "a"],
            status_code=["5xx"],
            error_kind=["timeout"],
            held_by=["paused"],
            min_attempts=2,
            idempotency_key=["k"],
            provider_id=["p", "q"],
            tag=["order=42", "a=b=c"],
            from_time=conversion.stamp(since),
            to_time=conversion.stamp(since + timedelta(hours=1)),
        ),
        ascending=True,
        page_size=7,
        page_token="abc",
    )


async def test_a_summary_passes_its_filters_and_its_group_on(client: httpx.AsyncClient, services: Services) -> None:
    answer = await client.get("/api/v1/deliveries/summary?group_by=error_kind&status=failed&cursor=abc")
    assert answer.json() == {
        "groups": [{"value": "timeout", "deliveries": 3}, {"value": None, "deliveries": 1}],
        "next_cursor": None,
        "from": "2026-03-14T15:09:26.535Z",
        "to": None,
        "scanned_to": None,
    }
    assert services.requests[-1] == deliveries_pb2.SummarizeDeliveriesRequest(
        tenant_id="default",
        filter=deliveries_pb2.DeliveryFilter(status=[deliveries_pb2.DELIVERY_STATUS_FAILED]),
        group_by=deliveries_pb2.DELIVERY_GROUP_ERROR_KIND,
        page_token="abc",
    )
    for asked in ("", "?group_by=mood"):
        refused = await client.get(f"/api/v1/deliveries/summary{asked}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "group_by")


@pytest.mark.parametrize("resource", ["deliveries", "events"])
async def test_a_search_can_be_read_as_lines_of_all_its_pages(
    client: httpx.AsyncClient, services: Services, resource: str
) -> None:
    services.delivery = deliveries_pb2.Delivery(
        id=ID, event_id=ID, subscription_id=ID, status=deliveries_pb2.DELIVERY_STATUS_FAILED, created_at=NOW
    )
    services.event = ingest_pb2.Event(id=ID, content_type="text/plain", created_at=NOW)
    page = await client.get(f"/api/v1/{resource}?event_type=a.*&limit=1")
    answer = await client.get(f"/api/v1/{resource}?event_type=a.*&limit=1&format=ndjson")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in answer.text.splitlines()] == page.json()["items"] * 3
    # The service gets one message, whose token is changed from page to page.
    assert len(services.requests) == 4
    assert services.requests[-1].page_size == 200


async def test_lines_that_end_early_end_with_the_problem_and_the_cursor(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.event = ingest_pb2.Event(id=ID, content_type="text/plain", created_at=NOW)
    services.failure = errors.InvalidArgument.field("event_type", "must be something")
    assert (await client.get("/api/v1/events?format=ndjson")).status_code == 422
    services.failure, services.last_page = None, errors.Conflict("no more")
    lines = (await client.get("/api/v1/events?format=ndjson")).text.splitlines()
    *found, last = [json.loads(line) for line in lines]
    assert [event["id"] for event in found] == [ID, ID]
    assert last["next_cursor"] == "last"
    assert (last["error"]["status"], last["error"]["detail"]) == (409, "no more")


async def test_a_scheduled_event_is_shown_with_when_it_is_due_and_cancelled(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.event = ingest_pb2.Event(
        id=ID, event_type="a.b", content_type="application/json", payload=b"{}", created_at=NOW, deliver_at=NOW,
        deliver_within_seconds=60,
    )  # fmt: skip
    shown = (await client.get(f"/api/v1/events/{ID}")).json()
    assert (shown["scheduled"], shown["deliver_at"], shown["deliver_within_seconds"]) == (True, shown["created_at"], 60)
    listed = (await client.get("/api/v1/events", params={"scheduled": "true"})).json()["items"][0]
    assert (listed["scheduled"], listed["deliver_at"]) == (True, shown["created_at"])
    assert services.requests[-1].filter == ingest_pb2.EventFilter(scheduled=True)
    answer = await client.post(f"/api/v1/events/{ID}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"event_id": ID})
    assert services.requests[-1] == ingest_pb2.CancelEventRequest(tenant_id="default", event_id=ID)


async def test_a_search_of_events_passes_its_filters_on(client: httpx.AsyncClient, services: Services) -> None:
    services.event = ingest_pb2.Event(
        id=ID, event_type="a.b", content_type="text/plain", created_at=NOW, payload_bytes=7, tenant_id="default",
        tags={"order": "42"}, event_version=2,
    )  # fmt: skip
    asked = "event_type=a.*&event_type=b&idempotency_key=k&provider_id=p&tag=order=42&order=oldest&limit=7&cursor=abc"
    answer = await client.get(f"/api/v1/events?{asked}&from=2026-03-14T15:09:26Z&to=2026-03-14T16:09:26Z")
    moment = "2026-03-14T15:09:26.535Z"
    item = {
        "id": ID,
        "event_type": "a.b",
        "content_type": "text/plain",
        "content_encoding": None,
        "created_at": moment,
        "payload_bytes": 7,
        "expanding": False,
        "scheduled": False,
        "deliver_at": None,
        "tags": {"order": "42"},
        "erased_at": None,
        "event_version": 2,
    }
    assert answer.json() == {"items": [item], "next_cursor": "more", "from": moment, "to": None, "scanned_to": moment}
    since = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
    assert services.requests[-1] == ingest_pb2.ListEventsRequest(
        tenant_id="default",
        filter=ingest_pb2.EventFilter(
            event_type=["a.*", "b"],
            idempotency_key=["k"],
            provider_id=["p"],
            tag=["order=42"],
            from_time=conversion.stamp(since),
            to_time=conversion.stamp(since + timedelta(hours=1)),
        ),
        ascending=True,
        page_size=7,
        page_token="abc",
    )
    refused = await client.get("/api/v1/events?from=2026-03-14T15:09:26Z&to=2026-03-14T14:09:26Z")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "to")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("subscription_id=x", "subscription_id"),
        ("status=lost", "status"),
        ("reason=lost", "reason"),
        ("held_by=subscription_deleted", "held_by"),
        ("min_attempts=-1", "min_attempts"),
        ("from=yesterday", "from"),
        ("from=2026-03-14T15:09:26Z&to=2026-03-14T15:09:26Z", "to"),
        ("order=best", "order"),
        ("state=failed", "state"),
    ],
)
async def test_a_wrong_parameter_of_a_search_is_named(client: httpx.AsyncClient, asked: str, field: str) -> None:
    answer = await client.get(f"/api/v1/deliveries?{asked}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].split(".")[0] == field


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Conflict("in hand", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT), 409),
        (errors.Gone("the payload is gone"), 410),
    ],
)
async def test_a_retry_that_cannot_be_says_why(
    client: httpx.AsyncClient, services: Services, error: errors.WebhookError, status: int
) -> None:
    services.failure = error
    answer = await client.post(f"/api/v1/webhooks/deliveries/{ID}/retry")
    assert (answer.status_code, answer.json()["reason"]) == (status, error.reason)


@pytest.mark.parametrize(
    ("content_type", "payload", "shown"),
    [
        ("application/json", b'{"b":  1.0, "a": "\\ud83d"}', b'"payload":{"b":  1.0, "a": "\\ud83d"}}'),
        ("application/a+json", b"null", b'"payload":null}'),
        ("application/json", b"nope", b'"payload":null,"payload_base64":"bm9wZQ=="}'),
        ("application/octet-stream", b"\x00\xff", b'"payload":null,"payload_base64":"AP8="}'),
        ("text/plain", b"1", b'"payload":null,"payload_base64":"MQ=="}'),
    ],
)
async def test_an_event_is_shown_with_its_exact_payload(
    client: httpx.AsyncClient, services: Services, content_type: str, payload: bytes, shown: bytes
) -> None:
    services.event = ingest_pb2.Event(id=ID, content_type=content_type, payload=payload, created_at=NOW)
    answer = await client.get(f"/api/v1/events/{ID}")
    assert answer.content.endswith(shown)
    body = answer.json()
    assert (body["id"], body["event_type"], body["payload_bytes"]) == (ID, None, len(payload))


async def test_an_event_says_that_it_is_expanding_only_while_it_is(
    client: httpx.AsyncClient, services: Services
) -> None:
    for expanding in (True, False):
        services.event = ingest_pb2.Event(id=ID, payload=b"1", created_at=NOW, expanding=expanding)
        body = (await client.get(f"/api/v1/events/{ID}")).json()
        assert body.get("expanding", False) is expanding
        assert ("expanding" in body) is expanding


async def test_the_routes_of_an_event_are_shown_with_their_reasons(
    client: httpx.AsyncClient, services: Services
) -> None:
    delivery_id = str(ids.new())
    services.routes = [
        ingest_pb2.EventRoute(
            subscription_id=ID, routed=True, reason="matched", explanation="It does.", delivery_id=delivery_id
        ),
        ingest_pb2.EventRoute(subscription_id=ID, reason="event_type", explanation="It does not."),
    ]
    answer = await client.get(f"/api/v1/events/{ID}/routing", params={"limit": 2, "cursor": "before"})
    got = {"subscription_id": ID, "routed": True, "reason": "matched", "explanation": "It does."}
    missed = {"subscription_id": ID, "routed": False, "reason": "event_type", "explanation": "It does not."}
    assert answer.json() == {
        "items": [got | {"delivery_id": delivery_id}, missed | {"delivery_id": None}],
        "next_cursor": "more",
    }
    asked = services.requests[-1]
    assert (asked.event_id, asked.subscription_id, asked.page_size, asked.page_token) == (ID, "", 2, "before")
    await client.get(f"/api/v1/events/{ID}/routing", params={"subscription_id": ID})
    assert services.requests[-1].subscription_id == ID
    refused = await client.get(f"/api/v1/events/{ID}/routing", params={"subscription_id": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "subscription_id")


async def test_a_test_event_is_answered_with_its_attempt(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    webhook_id = str(ids.new())
    services.tested = deliveries_pb2.TestSubscriptionResponse(
        webhook_id=webhook_id,
        attempt=deliveries_pb2.Attempt(
            number=1,
            started_at=NOW,
            duration_ms=12,
            status_code=503,
            error=deliveries_pb2.AttemptError(kind="http_5xx", message="the receiver responded with 503"),
            response_body="later",
        ),
    )
    answer = await client.post(f"{path}/test")
    assert answer.status_code == 200
    body = answer.json()
    assert body["webhook_id"] == webhook_id
    assert body["attempt"]["error"] == {"kind": "http_5xx", "message": "the receiver responded with 503"}
    assert (body["attempt"]["status_code"], body["attempt"]["response_body"]) == (503, "later")
    assert services.requests[-1].subscription_id == path.rpartition("/")[2]
    assert (await client.post(f"{SUBSCRIPTIONS}/{ID}/test")).status_code == 404
    services.failure = errors.QuotaExceeded("too many", reason=errors.ErrorReason.RATE_LIMITED, retry_after_seconds=42)
    refused = await client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["reason"]) == (429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "42"


async def test_a_subscription_is_tried_before_it_is_created(client: httpx.AsyncClient, services: Services) -> None:
    services.tested = deliveries_pb2.TestSubscriptionResponse(
        webhook_id=str(ids.new()),
        attempt=deliveries_pb2.Attempt(number=1, started_at=NOW, duration_ms=12, status_code=204),
    )
    body = {"target_url": "https://example.com/", "headers": {"X-Team": "a"}, "signature_scheme": "none"}
    answer = await client.post(f"{SUBSCRIPTIONS}/test", json=body)
    assert answer.status_code == 200
    tried = answer.json()
    assert (tried["webhook_id"], tried["attempt"]["status_code"]) == (services.tested.webhook_id, 204)
    asked, awaited = services.requests[-2:]
    assert (asked.spec.target_url, dict(asked.spec.headers.values)) == (body["target_url"], {"X-Team": "a"})
    assert awaited.webhook_id == services.tested.webhook_id
    assert services.stored == {}
    wrong = await client.post(f"{SUBSCRIPTIONS}/test", json={"target_url": "https://example.com/", "unknown": 1})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "unknown")


async def test_statistics_of_one_and_of_all(client: httpx.AsyncClient, services: Services) -> None:
    services.stats = analytics_pb2.Stats(
        window_start=timestamp_pb2.Timestamp(seconds=60),
        window_end=timestamp_pb2.Timestamp(seconds=120),
        attempts=3,
        attempts_by_outcome={"success": 2, "timeout": 1},
        events=4,
        delivered=2,
        cancelled=1,
        attempt_success_rate=2 / 3,
        delivery_success_rate=1.0,
        latency=analytics_pb2.Latency(mean_ms=1.5, p50_ms=1, p95_ms=2, p99_ms=3),
    )
    answer = await client.get(f"{SUBSCRIPTIONS}/{ID}/stats/?window=15m")
    assert answer.json() == {
        "window_start": "1970-01-01T00:01:00.000Z",
        "window_end": "1970-01-01T00:02:00.000Z",
        "events": 4,
        "attempts": 3,
        "attempts_by_outcome": {"success": 2, "timeout": 1},
        "delivered": 2,
        "failed": 0,
        "cancelled": 1,
        "attempt_success_rate": 2 / 3,
        "delivery_success_rate": 1.0,
        "latency_ms": {"mean": 1.5, "p50": 1.0, "p95": 2.0, "p99": 3.0},
    }
    assert (services.requests[-1].subscription_id, services.requests[-1].window.seconds) == (ID, 900)
    moment = timestamp_pb2.Timestamp(seconds=60)
    services.stats = analytics_pb2.Stats(window_start=moment, window_end=moment)
    empty = (await client.get("/api/v1/stats")).json()
    assert (empty["events"], empty["attempt_success_rate"], empty["latency_ms"]) == (None, None, None)
    assert (services.requests[-1].subscription_id, services.requests[-1].window.seconds) == ("", 86400)


async def test_statistics_over_time_are_asked_for_and_shown_by_step_and_group(
    client: httpx.AsyncClient, services: Services
) -> None:
    point = analytics_pb2.Stats(
        window_start=timestamp_pb2.Timestamp(seconds=300),
        window_end=timestamp_pb2.Timestamp(seconds=600),
        events=2,
        attempts=3,
        attempts_by_outcome={"success": 3},
        delivered=3,
        delivery_success_rate=1.0,
        latency=analytics_pb2.Latency(mean_ms=1.5, p50_ms=1, p95_ms=2, p99_ms=3),
    )
    total = analytics_pb2.StatsSeries(summary=point, points=[point])
    services.series = analytics_pb2.GetStatsSeriesResponse(
        from_time=timestamp_pb2.Timestamp(seconds=300),
        to_time=timestamp_pb2.Timestamp(seconds=600),
        step=duration_pb2.Duration(seconds=300),
        complete_to=timestamp_pb2.Timestamp(seconds=599),
        total=total,
        groups=[
            analytics_pb2.StatsSeries(group=group, summary=point, points=[point]) for group in ("a.b", "", "other")
        ],
    )

    answer = await client.get(
        "/api/v1/stats/series",
        params={
            "from": "2026-03-14T15:09:26Z",
            "to": "2026-03-14T16:09:26+01:00",
            "step": "5m",
            "group_by": "event_type",
            "limit": 7,
            "subscription_id": [ID, ID],
        },
    )

    request = services.requests[-1]
    assert request.from_time.ToJsonString() == "2026-03-14T15:09:26Z"
    assert request.to_time.ToJsonString() == "2026-03-14T15:09:26Z"
    assert (request.step.seconds, request.group_by) == (300, analytics_pb2.STATS_GROUP_EVENT_TYPE)
    assert (request.limit, list(request.subscription_ids)) == (7, [ID, ID])
    body = answer.json()
    assert {name: body[name] for name in ("from", "to", "step", "complete_to", "group_by")} == {
        "from": "1970-01-01T00:05:00.000Z",
        "to": "1970-01-01T00:10:00.000Z",
        "step": "5m",
        "complete_to": "1970-01-01T00:09:59.000Z",
        "group_by": "event_type",
    }
    assert [group["group"] for group in body["groups"]] == ["a.b", None, "other"]
    assert body["groups"][0]["points"] == body["total"]["points"] == [body["total"]["summary"]]
    assert body["total"]["summary"]["latency_ms"] == {"mean": 1.5, "p50": 1.0, "p95": 2.0, "p99": 3.0}
    # The response is written by hand: what OpenAPI promises is what it is.
    checked = StatsOverTime.model_validate(body, strict=True)
    assert checked.model_dump(by_alias=True) == body


async def test_statistics_over_time_leave_to_the_service_what_is_not_asked_for(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.series = analytics_pb2.GetStatsSeriesResponse(step=duration_pb2.Duration(seconds=60))

    answer = await client.get("/api/v1/stats/series")

    assert answer.status_code == 200, answer.text
    request = services.requests[-1]
    assert not any(request.HasField(name) for name in ("from_time", "to_time", "step"))
    assert (request.group_by, request.limit, list(request.subscription_ids)) == (0, 0, [])
    assert (answer.json()["step"], answer.json()["groups"]) == ("1m", [])


async def test_refusals_are_asked_for_and_shown(client: httpx.AsyncClient, services: Services) -> None:
    services.refusals = analytics_pb2.GetRefusalsResponse(
        from_time=timestamp_pb2.Timestamp(seconds=3600),
        to_time=timestamp_pb2.Timestamp(seconds=10800),
        events=9,
        counts=[
            analytics_pb2.RefusalCount(
                subscription_id=ID,
                reason="SIGNATURE_MISMATCH",
                events=5,
                last_at=timestamp_pb2.Timestamp(seconds=10799, nanos=500_000_000),
            ),
            analytics_pb2.RefusalCount(reason="NOT_FOUND", events=3, last_at=timestamp_pb2.Timestamp(seconds=3600)),
        ],
    )

    query = {"from": "1970-01-01T01:20:00Z", "to": "1970-01-01T02:59:59Z", "subscription_id": ID, "limit": "2"}
    answer = await client.get("/api/v1/stats/refusals", params=query)

    assert answer.json() == {
        "from": "1970-01-01T01:00:00.000Z",
        "to": "1970-01-01T03:00:00.000Z",
        "events": 9,
        "items": [
            {
                "subscription_id": ID,
                "reason": "SIGNATURE_MISMATCH",
                "events": 5,
                "last_at": "1970-01-01T02:59:59.500Z",
            },
            {"subscription_id": None, "reason": "NOT_FOUND", "events": 3, "last_at": "1970-01-01T01:00:00.000Z"},
        ],
    }
    request = services.requests[-1]
    assert (request.from_time.seconds, request.to_time.seconds) == (4800, 10799)
    assert (request.tenant_id, list(request.subscription_ids), request.limit) == ("default", [ID], 2)

    assert (await client.get("/api/v1/stats/refusals", params={"tenant": "*"})).status_code == 200
    request = services.requests[-1]
    assert (request.tenant_id, request.HasField("from_time"), request.HasField("to_time")) == ("*", False, False)
