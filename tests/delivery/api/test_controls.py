"""How a subscription and its receiver control sending: timeout, retry policy, Retry-After."""

import itertools
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID

import asyncpg
import pytest

from dev.harness.receiver import Receiver, Reply
from services.delivery.destinations.destination import Answer
from services.delivery.destinations.http.connection import MAX_RETRY_AFTER_BYTES
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.worker.deliverer import Deliverer, Held
from services.delivery.worker.store import WorkerStore
from tests.delivery import sending
from tests.delivery.conftest import Shared
from tests.delivery.sending import post
from tests.delivery.world import RUNG, World, outcomes


async def scheduled(world: World, delivery_id: UUID) -> tuple[asyncpg.Record, float]:
    """Return a delivery that waits for its retry, and the delay of the retry after its last attempt."""
    row = await world.in_state(delivery_id, "scheduled")
    last = (await world.attempts(delivery_id))[row["attempt_count"] - 1]  # another one may have begun
    delay = (row["due_at"] - last["recorded_at"]).total_seconds()
    await world.put(delivery_id, status="cancelled")
    return row, delay


# -- timeout --


async def test_a_subscriptions_own_timeout_holds_for_its_requests_alone(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(delay_seconds=1.5))
    async with world.running(delivery_timeout_seconds=1.0):
        patient = await world.deliver(await world.subscription(receiver.url(), timeout_seconds=15))
        target = await world.subscription(receiver.url(), delays_seconds=[60])
        other = await world.deliver(target)
        assert (await world.in_state(patient))["status"] == "delivered"
        await scheduled(world, other)
        (attempt,) = await world.attempts(other)
    assert attempt["outcome"] == "timeout"
    assert attempt["duration_ms"] >= 950


async def test_a_subscriptions_own_timeout_may_be_shorter(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.running(delivery_timeout_seconds=20.0):
        delivery_id = await world.deliver(await world.subscription(receiver.url(), timeout_seconds=1))
        await scheduled(world, delivery_id)
        (attempt,) = await world.attempts(delivery_id)
    assert (attempt["outcome"], attempt["error_message"]) == ("timeout", "no complete response within 1 s")


@pytest.mark.parametrize(
    ("lease_seconds", "lease_left", "timeout_seconds", "renewed"),
    [
        (60.0, 40.0, 30.0, False),
        (60.0, 34.0, 30.0, True),
        (60.0, 34.0, None, False),
        (60.0, 5.0, None, True),
    ],
)
async def test_the_lease_is_made_to_outlast_the_subscriptions_own_timeout(
    world: World,
    receiver: Receiver,
    sender: HttpSender,
    lease_seconds: float,
    lease_left: float,
    timeout_seconds: float | None,
    *,
    renewed: bool,
) -> None:
    settings = world.worker_settings(lease_seconds=lease_seconds)
    store = WorkerStore(world.pool, settings)
    target = await world.subscription(receiver.url(), timeout_seconds=timeout_seconds)
    (claim,) = await store.claim([await world.deliver(target, due_in=RUNG)])
    held = Held(claim=claim, lease_until=time.monotonic() + lease_left)
    before = held.lease_until
    assert (await Deliverer(store, sending.destinations(sender), settings).deliver(held)).status == "delivered"
    if renewed:
        assert held.lease_until - time.monotonic() == pytest.approx(lease_seconds, abs=10)
    else:
        assert held.lease_until == before


async def test_a_timeout_that_no_lease_can_carry_is_cut_to_what_the_whole_lease_allows(
    world: World, receiver: Receiver, sender: HttpSender
) -> None:
    receiver.script(then=Reply(hang=True))
    settings = world.worker_settings(lease_seconds=6.5, delivery_timeout_seconds=1.0)
    store = WorkerStore(world.pool, settings)
    target = await world.subscription(receiver.url(), timeout_seconds=30)
    (claim,) = await store.claim([await world.deliver(target, due_in=RUNG)])
    held = Held(claim=claim, lease_until=time.monotonic() + 5.2)
    before = held.lease_until
    outcome = await Deliverer(store, sending.destinations(sender), settings).deliver(held)
    (attempt,) = outcome.attempts
    assert attempt.outcome == "timeout"
    assert attempt.duration_ms is not None
    assert 1_350 <= attempt.duration_ms < 10_000
    assert held.lease_until > before


# -- retry policy --


async def test_a_subscriptions_own_delays_are_kept_and_end_with_the_last(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    async with world.running(retry_limit=0, retry_jitter=0.0):
        own = await world.deliver(await world.subscription(receiver.url(), delays_seconds=[0.2, 0.7]))
        row = await world.in_state(own)
        rows = await world.attempts(own)
    assert (row["status"], row["reason"], row["attempt_count"]) == ("failed", "retries_exhausted", 3)
    assert outcomes(rows) == ["http_5xx"] * 3
    gaps = [
        (later["started_at"] - earlier["started_at"]).total_seconds() for earlier, later in itertools.pairwise(rows)
    ]
    # Not sooner than it says; how much later depends on the machine.
    assert gaps[0] >= 0.2
    assert gaps[1] >= 0.7


async def test_a_change_of_the_policy_counts_from_the_next_failure(shared: Shared, receiver: Receiver) -> None:
    receiver.script(then=500)
    world = shared.world
    target = await world.subscription(receiver.url(), delays_seconds=[600, 1000])
    delivery_id = await world.deliver(target)
    await world.in_state(delivery_id, "scheduled")
    await world.pool.execute(
        "UPDATE subscriptions SET retry_policy = '{\"delays_seconds\": [1, 2000]}' WHERE id = $1", target
    )
    await world.set(delivery_id, due_at=datetime.now(UTC))
    await world.pool.execute(
        "UPDATE due_subscriptions SET turn_at = now(), due_from = now() - interval '1 minute'"
        " WHERE subscription_id = $1",
        target,
    )
    await receiver.wait_for(2)
    _, delay = await scheduled(world, delivery_id)
    assert delay == pytest.approx(2000, rel=0.1)


# -- Retry-After --


@pytest.mark.parametrize(
    ("status", "value", "least", "most"),
    [
        (503, "70", 70, 70),
        (429, "+600", 500, 600),
        (503, "999999999", 3600, 3600),
        # Never shorter.
        (503, "0", 18, 22),
        # No other status, and no garbage.
        (500, "70", 18, 22),
        (404, "70", 18, 22),
        (503, "soon", 18, 22),
    ],
)
async def test_retry_after_puts_the_retry_off_and_never_forward(
    shared: Shared, receiver: Receiver, status: int, value: str, least: float, most: float
) -> None:
    if value[0] == "+":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=int(value)), usegmt=True)
    receiver.script(then=Reply(status=status, headers={"Retry-After": value}))
    target = await shared.world.subscription(receiver.url(), delays_seconds=[20])
    _, delay = await scheduled(shared.world, await shared.world.deliver(target, expires_in=86_400))
    assert least <= delay <= most + 1e-3


async def test_retry_after_is_not_looked_at_where_its_cap_is_zero(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=503, headers={"Retry-After": "600"}))
    async with world.running(retry_after_cap_seconds=0):
        target = await world.subscription(receiver.url(), delays_seconds=[20])
        _, delay = await scheduled(world, await world.deliver(target))
    assert 18 <= delay <= 22


HEADS = {
    b"Retry-After: 5\r\n": b"5",
    b"retry-AFTER:  Sat, 14 Mar 2026 15:10:26 GMT\r\n": b"Sat, 14 Mar 2026 15:10:26 GMT",
    b"Retry-After: " + b"1" * 5000 + b"\r\n": None,
    b"Retry-After: " + b"1" * MAX_RETRY_AFTER_BYTES + b"\r\n": b"1" * MAX_RETRY_AFTER_BYTES,
    b"": None,
}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.decode()[:20])
async def test_the_header_comes_with_the_answer_unless_it_is_too_long(sender: HttpSender, head: bytes) -> None:
    answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n" + head + b"\r\nno"
    async with sending.serving(sending.answering(answer)) as server:
        found = await sender.send(post(server.url()), timeout_seconds=5)
    assert found.retry_after == HEADS[head]


async def test_the_header_of_an_interim_answer_a_trailer_or_the_answer_before_is_not_the_answers(
    sender: HttpSender,
) -> None:
    first = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    interim = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 2\r\n\r\n"
    chunked = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 3\r\n\r\n"

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(first)
        await connection.request()
        await connection.send(interim + chunked)
        await connection.closed()

    async with sending.serving(answer) as server:
        assert (await sender.send(post(server.url()), timeout_seconds=5)).retry_after == b"1"
        assert await sender.send(post(server.url()), timeout_seconds=5) == Answer(status_code=503, body=b"")
        assert len(server.connections) == 1
