"""Those who watch what is recorded: each gets what is of its tenant and wanted, as far as it can be read in time.

A process reads the stream of services/domain/live.py once for all that watch there, and only while there are any.
"""

import asyncio
import contextlib
import functools
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api import filters
from services.domain.events import TypeFilter
from services.domain.live import FIELD, OPEN_MILLISECONDS, STREAM, Batch, Told, open_stream
from services.domain.states import DeliveryStatus
from services.platform import errors
from services.platform.auth import identity
from services.platform.process import background
from services.platform.stores import redis as redis_store
from services.platform.stores.redis import REDIS_AWAY, Client

# The fields of a filter that what is told has.
FIELDS = frozenset(("subscription_id", "status", "event_type"))
RETRY_SECONDS = 1.0
# How long a read waits for something new, and how much it takes.
BLOCK_SECONDS = 1.0
READ_ENTRIES = 50
KEEP_OPEN_SECONDS = OPEN_MILLISECONDS / 1000 / 4
# What waits for a watcher, more than anybody reads in the time of a message; further outcomes are counted.
MAX_WAITING = 200
# A read waits so long after the one before, unless that left something; each watcher gets a message for a read.
PACE_SECONDS = 0.5
# And counts once in this time.
COUNTS_SECONDS = 1.0
# And one without anything after so long.
HEARTBEAT_SECONDS = 10.0
# Of which a watcher who comes back gets what was missed; with more it begins again.
MISSED_ENTRIES = 100

_POSITION = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
# The number of an entry, by which positions are compared.
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a watcher wants of what is told."""

    tenant_id: str
    subscription_ids: frozenset[UUID]
    statuses: frozenset[DeliveryStatus]
    types: TypeFilter
    # Whether the caller's portal link is limited to these subscriptions.
    limited: bool = False

    @classmethod
    def of(cls, tenant_id: str, message: pb.DeliveryFilter) -> "Wanted":
        """Return what a filter wants; InvalidArgument for a field that nothing told has."""
        for named, _ in message.ListFields():
            if named.name not in FIELDS:
                raise errors.InvalidArgument.field(named.name, f"cannot be watched; only {', '.join(sorted(FIELDS))}")
        wanted = filters.parse(message)
        return cls(
            tenant_id=tenant_id,
            subscription_ids=frozenset(wanted.subscription_ids),
            statuses=wanted.statuses,
            types=TypeFilter(wanted.event_types),
            limited=identity.limited_to() is not None,
        )

    @functools.cached_property
    def everything(self) -> bool:
        """Whether it is all of the tenant."""
        return self.types.wants_all and not (self.subscription_ids or self.statuses)

    def of_these(self, told: Sequence[Told[str]]) -> Sequence[Told[str]]:
        """Return which of these are wanted."""
        return told if self.everything else [one for one in told if self._has(one)]

    def _has(self, told: Told[str]) -> bool:
        return (
            (not self.subscription_ids or UUID(told.subscription_id) in self.subscription_ids)
            and (not self.statuses or told.status in self.statuses)
            and self.types.wants(told.event_type)
        )


@dataclass(kw_only=True)
class News:
    """What a watcher gets at once."""

    position: str
    told: Sequence[Told[str]] = ()
    counts: Mapping[DeliveryStatus, int] | None = None
    dropped: int = 0
    # Whether what was told since the watcher's position is not known any more.
    reset: bool = False


@dataclass(kw_only=True, eq=False)
class _Watcher:
    wanted: Wanted
    counting: bool
    place: Place
    told: list[Told[str]] = field(default_factory=list)
    counts: Counter[DeliveryStatus] = field(default_factory=Counter)
    dropped: int = 0
    away: bool = False
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, place: Place, told: Sequence[Told[str]], dropped: int) -> None:
        """Note what an entry has for it, unless it has that already."""
        if place <= self.place:
            return
        self.place = place
        found = self.wanted.of_these(told)
        if self.counting:
            self.counts.update(one.status for one in found)
        else:
            room = MAX_WAITING - len(self.told)
            self.told += found[:room]
            self.dropped += max(0, len(found) - room)
        # Which subscriptions these are of is not known: a limited link learns that there were some, and not how many.
        self.dropped += min(dropped, 1) if self.wanted.limited else dropped
        if found or dropped:
            self.something.set()

    def end(self) -> None:
        """Have it told that there is nothing to hear."""
        self.away = True
        self.something.set()

    def news(self) -> News:
        """Return what is there for it, and forget it."""
        made = News(position=_text(self.place), told=self.told, dropped=self.dropped)
        if self.counting:
            made.counts, self.counts = self.counts, Counter()
        self.told, self.dropped = [], 0
        self.something.clear()
        return made


class Watching:
    """All who watch in this process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open = open_stream(client)
        self._by_tenant: defaultdict[str, set[_Watcher]] = defaultdict(set)
        self._somebody = asyncio.Event()

    async def watch(self, wanted: Wanted, position: str, *, counting: bool) -> AsyncGenerator[News, None]:
        """Yield what is told from now on, or from a position: first the position, and what was missed.

        Raise Unavailable when Redis is away: then nothing can be heard.
        """
        if position and not _POSITION.fullmatch(position):
            raise errors.InvalidArgument.field("position", "must be the position of an earlier message")
        with _hearing():
            last: bytes = await self._open(STREAM, OPEN_MILLISECONDS)
        begin = _place(position or last)
        # One that is still to come is not known: what comes before it must not be left out.
        watcher = _Watcher(wanted=wanted, counting=counting, place=min(begin, _place(last)))
        self._by_tenant[wanted.tenant_id].add(watcher)
        self._somebody.set()
        try:
            with _hearing():
                reset = begin > _place(last) or not await self._catch_up(watcher)
            if reset:
                watcher.place = max(watcher.place, _place(last))
            first = watcher.news()
            first.reset = reset
            yield first
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await watcher.something.wait()
                if watcher.away:
                    raise _away()
                if counting and watcher.something.is_set():
                    await asyncio.sleep(COUNTS_SECONDS)
                yield watcher.news()
        finally:
            self._by_tenant[wanted.tenant_id].discard(watcher)
            if not self._by_tenant[wanted.tenant_id]:
                del self._by_tenant[wanted.tenant_id]

    async def run(self) -> None:
        """Read what is told for those who watch, until cancelled."""
        await background.repeat(self._read, interval_seconds=RETRY_SECONDS, quiet=True, on_error=self._end)

    async def _read(self) -> float:
        await self._somebody.wait()
        last: bytes = await self._open(STREAM, OPEN_MILLISECONDS)
        opened_at = time.monotonic()
        async with redis_store.waiting(self._client, seconds=BLOCK_SECONDS) as own:
            while self._by_tenant:
                answer: Any = await own.xread({STREAM: last}, count=READ_ENTRIES, block=round(BLOCK_SECONDS * 1000))
                entries = answer[0][1] if answer else ()
                for last, entry in entries:
                    self._dispatch(last, entry)
                if time.monotonic() - opened_at > KEEP_OPEN_SECONDS:
                    await self._open(STREAM, OPEN_MILLISECONDS)
                    opened_at = time.monotonic()
                if 0 < len(entries) < READ_ENTRIES:
                    await asyncio.sleep(PACE_SECONDS)
        if not self._by_tenant:
            self._somebody.clear()
        return 0.0

    def _dispatch(self, entry_id: bytes, entry: Mapping[bytes, bytes]) -> None:
        place, batch = _place(entry_id), _batch(entry)
        by_tenant: defaultdict[str, list[Told[str]]] = defaultdict(list)
        for told in batch.told:
            if told.tenant_id in self._by_tenant:
                by_tenant[told.tenant_id].append(told)
        for tenant_id, watchers in self._by_tenant.items():
            for watcher in watchers:
                watcher.take(place, by_tenant[tenant_id], batch.dropped.get(tenant_id, 0))

    async def _catch_up(self, watcher: _Watcher) -> bool:
        """Give a watcher what was told since its position; return False if that is not known any more."""
        begin = watcher.place
        found: Any = await self._client.xrange(STREAM, min=_text(begin), count=MISSED_ENTRIES + 1)
        if not found or _place(found[0][0]) != begin or len(found) > MISSED_ENTRIES:
            return False
        # What the reader has given it meanwhile is among these.
        if watcher.place > begin:
            watcher.news()
            watcher.place = begin
        for place, told, dropped in _entries(found[1:], watcher.wanted.tenant_id):
            watcher.take(place, told, dropped)
        return True

    def _end(self) -> None:
        for watchers in self._by_tenant.values():
            for watcher in watchers:
                watcher.end()


def _entries(found: Sequence[Any], tenant_id: str) -> list[tuple[Place, list[Told[str]], int]]:
    made = []
    for entry_id, entry in found:
        batch = _batch(entry)
        told = [one for one in batch.told if one.tenant_id == tenant_id]
        made.append((_place(entry_id), told, batch.dropped.get(tenant_id, 0)))
    return made


def _batch(entry: Mapping[bytes, bytes]) -> Batch[str]:
    """Return what an entry has; nothing, if somebody else wrote it, or a version that tells more."""
    try:
        return msgspec.msgpack.decode(entry[FIELD], type=Batch[str]) if entry.get(FIELD) else Batch([])
    except msgspec.DecodeError:
        return Batch([])


def _place(entry_id: bytes | str) -> Place:
    text = entry_id if isinstance(entry_id, str) else entry_id.decode()
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number)


def _text(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


@contextlib.contextmanager
def _hearing() -> Iterator[None]:
    try:
        yield
    except REDIS_AWAY:
        raise _away() from None


def _away() -> errors.Unavailable:
    return errors.Unavailable("the live stream is unavailable while Redis is; poll the lists until then")
