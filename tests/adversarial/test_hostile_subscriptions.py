"""Subscriptions of a hostile tenant: their numbers and event types harm no other tenant."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from services.domain.events import MAX_TYPES
from services.platform import ids
from tests.adversarial.calls import HEADERS
from tests.adversarial.conftest import Tally

pytestmark = pytest.mark.usefixtures("unharmed")

SUBSCRIPTIONS = "/api/v1/subscriptions"
# As in JSON; Python would write some of them differently, or not at all.
NUMBERS = ("1e-300", "-1e-300", "5e-324", "0", "-0.0", "-1", "1e300", "1e400", "-1e400", "NaN", "Infinity", "9" * 400)
# Each field with a number that a tenant can set, as in a body.
FIELDS = {
    "rate_limit_per_second": '{"target_url": "%s", "rate_limit_per_second": %s}',
    "rate_limit_burst": '{"target_url": "%s", "rate_limit_per_second": 1, "rate_limit_burst": %s}',
    "timeout_seconds": '{"target_url": "%s", "timeout_seconds": %s}',
    "retry_policy.base_seconds": '{"target_url": "%s", "retry_policy": {"base_seconds": %s}}',
    "retry_policy.factor": '{"target_url": "%s", "retry_policy": {"factor": %s}}',
    "retry_policy.cap_seconds": '{"target_url": "%s", "retry_policy": {"cap_seconds": %s}}',
    "retry_policy.limit": '{"target_url": "%s", "retry_policy": {"limit": %s}}',
    "retry_policy.delays_seconds": '{"target_url": "%s", "retry_policy": {"delays_seconds": [1, %s]}}',
}


@pytest.fixture
async def tenants(stack: Stack) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of a hostile tenant and of a quiet one."""
    names = [f"{kind}-{ids.new().hex[:12]}" for kind in ("hostile", "quiet")]
    async with (
        httpx.AsyncClient(base_url=stack.base_url, headers={**HEADERS, "X-Tenant": names[0]}, timeout=60) as hostile,
        httpx.AsyncClient(base_url=stack.base_url, headers={**HEADERS, "X-Tenant": names[1]}, timeout=60) as quiet,
    ):
        for name in names:
            made = await hostile.post(
                "/api/v1/admin/tenants", json={"id": name}, headers={**HEADERS, "X-Tenant": "default"}
            )
            assert made.status_code == 201, made.text
        yield hostile, quiet


async def _subscribe(client: httpx.AsyncClient, target_url: str, **fields: object) -> str:
    made = await client.post(SUBSCRIPTIONS, json={"target_url": target_url, **fields})
    assert made.status_code == 201, made.text
    identifier: str = made.json()["id"]
    return identifier


async def _publish(client: httpx.AsyncClient, event_type: str) -> httpx.Response:
    return await client.post("/api/v1/events", json={"event_type": event_type, "payload": {}})


async def test_numbers_of_a_subscription_are_rejected_if_they_cannot_be_used_in_calculations(
    tenants: tuple[httpx.AsyncClient, httpx.AsyncClient], receiver: Receiver, tally: Tally
) -> None:
    hostile, quiet = tenants
    limited = await _subscribe(quiet, receiver.url("/quiet"), event_types=["order.paid"], rate_limit_per_second=20)
    taken: list[str] = []
    for field, body in FIELDS.items():
        for number in NUMBERS:
            content = body % (receiver.url("/hostile"), number)
            answer = await hostile.post(SUBSCRIPTIONS, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code in {201, 400, 422}, (field, number, answer.text)
            if answer.status_code == 201:
                taken.append(f"{field} {number}")
                shown = answer.json()
                sent = await hostile.post(f"/api/v1/webhooks/ingest/{shown['id']}", json={"payload": {}})
                assert sent.status_code == 202
            elif answer.status_code == 422:
                found = [error["field"] for error in answer.json()["errors"]]
                assert [name.removesuffix(".1") for name in found] == [field], (number, found)
    tally.add("numbers of a subscription", len(FIELDS) * len(NUMBERS))
    # A policy without retries is valid; every other number is out of range.
    assert {name.split()[0] for name in taken} <= {"retry_policy.limit"}
    for _ in range(5):
        assert (await _publish(quiet, "order.paid")).status_code == 202
    await receiver.wait_for(5, path="/quiet")
    shown = (await quiet.get(f"{SUBSCRIPTIONS}/{limited}")).json()
    assert shown["rate_limit_per_second"] == 20


async def test_many_long_event_types_of_a_tenant_do_not_affect_events_of_others(
    tenants: tuple[httpx.AsyncClient, httpx.AsyncClient], receiver: Receiver, tally: Tally
) -> None:
    hostile, quiet = tenants
    await _subscribe(quiet, receiver.url("/types"), event_types=["order.*"])
    assert (await _publish(quiet, "order.paid")).json()["deliveries"] == 1
    for number in range(20):
        types = [f"{number}.{entry}.{'x' * 110}" for entry in range(MAX_TYPES - 1)]
        await _subscribe(hostile, receiver.url("/hostile"), event_types=[*types, ("a." * 60) + "*"])
    deep = "a." * 63 + "b"
    answers = await asyncio.gather(
        *(_publish(hostile, deep) for _ in range(20)), *(_publish(quiet, "order.paid") for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["deliveries"] for answer in answers] == [20] * 20 + [1] * 20
    await receiver.wait_for(21, path="/types")
    tally.add("event types of a subscription", 20 * MAX_TYPES)
