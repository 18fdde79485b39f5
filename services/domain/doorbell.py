"""Doorbells: taskiq messages on a Redis stream that carry delivery ids, by subscription, and nothing else.

A bell tells a worker to look. Losing one loses time, for the dispatcher rings again for what is due;
doubling one costs a no-op. So the stream may be emptied or lost at any moment, it holds a few seconds
of work at most, and whoever rings never waits for it.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, cast
from uuid import UUID

import redis.asyncio
import redis.exceptions
import structlog
from prometheus_client import Counter
from taskiq import AckableMessage, BrokerMessage
from taskiq.kicker import AsyncKicker
from taskiq_redis import RedisStreamBroker

from services.domain import deliveries
from services.platform.process.batching import Batcher, Bounds
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import postgres
from services.platform.stores.redis import REDIS_AWAY, pool
from services.platform.stores.redis_primary import PREFIX

log = structlog.get_logger(__name__)

STREAM = f"{PREFIX}doorbells"
GROUP = "workers"
TASK = "webhook.deliver"
IDS_PER_BELL = 64
# Who makes new rows stops ringing at the high-water mark; the dispatcher, who has the time, at the low one.
HIGH_WATER_MESSAGES = 128
LOW_WATER_MESSAGES = 64
# How long a row that was rung counts as in hand. After it the dispatcher rings again.
RUNG_SECONDS = 10
RING_TIMEOUT_SECONDS = 0.25
MAX_CONNECTIONS = 8
PROBE_SECONDS = 0.1
FINISH_SECONDS = 1.0
# More than this many ids waiting to be rung are left to the dispatcher.
MAX_WAITING_IDS = 20_000
READ_BLOCK_MILLISECONDS = 2000
# A message that nobody acknowledged for so long belongs to a worker that died.
ABANDONED_MILLISECONDS = 30_000
# Nobody will read it, or nobody needs to.
OLD_MILLISECONDS = 300_000

# Delivery ids by subscription id, all as hex: what a message says.
Bell = dict[str, list[str]]

DOORBELLS_RUNG = Counter("webhook_doorbells_rung_total", "Messages sent to the stream.", ["result"])
DELIVERIES_RUNG = Counter("webhook_deliveries_rung_total", "Delivery ids in the messages sent.")


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
    return {
        subscription_id.hex: [delivery_id.hex for delivery_id in delivery_ids]
        for subscription_id, delivery_ids in by_subscription(rung).items()
    }


def heard(said: Bell) -> dict[UUID, list[UUID]]:
    """Parse a message; ValueError, AttributeError, or TypeError if it is not one."""
    return {
        UUID(hex=subscription): [UUID(hex=delivery) for delivery in deliveries]
        for subscription, deliveries in said.items()
    }


class Broker(RedisStreamBroker):
    """taskiq's stream broker with what doorbells need: a bounded stream, batched acks, no reclaiming.

    An acked message is deleted, so the stream's length is what is unread or unacknowledged. Messages of dead
    workers are swept, not delivered again: the leases that matter are in Postgres.
    """

    def __init__(self, settings: RedisSettings, *, socket_timeout: float, consumer_name: str = "none") -> None:
        # taskiq makes its pool of a URL, which can only name a server; ours takes its place before anything connects.
        super().__init__(
            "redis://",
            queue_name=STREAM,
            consumer_group_name=GROUP,
            consumer_name=consumer_name,
            consumer_id="0",
            xread_block=READ_BLOCK_MILLISECONDS,
            xread_count=8,
        )
        self.connection_pool = pool(settings, max_connections=MAX_CONNECTIONS, timeout_seconds=socket_timeout)
        self._client = redis.asyncio.Redis(connection_pool=self.connection_pool)
        self._acks: Batcher[bytes, None] = Batcher(
            "acks", self._acknowledge, Bounds(batch_items=500, waiting_items=10_000)
        )
        self._read: deque[tuple[bytes, dict[bytes, bytes]]] = deque()
        self.length = 0

    async def kick(self, message: BrokerMessage) -> None:
        """Add a message and learn the stream's length in the same round trip."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(STREAM, {b"data": message.message})
        pipeline.xlen(STREAM)
        _, self.length = await pipeline.execute()

    async def measure(self) -> int:
        """Messages in the stream, unread or unacknowledged."""
        self.length = int(await self._client.xlen(STREAM))
        return self.length

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield messages until cancelled; raise when Redis is away."""
        while True:
            try:
                fetched = await self._client.xreadgroup(
                    GROUP, self.consumer_name, {STREAM: ">"}, count=self.count, block=self.block
                )
            except redis.exceptions.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                await self._declare_consumer_group()
                continue
            for _, messages in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", fetched or []):
                self._read.extend(messages)
            while self._read:
                message_id, fields = self._read.popleft()
                # taskiq logs and acknowledges messages that are not ours.
                yield AckableMessage(data=fields.get(b"data", b""), ack=self._ack(message_id))

    def unheard(self) -> list[UUID]:
        """Return the deliveries of messages that were read but not handed to a task: for a worker that stops."""
        found: list[UUID] = []
        for _, fields in self._read:
            with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):  # no bell of ours
                found += itertools.chain(*heard(self.formatter.loads(fields[b"data"]).args[0]).values())
        return found

    def _ack(self, message_id: bytes) -> Callable[[], Awaitable[None]]:
        async def ack() -> None:
            # An ack that is lost leaves a message for the sweeper: no reason to fail its task.
            with contextlib.suppress(*REDIS_AWAY):
                await self._acks.submit(message_id)

        return ack

    async def _acknowledge(self, message_ids: Sequence[bytes]) -> Sequence[None]:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xack(STREAM, GROUP, *message_ids)
        pipeline.xdel(STREAM, *message_ids)
        await pipeline.execute()
        return [None] * len(message_ids)

    async def sweep(self, *, abandoned_milliseconds: int = ABANDONED_MILLISECONDS) -> int:
        """Remove messages and consumer names that dead workers left; return the messages swept."""
        await self._declare_consumer_group()
        _, claimed, *_ = await self._client.xautoclaim(
            STREAM, GROUP, "sweeper", min_idle_time=abandoned_milliseconds, count=500, justid=False
        ) or (None, [])
        if claimed:
            await self._acknowledge([message_id for message_id, _ in claimed])
        for consumer in await self._client.xinfo_consumers(STREAM, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > abandoned_milliseconds:
                await self._client.xgroup_delconsumer(STREAM, GROUP, consumer["name"])
        # What is so old was rung for again many times. Among it may be messages that belong to no consumer any more:
        # read between the look above and the removal of a name.
        now_seconds, _ = await self._client.time()
        await self._client.xtrim(STREAM, minid=f"{now_seconds * 1000 - OLD_MILLISECONDS}-0", approximate=False)
        return len(claimed)

    async def shutdown(self) -> None:
        """Close the connections."""
        await super().shutdown()
        await self._client.aclose(close_connection_pool=True)


class Ringer:
    """Rings for committed deliveries in the background; never raises and never makes its caller wait.

    Rows whose bell fails are made due at once, so that the dispatcher rings for them.
    """

    def __init__(self, broker: Broker, pool: postgres.Pool) -> None:
        self._broker = broker
        self._pool = pool
        self._kicker: AsyncKicker[[Bell], None] = AsyncKicker(TASK, broker, {})
        self._waiting: list[Rung] = []
        self._wake = asyncio.Event()
        self._reachable = True

    @property
    def open(self) -> bool:
        """Whether a row inserted now will be rung at once. If not, the dispatcher's turn comes."""
        return self._reachable and self._broker.length < HIGH_WATER_MESSAGES and len(self._waiting) < MAX_WAITING_IDS

    async def room(self) -> int:
        """Return how many deliveries there is room for in the stream, for who leaves the others to the dispatcher."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                length = await self._broker.measure()
        except REDIS_AWAY:
            return 0
        return max(0, (LOW_WATER_MESSAGES - length) * IDS_PER_BELL - len(self._waiting))

    def ring(self, rung: Iterable[Rung]) -> None:
        """Queue the bells of rows that are committed."""
        self._waiting.extend(rung)
        self._wake.set()

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
            if not await self.try_ring(rung):
                rung = self._waiting[:]
                try:
                    await deliveries.mark_due(self._pool, [delivery_id for _, delivery_id in rung])
                except Exception as error:  # noqa: BLE001 - they are due in RUNG_SECONDS all the same
                    log.warning("deliveries could not be marked due", deliveries=len(rung), error=repr(error))
            del self._waiting[: len(rung)]

    async def try_ring(self, rung: Sequence[Rung]) -> bool:
        """Send one bell; whether it was sent within the timeout."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                await self._kicker.kiq(bell(rung))
        except Exception as error:  # noqa: BLE001 - taskiq wraps every failure; the dispatcher makes up for it
            if self._reachable:
                log.warning(
                    "workers cannot be notified; the dispatcher takes over", error=repr(error.__cause__ or error)
                )
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
                await self._broker.measure()
        except REDIS_AWAY:
            self._reachable = False
            return
        if not self._reachable:
            log.info("workers can be notified again")
        self._reachable = True


@contextlib.asynccontextmanager
async def ringer(process: Process, settings: RedisSettings, pool: postgres.Pool) -> AsyncIterator[Ringer]:
    """Yield a ringer with its loop running; at the end it sends what waits."""
    broker = Broker(settings, socket_timeout=RING_TIMEOUT_SECONDS)
    created = Ringer(broker, pool)
    loop = process.spawn("ringer", created.run())
    try:
        yield created
    finally:
        await process.cancel(loop)
        await created.finish()
        await broker.shutdown()
