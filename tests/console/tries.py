"""10,000 tries to read or change what is another tenant's, or outside of a portal link: none may.

TRIES sets how many; SEED repeats a run. Every operation of the API is tried with ids, types, tags, and tenants that the
caller has no part in, and each response is searched for what only these have.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from dev.harness import keys
from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.gateway import app
from services.platform import ids
from services.platform.auth.roles import PortalCapability

pytestmark = pytest.mark.timeout(3600)
TRIES = int(os.environ.get("TRIES", "10000"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 32))))
AT_ONCE = 8
# It takes events of everybody in, is no answer that ends, or needs no key.
LEFT_OUT = ("stream", "livez", "ingest_webhook_with_token")


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A subscription with a delivery, and what nobody else may see of them."""

    # In its payload, URL, and description, and the ids of another one beside it: no request has them.
    hidden: Sequence[str]
    # By the name of a parameter: requests have them.
    ids: Mapping[str, str]
    event_type: str
    tag: str


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Somebody who tries, and what is not theirs."""

    name: str
    headers: Mapping[str, str]
    foreign: Sequence[Owned]


@dataclass(kw_only=True)
class Outcome:
    """What came of the tries."""

    statuses: Counter[int] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def keyed(short_folder: Path) -> Iterator[Stack]:
    environment = {**keys.ENVIRONMENT, "RETRY_BASE_SECONDS": "0.2", "RETRY_LIMIT": "0"}
    with stacks.running(short_folder / "tries", environment=environment, processes="one") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def http(keyed: Stack) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60, limits=limits) as client:
        yield client


async def owned(base_url: str, key: str, receiver: Receiver) -> Owned:
    """Make a subscription, an event that it alone gets, a delivery that failed, and a job."""
    hidden, name = f"hidden{ids.new().hex}", f"asked{ids.new().hex}"
    receiver.script(then=500, path=f"/{hidden}")
    async with httpx.AsyncClient(base_url=base_url, headers=bearer(key), timeout=60) as http:
        api = Api(http)
        subscription_id = await api.subscribe(
            receiver.url(f"/{hidden}"), event_types=[f"{name}.*"], description=hidden, metadata={"of": hidden}
        )
        event = {"event_type": f"{name}.sent", "payload": {"of": hidden}, "tags": {"order": name}}
        event_id = (await http.post("/api/v1/events", json=event)).json()["event_id"]
        (delivery,) = (await http.get(f"/api/v1/events/{event_id}/deliveries")).json()["items"]
        await api.until(delivery["id"], "failed")
        job = {"kind": "cancel", "filter": {"subscription_id": [subscription_id]}, "rate_per_second": 1}
        job_id = (await http.post("/api/v1/jobs", json=job)).json()["id"]

        async def ended() -> bool:
            return bool((await http.get(f"/api/v1/jobs/{job_id}")).json()["status"] == "succeeded")

        # What changes by itself would look like the effect of a try.
        await wait_until(ended, what="the job to end")
        link_id = (await http.post("/api/v1/portal-links", json={"capabilities": ["view"]})).json()["id"]
    named = {
        "subscription_id": subscription_id,
        "event_id": event_id,
        "delivery_id": delivery["id"],
        "job_id": job_id,
        "link_id": link_id,
    }
    return Owned(hidden=[hidden], ids=named, event_type=f"{name}.sent", tag=f"order={name}")


async def foreign_of(base_url: str, key: str, tenant_id: str, receiver: Receiver) -> Owned:
    """Make two, of which requests name one."""
    one, other = [await owned(base_url, key, receiver) for _ in range(2)]
    return Owned(
        hidden=[*one.hidden, *other.hidden, *other.ids.values()],
        ids={**one.ids, "tenant_id": tenant_id},
        event_type=one.event_type,
        tag=one.tag,
    )


def request_of(chance: random.Random, asker: Asker) -> tuple[str, str, dict[str, Any]]:
    """Return a request that asks for something foreign: its method, its path, and the rest."""
    path, verb, operation = chance.choice(OPERATIONS)
    wanted = chance.choice(asker.foreign)
    for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        # Now and then the id of something else.
        found = wanted.ids.get(name) if chance.random() < 0.9 else None
        path = path.replace(f"{{{name}}}", found or chance.choice(list(wanted.ids.values())))
    query: dict[str, Any] = {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query" and chance.random() < 0.3 and (value := _value(parameter["name"], wanted)):
            query[parameter["name"]] = value
    headers = dict(asker.headers)
    if chance.random() < 0.3:
        headers["X-Tenant"] = wanted.ids["tenant_id"]
    rest: dict[str, Any] = {"params": query, "headers": headers}
    if "requestBody" in operation:
        rest["json"] = _body(chance, operation["operationId"], wanted)
    return verb.upper(), path, rest


def _value(name: str, wanted: Owned) -> str | None:
    given: Mapping[str, str] = {"tag": wanted.tag, "event_type": wanted.event_type, "tenant": "*", "format": "ndjson"}
    return given.get(name) or wanted.ids.get(name)


def _body(chance: random.Random, operation: str, wanted: Owned) -> Any:
    subscription_id = wanted.ids["subscription_id"]
    bodies: Mapping[str, Mapping[str, Any]] = {
        "create_job": {
            "kind": chance.choice(["retry", "replay", "cancel", "erase"]),
            "filter": chance.choice(
                [
                    {"subscription_id": [subscription_id]},
                    {"event_ids": [wanted.ids["event_id"]]},
                    {"tag": [wanted.tag]},
                    {"event_type": [wanted.event_type]},
                ]
            ),
            "to_subscription_id": chance.choice([None, subscription_id]),
        },
        "create_portal_link": {
            "capabilities": ["view", "payloads"],
            **chance.choice([{"tenant_id": wanted.ids["tenant_id"]}, {"subscriptions": [subscription_id]}]),
        },
        "create_api_key": {"name": "tried", "role": "read", "tenant_id": wanted.ids["tenant_id"]},
        "report_pull_results": {"results": [{"lease_id": wanted.ids["delivery_id"], "outcome": "acknowledged"}]},
        "pull_deliveries": {"wait_seconds": 0},
        "replace_subscription": {"target_url": "https://example.com/", "event_types": [wanted.event_type]},
        "update_subscription": {"description": "tried"},
        "create_subscription": {"target_url": "https://example.com/", "kind": "system"},
        "test_new_subscription": {"target_url": "http://127.0.0.1:9/", "event_types": [wanted.event_type]},
        "update_tenant": {"description": "tried"},
        "create_tenant": {"id": wanted.ids["tenant_id"]},
    }
    return {name: value for name, value in bodies.get(operation, {}).items() if value is not None}


OPERATIONS = [
    (path, verb, operation)
    for path, operations in app.described().openapi()["paths"].items()
    for verb, operation in operations.items()
    if operation["operationId"] not in LEFT_OUT
]


async def tried(http: httpx.AsyncClient, asker: Asker, chance: random.Random, outcome: Outcome) -> None:
    verb, path, rest = request_of(chance, asker)
    answer = await http.request(verb, path, **rest)
    outcome.statuses[answer.status_code] += 1
    for wanted in asker.foreign:
        if any(text in answer.text for text in wanted.hidden):
            outcome.leaks.append(f"{asker.name}: {verb} {answer.request.url} {rest}: {answer.text[:500]}")


async def state_of(http: httpx.AsyncClient, wanted: Owned) -> list[Any]:
    """Return what a change would show in, as an operator sees it."""
    headers = bearer(ADMIN_KEY) | {"X-Tenant": wanted.ids["tenant_id"]}
    found = []
    for name, path in (
        ("subscription_id", "/api/v1/subscriptions/{}"),
        ("delivery_id", "/api/v1/deliveries/{}"),
        ("job_id", "/api/v1/jobs/{}"),
        ("subscription_id", "/api/v1/subscriptions/{}/deliveries"),
    ):
        answer = await http.get(path.format(wanted.ids[name]), headers=headers)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
    tenant = await http.get(f"/api/v1/admin/tenants/{wanted.ids['tenant_id']}", headers=bearer(ADMIN_KEY))
    found.append(tenant.json()["description"])
    return found


async def test_ten_thousand_tries_to_reach_what_is_not_theirs_reach_nothing(
    keyed: Stack, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    admin = Admin(http)
    mine, theirs = [await admin.tenant(f"t{ids.new().hex}") for _ in range(2)]
    my_key = (await admin.created(tenant_id=mine, role="write"))["key"]
    reading = (await admin.created(tenant_id=mine, role="read"))["key"]
    their_key = (await admin.created(tenant_id=theirs, role="write"))["key"]
    own = await owned(keyed.base_url, my_key, receiver)
    outside = await foreign_of(keyed.base_url, my_key, mine, receiver)
    foreign = await foreign_of(keyed.base_url, their_key, theirs, receiver)
    links = {"capabilities": list(PortalCapability), "subscriptions": [own.ids["subscription_id"]]}
    made = (await http.post("/api/v1/portal-links", json=links, headers=bearer(my_key))).json()["url"]
    path, _, secret = made.partition("#")
    token = (await http.post(f"{path}/session", json={"secret": secret})).json()["token"]
    askers = [
        Asker(name="a portal link", headers=bearer(token), foreign=[outside, foreign]),
        Asker(name="a key with role write", headers=bearer(my_key), foreign=[foreign]),
        Asker(name="a key with role read", headers=bearer(reading), foreign=[foreign]),
    ]
    before = [await state_of(http, each) for each in (outside, foreign)]
    chance, outcome = random.Random(SEED), Outcome()
    for first in range(0, TRIES, AT_ONCE):
        some = range(first, min(first + AT_ONCE, TRIES))
        # Half of them by the link, which is limited most.
        chosen = [askers[0] if number % 2 else askers[1 + number // 2 % 2] for number in some]
        await asyncio.gather(*(tried(http, asker, chance, outcome) for asker in chosen))
    print(f"{TRIES:,} tries (seed {SEED}): {len(outcome.leaks)} leaks; by status {dict(outcome.statuses)}")  # noqa: T201
    assert outcome.leaks == []
    assert [await state_of(http, each) for each in (outside, foreign)] == before
    assert not any(status >= 500 for status in outcome.statuses), outcome.statuses
