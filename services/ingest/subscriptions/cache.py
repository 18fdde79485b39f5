"""Subscriptions on the ingest path: from this process, then Redis, then Postgres.

Which of them want an event is looked up in this process (filters.py). A change is seen at once by the process that made
it, and by the others through signals. While these are not heard, and for what none can tell, an entry of this process
is used no longer than the TTL; after it the index of its tenant, which is compared with Postgres as often, has to know
of no newer version.

Copies in Redis are sealed (services/domain/secrets/vault.py), each for its subscription: whoever gets into Redis can
read none, and make none that sends events elsewhere or lets a forged one in. An old copy that is put back is not used
past its time.
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog

from services.domain.deliveries import DUE
from services.domain.filters.evaluation import Evaluation
from services.domain.notices import subscription_changes
from services.domain.notices.operational_facts import FACTS
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.vault import Vault
from services.domain.subscriptions import Flag
from services.ingest import metrics
from services.ingest.subscriptions.filters import LOAD_TIMEOUT_SECONDS, Filters, TooLargeError
from services.ingest.subscriptions.matching import Filter
from services.ingest.subscriptions.record import Subscription, Target
from services.ingest.subscriptions.store import SubscriptionStore
from services.platform import errors
from services.platform.process import background
from services.platform.process.bounds import BoundedCache
from services.platform.stores.redis import REDIS_AWAY, Refused
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# How long an entry is used without a question while changes are heard of, and while they are not.
LISTENING_TTL_SECONDS = 30.0
DEAF_TTL_SECONDS = 0.25
# How long it is kept: past its TTL the index of its tenant says whether it has changed.
KEPT_SECONDS = 3_600.0
REDIS_TIMEOUT_SECONDS = 0.1
# After a failure Redis is not used for so long, so that not every lookup waits for a timeout.
REDIS_PAUSE_SECONDS = 1.0
# Between two tries to tell a change.
RETRY_SECONDS = 0.4
# Of the subscriptions in this process, besides their number.
MAX_BYTES = 128 << 20
# While so many changes wait for Redis, others are told without the subscription, which readers then ask Postgres for.
MAX_UNTOLD_COPIES = 1_000
# Changes that Redis was away for, told before the next message is heard.
TELL_AT_ONCE = 100
# Changes that are published again when listening restarts: a replica that became primary may have missed them.
TELL_AGAIN = 1_000


class _Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as it is kept in Redis, before it is sealed."""

    # In seconds since 1970.
    sealed_at: float
    subscription: Subscription


@dataclass(frozen=True, slots=True)
class _Change:
    tenant_id: str
    # None for a subscription that was deleted, or that its readers are to ask Postgres for.
    current: Subscription | None
    version: int


Value = TypeVar("Value")


class _Level(Generic[Value]):
    """Values of this process by key, the least recently used leaving first.

    A value whose loading began before its key was dropped is handed out once and not kept; neither is None, so that
    made-up keys drive nothing out.
    """

    def __init__(self, size: int, weigh: Callable[[Value], int] = lambda _: 0) -> None:
        # Each with when its loading began.
        self._entries: BoundedCache[Any, tuple[Value, float]] = BoundedCache(
            size, keep_used=True, weigh=lambda entry: weigh(entry[0]), max_weight=MAX_BYTES
        )
        self._loading: dict[Any, asyncio.Future[Value]] = {}

    def get(self, key: object, ttl_seconds: float) -> Value | None:
        entry = self._entries.get(key)
        return None if entry is None or time.monotonic() - entry[1] > ttl_seconds else entry[0]

    def confirm(self, key: object, value: Value, *, since: float, at: float) -> Value | None:
        """Return the value as one of `at`, if it is still kept and was loaded later than `since`."""
        entry = self._entries.get(key)
        if entry is None or entry[0] is not value or entry[1] < since:
            return None
        self._entries.put(key, (value, max(entry[1], at)))
        return value

    def drop(self, key: object) -> None:
        self._entries.discard(key)
        self._loading.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()
        self._loading.clear()

    async def load(self, key: object, load: Callable[[], Awaitable[Value]]) -> Value:
        """Load a value once for all concurrent callers."""
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.ensure_future(asyncio.wait_for(load(), LOAD_TIMEOUT_SECONDS))
            self._loading[key] = loading
            loading.add_done_callback(functools.partial(self._loaded, key, time.monotonic()))
        return await asyncio.shield(loading)

    def _loaded(self, key: object, started_at: float, loading: "asyncio.Future[Value]") -> None:
        """Keep the value, even if all its callers were cancelled: the next one finds it."""
        kept = self._loading.get(key) is loading
        if kept:
            del self._loading[key]
        if loading.cancelled() or loading.exception() is not None:
            return
        value = loading.result()
        if kept and value is not None:
            self._entries.put(key, (value, started_at))


class SubscriptionCache:
    """Look-ups by id, and of a tenant's subscriptions by event type."""

    def __init__(self, store: SubscriptionStore, heard: Signals, vault: Vault, *, size: int) -> None:
        self._store = store
        self._signals = heard
        self._vault = vault
        self._hits, self._misses = (metrics.CACHE.labels("process", result) for result in ("hit", "miss"))
        self._by_id: _Level[Subscription | None] = _Level(size, lambda found: found.size_bytes if found else 0)
        self._filters = Filters(store)
        self._redis_paused_until = 0.0
        self._copies = subscription_changes.Copies(heard)
        # Changes that Redis does not know of yet.
        self._untold: dict[UUID, _Change] = {}
        # Those told last, with when.
        self._told: deque[tuple[float, UUID, _Change]] = deque(maxlen=TELL_AGAIN)
        self._to_tell = background.Alarm()
        heard.hear(subscription_changes.CHANGED, self._hear)
        heard.on_missed(self._begin_again)

    @property
    def _ttl_seconds(self) -> float:
        """How long an entry of this process may be used."""
        return LISTENING_TTL_SECONDS if self._signals.current else DEAF_TTL_SECONDS

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return a live subscription, or None."""
        await self._signals.confirm()
        found = self.kept(subscription_id)
        if found is not None:
            return found
        found = await self._confirmed(subscription_id)
        if found is not None:
            self._hits.inc()
            return found
        self._misses.inc()
        return await self._by_id.load(subscription_id, lambda: self._load(subscription_id))

    def kept(self, subscription_id: UUID) -> Subscription | None:
        """Return a live subscription that needs no look-up; None for any other."""
        self._signals.need()
        found = self._by_id.get(subscription_id, self._ttl_seconds)
        if found is not None:
            self._hits.inc()
        return found

    def is_current(self, tenant_id: str) -> bool:
        """Return whether `matching` needs no look-up."""
        self._signals.need()
        return self._filters.is_current(tenant_id, ttl_seconds=self._ttl_seconds)

    def flags(self, tenant_id: str) -> Flag:
        """Return the flags of a tenant's subscriptions that take events, as of the last look; all if not known."""
        return self._filters.flags(tenant_id)

    async def _confirmed(self, subscription_id: UUID) -> Subscription | None:
        """Return a subscription that is kept for longer than the TTL, if the index of its tenant has the same version.

        So subscriptions are not read again one by one: neither those that rarely get a webhook, nor all of them while
        changes are not heard of.
        """
        kept = self._by_id.get(subscription_id, KEPT_SECONDS)
        if kept is None:
            return None
        with contextlib.suppress(errors.InvalidArgument, TooLargeError):
            known = await self._filters.known(
                kept.tenant_id, subscription_id, kept.version, ttl_seconds=self._ttl_seconds
            )
            if known is not None:
                return self._by_id.confirm(subscription_id, kept, since=known.since, at=known.at)
        return None

    async def matching(
        self,
        tenant_id: str,
        event_type: str,
        limit: int | None = None,
        event: Callable[[], Evaluation] | None = None,
    ) -> list[Target]:
        """Return up to `limit` of the tenant's live subscriptions to this event type, in no order.

        The cost is that of those returned. With `event`, which is called if there are filters, only those whose filters
        it passes; OutOfTimeError if these are not known. Raise InvalidArgument if there is no such tenant.
        """
        await self._signals.confirm()
        return await self._filters.matching(
            tenant_id, event_type, limit=limit, ttl_seconds=self._ttl_seconds, event=event
        )

    async def count(self, tenant_id: str, event_type: str) -> int:
        """Return how many subscriptions match at most, or 0 where that is not known; it costs as little."""
        await self._signals.confirm()
        return await self._filters.count(tenant_id, event_type, ttl_seconds=self._ttl_seconds)

    async def changed(self, subscription_id: UUID, tenant_id: str, current: Subscription | None, version: int) -> None:
        """Drop the cached copy here and in other processes; `current` is None for a deleted one."""
        # Until it is told, the copy in Redis may be of before the change, and is not read here.
        change = self._note(subscription_id, _Change(tenant_id, current, version))
        self._by_id.drop(subscription_id)
        deleted = Filter.deleted(subscription_id, version)
        self._filters.changed(tenant_id, deleted if current is None else Filter.of(current))
        self._signals.wake(DUE)
        self._signals.wake(FACTS)
        # If Redis is unreachable, it is told later; until then others do not listen either, or their TTL ends.
        with contextlib.suppress(*REDIS_AWAY):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._tell(subscription_id, change)

    async def run(self) -> None:
        """Tell what Redis did not take, until cancelled."""

        async def step() -> None:
            for subscription_id, change in tuple(itertools.islice(self._untold.items(), TELL_AT_ONCE)):
                await self._tell(subscription_id, change)
            if self._untold:
                self._to_tell.set()

        await background.repeat(
            step,
            interval_seconds=background.QUIET_SECONDS,
            retry_seconds=RETRY_SECONDS,
            quiet=True,
            wake=self._to_tell,
        )

    def _hear(self, message: bytes) -> None:
        metrics.INVALIDATIONS.labels("one").inc()
        try:
            subscription_id, tenant_id, version = subscription_changes.heard(message)
        except ValueError:
            self._forget_all()  # said by another version of this program
            return
        self._by_id.drop(subscription_id)
        self._filters.heard(tenant_id, subscription_id, version)

    def _begin_again(self) -> None:
        """Drop everything that is not looked at again whenever listening begins."""
        if not self._signals.listening:
            log.warning("subscription changes are not received; cached copies expire after a quarter of a second")
            return
        self._forget_all()
        # Copies in Redis may be of before a change that it was away for: those who made one have this long to tell.
        self._pause_redis()
        for told_at, changed_id, change in self._told:
            if time.monotonic() - told_at < subscription_changes.REDIS_TTL_SECONDS:
                self._note(changed_id, change)

    def _forget_all(self) -> None:
        metrics.INVALIDATIONS.labels("all").inc()
        self._by_id.clear()
        self._filters.doubt()

    def _note(self, subscription_id: UUID, change: _Change) -> _Change:
        """Keep a change to be told, and return what is kept of it."""
        if len(self._untold) >= MAX_UNTOLD_COPIES:
            change = dataclasses.replace(change, current=None)
        earlier = self._untold.get(subscription_id)
        if earlier is None or earlier.version < change.version:
            self._untold[subscription_id] = change
            self._to_tell.set(RETRY_SECONDS)
        return change

    async def _tell(self, subscription_id: UUID, change: _Change) -> None:
        await self._copies.tell(subscription_id, change.tenant_id, self._copy(change.current), change.version)
        self._told.append((time.monotonic(), subscription_id, change))
        if self._untold.get(subscription_id) is change:
            del self._untold[subscription_id]

    async def _load(self, subscription_id: UUID) -> Subscription | None:
        # A change that is made while this loads drops it, so it is enough to ask once.
        usable = self._redis_usable() and subscription_id not in self._untold
        cached = await self._read(subscription_id) if usable else None
        metrics.CACHE.labels("redis", "hit" if cached else "miss").inc()
        if cached:
            return cached
        loaded = await self._store.subscription(subscription_id)
        metrics.CACHE.labels("postgres", "hit" if loaded else "miss").inc()
        if loaded and usable:
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                    await self._copies.write(subscription_id, self._copy(loaded), loaded.version)
            except REDIS_AWAY:
                self._pause_redis()
            except Refused as refused:
                await self._forget_what_is_no_copy(subscription_id, refused)
        return loaded

    def _redis_usable(self) -> bool:
        # While changes are not heard of, the copies in Redis may be stale for longer than a second.
        return self._signals.current and time.monotonic() >= self._redis_paused_until

    def _pause_redis(self) -> None:
        self._redis_paused_until = time.monotonic() + REDIS_PAUSE_SECONDS

    async def _read(self, subscription_id: UUID) -> Subscription | None:
        value = None
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                value = await self._copies.read(subscription_id)
        except REDIS_AWAY:
            self._pause_redis()
        except Refused as refused:
            await self._forget_what_is_no_copy(subscription_id, refused)
        if not value:
            return None
        try:
            cached = msgspec.json.decode(self._vault.copy(subscription_id, value), type=_Copy)
        except CannotOpen:
            metrics.UNREADABLE_COPIES.inc()
            return None
        except msgspec.MsgspecError:
            return None  # written by another version of this program
        if abs(time.time() - cached.sealed_at) > subscription_changes.REDIS_TTL_SECONDS:
            return None
        return cached.subscription

    async def _forget_what_is_no_copy(self, subscription_id: UUID, refused: Refused) -> None:
        """Remove what somebody else wrote in place of a copy: Redis is not away for the other subscriptions."""
        log.warning("Redis refused a copy of a subscription", subscription_id=str(subscription_id), reason=str(refused))
        with contextlib.suppress(*REDIS_AWAY):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._copies.forget(subscription_id)

    def _copy(self, current: Subscription | None) -> bytes:
        """Return the copy of a subscription for Redis; for a deleted one, a mark that there is none."""
        if current is None:
            return subscription_changes.NO_COPY
        copy = _Copy(sealed_at=time.time(), subscription=current)
        return self._vault.seal_copy(current.id, msgspec.json.encode(copy))
