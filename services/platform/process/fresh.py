"""What somebody has just looked at: others who ask within some seconds get the same."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Looks at most once at a time, and not again for so many seconds. A failure is not kept."""

    def __init__(self, look: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._looking = asyncio.Lock()
        self._found: T | None = None
        # On time.monotonic().
        self._until = -math.inf

    async def get(self) -> T:
        """Return what was found of late, or look."""
        async with self._looking:
            if self._found is None or time.monotonic() >= self._until:
                self._found = await self._look()
                self._until = time.monotonic() + self._seconds
            return self._found
