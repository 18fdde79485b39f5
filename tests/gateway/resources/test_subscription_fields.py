"""Fields of a subscription over REST: the request to ingest, what is shown, and what the gateway refuses."""

from typing import Any

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import ids
from tests.gateway.fakes import NOW, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
BODY = {"target_url": "https://example.com/"}
CERTIFICATE = {"certificate": "hunter-certificate", "private_key": "hunter-key"}
TIME = "2026-03-14T15:09:26.535Z"
KEYS = [{"public_key": "whpk_bmV3", "expires_at": None}, {"public_key": "whpk_b2xk", "expires_at": TIME}]


async def create(client: httpx.AsyncClient, **body: Any) -> str:
    """The path for new subscriptions."""
    created = await client.post(SUBSCRIPTIONS, json=BODY | body)
    assert created.status_code == 201, created.text
    assert "hunter" not in created.text
    return str(created.headers["location"])


@pytest.mark.parametrize(
    ("body", "field", "asked"),
    [
        ({}, "headers", None),
        ({"headers": None}, "headers", pb.CustomHeaders()),
        ({"headers": {}}, "headers", pb.CustomHeaders()),
        ({"headers": {"X-B": "hunter", "A": "b"}}, "headers", pb.CustomHeaders(values={"X-B": "hunter", "A": "b"})),
        ({}, "client_certificate", None),
        ({"client_certificate": None}, "client_certificate", pb.ClientCertificate()),
        ({"client_certificate": CERTIFICATE}, "client_certificate", pb.ClientCertificate(**CERTIFICATE)),
        ({}, "secret_key", None),
        ({"secret_key": "hunter-secret"}, "secret_key", "hunter-secret"),
    ],
    ids=str,
)
async def test_an_update_keeps_what_is_absent_removes_what_is_null_and_replaces_the_rest(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], field: str, asked: object
) -> None:
    path = await create(client, secret_key="secret-old")
    answer = await client.put(path, json=BODY | body)
    assert answer.status_code == 200
    assert "hunter" not in answer.text
    request = services.requests[-1].spec
    assert (getattr(request, field) if request.HasField(field) else None) == asked


async def test_answers_have_the_names_of_headers_and_the_facts_of_a_certificate(
    client: httpx.AsyncClient, services: Services
) -> None:
    path = await create(client, headers={"X-B": "hunter2", "A": "hunter2"}, client_certificate=CERTIFICATE)
    found = (await client.get(path)).json()
    assert (found["header_names"], found["client_certificate"]) == (["A", "X-B"], None)
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
        ({}, pb.SIGNATURE_SCHEME_UNSPECIFIED),
        ({"signature_scheme": None}, pb.SIGNATURE_SCHEME_UNSPECIFIED),
        ({"signature_scheme": "hmac-sha256"}, pb.SIGNATURE_SCHEME_HMAC_SHA256),
        ({"signature_scheme": "ed25519"}, pb.SIGNATURE_SCHEME_ED25519),
    ],
)
async def test_the_signature_scheme_goes_through_in_each_request(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], asked: int
) -> None:
    path = await create(client, **body)
    assert services.requests[-1].spec.signature_scheme == asked
    assert (await client.put(path, json=BODY | body)).status_code == 200
    assert services.requests[-1].spec.signature_scheme == asked
    assert (await client.post(f"{path}/rotate-secret", json=body)).status_code == 200
    assert services.requests[-1].signature_scheme == asked


@pytest.mark.parametrize(
    ("body", "removes"), [({"secret_key": None}, True), ({"signature_scheme": "none"}, True), ({}, False)]
)
async def test_an_update_without_a_secret_removes_signing_only_if_requested(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], *, removes: bool
) -> None:
    path = await create(client, secret_key="secret-old")
    assert (await client.put(path, json=BODY | body)).status_code == 200
    request = services.requests[-1].spec
    assert not request.HasField("secret_key")
    assert (request.signature_scheme == pb.SIGNATURE_SCHEME_NONE) == removes


async def test_public_keys_are_in_each_answer(client: httpx.AsyncClient, services: Services) -> None:
    path = await create(client, signature_scheme="ed25519")
    stored = services.stored[path.rsplit("/", 1)[1]]
    stored.status.public_keys.add(public_key="whpk_bmV3")
    stored.status.public_keys.add(public_key="whpk_b2xk", expires_at=NOW)
    shown = (await client.get(path)).json()
    assert (shown["signature_scheme"], shown["public_keys"]) == ("ed25519", KEYS)
    for slash in ("", "/"):
        assert (await client.get(f"{path}/public-keys{slash}")).json() == {"public_keys": KEYS}
    assert (await client.post(f"{path}/rotate-secret")).json()["public_keys"] == KEYS
    assert (await client.get(f"{SUBSCRIPTIONS}/{ids.new()}/public-keys")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"headers": []}, "headers"),
        ({"headers": "A: b"}, "headers"),
        *(({"headers": {"A": value}}, "headers.A") for value in (1, None, ["b"], "")),
        *(({"signature_scheme": scheme}, "signature_scheme") for scheme in ("ED25519", "rsa", "", 1, ["ed25519"])),
        ({"client_certificate": "hunter"}, "client_certificate"),
        ({"client_certificate": {}}, "client_certificate.certificate"),
        ({"client_certificate": {"certificate": "hunter"}}, "client_certificate.private_key"),
        ({"client_certificate": {**CERTIFICATE, "passphrase": "hunter"}}, "client_certificate.passphrase"),
        ({"client_certificate": {**CERTIFICATE, "private_key": ["hunter"]}}, "client_certificate.private_key"),
        ({"client_certificate": {**CERTIFICATE, "private_key": "hunter" * 2000}}, "client_certificate.private_key"),
        ({"client_certificate": {**CERTIFICATE, "certificate": "hunter" * 6000}}, "client_certificate.certificate"),
        ({"client_certificate": {**CERTIFICATE, "certificate": ""}}, "client_certificate.certificate"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_value_of_another_kind_is_refused_by_its_field_and_not_repeated(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], field: str
) -> None:
    path = await create(client)
    calls = [client.post(SUBSCRIPTIONS, json=BODY | body), client.put(path, json=BODY | body)]
    if "signature_scheme" in body:
        calls.append(client.post(f"{path}/rotate-secret", json=body))
    for call in calls:
        refused = await call
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["field"] == field
        assert "hunter" not in refused.text
    assert len(services.requests) == 1


async def test_name_and_metadata_go_through_both_ways(client: httpx.AsyncClient) -> None:
    labels: dict[str, Any] = {"name": "shop-1", "metadata": {"team": "sales", "a/b": "=&"}}
    path = await create(client, **labels)
    for answer in (await client.get(path), await client.put(path, json=BODY | labels)):
        assert {name: answer.json()[name] for name in labels} == labels
    back = (await client.put(path, json=BODY | {"name": None, "metadata": None})).json()
    assert (back["name"], back["metadata"]) == (None, {})


async def test_a_list_is_filtered_by_name_and_by_pairs_of_metadata(
    client: httpx.AsyncClient, services: Services
) -> None:
    query = {"name": "shop-1", "metadata": ["team=sales", "note=a=b"]}
    assert (await client.get(SUBSCRIPTIONS, params=query)).status_code == 200
    request = services.requests[-1]
    assert (request.name, dict(request.metadata)) == ("shop-1", {"team": "sales", "note": "a=b"})
    assert (await client.get(SUBSCRIPTIONS)).status_code == 200
    assert not services.requests[-1].ListFields()[2:], "nothing but the page and the tenant"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"name": "Shop 1"}, "name"),
        ({"metadata": "team"}, "metadata"),
        ({"metadata": "=sales"}, "metadata"),
        ({"metadata": "team="}, "metadata"),
        ({"metadata": ["team=sales", "team=other"]}, "metadata"),
    ],
    ids=str,
)
async def test_a_wrong_filter_is_named(
    client: httpx.AsyncClient, services: Services, query: dict[str, Any], field: str
) -> None:
    answer = await client.get(SUBSCRIPTIONS, params=query)
    assert (answer.status_code, [found["field"] for found in answer.json()["errors"]]) == (422, [field])
    assert services.requests == []


async def test_paths_of_tags_are_passed_on_and_shown(client: httpx.AsyncClient, services: Services) -> None:
    path = await create(client, tag_paths={"order": "/data/a~1b"})
    assert dict(services.requests[-1].spec.tag_paths) == {"order": "/data/a~1b"}
    assert (await client.get(path)).json()["tag_paths"] == {"order": "/data/a~1b"}
    for wrong in ("data", "", "/a~", "/a" * 11, "/" + "a" * 255, 1):
        answer = await client.post(SUBSCRIPTIONS, json=BODY | {"tag_paths": {"order": wrong}})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "tag_paths.order")
