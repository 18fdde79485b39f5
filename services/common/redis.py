"""The Redis client of a process. Redis holds nothing that must survive: every user of it has a way without."""

import contextlib
from collections.abc import AsyncIterator
from typing import TypeAlias

import redis.asyncio
import redis.exceptions

from services.common.settings import RedisSettings

# What a command raises when Redis is away. RuntimeError is uvloop's: the connection was closed under the command.
REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)

Client: TypeAlias = "redis.asyncio.Redis"

# Longer than a stall of a busy loop, short enough to go on without Redis.
TIMEOUT_SECONDS = 0.25


def connect(settings: RedisSettings, *, timeout_seconds: float | None = TIMEOUT_SECONDS) -> Client:
    """A client with bytes in and out; each command ends within the timeout."""
    return redis.asyncio.Redis.from_url(
        settings.redis_dsn,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=timeout_seconds,
        max_connections=64,
        retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    )


@contextlib.asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[Client]:
    """A client that is closed with the context."""
    created = connect(settings)
    try:
        yield created
    finally:
        await created.aclose()
