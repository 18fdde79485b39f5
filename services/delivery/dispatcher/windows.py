"""How many deliveries may be in the workers' hands for each subscription.

As many as there are, until a worker gives some back because they are too many for the endpoint. Then so many as the
workers kept; from there the window grows as long as it is used up and nobody complains, and what is over it waits.
What was rung or is in flight is counted in Postgres, so that several dispatchers see the same; but only while a window
is narrower than windows are, and a few times a second: a busy endpoint's are thousands.
"""

import math
import time
from uuid import UUID

MIN_WINDOW = 8
MAX_WINDOW = 8_192
# How fast a window grows that is used up.
GROWTH_PER_SECOND = 30.0
# After its breaker closed an endpoint gets so many in the first second, and twice as many in each that follows.
RECOVERY_PER_SECOND = 10.0
RECOVERY_SECONDS = 12.0
FORGET_SECONDS = 60.0
# A count is good for so long; what is rung meanwhile is added.
COUNT_SECONDS = 0.2


class Window:
    """Of one subscription."""

    __slots__ = (
        "_closed_at",
        "_counted_at",
        "_recovery_rung",
        "_short",
        "_size",
        "at",
        "endpoint_version",
        "outstanding",
    )

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.endpoint_version: int | None = None
        self._size = float(MAX_WINDOW)
        # Whether it became so narrow for want of slots.
        self._short = False
        # The closing of the breaker that `_recovery_rung` counts from, on the monotonic clock.
        self._closed_at = 0.0
        self._recovery_rung = 0
        # What was rung or in flight when it was counted, and was rung since; 0 where nobody counts.
        self.outstanding = 0
        self._counted_at = -math.inf

    @property
    def size(self) -> int:
        """How many may be rung or in flight."""
        return int(self._size)

    def must_count(self, *, full: bool, now: float) -> bool:
        """Whether it depends on what is outstanding, and that was not counted a moment ago."""
        return (full or self._size < MAX_WINDOW) and now - self._counted_at >= COUNT_SECONDS

    def count(self, outstanding: int, now: float) -> None:
        """So many are rung or in flight."""
        self.outstanding, self._counted_at = outstanding, now

    def allowance(self, outstanding: int, *, full: bool, now: float, short: bool = False) -> int:
        """How many more to ring for, when so many are rung or in flight.

        `full` says that workers gave some back, `short` that it was for want of slots.
        """
        elapsed, self.at = now - self.at, now
        if full:
            self._size = float(max(MIN_WINDOW, min(outstanding, MAX_WINDOW)))
            self._short = short
            return 0
        if outstanding <= self._size / 2:  # else it is not known whether more would be taken
            self._size = min(float(MAX_WINDOW), self._size * GROWTH_PER_SECOND ** min(1.0, elapsed))
            if self._size == MAX_WINDOW:
                self.outstanding = 0
        return max(0, int(self._size) - outstanding)

    @property
    def is_endpoints(self) -> bool:
        """Whether it is as wide as the endpoint takes, and not as the workers do or as windows are."""
        return self._size < MAX_WINDOW and not self._short

    def recovery_allowance(self, closed_seconds: float, now: float) -> int:
        """How many more to ring for, so long after the breaker closed."""
        closed_at = now - closed_seconds
        if abs(closed_at - self._closed_at) > 1:  # another closing than the last one
            self._closed_at, self._recovery_rung = closed_at, 0
        allowed = RECOVERY_PER_SECOND * (1 + (2**closed_seconds - 1) / math.log(2))
        return max(0, int(allowed) - self._recovery_rung)

    def rang(self, number: int) -> None:
        """So many were rung for."""
        self._recovery_rung += number
        if self._size < MAX_WINDOW:
            self.outstanding += number


class Windows:
    """Those that were asked for lately."""

    def __init__(self) -> None:
        self._windows: dict[UUID, Window] = {}
        self._swept_at = time.monotonic()

    def __getitem__(self, subscription_id: UUID) -> Window:
        """Return a subscription's window; create it if missing."""
        window = self._windows.get(subscription_id)
        if window is None:
            window = self._windows[subscription_id] = Window()
        return window

    def to(self, subscription_id: UUID, endpoint_version: int) -> Window:
        """Return the window of a subscription to this endpoint, a new one when it had another before."""
        window = self[subscription_id]
        if window.endpoint_version not in {None, endpoint_version}:
            window = self._windows[subscription_id] = Window()
        window.endpoint_version = endpoint_version
        return window

    def sweep(self, now: float) -> None:
        """Forget those that nobody asked for during the last minute."""
        if now - self._swept_at > FORGET_SECONDS:
            self._swept_at = now
            self._windows = {name: found for name, found in self._windows.items() if now - found.at < FORGET_SECONDS}
