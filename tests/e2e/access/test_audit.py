"""Every change adds one audit entry that names the key; a request that changes nothing adds none."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import httpx
import pytest

from dev.harness import keys
from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from protos.webhook.v1 import (
    subscriptions_pb2,
    subscriptions_pb2_grpc,
)
from services.domain.notices.audit import Action
from services.gateway.web import routing
from services.platform import ids
from tests.e2e.access.conftest import Channels
from tests.platform.auth.test_auth import methods

# Operations over REST or gRPC that change something without an entry, and why.
TAKES_EVENTS_IN = "what is taken in is its own record"
DELIVERS = "makes attempts of deliveries, as workers do"
EXEMPT: Mapping[str, str] = {
    "ingest_webhook": TAKES_EVENTS_IN,
    "ingest_webhook_with_token": TAKES_EVENTS_IN,
    "publish_event": TAKES_EVENTS_IN,
    "publish_events": TAKES_EVENTS_IN,
    "publish_cloudevents": TAKES_EVENTS_IN,
    "verify_subscription": "changes nothing while targets are not checked",
    "pull_deliveries": DELIVERS,
    "report_pull_results": DELIVERS,
    "webhook.v1.DeliveryService.PullDeliveries": DELIVERS,
    "webhook.v1.DeliveryService.Pull": DELIVERS,
    "webhook.v1.DeliveryService.Report": DELIVERS,
    "webhook.v1.IngestService.Ingest": TAKES_EVENTS_IN,
    "webhook.v1.IngestService.BatchIngest": TAKES_EVENTS_IN,
    "webhook.v1.DeliveryService.RetryDelivery": "a batch of one",
    "webhook.v1.JobService.PreviewJob": "changes nothing",
    "check_event_type_version": "changes nothing",
    "webhook.v1.CatalogService.ExportCatalog": "changes nothing",
    "webhook.v1.CatalogService.CheckEventTypeVersion": "changes nothing",
    "webhook.v1.AccessService.Authenticate": "changes nothing",
    "webhook.v1.AccessService.CreateSession": "test_sessions.py: a browser signs in at /console/session",
    "webhook.v1.AccessService.DescribeSignIn": "changes nothing",
    "webhook.v1.AccessService.BeginSignIn": "changes nothing",
    "webhook.v1.AccessService.CompleteSignIn": "test_oidc.py: a browser comes back from the issuer",
    "webhook.v1.AccessService.EndSession": "as above: it signs out",
    "webhook.v1.AccessService.ExchangePortalLink": "test_portal_links.py: the customer who opens the link does it",
    "webhook.v1.SubscriptionService.CheckIngestToken": "changes nothing",
    "webhook.v1.SubscriptionService.PreviewTemplate": "changes nothing",
    "webhook.v1.AnalyticsService.AddRefusals": "counts what changed nothing",
    "webhook.v1.SystemService.NoteProcess": "says only that a process of the service is there",
    "preview_template": "changes nothing",
    "webhook.v1.IngestService.CheckFilter": "changes nothing",
    "check_filter": "changes nothing",
}
READS = ("Get", "List", "Search", "Stream", "Summarize", "Watch")
URL = "https://example.com/hook/path-of-a-credential?token=query-of-a-credential"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Actor:
    """A key of a new tenant, over REST."""

    http: httpx.AsyncClient
    tenant_id: str
    key_id: str
    key: str
    # For a subscription's deliveries.
    receiver: Receiver

    @property
    def api(self) -> Api:
        return Api(self.http)

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer

    async def delivery(self) -> str:
        """Return a waiting delivery."""
        subscription_id = await self.api.subscribe(URL)
        await self.call("POST", f"/api/v1/subscriptions/{subscription_id}/pause")
        return await self.api.sent(subscription_id)


@pytest.fixture
async def actor(keyed: Stack, admin: Admin, a_name: str, receiver: Receiver) -> AsyncIterator[Actor]:
    tenant_id = await admin.tenant(a_name)
    made = await admin.created(tenant_id=tenant_id, role="admin", name="Ada")
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(made["key"]), timeout=60) as http:
        yield Actor(http=http, tenant_id=tenant_id, key_id=made["id"], key=made["key"], receiver=receiver)


async def listed(http: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    """Return all matching entries, newest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        parameters = {**filters, "limit": 200, "cursor": cursor}
        answer = await http.get("/api/v1/admin/audit", params=parameters, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"] or ""
        if not cursor:
            return found


# Functions that prepare a change, and return the path of its request and its body.
Prepared = tuple[str, str, Any]
Prepare = Callable[[Actor], Awaitable[Prepared]]


def _on_subscription(method: str, rest: str = "", body: Any = None, *first: str) -> Prepare:
    async def prepare(actor: Actor) -> Prepared:
        path = f"/api/v1/subscriptions/{await actor.api.subscribe(URL)}"
        for step in first:
            await actor.call("POST", path + step)
        return method, path + rest, body

    return prepare


def _at(method: str, path: str, body: Callable[[], Any]) -> Prepare:
    async def prepare(_actor: Actor) -> Prepared:
        return method, path, body()

    return prepare


def _on_delivery(rest: str, under: str = "") -> Prepare:
    async def prepare(actor: Actor) -> Prepared:
        return "POST", f"/api/v1/{under}deliveries/{await actor.delivery()}{rest}", None

    return prepare


async def _test(actor: Actor) -> Prepared:
    return "POST", f"/api/v1/subscriptions/{await actor.api.subscribe(actor.receiver.url())}/test", None


async def _test_new(actor: Actor) -> Prepared:
    return "POST", "/api/v1/subscriptions/test", {"target_url": actor.receiver.url("/hidden")}


async def _cancel_event(actor: Actor) -> Prepared:
    body = {"event_type": "order.created", "payload": {}, "delay_seconds": 3600}
    event_id = (await actor.call("POST", "/api/v1/events", body)).json()["event_id"]
    return "POST", f"/api/v1/events/{event_id}/cancel", None


def _on_job(rest: str, *first: str) -> Prepare:
    async def prepare(actor: Actor) -> Prepared:
        """Return a request about a job that takes half a minute."""
        subscription_id = await actor.api.subscribe(URL)
        await actor.call("POST", f"/api/v1/subscriptions/{subscription_id}/pause")
        for _ in range(30):
            await actor.api.sent(subscription_id)
        wanted = {"kind": "cancel", "filter": {"subscription_id": [subscription_id]}, "rate_per_second": 1}
        path = f"/api/v1/jobs/{(await actor.call('POST', '/api/v1/jobs', wanted)).json()['id']}"
        for step in first:
            await actor.call("POST", path + step)
        return "POST", path + rest, None

    return prepare


def _retry_everything() -> Any:
    return {"kind": "retry", "filter": {"from": "2020-01-01T00:00:00Z"}}


def _catalog() -> Any:
    body: dict[str, Any] = {"content": {"application/json": {"schema": {}}}}
    return {"document": {"openapi": "3.1.0", "webhooks": {"order.imported": {"post": {"requestBody": body}}}}}


def _on_event_type(method: str, rest: str = "", body: Any = None) -> Prepare:
    async def prepare(actor: Actor) -> Prepared:
        wanted = {"name": f"t{ids.new().hex}", "schema": {}}
        made = (await actor.call("POST", "/api/v1/event-types", wanted)).json()["id"]
        return method, f"/api/v1/event-types/{made}{rest}", body

    return prepare


async def _delete_tenant(actor: Actor) -> Prepared:
    made = (await actor.call("POST", "/api/v1/admin/tenants", {"id": f"t{ids.new().hex}"})).json()["id"]
    return "DELETE", f"/api/v1/admin/tenants/{made}", None


async def _update_tenant(actor: Actor) -> Prepared:
    made = (await actor.call("POST", "/api/v1/admin/tenants", {"id": f"t{ids.new().hex}"})).json()["id"]
    return "PATCH", f"/api/v1/admin/tenants/{made}", {"quotas": {"subscriptions": 5}}


async def _revoke(actor: Actor) -> Prepared:
    made = (await actor.call("POST", "/api/v1/admin/api-keys", {"name": "another", "role": "read"})).json()["id"]
    return "DELETE", f"/api/v1/admin/api-keys/{made}", None


async def _revoke_link(actor: Actor) -> Prepared:
    made = (await actor.call("POST", "/api/v1/portal-links", {"capabilities": ["view"]})).json()["id"]
    return "DELETE", f"/api/v1/portal-links/{made}", None


async def _revoke_session(actor: Actor) -> Prepared:
    await actor.http.post("/console/session", json={"key": actor.key}, headers={"X-Webhook-Console": "1"})
    page = (await actor.call("GET", f"/api/v1/admin/sessions?tenant_id={actor.tenant_id}")).json()
    return "DELETE", f"/api/v1/admin/sessions/{page['items'][0]['id']}", None


REST: Mapping[str, tuple[Action, Prepare]] = {
    "create_subscription": (
        Action.CREATE_SUBSCRIPTION,
        _at("POST", "/api/v1/subscriptions", lambda: {"target_url": URL}),
    ),
    "replace_subscription": (Action.UPDATE_SUBSCRIPTION, _on_subscription("PUT", body={"target_url": URL})),
    "update_subscription": (Action.UPDATE_SUBSCRIPTION, _on_subscription("PATCH", body={"description": "new"})),
    "delete_subscription": (Action.DELETE_SUBSCRIPTION, _on_subscription("DELETE")),
    "disable_subscription": (Action.DISABLE_SUBSCRIPTION, _on_subscription("POST", "/disable")),
    "enable_subscription": (Action.ENABLE_SUBSCRIPTION, _on_subscription("POST", "/enable", None, "/disable")),
    "pause_subscription": (Action.PAUSE_SUBSCRIPTION, _on_subscription("POST", "/pause")),
    "resume_subscription": (Action.RESUME_SUBSCRIPTION, _on_subscription("POST", "/resume", None, "/pause")),
    "test_subscription": (Action.TEST_SUBSCRIPTION, _test),
    "test_new_subscription": (Action.TEST_NEW_SUBSCRIPTION, _test_new),
    "rotate_subscription_secret": (Action.ROTATE_SECRET, _on_subscription("POST", "/rotate-secret")),
    "create_ingest_token": (Action.CREATE_INGEST_TOKEN, _on_subscription("POST", "/ingest-token")),
    "delete_ingest_token": (
        Action.DELETE_INGEST_TOKEN,
        _on_subscription("DELETE", "/ingest-token", None, "/ingest-token"),
    ),
    "retry_delivery": (Action.RETRY_DELIVERY, _on_delivery("/retry")),
    "cancel_delivery": (Action.CANCEL_DELIVERY, _on_delivery("/cancel")),
    "retry_webhook_delivery": (Action.RETRY_DELIVERY, _on_delivery("/retry", "webhooks/")),
    "cancel_webhook_delivery": (Action.CANCEL_DELIVERY, _on_delivery("/cancel", "webhooks/")),
    "cancel_event": (Action.CANCEL_EVENT, _cancel_event),
    "create_job": (Action.CREATE_JOB, _at("POST", "/api/v1/jobs", _retry_everything)),
    "recover_subscription": (
        Action.CREATE_JOB,
        _on_subscription("POST", "/recover", {"from": "2020-01-01T00:00:00Z"}),
    ),
    "pause_job": (Action.PAUSE_JOB, _on_job("/pause")),
    "resume_job": (Action.RESUME_JOB, _on_job("/resume", "/pause")),
    "cancel_job": (Action.CANCEL_JOB, _on_job("/cancel")),
    "create_event_type": (
        Action.CREATE_EVENT_TYPE,
        _at("POST", "/api/v1/event-types", lambda: {"name": "order.made", "schema": {}}),
    ),
    "update_event_type": (Action.UPDATE_EVENT_TYPE, _on_event_type("PATCH", body={"validation": "warn"})),
    "delete_event_type": (Action.DELETE_EVENT_TYPE, _on_event_type("DELETE")),
    "create_event_type_version": (
        Action.CREATE_EVENT_TYPE_VERSION,
        _on_event_type("POST", "/versions", {"schema": {"type": "object"}}),
    ),
    "update_event_type_version": (
        Action.UPDATE_EVENT_TYPE_VERSION,
        _on_event_type("PATCH", "/versions/1", {"status": "deprecated"}),
    ),
    "import_catalog": (Action.CREATE_EVENT_TYPE, _at("POST", "/api/v1/catalog/import", _catalog)),
    "create_tenant": (
        Action.CREATE_TENANT,
        _at("POST", "/api/v1/admin/tenants", lambda: {"id": f"t{ids.new().hex}"}),
    ),
    "update_tenant": (Action.UPDATE_TENANT, _update_tenant),
    "delete_tenant": (Action.DELETE_TENANT, _delete_tenant),
    "create_api_key": (
        Action.CREATE_API_KEY,
        _at("POST", "/api/v1/admin/api-keys", lambda: {"name": "another", "role": "read"}),
    ),
    "revoke_api_key": (Action.REVOKE_API_KEY, _revoke),
    "revoke_session": (Action.REVOKE_SESSION, _revoke_session),
    "create_portal_link": (
        Action.CREATE_PORTAL_LINK,
        _at("POST", "/api/v1/portal-links", lambda: {"capabilities": ["view"]}),
    ),
    "revoke_portal_link": (Action.REVOKE_PORTAL_LINK, _revoke_link),
}


async def test_operations_that_change_something_are_all_checked(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    changing = {
        operation["operationId"]
        for operations in document["paths"].values()
        for method, operation in operations.items()
        if method != "get"
    }
    assert changing == set(REST) | {name for name in EXEMPT if "." not in name}


@pytest.mark.parametrize("operation", REST)
async def test_a_change_over_rest_leaves_one_entry(http: httpx.AsyncClient, actor: Actor, operation: str) -> None:
    action, prepare = REST[operation]
    method, path, body = await prepare(actor)
    before = {entry["id"] for entry in await listed(http, actor=actor.key_id)}

    answer = await actor.call(method, path, body)

    (entry,) = [entry for entry in await listed(http, actor=actor.key_id) if entry["id"] not in before]
    assert (entry["action"], entry["resource_type"]) == (action, action.resource_type)
    assert (entry["actor_name"], entry["actor_role"], entry["actor_tenant_id"]) == ("Ada", "admin", actor.tenant_id)
    named = (
        answer.json()["event_types"][0]["event_type_id"]
        if operation == "import_catalog"
        else answer.json()["id"]
        if operation.startswith(("create_", "recover_"))
        and operation not in {"create_ingest_token", "create_event_type_version"}
        else answer.json()["webhook_id"]
        if operation == "test_new_subscription"
        else None
    )
    assert entry["resource_id"] == (named or path.split("/")[5 if "/webhooks/" in path or "/admin/" in path else 4])
    assert entry["tenant_id"] == (entry["resource_id"] if action.resource_type == "tenant" else actor.tenant_id)
    assert abs(datetime.fromisoformat(entry["created_at"]) - datetime.now(UTC)) < timedelta(seconds=60)


def test_methods_that_change_something_are_all_checked_over_rest() -> None:
    changing = {method.full_name for method in methods() if not method.name.startswith(READS)}
    behind = {str(routing.method_of(operation)).lstrip("/").replace("/", ".") for operation in REST}
    assert changing == behind | {name for name in EXEMPT if "." in name}


async def test_a_call_that_fails_or_changes_nothing_leaves_no_entry(http: httpx.AsyncClient, actor: Actor) -> None:
    subscription_id = await actor.api.subscribe(URL)
    path = f"/api/v1/subscriptions/{subscription_id}"
    token = {"Idempotency-Key": "the same"}
    for _ in range(2):
        answer = await actor.http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=token)
        assert answer.status_code == 201
    delivery_id = await actor.delivery()
    for _ in range(2):
        await actor.call("POST", f"/api/v1/webhooks/deliveries/{delivery_id}/cancel")
    before = await listed(http, tenant_id=actor.tenant_id)
    created = [entry for entry in before if entry["action"] == Action.CREATE_SUBSCRIPTION]
    assert len(created) == 3  # by the key, once for the request with an idempotency key
    assert len([entry for entry in before if entry["action"] == Action.CANCEL_DELIVERY]) == 1

    await actor.call("POST", f"{path}/resume")  # it is active already
    refused = [
        await actor.http.post("/api/v1/subscriptions", json={"target_url": "http://10.0.0.1/"}),
        await actor.http.put(path, json={"target_url": URL, "rate_limit_burst": 1}),
        await actor.http.post(f"/api/v1/subscriptions/{ids.new()}/disable"),
        await actor.http.post(f"/api/v1/webhooks/deliveries/{ids.new()}/retry"),
        await actor.http.post("/api/v1/admin/tenants", json={"id": actor.tenant_id}),
        await actor.http.delete(f"/api/v1/admin/tenants/{actor.tenant_id}"),
        await actor.http.post("/api/v1/admin/api-keys", json={"tenant_id": "nobody", "name": "n", "role": "read"}),
        await actor.http.delete(path, headers=bearer("whk_" + "x" * 43)),
    ]

    assert [answer.status_code for answer in refused] == [422, 422, 404, 404, 409, 409, 422, 401]
    assert await listed(http, tenant_id=actor.tenant_id) == before


async def test_a_role_that_does_not_do_leaves_no_entry_and_sees_none(
    http: httpx.AsyncClient, actor: Actor, admin: Admin
) -> None:
    for role in ("write", "ingest", "read"):
        key = await admin.key(actor.tenant_id, role)
        answer = await http.get("/api/v1/admin/audit", params={"tenant_id": actor.tenant_id}, headers=bearer(key))
        assert (answer.status_code, answer.json()["reason"]) == (403, "ROLE_INSUFFICIENT")
    before = await listed(http, tenant_id=actor.tenant_id)
    reader = await admin.created(tenant_id=actor.tenant_id, role="read")
    answer = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(reader["key"]))
    assert answer.status_code == 403
    assert len(await listed(http, tenant_id=actor.tenant_id)) == len(before) + 1  # the key's own
    assert await listed(http, actor=reader["id"]) == []


async def test_the_bootstrap_key_is_distinguished_and_keys_cannot_impersonate_others(
    http: httpx.AsyncClient, actor: Actor, channels: Channels
) -> None:
    stub: Any = subscriptions_pb2_grpc.SubscriptionServiceStub(channels["webhook.v1.SubscriptionService"])
    request = subscriptions_pb2.CreateSubscriptionRequest(
        tenant_id=actor.tenant_id, spec=subscriptions_pb2.SubscriptionSpec(target_url=URL)
    )
    # A key that is not a service key cannot act for others.
    forged = (*keys.metadata(actor.key), ("webhook-actor", "bootstrap"))
    by_forger = await stub.CreateSubscription(request, metadata=forged, timeout=60)

    (made,) = await listed(http, resource_id=actor.tenant_id)
    assert (made["actor"], made["actor_name"]) == ("bootstrap", None)
    (entry,) = await listed(http, resource_id=by_forger.subscription.id)
    assert entry["actor"] == actor.key_id


async def test_an_update_names_the_changed_fields_and_shows_those_that_may_be_shown(
    http: httpx.AsyncClient, actor: Actor
) -> None:
    subscription_id = await actor.api.subscribe("https://one.example/a", rate_limit_per_second=5)
    body = {
        "target_url": "https://two.example:8443/b",
        "rate_limit_per_second": 7.5,
        "description": "Mind the gap",
        "secret_key": "another-secret",
        "headers": {"X-Token": "abc"},
        "name": "mind",
        "metadata": {"team": "sales"},
        "retry_policy": {"delays_seconds": [1, 2]},
    }
    await actor.call("PUT", f"/api/v1/subscriptions/{subscription_id}", body)
    await actor.call("PUT", f"/api/v1/subscriptions/{subscription_id}", body | {"secret_key": "a-third-secret"})

    second, first = await listed(http, resource_id=subscription_id, action=Action.UPDATE_SUBSCRIPTION)

    changes = {change["field"]: change for change in first["changes"]}
    assert changes.pop("target_url") == {
        "field": "target_url",
        "before": "https://one.example",
        "after": "https://two.example:8443",
    }
    assert changes.pop("name") == {"field": "name", "before": None, "after": "mind"}
    assert changes.pop("rate_limit_per_second") == {"field": "rate_limit_per_second", "before": 5.0, "after": 7.5}
    retry_policy = changes.pop("retry_policy")
    assert (retry_policy["before"], retry_policy["after"]["delays_seconds"]) == (None, [1, 2])
    # Only by name.
    assert changes == {name: {"field": name} for name in ("description", "metadata", "secret_key", "headers")}
    assert [change["field"] for change in second["changes"]] == ["secret_key", "headers"]


async def test_audit_log_contains_no_secret(keyed: Stack, http: httpx.AsyncClient, actor: Actor) -> None:
    planted = "planted-7c1f3a"
    subscription_id = await actor.api.subscribe(
        f"https://{'host'}.example/{planted}?q={planted}",
        secret_key=f"{planted}-secret",
        headers={"X-Token": f"{planted}-header"},
        description=f"{planted} in free text",
        metadata={"note": planted},
    )
    path = f"/api/v1/subscriptions/{subscription_id}"
    body = {
        "target_url": f"https://host.example/{planted}-2",
        "secret_key": f"{planted}-2",
        "headers": {"X-T": planted},
    }
    await actor.call("PUT", path, body)
    await actor.call("POST", f"{path}/rotate-secret", {"secret_key": f"{planted}-3"})
    made = (await actor.call("POST", f"{path}/rotate-secret")).json()["secret_key"]
    token = (await actor.call("POST", f"{path}/ingest-token")).json()["token"]
    key = (await actor.call("POST", "/api/v1/admin/api-keys", {"name": "n", "role": "read"})).json()["key"]
    await actor.call("DELETE", path)

    answered = str(await listed(http, tenant_id=actor.tenant_id))
    connection = await asyncpg.connect(keyed.ports["database_url"])
    try:
        stored = str(await connection.fetch("SELECT to_jsonb(a) FROM audit_entries a"))
    finally:
        await connection.close()
    assert "https://host.example" in answered
    for text in (answered, stored):
        for secret in (planted, made, token, key, actor.key, ADMIN_KEY, SERVICE_KEY):
            assert secret not in text


async def test_pages_and_filters_hold_what_they_should(http: httpx.AsyncClient, actor: Actor) -> None:
    subscriptions = [await actor.api.subscribe(URL) for _ in range(5)]
    await actor.call("POST", f"/api/v1/subscriptions/{subscriptions[0]}/pause")
    whole = await listed(http, tenant_id=actor.tenant_id)
    assert [entry["id"] for entry in whole] == sorted((entry["id"] for entry in whole), reverse=True)
    assert len(whole) == 8  # with the tenant and its key

    paged: list[dict[str, Any]] = []
    cursor = ""
    while True:
        parameters: Any = {"tenant_id": actor.tenant_id, "limit": 3, "cursor": cursor}
        page = (await http.get("/api/v1/admin/audit", params=parameters, headers=bearer(ADMIN_KEY))).json()
        assert len(page["items"]) <= 3
        paged += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == whole

    paused = whole[0]
    of_key = {"actor": actor.key_id}
    assert [e["resource_id"] for e in await listed(http, **of_key, action="subscription.create")] == subscriptions[::-1]
    assert await listed(http, **of_key, action="subscription.pause") == [paused]
    assert await listed(http, resource_id=subscriptions[0].upper(), action="subscription.pause") == [paused]
    assert len(await listed(http, tenant_id=actor.tenant_id, resource_type="api_key")) == 1
    assert await listed(http, tenant_id=actor.tenant_id, actor="system") == []
    # `from` is included, `to` is not, and each page starts where the last one ended.
    middle = whole[4]["created_at"]
    later = await listed(http, tenant_id=actor.tenant_id, **{"from": middle})
    earlier = await listed(http, tenant_id=actor.tenant_id, to=middle)
    assert later + earlier == whole
    assert middle in {entry["created_at"] for entry in later}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tenant_id", "No Name"),
        ("actor", "somebody"),
        ("action", "subscription.explode"),
        ("resource_type", "event"),
        ("resource_id", "no/path"),
        ("from", "yesterday"),
        ("from", "2026-01-01T00:00:00"),
        ("from", "1767225600"),
        ("to", "0001-01-01T00:00:00+14:00"),
        ("cursor", "!"),
        ("limit", "0"),
        ("unknown", "1"),
    ],
)
async def test_a_wrong_filter_is_named(http: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await http.get("/api/v1/admin/audit", params={name: value}, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 422, answer.text
    assert [violation["field"] for violation in answer.json()["errors"]] == [name]


async def test_the_log_of_a_deleted_tenant_stays_and_counts_its_keys(
    http: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    for _ in range(3):
        await admin.key(a_name)
    answer = await http.delete(f"/api/v1/admin/tenants/{a_name}", headers=bearer(ADMIN_KEY))
    assert answer.status_code == 204

    newest, *others = await listed(http, tenant_id=a_name)

    assert (newest["action"], newest["affected"]) == ("tenant.delete", 3)
    assert [entry["action"] for entry in others] == ["api_key.create"] * 3 + ["tenant.create"]


async def test_entries_cannot_be_changed_or_removed(keyed: Stack, actor: Actor) -> None:
    connection = await asyncpg.connect(keyed.ports["database_url"])
    try:
        for statement in (
            "UPDATE audit_entries SET actor = 'nobody' WHERE tenant_id = $1",
            "DELETE FROM audit_entries WHERE tenant_id = $1",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(statement, actor.tenant_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("TRUNCATE audit_entries")
        # Retention's own statement does not delete younger entries.
        assert await connection.fetchval("SELECT delete_old_audit_entries(interval '1 hour', 1000)") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("DELETE FROM audit_entries WHERE tenant_id = $1", actor.tenant_id)
    finally:
        await connection.close()


async def test_entries_are_listed_only_for_operators_over_grpc(actor: Actor, channels: Channels, admin: Admin) -> None:
    method = "/webhook.v1.AuditService/ListAuditEntries"
    channel = channels["webhook.v1.AuditService"]
    assert await keys.code_of(channel, method, actor.key) is grpc.StatusCode.OK
    assert await keys.code_of(channel, method, await admin.key()) is grpc.StatusCode.PERMISSION_DENIED


# The audit log without required keys.


async def test_a_caller_without_a_key_is_anonymous(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        subscription_id = await Api(http).subscribe("https://example.com/hook")

        answer = await http.get("/api/v1/admin/audit/", params={"resource_id": subscription_id})

    (entry,) = answer.json()["items"]
    assert (entry["action"], entry["actor"], entry["actor_role"]) == ("subscription.create", "anonymous", None)
