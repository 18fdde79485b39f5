"""Addresses of a name, each tried a little after the one before."""

import asyncio
import functools
import ssl

import pytest

from services.delivery.destinations.http import dialing

SOON = 0.05


@pytest.fixture(autouse=True)
def _delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "DELAY_SECONDS", 0.1)


class Openings:
    """Openings that take their time and then work or fail; what was begun, and what was closed."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.closed: list[str] = []

    async def open(self, name: str, seconds: float, error: Exception | None = None) -> str:
        self.begun.append(name)
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return name

    async def first(self, *plans: tuple[str, float] | tuple[str, float, Exception]) -> str:
        return await dialing.first([functools.partial(self.open, *plan) for plan in plans], self.closed.append)


async def test_the_first_that_works_counts_and_no_other_is_tried() -> None:
    openings = Openings()
    assert await openings.first(("a", 0), ("b", 0)) == "a"
    assert openings.begun == ["a"]


async def test_the_next_is_tried_at_once_when_one_fails() -> None:
    openings = Openings()
    async with asyncio.timeout(SOON):
        assert await openings.first(("a", 0, OSError("no")), ("b", 0)) == "b"


async def test_one_that_hangs_holds_up_the_next_for_a_moment_only() -> None:
    openings = Openings()
    async with asyncio.timeout(1):
        assert await openings.first(("a", 60), ("b", 60), ("c", 0)) == "c"
    assert openings.begun == ["a", "b", "c"]


async def test_a_slow_one_still_counts_if_it_is_first() -> None:
    openings = Openings()
    assert await openings.first(("a", 0.2), ("b", 60)) == "a"


async def test_what_comes_too_late_is_closed() -> None:
    openings = Openings()
    same = asyncio.Event()

    async def together(name: str) -> str:
        await same.wait()
        return name

    asyncio.get_running_loop().call_later(0.3, same.set)
    won = await dialing.first([functools.partial(together, name) for name in "ab"], openings.closed.append)
    await asyncio.sleep(0)
    assert sorted([won, *openings.closed]) == ["a", "b"]


async def test_the_last_failure_is_the_answer_when_all_fail() -> None:
    with pytest.raises(OSError, match="second"):
        await Openings().first(("a", 0, OSError("first")), ("b", 0, OSError("second")))


async def test_a_wrong_certificate_is_an_answer() -> None:
    openings = Openings()
    with pytest.raises(ssl.SSLError):
        await openings.first(("a", 0, ssl.SSLError("wrong")), ("b", 0))
    assert openings.begun == ["a"]


async def test_whoever_leaves_leaves_nothing_behind() -> None:
    openings = Openings()
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await openings.first(("a", 60), ("b", 60))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
