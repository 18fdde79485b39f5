"""A clock that is compared with another one, and the ids that are made by it.

Postgres' clock counts: ingest compares its own with it, and the gateway its own with ingest's. A machine whose clock is
off goes on to make ids that are taken.
"""

import time
from uuid import UUID

import structlog

from services.platform import ids

log = structlog.get_logger(__name__)

# What is taken for the way of the answer; ids are taken within ids.MAX_CLOCK_DIFFERENCE_SECONDS.
IGNORED_SECONDS = 30.0


class ClockOff(Exception):
    """The machine's clock is off; the message says by how much."""


class Clock:
    """The machine's clock, and what is known of its difference from the one that counts."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        # Seconds that this clock is behind; 0 for what is too little to correct.
        self._behind_seconds = 0.0

    def now(self) -> float:
        """Return the Unix time, corrected."""
        return time.time() + self._behind_seconds

    def new_id(self) -> UUID:
        """Return a new UUIDv7 of this time."""
        return ids.shifted(ids.new(), self._behind_seconds) if self._behind_seconds else ids.new()

    def compare(self, theirs: float) -> None:
        """Take down what time the other clock has now."""
        behind = theirs - time.time()
        if abs(behind) < IGNORED_SECONDS:
            behind = 0.0
        if bool(behind) != bool(self._behind_seconds):
            if behind:
                log.error("this machine's clock is wrong", behind_seconds=round(behind), compared_with=self._reference)
            else:
                log.info("this machine's clock is correct again", compared_with=self._reference)
        self._behind_seconds = behind

    async def check(self) -> None:
        """Raise ClockOff while the clock is off; an optional readiness check."""
        if self._behind_seconds:
            how = "behind" if self._behind_seconds > 0 else "ahead of"
            message = f"this machine's clock is {abs(self._behind_seconds):.0f} s {how} that of {self._reference}"
            raise ClockOff(message)


# How much longer large payloads may take: deadlines grow with their size.


# Covered by the deadlines as they are set.
FREE_BYTES = 1 << 20
# From process to process, to and from Postgres, and to receivers.
BYTES_PER_SECOND = 4 << 20
# From clients, whose lines are slower.
UPLOAD_BYTES_PER_SECOND = 1 << 20


def extra_seconds(size_bytes: int) -> float:
    """Return what a payload of this size is given beyond a deadline; 0 up to 1 MiB."""
    return max(0, size_bytes - FREE_BYTES) / BYTES_PER_SECOND


def upload_seconds(received_bytes: int) -> float:
    """Return what a client that has sent so much is given beyond the deadline of a small request."""
    return received_bytes / UPLOAD_BYTES_PER_SECOND
