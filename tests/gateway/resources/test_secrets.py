"""Secrets and ingest tokens over REST: the requests to ingest, and what is shown only once."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import ids
from tests.gateway.fakes import TOKEN, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
URL = "https://example.com/hook"
TIME = "2026-03-14T15:09:26.535Z"


async def create(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    answer = await client.post(SUBSCRIPTIONS, json={"target_url": URL, **body})
    assert answer.status_code == 201, answer.text
    return answer


async def test_a_generated_secret_is_returned_once_and_with_no_store(client: httpx.AsyncClient) -> None:
    created = await create(client)
    assert created.json()["secret_key"] == "whsec_bWFkZQ=="
    assert created.headers["cache-control"] == "no-store"
    assert "secret_key" not in (await client.get(created.headers["location"])).json()


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, "make one"),
        ({"secret_key": None}, "make one"),
        ({"signature_scheme": "none"}, "unsigned"),
        ({"secret_key": "secret-s"}, "this one"),
    ],
)
async def test_an_absent_secret_is_made_and_none_is_said_by_the_scheme(
    client: httpx.AsyncClient, services: Services, body: dict[str, object], asked: str
) -> None:
    created = await create(client, **body)
    request = services.requests[-1].spec
    assert (request.signature_scheme == pb.SIGNATURE_SCHEME_NONE) == (asked == "unsigned")
    assert request.HasField("secret_key") == (asked == "this one")
    assert (created.json()["secret_key"] is not None) == (asked == "make one")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"secret_key": null, "overlap_hours": 24}'])
async def test_a_rotation_takes_no_body_or_an_empty_one(
    client: httpx.AsyncClient, services: Services, content: bytes
) -> None:
    path = (await create(client)).headers["location"]
    rotated = await client.post(f"{path}/rotate-secret/", content=content)
    assert rotated.status_code == 200, rotated.text
    assert rotated.json() == {
        "secret_key": "whsec_bmV3",
        "public_keys": [],
        "previous_secrets": [{"expires_at": TIME}],
        "warnings": [],
    }
    assert rotated.headers["cache-control"] == "no-store"
    assert services.requests[-1].overlap_hours == 24
    assert not services.requests[-1].HasField("secret_key")
    assert (await client.get(path)).json()["previous_secrets"] == [{"expires_at": TIME}]


async def test_a_rotation_to_a_given_secret_does_not_repeat_it(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    rotated = await client.post(f"{path}/rotate-secret", json={"secret_key": "secret-hunter2", "overlap_hours": 0.5})
    assert rotated.json()["secret_key"] is None
    assert (services.requests[-1].secret_key, services.requests[-1].overlap_hours) == ("secret-hunter2", 0.5)


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"[]", 422, "body"),
        (b"{", 400, None),
        (b'{"overlap_hours": -1}', 422, "overlap_hours"),
        (b'{"overlap_hours": 169}', 422, "overlap_hours"),
        (b'{"overlap_hours": "24"}', 422, "overlap_hours"),
        (b'{"overlap_hours": true}', 422, "overlap_hours"),
        (b'{"secret_key": 1}', 422, "secret_key"),
        (b'{"other": 1}', 422, "other"),
    ],
)
async def test_a_wrong_rotation_is_refused_by_its_field(
    client: httpx.AsyncClient, services: Services, content: bytes, status: int, field: str | None
) -> None:
    path = (await create(client)).headers["location"]
    asked = len(services.requests)
    refused = await client.post(f"{path}/rotate-secret", content=content)
    assert refused.status_code == status, refused.text
    assert [error["field"] for error in refused.json().get("errors", [])] == ([field] if field else [])
    assert len(services.requests) == asked


async def test_an_ingest_token_is_returned_with_its_path(client: httpx.AsyncClient) -> None:
    path = (await create(client)).headers["location"]
    subscription_id = path.rsplit("/", 1)[1]
    made = await client.post(f"{path}/ingest-token/")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert made.json() == {"token": "whi_token", "path": f"/api/v1/webhooks/ingest/{subscription_id}/whi_token"}
    assert (await client.get(path)).json()["has_ingest_token"]
    removed = await client.delete(f"{path}/ingest-token")
    assert (removed.status_code, removed.content) == (204, b"")
    assert not (await client.get(path)).json()["has_ingest_token"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_webhook_goes_to_ingest_with_the_token_of_its_path(
    client: httpx.AsyncClient, services: Services, slash: str
) -> None:
    subscription_id = str(ids.new())
    path = f"/api/v1/webhooks/ingest/{subscription_id}/{TOKEN}{slash}"
    assert (await client.post(path, json={"payload": {}})).status_code == 202
    assert (services.items[-1].subscription_id, services.items[-1].ingest_token) == (subscription_id, TOKEN)
    assert (await client.post(f"/api/v1/webhooks/ingest/{subscription_id}", json={})).status_code == 202
    assert services.items[-1].ingest_token == ""


@pytest.mark.parametrize("token", ["whi_" + "u" * 43, "whi_short", "u" * 47, "%00", "whi_" + "t" * 44, "w" * 7000])
async def test_a_wrong_token_is_refused_before_the_body_is_read(url: str, services: Services, token: str) -> None:
    subscription_id = str(ids.new())
    head = f"POST /api/v1/webhooks/ingest/{subscription_id}/{token} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(2000), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404")
    assert f"subscription {subscription_id} not found".encode() in answer
    assert services.items == []


async def test_a_signature_that_is_too_long_is_cut_for_ingest(client: httpx.AsyncClient, services: Services) -> None:
    path = f"/api/v1/webhooks/ingest/{ids.new()}"
    for length in (121, 122, 8000):
        await client.post(path, json={}, headers={"X-Hub-Signature-256": "sha256=" + "0" * length})
        assert services.items[-1].hub_signature.signature == "sha256=" + "0" * 121


async def test_wrong_method_on_a_path_with_a_token_does_not_show_the_token(client: httpx.AsyncClient) -> None:
    refused = await client.get(f"/api/v1/webhooks/ingest/{ids.new()}/whi_hunter2")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")
    assert "hunter2" not in refused.text


async def test_metrics_know_a_path_with_a_token_by_its_route_alone(client: httpx.AsyncClient) -> None:
    for path in ("whi_hunter2", "whi_hunter2/more", "%ff%00"):
        await client.post(f"/api/v1/webhooks/ingest/{ids.new()}/{path}", json={})
    metrics = (await client.get("/metrics")).text
    assert 'route="/api/v1/webhooks/ingest/{subscription_id}/{token}"' in metrics
    assert "hunter2" not in metrics
