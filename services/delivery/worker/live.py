"""Tells those who watch what this worker records: in batches, a bounded number, and nothing while nobody watches."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from services.delivery.worker.claims import Outcome
from services.domain.live import ENTRY_OUTCOMES, FIELD, MAX_ENTRIES, STREAM, Batch, Told
from services.domain.states import AttemptOutcome
from services.platform.process import background
from services.platform.stores.redis import Client

# What is recorded within this time is told together.
PACE_SECONDS = 0.2
# Between looks whether somebody watches, while something is recorded.
LOOK_SECONDS = 1.0
# That are kept for a look, which comes once in that time.
MAX_KEPT = 20
# That wait to be told; further ones are counted.
MAX_WAITING = 1_000


class Live:
    """What is recorded, for those who watch."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Whether somebody watches, as far as this is known.
        self._open = False
        self._noted = asyncio.Event()
        self._waiting: deque[Told[UUID]] = deque()
        self._dropped: Counter[str] = Counter()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Have these told, if somebody watches; otherwise that costs a flag for all of them.

        The first ones since the last look are kept for the next: others may be long in coming.
        """
        first = not self._noted.is_set()
        self._noted.set()
        now = time.time()
        if not self._open:
            if first:
                self._waiting.extend(_told(outcome, now) for outcome in outcomes[:MAX_KEPT])
            return
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extend(_told(outcome, now) for outcome in outcomes[:room])
        self._dropped.update(outcome.claim.tenant_id for outcome in outcomes[room:])

    async def run(self) -> None:
        """Tell until cancelled."""
        await background.repeat(self._step, interval_seconds=LOOK_SECONDS, quiet=True, on_error=self._close)

    async def _step(self) -> float:
        await self._noted.wait()
        self._noted.clear()
        if not self._open:
            self._open = bool(await self._client.exists(STREAM))
            if not self._open:
                self._close()
                return LOOK_SECONDS
        while self._waiting:
            told = [self._waiting.popleft() for _ in range(min(ENTRY_OUTCOMES, len(self._waiting)))]
            dropped, self._dropped = dict(self._dropped), Counter()
            entry: dict[Any, Any] = {FIELD: msgspec.msgpack.encode(Batch(told, dropped))}
            # Nothing is added to a stream that is not there.
            if await self._client.xadd(STREAM, entry, nomkstream=True, maxlen=MAX_ENTRIES) is None:
                self._close()
                return LOOK_SECONDS
        return PACE_SECONDS

    def _close(self) -> None:
        self._open = False
        self._waiting.clear()
        self._dropped.clear()


def _told(outcome: Outcome, now: float) -> Told[UUID]:
    claim, last = outcome.claim, outcome.attempts[-1] if outcome.attempts else None
    return Told(
        tenant_id=claim.tenant_id,
        delivery_id=claim.id,
        event_id=claim.event_id,
        subscription_id=claim.subscription_id,
        event_type=claim.event_type or "",
        status=outcome.status,
        attempt_count=claim.number - 1 + len(outcome.attempts),
        outcome=last.outcome if last and last.outcome != AttemptOutcome.SUCCESS else "",
        status_code=last.status_code if last else None,
        duration_ms=last.duration_ms if last else None,
        recorded_at=now,
    )
