"""What is looked at once for all who ask."""

import asyncio

import pytest

from services.platform.process.fresh import Fresh


class Looked:
    def __init__(self, failures: int = 0) -> None:
        self.looks = 0
        self._failures = failures

    async def __call__(self) -> int:
        self.looks += 1
        await asyncio.sleep(0)
        if self.looks <= self._failures:
            raise OSError("away")
        return self.looks


async def test_those_who_ask_together_and_soon_after_get_one_look() -> None:
    look = Looked()
    fresh = Fresh(look, seconds=3600.0)
    assert await asyncio.gather(*(fresh.get() for _ in range(5))) == [1] * 5
    assert await fresh.get() == look.looks == 1


async def test_what_is_old_or_failed_is_looked_at_again() -> None:
    fresh = Fresh(Looked(failures=1), seconds=0.0)
    with pytest.raises(OSError, match="away"):
        await fresh.get()
    assert [await fresh.get(), await fresh.get()] == [2, 3]


async def test_a_caller_who_leaves_takes_nothing_from_those_who_wait() -> None:
    fresh = Fresh(Looked(), seconds=3600.0)
    first, second = asyncio.create_task(fresh.get()), asyncio.create_task(fresh.get())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    assert first.cancelled()
