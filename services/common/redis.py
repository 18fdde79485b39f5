"""The Redis clients of a process. Redis holds nothing that must survive: every user of it has a way without.

Behind sentinels each new connection asks them who is primary. After a failover the old ones end or answer that they
are read-only, which counts as Redis being away: the next command goes to the new primary.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection, parse_url
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from services.common import redis_url
from services.common.settings import RedisSettings

# What a command raises when Redis is away. RuntimeError is uvloop's: the connection was closed under the command.
REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)

Client: TypeAlias = "redis.asyncio.Redis"

# Longer than a stall of a busy loop, short enough to go on without Redis.
TIMEOUT_SECONDS = 0.25
# A sentinel that does not answer leaves time to ask the next one; who answered is asked first from then on.
SENTINEL_TIMEOUT_SECONDS = 0.1
MAX_CONNECTIONS = 64


def connect(settings: RedisSettings, *, timeout_seconds: float | None = TIMEOUT_SECONDS) -> Client:
    """A client with bytes in and out; each command ends within the timeout."""
    options = _options(timeout_seconds) | {"max_connections": MAX_CONNECTIONS, "retry": _never_again()}
    sentinels = redis_url.parse(settings.redis_dsn)
    if sentinels is None:
        return redis.asyncio.Redis.from_url(settings.redis_dsn, **options)
    return redis.asyncio.Redis.from_pool(_PrimaryPool.behind(sentinels, options))


def pool(settings: RedisSettings, *, max_connections: int, timeout_seconds: float) -> BlockingConnectionPool:
    """Connections for a client of the caller's own, who closes them."""
    options = _options(timeout_seconds) | {"max_connections": max_connections}
    sentinels = redis_url.parse(settings.redis_dsn)
    if sentinels is None:
        return BlockingConnectionPool.from_url(settings.redis_dsn, **options)
    return _PrimaryPool.behind(sentinels, options)


@contextlib.asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[Client]:
    """A client that is closed with the context."""
    created = connect(settings)
    try:
        yield created
    finally:
        await created.aclose()


class _PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to whoever is primary, and with them those to the sentinels."""

    @classmethod
    def behind(cls, sentinels: redis_url.Sentinels, options: dict[str, Any]) -> "_PrimaryPool":
        """A pool whose connections have these options and what the URL says."""
        options = options | parse_url(sentinels.primary_url)
        del options["host"]
        tls = options.pop("connection_class", None) is SSLConnection
        asked = {
            **{name: value for name, value in options.items() if name.startswith("ssl_")},
            "ssl": tls,
            "username": sentinels.username,
            "password": sentinels.password,
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "retry": _never_again(),
        }
        manager: Any = Sentinel  # untyped in redis-py
        return cls(sentinels.service_name, manager(sentinels.addresses, sentinel_kwargs=asked), ssl=tls, **options)

    async def aclose(self) -> None:
        """Closes all of them."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def _options(timeout_seconds: float | None) -> dict[str, Any]:
    return {"socket_connect_timeout": TIMEOUT_SECONDS, "socket_timeout": timeout_seconds}


def _never_again() -> "redis.asyncio.retry.Retry":
    return redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
