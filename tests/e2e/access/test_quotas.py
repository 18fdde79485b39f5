"""A tenant's quotas, from the operators' API to the responses of its senders."""

from typing import Any

import httpx

from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.waiting import wait_until
from services.domain.tenants.quotas import QuotaSettings
from services.platform import ids

URL = "https://example.com/hook"
DEFAULTS = QuotaSettings(_env_file=None).quotas
TENANTS = "/api/v1/admin/tenants"


async def changed(http: httpx.AsyncClient, tenant_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Change a tenant, and return it."""
    answer = await http.patch(f"{TENANTS}/{tenant_id}", json=body, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_tenant_is_shown_with_its_own_quotas_and_those_that_apply(http: httpx.AsyncClient, a_name: str) -> None:
    body = {"id": a_name, "quotas": {"subscriptions": 5, "events_per_second": 2.5}}
    made = await http.post(TENANTS, json=body, headers=bearer(ADMIN_KEY))
    assert made.status_code == 201, made.text
    own = {
        "subscriptions": 5,
        "events_per_second": 2.5,
        "waiting_deliveries": None,
        "stored_bytes": None,
        "scheduled_events": None,
        "scheduled_bytes": None,
    }
    limits = {
        "subscriptions": 5,
        "events_per_second": 2.5,
        "waiting_deliveries": DEFAULTS.waiting_deliveries,
        "stored_bytes": DEFAULTS.stored_bytes,
        "scheduled_events": DEFAULTS.scheduled_events,
        "scheduled_bytes": DEFAULTS.scheduled_bytes,
    }
    assert (made.json()["quotas"], made.json()["limits"]) == (own, limits)
    found = (await http.get(f"{TENANTS}/{a_name}", headers=bearer(ADMIN_KEY))).json()
    assert (found["quotas"], found["limits"], found["name"]) == (own, limits, a_name)
    after = await changed(http, a_name, {"name": "Acme", "quotas": {"subscriptions": None, "stored_bytes": 1 << 30}})
    assert after["name"] == "Acme"
    assert after["quotas"] == own | {"subscriptions": None, "stored_bytes": 1 << 30}
    assert after["limits"]["subscriptions"] == DEFAULTS.subscriptions
    same = [await changed(http, a_name, change) for change in ({}, {"name": "Acme"})]
    # What it uses was measured by whichever process answered.
    assert [{**each, "usage": None} for each in same] == [{**after, "usage": None}] * 2
    listed = (await http.get(TENANTS, params={"limit": 200}, headers=bearer(ADMIN_KEY))).json()["items"]
    assert next(each for each in listed if each["id"] == a_name)["quotas"] == after["quotas"]
    entries = await http.get(
        "/api/v1/admin/audit", params={"tenant_id": a_name, "action": "tenant.update"}, headers=bearer(ADMIN_KEY)
    )
    assert entries.json()["items"][0]["changes"] == [
        {"field": "name", "before": a_name, "after": "Acme"},
        {"field": "quotas.subscriptions", "before": 5, "after": None},
        {"field": "quotas.stored_bytes", "before": None, "after": 1 << 30},
    ]


async def test_the_weight_of_a_tenant_is_1_unless_an_operator_sets_it(http: httpx.AsyncClient, a_name: str) -> None:
    made = await http.post(TENANTS, json={"id": a_name}, headers=bearer(ADMIN_KEY))
    assert made.json()["weight"] == 1
    assert (await changed(http, a_name, {"weight": 3}))["weight"] == 3
    assert (await changed(http, a_name, {"name": "Acme"}))["weight"] == 3
    assert (await http.get(f"{TENANTS}/{a_name}", headers=bearer(ADMIN_KEY))).json()["weight"] == 3
    entries = await http.get(
        "/api/v1/admin/audit", params={"tenant_id": a_name, "action": "tenant.update"}, headers=bearer(ADMIN_KEY)
    )
    assert entries.json()["items"][-1]["changes"] == [{"field": "weight", "before": 1, "after": 3}]
    made = await http.post(TENANTS, json={"id": f"{a_name}-2", "weight": 100}, headers=bearer(ADMIN_KEY))
    assert made.json()["weight"] == 100


async def test_a_weight_out_of_bounds_is_422_that_says_what_it_must_be(http: httpx.AsyncClient, a_name: str) -> None:
    await http.post(TENANTS, json={"id": a_name}, headers=bearer(ADMIN_KEY))
    for weight in (0, -1, 101, 1.5, "3", True, None):
        answer = await http.patch(f"{TENANTS}/{a_name}", json={"weight": weight}, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 422, weight
        assert answer.json()["errors"][0]["field"] == "weight"
    answer = await http.patch(f"{TENANTS}/{a_name}", json={"weight": 101}, headers=bearer(ADMIN_KEY))
    assert "must be between 1 and 100" in answer.json()["errors"][0]["message"]


async def test_tenant_usage_is_shown(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    key = await admin.key(a_name)
    assert (await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(key))).is_success
    event = {"event_type": "nobody.wants", "payload": {}}
    assert (await http.post("/api/v1/events", json=event, headers=bearer(key))).is_success

    async def shown() -> bool:
        usage = (await http.get(f"{TENANTS}/{a_name}", headers=bearer(ADMIN_KEY))).json()["usage"]
        return usage is not None and usage["subscriptions"] == 1 and usage["stored_bytes"] == 2

    await wait_until(shown, what="the sums to be made")


async def test_a_quota_out_of_bounds_is_422(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    for quotas in (
        {"subscriptions": 0},
        {"subscriptions": 10**8},
        {"events_per_second": 1e-300},
        {"events_per_second": 0},
        {"waiting_deliveries": -1},
        {"stored_bytes": 1},
        {"events": 1},
    ):
        answer = await http.patch(f"{TENANTS}/{a_name}", json={"quotas": quotas}, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 422, quotas
        assert answer.json()["errors"][0]["field"] == f"quotas.{next(iter(quotas))}"


async def test_a_tenant_that_does_not_exist_is_404(http: httpx.AsyncClient) -> None:
    headers = bearer(ADMIN_KEY)
    assert (await http.get(f"{TENANTS}/nobody", headers=headers)).status_code == 404
    assert (await http.patch(f"{TENANTS}/nobody", json={"name": "x"}, headers=headers)).status_code == 404


async def test_a_sender_above_its_quota_gets_429_that_names_it_and_another_tenant_does_not(
    http: httpx.AsyncClient, admin: Admin
) -> None:
    tenant_id = await admin.tenant(f"t{ids.new().hex}")
    key, other = await admin.key(tenant_id), await admin.key(await admin.tenant(f"t{ids.new().hex}"))
    await changed(http, tenant_id, {"quotas": {"events_per_second": 1}})
    event = {"event_type": "a", "payload": {}}

    async def refused() -> httpx.Response | None:
        answer = await http.post("/api/v1/events", json=event, headers=bearer(key))
        return answer if answer.status_code != 202 else None

    answer = await wait_until(refused, what="an event to be refused")
    assert answer is not None
    assert (answer.status_code, answer.json()["reason"]) == (429, "QUOTA_EVENTS_PER_SECOND")
    assert answer.json()["type"] == "urn:webhook-service:error:QUOTA_EVENTS_PER_SECOND"
    assert int(answer.headers["retry-after"]) >= 1
    assert "ask the operator" in answer.json()["detail"]
    for _ in range(20):
        assert (await http.post("/api/v1/events", json=event, headers=bearer(other))).status_code == 202


async def test_a_subscription_above_the_quota_is_409(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    key = await admin.key(a_name)
    await changed(http, a_name, {"quotas": {"subscriptions": 1}})
    for status in (201, 409):
        answer = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(key))
        assert answer.status_code == status, answer.text
    assert answer.json()["reason"] == "QUOTA_SUBSCRIPTIONS"
