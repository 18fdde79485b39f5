"""People who sign in by OpenID Connect: from the console to the issuer, back, and what is in the audit log."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from dev.harness import oidc
from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.oidc import Person, Provider
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.platform import ids
from tests.e2e.access.test_audit import listed

BEGIN, SESSION = "/console/oidc", "/console/session"
CHANGE = {"X-Webhook-Console": "1"}


@pytest.fixture
async def provider(oidc_port: int) -> AsyncIterator[Provider]:
    async with oidc.providing(oidc_port) as running:
        running.person = Person(subject=str(ids.new()), groups=["operators"], name="Grace Hopper")
        yield running


@pytest.fixture
async def browser(keyed: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60) as opened:
        yield opened


async def gone(browser: httpx.AsyncClient) -> str:
    """Begin, and go to the issuer; return the path that it sends the browser back to."""
    begun = await browser.post(BEGIN, headers=CHANGE)
    assert (begun.status_code, begun.headers["cache-control"]) == (201, "no-store"), begun.text
    async with httpx.AsyncClient() as outside:  # cookies of this host are not for the issuer
        back = urlsplit((await outside.get(begun.json()["url"])).headers["location"])
    return f"{back.path}?{back.query}"


async def came_to(browser: httpx.AsyncClient, path: str) -> str:
    # As browsers say of a navigation that another website began.
    answer = await browser.get(path, headers={"Sec-Fetch-Site": "cross-site", "User-Agent": "a browser"})
    assert (answer.status_code, answer.headers["cache-control"]) == (303, "no-store"), answer.text
    assert "webhook_sign_in" not in browser.cookies
    return str(answer.headers["location"])


async def test_a_person_signs_in_acts_and_is_named_in_the_audit_log(
    browser: httpx.AsyncClient, provider: Provider, admin: Admin
) -> None:
    found = (await browser.get(SESSION)).json()
    assert (found["oidc"], found["caller"]) == (True, None)
    back = await gone(browser)
    assert await came_to(browser, back) == "/sign-in"
    caller = (await browser.get(SESSION)).json()["caller"]
    assert (caller["name"], caller["role"], caller["tenant_id"]) == ("Grace Hopper", "admin", "default")
    body = {"target_url": "https://example.com/hook"}
    made = await browser.post("/api/v1/subscriptions", json=body, headers=CHANGE)
    assert made.status_code == 201
    entries = await listed(admin.http, actor=caller["key_id"])
    assert [(entry["action"], entry["actor_name"]) for entry in entries] == [
        ("subscription.create", "Grace Hopper"),
        ("session.create", "Grace Hopper"),
        ("api_key.create", "Grace Hopper"),
    ]
    # What a member is has a place among the keys, and ends there.
    items = (await admin.http.get("/api/v1/admin/api-keys", headers=bearer(ADMIN_KEY))).json()["items"]
    (member,) = [item for item in items if item["id"] == caller["key_id"]]
    assert (member["oidc_subject"], member["prefix"]) == (provider.person.subject, "oidc")
    revoked = await admin.http.delete(f"/api/v1/admin/api-keys/{member['id']}", headers=bearer(ADMIN_KEY))
    assert revoked.status_code == 204

    async def ended() -> bool:
        return (await browser.get(SESSION)).json()["caller"] is None

    await wait_until(ended, what="the session to end with its member")
    assert await came_to(browser, await gone(browser)) == "/sign-in?problem=refused"


async def test_what_goes_wrong_on_the_way_back_leads_to_the_page_and_to_no_session(
    browser: httpx.AsyncClient, keyed: Stack, provider: Provider
) -> None:
    async def came_back(path: str) -> str:
        to = await came_to(browser, path)
        assert (await browser.get(SESSION)).json()["caller"] is None
        return to

    assert await came_back(f"{BEGIN}/callback?error=access_denied&state=x") == "/sign-in?problem=denied"
    assert await came_back(f"{BEGIN}/callback") == "/sign-in?problem=refused"
    assert await came_back((await gone(browser)).replace("state=", "state=0")) == "/sign-in?problem=refused"
    # Nobody goes on with what another browser began, or with an address that was used.
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60) as other:
        theirs = await gone(other)
        assert await came_back(theirs) == "/sign-in?problem=refused"
    provider.person = Person(subject="nobody", groups=["others"])
    assert await came_back(await gone(browser)) == "/sign-in?problem=role"
    provider.person = Person(subject="reader", groups=["readers"])
    back = await gone(browser)
    attempt = browser.cookies["webhook_sign_in"]
    assert await came_to(browser, back) == "/sign-in"
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60) as other:
        other.cookies.set("webhook_sign_in", attempt, domain="127.0.0.1")
        assert await came_to(other, back) == "/sign-in?problem=refused"
    # Its role is kept over REST as that of a key is.
    refused = await browser.post("/api/v1/subscriptions", json={"target_url": "https://example.com/"}, headers=CHANGE)
    assert refused.json()["reason"] == "ROLE_INSUFFICIENT"


async def test_no_other_website_begins_a_sign_in_and_the_cookie_is_for_this_host(
    browser: httpx.AsyncClient, provider: Provider
) -> None:
    for headers in ({}, CHANGE | {"Sec-Fetch-Site": "cross-site"}):
        answer = await browser.post(BEGIN, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "CROSS_SITE_REQUEST")
    answer = await browser.post(BEGIN, headers=CHANGE | {"Host": "webhooks.example.com"})
    cookie = answer.headers["set-cookie"].split("; ")
    assert cookie[0].startswith("__Host-webhook_sign_in=")
    assert cookie[1:] == ["Path=/", "Max-Age=600", "HttpOnly", "Secure", "SameSite=Lax"]
    assert answer.json()["url"].startswith(f"{provider.issuer}/authorize?")
