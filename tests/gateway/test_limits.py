"""Each limit of docs/reference/limits.md that the gateway enforces: accepted at the limit, refused above it."""

import json
from typing import Any

import httpx
import pytest

from services.gateway.web import middleware, routing
from services.platform import ids
from tests.gateway.fakes import Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"
URL = "https://example.com/"

# The field, a value at the limit, and a value above it.
FIELDS: list[tuple[str, Any, Any]] = [
    ("target_url", URL + "x" * (2048 - len(URL)), URL + "x" * (2049 - len(URL))),
    ("secret_key", "s" * 256, "s" * 257),
    ("event_types", ["t"] * 100, ["t"] * 101),
    ("description", "d" * 1024, "d" * 1025),
    ("name", "n" * 64, "n" * 65),
    ("metadata", {str(number): "v" for number in range(20)}, {str(number): "v" for number in range(21)}),
    ("metadata.k", {"k": "v" * 512}, {"k": "v" * 513}),
    ("headers", {f"X-{number}": "v" for number in range(20)}, {f"X-{number}": "v" for number in range(21)}),
    ("headers.X", {"X": "v" * 1024}, {"X": "v" * 1025}),
    ("timeout_seconds", 30, 30.001),
    ("timeout_seconds", 1, 0.999),
]


@pytest.mark.parametrize(("field", "most", "over"), FIELDS, ids=lambda value: str(value)[:20])
async def test_a_field_of_a_subscription_has_a_bound(
    client: httpx.AsyncClient, services: Services, field: str, most: object, over: object
) -> None:
    name = field.partition(".")[0]
    assert (await client.post(SUBSCRIPTIONS, json={"target_url": URL, name: most})).status_code == 201
    refused = await client.post(SUBSCRIPTIONS, json={"target_url": URL, name: over})
    assert refused.status_code == 422
    assert [found["field"] for found in refused.json()["errors"]] == [field]
    assert len(services.stored) == 1


async def test_a_document_has_a_bound(client: httpx.AsyncClient) -> None:
    body = json.dumps({"target_url": URL}).encode()
    for size, status in ((routing.MAX_DOCUMENT_BYTES, 201), (routing.MAX_DOCUMENT_BYTES + 1, 413)):
        answer = await client.post(SUBSCRIPTIONS, content=body.ljust(size))
        assert answer.status_code == status


async def test_a_request_target_has_a_bound(client: httpx.AsyncClient) -> None:
    for size, status in ((middleware.MAX_TARGET_BYTES, 404), (middleware.MAX_TARGET_BYTES + 1, 414)):
        answer = await client.get("/nope?" + "x" * (size - len("/nope")))
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("header", "longest"), [("X-Event-Type", 128), ("Idempotency-Key", 255), ("Content-Type", 255)]
)
async def test_a_header_that_goes_with_an_event_has_a_bound(
    client: httpx.AsyncClient, services: Services, header: str, longest: int
) -> None:
    for size, status in ((longest, 202), (longest + 1, 422)):
        value = "text/" + "x" * (size - 5) if header == "Content-Type" else "x" * size
        answer = await client.post(WEBHOOK, content=b"1", headers={header: value})
        assert answer.status_code == status, answer.text
    assert len(services.items) == 1


@pytest.mark.parametrize(("name", "most", "over"), [("limit", "200", "201"), ("cursor", "A" * 256, "A" * 257)])
async def test_a_parameter_of_a_list_has_a_bound(
    client: httpx.AsyncClient, services: Services, name: str, most: str, over: str
) -> None:
    assert (await client.get(SUBSCRIPTIONS, params={name: most})).status_code == 200
    refused = await client.get(SUBSCRIPTIONS, params={name: over})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, name)
    assert len(services.requests) == 1
