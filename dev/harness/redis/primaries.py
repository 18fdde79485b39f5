"""Redis whose primary can change: sentinels or a cluster, and what tests of both share."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import redis as servers

from dev.embedded import EmbeddedValkey
from dev.harness.redis import cluster, sentinel
from dev.harness.waiting import wait_until
from services.platform.settings import RedisSettings
from services.platform.stores import redis
from services.platform.stores.redis_primary import PREFIX

# A key like ours.
KEY = f"{PREFIX}key"
BACK_WITHIN_SECONDS = 60.0


class Primaries(Protocol):
    """Servers, one of which is the primary."""

    @property
    def url(self) -> str:
        """Return the value of REDIS_URL."""

    def primary(self) -> EmbeddedValkey:
        """Return the primary that has our keys."""

    def server(self, server: EmbeddedValkey, /) -> "servers.Redis":
        """Return a client of one of them."""

    def fail_over(self) -> EmbeddedValkey:
        """Kill the primary, wait until there is another one, and return that."""


KINDS: dict[str, Callable[[], AbstractContextManager[Primaries]]] = {
    "sentinel": sentinel.running,
    "cluster": cluster.running,
}


def settings(url: str) -> RedisSettings:
    """Return settings with only this URL."""
    return RedisSettings(redis_url=url, _env_file=None)


async def again(client: redis.Client) -> None:
    """Wait until a client can write."""

    async def writes() -> bool:
        with contextlib.suppress(*redis.REDIS_AWAY):
            return bool(await client.set(KEY, "value"))
        return False

    await wait_until(writes, BACK_WITHIN_SECONDS, what="a write")
