"""Tells processes that keep copies of subscriptions that one has changed.

In Redis an older version never replaces a newer one, so a slow reader cannot bring back what was changed.
"""

from typing import cast
from uuid import UUID

import redis.exceptions

from services.platform.stores.redis import Client
from services.platform.stores.redis_primary import PREFIX

CHANNEL = f"{PREFIX}subscription-changes"
KEY = f"{PREFIX}subscription:"
REDIS_TTL_SECONDS = 60

# Sets a subscription's value unless a newer version is there. ARGV: version, value, TTL in seconds.
_SET_IF_NEWER = """
local old = redis.call('HGET', KEYS[1], 'version')
if old and tonumber(old) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# In place of a subscription that is gone, or whose copy its reader has to make: its version keeps out older copies.
NO_COPY = b""


class Copies:
    """The copies of subscriptions in Redis, and the channel on which their changes are told."""

    def __init__(self, client: Client) -> None:
        self._redis = client
        self._set_if_newer = client.register_script(_SET_IF_NEWER)

    async def read(self, subscription_id: UUID) -> bytes | None:
        """What was written last; None or NO_COPY when there is none."""
        return cast("bytes | None", await self._redis.hget(KEY + str(subscription_id), "value"))

    async def write(self, subscription_id: UUID, value: bytes, version: int) -> None:
        """Writes a copy, unless a newer one is there."""
        await self._set_if_newer(keys=[KEY + str(subscription_id)], args=[version, value, REDIS_TTL_SECONDS])

    async def tell(self, subscription_id: UUID, tenant_id: str, value: bytes, version: int) -> None:
        """Writes a changed copy, and tells all who listen."""
        try:
            await self.write(subscription_id, value, version)
        except redis.exceptions.ResponseError:
            await self._redis.delete(KEY + str(subscription_id))  # a full Redis takes nothing new, but forgets
        await self._redis.publish(CHANNEL, f"{subscription_id} {tenant_id}")
