"""A consumer pulls over REST what senders send, with real processes."""

import asyncio
import base64
from typing import Any

import standardwebhooks

from dev.harness.api import Api
from services.platform import ids

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def pull(api: Api, subscription: str, **asked: Any) -> list[dict[str, Any]]:
    answer = await api.http.post(f"/api/v1/subscriptions/{subscription}/pull", json=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def report(api: Api, subscription: str, *results: dict[str, Any]) -> list[str]:
    path = f"/api/v1/subscriptions/{subscription}/pull/results"
    answer = await api.http.post(path, json={"results": results})
    assert answer.status_code == 200, answer.text
    return [result["status"] for result in answer.json()["results"]]


async def test_a_waiting_consumer_gets_a_webhook_and_reports_what_became_of_it(api: Api) -> None:
    event_type = f"pull.{ids.new().hex}"
    created = await api.http.post(
        "/api/v1/subscriptions",
        json={
            "destination": "pull",
            "event_types": [event_type],
            "secret_key": SECRET,
            "retry_policy": {"delays_seconds": [0.01]},
        },
    )
    assert created.status_code == 201, created.text
    subscription = created.json()["id"]
    waiting = asyncio.ensure_future(pull(api, subscription, wait_seconds=30))
    published = await api.http.post("/api/v1/events", json={"event_type": event_type, "payload": {"order": 42}})
    assert published.json()["deliveries"] >= 1  # other tests have subscriptions to all types
    (pulled,) = await waiting
    payload = base64.b64decode(pulled["payload_base64"])
    assert payload in {b'{"order": 42}', b'{"order":42}'}
    standardwebhooks.Webhook(SECRET).verify(payload, pulled["headers"])
    assert (pulled["attempt"], pulled["event_type"]) == (1, event_type)

    lease = {"delivery_id": pulled["id"], "lease_token": pulled["lease_token"]}
    assert await report(api, subscription, {**lease, "outcome": "extend", "lease_seconds": 120}) == ["recorded"]
    assert await report(api, subscription, {**lease, "outcome": "failure", "message": "not now"}) == ["recorded"]
    (again,) = await pull(api, subscription, wait_seconds=30)
    assert (again["id"], again["attempt"]) == (pulled["id"], 2)
    assert await report(api, subscription, {**lease, "outcome": "success"}) == ["lease_expired"]
    lease["lease_token"] = again["lease_token"]
    assert await report(api, subscription, {**lease, "outcome": "success", "status_code": 200}) == ["recorded"]
    delivery = await api.until(pulled["id"], "delivered")
    assert [attempt["error"] and attempt["error"]["kind"] for attempt in delivery["attempts"]] == [
        "consumer_failed",
        None,
    ]
    refused = await api.http.post(f"/api/v1/subscriptions/{subscription}/test")
    assert (refused.status_code, refused.json()["reason"]) == (409, "WRONG_DESTINATION")
