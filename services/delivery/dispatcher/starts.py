"""Where the due deliveries of a subscription begin, so that a turn does not read what ended before them again.

Postgres keeps index entries of deleted rows for as long as anybody may see them, while a backup runs for hours. A turn
that began at the first entry of a subscription would pass all of them.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.delivery.dispatcher.store import Endpoint

# A start that moved away from what Postgres says of it is taken from there again after so long.
FORGET_SECONDS = 60.0


@dataclass(slots=True)
class _Start:
    at: datetime
    # The turn that it belongs to. Who gives a subscription another turn says in `due_from` where to begin.
    turn_at: datetime
    found_at: float


class Starts:
    """Those of the subscriptions that have turns, as far as this process has come with each."""

    def __init__(self) -> None:
        self._starts: dict[UUID, _Start] = {}
        self._swept_at = time.monotonic()

    def of(self, endpoint: Endpoint) -> datetime:
        """Return where to begin with a subscription whose turn has come."""
        found, now = self._starts.get(endpoint.subscription_id), time.monotonic()
        if found is None or found.turn_at != endpoint.turn_at or now - found.found_at > FORGET_SECONDS:
            found = _Start(endpoint.due_from, endpoint.turn_at, now)
            self._starts[endpoint.subscription_id] = found
        return found.at

    def advance(self, subscription_id: UUID, to: datetime) -> None:
        """Begin there next time: everything before is in hand."""
        if found := self._starts.get(subscription_id):
            found.at = max(found.at, to)

    def lower(self, subscription_id: UUID, to: datetime) -> None:
        """Begin there at the latest: something was found that is due since then."""
        if found := self._starts.get(subscription_id):
            found.at = min(found.at, to)

    def sweep(self) -> None:
        """Forget those that had no turn for a while."""
        now = time.monotonic()
        if now - self._swept_at > FORGET_SECONDS:
            self._swept_at = now
            self._starts = {
                name: found for name, found in self._starts.items() if now - found.found_at < FORGET_SECONDS
            }
