"""What keeps a process within bounds: a cache of so many entries, and a bucket of tokens that fills at a rate."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """At most `size` values, each for `ttl_seconds` from its put(); one too many drives out the oldest.

    With `keep_used` a get() makes a value the newest, so that the one that leaves is the least recently used. With
    `weigh` all values together weigh at most `max_weight`, but the newest one stays whatever it weighs.
    """

    def __init__(
        self,
        size: int,
        *,
        ttl_seconds: float = math.inf,
        keep_used: bool = False,
        weigh: Callable[[Value], int] = lambda _: 0,
        max_weight: float = math.inf,
    ) -> None:
        self._size = size
        self._ttl_seconds = ttl_seconds
        self._keep_used = keep_used
        self._weigh = weigh
        self._max_weight = max_weight
        self._weight = 0
        # Oldest first: the value, when it ends on time.monotonic(), and what it weighs.
        self._entries: OrderedDict[Key, tuple[Value, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return self.get(key) is not None

    def get(self, key: Key) -> Value | None:
        """Return the value; None where there is none, or where it has ended."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, end_at, _ = entry
        if end_at is not math.inf and time.monotonic() >= end_at:
            self.discard(key)
            return None
        if self._keep_used:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, in place of the one before."""
        end_at = math.inf if self._ttl_seconds is math.inf else time.monotonic() + self._ttl_seconds
        self.discard(key)
        weight = self._weigh(value)
        self._entries[key] = (value, end_at, weight)
        self._weight += weight
        while len(self._entries) > self._size or (self._weight > self._max_weight and len(self._entries) > 1):
            _, (_, _, lost) = self._entries.popitem(last=False)
            self._weight -= lost

    def discard(self, key: Key) -> None:
        """Forget a value, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry[2]

    def clear(self) -> None:
        """Forget all values."""
        self._entries.clear()
        self._weight = 0


def _now() -> float:
    return time.monotonic()


@dataclass(slots=True)
class TokenBucket:
    """Tokens, which may be taken out. The rate, and how many there is room for, may change between two looks."""

    tokens: float
    filled_at: float = field(default_factory=_now)

    def fill(self, *, per_second: float, most: float) -> None:
        """Add what the rate allows since the last time."""
        now = time.monotonic()
        self.tokens, self.filled_at = min(most, self.tokens + (now - self.filled_at) * per_second), now

    def take(self, wanted: int) -> int:
        """Take up to so many whole tokens out, and return how many; a negative number gives tokens back."""
        taken = min(wanted, int(self.tokens))
        self.tokens -= taken
        return taken

    def seconds_to_next(self, per_second: float) -> float:
        """Return how long it takes until there is a token; 0 where there is one."""
        return (1 - min(1.0, self.tokens)) / per_second


# Requests a second that are refused at once, and how many of them may come together.
REFUSALS_PER_SECOND = 100.0
REFUSALS_AT_ONCE = 500.0
# Others wait so long for their refusal, as long as not more than this many do.
REFUSAL_SECONDS = 10.0
MAX_WAITING_REFUSALS = 4096


class Refusals:
    """Slows down refusals when there are very many.

    A refusal costs the process a fraction of a millisecond. A caller without a key, who sends a request as soon as
    another was refused, would take all of its time. A connection has a limited number of requests in progress, so such
    a caller has to wait.
    """

    def __init__(self) -> None:
        self._bucket = TokenBucket(REFUSALS_AT_ONCE)
        self._waiting = 0

    async def pause(self) -> None:
        """Wait before a request is refused, if too many are."""
        self._bucket.fill(per_second=REFUSALS_PER_SECOND, most=REFUSALS_AT_ONCE)
        if self._bucket.take(1) or self._waiting >= MAX_WAITING_REFUSALS:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(REFUSAL_SECONDS)
        finally:
            self._waiting -= 1
