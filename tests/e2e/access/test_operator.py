"""An operator, whose key has the role admin, acts in any tenant."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import httpx
import pytest

from dev.harness import keys
from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2, deliveries_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.e2e.access.conftest import Channels

URL = "https://example.com/hook"
LISTS = (
    "/api/v1/subscriptions",
    "/api/v1/stats",
    "/api/v1/stats/series",
    "/api/v1/stats/refusals",
    "/api/v1/admin/api-keys",
    "/api/v1/admin/audit",
)


@pytest.fixture
async def acme(keyed: Stack, admin: Admin, a_name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A tenant, with its own key of the role write."""
    await admin.tenant(a_name)
    headers = bearer(await admin.key(a_name))
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
async def operator(keyed: Stack, admin: Admin) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """An operator of another tenant, and the id of its key."""
    made = await admin.created(role="admin", name="Ada")
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(made["key"]), timeout=60) as client:
        yield client, made["id"]


async def entries(http: httpx.AsyncClient, **filters: str) -> list[dict[str, Any]]:
    parameters: Mapping[str, Any] = {"limit": 200, **filters}
    answer = await http.get("/api/v1/admin/audit", params=parameters, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_an_operator_manages_a_tenants_deliveries_and_the_audit_log_shows_it(
    http: httpx.AsyncClient,
    acme: httpx.AsyncClient,
    operator: tuple[httpx.AsyncClient, str],
    receiver: Receiver,
    a_name: str,
) -> None:
    ada, key_id = operator
    subscription_id = await Api(acme).subscribe(receiver.url())
    delivery_id = await Api(acme).sent(subscription_id)
    await Api(acme).until(delivery_id, "delivered")
    path = f"/api/v1/webhooks/deliveries/{delivery_id}"
    assert (await ada.get(path)).status_code == 404

    inside = {"X-Tenant": a_name}
    for _ in range(3):
        found = await ada.get(path, headers=inside)
    assert (found.status_code, found.json()["tenant_id"]) == (200, a_name)
    assert (await ada.post(f"{path}/retry", headers=inside)).status_code == 200
    assert (await ada.post(f"/api/v1/subscriptions/{subscription_id}/pause", headers=inside)).status_code == 200
    made = await ada.post("/api/v1/subscriptions", json={"target_url": URL}, headers=inside)
    assert (made.status_code, made.json()["tenant_id"]) == (201, a_name)

    log = await entries(http, actor=key_id)
    assert {entry["tenant_id"] for entry in log} == {a_name}
    assert {(entry["actor_name"], entry["actor_role"], entry["actor_tenant_id"]) for entry in log} == {
        ("Ada", "admin", "default")
    }
    # Repeated reads within a minute are one entry.
    assert sorted(entry["action"] for entry in log) == [
        "delivery.retry",
        "subscription.create",
        "subscription.pause",
        "tenant.enter",
    ]
    (entered,) = [entry for entry in log if entry["action"] == "tenant.enter"]
    assert (entered["resource_type"], entered["resource_id"]) == ("tenant", a_name)
    assert entered["changes"] == [{"field": "method", "after": "DeliveryService.GetDelivery"}]


async def test_an_operator_sends_events_in_for_a_tenant(
    http: httpx.AsyncClient,
    acme: httpx.AsyncClient,
    operator: tuple[httpx.AsyncClient, str],
    receiver: Receiver,
    a_name: str,
) -> None:
    ada, key_id = operator
    subscription_id = await Api(acme).subscribe(receiver.url())
    inside = {"X-Tenant": a_name}
    path = f"/api/v1/webhooks/ingest/{subscription_id}"
    assert (await ada.post(path, json={"payload": {}})).status_code == 404
    sent = await ada.post(path, json={"payload": {}}, headers=inside)
    assert sent.status_code == 202, sent.text
    await Api(acme).until(sent.json()["delivery_id"], "delivered")
    published = await ada.post("/api/v1/events", json={"event_type": "a", "payload": {}}, headers=inside)
    assert (published.status_code, published.json()["deliveries"]) == (202, 1)
    (entry,) = await entries(http, actor=key_id)
    assert (entry["action"], entry["tenant_id"]) == ("tenant.enter", a_name)
    assert entry["changes"] == [{"field": "method", "after": "IngestService.Ingest"}]


async def test_lists_hold_the_objects_of_all_tenants_each_with_its_tenant(
    http: httpx.AsyncClient,
    acme: httpx.AsyncClient,
    operator: tuple[httpx.AsyncClient, str],
    receiver: Receiver,
    a_name: str,
) -> None:
    ada, key_id = operator
    theirs = await Api(acme).subscribe(receiver.url())
    own = await Api(ada).subscribe(URL)
    sent = (await Api(acme).send(theirs)).json()
    await Api(acme).until(sent["delivery_id"], "delivered")

    everything: Mapping[str, str | int] = {"tenant": "*", "limit": 2}
    listed = (await ada.get("/api/v1/subscriptions", params=everything)).json()["items"]
    assert [(found["id"], found["tenant_id"]) for found in listed] == [(own, "default"), (theirs, a_name)]
    for parent in (f"subscriptions/{theirs}", f"events/{sent['event_id']}"):
        assert (await ada.get(f"/api/v1/{parent}/deliveries")).status_code == 404
        page = (await ada.get(f"/api/v1/{parent}/deliveries", params=everything)).json()["items"]
        assert [(found["id"], found["tenant_id"]) for found in page] == [(sent["delivery_id"], a_name)]

    async def counted() -> bool:
        of_all = (await ada.get("/api/v1/stats", params={"tenant": "*"})).json()["attempts"]
        of_one = (await ada.get("/api/v1/stats", headers={"X-Tenant": a_name})).json()["attempts"]
        path = f"/api/v1/subscriptions/{theirs}/stats"
        return bool((await ada.get(path, params={"tenant": "*"})).json()["attempts"] == 1 == of_one <= of_all)

    await wait_until(counted)
    for path in LISTS:
        assert (await ada.get(path, params={"tenant": "*"})).status_code == 200, path
    log = await entries(http, actor=key_id, action="tenant.enter", resource_type="tenant")
    everywhere = [entry["changes"][0]["after"] for entry in log if entry["tenant_id"] == "*"]
    assert sorted(everywhere) == [
        "AnalyticsService.GetRefusals",
        "AnalyticsService.GetStats",
        "AnalyticsService.GetStatsSeries",
        "DeliveryService.ListDeliveries",
        "SubscriptionService.ListSubscriptions",
    ]


async def test_lists_of_operators_are_narrowed_by_the_header(
    acme: httpx.AsyncClient, operator: tuple[httpx.AsyncClient, str], a_name: str
) -> None:
    ada, _ = operator
    assert acme.headers
    for path in ("/api/v1/admin/api-keys", "/api/v1/admin/audit"):
        items = (await ada.get(path, headers={"X-Tenant": a_name})).json()["items"]
        assert {found["tenant_id"] for found in items} == {a_name}, path
        assert len({found["tenant_id"] for found in (await ada.get(path, params={"tenant": "*"})).json()["items"]}) > 1
    made = await ada.post("/api/v1/admin/api-keys", json={"name": "n", "role": "read"}, headers={"X-Tenant": a_name})
    assert (made.status_code, made.json()["tenant_id"]) == (201, a_name)
    both = {"name": "n", "role": "read", "tenant_id": "default"}
    refused = await ada.post("/api/v1/admin/api-keys", json=both, headers={"X-Tenant": a_name})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "tenant_id")


async def test_roles_other_than_admin_cannot_act_in_another_tenant(
    http: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    for role in ("write", "read"):
        headers = bearer(await admin.key(role=role))
        refused = await http.get("/api/v1/subscriptions", headers=headers | {"X-Tenant": a_name})
        assert (refused.status_code, refused.json()["reason"]) == (403, "TENANT_FORBIDDEN")
        assert [error["field"] for error in refused.json()["errors"]] == ["X-Tenant"]
        assert (await http.get("/api/v1/subscriptions", headers=headers | {"X-Tenant": "default"})).status_code == 200
        for path in LISTS[:2]:
            refused = await http.get(path, params={"tenant": "*"}, headers=headers)
            assert (refused.status_code, refused.json()["reason"]) == (403, "TENANT_FORBIDDEN")
            assert [error["field"] for error in refused.json()["errors"]] == ["tenant"]
    ingest = bearer(await admin.key(role="ingest"))
    event = {"event_type": "a", "payload": {}}
    refused = await http.post("/api/v1/events", json=event, headers=ingest | {"X-Tenant": a_name})
    assert (refused.status_code, refused.json()["reason"]) == (403, "TENANT_FORBIDDEN")


@pytest.mark.parametrize("stated", ["nobody-of-this-name", "No Tenant", "*", ""])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/subscriptions", None),
        ("POST", "/api/v1/subscriptions", {"target_url": URL}),
        ("GET", "/api/v1/stats", None),
        ("POST", "/api/v1/events", {"event_type": "a", "payload": {}}),
        ("GET", f"/api/v1/webhooks/deliveries/{ids.new()}", None),
        ("POST", f"/api/v1/webhooks/deliveries/{ids.new()}/retry", None),
        ("POST", "/api/v1/admin/api-keys", {"name": "n", "role": "read"}),
    ],
)
async def test_a_tenant_that_does_not_exist_is_422_and_names_the_header(
    http: httpx.AsyncClient, method: str, path: str, body: Any, stated: str
) -> None:
    answer = await http.request(method, path, json=body, headers=bearer(ADMIN_KEY) | {"X-Tenant": stated})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["X-Tenant"]


async def test_the_header_is_allowed_once_and_not_beside_all_tenants(http: httpx.AsyncClient) -> None:
    twice = [*bearer(ADMIN_KEY).items(), ("X-Tenant", "default"), ("X-Tenant", "acme")]
    answer = await http.get("/api/v1/subscriptions", headers=twice)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "X-Tenant")
    headers = bearer(ADMIN_KEY) | {"X-Tenant": "default"}
    answer = await http.get("/api/v1/subscriptions", params={"tenant": "*"}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "tenant")
    answer = await http.get("/api/v1/subscriptions", params={"tenant": "acme"}, headers=bearer(ADMIN_KEY))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "tenant")


async def test_operator_names_the_tenant_in_the_request_over_grpc(
    http: httpx.AsyncClient,
    acme: httpx.AsyncClient,
    operator: tuple[httpx.AsyncClient, str],
    admin: Admin,
    channels: Channels,
    a_name: str,
) -> None:
    made = await admin.created(role="admin")
    subscription_id = await Api(acme).subscribe(URL)
    stub: Any = deliveries_pb2_grpc.DeliveryServiceStub(channels["webhook.v1.DeliveryService"])
    metadata = keys.metadata(made["key"])

    async def listed(tenant_id: str) -> errors.WebhookError | None:
        request = deliveries_pb2.ListDeliveriesRequest(tenant_id=tenant_id, subscription_id=subscription_id)
        try:
            await stub.ListDeliveries(request, metadata=metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            return grpc_errors.from_rpc_error(error)
        return None

    assert await listed(a_name) is None
    assert await listed("*") is None
    assert isinstance(await listed(""), errors.NotFound)
    unknown = await listed("nobody-of-this-name")
    assert isinstance(unknown, errors.InvalidArgument)
    assert [violation.field for violation in unknown.violations] == ["tenant_id"]
    # A batch, item by item.
    ingest: Any = ingest_pb2_grpc.IngestServiceStub(channels["webhook.v1.IngestService"])
    item = ingest_pb2.IngestItem(tenant_id=a_name, subscription_id=subscription_id, payload=b"{}")
    answer = await ingest.BatchIngest(ingest_pb2.BatchIngestRequest(items=[item]), metadata=metadata, timeout=60)
    assert answer.results[0].HasField("accepted")
    log = await entries(http, actor=made["id"])
    assert sorted((entry["tenant_id"], entry["changes"][0]["after"]) for entry in log) == [
        ("*", "DeliveryService.ListDeliveries"),
        (a_name, "DeliveryService.ListDeliveries"),
        (a_name, "IngestService.BatchIngest"),
    ]


async def test_callers_act_in_any_tenant_where_no_key_is_required(stack: Stack, a_name: str) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        inside = {"X-Tenant": a_name}
        assert (await http.get("/api/v1/subscriptions", headers=inside)).status_code == 422
        assert (await http.post("/api/v1/admin/tenants", json={"id": a_name})).status_code == 201
        made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=inside)
        assert (made.status_code, made.json()["tenant_id"]) == (201, a_name)
        path = f"/api/v1/webhooks/ingest/{made.json()['id']}"
        assert (await http.post(path, json={"payload": {}}, headers=inside)).status_code == 202
        assert (await http.get("/api/v1/subscriptions", params={"tenant": "*"})).status_code == 200
        log = (await http.get("/api/v1/admin/audit", headers=inside)).json()["items"]
        assert [(entry["actor"], entry["action"]) for entry in log] == [
            ("anonymous", "tenant.enter"),
            ("anonymous", "subscription.create"),
            ("anonymous", "tenant.create"),
        ]
