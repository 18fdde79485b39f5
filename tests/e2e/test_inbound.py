"""Providers' webhooks end to end, at their ingest URL: which are accepted, and with which type and id."""

import asyncio
import gzip
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.ingest.events.inbound.providers import (
    Signer,
    by_github,
    by_shopify,
    by_slack,
    by_standard,
    by_stripe,
    by_svix,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JSON = {"Content-Type": "application/json"}
BODY = '{"id": "evt_1", "type": "charge.succeeded", "event_id": "Ev1", "note": "Grüße"}'.encode()
NPM_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A provider, and how it sends."""

    preset: str
    sign: Signer
    # Headers with the type and id of its event, unsigned.
    named: dict[str, str] = field(default_factory=dict)
    # Signs BODY; returns the headers.
    event_type: str = "charge.succeeded"

    def __str__(self) -> str:
        """Return the name for test ids."""
        return self.sign.__name__

    def headers(self, secret: str = SECRET, body: bytes = BODY, *, late: int = 0) -> dict[str, str]:
        """Return the headers of a request signed now, or this many seconds ago."""
        return self.sign(secret, body, int(time.time()) - late) | self.named


PROVIDERS = [
    Provider(
        preset="github",
        sign=by_github,
        named={"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e"},
        event_type="push",
    ),
    Provider(preset="stripe", sign=by_stripe),
    Provider(
        preset="shopify",
        sign=by_shopify,
        named={"X-Shopify-Topic": "orders/create", "X-Shopify-Webhook-Id": "b54557e4"},
        event_type="orders/create",
    ),
    Provider(preset="slack", sign=by_slack),
    Provider(preset="standard-webhooks", sign=by_standard),
    Provider(preset="standard-webhooks", sign=by_svix),
]
every = pytest.mark.parametrize("provider", PROVIDERS, ids=str)


@pytest_asyncio.fixture(loop_scope="session")
async def rows(quick: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to inspect what is stored."""
    connection = await asyncpg.connect(quick.ports["database_url"])
    yield connection
    await connection.close()


class Inbound:
    """A subscription and its ingest URL."""

    def __init__(self, api: Api, rows: "asyncpg.Connection[asyncpg.Record]", subscription_id: str, path: str) -> None:
        self.api = api
        self.rows = rows
        self.subscription_id = subscription_id
        self.path = path

    @classmethod
    async def of(
        cls, api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target_url: str, **fields: Any
    ) -> "Inbound":
        """Create a subscription with an ingest URL."""
        made = await api.subscribe(target_url, **fields)
        answer = await api.http.post(f"/api/v1/subscriptions/{made}/ingest-token")
        return cls(api, rows, made, answer.json()["path"])

    async def send(self, headers: Any, body: bytes = BODY) -> Any:
        """Send to the URL, and return the response."""
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs = [*pairs, *JSON.items()]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
        return await self.api.http.post(self.path, content=body, headers=raw)

    async def refused(self, headers: Any, body: bytes = BODY) -> tuple[str, str]:
        """Return the reason of a 401 and the header it names; check that nothing is stored."""
        before = await self.count()
        answer = await self.send(headers, body)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
        problem = answer.json()
        assert answer.headers["www-authenticate"] == problem["errors"][0]["field"]
        assert SECRET not in answer.text
        assert await self.count() == before
        return problem["reason"], problem["errors"][0]["field"].lower()

    async def count(self) -> tuple[int, ...]:
        """Return the number of events, deliveries, and keys."""
        tables = ("webhook_events", "webhook_deliveries", "idempotency_keys")
        return tuple([await self.rows.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


@pytest.fixture
def target(receiver: Receiver) -> str:
    """The receiver of the deliveries."""
    return receiver.url()


@every
async def test_a_providers_webhook_is_delivered_once_under_its_own_type_and_no_forged_one_is(
    api: Api,
    rows: "asyncpg.Connection[asyncpg.Record]",
    receiver: Receiver,
    provider: Provider,
) -> None:
    inbound = await Inbound.of(
        api,
        rows,
        receiver.url(),
        verify=provider.preset,
        verification_secrets=[SECRET],
        event_types=[provider.event_type],
    )
    assert (await inbound.refused(provider.named))[0] == "SIGNATURE_MISSING"
    assert (await inbound.refused(provider.headers(body=BODY + b" ")))[0] == "SIGNATURE_MISMATCH"
    first = await inbound.send(provider.headers() | {"X-Event-Type": "stated"})
    assert (first.status_code, first.json()["status"]) == (202, "pending"), first.text
    (received,) = await receiver.wait_for(1)
    assert (received.body, received.headers["X-Event-Type"]) == (BODY, provider.event_type)
    before = await inbound.count()
    again = [await inbound.send(provider.headers(late=late)) for late in (0, 60)]
    assert [answer.json() for answer in again] == [first.json()] * 2
    assert [answer.headers.get("idempotent-replayed") for answer in (first, *again)] == [None, "true", "true"]
    assert await inbound.count() == before
    shown = (await api.http.get(f"/api/v1/subscriptions/{inbound.subscription_id}")).json()
    assert (shown["verify"], shown["has_verification_secret"]) == (provider.preset, True)
    assert SECRET not in json.dumps(shown)


async def test_the_tenant_sees_what_was_refused_by_subscription_and_reason(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str
) -> None:
    inbound = await Inbound.of(api, rows, target, verify="required")
    for _ in range(3):
        await inbound.refused({})
    await inbound.refused({"X-Hub-Signature-256": "sha256=" + 64 * "0"})
    assert (await inbound.send({"X-Event-Type": "?"})).status_code == 422
    found: dict[str, int] = {}

    async def counted() -> bool:
        parameters = {"subscription_id": inbound.subscription_id}
        answer = (await api.http.get("/api/v1/stats/refusals", params=parameters)).json()
        assert all(item["subscription_id"] == inbound.subscription_id for item in answer["items"])
        found.update((item["reason"], item["events"]) for item in answer["items"])
        return bool(answer["events"] == 5)

    await wait_until(counted, what="all refused webhooks in the statistics")
    assert found == {"SIGNATURE_MISSING": 3, "SIGNATURE_MISMATCH": 1, "INVALID_ARGUMENT": 1}


@pytest.mark.parametrize("body", [gzip.compress(b'{"n": 1}'), b""], ids=["gzip", "empty"])
async def test_a_body_is_verified_and_delivered_as_it_came_with_its_encoding(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver, body: bytes
) -> None:
    inbound = await Inbound.of(api, rows, receiver.url(), verify="shopify", verification_secrets=[SECRET])
    encoding = {"Content-Encoding": "gzip"} if body else {}
    answer = await inbound.send(by_shopify(SECRET, body, int(time.time())) | encoding, body)
    assert answer.status_code == 202, answer.text
    (received,) = await receiver.wait_for(1)
    assert (received.body, received.headers["Content-Type"]) == (body, "application/json")
    assert received.headers.get("Content-Encoding") == encoding.get("Content-Encoding")
    event = (await api.http.get(f"/api/v1/events/{answer.json()['event_id']}")).json()
    assert (event["payload"], event["payload_bytes"]) == (None, len(body))
    assert event.get("content_encoding") == encoding.get("Content-Encoding")


async def test_a_providers_webhook_is_found_by_what_is_in_it_and_sent_again(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    paths = {"charge": "/data/object/id", "amount": "/data/object/amount"}
    inbound = await Inbound.of(
        api, rows, receiver.url(), verify="stripe", verification_secrets=[SECRET], tag_paths=paths
    )
    body = b'{"id": "evt_tagged", "type": "charge.failed", "data": {"object": {"id": "ch_tagged", "amount": 9.90}}}'
    accepted = (await inbound.send(by_stripe(SECRET, body, int(time.time())), body)).json()
    await inbound.send(by_stripe(SECRET, BODY, int(time.time())))
    event = (await api.http.get(f"/api/v1/events/{accepted['event_id']}")).json()
    assert (event["tags"], event["payload"]) == ({"charge": "ch_tagged", "amount": "9.90"}, json.loads(body))
    for path, found in (("events", accepted["event_id"]), ("deliveries", accepted["delivery_id"])):
        answer = (await api.http.get(f"/api/v1/{path}?tag=charge=ch_tagged&tag=charge=none")).json()
        assert ([item["id"] for item in answer["items"]], answer["from"]) == ([found], None)
    summary = (await api.http.get("/api/v1/deliveries/summary?group_by=event_type&tag=amount=9.90")).json()
    assert summary["groups"] == [{"value": "charge.failed", "deliveries": 1}]
    await receiver.wait_for(2)
    for wanted in ({"tag": ["charge=ch_tagged"]}, {"provider_id": ["evt_tagged"]}):
        replay = {"kind": "replay", "filter": wanted, "dry_run": True}
        counts = (await api.http.post("/api/v1/jobs", json=replay)).json()["counts"]
        assert (counts["matched"], counts["done"]) == (1, 1)
    assert (await api.http.post("/api/v1/jobs", json=replay | {"dry_run": False})).status_code == 202
    requests = await receiver.wait_for(3)
    assert [request.body for request in requests].count(body) == 2


async def test_an_idempotency_key_is_answered_again_marked_and_refused_with_another_body(api: Api, target: str) -> None:
    made = await api.subscribe(target)
    for path, body, other in (
        (f"/api/v1/webhooks/ingest/{made}", {"payload": 1}, {"payload": 2}),
        ("/api/v1/events", {"event_type": "a", "payload": 1}, {"event_type": "b", "payload": 1}),
        ("/api/v1/subscriptions", {"target_url": target}, {"target_url": target, "description": "d"}),
        (f"/api/v1/subscriptions/{made}/rotate-secret", {}, {"overlap_hours": 1}),
        ("/api/v1/admin/tenants", {"id": "repeated"}, {"id": "another"}),
        ("/api/v1/admin/api-keys", {"name": "n", "role": "read"}, {"name": "n", "role": "write"}),
    ):
        headers = {"Idempotency-Key": f"key of {path}"}
        first, again, reused = [await api.http.post(path, json=json, headers=headers) for json in (body, body, other)]
        assert first.status_code == again.status_code
        assert [answer.headers.get("Idempotent-Replayed") for answer in (first, again)] == [None, "true"]
        shown_once = {"secret_key": None, "key": None}
        assert first.json() | shown_once == again.json() | shown_once
        assert not any(again.json().get(name) for name in shown_once)
        assert (reused.status_code, reused.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")


# -- GitHub's own package --

SIGN_BY_OCTOKIT = """
import { sign, verify } from "@octokit/webhooks-methods";
const [secret, body] = process.argv.slice(2);
const signature = await sign(secret, body);
if (!(await verify(secret, body, signature))) process.exit(1);
console.log(signature);
"""


# As docs/guides/inbound.md has it, but that it prints its port, and the events as JSON.
RECEIVE_BY_OCTOKIT = """
import { createServer } from "node:http";
import { Webhooks, createNodeMiddleware } from "@octokit/webhooks";
const webhooks = new Webhooks({ secret: process.argv[2], log: { debug() {}, info() {}, warn() {}, error() {} } });
webhooks.on("push", ({ id, payload }) => console.log(JSON.stringify([id, payload.ref])));
const server = createServer(createNodeMiddleware(webhooks, { path: "/hook" }));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""


@pytest.fixture(scope="session")
def octokit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GitHub's package for Node.js; skip if it cannot be installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js here")
    folder = tmp_path_factory.mktemp("octokit")
    install = [
        npm,
        "install",
        "--prefix",
        str(folder),
        "--no-audit",
        "--no-fund",
        "--fetch-retries=0",
        "--ignore-scripts",
    ]
    try:
        subprocess.run([*install, "@octokit/webhooks@14.2.0"], check=True, capture_output=True, timeout=NPM_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install @octokit/webhooks here")
    (folder / "sign.mjs").write_text(SIGN_BY_OCTOKIT)
    (folder / "receive.mjs").write_text(RECEIVE_BY_OCTOKIT)
    return folder


async def test_a_signature_of_githubs_own_package_is_valid(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, octokit: Path
) -> None:
    inbound = await Inbound.of(api, rows, target, secret_key=SECRET, verify="github")
    command = ["node", str(octokit / "sign.mjs"), SECRET, BODY.decode()]
    signed = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True, timeout=30)
    headers = {"X-Hub-Signature-256": signed.stdout.strip(), "X-GitHub-Event": "issues", "X-GitHub-Delivery": "1"}
    answer = await inbound.send(headers)
    assert answer.status_code == 202, answer.text
    assert (await inbound.refused(headers, BODY + b"\n"))[0] == "SIGNATURE_MISMATCH"
    assert urlsplit(inbound.path).path == inbound.path


async def test_a_webhook_of_github_reaches_a_receiver_built_with_octokit_where_it_is_relayed(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", octokit: Path
) -> None:
    body = b'{ "ref":"refs/heads/\\u006dain",\n  "forced": false }'  # which nobody would write again like this
    receiver = await asyncio.create_subprocess_exec(
        "node", str(octokit / "receive.mjs"), SECRET, stdout=asyncio.subprocess.PIPE
    )
    assert receiver.stdout is not None
    try:
        target = f"http://127.0.0.1:{int(await receiver.stdout.readline())}/hook"
        fields = {"verify": "github", "verification_secrets": [SECRET], "secret_key": "another-secret-of-ours-here"}
        for relays in (False, True):
            inbound = await Inbound.of(api, rows, target, **fields, relay_headers=relays)
            delivery = f"delivery-{relays}"
            headers = by_github(SECRET, body, 0) | {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery}
            answer = await inbound.send(headers, body)
            assert answer.status_code == 202, answer.text
            if relays:
                await api.until(answer.json()["delivery_id"], "delivered")
                assert json.loads(await receiver.stdout.readline()) == [delivery, "refs/heads/main"]
                event = (await api.http.get(f"/api/v1/events/{answer.json()['event_id']}")).json()
                assert event["relayed_headers"]["X-GitHub-Delivery"] == delivery
            else:
                found = await api.until(answer.json()["delivery_id"], "scheduled", attempts=1)
                assert found["attempts"][0]["status_code"] == 400
                await api.http.post(f"/api/v1/deliveries/{found['id']}/cancel")
    finally:
        receiver.terminate()
        await receiver.wait()
