"""Doorbells: messages on a Redis stream that carry ids of deliveries and subscriptions, and nothing else.

Workers read them with taskiq; who rings does without it: importing it brings FastAPI and aiohttp, 13 MiB and half a
second of CPU time for each process.

A bell tells a worker to look. A lost bell costs only time, because the dispatcher rings again for what is due. A
duplicate bell does nothing. The stream can therefore be emptied or lost at any time, and nobody waits for it.

There are two streams. PROMPT has what is to be sent at once: new events, retries by hand, and what became due of
tenants that have little due. BACKLOG has the rest: large fan-outs, and what waited in Postgres. Workers take from
BACKLOG what leaves prompt deliveries their speed (services/delivery/worker/pace.py).

Workers read each stream in order, whatever the tenant. It therefore holds only as much as workers read in a moment,
measured by how long its first unread bell has waited. Deliveries without room in it stay in Postgres and get turns.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import prometheus_client
import redis.exceptions
import structlog

from services.domain import deliveries
from services.domain.tenants import weights
from services.platform.process.lifecycle import Process
from services.platform.process.shares import WeightOf, part, same_weight
from services.platform.settings import RedisSettings
from services.platform.stores import postgres, signals
from services.platform.stores.redis import REDIS_AWAY, Client, Key, Refused, script
from services.platform.stores.redis_primary import PREFIX
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

PROMPT, BACKLOG = STREAMS = (f"{PREFIX}doorbells:prompt", f"{PREFIX}doorbells:backlog")
GROUP = "workers"
TASK = "webhook.deliver"
IDS_PER_BELL = 64
# How long a row that was rung counts as in hand. After it the dispatcher rings again.
RUNG_SECONDS = 10
RING_TIMEOUT_SECONDS = 0.25
PROBE_SECONDS = 0.05
FINISH_SECONDS = 1.0
# More than this many ids waiting to be rung are left to the dispatcher.
MAX_WAITING_IDS = 20_000
ACK_TRIES = 3
# A message that nobody acknowledged for so long belongs to a worker that died.
ABANDONED_MILLISECONDS = 30_000
# Nobody will read it, or nobody needs to.
OLD_MILLISECONDS = 300_000


class Mark(NamedTuple):
    """How far the stream may be filled: messages in it, and milliseconds that the first unread one has waited."""

    messages: int
    milliseconds: int


# Only the dispatcher is fair among tenants, and it rings for what the others leave. So those who make new rows stop
# earlier than it does, and those who make the rows of large fan-outs first of all.
EXPANSION_MARK = Mark(4, 25)
NEW_MARK = Mark(96, 100)
# While a process has only one tenant's bells in it: nobody else waits, and what it leaves costs more than a bell.
LONE_MARK = Mark(96, 400)
DUE_MARK = Mark(128, 150)

# What a message says: pairs of ids, that of a subscription and that of its delivery, of 16 bytes each. Several messages
# in sequence are one, so nothing has to be parsed to join them.
Bell = bytes
ID_BYTES = 16
PAIR_BYTES = 2 * ID_BYTES

DOORBELLS_RUNG = prometheus_client.Counter("webhook_doorbells_rung_total", "Messages sent to the stream.", ["result"])
DELIVERIES_RUNG = prometheus_client.Counter("webhook_deliveries_rung_total", "Delivery ids in the messages sent.")


class Rung(NamedTuple):
    """A delivery to ring for."""

    subscription_id: UUID
    delivery_id: UUID


def by_subscription(rung: Iterable[Rung]) -> dict[UUID, list[UUID]]:
    """Delivery ids by subscription id."""
    found: dict[UUID, list[UUID]] = {}
    for subscription_id, delivery_id in rung:
        found.setdefault(subscription_id, []).append(delivery_id)
    return found


def bell(rung: Iterable[Rung]) -> Bell:
    """Return the message for these deliveries."""
    return b"".join([subscription_id.bytes + delivery_id.bytes for subscription_id, delivery_id in rung])


def heard(said: Bell) -> dict[UUID, list[UUID]]:
    """Parse a message, or several in sequence; ValueError if it is not one."""
    ids = [UUID(bytes=said[start : start + ID_BYTES]) for start in range(0, len(said), ID_BYTES)]
    return by_subscription(map(Rung, ids[::2], ids[1::2]))


def is_bell(data: bytes) -> bool:
    """Whether these bytes can be a bell."""
    return bool(data) and len(data) % PAIR_BYTES == 0


# Of a message in the stream: milliseconds, and a number among those of the same.
MessageId = tuple[int, int]


def _message_id(text: bytes) -> MessageId | None:
    milliseconds, _, number = text.partition(b"-")
    return (int(milliseconds), int(number)) if number else None


@script
def _look(stream_key: Key, message: bytes) -> Any:
    """Add a message, unless it is empty, and say how full the stream is.

    The answer has its length, for how many milliseconds the first message waits that nobody has read, and the ids of
    that message and of the added one (empty if there is none).

    local added = ''
    if message ~= '' then added = redis.call('XADD', stream_key, '*', 'data', message) end
    local length = redis.call('XLEN', stream_key)
    if length == 0 then return {0, 0, '', ''} end
    if length == 1 and added ~= '' then return {1, 0, added, added} end
    local read = '0-0'
    local groups = redis.pcall('XINFO', 'GROUPS', stream_key)
    for place, word in ipairs(groups[1] or {}) do
        if word == 'last-delivered-id' then read = groups[1][place + 1] end
    end
    local first = redis.call('XRANGE', stream_key, '(' .. read, '+', 'COUNT', 1)[1]
    if not first then return {length, 0, '', added} end
    local time = redis.call('TIME')
    local waited = time[1] * 1000 + math.floor(time[2] / 1000) - string.match(first[1], '^%d+')
    return {length, math.max(0, waited), first[1], added}
    """


class Stream:
    """A stream of bells: what is added to it, and how full it is. Workers read it with taskiq (worker/broker.py).

    An acknowledged message is deleted, so the stream's length is what is unread or unacknowledged. Messages of dead
    workers are swept, not delivered again: the leases that matter are in Postgres.
    """

    def __init__(self, client: Client, name: str = PROMPT) -> None:
        self.client = client
        self.name = name
        self._look = _look(client)
        # At the last look: the messages in the stream, unread or unacknowledged; the first unread one, if there is one,
        # and how long it has waited; and the message that was added last.
        self.length = 0
        self.waited_milliseconds = 0
        self.first_unread: MessageId | None = None
        self.last_added: MessageId | None = None

    async def add(self, message: bytes) -> None:
        """Add a message and learn how full the stream is in the same round trip."""
        self.last_added = await self._look_with(message)

    async def measure(self) -> int:
        """Learn how full the stream is; return the number of its messages, unread or unacknowledged."""
        await self._look_with(b"")
        return self.length

    async def number(self) -> int:
        """Return the number of its messages by a command that costs less."""
        self.length = await self.client.xlen(self.name)
        return self.length

    async def _look_with(self, message: bytes) -> MessageId | None:
        try:
            self.length, self.waited_milliseconds, unread, added = await self._look(Key(self.name), message)
        except Refused as refused:  # somebody else wrote something under its key: there is no stream to ring on
            raise redis.exceptions.ResponseError(str(refused)) from refused
        self.first_unread = _message_id(unread)
        return _message_id(added)

    def is_below(self, mark: Mark) -> bool:
        """Whether the stream was filled less than this at the last look."""
        return self.length < mark.messages and self.waited_milliseconds < mark.milliseconds

    async def declare_group(self) -> None:
        """Create the group that workers read as, from the first message on, unless it is there."""
        try:
            await self.client.xgroup_create(self.name, GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def acknowledge(self, message_ids: Sequence[bytes]) -> None:
        """Delete messages that are done with."""
        # A message that stays counts until it is swept, so that a stall of this process is no reason to leave it.
        for _ in range(ACK_TRIES - 1):
            with contextlib.suppress(*REDIS_AWAY):
                await self._remove(message_ids)
                return
        await self._remove(message_ids)

    async def _remove(self, message_ids: Sequence[bytes]) -> None:
        pipeline = self.client.pipeline(transaction=False)
        pipeline.xack(self.name, GROUP, *message_ids)
        pipeline.xdel(self.name, *message_ids)
        await pipeline.execute()

    async def sweep(self, *, abandoned_milliseconds: int = ABANDONED_MILLISECONDS) -> int:
        """Remove messages and consumer names that dead workers left; return the messages swept."""
        await self.declare_group()
        _, claimed, *_ = await self.client.xautoclaim(
            self.name, GROUP, "sweeper", min_idle_time=abandoned_milliseconds, count=500, justid=False
        ) or (None, [])
        if claimed:
            await self.acknowledge([message_id for message_id, _ in claimed])
        for consumer in await self.client.xinfo_consumers(self.name, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > abandoned_milliseconds:
                await self.client.xgroup_delconsumer(self.name, GROUP, consumer["name"])
        # What is so old was rung for again many times. Among it may be messages that belong to no consumer any more:
        # read between the look above and the removal of a name.
        now_seconds, _ = await self.client.time()
        await self.client.xtrim(self.name, minid=f"{now_seconds * 1000 - OLD_MILLISECONDS}-0", approximate=False)
        return len(claimed)


class Streams(NamedTuple):
    """Both of them, as one process sees them."""

    prompt: Stream
    backlog: Stream

    @classmethod
    def of(cls, client: Client) -> "Streams":
        """Return those of a client."""
        return cls(*(Stream(client, name) for name in STREAMS))


class _InStream:
    """What one process has in the stream, and is about to add to it, by tenant."""

    def __init__(self, weight_of: WeightOf) -> None:
        self._weight_of = weight_of
        self._waiting: deque[tuple[str, int]] = deque()
        self._sent: deque[tuple[MessageId, Counter[str]]] = deque()
        self._by_tenant: Counter[str] = Counter()
        self._total = 0
        # Of the tenants that have something in it, and the sum of these.
        self._weights: dict[str, int] = {}
        self._all_weights = 0

    def add(self, tenant_id: str, number: int) -> None:
        """Count ids that are to be sent, after those before."""
        if number:
            self._waiting.append((tenant_id, number))
            self._by_tenant[tenant_id] += number
            self._total += number
            weight = self._weight_of(tenant_id)
            self._all_weights += weight - self._weights.get(tenant_id, 0)
            self._weights[tenant_id] = weight

    def sent(self, number: int, message: MessageId | None) -> None:
        """Count the first ids as sent with this message, or given up."""
        taken: Counter[str] = Counter()
        while number > 0 and self._waiting:
            tenant_id, own = self._waiting.popleft()
            if own > number:
                self._waiting.appendleft((tenant_id, own - number))
            taken[tenant_id] += min(own, number)
            number -= own
        if message is None:
            self._forget(taken)
        else:
            self._sent.append((message, taken))

    def read_until(self, first_unread: MessageId | None) -> None:
        """Forget what workers have read: all messages before this one."""
        while self._sent and (first_unread is None or self._sent[0][0] < first_unread):
            self._forget(self._sent.popleft()[1])

    def has_share(self, tenant_id: str) -> bool:
        """Whether a tenant has less in the stream than its share of what is in it."""
        weight = self._weights.get(tenant_id)
        return weight is None or self._by_tenant[tenant_id] < part(self._total, weight, self._all_weights)

    def is_only(self, tenant_id: str) -> bool:
        """Whether nothing in the stream is of another tenant, as far as this process knows."""
        return len(self._by_tenant) == (tenant_id in self._by_tenant)

    def _forget(self, taken: Counter[str]) -> None:
        self._by_tenant.subtract(taken)
        self._total -= taken.total()
        for tenant_id in taken:
            if not self._by_tenant[tenant_id]:
                del self._by_tenant[tenant_id]
                self._all_weights -= self._weights.pop(tenant_id)


class Ringer:
    """Rings for committed deliveries in the background; never raises and never makes its caller wait.

    Rows whose bell fails are made due at once, so that the dispatcher rings for them.
    """

    def __init__(self, stream: Stream, pool: postgres.Pool, heard: Signals, weight_of: WeightOf = same_weight) -> None:
        self._stream = stream
        self._pool = pool
        self._signals = heard
        self._waiting: list[Rung] = []
        self._in_stream = _InStream(weight_of)
        self._wake = asyncio.Event()
        self._reachable = True

    @property
    def open(self) -> bool:
        """Whether a row inserted now will be rung at once. If not, the dispatcher's turn comes."""
        return self._can_add and self._stream.is_below(NEW_MARK)

    def open_to(self, tenant_id: str) -> bool:
        """Whether a row of this tenant will be: over a stream that is full it may have its share."""
        if not self._can_add or self._stream.is_below(NEW_MARK):
            return self._can_add
        if self._in_stream.is_only(tenant_id):
            return self._stream.is_below(LONE_MARK)
        return self._in_stream.has_share(tenant_id)

    @property
    def _can_add(self) -> bool:
        return self._reachable and self._stream.length < DUE_MARK.messages and len(self._waiting) < MAX_WAITING_IDS

    @property
    def waiting(self) -> int:
        """Deliveries whose bells are not sent yet."""
        return len(self._waiting)

    @property
    def last_sent(self) -> MessageId | None:
        """The message that was sent last."""
        return self._stream.last_added

    async def room(self) -> int:
        """Return how many deliveries there is room for in the stream, for who leaves the others to the dispatcher."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                await self._stream.measure()
        except REDIS_AWAY:
            return 0
        if not self.open:
            self._wake.set()  # so that the loop asks until it is open again
        if not self._stream.is_below(EXPANSION_MARK):
            return 0
        return max(0, (EXPANSION_MARK.messages - self._stream.length) * IDS_PER_BELL - len(self._waiting))

    def ring(self, rung: Iterable[Rung], *, tenant_id: str = "") -> None:
        """Queue the bells of rows of a tenant that are committed; those of several count as one."""
        before = len(self._waiting)
        self._waiting.extend(rung)
        self._in_stream.add(tenant_id, len(self._waiting) - before)
        self._wake.set()

    def leave(self) -> None:
        """Tell dispatchers of committed rows that are due and that nobody rings for here."""
        self._signals.wake(deliveries.DUE)

    async def run(self) -> None:
        """Run the background loop."""
        while True:
            if self.open:
                await self._wake.wait()
            elif not self._waiting:
                await self._probe()
                continue
            self._wake.clear()
            await self._drain()

    async def finish(self) -> None:
        """Ring what waits, after the loop has ended; what takes too long is due in RUNG_SECONDS all the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                await self._drain()

    async def _drain(self) -> None:
        while self._waiting:
            # They stay in the queue until they are done with: a loop that is ended in the middle of it loses none.
            rung = self._waiting[:IDS_PER_BELL]
            if await self.try_ring(rung):
                self._in_stream.sent(len(rung), self._stream.last_added)
                self._in_stream.read_until(self._stream.first_unread)
            else:
                rung = self._waiting[:]
                self._in_stream.sent(len(rung), None)
                try:
                    await deliveries.mark_due(self._pool, [delivery_id for _, delivery_id in rung])
                    self.leave()
                except Exception as error:  # noqa: BLE001 - they are due in RUNG_SECONDS all the same
                    log.warning("deliveries could not be marked due", deliveries=len(rung), error=repr(error))
            del self._waiting[: len(rung)]

    async def try_ring(self, rung: Sequence[Rung]) -> bool:
        """Send one bell; whether it was sent within the timeout."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                await self._stream.add(bell(rung))
        except Exception as error:  # noqa: BLE001 - whatever it is, the dispatcher makes up for it
            if self._reachable:
                log.warning("workers cannot be notified; the dispatcher takes over", error=repr(error))
            self._reachable = False
            DOORBELLS_RUNG.labels("failed").inc()
            return False
        self._reachable = True
        DOORBELLS_RUNG.labels("rung").inc()
        DELIVERIES_RUNG.inc(len(rung))
        return True

    async def _probe(self) -> None:
        """Ask whether Redis is back, or the stream drained."""
        await asyncio.sleep(PROBE_SECONDS)
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                await self._stream.measure()
        except REDIS_AWAY:
            self._reachable = False
            return
        self._in_stream.read_until(self._stream.first_unread)
        if not self._reachable:
            log.info("workers can be notified again")
        self._reachable = True


@contextlib.asynccontextmanager
async def ringer(
    process: Process, settings: RedisSettings, pool: postgres.Pool, name: str = PROMPT
) -> AsyncIterator[Ringer]:
    """Yield a ringer of a stream with its loop running; at the end it sends what waits."""
    async with signals.of_process(process, settings) as heard, weights.of_process(process, pool) as known:
        created = Ringer(Stream(heard.client, name), pool, heard, known.of)
        loop = process.spawn("ringer" if name == PROMPT else "backlog_ringer", created.run())
        try:
            yield created
        finally:
            await process.cancel(loop)
            await created.finish()
