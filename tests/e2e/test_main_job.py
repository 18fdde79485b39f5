"""The main job, over real processes and sockets: a webhook comes in, goes out, and is accounted for."""

import hashlib
import hmac
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import pytest_asyncio
import standardwebhooks
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support import stack as stacks
from tests.support.receiver import Received, Receiver, Reply
from tests.support.stack import Stack
from tests.support.waiting import wait_until

SECRET = "It's a Secret to Everybody"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
UNKNOWN_ID = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
# Keys out of order, odd spacing, numbers that no double holds, escapes and letters that are not ASCII.
EXACT = '{"z" : 1,\n\t"a":  12345678901234567890123, "x": 1.10e+2, "s": "\\u00e9 é 東京 \\/", "z2":[ ]}'.encode()
ENVIRONMENT = {
    # Retries after about 0.2, 0.4, 0.8, 1.6 and 3.2 s.
    "RETRY_BASE_SECONDS": "0.2",
    "DELIVERY_TIMEOUT_SECONDS": "3",
    "LEASE_SECONDS": "8",
    "ROLLUP_INTERVAL_SECONDS": "1",
}


class Api:
    """The REST API as a client of it would wrap it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def subscribe(self, target_url: str, **fields: Any) -> str:
        """The id of a new subscription."""
        answer = await self.http.post("/api/v1/subscriptions/", json={"target_url": target_url, **fields})
        assert answer.status_code == 201, answer.text
        identifier: str = answer.json()["id"]
        return identifier

    async def send(self, subscription_id: str, body: bytes = b'{"payload": {}}', **headers: str) -> httpx.Response:
        """Sends a webhook in; names of headers with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            f"/api/v1/webhooks/ingest/{subscription_id}",
            content=body,
            headers={"Content-Type": "application/json"} | named,
        )

    async def sent(self, subscription_id: str, body: bytes = b'{"payload": {}}', **headers: str) -> str:
        """The delivery of a webhook that was accepted."""
        answer = await self.send(subscription_id, body, **headers)
        assert answer.status_code == 202, answer.text
        identifier: str = answer.json()["delivery_id"]
        return identifier

    async def delivery(self, delivery_id: str) -> dict[str, Any]:
        """A delivery with its attempts."""
        answer = await self.http.get(f"/api/v1/webhooks/deliveries/{delivery_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(
        self, delivery_id: str, status: str, *, attempts: int = 0, timeout_seconds: float = 15.0
    ) -> dict[str, Any]:
        """Waits for a delivery's state, and for so many attempts at least."""

        async def there() -> dict[str, Any] | None:
            found = await self.delivery(delivery_id)
            return found if found["status"] == status and len(found["attempts"]) >= attempts else None

        return await wait_until(there, timeout_seconds, what=f"{delivery_id} to be {status}") or {}


@pytest.fixture(scope="module")
def quick(short_folder: Path) -> Iterator[Stack]:
    """A stack that tries again soon."""
    with stacks.running(short_folder / "quick", environment=ENVIRONMENT) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def api(quick: Stack) -> AsyncIterator[Api]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=quick.base_url, timeout=15) as http:
        yield Api(http)


def hub_signature(body: bytes, secret: str = SECRET) -> str:
    """As GitHub's documentation has it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(request: Received, secret: str) -> None:
    """Raises unless the public verifier takes the request's signature."""
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


async def test_every_attempt_carries_the_headers_and_signatures_of_the_specification(
    api: Api, receiver: Receiver
) -> None:
    receiver.script(500, 500)
    subscription = await api.subscribe(receiver.url(), secret_key=STANDARD_SECRET)
    delivery = await api.sent(subscription, b'{"payload": [1]}', X_Event_Type="order.created")
    requests = await receiver.wait_for(3)
    assert {request.headers["webhook-id"] for request in requests} == {delivery}
    for request in requests:
        assert request.method == "POST"
        assert request.body == b"[1]"
        assert request.headers["X-Webhook-Delivery-Id"] == delivery
        assert request.headers["X-Event-Type"] == "order.created"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"].startswith("webhook-service/")
        assert request.headers["X-Hub-Signature-256"] == hub_signature(request.body, STANDARD_SECRET)
        verify(request, STANDARD_SECRET)


async def test_without_a_secret_or_a_type_their_headers_are_left_out(api: Api, receiver: Receiver) -> None:
    await api.sent(await api.subscribe(receiver.url()))
    (request,) = await receiver.wait_for(1)
    assert not {"webhook-signature", "X-Hub-Signature-256", "X-Event-Type"} & set(request.headers)


async def test_a_signature_that_holds_is_accepted_and_one_that_does_not_is_401(api: Api, receiver: Receiver) -> None:
    signed = await api.subscribe(receiver.url("/signed"), secret_key=SECRET)
    unsigned = await api.subscribe(receiver.url("/unsigned"))
    body = b'{"payload":  {"n": 1}}'
    good, bad = hub_signature(body), hub_signature(body + b" ")
    assert (await api.send(signed, body, X_Hub_Signature_256=good)).status_code == 202
    assert (await api.send(signed, body, X_Hub_Signature_256=good.upper().replace("SHA", "sha"))).status_code == 202
    assert (await api.send(signed, body)).status_code == 202
    for answer in (
        await api.send(signed, body, X_Hub_Signature_256=bad),
        await api.send(signed, body, X_Hub_Signature_256="sha256="),
        await api.send(signed, body, X_Hub_Signature_256=""),
        await api.send(unsigned, body, X_Hub_Signature_256=good),
    ):
        assert answer.status_code == 401, answer.text
        assert answer.json()["reason"] == "SIGNATURE_MISMATCH"
    assert len(await receiver.wait_for(3)) == 3
    page = await api.http.get(f"/api/v1/subscriptions/{signed}/deliveries")
    assert len(page.json()["items"]) == 3


async def test_the_payload_arrives_byte_for_byte(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url("/inner"), secret_key=SECRET)
    await api.sent(subscription, b' { "payload" :' + EXACT + b"} ")
    (request,) = await receiver.wait_for(1, path="/inner")
    assert request.body == EXACT
    assert request.headers["X-Hub-Signature-256"] == hub_signature(EXACT)


async def test_a_body_that_is_no_envelope_is_the_payload_with_its_content_type(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url())
    bodies = {
        "application/x-www-form-urlencoded": b"a=1&b=%20+&c",
        "application/vnd.github+json; charset=utf-8": b'{ "action":"opened", "payload": 1}',
        "application/octet-stream": bytes(range(256)),
    }
    for content_type, body in bodies.items():
        await api.sent(subscription, body, Content_Type=content_type)
    received = {request.headers["Content-Type"]: request.body for request in await receiver.wait_for(3)}
    assert received == bodies


async def test_a_type_that_was_not_asked_for_is_filtered_and_never_sent(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url(), event_types=["order.created", "invoice.*"])
    for unwanted in ("order.deleted", "invoice", "invoices.paid"):
        answer = await api.send(subscription, X_Event_Type=unwanted)
        assert (answer.status_code, answer.json()["status"]) == (202, "filtered")
        assert answer.json()["delivery_id"] is None
    for wanted in ("order.created", "invoice.paid", "invoice.item.added"):
        await api.sent(subscription, X_Event_Type=wanted)
    await api.sent(subscription)  # without a type no filter applies
    requests = await receiver.wait_for(4)
    assert {request.headers.get("X-Event-Type") for request in requests} == {
        "order.created",
        "invoice.paid",
        "invoice.item.added",
        None,
    }
    page = (await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")).json()
    assert len(page["items"]) == 4


async def test_an_event_goes_to_every_subscription_that_asked_for_its_type(api: Api, receiver: Receiver) -> None:
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
    # Subscriptions of other tests may want every type.
    assert len(deliveries) == wanted
    subscriptions = {delivery["subscription_id"] for delivery in deliveries}
    assert {first, second} <= subscriptions
    assert other not in subscriptions


async def test_retries_end_failed_and_a_manual_retry_begins_anew(api: Api, receiver: Receiver) -> None:
    receiver.script(then=500)
    delivery = await api.sent(await api.subscribe(receiver.url()))
    failed = await api.until(delivery, "failed", timeout_seconds=20)
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
    receiver.script(500, 500, 500)
    subscription = await api.subscribe(receiver.url())
    delivery = await api.sent(subscription)
    scheduled = await api.until(delivery, "scheduled", attempts=3)
    assert scheduled["next_attempt_at"] is not None
    for _ in range(2):
        cancelled = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    # A retry replaces the cancellation; what is delivered cannot be cancelled.
    assert (await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/retry")).status_code == 200
    await api.until(delivery, "delivered")
    refused = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/cancel")
    assert (refused.status_code, refused.json()["reason"]) == (409, "DELIVERY_FINISHED")


async def test_what_is_in_flight_is_neither_retried_nor_cancelled(api: Api, receiver: Receiver) -> None:
    receiver.script(Reply(delay_seconds=2))
    delivery = await api.sent(await api.subscribe(receiver.url()))
    await receiver.wait_for(1)
    for action in ("retry", "cancel"):
        refused = await api.http.post(f"/api/v1/webhooks/deliveries/{delivery}/{action}")
        assert (refused.status_code, refused.json()["reason"]) == (409, "DELIVERY_IN_FLIGHT")
    await api.until(delivery, "delivered")
    assert len(receiver.requests) == 1


async def test_a_receiver_that_hangs_times_out_and_is_tried_again(api: Api, receiver: Receiver) -> None:
    receiver.script(Reply(hang=True))
    delivery = await api.sent(await api.subscribe(receiver.url()))
    delivered = await api.until(delivery, "delivered")
    first = delivered["attempts"][0]
    assert first["error"]["kind"] == "timeout"
    assert first["status_code"] is None
    assert 2900 <= first["duration_ms"] <= 5000


async def test_a_deleted_subscription_is_gone_its_waiting_deliveries_are_cancelled_its_history_stays(
    api: Api, receiver: Receiver
) -> None:
    receiver.script(200, then=500)
    subscription = await api.subscribe(receiver.url())
    done = await api.sent(subscription)
    await api.until(done, "delivered")
    waiting = await api.sent(subscription)
    await api.until(waiting, "scheduled", attempts=3)

    assert (await api.http.delete(f"/api/v1/subscriptions/{subscription}")).status_code == 204

    cancelled = await api.until(waiting, "cancelled", timeout_seconds=3)
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
    removed = await api.http.put(path, json={"target_url": receiver.url("/bare"), "secret_key": None})
    assert not removed.json()["has_secret"]
    await api.sent(subscription)
    (bare,) = await receiver.wait_for(1, path="/bare")
    assert "webhook-signature" not in bare.headers


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
    assert stats["success_rate"] == pytest.approx(2 / 3)
    assert 0 < stats["latency_ms"]["p50"] <= stats["latency_ms"]["p95"] <= stats["latency_ms"]["p99"]
    everything = (await api.http.get("/api/v1/stats")).json()
    assert everything["attempts"] >= 3


async def test_a_page_follows_the_other(api: Api, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url())
    sent = [await api.sent(subscription) for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sent[::-1]


async def test_a_worker_killed_in_mid_request_loses_time_and_no_delivery(
    api: Api, quick: Stack, receiver: Receiver
) -> None:
    receiver.script(Reply(hang=True))
    delivery = await api.sent(await api.subscribe(receiver.url()))
    await receiver.wait_for(1)
    quick.kill_role("worker")
    # The lease of 8 s, and the dispatcher's next turn.
    delivered = await api.until(delivery, "delivered", timeout_seconds=30)
    interrupted, success = delivered["attempts"]
    assert interrupted["error"]["kind"] == "interrupted"
    assert interrupted["status_code"] is None
    assert success["status_code"] == 200
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery}


async def test_a_killed_valkey_takes_nothing_with_it(api: Api, quick: Stack, receiver: Receiver) -> None:
    subscription = await api.subscribe(receiver.url())
    _valkey(quick).kill()
    deliveries = [await api.sent(subscription, b'{"payload": %d}' % number) for number in range(20)]
    for delivery in deliveries:
        await api.until(delivery, "delivered", timeout_seconds=30)
    assert {request.body for request in receiver.requests} == {b"%d" % number for number in range(20)}


async def test_without_valkey_webhooks_are_accepted_and_delivered(api: Api, quick: Stack, receiver: Receiver) -> None:
    """Frozen, not killed: the supervisor would start it again at once."""
    receiver.script(500)
    subscription = await api.subscribe(receiver.url())
    valkey = _valkey(quick)
    valkey.suspend()
    try:
        # Retries come due without it too.
        deliveries = [await api.sent(subscription) for _ in range(5)]
        for delivery in deliveries:
            await api.until(delivery, "delivered", timeout_seconds=30)
    finally:
        valkey.resume()


async def test_what_was_delivered_is_there_after_a_restart(api: Api, quick: Stack, receiver: Receiver) -> None:
    receiver.script(200, then=500)
    subscription = await api.subscribe(receiver.url(), secret_key=SECRET)
    before = await api.until(await api.sent(subscription), "delivered")
    unfinished = await api.sent(subscription)
    await receiver.wait_for(2)

    quick.stop(signal.SIGINT)
    receiver.script(then=200)
    quick.start()

    assert await api.delivery(before["id"]) == before
    # And what was unfinished goes on by itself, signed with the secret of before.
    await api.until(unfinished, "delivered", timeout_seconds=30)
    assert receiver.requests[-1].headers["X-Hub-Signature-256"] == hub_signature(b"{}")


@pytest.mark.parametrize(
    ("role", "services"),
    [
        ("ingest", {"webhook.v1.IngestService", "webhook.v1.SubscriptionService"}),
        ("delivery", {"webhook.v1.DeliveryService"}),
        ("analytics", {"webhook.v1.AnalyticsService"}),
    ],
)
def test_reflection_lists_the_services_and_health_says_serving(quick: Stack, role: str, services: set[str]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{quick.ports[role]}") as channel:
        listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert services <= listed
        assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= listed
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", *services):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/swagger/index.html", "/redoc", "/openapi.json"])
async def test_documentation_is_served(api: Api, path: str) -> None:
    assert (await api.http.get(path)).status_code == 200


JSON_HEADERS = {"Content-Type": "application/json"}
HOOK = b'"target_url": "http://127.0.0.1:9/hook"'
SUBSCRIPTIONS = "/api/v1/subscriptions/"

# The body of a new subscription, the status of its refusal, and the field that is named.
BAD_SUBSCRIPTIONS: dict[str, tuple[bytes, int, str | None]] = {
    "no body": (b"", 400, None),
    "no JSON": (b"{target_url}", 400, None),
    "JSON that is no object": (b"[]", 422, "body"),
    "bytes that are no UTF-8": (b'{"target_url": "http://127.0.0.1:9/\xff"}', 400, None),
    "a lone surrogate": (b'{"description": "\\ud800", %b}' % HOOK, 400, None),
    "no target_url": (b"{}", 422, "target_url"),
    "target_url is null": (b'{"target_url": null}', 422, "target_url"),
    "target_url of a wrong type": (b'{"target_url": 1}', 422, "target_url"),
    "target_url that is empty": (b'{"target_url": ""}', 422, "target_url"),
    "target_url that is none": (b'{"target_url": "no url"}', 422, "target_url"),
    "target_url that is relative": (b'{"target_url": "/hook"}', 422, "target_url"),
    "another scheme": (b'{"target_url": "ftp://example.com/"}', 422, "target_url"),
    "a file": (b'{"target_url": "file:///etc/passwd"}', 422, "target_url"),
    "no host": (b'{"target_url": "http://"}', 422, "target_url"),
    "a port that is none": (b'{"target_url": "http://example.com:99999/"}', 422, "target_url"),
    "a bracket that is open": (b'{"target_url": "http://[::1"}', 422, "target_url"),
    "credentials": (b'{"target_url": "http://user:pass@example.com/"}', 422, "target_url"),
    "NUL in the URL": (b'{"target_url": "http://example.com/\\u0000"}', 422, "target_url"),
    "a line break in the URL": (b'{"target_url": "http://example.com/\\r\\nX: 1"}', 422, "target_url"),
    "a URL that is too long": (b'{"target_url": "http://example.com/%b"}' % (b"a" * 2048), 422, "target_url"),
    "NUL in the secret": (b'{"secret_key": "a\\u0000b", %b}' % HOOK, 422, "secret_key"),
    "an empty secret": (b'{"secret_key": "", %b}' % HOOK, 422, "secret_key"),
    "a secret of a wrong type": (b'{"secret_key": 1, %b}' % HOOK, 422, "secret_key"),
    "a secret that is no base64": (b'{"secret_key": "whsec_!", %b}' % HOOK, 422, "secret_key"),
    "NUL in the description": (b'{"description": "\\u0000", %b}' % HOOK, 422, "description"),
    "event types of a wrong type": (b'{"event_types": "a", %b}' % HOOK, 422, "event_types"),
    "an event type with a space": (b'{"event_types": ["a b"], %b}' % HOOK, 422, "event_types.0"),
    "too many event types": (b'{"event_types": [%b], %b}' % (b",".join([b'"a"'] * 101), HOOK), 422, "event_types"),
    "an unknown field": (b'{"retries": 1, %b}' % HOOK, 422, "retries"),
    "nested too deeply": (b'{"a": %b}' % (b"[" * 100_000 + b"]" * 100_000), 400, None),
}


@pytest.mark.parametrize("name", BAD_SUBSCRIPTIONS)
async def test_a_bad_subscription_is_a_problem_that_names_the_field(api: Api, name: str) -> None:
    body, status, field = BAD_SUBSCRIPTIONS[name]
    before = (await api.http.get(SUBSCRIPTIONS)).json()["items"]
    answer = await api.http.post(SUBSCRIPTIONS, content=body, headers=JSON_HEADERS)
    _assert_problem(answer, status, field)
    assert (await api.http.get(SUBSCRIPTIONS)).json()["items"] == before


# Method, path ({id} is a live subscription), headers, body, status, field.
BAD_REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, int, str | None]] = {
    "JSON that is none": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b'{"payload": }', 400, None),
    "an empty webhook": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b"", 400, None),
    "payload twice": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b'{"payload":1,"payload":2}', 400, None),
    "a malformed id": ("POST", "/api/v1/webhooks/ingest/nope", JSON_HEADERS, b"{}", 422, "subscription_id"),
    "NUL in the id": ("POST", "/api/v1/webhooks/ingest/%00", JSON_HEADERS, b"{}", 422, "subscription_id"),
    "an unknown id": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}", JSON_HEADERS, b"{}", 404, None),
    "a type with a space": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"X-Event-Type": "a b"}, b"{}"),
        *(422, "X-Event-Type"),
    ),
    "a type that is empty": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"X-Event-Type": ""}, b"{}"),
        *(422, "X-Event-Type"),
    ),
    "an encoded body": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"Content-Encoding": "gzip"}, b"{}"),
        *(415, "Content-Encoding"),
    ),
    "a payload that is too large": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * ((1 << 20) + 1)),
        *(413, "payload"),
    ),
    "a body that is too large": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * (3 << 20)),
        *(413, "body"),
    ),
    "an event without a type": ("POST", "/api/v1/events", JSON_HEADERS, b'{"payload": 1}', 422, "event_type"),
    "an event without a payload": ("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "a"}', 422, "payload"),
    "a type that is no text": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": 1, "payload": 1}', 422, "event_type"),
    ),
    "a type with NUL": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "\\u0000", "payload": 1}', 422, "event_type"),
    ),
    "an event with an unknown field": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "a", "payload": 1, "x": 1}', 422, "x"),
    ),
    "an event that is no JSON": ("POST", "/api/v1/events", {"Content-Type": "text/plain"}, b"a", 415, "Content-Type"),
    "an event that is too large": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type":"a","payload":"%b"}' % (b"a" * (1 << 20))),
        *(413, "payload"),
    ),
    "a subscription that is a form": (
        *("POST", SUBSCRIPTIONS, {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1", 415, "Content-Type"),
    ),
    "a subscription that is too large": ("POST", SUBSCRIPTIONS, JSON_HEADERS, b" " * (3 << 20), 413, "body"),
    "an unknown subscription": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}", {}, b"", 404, None),
    "an unknown subscription to change": (
        *("PUT", f"/api/v1/subscriptions/{UNKNOWN_ID}", JSON_HEADERS, b"{%b}" % HOOK, 404, None),
    ),
    "an unknown subscription to delete": ("DELETE", f"/api/v1/subscriptions/{UNKNOWN_ID}", {}, b"", 404, None),
    "a malformed subscription": ("GET", "/api/v1/subscriptions/1", {}, b"", 422, "subscription_id"),
    "an unknown delivery": ("GET", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}", {}, b"", 404, None),
    "an unknown delivery to retry": ("POST", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}/retry", {}, b"", 404, None),
    "an unknown delivery to cancel": ("POST", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}/cancel", {}, b"", 404, None),
    "a malformed delivery": ("GET", "/api/v1/webhooks/deliveries/%00", {}, b"", 422, "delivery_id"),
    "an unknown event": ("GET", f"/api/v1/events/{UNKNOWN_ID}", {}, b"", 404, None),
    "deliveries of an unknown event": ("GET", f"/api/v1/events/{UNKNOWN_ID}/deliveries", {}, b"", 404, None),
    "deliveries of nobody": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}/deliveries", {}, b"", 404, None),
    "statistics of nobody": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}/stats", {}, b"", 404, None),
    "an unknown state": ("GET", "/api/v1/subscriptions/{id}/deliveries?status=lost", {}, b"", 422, "status"),
    "no objects per page": ("GET", "/api/v1/subscriptions?limit=0", {}, b"", 422, "limit"),
    "too many objects per page": ("GET", "/api/v1/subscriptions?limit=201", {}, b"", 422, "limit"),
    "a cursor of nobody's": ("GET", "/api/v1/subscriptions?cursor=%00", {}, b"", 422, "cursor"),
    "an unknown parameter": ("GET", "/api/v1/subscriptions?page=2", {}, b"", 422, "page"),
    "a window of nothing": ("GET", "/api/v1/stats?window=0m", {}, b"", 422, "window"),
    "a window beyond retention": ("GET", "/api/v1/stats?window=900d", {}, b"", 422, "window"),
    "another method": ("PATCH", SUBSCRIPTIONS, {}, b"", 405, None),
    "another path": ("GET", "/api/v2/", {}, b"", 404, None),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_a_problem_and_nothing_is_stored(api: Api, name: str) -> None:
    method, path, headers, body, status, field = BAD_REQUESTS[name]
    subscription = await api.subscribe("http://127.0.0.1:9/hook", event_types=["never"])
    answer = await api.http.request(method, path.replace("{id}", subscription), headers=headers, content=body)
    _assert_problem(answer, status, field)
    page = await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")
    assert page.json()["items"] == []


def _assert_problem(answer: httpx.Response, status: int, field: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]


def _valkey(stack: Stack) -> psutil.Process:
    return next(process for process in stack.processes() if process.name() == "valkey-server")
