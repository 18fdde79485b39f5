"""A limit on bytes that are held at once."""

import asyncio
import contextlib

import pytest

from services.delivery.worker.deliverer import Budget


class Spender:
    """A task that holds bytes of a budget until it is told to release them."""

    def __init__(self, budget: Budget, size_bytes: int, holder: str | None = None) -> None:
        self._release = asyncio.Event()
        self.holding = asyncio.Event()
        # By default nobody's but its own.
        self.task = asyncio.create_task(self._run(budget, size_bytes, holder or str(id(self))))

    async def _run(self, budget: Budget, size_bytes: int, holder: str) -> None:
        async with budget.spend(holder, size_bytes):
            self.holding.set()
            await self._release.wait()

    async def let_go(self) -> None:
        self._release.set()
        await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_holders_that_fit_together_hold_at_once() -> None:
    budget = Budget(100)
    spenders = [Spender(budget, 50), Spender(budget, 50)]
    await settle()
    assert all(spender.holding.is_set() for spender in spenders)
    for spender in spenders:
        await spender.let_go()


async def test_holder_that_does_not_fit_waits_until_enough_is_released() -> None:
    budget = Budget(100)
    first, second, third = Spender(budget, 60), Spender(budget, 30), Spender(budget, 50)
    await settle()
    assert not third.holding.is_set()
    await second.let_go()
    await settle()
    assert not third.holding.is_set()
    await first.let_go()
    await settle()
    assert third.holding.is_set()
    await third.let_go()


async def test_holder_larger_than_the_budget_gets_all_of_it() -> None:
    budget = Budget(100)
    large = Spender(budget, 1_000)
    await settle()
    small = Spender(budget, 1)
    await settle()
    assert large.holding.is_set()
    assert not small.holding.is_set()
    await large.let_go()
    await settle()
    assert small.holding.is_set()
    await small.let_go()


@pytest.mark.parametrize("holding", [True, False])
async def test_cancelled_holder_keeps_nothing(*, holding: bool) -> None:
    budget = Budget(100)
    first, second = Spender(budget, 100), Spender(budget, 100)
    await settle()
    await (first if holding else second).cancel()
    await settle()
    last = second if holding else first
    assert last.holding.is_set()
    await last.let_go()
    third = Spender(budget, 100)
    await settle()
    assert third.holding.is_set()
    await third.let_go()


async def test_owner_with_many_holders_leaves_a_part_to_another_and_does_not_delay_it() -> None:
    budget = Budget(80)
    many = [Spender(budget, 10, "one") for _ in range(20)]
    await settle()
    assert sum(spender.holding.is_set() for spender in many) == 7
    other = Spender(budget, 10, "other")
    await settle()
    assert other.holding.is_set()
    await other.let_go()
    await settle()
    assert sum(spender.holding.is_set() for spender in many) == 7
    for spender in many:
        await spender.let_go()


async def test_released_bytes_go_first_to_an_owner_that_holds_none() -> None:
    """However large it is, and however many small ones of another wait."""
    budget = Budget(80)
    many = [Spender(budget, 10, "one") for _ in range(20)]
    await settle()
    other = Spender(budget, 60, "other")
    for number in range(7):
        await settle()
        assert other.holding.is_set() == (number >= 5)
        await many[number].let_go()
    await other.let_go()
    for spender in many[7:]:
        await spender.let_go()


async def test_budget_forgets_owners_that_are_gone() -> None:
    budget = Budget(80)
    many = [Spender(budget, 10, str(number)) for number in range(20)]
    await settle()
    for spender in many[::2]:
        await spender.cancel()
    for spender in many[1::2]:
        await spender.let_go()
    assert (budget._left, len(budget._held), len(budget._waiting)) == (80, 0, 0)


async def test_holder_of_weight_3_gets_three_times_the_bytes() -> None:
    budget = Budget(160, {"light": 1, "heavy": 3}.__getitem__)
    light, heavy = [[Spender(budget, 1, name) for _ in range(400)] for name in ("light", "heavy")]

    def holding(spenders: list[Spender]) -> list[Spender]:
        return [one for one in spenders if one.holding.is_set() and not one.task.done()]

    for _ in range(8):
        await settle()
        for one in holding(light)[:20]:
            await one.let_go()
    await settle()
    assert len(holding(light)) + len(holding(heavy)) >= 140
    assert 2 <= len(holding(heavy)) / len(holding(light)) <= 4
    for one in (*light, *heavy):
        await one.cancel()
