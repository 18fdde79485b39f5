"""People who sign in with a key: the cookie, what it allows, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.ingest.access import sessions
from services.platform import ids
from tests.e2e.access.test_audit import listed

SESSION = "/console/session"
SESSIONS = "/api/v1/admin/sessions"
CHANGE = {"X-Webhook-Console": "1"}
SUBSCRIPTION = {"target_url": "https://example.com/hook"}


@pytest.fixture
async def browser(keyed: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A browser: it keeps cookies, and sends no key."""
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60) as opened:
        yield opened


async def signed_in(browser: httpx.AsyncClient, key: str) -> str:
    """Sign in, and return the session's id."""
    answer = await browser.post(SESSION, json={"key": key}, headers=CHANGE | {"User-Agent": "a browser"})
    assert answer.status_code == 201, answer.text
    async with httpx.AsyncClient(base_url=browser.base_url, headers=bearer(ADMIN_KEY), timeout=60) as http:
        newest = (await http.get(SESSIONS, params={"limit": 1})).json()["items"][0]
    assert newest["key_id"] == answer.json()["caller"]["key_id"]
    return str(newest["id"])


async def caller_of(browser: httpx.AsyncClient) -> object:
    answer = await browser.get(SESSION)
    assert answer.json()["required"] is True
    return answer.json()["caller"]


async def test_a_session_stands_in_for_its_key(browser: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    made = await admin.created(tenant_id=a_name, role="write", name="Ada")
    assert await caller_of(browser) is None
    assert (await browser.get("/api/v1/subscriptions")).json()["reason"] == "KEY_MISSING"

    answer = await browser.post(SESSION, json={"key": made["key"]}, headers=CHANGE | {"User-Agent": "a browser"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert (await browser.get(SESSION)).json() == answer.json()
    assert answer.json()["caller"] == {"key_id": made["id"], "name": "Ada", "role": "write", "tenant_id": a_name}
    listing = await admin.http.get(SESSIONS, params={"tenant_id": a_name}, headers=bearer(ADMIN_KEY))
    (session,) = listing.json()["items"]
    assert (session["key_name"], session["user_agent"], session["revoked_at"]) == ("Ada", "a browser", None)
    assert session["expires_at"] == answer.json()["expires_at"]

    assert (await browser.post("/api/v1/subscriptions", json=SUBSCRIPTION, headers=CHANGE)).status_code == 201
    (found,) = (await browser.get("/api/v1/subscriptions")).json()["items"]
    assert (await browser.get(SESSIONS)).json()["reason"] == "ROLE_INSUFFICIENT"
    entries = await listed(admin.http, tenant_id=a_name, actor=made["id"])
    assert [(entry["action"], entry["actor_name"], entry["resource_id"]) for entry in entries] == [
        ("subscription.create", "Ada", found["id"]),
        ("session.create", "Ada", session["id"]),
    ]


async def test_the_cookie_is_for_this_host_and_not_for_scripts(browser: httpx.AsyncClient) -> None:
    elsewhere = {"Host": "webhooks.example.com"}
    body = {"key": ADMIN_KEY}
    local = (await browser.post(SESSION, json=body, headers=CHANGE)).headers["set-cookie"]
    remote = (await browser.post(SESSION, json=body, headers=CHANGE | elsewhere)).headers["set-cookie"]
    browser.cookies.clear()
    token, rest = local.removeprefix("webhook_session=").split("; ", 1)
    assert rest == "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    assert remote.startswith("__Host-webhook_session=whs_")
    assert remote.split("; ")[1:] == ["Path=/", "Max-Age=43200", "HttpOnly", "Secure", "SameSite=Strict"]

    async def status(cookie: str, **headers: str) -> int:
        answer = await browser.get("/api/v1/subscriptions", headers={"Cookie": cookie, **headers})
        return answer.status_code

    assert await status(f"a=b; webhook_session={token}; c=d") == 200
    assert await status(f"__Host-webhook_session={token}", **elsewhere) == 200
    # Another host of the domain may have set it.
    assert await status(f"webhook_session={token}", **elsewhere) == 401
    assert await status(f"webhook_session={token}x") == await status("webhook_session=") == 401
    # No key, and no token of a session in place of one.
    assert (await browser.get("/api/v1/subscriptions", headers=bearer(token))).status_code == 401
    assert await status(f"webhook_session={ADMIN_KEY}") == 401


async def test_no_other_website_uses_a_session(browser: httpx.AsyncClient) -> None:
    answer = await browser.post(SESSION, json={"key": ADMIN_KEY})
    assert (answer.status_code, answer.json()["reason"]) == (403, "CROSS_SITE_REQUEST")
    await signed_in(browser, ADMIN_KEY)
    refused = [
        await browser.post("/api/v1/subscriptions", json=SUBSCRIPTION),
        await browser.delete(SESSION),
        await browser.get("/api/v1/subscriptions", headers={"Sec-Fetch-Site": "cross-site"}),
        await browser.post(
            "/api/v1/subscriptions", json=SUBSCRIPTION, headers=CHANGE | {"Sec-Fetch-Site": "cross-site"}
        ),
    ]
    assert [(answer.status_code, answer.json()["reason"]) for answer in refused] == [(403, "CROSS_SITE_REQUEST")] * 4
    # A key beats the cookie, and needs no header.
    answer = await browser.post("/api/v1/subscriptions", json=SUBSCRIPTION, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 201
    assert (await browser.get("/api/v1/subscriptions", headers=bearer("whk_" + "x" * 43))).status_code == 401


async def test_no_cache_keeps_what_a_session_reads(browser: httpx.AsyncClient, admin: Admin) -> None:
    key = await admin.key(role="read")
    await signed_in(browser, key)
    for path, status in (("/api/v1/subscriptions", 200), (f"/api/v1/subscriptions/{ids.new()}", 404)):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers.get_list("cache-control")) == (status, ["no-store"])
    # Caches know what Authorization means.
    assert "cache-control" not in (await browser.get("/api/v1/subscriptions", headers=bearer(key))).headers


async def test_a_session_acts_in_other_tenants_as_its_key_does(
    browser: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    await signed_in(browser, ADMIN_KEY)
    in_tenant = {"X-Tenant": a_name}
    made = await browser.post("/api/v1/subscriptions", json=SUBSCRIPTION, headers=CHANGE | in_tenant)
    assert made.json()["tenant_id"] == a_name
    keys = await browser.get("/api/v1/admin/api-keys", params={"tenant_id": a_name})
    assert keys.status_code == 200


async def test_signing_out_ends_the_session(browser: httpx.AsyncClient, admin: Admin) -> None:
    made = await admin.created(role="read")
    session_id = await signed_in(browser, made["key"])
    cookie = {"Cookie": f"webhook_session={browser.cookies['webhook_session']}"}
    answer = await browser.delete(SESSION, headers=CHANGE)
    assert (answer.status_code, "webhook_session" in browser.cookies) == (204, False)
    assert (await browser.get(SESSION, headers=cookie)).json()["caller"] is None

    async def is_refused() -> bool:
        return (await browser.get("/api/v1/subscriptions", headers=cookie)).status_code == 401

    await wait_until(is_refused, what="the refusal of a token that was used before")
    (ended, began) = await listed(admin.http, resource_id=session_id)
    assert (began["action"], ended["action"], ended["actor"]) == ("session.create", "session.revoke", made["id"])
    assert (await browser.delete(SESSION, headers=CHANGE | cookie)).status_code == 204
    assert len(await listed(admin.http, resource_id=session_id)) == 2


async def test_signing_in_again_ends_the_session_before(browser: httpx.AsyncClient, admin: Admin) -> None:
    made = await admin.created(role="read")
    before = await signed_in(browser, made["key"])
    cookie = {"Cookie": f"webhook_session={browser.cookies['webhook_session']}"}
    other = await admin.created(role="read")
    await signed_in(browser, other["key"])
    browser.cookies.clear()
    assert (await browser.get(SESSION, headers=cookie)).json()["caller"] is None
    (ended, _) = await listed(admin.http, resource_id=before)
    assert (ended["action"], ended["actor"]) == ("session.revoke", made["id"])


async def test_admins_list_and_revoke_sessions(
    browser: httpx.AsyncClient, http: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    key = await admin.key(a_name, "read")
    sessions_of_key = []
    for _ in range(2):
        browser.cookies.clear()  # as another browser
        sessions_of_key.append(await signed_in(browser, key))
    page = await http.get(SESSIONS, params={"tenant_id": a_name, "limit": 1}, headers=bearer(ADMIN_KEY))
    rest = {"tenant_id": a_name, "cursor": page.json()["next_cursor"]}
    found = page.json()["items"] + (await http.get(SESSIONS, params=rest, headers=bearer(ADMIN_KEY))).json()["items"]
    assert [session["id"] for session in found] == sessions_of_key[::-1]
    assert {session["revoked_at"] for session in found} == {None}

    path = f"{SESSIONS}/{sessions_of_key[1]}"
    assert (await http.delete(path, headers=bearer(key))).status_code == 403
    for _ in range(2):
        assert (await http.delete(path, headers=bearer(ADMIN_KEY))).status_code == 204
    assert await caller_of(browser) is None
    newest, _ = (await http.get(SESSIONS, params={"tenant_id": a_name}, headers=bearer(ADMIN_KEY))).json()["items"]
    assert newest["revoked_at"] is not None
    (revoked, _) = await listed(http, resource_id=sessions_of_key[1])
    assert (revoked["action"], revoked["actor"], revoked["tenant_id"]) == ("session.revoke", "bootstrap", a_name)
    unknown = await http.delete(f"{SESSIONS}/{revoked['id']}", headers=bearer(ADMIN_KEY))
    assert unknown.status_code == 404


async def test_a_session_ends_with_its_key(browser: httpx.AsyncClient, admin: Admin) -> None:
    made = await admin.created(role="read")
    await signed_in(browser, made["key"])
    assert await caller_of(browser) is not None
    await admin.revoke(made["id"])
    assert await caller_of(browser) is None


async def test_only_a_key_that_reads_signs_in(browser: httpx.AsyncClient, admin: Admin) -> None:
    await signed_in(browser, ADMIN_KEY)
    token = browser.cookies["webhook_session"]
    sender = await admin.key(role="ingest")
    refused = {
        sender: (403, "ROLE_INSUFFICIENT"),
        "whk_" + "x" * 43: (401, "KEY_INVALID"),
        token: (401, "KEY_INVALID"),  # it would never end
        "": (401, "KEY_INVALID"),
    }
    for key, expected in refused.items():
        answer = await browser.post(SESSION, json={"key": key}, headers=CHANGE)
        assert (answer.status_code, answer.json()["reason"]) == expected, key
    for body in (b"", b"{}", b"[]", b'{"key": 1}', b'{"key": "\xff"}', b'{"key": "a", "more": 1}'):
        answer = await browser.post(SESSION, content=body, headers=CHANGE)
        assert (answer.status_code, answer.json()["reason"]) == (422, "INVALID_ARGUMENT"), body
    assert (await browser.post(SESSION, content=b"x" * 5000, headers=CHANGE)).status_code == 413


async def test_tokens_are_only_digests_in_the_database_and_old_sessions_leave(
    keyed: Stack, browser: httpx.AsyncClient, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await admin.key(role="read")
    session_id = await signed_in(browser, key)
    async with asyncpg.create_pool(keyed.ports["database_url"], min_size=0, max_size=1) as pool:
        rows = await pool.fetch("SELECT s::text FROM sessions s")
        assert not any(browser.cookies["webhook_session"] in row[0] or key in row[0] for row in rows)
        store = sessions.SessionStore(pool)
        await store.delete_expired()
        assert await pool.fetchval("SELECT count(*) FROM sessions WHERE id = $1", session_id) == 1
        await pool.execute("UPDATE sessions SET expires_at = now() WHERE id = $1", session_id)
        assert await caller_of(browser) is None
        monkeypatch.setattr(sessions, "SESSION_SECONDS", -1)
        await store.delete_expired()
        assert await pool.fetchval("SELECT count(*) FROM sessions WHERE id = $1", session_id) == 0


async def test_a_key_has_a_bounded_number_of_sessions(keyed: Stack, browser: httpx.AsyncClient, admin: Admin) -> None:
    made = await admin.created(role="read")
    first = await signed_in(browser, made["key"])
    async with asyncpg.create_pool(keyed.ports["database_url"], min_size=0, max_size=1) as pool:
        await pool.execute(
            "INSERT INTO sessions (id, tenant_id, token_hash, key_hash, expires_at)"
            " SELECT another, tenant_id, sha256(another::text::bytea), key_hash, expires_at"
            " FROM sessions, unnest($2::uuid[]) another WHERE id = $1",
            first,
            [ids.new() for _ in range(sessions.MAX_SESSIONS - 1)],
        )
        newest = await signed_in(browser, made["key"])
        kept = await pool.fetch(
            "SELECT s.id::text FROM sessions s JOIN api_keys k USING (key_hash) WHERE k.id = $1", made["id"]
        )
    assert len(kept) == sessions.MAX_SESSIONS
    assert newest in {row["id"] for row in kept}
    assert first not in {row["id"] for row in kept}


async def test_signing_in_has_a_rate(browser: httpx.AsyncClient, admin: Admin) -> None:
    body = {"key": await admin.key(role="read")}
    began_at = time.monotonic()
    answers = await asyncio.gather(*(browser.post(SESSION, json=body, headers=CHANGE) for _ in range(40)))
    seconds = time.monotonic() - began_at
    refused = [answer for answer in answers if answer.status_code != 201]
    # A burst of ten, and then ten a second.
    assert 10 <= 40 - len(refused) <= 10 + 10 * seconds
    for answer in refused:
        found = answer.status_code, answer.json()["reason"], answer.headers["retry-after"]
        assert found == (429, "RATE_LIMITED", "1")


async def test_the_rate_of_a_key_is_that_of_its_sessions(browser: httpx.AsyncClient, admin: Admin) -> None:
    await signed_in(browser, await admin.key(role="read", requests_per_second=2))
    began_at = time.monotonic()
    answers = await asyncio.gather(*(browser.get(SESSION) for _ in range(30)))
    seconds = time.monotonic() - began_at
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert 30 - len(refused) <= 2 + 2 * seconds


async def test_a_made_up_token_is_nobodys(browser: httpx.AsyncClient) -> None:
    cookie = {"Cookie": f"webhook_session=whs_{'x' * 43}"}
    for _ in range(2):  # the second is refused from memory
        answer = await browser.get(SESSION, headers=cookie)
        assert (answer.status_code, answer.json()["caller"]) == (200, None)
        assert (await browser.delete(SESSION, headers=CHANGE | cookie)).status_code == 204
