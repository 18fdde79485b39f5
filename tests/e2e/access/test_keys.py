"""The life of a key: created, shown once, used, limited, expired, revoked."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import grpc
import httpx
import pytest

from dev.harness import keys
from dev.harness.keys import ADMIN_KEY, ENCRYPTION_KEY, SERVICE_KEY, Admin, bearer
from dev.harness.stack import ROOT, Stack
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2, deliveries_pb2_grpc, jobs_pb2
from services.platform import ids
from tests.e2e.access.conftest import Channels

GET_DELIVERY = "/webhook.v1.DeliveryService/GetDelivery"
OPEN = ("/livez", "/healthz", "/readyz", "/metrics", "/docs", "/swagger", "/openapi.json", "/")
ASSET = "/docs/assets/swagger-ui.css"


async def status(http: httpx.AsyncClient, key: str, path: str = "/api/v1/stats") -> int:
    return (await http.get(path, headers=bearer(key))).status_code


@pytest.mark.parametrize(
    ("headers", "reason", "challenge"),
    [
        ({}, "KEY_MISSING", "Bearer"),
        (bearer("whk_" + "x" * 43), "KEY_INVALID", 'Bearer error="invalid_token"'),
        (bearer(SERVICE_KEY), "KEY_INVALID", 'Bearer error="invalid_token"'),
        (bearer(ADMIN_KEY + "x"), "KEY_INVALID", 'Bearer error="invalid_token"'),
        (bearer(ADMIN_KEY.upper()), "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"Authorization": ADMIN_KEY}, "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"Authorization": f"Bearer {' ' * 1000}{ADMIN_KEY}"}, "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"Authorization": "Bearer " + "x" * 60_000}, "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"Authorization": f"Basic {ADMIN_KEY}"}, "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"Authorization": b"Bearer \xff\xfe"}, "KEY_INVALID", 'Bearer error="invalid_token"'),
        ({"X-Api-Key": ADMIN_KEY}, "KEY_MISSING", "Bearer"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/subscriptions", "/api/v1/admin/tenants", "/nowhere"])
async def test_a_missing_or_bad_key_is_401_and_says_why(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], reason: str, challenge: str
) -> None:
    answer = await http.get(path, headers=headers)
    assert answer.status_code == 401
    assert (answer.json()["reason"], answer.headers["www-authenticate"]) == (reason, challenge)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
async def test_a_good_key_is_taken_however_its_header_is_spelled(http: httpx.AsyncClient, scheme: str) -> None:
    for _ in range(2):
        answer = await http.get("/api/v1/subscriptions", headers={"Authorization": f"{scheme}{ADMIN_KEY}"})
        assert answer.status_code == 200


@pytest.mark.parametrize("headers", [{}, bearer("whk_" + "x" * 43)])
@pytest.mark.parametrize("path", [*OPEN, ASSET, "/healthz/"])
async def test_open_paths_require_no_key(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    assert (await http.get(path, headers=headers)).status_code == 200


async def test_the_pages_of_the_console_require_no_key(http: httpx.AsyncClient) -> None:
    page = await http.get("/deliveries", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await http.get("/deliveries")).status_code == 404
    found = (await http.get("/console/session")).json()
    assert (found["required"], found["caller"]) == (True, None)


async def test_an_unknown_path_is_404_with_a_valid_key(http: httpx.AsyncClient) -> None:
    assert await status(http, ADMIN_KEY, "/nowhere") == 404


@pytest.mark.parametrize(("role", "expected"), [(None, b"401"), ("read", b"403")])
@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/subscriptions"])
async def test_a_refusal_does_not_wait_for_the_body(
    keyed: Stack, admin: Admin, path: str, role: str | None, expected: bytes
) -> None:
    key = await admin.key(role=role) if role else None
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", "Content-Type: application/json", "Content-Length: 1000"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = await asyncio.to_thread(connection.recv, 4096)
    assert answer.split()[1] == expected


async def test_a_key_is_shown_once_and_acts_for_its_tenant(http: httpx.AsyncClient, admin: Admin, a_name: str) -> None:
    await admin.tenant(a_name)
    created = await admin.created(tenant_id=a_name, name="Zoë's", role="write", requests_per_second=50)
    key = created.pop("key")
    assert key.startswith("whk_")
    assert created["prefix"] == key[:10]
    listed = await admin.listed(created["id"])
    assert listed == created | {"last_used_at": listed["last_used_at"]}
    assert (listed["tenant_id"], listed["name"], listed["role"], listed["requests_per_second"]) == (
        a_name, "Zoë's", "write", 50.0,
    )  # fmt: skip
    answer = await http.get("/api/v1/admin/api-keys", params={"tenant_id": a_name}, headers=bearer(ADMIN_KEY))
    assert [found["id"] for found in answer.json()["items"]] == [created["id"]]
    assert key not in answer.text
    assert await status(http, key) == 200


async def test_keys_are_only_digests_in_the_database_and_absent_from_logs(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin
) -> None:
    made = await admin.key()
    assert await status(http, made) == 200
    assert await status(http, made[:-1] + "~") == 401
    connection = await asyncpg.connect(keyed.ports["database_url"])
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [await connection.fetch(f'SELECT t::text FROM "{table["tablename"]}" t') for table in tables]
    dump = "\n".join(row[0] for found in rows for row in found)
    await connection.close()
    logs = "\n".join(path.read_text() for path in (keyed.data_dir / "logs").iterdir())
    assert made[:10] in dump
    for key in (made, made[:-1], ADMIN_KEY, SERVICE_KEY):
        assert key not in dump
        assert key.encode().hex() not in dump
        assert key not in logs


async def test_the_time_of_the_last_use_moves(http: httpx.AsyncClient, admin: Admin, channels: Channels) -> None:
    over_http, over_grpc = await admin.created(role="read"), await admin.created(role="read")
    assert over_http["last_used_at"] is None
    assert await status(http, over_http["key"]) == 200
    channel = channels["webhook.v1.DeliveryService"]
    assert await keys.code_of(channel, GET_DELIVERY, over_grpc["key"]) is grpc.StatusCode.INVALID_ARGUMENT

    for created in (over_http, over_grpc):

        async def used(key_id: str = created["id"]) -> bool:
            return (await admin.listed(key_id))["last_used_at"] is not None

        await wait_until(used)


async def test_a_revoked_key_is_refused_everywhere_soon_and_for_good(
    http: httpx.AsyncClient, admin: Admin, channels: Channels
) -> None:
    created = await admin.created()
    key = created["key"]
    services = ("webhook.v1.SubscriptionService", "webhook.v1.DeliveryService", "webhook.v1.AnalyticsService")
    methods = dict(zip(services, ("GetSubscription", "GetDelivery", "GetStats"), strict=True))

    async def refused() -> list[bool]:
        codes = [await keys.code_of(channels[name], f"/{name}/{method}", key) for name, method in methods.items()]
        return [await status(http, key) == 401, *(code is grpc.StatusCode.UNAUTHENTICATED for code in codes)]

    assert not any(await refused())
    await admin.revoke(created["id"])
    revoked_at = time.monotonic()

    async def all_refused() -> bool:
        # In constant use, like a stolen key.
        return all(await refused())

    await wait_until(all_refused)
    # Where keys are known for four seconds, and a busy machine has some to spare.
    assert time.monotonic() - revoked_at < 15
    assert (await http.get("/api/v1/stats", headers=bearer(key))).json()["reason"] == "KEY_INVALID"
    listed = await admin.listed(created["id"])
    await admin.revoke(created["id"])
    assert (await admin.listed(created["id"]))["revoked_at"] == listed["revoked_at"]


async def test_an_expired_key_is_rejected_with_that_reason(http: httpx.AsyncClient, admin: Admin) -> None:
    key = await admin.key(expires_at=(datetime.now(UTC) + timedelta(seconds=5)).isoformat())
    assert await status(http, key) == 200

    async def expired() -> bool:
        return await status(http, key) == 401

    await wait_until(expired)
    assert (await http.get("/api/v1/stats", headers=bearer(key))).json()["reason"] == "KEY_EXPIRED"


async def test_a_key_above_its_rate_gets_429_and_others_do_not(http: httpx.AsyncClient, admin: Admin) -> None:
    limited, other = await admin.key(requests_per_second=5), await admin.key()
    began_at = time.monotonic()
    answers = await asyncio.gather(
        *(http.get("/api/v1/stats", headers=bearer(key)) for key in [limited] * 30 + [other] * 30)
    )
    seconds = time.monotonic() - began_at
    refused = [answer for answer in answers[:30] if answer.status_code == 429]
    # A burst of five, and then five a second.
    assert 5 <= 30 - len(refused) <= 5 + 5 * seconds
    for answer in refused:
        assert (answer.json()["reason"], answer.headers["retry-after"]) == ("RATE_LIMITED", "1")
    for answer in answers[:30]:
        assert answer.headers["ratelimit-policy"] == '"key";q=5;w=1'
        assert answer.headers["ratelimit"] in {f'"key";r={left};t=1' for left in range(5)}
    assert not {"ratelimit", "ratelimit-policy"}.intersection(answers[30].headers)
    assert {answer.status_code for answer in answers[30:]} == {200}

    async def again() -> bool:
        return await status(http, limited) == 200

    await wait_until(again)


async def test_known_keys_go_on_for_a_while_without_ingest_and_others_are_503(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin
) -> None:
    known, unknown = await admin.key(), await admin.key()
    assert await status(http, known) == 200
    pid = keyed.pid_of("ingest")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped_at = time.monotonic()
        assert await status(http, known) == 200
        answer = await http.get("/api/v1/stats", headers=bearer(unknown))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        # After three seconds ingest counts as unavailable; a call that has no deadline would wait until it goes on.
        assert time.monotonic() - stopped_at < 15

        async def ended() -> bool:
            return await status(http, known) == 503

        await wait_until(ended)
    finally:
        os.kill(pid, signal.SIGCONT)

    async def back() -> bool:
        return [await status(http, key) for key in (known, unknown)] == [200, 200]

    await wait_until(back)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"role": "internal"}, "role"),
        ({"role": "Admin"}, "role"),
        ({"tenant_id": "nobody-of-this-name"}, "tenant_id"),
        ({"tenant_id": "A"}, "tenant_id"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:00"}, "expires_at"),
        ({"requests_per_second": 0}, "requests_per_second"),
        ({"requests_per_second": 1e9}, "requests_per_second"),
        ({"key": "whk_" + "x" * 40}, "key"),
    ],
)
async def test_a_key_that_cannot_be_is_422_and_names_the_field(
    http: httpx.AsyncClient, fields: dict[str, object], at_fault: str
) -> None:
    body = {"name": "a test's", "role": "read", **fields}
    answer = await http.post("/api/v1/admin/api-keys", json=body, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [at_fault]


@pytest.mark.parametrize("role", ["gateway", "ingest", "delivery", "analytics"])
def test_process_without_its_keys_does_not_start_in_production_and_logs_one_line(role: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ENV": "production", "METRICS_PORT": "0"}
    environment |= {"BOOTSTRAP_ADMIN_KEY": ADMIN_KEY, "ENCRYPTION_KEYS": ENCRYPTION_KEY}
    done = subprocess.run(
        [sys.executable, "-m", "services", role],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "SERVICE_KEY: is required, unless ENV=development or AUTH_REQUIRED=false\n"


async def test_a_key_that_is_sent_is_checked_even_where_none_is_required(stack: Stack, a_name: str) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        assert (await http.get("/api/v1/stats")).status_code == 200
        assert (await http.post("/api/v1/admin/tenants", json={"id": a_name})).status_code == 201
        body = {"tenant_id": a_name, "name": "a test's", "role": "write"}
        key = (await http.post("/api/v1/admin/api-keys", json=body)).json()["key"]
        assert await status(http, key[:-1] + "~") == 401
        made = await http.post(
            "/api/v1/subscriptions", json={"target_url": "https://example.com/hook"}, headers=bearer(key)
        )
        path = f"/api/v1/subscriptions/{made.json()['id']}"
        assert await status(http, key, path) == 200
        assert (await http.get(path)).status_code == 404
        assert await status(http, key, "/api/v1/admin/tenants") == 403


async def test_only_a_key_with_the_capability_erases_events(
    http: httpx.AsyncClient, admin: Admin, channels: Channels
) -> None:
    wanted = {"kind": "erase", "filter": {"event_ids": [str(ids.new())]}, "dry_run": True}
    able = await admin.created(capabilities=["erase"])
    assert (able["capabilities"], (await admin.listed(able["id"]))["capabilities"]) == (["erase"], ["erase"])
    for key, expected in ((await admin.key(), 403), (able["key"], 200), (ADMIN_KEY, 200)):
        answer = await http.post("/api/v1/jobs", json=wanted, headers=bearer(key))
        assert answer.status_code == expected, answer.text
        if expected == 403:
            assert answer.json()["reason"] == "CAPABILITY_MISSING"
    request = jobs_pb2.PreviewJobRequest(kind=jobs_pb2.JOB_KIND_ERASE).SerializeToString()
    method = "/webhook.v1.JobService/PreviewJob"
    codes = [
        await keys.code_of(channels["webhook.v1.JobService"], method, key, request)
        for key in (await admin.key(), able["key"])
    ]
    assert codes == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT]


async def test_a_key_may_be_limited_to_pulling_from_some_subscriptions(http: httpx.AsyncClient, admin: Admin) -> None:
    paths = []
    for _ in range(2):
        made = await http.post("/api/v1/subscriptions", json={"destination": "pull"}, headers=bearer(ADMIN_KEY))
        paths.append(f"/api/v1/subscriptions/{made.json()['id']}")
    own, other = paths
    limited = await admin.created(role="pull", pull_subscription_ids=[own.rsplit("/", 1)[1]])
    assert (await admin.listed(limited["id"]))["pull_subscription_ids"] == limited["pull_subscription_ids"] != []
    key = bearer(limited["key"])
    assert (await http.post(f"{own}/pull", json={}, headers=key)).status_code == 200
    result = {"delivery_id": str(ids.new()), "lease_token": str(ids.new()), "outcome": "success"}
    for path, body in (("pull", {}), ("pull/results", {"results": [result]})):
        refused = await http.post(f"{other}/{path}", json=body, headers=key)
        assert (refused.status_code, refused.json()["reason"]) == (403, "SUBSCRIPTION_FORBIDDEN")
    assert (await http.get(own, headers=key)).json()["reason"] == "ROLE_INSUFFICIENT"
    unlimited = {"name": "a test's", "role": "read", "pull_subscription_ids": [own.rsplit("/", 1)[1]]}
    answer = await http.post("/api/v1/admin/api-keys", json=unlimited, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["pull_subscription_ids"]


async def test_a_key_that_ends_while_it_waits_pulls_nothing(
    http: httpx.AsyncClient, channels: Channels, admin: Admin
) -> None:
    made = await http.post("/api/v1/subscriptions", json={"destination": "pull"}, headers=bearer(ADMIN_KEY))
    subscription_id = made.json()["id"]
    consumer, channel = await admin.created(role="pull"), channels["webhook.v1.DeliveryService"]
    stub: deliveries_pb2_grpc.DeliveryServiceAsyncStub = deliveries_pb2_grpc.DeliveryServiceStub(channel)
    assert (
        await keys.code_of(channel, "/webhook.v1.DeliveryService/Report", consumer["key"])
        is not grpc.StatusCode.UNAUTHENTICATED
    )
    asked = deliveries_pb2.PullDeliveriesRequest(subscription_id=subscription_id, wait_seconds=30)
    waiting = stub.PullDeliveries(asked, metadata=(("authorization", f"Bearer {consumer['key']}"),), timeout=60)
    await admin.revoke(consumer["id"])

    async def is_refused() -> bool:
        code = await keys.code_of(channel, "/webhook.v1.DeliveryService/Report", consumer["key"])
        return code is grpc.StatusCode.UNAUTHENTICATED

    await wait_until(is_refused, what="the refusal of a revoked key")
    sent = await http.post(f"/api/v1/webhooks/ingest/{subscription_id}", json={}, headers=bearer(ADMIN_KEY))
    assert sent.status_code == 202, sent.text
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await waiting
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    pulled = await http.post(f"/api/v1/subscriptions/{subscription_id}/pull", json={}, headers=bearer(ADMIN_KEY))
    assert len(pulled.json()["deliveries"]) == 1


@pytest.mark.parametrize("role", ["ingest", "read"])
async def test_a_capability_needs_a_role_that_can_use_it(http: httpx.AsyncClient, role: str) -> None:
    body = {"name": "a test's", "role": role, "capabilities": ["erase"]}
    answer = await http.post("/api/v1/admin/api-keys", json=body, headers=bearer(ADMIN_KEY))
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["capabilities"])
