"""Tenants are isolated, over REST and over gRPC."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from dev.harness import keys
from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.gateway.web.routing import least_role
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.e2e.access.conftest import Channels
from tests.platform.auth.test_auth import methods

URL = "https://example.com/hook"


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant with a key of the role write."""

    id: str
    key: str


@pytest.fixture
async def acme(admin: Admin) -> Tenant:
    tenant_id = await admin.tenant(f"acme-{ids.new().hex}")
    return Tenant(id=tenant_id, key=await admin.key(tenant_id))


@pytest.fixture
async def other(admin: Admin) -> Tenant:
    tenant_id = await admin.tenant(f"other-{ids.new().hex}")
    return Tenant(id=tenant_id, key=await admin.key(tenant_id))


async def test_objects_of_other_tenants_are_404_on_every_route_and_absent_from_lists(
    keyed: Stack, http: httpx.AsyncClient, acme: Tenant, other: Tenant, receiver: Receiver
) -> None:
    async with (
        httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(acme.key), timeout=60) as acmes,
        httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(other.key), timeout=60) as others,
    ):
        api = Api(acmes)
        subscription_id = await api.subscribe(receiver.url(), event_types=["order.*"])
        others_own = await Api(others).subscribe(URL, event_types=["nothing"])
        sent = await api.send(subscription_id)
        delivery_id = sent.json()["delivery_id"]
        await api.until(delivery_id, "delivered")
        window = {"from": "2020-01-01T00:00:00Z"}
        job = await acmes.post("/api/v1/jobs", json={"kind": "retry", "filter": window})
        assert job.status_code == 202, job.text
        link = await acmes.post("/api/v1/portal-links", json={"capabilities": ["view"]})
        event_type = await acmes.post("/api/v1/event-types", json={"name": "order.made", "schema": {}})
        object_ids = {
            "event_type_id": event_type.json()["id"],
            "number": 1,
            "link_id": link.json()["id"],
            "job_id": job.json()["id"],
            "subscription_id": subscription_id,
            "delivery_id": delivery_id,
            "event_id": sent.json()["event_id"],
        }
        lease = {"delivery_id": delivery_id, "lease_token": str(ids.new())}
        document = (await http.get("/openapi.json")).json()
        walked = set()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                name = operation["operationId"]
                if "{" not in path or least_role(name) in {None, "admin"}:
                    continue
                walked.add(name)
                bodies: dict[str, Any] = {
                    "replace_subscription": {"target_url": URL},
                    "update_subscription": {},
                    "recover_subscription": window,
                    "ingest_webhook": {"payload": {}},
                    "pull_deliveries": {},
                    "update_event_type": {"description": "other"},
                    "create_event_type_version": {"schema": {}},
                    "check_event_type_version": {"schema": {}},
                    "update_event_type_version": {"description": "other"},
                    "report_pull_results": {"results": [{**lease, "outcome": "success"}]},
                }
                where = path.format_map(object_ids)
                answer = await others.request(method, where, json=bodies.get(name))
                assert answer.status_code == 404, (name, answer.text)
                assert answer.json()["reason"] == "NOT_FOUND"
                if method == "get":
                    # It exists, so this is no surprise.
                    assert (await acmes.get(where)).status_code == 200, name
        assert len(walked) >= 15

        listed = (await others.get("/api/v1/subscriptions", params={"limit": 200})).json()["items"]
        assert [found["id"] for found in listed] == [others_own]
        exported = [(await one.get("/api/v1/catalog")).json()["webhooks"] for one in (acmes, others)]
        assert [list(webhooks) for webhooks in exported] == [["order.made"], []]
        published = await others.post("/api/v1/events", json={"event_type": "order.paid", "payload": {}})
        assert published.json()["deliveries"] == 0

        async def counted() -> bool:
            return bool((await acmes.get("/api/v1/stats")).json()["attempts"] == 1)

        await wait_until(counted)
        assert (await others.get("/api/v1/stats")).json()["attempts"] == 0
        assert (await others.get("/api/v1/stats/series")).json()["total"]["summary"]["attempts"] == 0
        foreign = {"subscription_id": subscription_id}
        assert (await others.get("/api/v1/stats/series", params=foreign)).status_code == 404
        assert (await acmes.get("/api/v1/stats/series", params=foreign)).status_code == 200


async def test_tenant_cannot_be_selected_by_a_header_or_parameter(
    http: httpx.AsyncClient, acme: Tenant, other: Tenant
) -> None:
    made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(acme.key))
    path = f"/api/v1/subscriptions/{made.json()['id']}"
    refused = await http.get(path, headers=bearer(other.key) | {"X-Tenant": acme.id})
    assert (refused.status_code, refused.json()["reason"]) == (403, "TENANT_FORBIDDEN")
    assert [error["field"] for error in refused.json()["errors"]] == ["X-Tenant"]
    # A key may name its own tenant.
    assert (await http.get(path, headers=bearer(acme.key) | {"X-Tenant": acme.id})).status_code == 200
    for name in ("X-Tenant-Id", "Tenant-Id", "X-Webhook-Tenant"):
        assert (await http.get(path, headers=bearer(other.key) | {name: acme.id})).status_code == 404
    assert (await http.get(path, params={"tenant_id": acme.id}, headers=bearer(other.key))).status_code in {404, 422}
    body = {"target_url": URL, "tenant_id": acme.id}
    assert (await http.post("/api/v1/subscriptions", json=body, headers=bearer(other.key))).status_code == 422


async def test_an_admin_who_names_no_tenant_sees_no_objects_of_another(http: httpx.AsyncClient, acme: Tenant) -> None:
    made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(acme.key))
    path = f"/api/v1/subscriptions/{made.json()['id']}"
    assert (await http.get(path, headers=bearer(ADMIN_KEY))).status_code == 404


def stating() -> Iterator[MethodDescriptor]:
    """The methods whose requests have the tenant that they act for; those of operators' services name others."""
    for method in methods():
        operators = method.containing_service.name in {"AccessService", "AuditService"}
        if "tenant_id" in method.input_type.fields_by_name and not operators:
            yield method


async def _refusal(channel: grpc.aio.Channel, method: str, key: str, request: Any) -> errors.WebhookError | None:
    try:
        call: Any = channel.unary_stream(method)  # which gets a single response, too
        async for _ in call(request.SerializeToString(), metadata=keys.metadata(key), timeout=keys.CALL_SECONDS):
            pass
    except grpc.aio.AioRpcError as error:
        return grpc_errors.from_rpc_error(error)
    return None


async def test_grpc_methods_reject_keys_of_another_tenant(channels: Channels, acme: Tenant, other: Tenant) -> None:
    assert len(list(stating())) >= 14
    for method in stating():
        name = method.containing_service.full_name
        request: Any = message_factory.GetMessageClass(method.input_type)(tenant_id=acme.id)
        for field in ("subscription_id", "event_id", "delivery_id", "webhook_id"):
            if field in request.DESCRIPTOR.fields_by_name:
                setattr(request, field, str(ids.new()))
                break
        if "target_url" in request.DESCRIPTOR.fields_by_name:
            request.target_url = URL
        refused = await _refusal(channels[name], f"/{name}/{method.name}", other.key, request)
        assert isinstance(refused, errors.PermissionDenied), method.full_name
        assert refused.reason == "TENANT_FORBIDDEN"
        assert [violation.field for violation in refused.violations] == ["tenant_id"]
        # A key may always name its own tenant.
        refused = await _refusal(channels[name], f"/{name}/{method.name}", acme.key, request)
        assert not isinstance(refused, errors.PermissionDenied), method.full_name


async def test_an_item_of_another_tenant_is_refused_alone(
    keyed: Stack, channels: Channels, acme: Tenant, other: Tenant
) -> None:
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(acme.key), timeout=60) as http:
        subscription_id = await Api(http).subscribe(URL)
    stub: Any = ingest_pb2_grpc.IngestServiceStub(channels["webhook.v1.IngestService"])

    def item(tenant_id: str) -> ingest_pb2.IngestItem:
        return ingest_pb2.IngestItem(tenant_id=tenant_id, subscription_id=subscription_id, payload=b"{}")

    async def batch(key: str, *tenant_ids: str) -> list[tuple[str, str, int]]:
        request = ingest_pb2.BatchIngestRequest(items=[item(tenant_id) for tenant_id in tenant_ids])
        answer = await stub.BatchIngest(request, metadata=keys.metadata(key), timeout=keys.CALL_SECONDS)
        return [(result.WhichOneof("outcome"), result.error.reason, result.error.code) for result in answer.results]

    accepted, denied = ("accepted", "", 0), ("error", "TENANT_FORBIDDEN", grpc.StatusCode.PERMISSION_DENIED.value[0])
    missing = ("error", "NOT_FOUND", grpc.StatusCode.NOT_FOUND.value[0])
    assert await batch(acme.key, acme.id, other.id, "", "default") == [accepted, denied, accepted, denied]
    # The subscription does not exist for the other tenant, whatever is named.
    assert await batch(other.key, acme.id, other.id, "") == [denied, missing, missing]
    assert await batch(SERVICE_KEY, acme.id, other.id, "") == [accepted, missing, missing]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Ingest(
            ingest_pb2.IngestRequest(item=item(acme.id)), metadata=keys.metadata(other.key), timeout=keys.CALL_SECONDS
        )
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_event_for_a_tenant_that_does_not_exist_is_refused(channels: Channels) -> None:
    stub: Any = ingest_pb2_grpc.IngestServiceStub(channels["webhook.v1.IngestService"])
    item = ingest_pb2.IngestItem(
        tenant_id="nobody-of-this-name", fan_out=ingest_pb2.FanOut(), event_type="a", payload=b"{}"
    )
    request = ingest_pb2.BatchIngestRequest(items=[item])
    answer = await stub.BatchIngest(request, metadata=keys.metadata(SERVICE_KEY), timeout=keys.CALL_SECONDS)
    (result,) = answer.results
    assert (result.error.code, result.error.field) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "tenant_id")


async def test_a_tenant_is_deleted_once_it_has_nothing_to_do_and_its_keys_with_it(
    http: httpx.AsyncClient, admin: Admin, acme: Tenant
) -> None:
    operator, path = bearer(ADMIN_KEY), f"/api/v1/admin/tenants/{acme.id}"
    made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(acme.key))
    subscription = f"/api/v1/subscriptions/{made.json()['id']}"
    refused = await http.delete(path, headers=operator)
    assert (refused.status_code, refused.json()["reason"]) == (409, "TENANT_IN_USE")
    assert (await http.delete(subscription, headers=bearer(acme.key))).status_code == 204
    assert (await http.delete(path, headers=operator)).status_code == 204
    assert (await http.delete(path, headers=operator)).status_code == 404

    async def refused_too() -> bool:
        return (await http.get("/api/v1/stats", headers=bearer(acme.key))).status_code == 401

    await wait_until(refused_too)
    listed = (await http.get("/api/v1/admin/tenants", params={"limit": 200}, headers=operator)).json()["items"]
    assert acme.id not in [tenant["id"] for tenant in listed]
    again = await http.post("/api/v1/admin/tenants", json={"id": acme.id}, headers=operator)
    assert (again.status_code, again.json()["reason"]) == (409, "TENANT_EXISTS")
    body = {"tenant_id": acme.id, "name": "late", "role": "read"}
    late = await http.post("/api/v1/admin/api-keys", json=body, headers=operator)
    assert (late.status_code, late.json()["errors"][0]["field"]) == (422, "tenant_id")


async def test_the_default_tenant_cannot_be_deleted(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/api/v1/admin/tenants/default", headers=bearer(ADMIN_KEY))
    assert (answer.status_code, answer.json()["reason"]) == (409, "TENANT_IS_DEFAULT")


async def test_a_tenant_is_not_deleted_under_a_subscription_that_is_being_made(
    http: httpx.AsyncClient, channels: Channels, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    key = await admin.key(a_name)
    made, deleted = await asyncio.gather(
        http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(key)),
        http.delete(f"/api/v1/admin/tenants/{a_name}", headers=bearer(ADMIN_KEY)),
    )
    assert (made.status_code, deleted.status_code) in {(201, 409), (422, 204), (401, 204)}


async def test_tenants_come_in_pages_by_id(http: httpx.AsyncClient, admin: Admin) -> None:
    for name in ("page-c", "page-a", "page-b"):
        await admin.tenant(name)
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (
            await http.get("/api/v1/admin/tenants", params={"limit": 2, "cursor": cursor}, headers=bearer(ADMIN_KEY))
        ).json()
        assert len(page["items"]) <= 2
        found += [tenant["id"] for tenant in page["items"]]
        cursor = page["next_cursor"]
    assert found == sorted(set(found))
    assert {"default", "page-a", "page-b", "page-c"} <= set(found)


@pytest.mark.parametrize("cursor", ["AA", "!", "x" * 200, "8J-YgA"])
@pytest.mark.parametrize("path", ["tenants", "api-keys"])
async def test_a_cursor_that_was_not_made_here_is_422(http: httpx.AsyncClient, path: str, cursor: str) -> None:
    answer = await http.get(f"/api/v1/admin/{path}", params={"cursor": cursor}, headers=bearer(ADMIN_KEY))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


async def test_calls_of_a_tenant_that_wait_for_a_lock_delay_no_other_tenant(
    keyed: Stack, admin: Admin, acme: Tenant, other: Tenant, receiver: Receiver
) -> None:
    """Not the look-up of a key that was never used before, no event, and no other request."""
    unused = [await admin.key(acme.id) for _ in range(10)]
    async with (
        httpx.AsyncClient(
            base_url=keyed.base_url, headers=bearer(other.key), timeout=60, limits=httpx.Limits(max_connections=None)
        ) as others,
        httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(acme.key), timeout=60) as acmes,
    ):
        own = await Api(acmes).subscribe(receiver.url())
        locked = await Api(others).subscribe(URL)
        connection = await asyncpg.connect(keyed.ports["database_url"])
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", UUID(locked))
                path = f"/api/v1/subscriptions/{locked}"
                changes = [
                    asyncio.create_task(others.patch(path, json={"description": str(number)})) for number in range(200)
                ]
                for key in unused:
                    await asyncio.sleep(0.1)
                    acmes.headers.update(bearer(key))
                    assert (await Api(acmes).send(own)).status_code == 202
                    assert (await acmes.get(f"/api/v1/subscriptions/{own}")).status_code == 200
                refused = {answer.status_code for answer in await asyncio.gather(*changes)}
        finally:
            await connection.close()
        assert refused == {429, 503}
