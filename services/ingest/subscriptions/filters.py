"""Which subscriptions want an event: an index for each tenant in this process, kept current by what changed.

The first event of a tenant loads its subscriptions, in chunks. After that a change of one is loaded alone, when it is
heard of; and when the index was last compared with Postgres too long ago, only the rows that changed since are read.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.domain import events
from services.domain.filters.evaluation import Evaluation, OutOfTimeError
from services.domain.filters.expression import compiled
from services.domain.subscriptions import Flag
from services.ingest import metrics
from services.ingest.subscriptions.matching import Filter, Index
from services.ingest.subscriptions.record import Target
from services.ingest.subscriptions.store import Looked, SubscriptionStore, no_tenant
from services.platform.process.bounds import BoundedCache
from services.platform.stores import postgres

log = structlog.get_logger(__name__)

# Of one statement: longer than connecting to Postgres and asking it; after it the next callers try again.
LOAD_TIMEOUT_SECONDS = 2.0
# Rows of one statement; taking them in occupies the loop for some milliseconds.
CHUNK = 1_000
# What a look goes back behind the one before: a row says when it was written, and its transaction may be committed a
# statement, a pause, and the commit later.
OVERLAP = timedelta(seconds=2 * (postgres.STATEMENT_TIMEOUT_SECONDS + postgres.IDLE_IN_TRANSACTION_SECONDS))
# Changes that were heard of and not loaded; with more of them the rows are looked for by when they were changed.
MAX_HEARD = 10_000
# Estimates of the memory of all indexes of a process, and of one.
MAX_BYTES = 256 << 20
MAX_TENANT_BYTES = 128 << 20
SMALL_TENANT_BYTES = 4 << 20
# How long a tenant that needs more is matched in Postgres.
TOO_LARGE_SECONDS = 60.0
# Events wait so long for the first load of their tenant; until that is done they are matched in Postgres.
PATIENCE_SECONDS = 0.25
# A look-up in Postgres that takes longer is followed by a pause of its tenant, as often as long.
SLOW_SECONDS = 0.5
PAUSE_FACTOR = 3
# Look-ups of a tenant's subscriptions one by one, after which its index is loaded: it has as many rows in a statement.
ASKED_OFTEN = 100
MAX_ASKED = 10_000
NIL = UUID(int=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What of changes this process knows, on its own clock: those since `since`, as of `at`."""

    since: float
    at: float


class TooLargeError(Exception):
    """A tenant's index does not fit."""


@dataclass(slots=True, kw_only=True)
class _Tenant:
    id: str
    index: Index = field(default_factory=Index)
    # As of when by Postgres' clock the index is complete, and since when that server runs; None before it is loaded.
    complete_to: datetime | None = None
    server_started: datetime | None = None
    # When the last look began, on this process's clock, and the one that loaded everything.
    looked_at: float = float("-inf")
    loaded_at: float = float("-inf")
    # How often something may have been missed, and how many of these times were looked into.
    doubts: int = 0
    cleared: int = 0
    # Versions that were heard of and not loaded.
    heard: dict[UUID, int] = field(default_factory=dict)
    # What of the index is in the sum over all tenants.
    counted_bytes: int = 0

    def is_settled(self) -> bool:
        """Return whether the index has every change that was heard of."""
        return not self.heard and self.doubts == self.cleared

    def is_fresh(self, ttl_seconds: float) -> bool:
        """Return whether events may be matched without a look."""
        return self.is_settled() and time.monotonic() - self.looked_at <= ttl_seconds


@dataclass(slots=True)
class _Slow:
    """A tenant that is matched in Postgres, one event at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    paused_until: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class _Round:
    """A look under way, which all callers of a tenant share."""

    tenant: _Tenant
    done: "asyncio.Future[None]"
    # For events that do not wait for it.
    slow: _Slow = field(default_factory=_Slow)


class Filters:
    """The indexes of a process. Those of the tenants that were used least recently leave first."""

    def __init__(self, store: SubscriptionStore) -> None:
        self._store = store
        # The least recently used first. A tenant that is not found is not kept, so that made-up ones drive nothing out.
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._rounds: dict[str, _Round] = {}
        self._size_bytes = 0
        # Tenants that are matched in Postgres, which take turns.
        self._too_large: BoundedCache[str, _Slow] = BoundedCache(1_000, ttl_seconds=TOO_LARGE_SECONDS)
        self._in_postgres = asyncio.Lock()
        # How often the index of a tenant without one was asked for.
        self._asked: BoundedCache[str, int] = BoundedCache(MAX_ASKED)
        self._hits, self._misses = (metrics.CACHE.labels("process", result) for result in ("hit", "miss"))

    async def matching(
        self,
        tenant_id: str,
        event_type: str,
        *,
        limit: int | None,
        ttl_seconds: float,
        event: Callable[[], Evaluation] | None = None,
    ) -> list[Target]:
        """Return up to `limit` targets as of at most `ttl_seconds` ago; InvalidArgument if there is no such tenant.

        With `event`, only those whose filters it passes; OutOfTimeError as `Index.matching`, and if there are so many
        that not all could be looked at.
        """
        tenant = await self._current(tenant_id, ttl_seconds)
        if tenant is None:
            return await self._matching_slowly(tenant_id, event_type, limit, ttl_seconds, event)
        return tenant.index.matching(event_type, limit, event)

    async def count(self, tenant_id: str, event_type: str, *, ttl_seconds: float) -> int:
        """Return how many targets there are at most, or 0 where that is not known; InvalidArgument as `matching`."""
        tenant = await self._current(tenant_id, ttl_seconds)
        return 0 if tenant is None else tenant.index.count(event_type)

    def flags(self, tenant_id: str) -> Flag:
        """Return the flags of a tenant's subscriptions that take events, as of the last look; all if not known."""
        tenant = self._tenants.get(tenant_id)
        return Flag.ALL if tenant is None else tenant.index.flags

    def is_current(self, tenant_id: str, *, ttl_seconds: float) -> bool:
        """Return whether events of a tenant may be matched without a look."""
        tenant = self._tenants.get(tenant_id)
        return tenant is not None and tenant.is_fresh(ttl_seconds)

    async def known(self, tenant_id: str, subscription_id: UUID, version: int, *, ttl_seconds: float) -> Known | None:
        """Return how this process knows that there is no newer version; None if there is one, or it does not know.

        That asks no more of Postgres than to match an event does, whatever the number of subscriptions. A tenant whose
        events are not matched has no index, until it was asked for often enough.
        """
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            self._ask_later(tenant_id, ttl_seconds)
            return None
        if not tenant.is_fresh(ttl_seconds):
            tenant = await self._refreshed(tenant_id, ttl_seconds)
        if tenant.index.version(subscription_id) != version:
            return None
        return Known(since=tenant.loaded_at, at=tenant.looked_at)

    def _ask_later(self, tenant_id: str, ttl_seconds: float) -> None:
        """Load a tenant's index beside what asks for it, once that is cheaper than what is read without it."""
        asked = (self._asked.get(tenant_id) or 0) + 1
        self._asked.put(tenant_id, asked)
        if asked >= ASKED_OFTEN and tenant_id not in self._rounds and self._too_large.get(tenant_id) is None:
            self._asked.discard(tenant_id)
            self._begin(tenant_id, ttl_seconds)

    def changed(self, tenant_id: str, current: Filter) -> None:
        """Take in a change that this process made; it is seen at once."""
        tenant = self._known(tenant_id)
        if tenant is None:
            return
        tenant.index.put(current)
        if tenant.heard.get(current.id, current.version + 1) <= current.version:
            del tenant.heard[current.id]
        if tenant_id not in self._rounds:
            tenant.index.forget_deleted()
        with contextlib.suppress(TooLargeError):
            self._count(tenant)

    def heard(self, tenant_id: str, subscription_id: UUID, version: int) -> None:
        """Take note of a change that another process made; the next event of the tenant waits until it is loaded."""
        tenant = self._known(tenant_id)
        if tenant is None or version <= tenant.index.version(subscription_id):
            return
        tenant.heard[subscription_id] = max(version, tenant.heard.get(subscription_id, 0))
        if len(tenant.heard) > MAX_HEARD:
            tenant.heard.clear()
            tenant.doubts += 1

    def doubt(self) -> None:
        """Look for changes before the next event is matched, because some may have been missed."""
        for tenant in (*self._tenants.values(), *(under_way.tenant for under_way in self._rounds.values())):
            tenant.doubts += 1

    def _known(self, tenant_id: str) -> _Tenant | None:
        under_way = self._rounds.get(tenant_id)
        return under_way.tenant if under_way else self._tenants.get(tenant_id)

    async def _current(self, tenant_id: str, ttl_seconds: float) -> _Tenant | None:
        """Return a tenant with a current index; None if that takes too much memory, or is not loaded yet."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and tenant.is_fresh(ttl_seconds):
            self._hits.inc()
        else:
            self._misses.inc()
            if self._too_large.get(tenant_id) is not None:
                return None
            try:
                async with asyncio.timeout(PATIENCE_SECONDS if tenant is None else None) as patience:
                    tenant = await self._refreshed(tenant_id, ttl_seconds)
            except TooLargeError:
                return None
            except TimeoutError:
                if patience.expired():
                    return None
                raise
        if tenant_id in self._tenants:
            self._tenants.move_to_end(tenant_id)
        return tenant

    async def _refreshed(self, tenant_id: str, ttl_seconds: float) -> _Tenant:
        """Return a tenant with all that was heard of it, and known to Postgres, when this was called."""
        joined = tenant_id in self._rounds
        tenant = await self._join(tenant_id, ttl_seconds)
        if joined and not tenant.is_settled():
            # That look began before this was called, perhaps before a change of which this caller knows.
            tenant = await self._join(tenant_id, ttl_seconds)
        return tenant

    async def _join(self, tenant_id: str, ttl_seconds: float) -> _Tenant:
        under_way = self._rounds.get(tenant_id) or self._begin(tenant_id, ttl_seconds)
        await asyncio.shield(under_way.done)
        return under_way.tenant

    def _begin(self, tenant_id: str, ttl_seconds: float) -> _Round:
        tenant = self._tenants.get(tenant_id) or _Tenant(id=tenant_id)
        done = asyncio.ensure_future(self._catch_up(tenant, ttl_seconds))
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # others may have left
        under_way = self._rounds[tenant_id] = _Round(tenant=tenant, done=done)
        return under_way

    async def _catch_up(self, tenant: _Tenant, ttl_seconds: float) -> None:
        began_at, doubts, heard = time.monotonic(), tenant.doubts, dict(tenant.heard)
        try:
            if doubts != tenant.cleared or began_at - tenant.looked_at > ttl_seconds:
                await self._look(tenant)
                tenant.looked_at = began_at
            await self._load_heard(tenant, heard)
            # What was heard or doubted meanwhile may have been missed by what was read.
            tenant.cleared = doubts
            tenant.heard = {name: version for name, version in tenant.heard.items() if version > heard.get(name, 0)}
            self._tenants[tenant.id] = tenant
            self._count(tenant)
        finally:
            if tenant.complete_to is None or tenant.id not in self._tenants:
                self._drop(tenant)
            del self._rounds[tenant.id]
            tenant.index.forget_deleted()

    async def _look(self, tenant: _Tenant) -> None:
        """Take in what changed since the last look; the first time, and from another server, everything."""
        since = tenant.complete_to
        if since is not None:
            looked = await self._changes(tenant, since - OVERLAP)
            # Another server, such as a standby that took over, may lack what this process has seen.
            if looked.server_started == tenant.server_started and looked.now >= since:
                tenant.complete_to = looked.now
                return
            log.info("Postgres was restarted; a tenant's subscriptions are loaded again", tenant_id=tenant.id)
        tenant.index, tenant.complete_to, tenant.loaded_at = Index(), None, time.monotonic()
        looked = first = await self._ask(tenant, self._store.filters_page(tenant.id, NIL, CHUNK))
        while len(looked.filters) == CHUNK:
            looked = await self._ask(tenant, self._store.filters_page(tenant.id, looked.filters[-1].id, CHUNK))
        if looked is not first:
            await self._changes(tenant, first.now - OVERLAP)
        tenant.complete_to, tenant.server_started = first.now, first.server_started

    async def _changes(self, tenant: _Tenant, since: datetime) -> Looked:
        """Take in what was written since then, and return what the first statement says of the time."""
        first = looked = await self._ask(tenant, self._store.changed_filters(tenant.id, since, NIL, CHUNK))
        while len(looked.filters) == CHUNK:
            assert looked.changed_to is not None
            last = looked.filters[-1].id
            looked = await self._ask(tenant, self._store.changed_filters(tenant.id, looked.changed_to, last, CHUNK))
        return first

    async def _load_heard(self, tenant: _Tenant, heard: dict[UUID, int]) -> None:
        wanted = [name for name, version in heard.items() if version > tenant.index.version(name)]
        for begin in range(0, len(wanted), CHUNK):
            await self._ask(tenant, self._store.filters_of(tenant.id, wanted[begin : begin + CHUNK]))

    async def _ask(self, tenant: _Tenant, asked: Awaitable[Looked | None]) -> Looked:
        looked = await asyncio.wait_for(asked, LOAD_TIMEOUT_SECONDS)
        if looked is None:
            tenant.complete_to = None
            raise no_tenant()
        for found in looked.filters:
            tenant.index.put(found)
        self._count(tenant)
        return looked

    def _count(self, tenant: _Tenant) -> None:
        """Count what the index takes, and make room for it; TooLargeError if it is given up instead."""
        self._size_bytes += tenant.index.size_bytes - tenant.counted_bytes
        tenant.counted_bytes = tenant.index.size_bytes
        while self._size_bytes > MAX_BYTES:
            other = next((other for other in self._tenants.values() if other is not tenant), None)
            if other is None:
                break
            self._drop(other)
        # With none to drop, what takes the room are loads under way, of which large ones are given up.
        most = MAX_TENANT_BYTES if self._size_bytes <= MAX_BYTES else SMALL_TENANT_BYTES
        if tenant.counted_bytes > most:
            log.warning(
                "a tenant's subscriptions take too much memory; its events are matched in Postgres",
                tenant_id=tenant.id,
                subscriptions=len(tenant.index),
            )
            self._too_large.put(tenant.id, _Slow())
            tenant.complete_to = None
            self._drop(tenant)
            raise TooLargeError

    def _drop(self, tenant: _Tenant) -> None:
        if self._tenants.get(tenant.id) is tenant:
            del self._tenants[tenant.id]
        self._size_bytes -= tenant.counted_bytes
        tenant.counted_bytes = 0

    async def _matching_slowly(
        self,
        tenant_id: str,
        event_type: str,
        limit: int | None,
        ttl_seconds: float,
        event: Callable[[], Evaluation] | None,
    ) -> list[Target]:
        under_way = self._rounds.get(tenant_id)
        slow = self._too_large.get(tenant_id) or (under_way.slow if under_way else _Slow())
        async with slow.lock:
            tenant = self._tenants.get(tenant_id)
            if tenant is not None and tenant.is_fresh(ttl_seconds):  # it was loaded meanwhile
                return tenant.index.matching(event_type, limit, event)
            await asyncio.sleep(slow.paused_until - time.monotonic())
            async with self._in_postgres:
                began_at = time.monotonic()
                try:
                    asked = self._store.targets_wanting(tenant_id, events.entries_wanting(event_type), limit)
                    found = await asyncio.wait_for(asked, LOAD_TIMEOUT_SECONDS)
                finally:
                    took = time.monotonic() - began_at
                    if took > SLOW_SECONDS:
                        slow.paused_until = time.monotonic() + PAUSE_FACTOR * took
        return _passed(found, limit, event)


def _passed(found: Sequence[Filter], limit: int | None, event: Callable[[], Evaluation] | None) -> list[Target]:
    """Return those of the subscriptions to the type of an event whose filters it passes."""
    if event is not None and any(one.filter is not None for one in found):
        if limit is not None and len(found) >= limit:
            raise OutOfTimeError  # there may be more
        evaluation = event()
        found = [
            one
            for one in found
            if one.filter is None or evaluation.passes(one.id, compiled(one.filter), one.filter_on_error)
        ]
    return [(one.id, one.steady) for one in found]
