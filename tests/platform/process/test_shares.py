"""services/platform/process/shares.py, alone and in a pool of a real Postgres."""

import asyncio
import contextlib

import pytest

from dev.harness.waiting import wait_until
from services.platform import errors
from services.platform.process.lifecycle import Process
from services.platform.process.shares import OWNER, ConcurrencyLimit, Shares, divide
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres

PLACES = 4


class Users:
    """Those that hold a place, or wait for one, until they are told to leave."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.holding: list[str] = []
        self._leaving = asyncio.Event()

    async def use(self, owner: str) -> None:
        """Hold a place."""
        OWNER.set(owner)
        async with self._shares.taken():
            self.holding.append(owner)
            try:
                await self._leaving.wait()
            finally:
                self.holding.remove(owner)

    def begin(self, owner: str, number: int) -> list[asyncio.Task[None]]:
        """Let so many ask for a place."""
        return [asyncio.create_task(self.use(owner)) for _ in range(number)]


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for them."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("number", "weights", "expected"),
    [
        (11, {"a": 1, "b": 1, "c": 1}, {"a": 4, "b": 4, "c": 3}),
        (128, {"a": 1, "b": 3}, {"a": 32, "b": 96}),
        (101, {"a": 100, "b": 1}, {"a": 100, "b": 1}),
        # However little its weight, each gets one if there are enough; the first ones if there are not.
        (128, {"a": 100, "b": 100, "c": 1}, {"a": 64, "b": 63, "c": 1}),
        (2, {"a": 1, "b": 100, "c": 100}, {"a": 1, "b": 1, "c": 0}),
        (7, {"a": 50}, {"a": 7}),
        (7, {}, {}),
    ],
)
def test_a_number_is_divided_by_weight(number: int, weights: dict[str, int], expected: dict[str, int]) -> None:
    assert divide(number, weights) == expected


async def test_an_owner_leaves_places_for_those_that_have_none() -> None:
    users = Users(Shares(PLACES))
    tasks = users.begin("loud", 50)
    await settled()
    assert users.holding == ["loud"] * 2
    tasks += users.begin("quiet", 50)
    await settled()
    assert sorted(users.holding) == ["loud"] * 2 + ["quiet"]
    tasks += users.begin("third", 1)
    await settled()
    assert len(users.holding) == PLACES
    await ended(*tasks)
    assert users.holding == []


def test_a_limit_refuses_an_owner_that_has_as_many_as_are_free_and_everybody_when_none_is() -> None:
    limit = ConcurrencyLimit(3, none_free="none is free", too_many="too many")
    with limit.taken("a"):
        with limit.taken("a"), pytest.raises(errors.TenantOverloaded, match="too many"), limit.taken("a"):
            pass
        with limit.taken("a"), limit.taken("b"), pytest.raises(errors.Overloaded, match="none is free"):
            limit.taken("c").__enter__()


async def test_a_place_that_becomes_free_goes_to_owners_in_turns() -> None:
    users = Users(Shares(PLACES))
    (first, *loud), quiet = users.begin("loud", 50), users.begin("quiet", 1)
    others = users.begin("third", 1) + users.begin("fourth", 1)
    await settled()
    assert sorted(users.holding) == ["loud", "loud", "quiet", "third"]
    await ended(first)
    await settled()
    assert sorted(users.holding) == ["fourth", "loud", "quiet", "third"]
    await ended(*loud, *quiet, *others)


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "as it is given its place"])
async def test_cancelled_caller_leaves_nothing_behind(granted: bool) -> None:  # noqa: FBT001
    shares = Shares(1)
    users = Users(shares)
    holder, waiting = users.begin("a", 1) + users.begin("a", 1)
    await settled()
    if granted:
        await ended(holder)
    waiting.cancel()
    await asyncio.wait([waiting])
    await settled()
    holder.cancel()
    (last,) = users.begin("a", 1)
    await settled()
    assert users.holding == ["a"]
    await ended(last)


async def test_caller_that_holds_a_place_does_not_wait_for_another_one() -> None:
    shares = Shares(1)
    OWNER.set("a")
    async with asyncio.timeout(60), shares.taken(), shares.taken():
        pass


async def test_caller_that_waits_too_long_is_rejected() -> None:
    shares = Shares(1)
    users = Users(shares)
    (holder,) = users.begin("a", 1)
    await settled()
    OWNER.set("a")
    with pytest.raises(errors.TenantOverloaded):
        async with shares.taken(wait_seconds=0.01):
            pass
    await ended(holder)


async def test_calls_that_wait_for_a_lock_leave_connections_for_others(database: str) -> None:
    lock = "SELECT * FROM tenants WHERE id = 'default' FOR UPDATE"

    async def stuck() -> None:
        OWNER.set("loud")
        await pool.execute(lock)

    async def other() -> int:
        OWNER.set("quiet")
        found: int = await pool.fetchval("SELECT 1")
        return found

    settings = PostgresSettings(database_url=database, postgres_pool_size=2 * PLACES)
    async with postgres.pool(Process("test"), settings) as pool, pool.acquire() as first, first.transaction():
        await first.execute(lock)
        tasks = [asyncio.create_task(stuck()) for _ in range(50)]
        count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

        async def waiting() -> bool:
            await first.execute("SELECT pg_stat_clear_snapshot()")
            return bool(await first.fetchval(count) == PLACES // 2)

        await wait_until(waiting, what="some to wait for the lock")
        async with asyncio.timeout(8):
            assert await asyncio.create_task(other()) == 1
            assert await pool.fetchval("SELECT 1") == 1
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
