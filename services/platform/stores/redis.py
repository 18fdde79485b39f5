"""The Redis clients of a process. Redis holds nothing that must survive: every user of it has a way without.

That way is for a Redis that is away. One that answers, and refuses a script for what it was given or found under a key,
raises Refused: it concerns that key, and is no reason to do without Redis for all others.
"""

import contextlib
import functools
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, NewType, ParamSpec

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import BlockingConnectionPool

from services.platform import errors
from services.platform.settings import RedisSettings
from services.platform.stores import availability, redis_primary, redis_url

if TYPE_CHECKING:
    from services.platform.process.lifecycle import Process

# What a command raises when Redis is away. RuntimeError is uvloop's: the connection was closed under the command.
REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)


errors.add_unavailable(_is_away)

# Errors begin with a code, of which the client removes ERR. What other codes say, but for this one, is about the
# server: out of memory, without replicas, busy.
_CODE = re.compile(r"(?!WRONGTYPE )[A-Z]+ ")
# What names the place of an error in a script.
_IN_SCRIPT = "user_script"


class Refused(Exception):
    """Redis refused a command, or the command of a script, for what it was given or found under its key."""


def is_refusal(error: object) -> bool:
    """Return whether Redis answered with this because of one key or value; otherwise it can do nothing for anybody."""
    # Kinds of errors that the client knows are about the server, and are subclasses.
    if type(error) is not redis.exceptions.ResponseError:
        return False
    text = str(error)
    return not _CODE.match(text) and (_IN_SCRIPT in text or text.startswith("WRONGTYPE "))


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal into Refused."""
    try:
        yield
    except redis.exceptions.ResponseError as error:
        if is_refusal(error):
            raise Refused(str(error)) from error
        raise


class Client(redis.asyncio.Redis):
    """A client of Redis; that of a process tells what its commands say of the server."""

    watcher: availability.Watch | None = None

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        """Send a command and return its answer."""
        if self.watcher is None:
            return await self._execute(*arguments, **options)
        self.watcher.asked()
        try:
            answer = await self._execute(*arguments, **options)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            self.watcher.doubt()
            raise
        self.watcher.answered()
        return answer

    async def _execute(self, *arguments: Any, **options: Any) -> Any:
        return await super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]


# Longer than a stall of a busy loop, short enough to go on without Redis.
TIMEOUT_SECONDS = 0.25
MAX_CONNECTIONS = 64
# How much later than asked Redis may end a wait.
PATIENCE_SECONDS = 1.0


def connect(
    settings: RedisSettings, *, timeout_seconds: float | None = TIMEOUT_SECONDS, name: str = "webhook"
) -> Client:
    """Create a client with bytes in and out; each command ends within the timeout. Connections have the name."""
    options: dict[str, Any] = {
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "client_name": name,
        "max_connections": MAX_CONNECTIONS,
        # For a free connection.
        "timeout": TIMEOUT_SECONDS,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    guides = redis_url.parse(settings.redis_dsn)
    pool: BlockingConnectionPool
    if guides is None:
        pool = BlockingConnectionPool.from_url(settings.redis_dsn, **options)
    else:
        pool = redis_primary.PrimaryPool.behind(guides, options)
    made: Any = Client.from_pool(pool)
    created: Client = made
    return created


@contextlib.asynccontextmanager
async def client(settings: RedisSettings, name: str = "webhook") -> AsyncIterator[Client]:
    """Yield a client that is closed with the context."""
    created = connect(settings, timeout_seconds=TIMEOUT_SECONDS, name=name)
    try:
        yield created
    finally:
        await created.aclose()


@contextlib.asynccontextmanager
async def waiting(client: Client, *, seconds: float) -> AsyncIterator[Client]:
    """Yield a client for commands that wait for so long: with a connection of its own, of the same pool.

    The connection ends with the context: whatever the command was waiting for is not the next one's answer.
    """
    own: Any = client.client()
    try:
        await own.initialize()
        connection = own.connection
        assert connection is not None, "that is what such a client begins with"
        timeout_seconds, connection.socket_timeout = connection.socket_timeout, seconds + PATIENCE_SECONDS
        try:
            yield own
        finally:
            connection.socket_timeout = timeout_seconds
            await connection.disconnect(nowait=True)
    finally:
        await own.aclose()


@contextlib.asynccontextmanager
async def of_process(process: "Process", settings: RedisSettings) -> AsyncIterator[Client]:
    """Yield the client of the process; whether Redis answers is told in its metrics, its log and its readiness."""
    opened = functools.partial(_watched, process, settings)
    async with process.whole.share(("redis", settings.redis_dsn), opened) as (created, watch):
        process.health.add_optional("redis", watch.check)
        yield created


@contextlib.asynccontextmanager
async def _watched(process: "Process", settings: RedisSettings) -> AsyncIterator[tuple[Client, availability.Watch]]:
    async with client(settings, f"webhook-{process.whole.name}") as created:
        created.watcher = watch = availability.Watch("redis", created.ping)
        loop = process.spawn("redis_up", watch.run())
        try:
            yield created, watch
        finally:
            await process.cancel(loop)


Arguments = ParamSpec("Arguments")
# A parameter of a script that is a key of Redis.
Key = NewType("Key", str)


def script(
    contract: Callable[Arguments, Any],
) -> Callable[["redis.asyncio.Redis"], Callable[Arguments, Awaitable[Any]]]:
    """Make a Lua script of a function: its signature says what the script is given, its docstring ends with the script.

    The script begins after the last blank line of the docstring. It finds each parameter under its name: keys first
    (annotated `Key`), numbers as numbers, the rest as it is sent, and `*values` as a table. What this returns registers
    the script with a client or a pipeline. A client raises Refused when the script fails for what it was given or
    found; the answers of a pipeline are the caller's to look at (is_refusal).
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

    def register(client: "redis.asyncio.Redis") -> Callable[Arguments, Awaitable[Any]]:
        registered = client.register_script(text)

        async def call(*values: Arguments.args, **_: Arguments.kwargs) -> Any:
            given: tuple[Any, ...] = values
            with refusals():
                return await registered(keys=given[:keys], args=given[keys:])

        return call

    return register


@script
def take_tokens(bucket_key: Key, rate: float, size: float, wanted: float) -> Any:
    """Take up to `wanted` tokens from a bucket of `size` that is refilled with `rate` tokens per second.

    Return how many, and the milliseconds until there is one more. The bucket is forgotten when it would be full again.
    One that is dated ahead, or owes tokens, would withhold deliveries for as long: it counts from now, and from none.
    So does one with something else than numbers. Lua's min and max return their first argument when the second is NaN.

    rate = math.min(1000000, math.max(0.001, rate))
    size = math.min(1000000, math.max(1, size))
    local time = redis.call('TIME')
    local now = time[1] + time[2] / 1000000
    local bucket = redis.call('HMGET', bucket_key, 'tokens', 'at')
    local tokens = bucket[1] and (tonumber(bucket[1]) or 0) or size
    local at = math.min(now, tonumber(bucket[2] or now) or now)
    tokens = math.min(size, math.max(0, tokens) + (now - at) * rate)
    local taken = math.min(wanted, math.floor(tokens))
    tokens = tokens - taken
    redis.call('HSET', bucket_key, 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', bucket_key, math.ceil(size / rate * 1000) + 1000)
    return {taken, math.ceil((1 - math.min(1, tokens)) / rate * 1000)}
    """
