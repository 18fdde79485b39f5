"""POST /filters/check: what it asks of ingest, and what it returns."""

import httpx

from tests.gateway.fakes import Services

EVENT_ID = "019ced7a-4be1-7d20-91f3-6a0c8e5d2b17"
FILTER = "event.data.amount > 100"


async def test_a_filter_is_tried_on_an_event(client: httpx.AsyncClient, services: Services) -> None:
    event = {"event_type": "order.created", "payload": {"amount": 5}, "tags": {"order": "42"}}
    response = await client.post("/api/v1/filters/check", json={"filter": FILTER, "event": event})
    assert response.status_code == 200, response.text
    found = {"event_id": None, "verdict": "no_match", "explanation": FILTER}
    assert response.json() == {"results": [found], "warnings": []}
    (request,) = services.requests
    assert (request.filter, request.event.payload) == (FILTER, b'{"amount":5}')
    assert dict(request.event.tags) == {"order": "42"}


async def test_a_filter_is_tried_on_stored_events(client: httpx.AsyncClient, services: Services) -> None:
    response = await client.post("/api/v1/filters/check", json={"filter": FILTER, "event_ids": [EVENT_ID]})
    assert response.json()["results"][0]["event_id"] == EVENT_ID
    body = {"filter": FILTER, "subscription_id": EVENT_ID, "last": 5}
    assert (await client.post("/api/v1/filters/check", json=body)).status_code == 200
    first, second = services.requests
    assert list(first.event_ids) == [EVENT_ID]
    assert (second.latest.subscription_id, second.latest.last) == (EVENT_ID, 5)


async def test_a_check_of_too_many_events_is_refused(client: httpx.AsyncClient, services: Services) -> None:
    body = {"filter": FILTER, "event_ids": [EVENT_ID] * 21}
    response = await client.post("/api/v1/filters/check", json=body)
    assert response.status_code == 422
    assert not services.requests
