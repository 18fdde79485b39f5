"""Judges events by their tenant's quotas, before they are stored and without waiting for anything.

What waits and is stored of a tenant is known from sums that analytics makes every few seconds, and which quotas it has
from a look at Postgres every second. So a tenant may exceed those two quotas by what it sends within these seconds.
"""

import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from services.domain.tenants import quotas
from services.domain.tenants.quotas import Quota, Quotas
from services.ingest.events.records import NewEvent
from services.ingest.quotas.rates import Rates
from services.ingest.quotas.store import QuotaStore, Stored, Used
from services.platform import errors, ids
from services.platform.process import background
from services.platform.stores.signals import Signals

INTERVAL_SECONDS = 1.0
STORED_RETRY_SECONDS = 60


class Guard:
    """Knows the quotas of all tenants, and which of them are used up."""

    def __init__(self, store: QuotaStore, rates: Rates, defaults: Quotas, heard: Signals) -> None:
        self._store = store
        self._signals = heard
        # Whether events came since the last look, and when that was.
        self._used = False
        self._looked_at = -math.inf
        self._alarm = heard.alarm(quotas.CHANGED)
        self._rates = rates
        self._defaults = defaults
        self._own: dict[str, Quotas] = {}
        self._exhausted: Mapping[str, Used] = {}
        # What was committed here and is not added up yet, by day and tenant.
        self._stored: dict[tuple[int, str], Stored] = {}

    def quotas_of(self, tenant_id: str) -> Quotas:
        """Return the quotas that apply to a tenant."""
        return self._own.get(tenant_id, self._defaults)

    def check(self, tenant_id: str) -> None:
        """Count an event that is to be stored; QuotaExceeded if the tenant may not store it."""
        self._look_soon()
        limits = self._own.get(tenant_id, self._defaults)
        used = self._exhausted.get(tenant_id)
        if used is not None:
            self._check_used(used, limits)
        wait_seconds = self._rates.take(tenant_id, limits.events_per_second)
        if wait_seconds:
            raise _exceeded(
                Quota.EVENTS_PER_SECOND,
                f"the tenant may send {limits.events_per_second:g} events per second",
                "send fewer",
                retry_after_seconds=math.ceil(wait_seconds),
            )

    def check_scheduled(self, tenant_id: str) -> None:
        """Raise QuotaExceeded if a tenant may not schedule another event."""
        used = self._exhausted.get(tenant_id)
        if used is None:
            return
        limits = self.quotas_of(tenant_id)
        if used.scheduled_events >= limits.scheduled_events:
            raise _exceeded(
                Quota.SCHEDULED_EVENTS,
                f"the tenant has {used.scheduled_events} scheduled events, of at most {limits.scheduled_events}",
                "wait until some are due, cancel some",
                retry_after_seconds=STORED_RETRY_SECONDS,
            )
        if used.scheduled_bytes >= limits.scheduled_bytes:
            raise _exceeded(
                Quota.SCHEDULED_BYTES,
                f"the tenant's scheduled events have {used.scheduled_bytes} bytes, of at most {limits.scheduled_bytes}",
                "wait until some are due, cancel some",
                retry_after_seconds=STORED_RETRY_SECONDS,
            )

    def note(self, events: Iterable[NewEvent]) -> None:
        """Note what was stored."""
        for event in events:
            name = ids.day(event.id), event.tenant_id
            stored = self._stored.get(name)
            if stored is None:
                stored = self._stored[name] = Stored()
            stored.events += 1
            stored.bytes += len(event.payload)

    def _look_soon(self) -> None:
        """Look every second while there are events, beginning with the first."""
        if not self._used:
            self._used = True
            self._alarm.set(max(0.0, self._looked_at + INTERVAL_SECONDS - time.monotonic()))

    async def run(self) -> None:
        """Keep what is known current until cancelled."""

        async def step() -> float:
            self._used, self._looked_at = False, time.monotonic()
            await self.refresh()
            return self._signals.pace(INTERVAL_SECONDS)

        await background.repeat(step, interval_seconds=INTERVAL_SECONDS, quiet=True, wake=self._alarm)

    async def refresh(self) -> None:
        """Add up what was stored here, and look at the quotas and the sums of all tenants."""
        await self.add_up()
        own, self._exhausted = await self._store.limits(self._defaults)
        self._own = {tenant_id: self._defaults.with_own(given) for tenant_id, given in own.items()}

    async def add_up(self) -> None:
        """Write down what was stored here. What a failure leaves is written with the next."""
        stored, self._stored = self._stored, {}
        if not stored:
            return
        try:
            await self._store.add_stored(
                {
                    (datetime.fromtimestamp(day * 86_400, UTC).date(), tenant_id): added
                    for (day, tenant_id), added in stored.items()
                }
            )
        except BaseException:
            for name, added in stored.items():
                kept = self._stored.setdefault(name, Stored())
                kept.events += added.events
                kept.bytes += added.bytes
            raise

    @staticmethod
    def _check_used(used: Used, limits: Quotas) -> None:
        if refused := quotas.too_many_waiting(used.waiting_deliveries, limits.waiting_deliveries):
            quotas.REFUSALS.labels(Quota.WAITING_DELIVERIES).inc()
            raise refused
        if used.stored_bytes >= limits.stored_bytes:
            raise _exceeded(
                Quota.STORED_BYTES,
                f"the tenant's retained events have {used.stored_bytes} bytes, of at most {limits.stored_bytes}",
                "wait until old ones are deleted",
                retry_after_seconds=STORED_RETRY_SECONDS,
            )


def _exceeded(quota: Quota, found: str, remedy: str, *, retry_after_seconds: int) -> errors.QuotaExceeded:
    quotas.REFUSALS.labels(quota).inc()
    return quotas.exceeded(quota, found, remedy, retry_after_seconds=retry_after_seconds)
