"""Shares of what is limited: what each of several may have of it by their weights, and who has the next place.

What is given to whoever asks first is soon held by one alone: by a tenant whose calls wait for a row that another call
has locked, or read much. Everybody else waits for it then.
"""

import asyncio
import contextlib
import contextvars
import math
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from services.platform import errors

# On whose behalf a place is taken: a tenant, or a kind of call. None: the process's own work, without a limit.
OWNER: contextvars.ContextVar[str | None] = contextvars.ContextVar("owner", default=None)
_Name = TypeVar("_Name", bound=Hashable)
# Returns the weight of a tenant.
WeightOf: TypeAlias = Callable[[str], int]


def same_weight(_: str) -> int:
    """Return the weight of a tenant where all have the same."""
    return 1


def part(whole: float, weight: int, weights: int) -> float:
    """Return the share of one with this weight, of what those with all these weights want."""
    return whole * weight / weights


def divide(number: int, weights: Mapping[_Name, int]) -> dict[_Name, int]:
    """Divide a number by weight. The first get what cannot be divided; each gets one if there are enough."""
    shares: dict[_Name, int] = {}
    others, rest = len(weights), sum(weights.values())
    for name, weight in weights.items():
        others -= 1
        share = min(math.ceil(part(number, weight, rest)), max(1, number - others))
        shares[name] = share
        number -= share
        rest -= weight
    return shares


def has_room(taken: int, free: int) -> bool:
    """Return whether an owner that has taken so many may take another: as long as it has fewer than are free.

    Alone it gets half of all, and each of n that want all gets one part of n + 1. So there is always one for an owner
    that has none, and no share is set aside unused.
    """
    return taken < free


class Shares:
    """Places, shared by owners. Those that wait take turns."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._taken: Counter[str] = Counter()
        # The owner whose turn it is first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def taken(self, *, wait_seconds: float | None = None) -> AsyncIterator[None]:
        """Hold a place for the current owner, unless there is none or it holds one already.

        TenantOverloaded if that takes longer than `wait_seconds`.
        """
        owner = OWNER.get()
        if owner is None:
            yield
            return
        try:
            async with asyncio.timeout(wait_seconds):
                await self._take(owner)
        except TimeoutError:
            raise errors.TenantOverloaded("too many requests of this tenant are in progress; try again") from None
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
        return has_room(self._taken[owner], self._free)

    def _count(self, owner: str, number: int) -> None:
        self._free -= number
        self._taken[owner] += number
        if not self._taken[owner]:
            del self._taken[owner]

    def _leave(self, owner: str, turn: "asyncio.Future[None]") -> None:
        self._waiting[owner].remove(turn)
        if not self._waiting[owner]:
            del self._waiting[owner]


class ConcurrencyLimit:
    """Places that are shared as by Shares, for owners that are refused at once rather than made to wait."""

    def __init__(self, places: int, *, none_free: str, too_many: str) -> None:
        self._free = places
        self._taken: Counter[str] = Counter()
        # What the errors say.
        self._none_free = none_free
        self._too_many = too_many

    def has_room(self, owner: str) -> bool:
        """Return whether an owner may have a further place."""
        return has_room(self._taken.get(owner, 0), self._free)

    def check(self, owner: str) -> None:
        """Raise Overloaded if there is no place, TenantOverloaded if this owner has its share."""
        if not self.has_room(owner):
            raise errors.TenantOverloaded(self._too_many) if self._free > 0 else errors.Overloaded(self._none_free)

    @contextlib.contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Hold a place for an owner; Overloaded if there is none, TenantOverloaded if this owner has its share."""
        self.check(owner)
        with self.held(owner, 1):
            yield

    @contextlib.contextmanager
    def held(self, owner: str, places: int) -> Iterator[None]:
        """Hold places for an owner that are taken already, whether there are any or not."""
        self._free -= places
        self._taken[owner] += places
        try:
            yield
        finally:
            self._free += places
            self._taken[owner] -= places
            if not self._taken[owner]:
                del self._taken[owner]
