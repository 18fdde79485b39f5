"""Client certificates over REST: what is asked of ingest, and what is told."""

from typing import Any

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from tests.gateway.fakes import NOW, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
BODY = {"target_url": "https://example.com/"}
GIVEN = {"certificate": "hunter-certificate", "private_key": "hunter-key"}
TIME = "2026-03-14T15:09:26.535Z"


async def test_it_goes_through_and_answers_have_its_facts(client: httpx.AsyncClient, services: Services) -> None:
    created = await client.post(SUBSCRIPTIONS, json=BODY | {"client_certificate": GIVEN})
    assert created.status_code == 201, created.text
    assert "hunter" not in created.text
    assert services.requests[-1].spec.client_certificate == pb.ClientCertificate(**GIVEN)
    path = created.headers["location"]
    assert (await client.get(path)).json()["client_certificate"] is None
    services.stored[path.rsplit("/", 1)[1]].status.client_certificate.CopyFrom(
        pb.ClientCertificateFacts(
            subject="CN=shop", issuer="CN=ca", serial_number="2a", not_before=NOW, not_after=NOW, sha256_fingerprint="f"
        )
    )
    assert (await client.get(path)).json()["client_certificate"] == {
        "subject": "CN=shop",
        "issuer": "CN=ca",
        "serial_number": "2a",
        "not_before": TIME,
        "not_after": TIME,
        "sha256_fingerprint": "f",
    }


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, None),
        ({"client_certificate": None}, pb.ClientCertificate()),
        ({"client_certificate": GIVEN}, pb.ClientCertificate(**GIVEN)),
    ],
    ids=["absent keeps", "null removes", "replaces"],
)
async def test_an_update_says_what_becomes_of_it(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], asked: pb.ClientCertificate | None
) -> None:
    path = (await client.post(SUBSCRIPTIONS, json=BODY)).headers["location"]
    assert (await client.put(path, json=BODY | body)).status_code == 200
    request = services.requests[-1].spec
    assert (request.client_certificate if request.HasField("client_certificate") else None) == asked


@pytest.mark.parametrize(
    ("certificate", "field"),
    [
        ("hunter", "client_certificate"),
        ({}, "client_certificate.certificate"),
        ({"certificate": "hunter"}, "client_certificate.private_key"),
        ({**GIVEN, "passphrase": "hunter"}, "client_certificate.passphrase"),
        ({**GIVEN, "private_key": ["hunter"]}, "client_certificate.private_key"),
        ({**GIVEN, "private_key": "hunter" * 2000}, "client_certificate.private_key"),
        ({**GIVEN, "certificate": "hunter" * 6000}, "client_certificate.certificate"),
        ({**GIVEN, "certificate": ""}, "client_certificate.certificate"),
    ],
)
async def test_what_is_no_certificate_with_its_key_is_refused_and_not_repeated(
    client: httpx.AsyncClient, services: Services, certificate: object, field: str
) -> None:
    refused = await client.post(SUBSCRIPTIONS, json=BODY | {"client_certificate": certificate})
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["field"] == field
    assert "hunter" not in refused.text
    assert services.requests == []
