"""Consumers that pull, with the Python SDK: many that share deliveries, and one that stops for long."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from dev.reach.finding import Finding
from webhook_service import AsyncClient
from webhook_service.models import PulledDelivery

# The most that a pull returns, and that a batch of events has.
BATCH, EVENTS = 100, 1_000
LEAST_PER_SECOND = 3_000.0
# Of these, a consumer that stops leaves some without a result.
STOPPED_EVENTS, LEFT = 2_000, 50
# The shortest lease: it ends while the consumer is stopped.
LEASE_SECONDS = 10.0
WAIT_SECONDS = 2.0
# Long enough that no lease ends while a busy machine processes what was pulled.
LONG_LEASE_SECONDS = 600.0
PATIENCE_SECONDS = 900.0


async def _subscribed(client: AsyncClient) -> str:
    """Make a subscription that is pulled from."""
    made = await client.subscriptions.create(destination="pull", event_types=["reach.*"], retry_policy=_OFTEN)
    return made.id


# A delivery may be left without a result more than once.
_OFTEN: dict[str, Any] = {"delays_seconds": [1.0] * 20}


async def _publish(client: AsyncClient, number: int) -> set[str]:
    """Publish this many events; return their ids."""
    found: set[str] = set()
    for first in range(0, number, EVENTS):
        events = [
            {"event_type": "reach.published", "payload": {"n": n}} for n in range(first, min(first + EVENTS, number))
        ]
        results = (await client.events.publish_batch(events)).results
        found |= {str(one.event_id) for one in results}
    assert len(found) == number, f"{len(found)} of {number} events were accepted"
    return found


def _successes(pulled: list[PulledDelivery]) -> list[dict[str, Any]]:
    return [{"delivery_id": one.id, "lease_token": one.lease_token, "outcome": "success"} for one in pulled]


async def _tenant(url: str) -> str:
    """Make a tenant, in which nobody else publishes."""
    name = f"reach-{uuid.uuid4().hex[:12]}"
    async with AsyncClient(url) as admin:
        await admin.tenants.create(name)
    return name


async def share(
    url: str, *, deliveries: int, pullers: int, cpu_seconds: Callable[[], Mapping[int, float]] = dict
) -> list[Finding]:
    """Let consumers share deliveries, in batches of 100; count how often each comes, and how many a second.

    `cpu_seconds` returns the CPU time of each process of service and consumers so far.
    """
    async with AsyncClient(url, tenant=await _tenant(url), timeout_seconds=60) as client:
        subscription = await _subscribed(client)
        published = await _publish(client, deliveries)
        seen: Counter[str] = Counter()
        by_consumer: Counter[int] = Counter()
        statuses: Counter[str] = Counter()

        async def consume(name: int) -> None:
            while len(seen) < deliveries:
                found = await client.subscriptions.pull(
                    subscription, max_deliveries=BATCH, wait_seconds=WAIT_SECONDS, lease_seconds=LONG_LEASE_SECONDS
                )
                seen.update(one.event_id for one in found.deliveries)
                by_consumer[name] += len(found.deliveries)
                if found.deliveries:
                    reported = await client.subscriptions.report(subscription, _successes(found.deliveries))
                    statuses.update(str(one.status) for one in reported.results)

        began_at, cpu_before = time.monotonic(), cpu_seconds()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(consume(name) for name in range(pullers)))
        rate = deliveries / (time.monotonic() - began_at)
        grown = sum(seconds - cpu_before.get(pid, 0.0) for pid, seconds in cpu_seconds().items())
        cpu = grown / deliveries * 1e6
    once = set(seen) == published and set(seen.values()) == {1} and statuses == {"recorded": deliveries}
    least, most = min(by_consumer.values()), max(by_consumer.values())
    return [
        Finding(
            what=f"{pullers} consumers share {deliveries:,} deliveries: each came once and is recorded; "
            f"a consumer got {least:,} to {most:,}",
            ok=once,
        ),
        Finding(
            what=f"in batches of {BATCH}, with consumers and service on this machine: {rate:,.0f} deliveries/s, at "
            f"least {LEAST_PER_SECOND:,.0f}; CPU time of both: {cpu:,.0f} µs a delivery",
            ok=rate >= LEAST_PER_SECOND,
        ),
    ]


async def stop(url: str, *, seconds: float, events: int = STOPPED_EVENTS) -> list[Finding]:
    """Stop a consumer that holds deliveries, while more are published; see what comes when it goes on."""
    async with AsyncClient(url, tenant=await _tenant(url), timeout_seconds=60) as client:
        subscription = await _subscribed(client)
        published = await _publish(client, events // 2)
        reported: set[str] = set()
        doubled: list[str] = []
        left: set[str] = set()

        async def consume(most: int) -> None:
            """Process this many; of the last batch, report nothing if some are left."""
            number = 0
            while number < most:
                found = await client.subscriptions.pull(
                    subscription,
                    max_deliveries=min(LEFT, most - number),
                    wait_seconds=WAIT_SECONDS,
                    lease_seconds=LEASE_SECONDS,
                )
                doubled.extend(one.event_id for one in found.deliveries if one.event_id in reported)
                results = await client.subscriptions.report(subscription, _successes(found.deliveries))
                recorded = [one.delivery_id for one in results.results if str(one.status) == "recorded"]
                reported.update(one.event_id for one in found.deliveries if one.id in recorded)
                number += len(recorded)

        await consume(events // 4)
        held = await client.subscriptions.pull(subscription, max_deliveries=LEFT, lease_seconds=LEASE_SECONDS)
        left.update(one.event_id for one in held.deliveries)
        began_at = time.monotonic()
        published |= await _publish(client, events // 2)
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began_at)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await consume(events - len(reported))
        again = await client.subscriptions.pull(subscription, wait_seconds=WAIT_SECONDS)
    what = (
        f"a consumer stopped for {seconds:,.0f} s with {len(left)} deliveries that it had not reported, while "
        f"{events // 2:,} were published: all {len(published):,} came, and none again that it had reported"
    )
    ok = reported == published and not doubled and not again.deliveries and len(left) == LEFT
    return [Finding(what=what, ok=ok)]
