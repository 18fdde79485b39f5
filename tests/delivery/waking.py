"""Loops that signals wake: how often they look."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dev.harness.waiting import wait_until
from services.platform.stores.signals import Signals


async def run_and_wake(
    loop: Coroutine[Any, Any, object], signals: Signals, name: str, *, until: Callable[[], object]
) -> None:
    """Run a loop until its first look, wake it twenty times, and cancel it."""
    running = asyncio.create_task(loop)
    await wait_until(until, what="a look")
    for _ in range(20):
        signals.wake(name)
        await asyncio.sleep(0.001)
    running.cancel()
