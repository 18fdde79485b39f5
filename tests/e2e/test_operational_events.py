"""The service notifies operators about their subscriptions by signed deliveries."""

import json

import httpx
import standardwebhooks

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack


async def test_a_system_subscription_hears_that_another_was_disabled(stack: Stack, receiver: Receiver) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        body = {"target_url": receiver.url("/operators"), "kind": "system", "event_types": ["subscription.*"]}
        made = (await http.post("/api/v1/subscriptions", json=body)).json()
        path = f"/api/v1/subscriptions/{made['id']}"
        try:
            assert made["kind"] == "system"
            again = await http.post("/api/v1/subscriptions", json=body)
            assert (again.status_code, again.json()["reason"]) == (409, "SYSTEM_SUBSCRIPTION_EXISTS")
            changed = await http.put(path, json=body | {"kind": "normal"})
            assert (changed.status_code, changed.json()["errors"][0]["field"]) == (422, "kind")
            sent = await Api(http).send(made["id"])
            assert (sent.status_code, sent.json()["reason"]) == (409, "SUBSCRIPTION_IS_SYSTEM")

            other = await Api(http).subscribe("https://hooks.example.com/services/T0/secret-path")
            assert (await http.post(f"/api/v1/subscriptions/{other}/disable")).status_code == 200

            (request, *_) = [
                found
                for found in await receiver.wait_for(1, path="/operators")
                if json.loads(found.body)["data"]["subscription_id"] == other
            ]
        finally:
            await http.delete(path)
    event = standardwebhooks.Webhook(made["secret_key"]).verify(request.body, dict(request.headers))
    assert event["type"] == request.headers["X-Event-Type"] == "subscription.disabled"
    assert event["data"] == {
        "subscription_id": other,
        "target_host": "hooks.example.com",
        "reason": "manual",
        "last_error": None,
    }
