"""Log lines about endpoints: one when it begins to fail, one when it is well again, one when it is disabled.

An outage of many endpoints writes a few lines and then a count of the rest, at most once in a window.
"""

import time
from collections import Counter
from datetime import datetime
from uuid import UUID

import structlog

from services.domain.activity import ENDPOINTS
from services.domain.egress import targets

log = structlog.get_logger(ENDPOINTS)

WINDOW_SECONDS = 10.0
LINES_PER_WINDOW = 20


class EndpointLog:
    """The lines of one worker."""

    def __init__(self) -> None:
        self._window_ends = 0.0
        self._left = 0
        self._more: Counter[str] = Counter()

    def failing(
        self, subscription_id: UUID, target_url: str, *, reason: str, failures: int, next_probe: datetime | None
    ) -> None:
        """Say that an endpoint's breaker opened."""
        if self._may("failing"):
            log.warning(
                "an endpoint began to fail; its deliveries wait",
                subscription_id=str(subscription_id),
                host=targets.host_of(target_url),
                reason=reason,
                failures=failures,
                next_probe=next_probe and next_probe.isoformat(timespec="seconds"),
            )

    def recovered(self, subscription_id: UUID, target_url: str) -> None:
        """Say that its breaker closed."""
        if self._may("recovered"):
            log.info(
                "an endpoint is well again", subscription_id=str(subscription_id), host=targets.host_of(target_url)
            )

    def disabled(self, subscription_id: UUID, target_url: str, *, reason: str, last_error: str) -> None:
        """Say that the service disabled its subscription."""
        if self._may("disabled"):
            log.warning(
                "a subscription was disabled",
                subscription_id=str(subscription_id),
                host=targets.host_of(target_url),
                reason=reason,
                last_error=last_error,
            )

    def summarize(self) -> None:
        """Say how many more there were, when the window is over; to be called every second or so."""
        if self._more and time.monotonic() >= self._window_ends:
            log.warning("more endpoints changed than are listed", **self._more)
            self._more.clear()

    def _may(self, kind: str) -> bool:
        """Return whether there is room for a line; without it, count it."""
        now = time.monotonic()
        if now >= self._window_ends:
            self.summarize()
            self._window_ends, self._left = now + WINDOW_SECONDS, LINES_PER_WINDOW
        if not self._left:
            self._more[kind] += 1
            return False
        self._left -= 1
        return True
