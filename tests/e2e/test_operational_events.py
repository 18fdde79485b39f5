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


async def test_slack_is_told_of_an_endpoint_that_fails_by_one_call(stack: Stack, receiver: Receiver) -> None:
    body = {"kind": "system", "event_types": ["subscription.*"], "target_url": receiver.url("/slack")}
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        made = await http.post("/api/v1/subscriptions", json=body | {"template": {"preset": "slack"}})
        assert made.status_code == 201, made.text
        path = f"/api/v1/subscriptions/{made.json()['id']}"
        try:
            receiver.script(then=500, path="/failing")
            failing = await Api(http).subscribe(receiver.url("/failing"), retry_policy={"limit": 0})
            for _ in range(12):
                await Api(http).sent(failing)
            told = [json.loads(request.body) for request in await receiver.wait_for(1, path="/slack")]
        finally:
            await http.delete(path)
    assert told[0]["text"] == "The endpoint 127.0.0.1 is failing. Deliveries to it wait."
    assert told[0]["blocks"][0]["type"] == "header"
