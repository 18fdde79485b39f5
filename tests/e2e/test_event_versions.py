"""A receiver that is pinned to a version gets its bytes, from the catalog to the signed request."""

import json
import uuid

import httpx
import standardwebhooks

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack

OLD = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
NEW = {"type": "object", "properties": {"total": {"type": "object"}}, "required": ["total"]}
DOWN = '{"amount": {{ event.data.total.amount }}}'


async def test_a_pinned_receiver_gets_the_same_bytes_of_its_version_on_each_attempt(
    stack: Stack, receiver: Receiver
) -> None:
    name = f"versions.e2e-{uuid.uuid4()}"
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        made = await http.post("/api/v1/event-types", json={"name": name, "schema": OLD, "validation": "enforce"})
        versions = f"/api/v1/event-types/{made.json()['id']}/versions"
        added = await http.post(versions, json={"schema": NEW, "down_conversion": DOWN})
        assert (added.status_code, added.json()["down_conversion"]) == (201, DOWN)
        receiver.script(503, path="/old")
        fields = {"event_types": [name], "retry_policy": {"delays_seconds": [0.5, 0.5, 0.5]}}
        pinned = {**fields, "event_versions": {"versions.*": 1}, "target_url": receiver.url("/old")}
        shown = (await http.post("/api/v1/subscriptions", json=pinned)).json()
        assert shown["event_versions"] == {"versions.*": 1}
        await Api(http).subscribe(receiver.url("/new"), **fields)

        event = {"event_type": name, "payload": {"total": {"amount": 7}}}
        events = [{**event, "event_version": 2}]
        (result,) = (await http.post("/api/v1/events/batch", json={"events": events})).json()["results"]
        (first, second, *_) = await receiver.wait_for(2, path="/old")
        (new, *_) = await receiver.wait_for(1, path="/new")
        stored = (await http.get(f"/api/v1/events/{result['event_id']}")).json()
        refused = await http.post("/api/v1/events", json={**event, "event_version": 9})

    assert first.body == second.body == b'{"amount": 7}'
    for request in (first, second):
        assert request.headers["X-Webhook-Event-Version"] == "1"
        standardwebhooks.Webhook(shown["secret_key"]).verify(request.body, dict(request.headers))
    assert (json.loads(new.body), new.headers["X-Webhook-Event-Version"]) == (event["payload"], "2")
    assert (stored["payload"], stored["event_version"]) == (event["payload"], 2)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "event_version")
