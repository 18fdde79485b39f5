"""Pulling over REST: what is asked of the delivery service, and what consumers get."""

import asyncio
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.gateway.resources import models
from services.platform import ids
from tests.gateway.fakes import NOW, Services

DELIVERY, EVENT, TOKEN = str(ids.new()), str(ids.new()), str(ids.new())
PAYLOAD = b'{"order": 42}\r\n--\x00\xff'


def pulled() -> pb.PullDeliveriesResponse:
    one = pb.PulledDelivery(
        id=DELIVERY,
        event_id=EVENT,
        event_type="order.created",
        attempt=2,
        lease_token=TOKEN,
        lease_expires_at=NOW,
        headers={"Content-Type": "application/json", "webhook-id": DELIVERY},
        payload=PAYLOAD,
    )
    return pb.PullDeliveriesResponse(deliveries=[one])


async def subscribe(client: httpx.AsyncClient) -> str:
    created = await client.post("/api/v1/subscriptions", json={"destination": "pull"})
    assert created.status_code == 201, created.text
    assert (created.json()["destination"], created.json()["target_url"]) == ("pull", None)
    return str(created.headers["location"])


async def test_deliveries_are_pulled_as_json_or_as_parts_of_bytes(
    client: httpx.AsyncClient, services: Services
) -> None:
    path = await subscribe(client)
    services.pulled = pulled()
    answer = await client.post(f"{path}/pull", json={"max_deliveries": 5, "wait_seconds": 0.5, "lease_seconds": 30})
    assert answer.json() == {
        "deliveries": [
            {
                "id": DELIVERY,
                "event_id": EVENT,
                "event_type": "order.created",
                "attempt": 2,
                "lease_token": TOKEN,
                "lease_expires_at": models.timestamp(NOW),
                "headers": {"Content-Type": "application/json", "webhook-id": DELIVERY},
                "payload_base64": "eyJvcmRlciI6IDQyfQ0KLS0A/w==",
            }
        ]
    }
    asked = services.requests[-1]
    assert (asked.max_deliveries, asked.wait_seconds, asked.lease_seconds) == (5, 0.5, 30)

    answer = await client.post(f"{path}/pull", json={}, headers={"Accept": "multipart/mixed"})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    (part,) = message_from_bytes(head + answer.content, policy=policy.HTTP).iter_parts()
    assert part["webhook-id"] == DELIVERY
    assert part["X-Webhook-Lease-Token"] == TOKEN
    assert int(part["Content-Length"]) == len(PAYLOAD)
    assert b"\r\n\r\n" + PAYLOAD + b"\r\n--" in answer.content
    asked = services.requests[-1]
    assert (asked.max_deliveries, asked.wait_seconds, asked.lease_seconds) == (100, 0, 60)


async def test_results_are_reported_each_with_what_became_of_it(client: httpx.AsyncClient, services: Services) -> None:
    path = await subscribe(client)
    body = {
        "results": [
            {"delivery_id": DELIVERY, "lease_token": TOKEN, "outcome": "failure", "status_code": 503, "message": "no"},
            {"delivery_id": EVENT, "lease_token": TOKEN, "outcome": "extend", "lease_seconds": 10, "duration_ms": None},
        ]
    }
    answer = await client.post(f"{path}/pull/results", json=body)
    assert answer.json() == {
        "results": [{"delivery_id": name, "status": "recorded", "lease_expires_at": None} for name in (DELIVERY, EVENT)]
    }
    failed, extended = services.requests[-1].results
    assert (failed.outcome, failed.status_code, failed.message) == (pb.PULL_OUTCOME_FAILURE, 503, "no")
    assert (extended.outcome, extended.lease_seconds) == (pb.PULL_OUTCOME_EXTEND, 10)
    assert not extended.HasField("duration_ms")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("pull", {"max_deliveries": 101}, "max_deliveries"),
        ("pull", {"wait_seconds": 30.5}, "wait_seconds"),
        ("pull", {"lease_seconds": 5}, "lease_seconds"),
        ("pull", {"max": 1}, "max"),
        ("pull/results", {"results": []}, "results"),
        ("pull/results", {"results": [{"delivery_id": DELIVERY, "lease_token": TOKEN}]}, "results.0.outcome"),
    ],
)
async def test_what_is_out_of_range_is_named(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(f"/api/v1/subscriptions/{ids.new()}/{path}", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


async def test_a_consumer_that_leaves_is_no_longer_waited_for(url: str, services: Services) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        path = await subscribe(client)
        services.delay_seconds = 60.0
        pulling = asyncio.ensure_future(client.post(f"{path}/pull", json={"wait_seconds": 30}))
        while not services.requests or services.requests[-1].DESCRIPTOR.name != "PullDeliveriesRequest":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        pulling.cancel()
    services.delay_seconds = 0.0


async def test_responses_that_nobody_reads_count_and_end_further_pulls_of_their_tenant(
    client: httpx.AsyncClient, services: Services
) -> None:
    path = await subscribe(client)
    services.pulled = pulled()
    # More than the buffers of a connection take.
    services.pulled.deliveries[0].payload = bytes(18 << 20)
    request = client.build_request("POST", f"{path}/pull", json={}, headers={"Accept-Encoding": "identity"})
    size = len((await client.send(request)).content)

    def unread() -> float | None:
        return REGISTRY.get_sample_value("webhook_http_unread_pull_bytes")

    await wait_until(lambda: unread() == 0, what="the first response to be read")
    first = await client.send(request, stream=True)
    await wait_until(lambda: unread() == size, what="a response that waits")
    # A tenant may have half of 64 MiB.
    second = await client.send(request, stream=True)
    await wait_until(lambda: unread() == 2 * size, what="two responses that wait")
    refused = await client.post(f"{path}/pull", json={})
    assert (refused.status_code, refused.json()["reason"]) == (429, "TENANT_OVERLOADED")
    await first.aread()
    await second.aclose()
    await wait_until(lambda: unread() == 0, what="one response to be read, and another client to have left")
    assert (await client.post(f"{path}/pull", json={})).status_code == 200
