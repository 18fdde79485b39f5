"""Portal links: what one allows, for whom and for what, and how it ends."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from dev.harness import keys
from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.domain.tenants.scopes import NARROWED
from services.gateway.web import routing
from services.platform import ids
from services.platform.auth import roles
from services.platform.auth.roles import PortalCapability
from tests.e2e.access.conftest import Channels
from tests.e2e.access.test_audit import listed
from tests.e2e.access.test_roles import METHODS, REFUSED

LINKS = "/api/v1/portal-links"
URL = "https://example.com/hook"
ALL = [capability.value for capability in PortalCapability]


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A tenant with two subscriptions, each with a delivery of an event that it alone has got."""

    id: str
    key: str
    own: dict[str, str]
    other: dict[str, str]


async def link(http: httpx.AsyncClient, key: str, **body: Any) -> dict[str, Any]:
    """Create a link."""
    answer = await http.post(LINKS, json={"capabilities": ALL, **body}, headers=bearer(key))
    assert (answer.status_code, answer.headers.get("cache-control")) == (201, "no-store"), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def exchanged(http: httpx.AsyncClient, url: str) -> httpx.Response:
    """Exchange the secret of a link."""
    path, _, secret = url.partition("#")
    return await http.post(f"{path}/session", json={"secret": secret})


async def token(http: httpx.AsyncClient, key: str, **body: Any) -> str:
    """Return the token of a new link."""
    answer = await exchanged(http, (await link(http, key, **body))["url"])
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["token"]
    return found


@pytest.fixture
async def customer(keyed: Stack, admin: Admin, a_name: str, receiver: Receiver) -> AsyncIterator[Customer]:
    key = await admin.key(await admin.tenant(a_name))
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(key), timeout=60) as http:
        api = Api(http)
        made = []
        for name in ("own", "other"):
            subscription_id = await api.subscribe(receiver.url(), event_types=[f"{name}.*"])
            event = {"event_type": f"{name}.happened", "payload": {"of": f"the payload of {name}"}}
            event_id = (await http.post("/api/v1/events", json=event)).json()["event_id"]
            (delivery,) = (await http.get(f"/api/v1/events/{event_id}/deliveries")).json()["items"]
            await api.until(delivery["id"], "delivered")
            wanted = {"kind": "retry", "filter": {"subscription_id": [subscription_id], "status": ["failed"]}}
            job = await http.post("/api/v1/jobs", json=wanted)
            assert job.status_code == 202, job.text
            named = {"subscription_id": subscription_id, "event_id": event_id, "delivery_id": delivery["id"]}
            made.append(named | {"job_id": job.json()["id"], "link_id": (await link(http, key))["id"]})
        yield Customer(id=a_name, key=key, own=made[0], other=made[1])


async def test_a_secret_is_exchanged_once_and_what_for_ends_with_the_link(
    http: httpx.AsyncClient, admin: Admin, customer: Customer
) -> None:
    made = await link(http, customer.key, capabilities=["test"], origin="https://app.example.com")
    path = made["url"].partition("#")[0]
    for _ in range(2):  # looking uses nothing up
        page = await http.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "frame-ancestors https://app.example.com" in page.headers["content-security-policy"]
    assert (await exchanged(http, f"{path}#whl_{'x' * 43}")).status_code == 401
    answer = await exchanged(http, made["url"])
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    found = answer.json()
    assert found["caller"] == {
        "key_id": f"portal:{made['id']}",
        "name": None,
        "role": "portal",
        "tenant_id": customer.id,
        "capabilities": ["test", "view"],
        "limited": False,
    }
    assert (found["origin"], found["expires_at"]) == ("https://app.example.com", made["expires_at"])
    again = await exchanged(http, made["url"])
    assert (again.status_code, again.json()["reason"]) == (401, "KEY_INVALID")

    assert (await http.get("/api/v1/subscriptions", headers=bearer(found["token"]))).status_code == 200
    foreign = await admin.key(await admin.tenant(f"other-{ids.new().hex}"))
    assert (await http.delete(f"{LINKS}/{made['id']}", headers=bearer(foreign))).status_code == 404
    assert (await http.delete(f"{LINKS}/{made['id']}", headers=bearer(customer.key))).status_code == 204

    async def is_refused() -> bool:
        return (await http.get("/api/v1/subscriptions", headers=bearer(found["token"]))).status_code == 401

    await wait_until(is_refused, what="the refusal of a revoked link")
    assert (await http.get(path, headers={"Accept": "text/html"})).status_code == 200  # which says so
    entries = await listed(http, resource_id=made["id"])
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("portal_link.revoke", entries[2]["actor"]),
        ("portal_link.exchange", f"portal:{made['id']}"),
        ("portal_link.create", entries[0]["actor"]),
    ]
    by_link = await http.get("/api/v1/admin/audit", params={"actor": f"portal:{made['id']}"}, headers=bearer(ADMIN_KEY))
    assert [entry["action"] for entry in by_link.json()["items"]] == ["portal_link.exchange"]


async def test_a_link_ends_with_the_key_that_made_it(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    made = await admin.created(tenant_id=await admin.tenant(a_name))
    held = await token(http, made["key"])
    assert (await http.get("/api/v1/subscriptions", headers=bearer(held))).status_code == 200
    await admin.revoke(made["id"])

    async def is_refused() -> bool:
        return (await http.get("/api/v1/subscriptions", headers=bearer(held))).status_code == 401

    await wait_until(is_refused, what="the refusal of the link of a revoked key")


async def test_capabilities_never_exceed_the_callers_role(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    allowed = {"read": {"view", "payloads"}, "ingest": set[str](), "write": set(ALL), "admin": set(ALL)}
    for role, capabilities in allowed.items():
        key = await admin.key(a_name, role)
        for capability in ALL:
            answer = await http.post(LINKS, json={"capabilities": [capability]}, headers=bearer(key))
            assert answer.status_code == (201 if capability in capabilities else 403), (role, capability, answer.text)
            if role == "read" and answer.status_code == 403:
                assert answer.json()["reason"] == "CAPABILITY_MISSING"
    # Nor does a link make links.
    held = await token(http, await admin.key(a_name))
    assert (await http.post(LINKS, json={"capabilities": ["view"]}, headers=bearer(held))).status_code == 403


async def test_a_link_is_used_as_often_as_its_key(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    key = await admin.key(await admin.tenant(a_name), requests_per_second=7)
    answer = await http.get("/api/v1/subscriptions", headers=bearer(await token(http, key)))
    assert answer.headers["ratelimit-policy"] == '"key";q=7;w=1'


async def test_a_key_that_may_only_read_ends_its_own_links(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    tenant_id = await admin.tenant(a_name)
    write, read = await admin.key(tenant_id), await admin.key(tenant_id, "read")
    of_write, own = await link(http, write), await link(http, read, capabilities=["view"])
    statuses = [
        (await http.delete(f"{LINKS}/{made['id']}", headers=bearer(key))).status_code
        for made, key in ((of_write, read), (own, read), (of_write, write), (own, write))
    ]
    assert statuses == [404, 204, 204, 204]


async def test_retries_of_a_limited_link_do_not_share_refusals(http: httpx.AsyncClient, customer: Customer) -> None:
    held = await token(http, customer.key, subscriptions=[customer.own["subscription_id"]])
    wanted = [customer.own["delivery_id"], customer.other["delivery_id"]]
    answers = await asyncio.gather(
        *(http.post(f"/api/v1/deliveries/{one}/retry", headers=bearer(held)) for one in wanted * 4)
    )
    assert {answer.status_code for answer in answers[1::2]} == {404}
    assert 404 not in {answer.status_code for answer in answers[::2]}


async def test_of_an_event_of_many_subscriptions_a_limited_link_shows_its_own_deliveries(
    http: httpx.AsyncClient, customer: Customer, receiver: Receiver
) -> None:
    also = {"target_url": receiver.url(), "event_types": ["own.*"]}
    assert (await http.post("/api/v1/subscriptions", json=also, headers=bearer(customer.key))).status_code == 201
    event = {"event_type": "own.happened", "payload": {}}
    event_id = (await http.post("/api/v1/events", json=event, headers=bearer(customer.key))).json()["event_id"]
    held = await token(http, customer.key, subscriptions=[customer.own["subscription_id"]])
    path = f"/api/v1/events/{event_id}/deliveries"
    whole, part = [(await http.get(path, headers=bearer(key))).json()["items"] for key in (customer.key, held)]
    assert len(whole) == 2
    assert [one["subscription_id"] for one in part] == [customer.own["subscription_id"]]


async def test_the_link_of_an_operator_ends_with_the_tenant(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    held = await token(http, ADMIN_KEY, tenant_id=await admin.tenant(a_name))
    deleted = await http.delete(f"/api/v1/admin/tenants/{a_name}", headers=bearer(ADMIN_KEY))
    assert deleted.status_code == 204, deleted.text

    async def is_refused() -> bool:
        return (await http.get("/api/v1/subscriptions", headers=bearer(held))).status_code == 401

    await wait_until(is_refused, what="the refusal of a link of a deleted tenant")


async def test_links_are_of_the_callers_tenant_unless_it_is_an_admin(
    http: httpx.AsyncClient, admin: Admin, customer: Customer
) -> None:
    foreign = await admin.key(await admin.tenant(f"other-{ids.new().hex}"))
    body = {"capabilities": ["view"], "tenant_id": customer.id}
    refused = await http.post(LINKS, json=body, headers=bearer(foreign))
    assert (refused.status_code, refused.json()["reason"]) == (403, "TENANT_FORBIDDEN")
    held = await token(http, ADMIN_KEY, tenant_id=customer.id)
    found = (await http.get("/api/v1/subscriptions", headers=bearer(held))).json()["items"]
    assert {one["tenant_id"] for one in found} == {customer.id}
    for header in ({"X-Tenant": "default"}, {"X-Tenant": "other"}):
        answer = await http.get("/api/v1/subscriptions", headers=bearer(held) | header)
        assert (answer.status_code, answer.json()["reason"]) == (403, "TENANT_FORBIDDEN")
    everywhere = await http.get("/api/v1/subscriptions", params={"tenant": "*"}, headers=bearer(held))
    assert everywhere.status_code == 403
    missing = {"capabilities": ["view"], "subscriptions": [customer.own["subscription_id"]]}
    answer = await http.post(LINKS, json=missing, headers=bearer(foreign))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "subscriptions")


@pytest.mark.parametrize("capability", [*PortalCapability, None])
async def test_methods_are_open_only_to_links_with_their_capability(
    http: httpx.AsyncClient, channels: Channels, admin: Admin, a_name: str, capability: PortalCapability | None
) -> None:
    key = await admin.key(await admin.tenant(a_name))
    subscriptions = []
    if capability is None:  # a link that is limited may do no more
        made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(key))
        subscriptions = [made.json()["id"]]
    granted = {PortalCapability.VIEW, *([capability] if capability else PortalCapability)}
    held = await token(http, key, capabilities=sorted(granted), subscriptions=subscriptions or None)
    for method in METHODS:
        code = await keys.code_of(channels[method.split("/")[1]], method, held)
        may = roles.RULES[method].portal in granted
        beyond = (
            "/CreateSubscription",
            "/TestNewSubscription",
            "/GetSubscriptionTest",
            "/CheckFilter",
            "/ExportCatalog",
        )
        if subscriptions and method.endswith(beyond):
            may = False
        assert (code not in REFUSED) == may, (method, code)


def test_every_method_of_links_says_what_a_limited_one_does() -> None:
    assert {f"/webhook.v1.{name}" for name in NARROWED} == {
        method for method, rule in roles.RULES.items() if rule.portal is not None
    }


async def answers_of(http: httpx.AsyncClient, held: str, objects: dict[str, str]) -> dict[str, httpx.Response]:
    """Return the answers to every GET of the API, by its name."""
    document = (await http.get("/openapi.json")).json()
    found = {}
    for path, operations in document["paths"].items():
        # A stream does not end: test_watching.py. The system is for operators.
        # And no limited link has to do with the catalog: test_methods_are_open_only_to_links_with_their_capability.
        others = ("/admin/", "stream", "/system", "/event-types", "/catalog")
        if "get" in operations and path.startswith("/api/") and not any(each in path for each in others):
            query = {"group_by": "status"} if path.endswith("/summary") else {}
            answer = await http.get(path.format_map(objects), params=query, headers=bearer(held))
            found[operations["get"]["operationId"]] = answer
    return found


async def test_a_limited_link_shows_nothing_of_other_subscriptions(http: httpx.AsyncClient, customer: Customer) -> None:
    own, other = customer.own, customer.other
    held = await token(http, customer.key, subscriptions=[own["subscription_id"]])
    hidden = [*other.values(), "the payload of other", "other.happened"]

    async def seen(*answers: httpx.Response) -> None:
        for answer in answers:
            for text in hidden:
                if text not in str(answer.request.url):
                    assert text not in answer.text, (str(answer.request.url), text)

    with_own = await answers_of(http, held, own)
    assert {name for name, answer in with_own.items() if answer.status_code != 200} == set()
    await seen(*with_own.values())
    assert own["delivery_id"] in with_own["list_deliveries"].text
    assert own["event_id"] in with_own["list_events"].text
    assert own["job_id"] in with_own["list_jobs"].text
    with_other = await answers_of(http, held, other)
    named = {name for name, answer in with_other.items() if answer.status_code == 404}
    assert named == {
        name for name, answer in with_own.items() if any(text in str(answer.request.url) for text in own.values())
    }
    await seen(*with_other.values())
    # Searches, lines, summaries and statistics that name what is hidden, or nothing.
    for path, query in (
        ("/api/v1/deliveries", {"subscription_id": other["subscription_id"]}),
        ("/api/v1/stats/series", {"subscription_id": other["subscription_id"]}),
        ("/api/v1/stats/refusals", {"subscription_id": other["subscription_id"]}),
        ("/api/v1/deliveries/summary", {"group_by": "status", "subscription_id": other["subscription_id"]}),
        (f"/api/v1/events/{own['event_id']}/routing", {"subscription_id": other["subscription_id"]}),
    ):
        answer = await http.get(path, params=query, headers=bearer(held))
        assert answer.status_code == 404, (path, answer.text)
    for path, query in (
        ("/api/v1/deliveries", {"format": "ndjson"}),
        ("/api/v1/events", {"format": "ndjson"}),
        ("/api/v1/deliveries", {"event_type": "other.*", "status": "delivered"}),
        ("/api/v1/stats/series", {"group_by": "subscription"}),
        ("/api/v1/deliveries/summary", {"group_by": "subscription"}),
        ("/api/v1/subscriptions", {"limit": "1"}),
    ):
        answer = await http.get(path, params=query, headers=bearer(held))
        assert answer.status_code == 200, answer.text
        await seen(answer)

    async def counted() -> bool:
        whole = await http.get("/api/v1/stats", headers=bearer(customer.key))
        return bool(whole.json()["attempts"] == 2)

    await wait_until(counted, what="both attempts in the statistics")
    part = await http.get("/api/v1/stats", headers=bearer(held))
    assert (part.json()["attempts"], part.json().get("events")) == (1, None)


async def test_only_a_link_that_is_not_limited_shows_the_catalog(
    http: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    key = await admin.key(await admin.tenant(a_name))
    event_type = {"name": "secret.launch", "schema": {"type": "object", "title": "of_another_customer"}}
    assert (await http.post("/api/v1/event-types", json=event_type, headers=bearer(key))).status_code == 201
    made = await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(key))
    for document in ("openapi", "asyncapi"):
        query = {"format": document}
        whole = await http.get("/api/v1/catalog", params=query, headers=bearer(await token(http, key)))
        assert (whole.status_code, "secret.launch" in whole.text) == (200, True)
        limited = await token(http, key, subscriptions=[made.json()["id"]])
        refused = await http.get("/api/v1/catalog", params=query, headers=bearer(limited))
        assert (refused.status_code, refused.json()["reason"]) == (403, "CAPABILITY_MISSING")
        assert "secret" not in refused.text
        assert "another_customer" not in refused.text
        assert (await http.get("/api/v1/catalog", params=query)).status_code == 401


async def test_a_limited_link_changes_nothing_of_other_subscriptions(
    http: httpx.AsyncClient, customer: Customer
) -> None:
    own, other = customer.own, customer.other
    held = await token(http, customer.key, subscriptions=[own["subscription_id"]])
    document = (await http.get("/openapi.json")).json()
    bodies: dict[str, Any] = {
        "replace_subscription": {"target_url": URL},
        "update_subscription": {"description": "x"},
        "recover_subscription": {"from": "2020-01-01T00:00:00Z"},
    }
    tried = set()
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            name = operation["operationId"]
            if verb == "get" or "{" not in path or "/admin/" in path or "ingest/" in path or "portal" in path:
                continue
            tried.add(name)
            where = path.format_map(other | {"event_type_id": str(ids.new()), "number": "1"})
            answer = await http.request(verb, where, json=bodies.get(name), headers=bearer(held))
            # What no link allows is refused whatever it is about, such as pulling deliveries.
            allowed = roles.RULES[routing.method_of(name) or ""].portal is not None
            assert answer.status_code == (404 if allowed else 403), (name, answer.text)
    assert len(tried) >= 15
    aims: list[dict[str, Any]] = [
        {"kind": "replay", "filter": {"subscription_id": [other["subscription_id"]]}},
        {
            "kind": "replay",
            "filter": {"subscription_id": [own["subscription_id"]]},
            "to_subscription_id": other["subscription_id"],
        },
        {
            "kind": "replay",
            "only": "missing",
            "filter": {"from": "2020-01-01T00:00:00Z"},
            "to_subscription_id": other["subscription_id"],
        },
    ]
    for aim in aims:
        answer = await http.post("/api/v1/jobs", json=aim, headers=bearer(held))
        assert answer.status_code == 404, answer.text
    made = await http.post(
        "/api/v1/jobs",
        json={"kind": "replay", "filter": {"from": "2020-01-01T00:00:00Z"}, "dry_run": True},
        headers=bearer(held),
    )
    assert (made.status_code, made.json()["counts"]["matched"]) == (200, 1), made.text
    # A dry run of others is not started either.
    dry = await http.post(
        "/api/v1/jobs",
        json={"kind": "replay", "filter": {"from": "2020-01-01T00:00:00Z"}, "dry_run": True},
        headers=bearer(customer.key),
    )
    start = await http.post("/api/v1/jobs", json={"token": dry.json()["token"]}, headers=bearer(held))
    assert (start.status_code, made.json()["counts"]["matched"]) == (404, 1), start.text
    assert (await http.post("/api/v1/subscriptions", json={"target_url": URL}, headers=bearer(held))).status_code == 403


async def test_payloads_and_secrets_need_their_capabilities(http: httpx.AsyncClient, customer: Customer) -> None:
    held = await token(http, customer.key, capabilities=["manage"])
    path = f"/api/v1/events/{customer.own['event_id']}"
    withheld = (await http.get(path, headers=bearer(held))).json()
    assert (withheld["payload"], withheld["payload_withheld"], withheld["payload_bytes"] > 0) == (None, True, True)
    assert "payload_base64" not in withheld
    shown = await token(http, customer.key, capabilities=["payloads"])
    assert (await http.get(path, headers=bearer(shown))).json()["payload"] == {"of": "the payload of own"}

    subscriptions = "/api/v1/subscriptions"
    filtered = {"target_url": URL, "event_types": ["own.*"], "filter": "event.data.of == 'nothing'"}
    filtering = (await http.post(subscriptions, json=filtered, headers=bearer(customer.key))).json()["id"]
    event = {"event_type": "own.filtered", "payload": {"of": "the payload of own"}}
    accepted = (await http.post("/api/v1/events", json=event, headers=bearer(customer.key))).json()["event_id"]
    said = {}
    for name, caller in (("withheld", held), ("shown", shown)):
        answer = await http.get(
            f"/api/v1/events/{accepted}/routing", params={"subscription_id": filtering}, headers=bearer(caller)
        )
        (route,) = [one for one in answer.json()["items"] if one["subscription_id"] == filtering]
        assert route["reason"] == "filter"
        said[name] = route["explanation"]
    assert said == {
        "withheld": "It has a filter, which decides by a payload that is not shown or not there.",
        "shown": "Its filter was false: event.data.of == 'nothing'.",
    }
    tried = {"filter": "event.data.of == 'nothing'", "event_ids": [accepted]}
    check = await http.post("/api/v1/filters/check", json=tried, headers=bearer(held))
    assert (check.status_code, check.json()["reason"]) == (403, "CAPABILITY_MISSING")

    made = await http.post(subscriptions, json={"target_url": URL}, headers=bearer(held))
    assert (made.status_code, made.json()["secret_key"]) == (201, None)
    secret = {"secret_key": "a secret of its own, long enough"}
    for verb, where in (("POST", subscriptions), ("PATCH", f"{subscriptions}/{made.json()['id']}")):
        body = secret | ({"target_url": URL} if verb == "POST" else {})
        answer = await http.request(verb, where, json=body, headers=bearer(held))
        assert (answer.status_code, answer.json()["reason"]) == (403, "CAPABILITY_MISSING"), answer.text
    taken_away = await http.patch(
        f"{subscriptions}/{made.json()['id']}", json={"signature_scheme": "none"}, headers=bearer(held)
    )
    assert (taken_away.status_code, taken_away.json()["reason"]) == (403, "CAPABILITY_MISSING"), taken_away.text
    may = await token(http, customer.key, capabilities=["manage", "secrets"])
    made = await http.post(subscriptions, json={"target_url": URL}, headers=bearer(may))
    assert made.json()["secret_key"].startswith("whsec_")


async def test_what_tells_of_payloads_needs_payloads_too(http: httpx.AsyncClient, customer: Customer) -> None:
    held = await token(http, customer.key, capabilities=["manage"])
    shown = await token(http, customer.key, capabilities=["manage", "payloads"])
    named = {"target_url": URL, "event_types": ["own.made"], "filter": "event.data.amount > 100"}
    filtered = (await http.post("/api/v1/subscriptions", json=named, headers=bearer(customer.key))).json()["id"]
    document = {"specversion": "1.0", "type": "own.made", "source": "/a", "id": "1", "data": {"amount": 5}}
    event = json.dumps(document | {"subject": "Ann Example"})
    structured = {"Content-Type": "application/cloudevents+json"}
    sent = await http.post("/api/v1/cloudevents", content=event, headers=bearer(customer.key) | structured)
    event_id = sent.json()["event_id"]
    preview = {"template": {"preset": "slack"}, "event_id": event_id}
    check = {"filter": "event.data.amount == 5", "event_ids": [event_id]}
    for key, sees in ((held, False), (shown, True)):
        found = (await http.get(f"/api/v1/events/{event_id}", headers=bearer(key))).json()
        assert ("Ann Example" in json.dumps(found)) is sees
        only = {"subscription_id": filtered}
        routing = await http.get(f"/api/v1/events/{event_id}/routing", params=only, headers=bearer(key))
        ((route),) = routing.json()["items"]
        assert ("Its filter was false" in route["explanation"]) is sees
        assert ("a payload that is not shown" in route["explanation"]) is not sees
        for path, body in (("templates/preview", preview), ("filters/check", check)):
            answer = await http.post(f"/api/v1/{path}", json=body, headers=bearer(key))
            assert answer.status_code == (200 if sees else 403), answer.text


async def test_a_subscription_is_tried_with_both_capabilities(http: httpx.AsyncClient, customer: Customer) -> None:
    for capabilities, status in ((["manage"], 403), (["test"], 403), (["manage", "test"], 200)):
        held = await token(http, customer.key, capabilities=capabilities)
        body = {"target_url": "http://127.0.0.1:9/"}
        answer = await http.post("/api/v1/subscriptions/test", json=body, headers=bearer(held))
        assert answer.status_code == status, answer.text
        body |= {"secret_key": "whsec_" + "c2VjcmV0" * 4}
        answer = await http.post("/api/v1/subscriptions/test", json=body, headers=bearer(held))
        assert (answer.status_code, answer.json()["reason"]) == (403, "CAPABILITY_MISSING")


async def test_secrets_of_templates_need_the_capability(http: httpx.AsyncClient, customer: Customer) -> None:
    held = await token(http, customer.key, capabilities=["manage"])
    path = f"/api/v1/subscriptions/{customer.own['subscription_id']}"
    for values in ({"key": "v"}, None):
        answer = await http.patch(path, json={"template_secrets": values}, headers=bearer(held))
        assert (answer.status_code, answer.json()["reason"]) == (403, "CAPABILITY_MISSING"), answer.text


async def test_the_token_beats_a_cookie_and_acts_under_its_own_name(
    keyed: Stack, http: httpx.AsyncClient, customer: Customer
) -> None:
    held = await token(http, customer.key, subscriptions=[customer.own["subscription_id"]])
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60) as browser:
        signed_in = await browser.post("/console/session", json={"key": ADMIN_KEY}, headers={"X-Webhook-Console": "1"})
        assert signed_in.status_code == 201
        found = await browser.get("/api/v1/subscriptions", headers=bearer(held))
        assert [one["id"] for one in found.json()["items"]] == [customer.own["subscription_id"]]
        assert (await browser.get("/api/v1/admin/tenants", headers=bearer(held))).status_code == 403
    paused = f"/api/v1/subscriptions/{customer.own['subscription_id']}/pause"
    assert (await http.post(paused, headers=bearer(held))).status_code == 200
    newest, *_ = await listed(http, resource_id=customer.own["subscription_id"])
    assert newest["action"] == "subscription.pause"
    assert newest["actor"].startswith("portal:")


async def test_a_portal_looks_as_its_tenant_wants(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    key = await admin.key(await admin.tenant(a_name))
    tenant = f"/api/v1/admin/tenants/{a_name}"
    png = b"\x89PNG\r\n\x1a\n" + b"a picture"
    encoded = base64.b64encode(png).decode()
    look = {"name": "Acme Webhooks", "accent": "#0a6b5e", "accent_dark": "#6fd6c4", "logo_base64": encoded}
    changed = await http.patch(tenant, json={"portal": look}, headers=bearer(ADMIN_KEY))
    expected = {"name": "Acme Webhooks", "accent": "#0a6b5e", "accent_dark": "#6fd6c4", "has_logo": True}
    assert (changed.status_code, changed.json()["portal"]) == (200, expected), changed.text
    (entry, *_) = await listed(http, resource_id=a_name)
    changed_fields = ["portal.accent", "portal.accent_dark", "portal.logo", "portal.name"]
    assert sorted(entry["changes"], key=str) == [{"field": name} for name in changed_fields]

    made = await link(http, key)
    path = made["url"].partition("#")[0]
    assert (await exchanged(http, made["url"])).json()["look"] == expected
    logo = await http.get(f"{path}/logo")
    assert (logo.content, logo.headers["content-type"], logo.headers["x-content-type-options"]) == (
        png,
        "image/png",
        "nosniff",
    )
    cleared = await http.patch(tenant, json={"portal": {"logo_base64": None}}, headers=bearer(ADMIN_KEY))
    assert cleared.json()["portal"] == expected | {"has_logo": False}
    assert (await http.get(f"{path}/logo")).status_code == 404
    svg = base64.b64encode(b"<svg onload='alert(1)'/>").decode()
    for wrong in (
        *({"accent": "#ffff00"}, {"accent": "red"}, {"accent_dark": "#000000"}),
        *({"logo_base64": svg}, {"logo_base64": "¾"}),
    ):
        refused = await http.patch(tenant, json={"portal": wrong}, headers=bearer(ADMIN_KEY))
        assert refused.status_code == 422, wrong
        assert refused.json()["errors"][0]["field"].startswith("portal.")


async def test_pages_of_no_link_are_framed_by_nobody_and_only_the_element_is_shared(http: httpx.AsyncClient) -> None:
    html = {"Accept": "text/html"}
    for path in (f"/portal/{ids.new()}", f"/portal/{ids.new()}/deliveries/x"):
        page = await http.get(path, headers=html)
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "access-control-allow-origin" not in page.headers
    assert (await http.get("/portal/not-an-id", headers=html)).status_code == 404
    element = await http.get("/portal/webhook-portal.js", headers={"Origin": "https://app.example.com"})
    assert element.headers["content-type"].startswith("text/javascript")
    assert element.headers["access-control-allow-origin"] == "*"
    assert element.headers["cross-origin-resource-policy"] == "cross-origin"
    api = await http.get("/api/v1/subscriptions", headers={"Origin": "https://app.example.com", **bearer(ADMIN_KEY)})
    assert not {"access-control-allow-origin", "cross-origin-resource-policy"} & set(api.headers)


async def test_made_up_origins_are_refused(http: httpx.AsyncClient) -> None:
    for origin in (
        "*",
        "https://a.example/x",
        "javascript:1",
        "https://a b",
        "https://*.example.com",
        "https://A.B",
        "a;b",
    ):
        body = {"capabilities": ["view"], "origin": origin}
        answer = await http.post(LINKS, json=body, headers=bearer(ADMIN_KEY))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "origin"), origin


async def test_many_at_once_exchange_a_link_once(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    made = await link(http, await admin.key(await admin.tenant(a_name)))
    answers = await asyncio.gather(*(exchanged(http, made["url"]) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201, *[401] * 7]
    assert all(json.loads(answer.text) for answer in answers)
