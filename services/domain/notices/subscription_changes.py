"""Tells processes that keep copies of subscriptions that one has changed.

In Redis an older version never replaces a newer one, so a slow reader cannot bring back what was changed.
"""

from typing import Any, cast
from uuid import UUID

import redis.exceptions

from services.platform.stores.redis import Key, Refused, refusals, script
from services.platform.stores.redis_primary import PREFIX
from services.platform.stores.signals import Signals

# The signal.
CHANGED = "subscription"
KEY = f"{PREFIX}subscription:"
REDIS_TTL_SECONDS = 60

# In place of a subscription that is gone, or whose copy its reader has to make: its version keeps out older copies.
NO_COPY = b""


@script
def _set_if_newer(copy_key: Key, version: int, value: bytes, ttl_seconds: int) -> Any:
    """Set a subscription's value unless a newer version is there.

    local old = tonumber(redis.call('HGET', copy_key, 'version') or '')
    if old and old >= version then return 0 end
    redis.call('HSET', copy_key, 'version', version, 'value', value)
    redis.call('EXPIRE', copy_key, ttl_seconds)
    return 1
    """


def message(subscription_id: UUID, tenant_id: str, version: int) -> bytes:
    """Return what is told of a change."""
    return f"{subscription_id} {tenant_id} {version}".encode()


def heard(data: bytes) -> tuple[UUID, str, int]:
    """Parse a message; ValueError if it is not one of this version of the program."""
    subscription_id, tenant_id, version = data.decode().split(" ")
    return UUID(subscription_id), tenant_id, int(version)


class Copies:
    """The copies of subscriptions in Redis, and the signal by which changes are told."""

    def __init__(self, heard: Signals) -> None:
        self._redis = heard.client
        self._signals = heard
        self._set_if_newer = _set_if_newer(heard.client)

    async def read(self, subscription_id: UUID) -> bytes | None:
        """Return what was written last; None or NO_COPY if there is none. Raise Refused if it is something else."""
        with refusals():
            return cast("bytes | None", await self._redis.hget(KEY + str(subscription_id), "value"))

    async def write(self, subscription_id: UUID, value: bytes, version: int) -> None:
        """Write a copy, unless a newer one is there. Raise Refused if there is something else."""
        await self._set_if_newer(Key(KEY + str(subscription_id)), version, value, REDIS_TTL_SECONDS)

    async def forget(self, subscription_id: UUID) -> None:
        """Remove what is kept of a subscription."""
        await self._redis.delete(KEY + str(subscription_id))

    async def tell(self, subscription_id: UUID, tenant_id: str, value: bytes, version: int) -> None:
        """Write a changed copy, and tell all who listen."""
        try:
            await self.write(subscription_id, value, version)
        except (redis.exceptions.ResponseError, Refused):
            await self.forget(subscription_id)  # a full Redis takes nothing new, but forgets
        await self._signals.tell(CHANGED, message(subscription_id, tenant_id, version))
