"""The Redis clients of a process. Redis holds nothing that must survive: every user of it has a way without."""

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NewType, ParamSpec, TypeAlias

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import BlockingConnectionPool

import services.platform.stores.availability  # noqa: F401 - what drivers raise has a meaning from here on
from services.platform.settings import RedisSettings
from services.platform.stores import redis_primary, redis_url

# What a command raises when Redis is away. RuntimeError is uvloop's: the connection was closed under the command.
REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)

Client: TypeAlias = "redis.asyncio.Redis"

# Longer than a stall of a busy loop, short enough to go on without Redis.
TIMEOUT_SECONDS = 0.25
MAX_CONNECTIONS = 64


def connect(settings: RedisSettings, *, timeout_seconds: float | None = TIMEOUT_SECONDS) -> Client:
    """Create a client with bytes in and out; each command ends within the timeout."""
    options = _options(timeout_seconds) | {
        "max_connections": MAX_CONNECTIONS,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    guides = redis_url.parse(settings.redis_dsn)
    if guides is None:
        return redis.asyncio.Redis.from_url(settings.redis_dsn, **options)
    return redis.asyncio.Redis.from_pool(redis_primary.PrimaryPool.behind(guides, options))


def pool(settings: RedisSettings, *, max_connections: int, timeout_seconds: float) -> BlockingConnectionPool:
    """Create a connection pool for the caller's own client; the caller closes it."""
    options = _options(timeout_seconds) | {"max_connections": max_connections}
    guides = redis_url.parse(settings.redis_dsn)
    if guides is None:
        return BlockingConnectionPool.from_url(settings.redis_dsn, **options)
    return redis_primary.PrimaryPool.behind(guides, options)


@contextlib.asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[Client]:
    """Yield a client that is closed with the context."""
    created = connect(settings)
    try:
        yield created
    finally:
        await created.aclose()


def _options(timeout_seconds: float | None) -> dict[str, Any]:
    return {"socket_connect_timeout": TIMEOUT_SECONDS, "socket_timeout": timeout_seconds}


Arguments = ParamSpec("Arguments")
# A parameter of a script that is a key of Redis.
Key = NewType("Key", str)


def script(contract: Callable[Arguments, Any]) -> Callable[[Client], Callable[Arguments, Awaitable[Any]]]:
    """Make a Lua script of a function: its signature says what the script is given, its docstring ends with the script.

    The script begins after the last blank line of the docstring. It finds each parameter under its name: keys first
    (annotated `Key`), numbers as numbers, the rest as it is sent, and `*values` as a table. What this returns registers
    the script with a client or a pipeline.
    """
    parameters = inspect.signature(contract).parameters.values()
    keys = sum(parameter.annotation is Key for parameter in parameters)
    lines = []
    for number, parameter in enumerate(parameters, 1):
        place = f"KEYS[{number}]" if number <= keys else f"ARGV[{number - keys}]"
        if parameter.kind is parameter.VAR_POSITIONAL:
            place = f"{{unpack(ARGV, {number - keys})}}"
        elif parameter.annotation in {int, float}:
            place = f"tonumber({place})"
        lines.append(f"local {parameter.name} = {place}")
    text = "\n".join((*lines, inspect.cleandoc(contract.__doc__ or "").rpartition("\n\n")[2]))

    def register(client: Client) -> Callable[Arguments, Awaitable[Any]]:
        registered = client.register_script(text)

        async def call(*values: Arguments.args, **_: Arguments.kwargs) -> Any:
            given: tuple[Any, ...] = values
            return await registered(keys=given[:keys], args=given[keys:])

        return call

    return register
