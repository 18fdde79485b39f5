"""Consumers that wait for something to pull.

All of a process share one look at Postgres, when somebody signals that something is due, and each second: without Redis
nobody hears signals. Of several that wait for the same subscription the first goes, and has the next one go if there is
more.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from uuid import UUID

from services.delivery.destinations.pull import metrics
from services.delivery.destinations.pull.store import PullStore
from services.domain.deliveries import DUE
from services.platform import errors
from services.platform.process import background
from services.platform.stores.signals import Signals

# Of one subscription that pull at once, at one process.
MAX_PULLERS = 64
LOOK_SECONDS = 1.0
# After a look follows a rest of so many times what it took, and of so long at least, whatever is signaled.
REST, MIN_REST_SECONDS = 9, 0.02


class Waiting:
    """The consumers of a process that pull, by subscription."""

    def __init__(self, store: PullStore, heard: Signals) -> None:
        self._store = store
        self._alarm = heard.alarm(DUE)
        self._pulling: Counter[UUID] = Counter()
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}
        self._somebody = asyncio.Event()
        self._ending = False

    @contextlib.contextmanager
    def place(self, subscription_id: UUID) -> Iterator[None]:
        """Count a consumer that pulls; TenantOverloaded if there are too many."""
        if self._pulling[subscription_id] >= MAX_PULLERS:
            message = f"{MAX_PULLERS} consumers are pulling from this subscription already; pull more at once instead"
            raise errors.TenantOverloaded(message)
        self._pulling[subscription_id] += 1
        metrics.PULLERS.inc()
        try:
            yield
        finally:
            metrics.PULLERS.dec()
            self._pulling[subscription_id] -= 1
            if not self._pulling[subscription_id]:
                del self._pulling[subscription_id]

    async def wait(self, subscription_id: UUID, seconds: float) -> bool:
        """Wait until there may be something to pull; return False if that takes longer, or the process stops."""
        if self._ending or seconds <= 0:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(subscription_id, deque()).append(turn)
        self._somebody.set()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was its turn: it is the next one's
                self.wake(subscription_id)
            raise
        finally:
            self._leave(subscription_id, turn)
        return not self._ending

    def wake(self, subscription_id: UUID) -> None:
        """Have the first that waits for a subscription look: there may be more."""
        for turn in self._waiting.get(subscription_id, ()):
            if not turn.done():
                turn.set_result(None)
                return

    def end(self) -> None:
        """Let those that wait go, for the process is to stop."""
        self._ending = True
        for turns in self._waiting.values():
            for turn in turns:
                if not turn.done():
                    turn.set_result(None)

    async def run(self) -> None:
        """Look for what consumers wait for until cancelled."""

        async def step() -> float:
            await self._somebody.wait()
            began = time.monotonic()
            for subscription_id in await self._store.find_ready(tuple(self._waiting)):
                self.wake(subscription_id)
            rest_seconds = max(MIN_REST_SECONDS, REST * (time.monotonic() - began))
            await asyncio.sleep(rest_seconds)
            return max(0.0, LOOK_SECONDS - rest_seconds)

        await background.repeat(step, interval_seconds=LOOK_SECONDS, quiet=True, wake=self._alarm)

    def _leave(self, subscription_id: UUID, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting[subscription_id]
        turns.remove(turn)
        if not turns:
            del self._waiting[subscription_id]
        if not self._waiting:
            self._somebody.clear()
