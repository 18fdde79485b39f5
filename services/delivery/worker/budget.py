"""A bound on bytes held at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Budget:
    """Whoever spends more than is left waits; one that exceeds the whole budget gets all of it, alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._left = limit_bytes
        self._given_back = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def spend(self, size_bytes: int) -> AsyncIterator[None]:
        """Holds so many bytes of the budget."""
        size = min(size_bytes, self._limit)
        async with self._given_back:
            await self._given_back.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            self._left += size
            async with self._given_back:
                self._given_back.notify_all()
