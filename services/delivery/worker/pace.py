"""How much a worker takes from the backlog: as much as leaves prompt deliveries their speed.

While prompt bells come, the backlog has a rate. It falls when a prompt delivery took too long from its bell to its
claim, and grows slowly otherwise: congestion control by delay, as for background transfers in RFC 6817 (LEDBAT), with
additive increase and multiplicative decrease. So it needs no figures of the machine: where there is room for both, the
backlog soon takes all that there is. While no prompt bells come, it is not bounded.
"""

import math
import time
from collections.abc import Container
from uuid import UUID

# From a prompt bell to the claim, on a machine that is not busy: 10 ms.
MOST_SECONDS = 0.03
# Deliveries a second: when prompt bells begin to come, and however long prompt deliveries take.
FIRST_RATE, LEAST_RATE = 1_000.0, 750.0
MOST_RATE = 100_000.0
DECREASE, INCREASE = 0.8, 20.0
# Between two changes.
CHANGE_SECONDS = 0.05
# Prompt bells come as long as the last one is not longer ago.
PROMPT_SECONDS = 0.1
# A delivery that is not claimed after so long is late.
LATE_SECONDS = 0.25
# The clock of Redis is compared with ours by the message that came quickest within so long.
QUICKEST_SECONDS = 60.0


class Pace:
    """The rate of one worker."""

    def __init__(self) -> None:
        self.rate = FIRST_RATE
        self._changed_at = self._heard_at = -math.inf
        # The delivery that is timed, since when, and how long its bell was in the stream.
        self._timed: UUID | None = None
        self._timed_at = 0.0
        self._waited = 0.0
        # How far our clock is ahead of that of Redis, with the way of a message: the least since a time, and before.
        self._ahead = self._ahead_before = math.inf
        self._ahead_since = -math.inf
        # When there may be the next read of the backlog.
        self._next_at = -math.inf

    def heard(self, stream_milliseconds: int, delivery_id: UUID) -> None:
        """Note that a prompt bell was read which came into the stream at this time, by the clock of Redis."""
        now = time.monotonic()
        if not self.is_bounded:
            self.rate = min(self.rate, FIRST_RATE)
        self._heard_at = now
        ahead = now - stream_milliseconds / 1000
        if now - self._ahead_since > QUICKEST_SECONDS:
            self._ahead_before, self._ahead, self._ahead_since = self._ahead, ahead, now
        self._ahead = min(self._ahead, ahead)
        if self._timed is None:
            self._timed, self._timed_at = delivery_id, now
            self._waited = ahead - min(self._ahead, self._ahead_before)
        elif now - self._timed_at > LATE_SECONDS:  # or it was claimed by nobody
            self._learn(now, LATE_SECONDS)

    def claimed(self, delivery_id: UUID) -> None:
        """Note that a delivery was claimed."""
        if delivery_id == self._timed:
            now = time.monotonic()
            self._learn(now, self._waited + now - self._timed_at)

    def pass_over(self, delivery_ids: Container[UUID]) -> None:
        """Time none of these: they wait for their endpoint, or there is nothing to claim of them."""
        if self._timed in delivery_ids:
            self._timed = None

    def _learn(self, now: float, seconds: float) -> None:
        self._timed = None
        if now - self._changed_at >= CHANGE_SECONDS:
            self._changed_at = now
            changed = self.rate + INCREASE if seconds <= MOST_SECONDS else self.rate * DECREASE
            self.rate = max(LEAST_RATE, min(MOST_RATE, changed))

    @property
    def is_bounded(self) -> bool:
        """Whether prompt bells come."""
        return time.monotonic() - self._heard_at <= PROMPT_SECONDS

    def took(self, deliveries: int) -> None:
        """Note how many a read of the backlog brought."""
        self._next_at = time.monotonic() + deliveries / self.rate

    @property
    def rest_seconds(self) -> float:
        """How long to wait before the next read of the backlog."""
        return max(0.0, self._next_at - time.monotonic()) if self.is_bounded else 0.0
