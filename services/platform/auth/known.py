"""What keys were found to be: kept for seconds, within a bound, and asked for once at a time."""

import asyncio
import functools
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.platform import errors
from services.platform.process.bounds import BoundedCache

# A revoked key, and one that has expired, is refused everywhere within 5 s: this, and a second for the look-up.
TTL_SECONDS = 4.0
# From then on a key that is used is asked for behind its user's back, who so never waits for it.
RENEW_SECONDS = 2.0
# After a renewal that failed, until it is tried again.
RETRY_SECONDS = 0.25
# Spares the database a client that repeats itself.
REFUSED_SECONDS = 1.0
ASK_TIMEOUT_SECONDS = 1.0
# So that `ask` can end at its own deadline.
MARGIN_SECONDS = 0.1
SIZE = 10_000
# Look-ups at once of keys that are not known: made-up ones must not pile up. Renewals have their bound in SIZE.
MAX_ASKING = 256

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    # On time.monotonic(), in seconds.
    renew_at: float
    end_at: float


@dataclass(frozen=True, slots=True)
class _Refused:
    message: str
    reason: errors.ErrorReason


class Known(Generic[Key, Value]):
    """Values by key. `ask` returns one, or raises Unauthenticated for an unknown key.

    While it cannot answer, what is known goes on until it ends. All values together weigh `max_weight` at most.
    """

    def __init__(
        self,
        ask: Callable[[Key], Awaitable[Value]],
        *,
        timeout_seconds: float = ASK_TIMEOUT_SECONDS,
        weigh: Callable[[Value], int] = lambda _: 0,
        max_weight: float = math.inf,
    ) -> None:
        self._ask = ask
        self._timeout_seconds = timeout_seconds + MARGIN_SECONDS
        # Both in the order in which they were asked for, so that the oldest leave first. Apart from each other: made-up
        # keys drive no good ones out.
        self._found: BoundedCache[Key, _Entry[Value]] = BoundedCache(
            SIZE, weigh=lambda entry: weigh(entry.value), max_weight=max_weight
        )
        self._refused: BoundedCache[Key, _Refused] = BoundedCache(SIZE, ttl_seconds=REFUSED_SECONDS)
        self._asking: dict[Key, asyncio.Future[Value]] = {}
        self._places = asyncio.Semaphore(MAX_ASKING)

    def fresh(self, key: Key) -> Value | None:
        """Return the value of a key that was found within TTL_SECONDS."""
        entry = self._found.get(key)
        if entry is None:
            return None
        now = time.monotonic()
        if now >= entry.renew_at:
            if now >= entry.end_at:
                return None
            self._ask_once(key)
        return entry.value

    async def find(self, key: Key) -> Value:
        """Return the value of a key; Unauthenticated if unknown, Overloaded if too many are looked up at once."""
        value = self.fresh(key)
        if value is not None:
            return value
        refused = self._refused.get(key)
        if refused is not None:
            raise errors.Unauthenticated(refused.message, reason=refused.reason)
        # Shielded: others wait for the same answer. A key that was good before is no stranger.
        if key in self._asking or key in self._found:
            return await asyncio.shield(self._ask_once(key))
        try:
            await asyncio.wait_for(self._places.acquire(), self._timeout_seconds)
        except TimeoutError:
            raise errors.Overloaded("too many lookups are in progress; try again") from None
        asking = self._ask_once(key)
        asking.add_done_callback(lambda _: self._places.release())
        return await asyncio.shield(asking)

    def _ask_once(self, key: Key) -> "asyncio.Future[Value]":
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.ensure_future(asyncio.wait_for(self._ask(key), self._timeout_seconds))
            self._asking[key] = asking
            asking.add_done_callback(functools.partial(self._answered, key, time.monotonic()))
        return asking

    def _answered(self, key: Key, asked_at: float, asking: "asyncio.Future[Value]") -> None:
        del self._asking[key]
        if asking.cancelled():
            return
        error = asking.exception()
        if error is None:
            self._found.put(key, _Entry(asking.result(), asked_at + RENEW_SECONDS, asked_at + TTL_SECONDS))
        elif isinstance(error, errors.Unauthenticated):
            self._found.discard(key)
            self._refused.put(key, _Refused(error.message, error.reason))
        elif entry := self._found.get(key):
            # Not beyond its end, which `fresh` looks for only once it is to be renewed.
            renew_at = min(time.monotonic() + RETRY_SECONDS, entry.end_at)
            self._found.put(key, _Entry(entry.value, renew_at, entry.end_at))
