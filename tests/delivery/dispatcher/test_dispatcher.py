"""The dispatcher rings for due deliveries, in turns, and takes back those of lost workers."""

import dataclasses
import itertools
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
import redis.asyncio

from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from services.delivery.dispatcher import turns
from services.delivery.dispatcher.dispatcher import (
    DELIVERIES_PER_TURN,
    FIRST_DELIVERIES_PER_TURN,
    MIN_DELIVERIES_PER_TURN,
    MOST_TURN_SECONDS,
    Dispatcher,
)
from services.delivery.dispatcher.store import MAX_INTERRUPTIONS
from services.domain.deliveries import DUE
from services.domain.doorbell import BACKLOG, DUE_MARK, IDS_PER_BELL, PROMPT, STREAMS, Streams, heard
from services.platform import ids
from services.platform.stores import redis as clients
from services.platform.stores.signals import Signals
from tests.delivery.waking import run_and_wake
from tests.delivery.world import Counted, World, numbers, outcomes, until_true

TURNS = "webhook_dispatcher_turn_duration_seconds_count"


class Stream:
    """The doorbells, as a worker reads them: those of both streams, the prompt ones first."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client

    async def length(self, *names: str) -> int:
        """Return the number of bells."""
        return sum([int(await self.client.xlen(name)) for name in names or STREAMS])

    async def take(self) -> list[UUID]:
        """Return the ids of all bells, oldest first, and remove the bells."""
        found: list[UUID] = []
        for name in STREAMS:
            bells = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.client.xrange(name))
            for bell, fields in bells:
                found += itertools.chain(*heard(fields[b"data"]).values())
                await self.client.xdel(name, bell)
        return found

    async def fill(self, name: str, number: int = DUE_MARK.messages) -> None:
        """Add bells that nobody hears."""
        for _ in range(number):
            await self.client.xadd(name, {"data": b"x"})


@pytest.fixture(autouse=True)
def _rung_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ring again for what nobody heard only after a time that no busy machine takes."""
    monkeypatch.setattr(turns, "RUNG_SECONDS", 600)


@pytest.fixture
async def stream(world: World) -> AsyncIterator[Stream]:
    async with clients.connect(world.delivery_settings(), timeout_seconds=10) as client:
        yield Stream(client)


async def some_turns(number: int = 3) -> None:
    """Wait until dispatchers have finished this many turns from now."""
    turns = Counted(TURNS)
    await wait_until(lambda: turns() >= number, what=f"{number} turns")


# -- ringing --


@pytest.mark.parametrize("status", ["pending", "scheduled"])
async def test_due_delivery_is_rung_for_once_and_is_no_longer_due(world: World, stream: Stream, status: str) -> None:
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"), status=status)
        await until_true(stream.length, "a bell")
        assert await stream.take() == [delivery_id]
        row = await world.row(delivery_id)
        assert (row["status"], row["due"]) == ("pending", False)
        await some_turns()
        assert await stream.length() == 0


@pytest.mark.parametrize(
    ("status", "due_in"),
    [("pending", 600), ("scheduled", 600), ("delivered", -60), ("failed", -60), ("cancelled", -60)],
)
async def test_delivery_that_is_not_due_or_has_ended_is_not_changed(
    world: World, stream: Stream, status: str, due_in: float
) -> None:
    async with world.delivery():
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery_id = await world.deliver(subscription, status=status, due_in=due_in)
        before = await world.row(delivery_id)
        await some_turns()
        assert await stream.length() == 0
        assert await world.row(delivery_id) == before


async def test_a_bell_that_was_lost_is_rung_again(world: World, stream: Stream) -> None:
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
        await until_true(stream.length, "a bell")
        await stream.client.flushdb()
        await world.set(delivery_id, due_at=(await world.row(delivery_id))["created_at"])
        await until_true(stream.length, "another bell")
        assert await stream.take() == [delivery_id]


async def test_dispatchers_together_ring_for_each_delivery_once(world: World, stream: Stream) -> None:
    subscriptions = [await world.subscription("http://127.0.0.1:1/") for _ in range(3)]
    async with world.delivery(), world.delivery(), world.delivery():
        expected = [each for one in subscriptions for each in await world.deliver_many(one, 60)]

        found: list[UUID] = []

        async def all_are_rung_for() -> bool:
            found.extend(await stream.take())
            return len(found) >= len(expected)

        await until_true(all_are_rung_for, "all to be rung for")
        await some_turns(6)
        found += await stream.take()
    assert sorted(found) == sorted(expected)


async def test_a_subscription_with_one_delivery_is_not_behind_one_with_ten_thousand(
    world: World, stream: Stream
) -> None:
    many, one = [await world.subscription("http://127.0.0.1:1/") for _ in range(2)]
    await world.deliver_many(many, 10_000)
    async with world.delivery():
        await until_true(stream.length, "the first bells")
        delivery_id = await world.deliver(one)
        before = 0
        found: list[UUID] = []
        while delivery_id not in found:
            before += len(found)
            await until_true(stream.length, "more bells")
            found = await stream.take()
        before += found.index(delivery_id)
    assert before <= DUE_MARK.messages * IDS_PER_BELL + DELIVERIES_PER_TURN


async def test_subscriptions_have_a_turn_each(world: World, stream: Stream) -> None:
    subscriptions = [await world.subscription("http://127.0.0.1:1/") for _ in range(20)]
    for subscription in subscriptions:
        await world.deliver_many(subscription, 200)
    query = "SELECT delivery_id, subscription_id FROM delivery_queue"
    owners = {row["delivery_id"]: row["subscription_id"] for row in await world.pool.fetch(query)}
    found: list[UUID] = []
    async with world.delivery():

        async def all_have_some() -> bool:
            found.extend(await stream.take())
            return len({owners[delivery_id] for delivery_id in found}) == 20

        await until_true(all_have_some, "bells of each")
    # In the order in which they were rung, however many there were until somebody looked.
    assert len({owners[delivery_id] for delivery_id in found[: 20 * 200 // 2]}) == 20


async def test_dispatcher_does_not_ring_while_the_streams_are_above_their_marks(world: World, stream: Stream) -> None:
    for name in STREAMS:
        await stream.fill(name)
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
        await some_turns()
        assert await stream.length() == len(STREAMS) * DUE_MARK.messages
        assert (await world.row(delivery_id))["due"]
        await stream.client.delete(*STREAMS)
        await until_true(stream.length, "a bell, once there is room")
        assert await stream.take() == [delivery_id]


async def test_a_tenant_with_little_due_does_not_wait_behind_the_backlog(world: World, stream: Stream) -> None:
    await stream.fill(BACKLOG)
    names = ["much", "several"]
    await world.pool.execute(
        "INSERT INTO tenants (id, name) SELECT id, id FROM unnest($1::text[]) AS id ON CONFLICT DO NOTHING", names
    )
    much, several = (dataclasses.replace(world, tenant_id=name) for name in names)
    waiting = await much.deliver_many(await much.subscription("http://127.0.0.1:1/"), 2 * turns.FEW)
    for _ in range(turns.FEW + 1):
        waiting.append(await several.deliver(await several.subscription("http://127.0.0.1:1/")))
    little = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
    async with world.delivery():
        await until_true(lambda: stream.length(PROMPT), "the bell of the one")
        await some_turns()
        assert await stream.length(BACKLOG) == DUE_MARK.messages
        assert [row["due"] for row in [await world.row(name) for name in (waiting[0], waiting[-1])]] == [True, True]
        await stream.client.delete(BACKLOG)
        await until_true(lambda: stream.length(BACKLOG), "the others, once there is room")
        assert (await stream.take())[0] == little


@pytest.mark.parametrize("status", ["pending", "scheduled"])
async def test_expired_delivery_fails_and_is_not_rung_for(world: World, stream: Stream, status: str) -> None:
    async with world.delivery():
        ended = Counted("webhook_deliveries_ended_total", status="failed")
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery_id = await world.deliver(subscription, expires_in=-1, status=status)
        row = await world.in_state(delivery_id)
        assert (row["status"], row["reason"]) == ("failed", "expired")
        assert row["completed_at"] is not None
        await wait_until(lambda: ended() == 1, what="the end to be counted")
        assert await stream.length() == 0


@pytest.mark.parametrize("status", ["pending", "scheduled"])
async def test_deliveries_of_a_deleted_subscription_are_cancelled_whether_due_or_not(world: World, status: str) -> None:
    async with world.delivery():
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery_id = await world.deliver(subscription, status=status, due_in=600)
        await world.delete_subscription(subscription)
        row = await world.in_state(delivery_id)
        assert (row["status"], row["reason"]) == ("cancelled", "subscription_deleted")


async def test_what_was_in_flight_to_a_deleted_subscription_is_cancelled_when_it_would_be_retried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CANCEL_SECONDS", 0.2)
    async with world.delivery():
        subscription = await world.subscription("http://127.0.0.1:1/")
        waiting, in_flight = await world.deliver_many(subscription, 2, due_in=600)
        await world.lease(in_flight, seconds=600)
        await world.delete_subscription(subscription)
        assert (await world.in_state(waiting))["status"] == "cancelled"
        assert (await world.row(in_flight))["status"] == "in_flight"
        await world.put(in_flight, status="scheduled", due_in=3600)  # as a failed attempt does
        row = await world.in_state(in_flight)
        assert (row["status"], row["reason"]) == ("cancelled", "subscription_deleted")

        async def has_no_turn() -> bool:
            return not await world.pool.fetchval("SELECT count(*) FROM due_subscriptions")

        await until_true(has_no_turn, "the subscription to have no more turns")


# -- leases --


async def test_an_expired_lease_makes_the_delivery_due_and_leaves_an_interrupted_attempt(
    world: World, stream: Stream
) -> None:
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=600)
        expiries = Counted("webhook_lease_expiries_total")
        await world.lease(delivery_id, seconds=-0.1)
        row = await world.in_state(delivery_id, "pending")
        assert (row["claim_token"], row["completed_at"], row["reason"]) == (None, None, None)
        assert (row["attempt_count"], row["failure_count"], row["interrupted_count"]) == (1, 0, 1)
        (attempt,) = await world.attempts(delivery_id)
        assert (attempt["number"], attempt["outcome"], attempt["final"]) == (1, "interrupted", False)
        assert (attempt["duration_ms"], attempt["status_code"], attempt["response_body"]) == (None, None, None)
        assert attempt["error_message"]
        await until_true(stream.length, "a bell")
        assert await stream.take() == [delivery_id]
        await wait_until(lambda: expiries() == 1, what="the expiry to be counted")


async def test_a_lease_that_holds_is_left_alone(world: World) -> None:
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=600)
        token = await world.lease(delivery_id, seconds=600)
        await some_turns()
        row = await world.row(delivery_id)
        assert (row["status"], row["claim_token"]) == ("in_flight", token)


async def test_an_interruption_does_not_count_toward_the_retry_limit(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    async with world.running(retry_limit=1, retry_base_seconds=0.05):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=600)
        await world.lease(delivery_id, seconds=-0.1)
        row = await world.in_state(delivery_id)
        assert (row["status"], row["reason"], row["attempt_count"]) == ("failed", "retries_exhausted", 3)
        assert outcomes(await world.attempts(delivery_id)) == ["interrupted", "http_5xx", "http_5xx"]


async def test_the_tenth_interruption_ends_the_delivery(world: World) -> None:
    async with world.delivery():
        delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=600)
        ended = Counted("webhook_deliveries_ended_total", status="failed")
        for number in range(1, MAX_INTERRUPTIONS):
            await world.lease(delivery_id, seconds=-0.1)
            row = await world.in_state(delivery_id, "pending", "failed")
            assert (row["status"], row["interrupted_count"]) == ("pending", number)
        await world.lease(delivery_id, seconds=-0.1)
        row = await world.in_state(delivery_id)
        assert (row["status"], row["reason"]) == ("failed", "worker_lost")
        assert (row["claim_token"], row["attempt_count"]) == (None, MAX_INTERRUPTIONS)
        assert row["completed_at"] is not None
        attempts = await world.attempts(delivery_id)
        assert numbers(attempts) == list(range(1, MAX_INTERRUPTIONS + 1))
        assert [attempt["final"] for attempt in attempts] == [False] * 9 + [True]
        await wait_until(lambda: ended() == 1, what="the end to be counted")


async def test_an_expired_lease_of_a_deleted_subscription_ends_cancelled(world: World) -> None:
    async with world.delivery():
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery_id = await world.deliver(subscription, due_in=600)
        await world.lease(delivery_id, seconds=-0.1)
        await world.delete_subscription(subscription)
        assert (await world.in_state(delivery_id))["status"] == "cancelled"


async def test_dispatchers_together_take_back_each_lost_lease_once(world: World) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    delivery_ids = await world.deliver_many(subscription, 200, due_in=600)
    await world.pool.execute(
        "UPDATE delivery_queue SET claim_token = $1, lease_until = now() - interval '1 second',"
        " due_at = now() - interval '1 second'",
        ids.new(),
    )
    expiries = Counted("webhook_lease_expiries_total")
    async with world.delivery(), world.delivery():
        await world.all_in(subscription, "pending", 200)
        await wait_until(lambda: expiries() == 200, what="the expiries to be counted")
    rows = await world.pool.fetch("SELECT interrupted_count FROM delivery_queue")
    assert {row["interrupted_count"] for row in rows} == {1}
    assert await world.pool.fetchval("SELECT count(*) FROM delivery_attempts") == len(delivery_ids)


# -- its metrics --


async def test_the_gauges_count_unfinished_deliveries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.metrics.INTERVAL_SECONDS", 0.1)
    subscription = await world.subscription("http://127.0.0.1:1/")
    await world.deliver_many(subscription, 3, due_in=600)
    await world.deliver(subscription, status="scheduled", due_in=600)
    await world.deliver(subscription, status="delivered")
    for _ in range(2):
        await world.lease(await world.deliver(subscription, due_in=600), seconds=600)
    async with world.delivery():

        def gauges() -> list[float]:
            names = ("queue_depth", "scheduled_deliveries", "in_flight_deliveries")
            return [Counted.now(f"webhook_{name}") for name in names]

        await wait_until(lambda: gauges() == [3, 1, 2], what="the gauges")


async def test_a_dispatcher_that_cannot_end_a_turn_reports_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.dispatcher.GUARD_SECONDS", 0.3)
    async with world.delivery_process(world.delivery_settings()) as process, world.pool.acquire() as connection:
        await until_ready(process.health.serving, ready=True)
        await until_ready(process.health.ready, ready=True)
        async with connection.transaction():
            await connection.execute("LOCK TABLE delivery_queue IN ACCESS EXCLUSIVE MODE")
            assert "dispatcher" in await until_ready(process.health.serving, ready=False)
            # All copies wait for the same lock, and this one still answers.
            assert await process.health.ready() == {}
        await until_ready(process.health.serving, ready=True)


async def until_ready(check: Any, *, ready: bool) -> dict[str, str]:
    failures: dict[str, str] = {}

    async def is_so() -> bool:
        failures.clear()
        failures.update(await check())
        return (not failures) == ready

    await until_true(is_so, "the process to be ready" if ready else "the process not to be ready")
    return failures


# -- with a worker --


@pytest.mark.parametrize(
    ("rang", "seconds", "factor"),
    [(1.0, -60.0, 1.25), (1.0, 60.0, 0.25), (0.4, 60.0, 1.0), (0.4, -60.0, 1.0)],
    ids=["read soon", "read late", "few read late", "few read soon"],
)
def test_turn_grows_or_shrinks_with_the_time_that_its_bells_were_unread(
    rang: float, seconds: float, factor: float
) -> None:
    """A turn that rang for few says nothing about more."""
    number = FIRST_DELIVERIES_PER_TURN
    stream: Any = SimpleNamespace(first_unread=(1, 0), last_sent=(2, 0))
    dispatcher = Dispatcher(
        cast("Any", None), cast("Any", None), stream, stream, Streams(stream, stream), Signals(cast("Any", None))
    )
    dispatcher._rang, dispatcher._rang_at = int(rang * number), time.monotonic() - seconds
    dispatcher._adapt()
    assert dispatcher._deliveries_per_turn == number, "a bell is unread"
    stream.first_unread = (3, 0)
    dispatcher._adapt()
    assert dispatcher._deliveries_per_turn == int(number * factor)
    assert dispatcher._rang_at is None
    if factor != 1.0:
        for _ in range(20):
            dispatcher._rang, dispatcher._rang_at = DELIVERIES_PER_TURN, time.monotonic() - seconds
            dispatcher._adapt()
        assert dispatcher._deliveries_per_turn == (DELIVERIES_PER_TURN if factor > 1 else MIN_DELIVERIES_PER_TURN)


def test_turn_that_took_long_is_followed_by_a_smaller_one_even_if_its_bells_were_read_soon() -> None:
    stream: Any = SimpleNamespace(first_unread=None, last_sent=(1, 0))
    dispatcher = Dispatcher(
        cast("Any", None), cast("Any", None), stream, stream, Streams(stream, stream), Signals(cast("Any", None))
    )
    dispatcher._rang, dispatcher._rang_at = FIRST_DELIVERIES_PER_TURN, time.monotonic()
    dispatcher._turn_seconds = 2 * MOST_TURN_SECONDS
    dispatcher._adapt()
    assert dispatcher._deliveries_per_turn == FIRST_DELIVERIES_PER_TURN // 2


async def test_bells_that_are_unread_are_looked_at_no_more_often_for_what_becomes_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ingest in the same process that is each commit which leaves something to the dispatcher."""
    monkeypatch.setattr("services.delivery.dispatcher.dispatcher.LOOK_SECONDS", 3600.0)
    looks = 0

    async def measure() -> None:
        nonlocal looks
        looks += 1

    signals = Signals(cast("Any", None))
    stream: Any = SimpleNamespace(first_unread=(1, 0), last_sent=(2, 0), waiting=0, measure=measure)
    dispatcher = Dispatcher(cast("Any", None), cast("Any", None), stream, stream, Streams(stream, stream), signals)
    dispatcher._rang_at, dispatcher._turn_at = time.monotonic(), time.monotonic() + 7200
    await run_and_wake(dispatcher._take_turns(), signals, DUE, until=lambda: looks)
    assert looks == len(STREAMS)
