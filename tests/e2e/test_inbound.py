"""Providers' webhooks from end to end, at the ingest URL that providers are given: who is let in, and as what."""

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
from urllib.parse import urlencode, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from tests.ingest.events.providers import Signer, by_github, by_shopify, by_slack, by_standard, by_stripe, by_svix

SECRET, OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
JSON = {"Content-Type": "application/json"}
BODY = '{"id": "evt_1", "type": "charge.succeeded", "event_id": "Ev1", "note": "Grüße"}'.encode()
NPM_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Who sends, and how."""

    preset: str
    sign: Signer
    # Headers that it names its event with, unsigned.
    named: dict[str, str] = field(default_factory=dict)
    # Of BODY with these headers.
    event_type: str = "charge.succeeded"
    signs_time: bool = True

    def __str__(self) -> str:
        """For the names of tests."""
        return self.sign.__name__

    def headers(self, secret: str = SECRET, body: bytes = BODY, *, late: int = 0) -> dict[str, str]:
        """Of a request that is signed now, or so many seconds ago."""
        return self.sign(secret, body, int(time.time()) - late) | self.named


PROVIDERS = [
    Provider(
        preset="github",
        sign=by_github,
        named={"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e"},
        event_type="push",
        signs_time=False,
    ),
    Provider(preset="stripe", sign=by_stripe),
    Provider(
        preset="shopify",
        sign=by_shopify,
        named={"X-Shopify-Topic": "orders/create", "X-Shopify-Webhook-Id": "b54557e4"},
        event_type="orders/create",
        signs_time=False,
    ),
    Provider(preset="slack", sign=by_slack),
    Provider(preset="standard-webhooks", sign=by_standard),
    Provider(preset="standard-webhooks", sign=by_svix),
]
every = pytest.mark.parametrize("provider", PROVIDERS, ids=str)
timed = pytest.mark.parametrize("provider", [provider for provider in PROVIDERS if provider.signs_time], ids=str)


@pytest_asyncio.fixture(loop_scope="session")
async def rows(quick: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection that looks at what is stored."""
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
        """A new one."""
        made = await api.subscribe(target_url, **fields)
        answer = await api.http.post(f"/api/v1/subscriptions/{made}/ingest-token")
        return cls(api, rows, made, answer.json()["path"])

    async def send(self, headers: Any, body: bytes = BODY) -> Any:
        """What the URL answers."""
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs = [*pairs, *JSON.items()]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
        return await self.api.http.post(self.path, content=body, headers=raw)

    async def refused(self, headers: Any, body: bytes = BODY) -> tuple[str, str]:
        """The reason of a 401 and the header it names, of which nothing is stored."""
        before = await self.count()
        answer = await self.send(headers, body)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
        problem = answer.json()
        assert answer.headers["www-authenticate"] == problem["errors"][0]["field"]
        assert SECRET not in answer.text
        assert await self.count() == before
        return problem["reason"], problem["errors"][0]["field"].lower()

    async def count(self) -> tuple[int, ...]:
        """The rows that there are of events, deliveries and keys."""
        tables = ("webhook_events", "webhook_deliveries", "idempotency_keys")
        return tuple([await self.rows.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


@pytest.fixture
def target(receiver: Receiver) -> str:
    """Where deliveries go."""
    return receiver.url()


def now() -> int:
    return int(time.time())


@every
async def test_what_a_provider_signs_is_delivered_as_it_came_under_its_own_type(
    api: Api,
    rows: "asyncpg.Connection[asyncpg.Record]",
    receiver: Receiver,
    provider: Provider,
) -> None:
    inbound = await Inbound.of(api, rows, receiver.url(), verify=provider.preset, verification_secrets=[SECRET])
    answer = await inbound.send(provider.headers() | {"X-Event-Type": "stated"})
    assert answer.status_code == 202, answer.text
    (received,) = await receiver.wait_for(1)
    assert (received.body, received.headers["X-Event-Type"]) == (BODY, provider.event_type)
    shown = (await api.http.get(f"/api/v1/subscriptions/{inbound.subscription_id}")).json()
    assert (shown["verify"], shown["has_verification_secret"]) == (provider.preset, True)
    assert SECRET not in json.dumps(shown)


@every
async def test_what_a_provider_sends_again_is_delivered_once(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, provider: Provider
) -> None:
    inbound = await Inbound.of(
        api, rows, target, verify=provider.preset, verification_secrets=[SECRET], event_types=[provider.event_type]
    )
    first = await inbound.send(provider.headers())
    before = await inbound.count()
    again = [await inbound.send(provider.headers(late=late)) for late in (0, 60)]
    assert [answer.status_code for answer in (first, *again)] == [202] * 3
    assert [answer.json() for answer in again] == [first.json()] * 2
    assert [answer.headers.get("idempotent-replayed") for answer in (first, *again)] == [None, "true", "true"]
    assert first.json()["status"] == "pending"
    assert await inbound.count() == before


@every
async def test_what_is_not_the_providers_is_refused_and_not_stored(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, provider: Provider
) -> None:
    inbound = await Inbound.of(api, rows, target, secret_key=OLD, verify=provider.preset, verification_secrets=[SECRET])
    right = provider.sign(SECRET, BODY, now())
    names = {name.lower() for name in right}
    standard = {"webhook-signature", "webhook-id", "webhook-timestamp"}

    reason, header = await inbound.refused(provider.named)
    assert reason == "SIGNATURE_MISSING"
    assert header in names | standard
    mismatches: list[tuple[dict[str, str], bytes]] = [
        (provider.headers(OLD), BODY),
        (provider.headers(body=BODY + b" "), BODY),
        (right, BODY.replace(b"evt_1", b"evt_2")),
        *((right | {name: "x" * 2000}, BODY) for name in right),
        *((right | {name: "Grüße \xff"}, BODY) for name in right),
        *((right | {name: value[:-1] + ("0" if value[-1] != "0" else "1")}, BODY) for name, value in right.items()),
    ]
    for headers, body in mismatches:
        reason, header = await inbound.refused(headers | provider.named, body)
        assert (reason, header in names) == ("SIGNATURE_MISMATCH", True)
    others = [other for other in PROVIDERS if other.preset != provider.preset]
    for other in others:
        assert (await inbound.refused(other.headers() | provider.named))[0] == "SIGNATURE_MISSING"
    # Another's headers beside the right ones do no harm, and are not looked at.
    noise = {name: "x" * 3000 for other in others for name in other.headers() if name not in provider.headers()}
    assert (await inbound.send(right | provider.named | noise)).status_code == 202
    assert (await inbound.send(right | provider.named | {"X-Event-Type": "stated"})).status_code == 202


@timed
async def test_another_time_is_refused(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, provider: Provider
) -> None:
    inbound = await Inbound.of(api, rows, target, verify=provider.preset, verification_secrets=[SECRET])
    for late in (-400, 400):
        assert (await inbound.refused(provider.headers(late=late)))[0] == "SIGNATURE_EXPIRED"
        assert (await inbound.refused(provider.headers(OLD, late=late)))[0] == "SIGNATURE_MISMATCH"
    assert (await inbound.send(provider.headers(late=240))).status_code == 202


@every
async def test_a_header_that_stands_there_twice_is_refused(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, provider: Provider
) -> None:
    inbound = await Inbound.of(
        api, rows, target, verify=provider.preset, verification_secrets=[SECRET], event_types=[provider.event_type]
    )
    right = provider.sign(SECRET, BODY, now())
    for name, value in right.items():
        for twice in ([(name, value), (name, value)], [(name, "x"), (name, value)], [(name, value), (name, "x")]):
            others = [pair for pair in (right | provider.named).items() if pair[0] != name]
            answer = await inbound.send([*others, *twice])
            assert (answer.status_code, answer.json()["reason"]) == (400, "HEADER_REPEATED")
            assert answer.json()["errors"][0]["field"].lower() == name.lower()
    # Any other one may.
    answer = await inbound.send([*(right | provider.named).items(), ("X-Shop", "a"), ("X-Shop", "b")])
    assert answer.status_code == 202, answer.text


@every
async def test_two_secrets_hold_while_the_provider_changes_from_one_to_the_other(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str, provider: Provider
) -> None:
    inbound = await Inbound.of(api, rows, target, verify=provider.preset, verification_secrets=[OLD])
    path = f"/api/v1/subscriptions/{inbound.subscription_id}"

    async def put(**fields: Any) -> dict[str, Any]:
        answer = await api.http.put(path, json={"target_url": target, **fields})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert (await inbound.refused(provider.headers()))[0] == "SIGNATURE_MISMATCH"
    await put(verification_secrets=[SECRET, OLD])
    for secret in (SECRET, OLD):
        assert (await inbound.send(provider.headers(secret))).status_code == 202
    shown = await put(verification_secrets=[SECRET])
    assert (shown["verify"], shown["has_verification_secret"]) == (provider.preset, True)
    assert (await inbound.refused(provider.headers(OLD)))[0] == "SIGNATURE_MISMATCH"
    await put(description="other")
    assert (await inbound.send(provider.headers())).status_code == 202


async def test_slacks_handshake_is_answered_once_it_is_signed(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", target: str
) -> None:
    inbound = await Inbound.of(api, rows, target, verify="slack", verification_secrets=["8f742231b10e8888abcd99"])
    body = b'{"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": "3eZbrw1aBm2rZgRNFdxV", "type": "url_verification"}'
    before = await inbound.count()
    answer = await inbound.send(by_slack("8f742231b10e8888abcd99", body, now()), body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"challenge": "3eZbrw1aBm2rZgRNFdxV"}
    assert await inbound.count() == before
    assert (await inbound.refused(by_slack(SECRET, body, now()), body))[0] == "SIGNATURE_MISMATCH"
    empty = b'{"type": "url_verification"}'
    answer = await inbound.send(by_slack("8f742231b10e8888abcd99", empty, now()), empty)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "challenge")


async def test_slacks_commands_are_forms_and_delivered_as_they_are(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    inbound = await Inbound.of(
        api, rows, receiver.url(), verify="slack", verification_secrets=[SECRET], event_types=["/weather"]
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    other, body = (urlencode({"command": command, "text": "94070 ☃"}).encode() for command in ("/time", "/weather"))
    for sent in (other, body):  # Slack shows people what the answer holds
        answer = await inbound.send(by_slack(SECRET, sent, now()) | form, sent)
        assert (answer.status_code, answer.content) == (200, b"")
    (received,) = await receiver.wait_for(1)
    assert (received.body, received.headers["Content-Type"]) == (body, form["Content-Type"])
    assert received.headers["X-Event-Type"] == "/weather"


@pytest.mark.parametrize("body", [gzip.compress(b'{"n": 1}'), b""], ids=["gzip", "empty"])
async def test_a_body_is_verified_and_delivered_as_it_came_with_its_encoding(
    api: Api, rows: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver, body: bytes
) -> None:
    inbound = await Inbound.of(api, rows, receiver.url(), verify="shopify", verification_secrets=[SECRET])
    encoding = {"Content-Encoding": "gzip"} if body else {}
    answer = await inbound.send(by_shopify(SECRET, body, now()) | encoding, body)
    assert answer.status_code == 202, answer.text
    (received,) = await receiver.wait_for(1)
    assert (received.body, received.headers["Content-Type"]) == (body, "application/json")
    assert received.headers.get("Content-Encoding") == encoding.get("Content-Encoding")
    event = (await api.http.get(f"/api/v1/events/{answer.json()['event_id']}")).json()
    assert (event["payload"], event["payload_bytes"]) == (None, len(body))
    assert event.get("content_encoding") == encoding.get("Content-Encoding")


async def test_an_idempotency_key_is_answered_again_marked_and_refused_with_another_body(api: Api, target: str) -> None:
    made = await api.subscribe(target)
    for path, body, other in (
        (f"/api/v1/webhooks/ingest/{made}", {"payload": 1}, {"payload": 2}),
        ("/api/v1/events", {"event_type": "a", "payload": 1}, {"event_type": "b", "payload": 1}),
        ("/api/v1/subscriptions", {"target_url": target}, {"target_url": target, "description": "d"}),
    ):
        headers = {"Idempotency-Key": f"key of {path}"}
        first, again, reused = [await api.http.post(path, json=json, headers=headers) for json in (body, body, other)]
        assert first.status_code == again.status_code
        assert [answer.headers.get("Idempotent-Replayed") for answer in (first, again)] == [None, "true"]
        assert first.json() | {"secret_key": None} == again.json() | {"secret_key": None}
        assert (reused.status_code, reused.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_with_a_key_of_the_service_the_signature_is_needed_all_the_same(api: Api, target: str) -> None:
    made = await api.subscribe(target, verify="required", secret_key="It's a Secret to Everybody")
    answer = await api.send(made, b"Hello, World!", Content_Type="text/plain")
    assert (answer.status_code, answer.json()["reason"]) == (401, "SIGNATURE_MISSING")
    assert answer.headers["www-authenticate"] == "X-Hub-Signature-256"
    # The example of GitHub's documentation.
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    answer = await api.send(made, b"Hello, World!", Content_Type="text/plain", X_Hub_Signature_256=signature)
    assert answer.status_code == 202
    answer = await api.send(made, b"Hello, world!", Content_Type="text/plain", X_Hub_Signature_256=signature)
    assert (answer.status_code, answer.json()["reason"]) == (401, "SIGNATURE_MISMATCH")


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"verify": "paypal"}, "verify"),
        ({"verify": "stripe"}, "verification_secrets"),
        ({"verify": "stripe", "verification_secrets": []}, "verification_secrets"),
        ({"verify": "github", "signature_scheme": "none"}, "verification_secrets"),
        ({"verification_secrets": ["a", "b", "c"]}, "verification_secrets"),
        ({"verification_secrets": [""]}, "verification_secrets.0"),
        ({"verification_secrets": "hunter2"}, "verification_secrets"),
        ({"verify": "standard-webhooks", "verification_secrets": ["whsec_hunter2!"]}, "verification_secrets.0"),
    ],
)
async def test_what_could_verify_nothing_is_refused_by_its_field(
    api: Api, target: str, fields: dict[str, Any], at_fault: str
) -> None:
    answer = await api.http.post("/api/v1/subscriptions", json={"target_url": target, **fields})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [at_fault]
    assert "hunter2" not in answer.text


# -- GitHub's own package --

SIGN_BY_OCTOKIT = """
import { sign, verify } from "@octokit/webhooks-methods";
const [secret, body] = process.argv.slice(2);
const signature = await sign(secret, body);
if (!(await verify(secret, body, signature))) process.exit(1);
console.log(signature);
"""


@pytest.fixture(scope="session")
def octokit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GitHub's package for Node.js; skips where that cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js here")
    folder = tmp_path_factory.mktemp("octokit")
    install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run(
            [*install, "@octokit/webhooks-methods@6.0.0"], check=True, capture_output=True, timeout=NPM_SECONDS
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install @octokit/webhooks-methods here")
    (folder / "sign.mjs").write_text(SIGN_BY_OCTOKIT)
    return folder


async def test_what_githubs_own_package_signs_passes(
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
