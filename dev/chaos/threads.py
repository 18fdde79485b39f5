"""Blocking calls beside the loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run(function: Callable[..., T], *arguments: object) -> T:
    """As asyncio.to_thread, but a cancellation waits for the end of the call.

    What is just being started would otherwise run on after everything was stopped.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        raise
