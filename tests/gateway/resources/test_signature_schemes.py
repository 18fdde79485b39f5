"""Signature schemes and public keys over REST: what is asked of ingest, and what is shown."""

from typing import Any

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import ids
from tests.gateway.fakes import NOW, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
BODY = {"target_url": "https://example.com/"}
TIME = "2026-03-14T15:09:26.535Z"
KEYS = [{"public_key": "whpk_bmV3", "expires_at": None}, {"public_key": "whpk_b2xk", "expires_at": TIME}]


async def create(client: httpx.AsyncClient, services: Services, **body: Any) -> str:
    """A path of a subscription that has two keys."""
    created = await client.post(SUBSCRIPTIONS, json=BODY | body)
    assert created.status_code == 201, created.text
    path = created.headers["location"]
    stored = services.stored[path.rsplit("/", 1)[1]]
    stored.status.public_keys.add(public_key="whpk_bmV3")
    stored.status.public_keys.add(public_key="whpk_b2xk", expires_at=NOW)
    return str(path)


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, pb.SIGNATURE_SCHEME_UNSPECIFIED),
        ({"signature_scheme": None}, pb.SIGNATURE_SCHEME_UNSPECIFIED),
        ({"signature_scheme": "hmac-sha256"}, pb.SIGNATURE_SCHEME_HMAC_SHA256),
        ({"signature_scheme": "ed25519"}, pb.SIGNATURE_SCHEME_ED25519),
    ],
)
async def test_the_scheme_goes_through_in_each_request(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], asked: int
) -> None:
    path = await create(client, services, **body)
    assert services.requests[-1].spec.signature_scheme == asked
    assert (await client.put(path, json=BODY | body)).status_code == 200
    assert services.requests[-1].spec.signature_scheme == asked
    assert (await client.post(f"{path}/rotate-secret", json=body)).status_code == 200
    assert services.requests[-1].signature_scheme == asked


async def test_each_answer_has_the_scheme_and_the_public_keys(client: httpx.AsyncClient, services: Services) -> None:
    path = await create(client, services, signature_scheme="ed25519")
    shown = (await client.get(path)).json()
    assert (shown["signature_scheme"], shown["public_keys"]) == ("ed25519", KEYS)
    assert (await client.get(f"{path}/public-keys")).json() == {"public_keys": KEYS}
    assert (await client.get(f"{path}/public-keys/")).json() == {"public_keys": KEYS}
    assert (await client.post(f"{path}/rotate-secret")).json()["public_keys"] == KEYS
    assert (await client.get(f"{SUBSCRIPTIONS}/{ids.new()}/public-keys")).status_code == 404


@pytest.mark.parametrize("scheme", ["ED25519", "rsa", "", 1, ["ed25519"], True])
async def test_another_scheme_is_refused_by_its_field(
    client: httpx.AsyncClient, services: Services, scheme: object
) -> None:
    path = await create(client, services)
    asked = len(services.requests)
    for refused in (
        await client.post(SUBSCRIPTIONS, json=BODY | {"signature_scheme": scheme}),
        await client.put(path, json=BODY | {"signature_scheme": scheme}),
        await client.post(f"{path}/rotate-secret", json={"signature_scheme": scheme}),
    ):
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["signature_scheme"]
        assert "hmac-sha256" in refused.text
    assert len(services.requests) == asked
