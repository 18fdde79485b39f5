"""Counts refused events by tenant, subscription and reason, and has analytics add them up for the tenants.

Only what a valid key or token came with is counted: others belong to no tenant. Nothing is done for an event that is
accepted. Counts are kept until analytics has them, within bounds that no tenant can use up for the others: where there
are too many, subscriptions are no longer told apart, and then events are not counted any more.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog

from protos.webhook.v1 import analytics_pb2 as pb
from services.gateway import metrics
from services.platform import errors
from services.platform.clock import Clock
from services.platform.errors import ErrorReason
from services.platform.grpc import conversion
from services.platform.process import background
from services.platform.process.lifecycle import Process

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
# For the last flush of a process that stops.
LAST_SECONDS = 2.0
# Of one call; analytics takes no more.
MAX_SENT = 1_000
# Keys of all tenants, and of one. Only half of either are for keys that name a subscription: a sender can make up ids.
MAX_KEYS = 20_000
MAX_KEYS_OF_TENANT = 4_000
_HOUR_SECONDS = 3600
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Key(NamedTuple):
    """What is counted apart. By hour, so that those of an outage of analytics come into the hours they belong to."""

    tenant_id: str
    # Empty: none.
    subscription_id: str
    reason: str
    hour: int


class Refusals:
    """What was refused and analytics does not have yet."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock("ingest")
        self._events: Counter[Key] = Counter()
        # In Unix time.
        self._last_at: dict[Key, float] = {}
        self._keys_of: Counter[str] = Counter()
        # One flush at a time, so that nothing is sent twice.
        self._lock = asyncio.Lock()

    def note(self, tenant_id: str | None, reason: ErrorReason, subscription_id: str = "") -> None:
        """Count an event that was refused; none if it is of no known tenant."""
        if not tenant_id:
            return
        # One that is not found is not the tenant's, and analytics knows no text but that of a UUID.
        subscription_id = subscription_id.lower()
        if reason is ErrorReason.NOT_FOUND or not _UUID.fullmatch(subscription_id):
            subscription_id = ""
        now = self._clock.now()
        key = Key(tenant_id, subscription_id, reason, int(now // _HOUR_SECONDS))
        if subscription_id and not self._has_room(key, 0.5):
            key = key._replace(subscription_id="")
        if not self._has_room(key, 1):
            metrics.REFUSALS_UNCOUNTED.inc()
            return
        if key not in self._events:
            self._keys_of[tenant_id] += 1
        self._events[key] += 1
        self._last_at[key] = now

    def _has_room(self, key: Key, share: float) -> bool:
        """Return whether an event can be counted by a key, new ones of which may take a share of the bounds."""
        if key in self._events:
            return True
        return len(self._events) < share * MAX_KEYS and self._keys_of[key.tenant_id] < share * MAX_KEYS_OF_TENANT

    async def flush(self, analytics: "AnalyticsServiceAsyncStub") -> None:
        """Have analytics add what is held now; raise Unavailable, and keep what it does not have, if it is away."""
        async with self._lock:
            held = list(self._events)
            for first in range(0, len(held), MAX_SENT):
                await self._send(analytics, held[first : first + MAX_SENT])

    async def _send(self, analytics: "AnalyticsServiceAsyncStub", keys: Sequence[Key]) -> None:
        sent = {key: self._events[key] for key in keys}
        request = pb.AddRefusalsRequest(
            counts=[
                pb.RefusalCount(
                    tenant_id=key.tenant_id,
                    subscription_id=key.subscription_id,
                    reason=key.reason,
                    events=events,
                    last_at=conversion.unix(self._last_at[key]),
                )
                for key, events in sent.items()
            ]
        )
        try:
            await analytics.AddRefusals(request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                # Also an analytics of the version before, which does not know the method.
                raise errors.Unavailable(f"analytics did not add refusals: {error.details()}") from None
            _drop(sent, error)
        self._forget(sent)

    def _forget(self, sent: dict[Key, int]) -> None:
        for key, events in sent.items():
            self._events[key] -= events
            if self._events[key]:
                continue
            del self._events[key], self._last_at[key]
            self._keys_of[key.tenant_id] -= 1
            if not self._keys_of[key.tenant_id]:
                del self._keys_of[key.tenant_id]


def _drop(sent: dict[Key, int], error: grpc.aio.AioRpcError) -> None:
    """Say that counts are dropped: sent again, they would be refused again."""
    log.error("analytics does not take refusals; they are not counted", error=error.details())
    metrics.REFUSALS_UNCOUNTED.inc(sum(sent.values()))


@contextlib.asynccontextmanager
async def flushed(process: Process, refusals: Refusals, analytics: "AnalyticsServiceAsyncStub") -> AsyncIterator[None]:
    """Flush every few seconds while this context lasts, and once as it ends."""

    async def step() -> None:
        await refusals.flush(analytics)

    flushing = process.spawn("refusals", background.repeat(step, interval_seconds=INTERVAL_SECONDS))
    try:
        yield
    finally:
        # First the last flush, which waits for one in progress: what a cancelled one has sent would be sent again.
        with contextlib.suppress(errors.Unavailable, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await refusals.flush(analytics)
        await process.cancel(flushing)
