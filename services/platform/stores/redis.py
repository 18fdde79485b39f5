"""The Redis clients of a process. Redis holds nothing that must survive: every user of it has a way without."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import BlockingConnectionPool

import services.platform.stores.errors  # noqa: F401 - what drivers raise has a meaning from here on
from services.platform.settings import RedisSettings
from services.platform.stores import redis_primary, redis_url

# What a command raises when Redis is away. RuntimeError is uvloop's: the connection was closed under the command.
REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)

Client: TypeAlias = "redis.asyncio.Redis"

# Longer than a stall of a busy loop, short enough to go on without Redis.
TIMEOUT_SECONDS = 0.25
MAX_CONNECTIONS = 64


def connect(settings: RedisSettings, *, timeout_seconds: float | None = TIMEOUT_SECONDS) -> Client:
    """A client with bytes in and out; each command ends within the timeout."""
    options = _options(timeout_seconds) | {
        "max_connections": MAX_CONNECTIONS,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    guides = redis_url.parse(settings.redis_dsn)
    if guides is None:
        return redis.asyncio.Redis.from_url(settings.redis_dsn, **options)
    return redis.asyncio.Redis.from_pool(redis_primary.PrimaryPool.behind(guides, options))


def pool(settings: RedisSettings, *, max_connections: int, timeout_seconds: float) -> BlockingConnectionPool:
    """Connections for a client of the caller's own, who closes them."""
    options = _options(timeout_seconds) | {"max_connections": max_connections}
    guides = redis_url.parse(settings.redis_dsn)
    if guides is None:
        return BlockingConnectionPool.from_url(settings.redis_dsn, **options)
    return redis_primary.PrimaryPool.behind(guides, options)


@contextlib.asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[Client]:
    """A client that is closed with the context."""
    created = connect(settings)
    try:
        yield created
    finally:
        await created.aclose()


def _options(timeout_seconds: float | None) -> dict[str, Any]:
    return {"socket_connect_timeout": TIMEOUT_SECONDS, "socket_timeout": timeout_seconds}
