"""Another target_url is another endpoint: the state of the old one does not hold back the new one."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog

from dev.harness.receiver import Receiver, Reply
from services.delivery.worker import health
from services.delivery.worker.health import EndpointHealth, EndpointLog
from services.delivery.worker.store import WorkerStore
from services.domain.notices.subscription_changes import Copies
from services.domain.states import StatusReason
from services.platform import ids
from services.platform.stores import redis
from services.platform.stores.signals import Signals
from tests.delivery.world import PATIENT, World, attempt, one_failure, until_true

QUICK: dict[str, Any] = {"retry_base_seconds": 0.05, "retry_limit": 50, "breaker_failures": 3}


async def failures(world: World, subscription: UUID) -> int | None:
    query = "SELECT consecutive_failures FROM subscription_health WHERE subscription_id = $1"
    found: int | None = await world.pool.fetchval(query, subscription)
    return found


async def status(world: World, subscription: UUID) -> str:
    return str(await world.pool.fetchval("SELECT status FROM subscriptions WHERE id = $1", subscription))


async def test_deliveries_behind_a_breaker_go_to_a_new_endpoint_at_once(world: World, receiver: Receiver) -> None:
    receiver.script(then=500, path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(**QUICK, breaker_cooldown_seconds=300.0, breaker_cooldown_cap_seconds=300.0):
        await world.deliver_many(subscription, 30)

        async def opened() -> bool:
            query = "SELECT breaker FROM subscription_health WHERE subscription_id = $1"
            return bool(await world.pool.fetchval(query, subscription) == "open")

        await until_true(opened, "an open breaker")
        await world.change_target(subscription, receiver.url("/new"))
        await world.all_in(subscription, "delivered", 30)
    assert len(receiver.on("/new")) == 30
    assert await failures(world, subscription) is None


async def test_requests_that_hang_at_an_endpoint_leave_the_next_one_its_lane(world: World, receiver: Receiver) -> None:
    """They fill the lane until their timeout: without a check in Postgres, nothing would be claimed."""
    receiver.script(then=Reply(hang=True), path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(worker_concurrency=128, **PATIENT):
        await world.deliver_many(subscription, 100)
        await receiver.wait_for(32, path="/old")
        await world.change_target(subscription, receiver.url("/new"))
        await receiver.wait_for(100 - len(receiver.on("/old")), path="/new")
        # None of them has timed out.
        assert receiver.in_flight >= 32
        receiver.release()


async def test_an_answer_of_the_endpoint_before_neither_disables_nor_counts(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=410, hang=True), path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(**QUICK, **PATIENT):
        await world.deliver_many(subscription, 5)
        await receiver.wait_for(5, path="/old")
        await world.change_target(subscription, receiver.url("/new"))
        receiver.release()
        await world.all_in(subscription, "delivered", 5)
    assert len(receiver.on("/new")) == 5
    assert await status(world, subscription) == "active"
    assert await failures(world, subscription) is None


async def test_health_counts_only_outcomes_of_the_current_endpoint(world: World) -> None:
    settings = world.worker_settings()
    store = WorkerStore(world.pool, settings)
    changed, kept = [await world.subscription("http://127.0.0.1:1/") for _ in range(2)]
    await world.change_target(changed, "http://127.0.0.1:2/")
    verdicts = await store.record_health([one_failure(changed), one_failure(kept)], settings)
    assert [verdict.subscription_id for verdict in verdicts] == [kept]
    assert (await failures(world, changed), await failures(world, kept)) == (None, 1)
    await store.record_health([one_failure(changed, endpoint_version=2)], settings)
    assert await failures(world, changed) == 1


@pytest.mark.parametrize(("endpoint_version", "expected"), [(1, "active"), (2, "disabled")])
async def test_subscription_is_disabled_only_by_its_current_endpoint(
    world: World, endpoint_version: int, expected: str
) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    await world.change_target(subscription, "http://127.0.0.1:2/")
    store = WorkerStore(world.pool, world.worker_settings())
    await store.disable(
        {subscription: StatusReason.GONE}, [one_failure(subscription, endpoint_version=endpoint_version, gone=True)]
    )
    assert await status(world, subscription) == expected


async def test_a_worker_counts_the_failures_of_each_endpoint_by_themselves(world: World) -> None:
    settings = world.worker_settings(**QUICK)
    store = WorkerStore(world.pool, settings)
    subscription = await world.subscription("http://127.0.0.1:1/")
    (old,) = await store.claim(await world.deliver_many(subscription, 1))
    await world.change_target(subscription, "http://127.0.0.1:2/")
    (new,) = await store.claim(await world.deliver_many(subscription, 1))
    async with redis.client(settings) as client:
        heard = Signals(client)
        health = EndpointHealth(store, settings, Copies(heard), heard)
        for claim in (old, old, new, old, old):
            health.note(claim, attempt("http_5xx", claim))
        assert await health.flush() == set()
        assert await failures(world, subscription) == 1
        for claim in (new, new):
            health.note(claim, attempt("http_5xx", claim))
        assert await health.flush() == {subscription}


# Log lines about endpoints, bounded.
URL = "https://hooks.example/secret-path"
PROBE = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(health, "time", made)
    return made


def fail(lines: EndpointLog) -> None:
    lines.failing(ids.new(), URL, reason="10 failures in a row", failures=10, next_probe=PROBE)


@pytest.mark.usefixtures("clock")
def test_endpoint_changes_are_logged_in_one_line_each() -> None:
    lines, name = EndpointLog(), ids.new()
    with structlog.testing.capture_logs() as logs:
        lines.failing(name, URL, reason="10 failures in a row; the last: timeout", failures=10, next_probe=PROBE)
        lines.recovered(name, URL)
        lines.disabled(name, URL, reason="gone", last_error="the receiver responded with 410")
    told = {"subscription_id": str(name), "host": "hooks.example"}
    assert logs == [
        told
        | {
            "event": "an endpoint started failing; its deliveries wait",
            "log_level": "warning",
            "reason": "10 failures in a row; the last: timeout",
            "failures": 10,
            "next_probe": "2026-03-14T15:09:26+00:00",
        },
        told | {"event": "an endpoint recovered", "log_level": "info"},
        told
        | {
            "event": "a subscription was disabled",
            "log_level": "warning",
            "reason": "gone",
            "last_error": "the receiver responded with 410",
        },
    ]
    assert "secret-path" not in str(logs)


def test_a_mass_outage_writes_a_few_lines_and_a_count(clock: Clock) -> None:
    lines = EndpointLog()
    with structlog.testing.capture_logs() as logs:
        for second in range(30):
            for _ in range(1000):
                fail(lines)
            lines.recovered(ids.new(), URL)
            clock.now = 1001.0 + second
            lines.summarize()
        clock.now += health.WINDOW_SECONDS
        lines.summarize()
        lines.summarize()
    counts = [entry for entry in logs if entry["event"] == "further endpoint changes were not logged"]
    listed = len(logs) - len(counts)
    assert listed == 3 * health.LINES_PER_WINDOW
    assert len(counts) == 3
    assert listed + sum(entry["failing"] + entry["recovered"] for entry in counts) == 30_030


def test_a_count_waits_for_its_window_and_is_not_lost(clock: Clock) -> None:
    lines = EndpointLog()
    for _ in range(health.LINES_PER_WINDOW):
        fail(lines)
    with structlog.testing.capture_logs() as logs:
        fail(lines)
        lines.summarize()
        assert logs == []
        clock.now += health.WINDOW_SECONDS
        fail(lines)
    assert [entry["event"].split()[0] for entry in logs] == ["further", "an"]
