"""Hears of deliveries: by doorbells from taskiq, or, while Redis is away, by looking in Postgres."""

import asyncio
import socket
import time

import structlog
from taskiq.acks import AcknowledgeType
from taskiq.receiver import Receiver

from services.delivery.dispatcher.turns import Turns
from services.delivery.worker.broker import Broker
from services.delivery.worker.scheduler import Scheduler
from services.domain import doorbell
from services.platform import ids
from services.platform.process import background
from services.platform.process.background import QUIET_SECONDS
from services.platform.stores.redis import Client

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 0.5
# Messages whose ids wait for room in the scheduler; the others stay in the stream.
MESSAGES_AT_ONCE = 2
LOOK_BUSY_SECONDS = 0.02
LOOK_IDLE_SECONDS = 0.25
# Without a bell for so long, a worker looks once in Postgres.
SILENCE_SECONDS = QUIET_SECONDS
DELIVERIES_PER_LOOK = 512


class Bells:
    """One way in for ids, whichever way they come."""

    def __init__(self, client: Client, scheduler: Scheduler, turns: Turns) -> None:
        self._client = client
        self._scheduler = scheduler
        self._turns = turns
        self._stopping = asyncio.Event()
        # The streams that are read.
        self._connected: set[str] = set()
        self._heard_at = time.monotonic()
        # Goes off when a stream can no longer be read.
        self._lost = background.Alarm()

    async def listen(self) -> None:
        """Read both streams; end after stop()."""
        async with asyncio.TaskGroup() as group:
            for name in doorbell.STREAMS:
                group.create_task(self._listen(name), name=name)

    async def _listen(self, name: str) -> None:
        """Host taskiq's receiver of a stream, and connect again whenever Redis comes back."""
        while not self._stopping.is_set():
            broker = Broker(
                self._client,
                consumer_name=f"{socket.gethostname()}-{ids.new()}",
                stream_name=name,
                pace=self._scheduler.pace,
            )
            self._register(broker)
            try:
                await broker.startup()
                if name not in self._connected:
                    self._connected.add(name)
                    if self._is_connected:
                        log.info("listening for deliveries")
                await self._receiver(broker).listen(self._stopping)
            except Exception as error:  # noqa: BLE001 - taskiq raises groups of whatever redis raised
                if self._is_connected:
                    log.warning("deliveries cannot be read from Redis; polling Postgres meanwhile", error=_first(error))
                self._connected.discard(name)
                self._lost.set()
            finally:
                await broker.shutdown()
            if not self._stopping.is_set():
                await asyncio.sleep(RECONNECT_SECONDS)

    @property
    def _is_connected(self) -> bool:
        return len(self._connected) == len(doorbell.STREAMS)

    async def look(self) -> None:
        """Look for due deliveries in Postgres while no doorbell can be heard, until cancelled.

        And now and then when none was heard: perhaps it is the dispatcher that cannot reach Redis.
        """
        await background.repeat(self._look_if_silent, interval_seconds=LOOK_IDLE_SECONDS, quiet=True, wake=self._lost)

    def stop(self) -> None:
        """Hear nothing new from now on."""
        self._stopping.set()

    def _receiver(self, broker: Broker) -> Receiver:
        return Receiver(
            broker,
            validate_params=False,
            max_async_tasks=MESSAGES_AT_ONCE if broker.stream.name == doorbell.PROMPT else 1,
            run_startup=False,
            ack_type=AcknowledgeType.WHEN_EXECUTED,
            wait_tasks_timeout=1,
        )

    def _register(self, broker: Broker) -> None:
        @broker.task(task_name=doorbell.TASK)
        async def deliver(said: doorbell.Bell) -> None:
            """Hand its ids to the scheduler and end."""
            self._heard_at = time.monotonic()
            broker.read_for(self._scheduler.room)
            backlog = broker.stream.name == doorbell.BACKLOG
            await self._scheduler.offer(doorbell.heard(said), source="doorbell", backlog=backlog)

    async def _look_if_silent(self) -> float:
        silent_seconds = time.monotonic() - self._heard_at
        if self._is_connected and silent_seconds <= SILENCE_SECONDS:
            return max(LOOK_IDLE_SECONDS, SILENCE_SECONDS - silent_seconds)
        if not self._scheduler.has_room:
            return LOOK_IDLE_SECONDS
        self._heard_at = time.monotonic()
        return LOOK_BUSY_SECONDS if await self._look_once() else LOOK_IDLE_SECONDS

    async def _look_once(self) -> int:
        # While Redis is there and only silent, dispatchers find what is due, as far as they are there.
        taken = await self._turns.look(DELIVERIES_PER_LOOK, sweeps=not self._is_connected)
        if taken.rung:
            await self._scheduler.offer(doorbell.by_subscription(taken.rung), source="postgres")
        return len(taken.rung)


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)
