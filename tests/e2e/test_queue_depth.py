"""The metrics that scale workers, measured on the running stack: queue depth and busy slots."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from dev.harness import stack as stacks
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.delivery import world as worlds
from tests.delivery.world import World

SLOTS = 8
BACKLOG = 5_000


@pytest.fixture(scope="module")
def small(short_folder: Path) -> Iterator[Stack]:
    """A stack whose worker has eight slots."""
    environment = {"WORKER_CONCURRENCY": str(SLOTS), "DELIVERY_TIMEOUT_SECONDS": "30", "LEASE_SECONDS": "60"}
    with stacks.running(short_folder / "small", environment=environment, processes="one") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def world(small: Stack) -> AsyncIterator[World]:
    """A connection to its rows, which are deleted at the end."""
    async with worlds.opened(small.ports["database_url"], small.ports["redis_url"]) as opened:
        yield opened
        await opened.clear()


class Scraped:
    """The gauges of a stack, read again each time."""

    def __init__(self, stack: Stack) -> None:
        self._ports = stack.ports["metrics"]

    def value(self, role: str, name: str, **labels: str) -> float:
        """Return a gauge of a process; 0 if it has no value yet."""
        text = httpx.get(f"http://127.0.0.1:{self._ports[role]}/metrics", timeout=60).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return next((each.value for each in samples if each.name == name and each.labels == labels), 0.0)

    @property
    def depth(self) -> float:
        """Return the number of deliveries that one more worker could send."""
        return self.value("delivery", "webhook_queue_depth")

    @property
    def busy(self) -> float:
        """Return the worker's busy slots."""
        return self.value("worker", "webhook_worker_busy_slots")

    def held(self, reason: str) -> float:
        """Return the number of deliveries that no worker may send, by reason."""
        return self.value("delivery", "webhook_held_deliveries", reason=reason)


async def hold(world: World, subscription: UUID, reason: str) -> None:
    """Close a subscription's gate as the service does."""
    query = {
        "breaker_open": "INSERT INTO subscription_health (subscription_id, breaker, breaker_since, probe_at, openings)"
        " VALUES ($1, 'open', now(), now() + interval '1 hour', 1)",
        "paused": "UPDATE subscriptions SET status = 'paused' WHERE id = $1",
        "rate_limit": "UPDATE subscriptions SET rate_limit_per_second = 1, rate_limit_burst = 1 WHERE id = $1",
    }
    await world.pool.execute(query[reason], subscription)


@pytest.mark.parametrize("reason", ["breaker_open", "paused", "rate_limit"])
async def test_queue_depth_counts_no_delivery_that_no_worker_may_send(
    small: Stack, world: World, receiver: Receiver, reason: str
) -> None:
    scraped = Scraped(small)
    subscription = await world.subscription(receiver.url())
    await hold(world, subscription, reason)
    for _ in range(10):
        await world.deliver_many(subscription, BACKLOG // 10)

    def held() -> bool:
        return scraped.held(reason) >= BACKLOG - 100 and scraped.depth <= 10

    await wait_until(held, what=f"deliveries held by {reason}")
    # It is the same after several measurements, one every 2 s; where nothing is due, there are no turns to count.
    depths: list[float] = []

    def later() -> bool:
        depths.append(scraped.depth)
        return len(depths) >= 100

    await wait_until(later, what="several measurements")
    assert max(depths) <= 10
    assert scraped.held(reason) >= BACKLOG - 100


async def test_a_burst_raises_the_depth_and_draining_lowers_it(small: Stack, world: World, receiver: Receiver) -> None:
    # Slow until the burst was measured: while nothing happens, that is done every few seconds only. Responses that come
    # before would tell the worker that it is the endpoints which are slow.
    receiver.script(then=Reply(delay_seconds=28))
    scraped = Scraped(small)
    assert scraped.value("worker", "webhook_worker_slots") == SLOTS
    await wait_until(lambda: (scraped.depth, scraped.busy) == (0, 0), what="nothing to do")
    subscriptions = [await world.subscription(receiver.url(f"/{number}")) for number in range(2)]
    for subscription in subscriptions:
        await world.deliver_many(subscription, 200)
    # Two subscriptions use three sevenths each, and the last slot is free.
    await wait_until(lambda: scraped.busy >= SLOTS - 2, what="the worker to be busy")
    await wait_until(lambda: scraped.depth >= 200, what="the burst to show")
    receiver.script(then=Reply())
    receiver.release()
    await wait_until(lambda: scraped.depth < 200, what="the depth to fall")
    await wait_until(lambda: (scraped.depth, scraped.busy) == (0, 0), what="all to be sent")
    for subscription in subscriptions:
        await world.all_in(subscription, "delivered", 200)
