"""How a script's failure is classified: caused by one key and value, or by a Redis that can do nothing for anyone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from services.platform.settings import RedisSettings
from services.platform.stores import redis
from services.platform.stores.redis import Key
from services.platform.stores.redis_primary import PREFIX

KEY = Key(f"{PREFIX}scripted")


@redis.script
def _add(a_key: Key, number: float) -> Any:
    """Add a number to what is there.

    return redis.call('INCRBY', a_key, number + 0)
    """


@redis.script
def _fail(a_key: Key) -> Any:
    """Calculate with nothing.

    return redis.call('GET', a_key) + 1
    """


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Client]:
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as made:
        yield made


async def test_a_number_that_redis_cannot_count_with_is_a_refusal(client: redis.Client) -> None:
    with pytest.raises(redis.Refused, match="not an integer"):
        await _add(client)(KEY, 1e300)
    assert not issubclass(redis.Refused, redis.REDIS_AWAY)


async def test_a_key_of_another_type_is_a_refusal(client: redis.Client) -> None:
    await client.hset(KEY, "a", "b")
    with pytest.raises(redis.Refused, match="WRONGTYPE"):
        await _add(client)(KEY, 1.0)
    with pytest.raises(redis.Refused), redis.refusals():
        await client.get(KEY)


async def test_an_error_in_the_script_itself_is_a_refusal(client: redis.Client) -> None:
    with pytest.raises(redis.Refused):
        await _fail(client)(KEY)


async def test_a_script_that_redis_does_not_know_is_loaded(client: redis.Client) -> None:
    add = _add(client)
    assert await add(KEY, 1.0) == 1
    await client.script_flush()
    assert await add(KEY, 1.0) == 2


async def test_a_redis_without_memory_counts_as_away(client: redis.Client) -> None:
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError) as raised:
            await _add(client)(KEY, 1.0)
    finally:
        await client.config_set("maxmemory", "0")
    assert isinstance(raised.value, redis.REDIS_AWAY)
    assert not redis.is_refusal(raised.value)


async def test_results_in_a_pipeline_are_classified_separately(client: redis.Client) -> None:
    pipeline = client.pipeline(transaction=False)
    add = _add(pipeline)
    for number in (1.0, 1e300, 2.0):
        await add(KEY, number)
    first, refused, last = await pipeline.execute(raise_on_error=False)
    assert (first, last) == (1, 3)
    assert redis.is_refusal(refused)
    assert not redis.is_refusal(OSError())
