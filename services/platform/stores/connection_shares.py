"""Shares of a pool's connections: what the calls of tenants may use of them, and who is next.

A pool gives its connections to whoever asks first, and some hold one for long: they wait for a row that another call
has locked, or read much. With a few such calls one tenant would have all of them, and everybody's commits would wait.
"""

import asyncio
import contextlib
import contextvars
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator

# On whose behalf connections are taken: a tenant, or a kind of call. None: the process's own work, without a limit.
OWNER: contextvars.ContextVar[str | None] = contextvars.ContextVar("connection_owner", default=None)


class ConnectionShares:
    """Half of a pool's connections, shared by owners; the others are for the process's own work.

    An owner may have as many as are free: alone it gets half of them, and each of n that want all gets one part of
    n + 1. So there is always one for an owner that has none. Those that wait take turns.
    """

    def __init__(self, connections: int) -> None:
        self._free = max(1, connections // 2)
        self._taken: Counter[str] = Counter()
        # The owner whose turn it is first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a place for a connection of the current owner, if there is one and it does not hold one here already."""
        owner = OWNER.get()
        if owner is None:
            yield
            return
        await self._take(owner)
        # Whoever holds a place and asks for another one must not wait for itself.
        token = OWNER.set(None)
        try:
            yield
        finally:
            OWNER.reset(token)
            self._give_back(owner)

    async def _take(self, owner: str) -> None:
        if owner not in self._waiting and self._may_take(owner):
            self._count(owner, 1)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given one in the same moment
                self._give_back(owner)
            raise
        finally:
            self._leave(owner, turn)

    def _give_back(self, owner: str) -> None:
        self._count(owner, -1)
        for waiting in tuple(self._waiting):
            # Those that are done leave as soon as they run.
            turn = next((turn for turn in self._waiting[waiting] if not turn.done()), None)
            if turn is not None and self._may_take(waiting):
                self._count(waiting, 1)
                self._waiting.move_to_end(waiting)
                turn.set_result(None)

    def _may_take(self, owner: str) -> bool:
        return self._free > self._taken[owner]

    def _count(self, owner: str, number: int) -> None:
        self._free -= number
        self._taken[owner] += number
        if not self._taken[owner]:
            del self._taken[owner]

    def _leave(self, owner: str, turn: "asyncio.Future[None]") -> None:
        self._waiting[owner].remove(turn)
        if not self._waiting[owner]:
            del self._waiting[owner]
