"""The main job, with real processes and sockets: a webhook is accepted, delivered, and can be looked up."""

import hashlib
import hmac
import json
from typing import Any

import pytest
import standardwebhooks

from dev.harness.api import Api
from dev.harness.receiver import Received, Receiver, Reply
from dev.harness.waiting import wait_until

SECRET = "It's a Secret to Everybody"
# A retry policy for what waits while a test looks.
LATER = {"delays_seconds": [600]}
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Unsorted keys, odd spacing, numbers that do not fit into a double, escapes, and letters outside ASCII.
EXACT = '{"z" : 1,\n\t"a":  12345678901234567890123, "x": 1.10e+2, "s": "\\u00e9 é 東京 \\/", "z2":[ ]}'.encode()


def hub_signature(body: bytes, secret: str = SECRET) -> str:
    """Sign as GitHub's documentation says."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(request: Received, secret: str) -> None:
    """Raise unless the public verifier accepts the request's signature."""
    standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers.items()))


async def test_a_webhook_fails_twice_is_delivered_and_every_attempt_is_there(api: Api, receiver: Receiver) -> None:
    receiver.script(Reply(status=500, body=b"broken"), Reply(status=503, body=b"later"), Reply(body=b"thanks"))
    subscription = await api.subscribe(receiver.url(), secret_key=STANDARD_SECRET, event_types=["order.*"])
    answer = await api.send(subscription, b'{"payload": {"n": 1}}', X_Event_Type="order.created")
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "pending"

    delivery = await api.until(accepted["delivery_id"], "delivered")

    assert delivery["event_id"] == accepted["event_id"]
    assert delivery["subscription_id"] == subscription
    assert delivery["event_type"] == "order.created"
    assert delivery["attempt_count"] == 3
    assert delivery["completed_at"] is not None
    assert delivery["next_attempt_at"] is None
    attempts = delivery["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3]
    assert [attempt["status_code"] for attempt in attempts] == [500, 503, 200]
    assert [attempt["response_body"] for attempt in attempts] == ["broken", "later", "thanks"]
    assert [attempt["error"] and attempt["error"]["kind"] for attempt in attempts] == ["http_5xx", "http_5xx", None]
    assert all(attempt["duration_ms"] >= 0 for attempt in attempts)
    assert sorted(attempt["started_at"] for attempt in attempts) == [attempt["started_at"] for attempt in attempts]
    sent = {header["name"]: header["value"] for header in attempts[0]["details"]["request_headers"]}
    assert sent == dict(receiver.requests[0].headers)
    assert {"name": "content-length", "value": "6"} in attempts[0]["details"]["response_headers"]
    assert attempts[2]["details"] is None


async def test_a_test_event_is_sent_at_once_and_answered_with_the_attempt(api: Api, receiver: Receiver) -> None:
    receiver.script(Reply(status=401, body=b"unknown signature"))
    subscription = await api.subscribe(receiver.url(), secret_key=STANDARD_SECRET)
    answer = await api.http.post(f"/api/v1/subscriptions/{subscription}/test")
    assert answer.status_code == 200, answer.text
    attempt = answer.json()["attempt"]
    assert (attempt["status_code"], attempt["response_body"]) == (401, "unknown signature")
    assert attempt["details"]["request_headers"]
    (request,) = receiver.requests
    verify(request, STANDARD_SECRET)
    assert request.headers["webhook-id"] == answer.json()["webhook_id"]
    page = (await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")).json()
    assert page["items"] == []


async def test_attempts_carry_the_headers_and_signatures_of_the_specification(api: Api, receiver: Receiver) -> None:
    receiver.script(500, 500)
    subscription = await api.subscribe(receiver.url(), secret_key=STANDARD_SECRET)
    delivery = await api.sent(subscription, b'{"payload": [1]}', X_Event_Type="order.created")
    requests = await receiver.wait_for(3)
    assert {request.headers["webhook-id"] for request in requests} == {delivery}
    assert [request.headers["X-Webhook-Attempt"] for request in requests] == ["1", "2", "3"]
    event_id = (await api.delivery(delivery))["event_id"]
    assert {request.headers["X-Webhook-Event-Id"] for request in requests} == {event_id}
    for request in requests:
        assert request.method == "POST"
        assert request.body == b"[1]"
        assert request.headers["X-Webhook-Delivery-Id"] == delivery
        assert request.headers["X-Event-Type"] == "order.created"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"].startswith("webhook-service/")
        assert request.headers["X-Hub-Signature-256"] == hub_signature(request.body, STANDARD_SECRET)
        verify(request, STANDARD_SECRET)


async def test_the_payload_arrives_byte_for_byte(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url("/inner"), secret_key=SECRET)
    await api.sent(subscription, b' { "payload" :' + EXACT + b"} ")
    (request,) = await receiver.wait_for(1, path="/inner")
    assert request.body == EXACT
    assert request.headers["X-Hub-Signature-256"] == hub_signature(EXACT)


async def test_events_of_a_batch_arrive_byte_for_byte_and_a_repeated_batch_sends_nothing(
    api: Api, receiver: Receiver
) -> None:
    await api.subscribe(receiver.url("/batch"), event_types=["batch.*"])
    event = b'{"event_type": "batch.%d", "payload": %b}'
    events = [event % (number, payload) for number, payload in enumerate((EXACT, b'"\\ud83d"', b"[1.0 ]"))]
    body = b'{"events": [%b, {"event_type": "batch.x"}]}' % b" ,".join(events)
    answers = [
        await api.http.post("/api/v1/events/batch", content=body, headers={"Idempotency-Key": "of a batch"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    first, again = (answer.json()["results"] for answer in answers)
    assert [result.get("deliveries", 0) > 0 for result in first] == [True, True, True, False]
    assert [result | {"replayed": True} for result in first[:3]] == again[:3]
    assert [results[3]["error"]["status"] for results in (first, again)] == [422, 422]
    requests = await receiver.wait_for(3, path="/batch")
    assert {request.headers["X-Webhook-Event-Id"]: request.body for request in requests} == {
        result["event_id"]: payload for result, payload in zip(first, (EXACT, b'"\\ud83d"', b"[1.0 ]"), strict=False)
    }
    reused = await api.http.post(
        "/api/v1/events/batch",
        json={"events": [{"event_type": "batch.0", "payload": "another"}]},
        headers={"Idempotency-Key": "of a batch"},
    )
    assert reused.json()["results"][0]["error"]["reason"] == "IDEMPOTENCY_KEY_REUSED"


async def test_what_failed_is_found_with_why_and_its_event_by_the_senders_key(api: Api, receiver: Receiver) -> None:
    receiver.script(then=503, path="/down")
    subscription = await api.subscribe(receiver.url("/down"), event_types=["search.*"])
    body = {"event_type": "search.me", "payload": {}}
    sent = await api.http.post("/api/v1/events", json=body, headers={"Idempotency-Key": "of a search"})
    event_id = sent.json()["event_id"]
    asked = f"subscription_id={subscription}&status_code=5xx&event_type=search.*"

    async def found() -> Any:
        return (await api.http.get(f"/api/v1/deliveries?{asked}")).json()["items"]

    (delivery,) = await wait_until(found, what="the delivery is found")
    assert (delivery["event_id"], delivery["last_error_kind"]) == (event_id, "http_5xx")
    assert "503" in delivery["explanation"]
    lines = (await api.http.get(f"/api/v1/deliveries?{asked}&format=ndjson")).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [delivery["id"]]
    events = (await api.http.get("/api/v1/events?idempotency_key=of a search")).json()
    assert [event["id"] for event in events["items"]] == [event_id]
    cancelled = await api.http.post(f"/api/v1/deliveries/{delivery['id']}/cancel")
    assert cancelled.status_code in {200, 409}, cancelled.text  # it may be in flight, or have failed
    wrong = await api.http.get(f"/api/v1/deliveries/{event_id}")
    assert (wrong.status_code, "that is an event id" in wrong.text) == (404, True)


async def test_an_event_of_an_unwanted_type_is_filtered_and_never_sent(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url(), event_types=["order.created", "invoice.*"])
    for unwanted in ("order.deleted", "invoice", "invoices.paid"):
        answer = await api.send(subscription, X_Event_Type=unwanted)
        assert (answer.status_code, answer.json()["status"]) == (202, "filtered")
        assert answer.json()["delivery_id"] is None
    for wanted in ("order.created", "invoice.paid", "invoice.item.added"):
        await api.sent(subscription, X_Event_Type=wanted)
    await api.sent(subscription)  # without a type, no filter applies
    requests = await receiver.wait_for(4)
    assert {request.headers.get("X-Event-Type") for request in requests} == {
        "order.created",
        "invoice.paid",
        "invoice.item.added",
        None,
    }
    page = (await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")).json()
    assert len(page["items"]) == 4


async def test_an_event_goes_to_every_subscription_that_wants_its_type(api: Api, receiver: Receiver) -> None:
    first = await api.subscribe(receiver.url("/first"), event_types=["fan.out"])
    second = await api.subscribe(receiver.url("/second"), event_types=["fan.*"], secret_key=STANDARD_SECRET)
    other = await api.subscribe(receiver.url("/other"), event_types=["fan"])
    payload = b'{ "n":1.0 }'
    answer = await api.http.post("/api/v1/events", content=b'{"event_type": "fan.out", "payload": %b}' % payload)
    assert answer.status_code == 202, answer.text
    event_id, wanted = answer.json()["event_id"], answer.json()["deliveries"]

    (request,) = await receiver.wait_for(1, path="/first")
    (signed,) = await receiver.wait_for(1, path="/second")

    assert request.body == signed.body == payload
    verify(signed, STANDARD_SECRET)
    assert receiver.on("/other") == []
    event = await api.http.get(f"/api/v1/events/{event_id}")
    assert event.json()["event_type"] == "fan.out"
    assert payload in event.content
    deliveries = (await api.http.get(f"/api/v1/events/{event_id}/deliveries")).json()["items"]
    # Subscriptions of other tests may match every type.
    assert len(deliveries) == wanted
    subscriptions = {delivery["subscription_id"] for delivery in deliveries}
    assert {first, second} <= subscriptions
    assert other not in subscriptions
    routes = (await api.http.get(f"/api/v1/events/{event_id}/routing", params={"limit": 200})).json()["items"]
    reasons = {route["subscription_id"]: (route["routed"], route["reason"]) for route in routes}
    assert [reasons[name] for name in (first, second, other)] == [
        (True, "matched"),
        (True, "matched"),
        (False, "event_type"),
    ]


async def test_retries_end_failed_and_a_manual_retry_starts_over(api: Api, receiver: Receiver) -> None:
    receiver.script(then=500)
    delivery = await api.sent(await api.subscribe(receiver.url()))
    failed = await api.until(delivery, "failed")
    assert failed["reason"] == "retries_exhausted"
    assert failed["attempt_count"] == len(failed["attempts"]) == 6

    receiver.script(500)
    retried = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/retry")
    assert retried.status_code == 200
    assert retried.json()["status"] == "pending"
    assert retried.json()["completed_at"] is None

    delivered = await api.until(delivery, "delivered")
    assert [attempt["status_code"] for attempt in delivered["attempts"]] == [500] * 7 + [200]
    assert delivered["reason"] is None
    again = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/retry")
    assert again.status_code == 200
    await api.until(delivery, "delivered", attempts=9)


async def test_a_waiting_delivery_is_cancelled_and_a_delivered_one_is_not(api: Api, receiver: Receiver) -> None:
    receiver.script(500)
    subscription = await api.subscribe(receiver.url(), retry_policy=LATER)
    delivery = await api.sent(subscription)
    scheduled = await api.until(delivery, "scheduled")
    assert scheduled["next_attempt_at"] is not None
    for _ in range(2):
        cancelled = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    # A retry undoes the cancellation; a delivered one cannot be cancelled.
    assert (await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/retry")).status_code == 200
    await api.until(delivery, "delivered")
    refused = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/cancel")
    assert (refused.status_code, refused.json()["reason"]) == (409, "DELIVERY_FINISHED")


async def test_a_deleted_subscription_is_gone_its_waiting_deliveries_are_cancelled_its_history_stays(
    api: Api, receiver: Receiver
) -> None:
    receiver.script(200, then=500)
    subscription = await api.subscribe(receiver.url(), retry_policy=LATER)
    done = await api.sent(subscription)
    await api.until(done, "delivered")
    waiting = await api.sent(subscription)
    await api.until(waiting, "scheduled")

    assert (await api.http.delete(f"/api/v1/subscriptions/{subscription}")).status_code == 204

    cancelled = await api.until(waiting, "cancelled")
    assert cancelled["reason"] == "subscription_deleted"
    assert (await api.http.get(f"/api/v1/subscriptions/{subscription}")).status_code == 404
    assert (await api.http.delete(f"/api/v1/subscriptions/{subscription}")).status_code == 404
    assert (await api.send(subscription)).status_code == 404
    assert (await api.delivery(done))["status"] == "delivered"
    history = (await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")).json()["items"]
    assert [item["id"] for item in history] == [waiting, done]
    retried = await api.http.post(f"/api/v1/webhooks/deliveries/{waiting}/retry")
    assert (retried.status_code, retried.json()["reason"]) == (409, "SUBSCRIPTION_DELETED")


async def test_a_change_of_a_subscription_holds_for_the_next_webhook(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url("/before"), secret_key=SECRET, event_types=["a"])
    await api.sent(subscription, X_Event_Type="a")
    await receiver.wait_for(1, path="/before")
    path = f"/api/v1/subscriptions/{subscription}"
    changed = await api.http.put(path, json={"target_url": receiver.url("/after"), "event_types": ["b"]})
    assert changed.json()["has_secret"]
    assert (await api.send(subscription, X_Event_Type="a")).json()["status"] == "filtered"
    await api.sent(subscription, X_Event_Type="b")
    (request,) = await receiver.wait_for(1, path="/after")
    assert request.headers["X-Hub-Signature-256"] == hub_signature(request.body)
    bare = {"target_url": receiver.url("/bare"), "secret_key": None}
    refused = await api.http.put(path, json=bare)
    assert [error["field"] for error in refused.json()["errors"]] == ["event_types"]
    stale = await api.http.patch(path, json=bare, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["reason"]) == (412, "ETAG_MISMATCH")
    removed = await api.http.patch(path, json=bare, headers={"If-Match": changed.headers["etag"]})
    assert (removed.json()["signature_scheme"], removed.json()["event_types"]) == ("none", ["b"])
    await api.sent(subscription, X_Event_Type="b")
    (unsigned,) = await receiver.wait_for(1, path="/bare")
    assert "webhook-signature" not in unsigned.headers


async def test_statistics_count_what_was_attempted(api: Api, receiver: Receiver) -> None:
    receiver.script(500)
    subscription = await api.subscribe(receiver.url())
    await api.until(await api.sent(subscription), "delivered")
    await api.until(await api.sent(subscription), "delivered")

    async def counted() -> dict[str, Any] | None:
        answer = await api.http.get(f"/api/v1/subscriptions/{subscription}/stats", params={"window": "1h"})
        assert answer.status_code == 200, answer.text
        stats: dict[str, Any] = answer.json()
        return stats if stats["attempts"] == 3 else None

    stats = await wait_until(counted, what="three attempts in the statistics") or {}
    assert stats["attempts_by_outcome"] == {"success": 2, "http_5xx": 1}
    assert (stats["delivered"], stats["failed"]) == (2, 0)
    assert stats["attempt_success_rate"] == pytest.approx(2 / 3)
    assert stats["delivery_success_rate"] == 1.0
    assert 0 < stats["latency_ms"]["p50"] <= stats["latency_ms"]["p95"] <= stats["latency_ms"]["p99"]
    everything = (await api.http.get("/api/v1/stats")).json()
    assert everything["attempts"] >= 3
    asked = {"group_by": "subscription", "subscription_id": subscription}
    over_time = (await api.http.get("/api/v1/stats/series", params=asked)).json()
    (group,) = over_time["groups"]
    assert (group["group"], group["summary"]["attempts"], group["summary"]["delivered"]) == (subscription, 3, 2)
    assert sum(point["attempts"] for point in group["points"]) == 3
