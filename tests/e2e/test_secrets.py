"""Secrets and tokens in the whole service: they work, and only the response that creates one shows it."""

import asyncio
import base64
import contextlib
import itertools
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import pytest_asyncio
import redis.asyncio
import standardwebhooks

from dev.harness import certificates
from dev.harness import stack as stacks
from dev.harness.api import TLS, Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from services.domain.notices import subscription_changes
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key
from tests.e2e.conftest import ENVIRONMENT

SUBSCRIPTIONS = "/api/v1/subscriptions"
BODY = b'{"payload": {"n": 1}}'


@pytest.fixture(scope="module")
def talkative(short_folder: Path) -> Iterator[Stack]:
    """A stack that logs as much as possible."""
    environment = {**ENVIRONMENT, "LOG_LEVEL": "debug"}
    with stacks.running(short_folder / "secrets", environment=environment) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def api(talkative: Stack) -> AsyncIterator[Api]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=talkative.base_url, timeout=60, verify=TLS) as http:
        yield Api(http)


async def _made(api: Api, path: str, body: Any = None, *, status: int = 201) -> dict[str, Any]:
    answer = await api.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _spellings(secret: str) -> set[bytes]:
    """Return the forms in which a secret could appear: as it is, its key, and both in hex and base64."""
    key = base64.b64decode(secret[5:]) if secret.startswith("whsk_") else Key.of(secret).standard
    texts = {secret.encode(), key}
    return {
        *texts,
        *(text.hex().encode() for text in texts),
        *(base64.b64encode(text)[: len(text) * 4 // 3 - 2] for text in texts),
    }


async def test_the_key_is_kept_for_its_owner_and_given_to_those_who_see_secrets(talkative: Stack) -> None:
    path = talkative.data_dir / "encryption.key"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    given = {role: psutil.Process(talkative.pid_of(role)).environ().get("ENCRYPTION_KEYS") for role in stacks.ROLES}
    key = path.read_text().strip()
    assert given == {"gateway": None, "ingest": key, "delivery": key, "worker": key, "analytics": None}


async def test_a_rotation_and_an_ingest_url_from_end_to_end(api: Api, receiver: Receiver) -> None:
    created = await _made(api, SUBSCRIPTIONS, {"target_url": receiver.url()})
    path, first = f"{SUBSCRIPTIONS}/{created['id']}", created["secret_key"]
    rotated = await _made(api, f"{path}/rotate-secret", {"overlap_hours": 1}, status=200)
    url = (await _made(api, f"{path}/ingest-token"))["path"]
    for secret in (first, rotated["secret_key"]):
        signature = signatures.hub(Key.of(secret), BODY)
        sent = await api.http.post(url + "/", content=BODY, headers={"X-Hub-Signature-256": signature})
        assert sent.status_code == 202, sent.text
    for request in await receiver.wait_for(2):
        for secret in (first, rotated["secret_key"]):
            standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
    wrong = await api.http.post(url[:-1], content=BODY)
    unknown = await api.http.post(url.replace(created["id"], "01890a5d-ac96-774b-bcce-b302099a8057"), content=BODY)
    assert wrong.status_code == unknown.status_code == 404
    assert wrong.json().keys() == unknown.json().keys()
    assert (await api.http.delete(f"{path}/ingest-token")).status_code == 204
    assert (await api.http.post(url, content=BODY)).status_code == 404


async def test_secrets_and_tokens_are_found_nowhere_after_a_run(api: Api, talkative: Stack, receiver: Receiver) -> None:
    answers: list[bytes] = []

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        answer = await api.http.request(method, path, **more)
        answers.append(answer.content + str(answer.headers).encode())
        return answer

    given, later, replaced, refused = (f"hunter2-{name}-s3cret" for name in ("given", "later", "replaced", "refused"))
    subscription = await api.subscribe(receiver.url("/good"), secret_key=given)
    failing = await _made(api, SUBSCRIPTIONS, {"target_url": receiver.url("/bad")})
    gone = await _made(api, SUBSCRIPTIONS, {"target_url": receiver.url("/good")})
    receiver.script(500, 500, 200, path="/bad")
    path = f"{SUBSCRIPTIONS}/{subscription}"
    provided = "hunter2-provided-s3cret"
    verified = {"verify": "stripe", "verification_secrets": [provided, refused]}
    await api.subscribe(receiver.url("/good"), **verified)
    await ask("POST", SUBSCRIPTIONS, json={"target_url": "no", **verified})
    await ask("POST", SUBSCRIPTIONS, json={"target_url": "no", "verification_secrets": provided})
    made = (await _made(api, f"{path}/rotate-secret", status=200))["secret_key"]
    old_token = await _made(api, f"{path}/ingest-token")
    token = await _made(api, f"{path}/ingest-token")
    for number, secret in enumerate((given, made)):
        headers = {"X-Hub-Signature-256": signatures.hub(Key.of(secret), BODY), "Idempotency-Key": f"in {number}"}
        await ask("POST", token["path"], content=BODY, headers=headers)
    deliveries = [await api.sent(one) for one in (subscription, failing["id"], gone["id"])]
    for delivery in deliveries:
        await api.until(delivery, "delivered")
        await ask("GET", f"/api/v1/webhooks/deliveries/{delivery}")
    # Requests that fail.
    await ask("POST", old_token["path"], content=BODY)
    await ask("POST", token["path"] + "/more", content=BODY)
    await ask("GET", token["path"])
    await ask("POST", token["path"], content=b"{", headers={"Content-Type": "application/json"})
    await ask("POST", token["path"], content=BODY, headers={"X-Hub-Signature-256": signatures.hub(Key.of("x"), BODY)})
    await ask("POST", f"{path}/rotate-secret", json={"secret_key": f"whsec_{refused}"})
    await ask("POST", f"{path}/rotate-secret", json={"secret_key": refused, "overlap_hours": -1})
    await ask("POST", f"{path}/rotate-secret", json={"secret_key": [refused]})
    await ask("POST", SUBSCRIPTIONS, json={"target_url": "no", "secret_key": refused * 20})
    await ask("POST", SUBSCRIPTIONS, content=b'{"secret_key": "%b' % refused.encode())
    # Requests that show, change, and remove.
    await ask("POST", f"{path}/rotate-secret", json={"secret_key": later})
    await ask("PUT", path, json={"target_url": receiver.url("/good"), "secret_key": replaced})
    keyed = {"json": {"target_url": receiver.url("/good"), "secret_key": given}, "headers": {"Idempotency-Key": "k"}}
    assert [(await ask("POST", SUBSCRIPTIONS, **keyed)).status_code for _ in range(2)] == [201, 201]
    for shown in (path, SUBSCRIPTIONS, f"{path}/stats", f"{path}/deliveries", "/openapi.json"):
        assert (await ask("GET", shown)).status_code == 200
    await ask("DELETE", f"{SUBSCRIPTIONS}/{gone['id']}")

    found = await _left_behind(talkative, answers)
    key = found.pop("encryption.key").strip()
    for spelling in (key, base64.b64decode(key)):
        assert [where for where, text in found.items() if spelling in text] == []
    shown_once = [made, failing["secret_key"], gone["secret_key"], token["token"], old_token["token"]]
    for secret in (given, later, replaced, refused, provided, *shown_once):
        for spelling in _spellings(secret):
            assert [where for where, text in found.items() if spelling in text] == [], secret


async def test_private_keys_are_found_nowhere_after_a_run(api: Api, talkative: Stack, receiver: Receiver) -> None:
    given, later, refused = ("whsk_" + base64.b64encode(os.urandom(32)).decode() for _ in range(3))
    asymmetric = await api.subscribe(receiver.url(), secret_key=given, signature_scheme="ed25519")
    one, other = certificates.authority("one"), certificates.authority("other")
    shown = {"certificate": one.pem, "private_key": one.key_pem}
    showing = await api.subscribe("https://receiver.example/", client_certificate=shown)
    await _made(api, f"{SUBSCRIPTIONS}/{asymmetric}/rotate-secret", {"secret_key": later}, status=200)
    await api.until(await api.sent(asymmetric), "delivered")
    torn = {"target_url": "https://receiver.example/", "client_certificate": shown | {"private_key": other.key_pem}}
    wrong = {"target_url": receiver.url(), "secret_key": refused}
    answers = [await api.http.post(SUBSCRIPTIONS, json=body) for body in (torn, wrong)]
    assert [answer.status_code for answer in answers] == [422, 422]
    looked = (asymmetric, f"{asymmetric}/public-keys", showing, "")
    answers += [await api.http.get(f"{SUBSCRIPTIONS}/{path}") for path in looked]
    found = await _left_behind(talkative, [answer.content for answer in answers])
    assert any(b"CN=one" in text for text in found.values())
    spelt = [_spellings(key) for key in (given, later, refused)] + [certificates.spellings(of) for of in (one, other)]
    for spelling in itertools.chain(*spelt):
        assert [where for where, text in found.items() if spelling in text] == [], spelling


async def _left_behind(stack: Stack, answers: list[bytes]) -> dict[str, bytes]:
    """Return everything that a run has written or printed, by its place."""
    found = {
        "answers": b"\n".join(answers),
        "tables": await _tables(stack),
        "Redis": await _redis(stack),
        **await _metrics(stack),
        **await asyncio.to_thread(_files, stack),
    }
    assert len(found) > 20
    return found


async def _tables(stack: Stack) -> bytes:
    """Every row of every table as text."""
    connection = await asyncpg.connect(stack.ports["database_url"])
    try:
        names = await connection.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'p')"
                                       " AND relnamespace = 'public'::regnamespace")  # fmt: skip
        rows = [await connection.fetch(f"SELECT t::text AS text FROM {row['name']} t") for row in names]
    finally:
        await connection.close()
    text = "\n".join(row["text"] for table in rows for row in table).encode()
    assert b"subscription.rotate_secret" in text
    return text


async def _redis(stack: Stack) -> bytes:
    """Return every key with its value, of whatever type."""
    reads = {"string": "GET", "hash": "HGETALL", "stream": "XRANGE", "zset": "ZRANGE", "set": "SMEMBERS"}
    bounds = {"stream": ("-", "+"), "zset": (0, -1)}
    found = []
    async with redis.asyncio.Redis.from_url(stack.ports["redis_url"]) as opened:
        client: Any = opened
        async for key in client.scan_iter():
            kind = (await client.type(key)).decode()
            found.append((key, await client.execute_command(reads[kind], key, *bounds.get(kind, ()))))
    assert any(key.startswith(subscription_changes.KEY.encode()) for key, _ in found)
    return repr(found).encode()


async def _metrics(stack: Stack) -> dict[str, bytes]:
    """Return the metrics of the five processes."""
    async with httpx.AsyncClient(timeout=60) as http:
        return {
            f"metrics of {role}": (await http.get(f"http://127.0.0.1:{port}/metrics")).content
            for role, port in stack.ports["metrics"].items()
        }


def _files(stack: Stack) -> dict[str, bytes]:
    """Return what the stack printed, its logs, and every file of its stores, including old versions of rows."""
    found = {}
    for path in stack.data_dir.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Postgres may remove files in the meantime
            if path.is_file():
                found[str(path.relative_to(stack.data_dir))] = path.read_bytes()
    assert {f"logs/{role}.log" for role in stacks.ROLES} <= found.keys()
    assert b"attempt" in found["logs/worker.log"], "debug lines are there"
    return {"output": stack.output.encode(), **found}
