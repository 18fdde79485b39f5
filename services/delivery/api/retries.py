"""Retries by hand, in batches: those of one caller that come within moments of each other share a transaction.

A single retry costs a transaction of nine round trips; another one in the same transaction adds a few rows. A caller
with many retries therefore takes at most one transaction per PACE_SECONDS, one bell for up to 64, and one connection.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from services.delivery.api.store import DeliveryStore, Retried
from services.domain.doorbell import IDS_PER_BELL, Ringer
from services.domain.gates import Gates
from services.platform import errors
from services.platform.auth import identity
from services.platform.process.batching import Batchers, Bounds
from services.platform.process.shares import OWNER
from services.platform.stores import postgres

# The least time between batches of a caller that are not full: what a lone retry after another waits at most.
PACE_SECONDS = 0.025
# Deliveries of a caller that may wait; further ones are refused.
MAX_WAITING = 2_000
MAX_DELIVERIES = 1_000
# Of the attempts in the results of a batch, with what each costs besides its response. Who names deliveries with many
# attempts, or one again and again, would otherwise have results that no process can hold.
RESULTS_BYTES = 16 << 20
ATTEMPT_BYTES = 512

Result = Retried | errors.WebhookError


class _Caller(NamedTuple):
    """On whose behalf a batch is retried."""

    # Whose connections it takes a share of.
    owner: str | None
    tenant_id: str
    key_id: str


class Retries:
    """Retries deliveries, then rings for them."""

    def __init__(self, store: DeliveryStore, ringer: Ringer, gates: Gates) -> None:
        self._store = store
        self._ringer = ringer
        self._gates = gates
        bounds = Bounds(batch_items=IDS_PER_BELL, waiting_items=MAX_WAITING, pace_seconds=PACE_SECONDS)
        self._batches: Batchers[_Caller, Sequence[UUID], list[Result]] = Batchers("retries", self._flush, bounds)

    async def retry(self, tenant_id: str, delivery_ids: Sequence[UUID]) -> list[Result]:
        """Make deliveries pending for the current caller; return for each what it is now, or why it is not retried.

        TenantOverloaded if too many of the caller's wait already.
        """
        caller = _Caller(OWNER.get(), tenant_id, identity.CALLER.get().key_id)
        return await self._batches.submit(caller, delivery_ids, items=len(delivery_ids))

    async def _flush(self, caller: _Caller, batch: list[Sequence[UUID]]) -> list[list[Result]]:
        OWNER.set(caller.owner)  # a batcher has its own context
        left = [list(delivery_ids) for delivery_ids in batch]
        results: list[list[Result]] = [[] for _ in batch]
        room = RESULTS_BYTES
        while any(left):
            # A repeated id goes into a later transaction, where it finds what the first made of it.
            places: dict[UUID, int] = {}
            for place, delivery_ids in enumerate(left):
                while delivery_ids and delivery_ids[0] not in places and len(places) < IDS_PER_BELL:
                    places[delivery_ids.pop(0)] = place
            for place, result in zip(places.values(), await self._retry(caller, list(places)), strict=True):
                kept = _within(room, result)
                room -= _size(kept)
                results[place].append(kept)
        return results

    async def _retry(self, caller: _Caller, delivery_ids: Sequence[UUID]) -> list[Result]:
        made = await postgres.repeat_rolled_back(
            functools.partial(
                self._store.retry,
                caller.tenant_id,
                delivery_ids,
                actor=caller.key_id,
                may_ring=lambda to: self._ringer.open and self._gates.is_open(to),
            )
        )
        if rung := [one.rung for one in made if isinstance(one, Retried) and one.rung]:
            self._ringer.ring(rung)
        if any(isinstance(one, Retried) and not one.rung for one in made):
            self._ringer.leave()
        return made


def _size(result: Result) -> int:
    """Return about how many bytes the attempts of a result take."""
    if isinstance(result, errors.WebhookError):
        return 0
    attempts = result.delivery.attempts
    texts = sum(len(attempt.response_body or "") + len(attempt.details or "") for attempt in attempts)
    return texts + ATTEMPT_BYTES * len(attempts)


def _within(room: int, result: Result) -> Result:
    """Return a result without its attempts if they take more than there is room for."""
    if isinstance(result, errors.WebhookError) or _size(result) <= room:
        return result
    return dataclasses.replace(result, delivery=dataclasses.replace(result.delivery, attempts=()))
