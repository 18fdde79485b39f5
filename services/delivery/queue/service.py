"""QueueService: what waits in the queue, and what Redis has of it, for operators."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from protos.webhook.v1 import system_pb2 as pb
from protos.webhook.v1 import system_pb2_grpc
from services.delivery.dispatcher.metrics import COUNT_LIMIT
from services.delivery.dispatcher.store import DispatcherStore
from services.domain import doorbell
from services.domain.states import BreakerState, Hold
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.process.fresh import Fresh
from services.platform.stores.redis import REDIS_AWAY, Client

# How old what is shown may be. Counting takes what it takes for the gauges, which do so every 2 seconds.
FRESH_SECONDS = 5.0
REDIS_SECONDS = 1.0
MAX_ERROR_LENGTH = 200


class QueueService(system_pb2_grpc.QueueServiceServicer):
    """Servicer of webhook.v1.QueueService.

    `held` returns what keeps whole subscriptions from being sent to, as the passes over the queue counted it; None
    where this process makes none.
    """

    def __init__(
        self,
        store: DispatcherStore,
        client: Client,
        streams: doorbell.Streams,
        held: Callable[[], Mapping[Hold, int] | None],
    ) -> None:
        self._store = store
        self._client = client
        self._streams = streams
        self._held = held
        self._queue = Fresh(self._look, seconds=FRESH_SECONDS)

    async def GetQueue(self, _request: pb.GetQueueRequest, _context: Context) -> pb.GetQueueResponse:
        """Return what was found of late."""
        return await self._queue.get()

    async def _look(self) -> pb.GetQueueResponse:
        found = await self._store.depths(limit=COUNT_LIMIT, hold_seconds=doorbell.RUNG_SECONDS, breakers=True)
        of_subscriptions = self._held()
        held = {**(of_subscriptions or {}), **found.held}
        breakers = found.breakers or {}
        return pb.GetQueueResponse(
            looked_at=conversion.stamp(datetime.now(UTC)),
            due=found.pending,
            scheduled=found.scheduled,
            in_flight=found.in_flight,
            expanding=found.unexpanded,
            oldest_due_seconds=found.oldest_seconds,
            held=[
                pb.HeldDeliveries(held_by=reason, deliveries=held[reason])
                for reason in Hold
                if held.get(reason) and reason is not Hold.SUBSCRIPTION_DELETED
            ],
            held_known=of_subscriptions is not None,
            breakers_open=breakers.get(BreakerState.OPEN, 0),
            breakers_half_open=breakers.get(BreakerState.HALF_OPEN, 0),
            redis=await self._redis(),
        )

    async def _redis(self) -> pb.RedisStatus:
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                doorbells = sum([await stream.number() for stream in self._streams])
        except REDIS_AWAY as error:
            return pb.RedisStatus(error=(str(error) or type(error).__name__)[:MAX_ERROR_LENGTH])
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                info = await self._client.info()
        except REDIS_AWAY:
            # Some do not allow INFO.
            return pb.RedisStatus(doorbells=doorbells)
        return pb.RedisStatus(
            version=_version(info),
            memory_bytes=info.get("used_memory"),
            max_memory_bytes=info.get("maxmemory"),
            doorbells=doorbells,
        )


def _version(info: Mapping[str, Any]) -> str:
    """Return what a server says that it is. Valkey also says which Redis it is compatible with."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else ""
