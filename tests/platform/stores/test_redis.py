"""services/platform/stores/redis.py against a real Valkey."""

from typing import Any

import uvloop

from services.platform.settings import RedisSettings
from services.platform.stores import redis


def test_a_connection_that_was_closed_under_a_command_counts_as_away(redis_url: str) -> None:
    """On uvloop, which the processes run on, that is a RuntimeError; it used to end their background tasks."""

    async def command() -> BaseException | None:
        client = redis.connect(RedisSettings(redis_url=redis_url))
        pool: Any = client.connection_pool
        connection = pool.make_connection()
        await connection.connect()
        connection._writer.transport.abort()
        try:
            await connection.send_command("PING")
        except BaseException as error:  # noqa: BLE001 - which one it is, is the question
            return error
        finally:
            await connection.disconnect()
            await client.aclose()
        return None

    error = uvloop.run(command())
    assert isinstance(error, redis.REDIS_AWAY), repr(error)
