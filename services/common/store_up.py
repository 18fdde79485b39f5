"""Says of a store whether it answers this process, for alerts: webhook_store_up."""

import asyncio
from collections.abc import Awaitable, Callable

from services.common import metrics

INTERVAL_SECONDS = 2.0
TIMEOUT_SECONDS = 1.0


async def watch(store: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Asks for ever; the store is up when `ask` neither raises nor takes longer than a second."""
    up = metrics.STORE_UP.labels(store)
    while True:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await ask()
            up.set(1)
        except Exception:  # noqa: BLE001 - whatever it is, the store gave no answer
            up.set(0)
        await asyncio.sleep(INTERVAL_SECONDS)
