"""Outcomes in Postgres: what attempts make of deliveries, also those whose claim was lost meanwhile."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from services.delivery.worker.claims import Attempt, Outcome
from services.domain.states import AttemptOutcome, DeliveryStatus
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.worker")
# Each needs somebody who retries the same delivery by hand in the same moment.
LATE_TRIES = 5
# What is recorded of a claim whose lease ended: a late outcome takes its place.
_ENDED_BY_LEASE = frozenset({AttemptOutcome.INTERRUPTED, AttemptOutcome.LEASE_EXPIRED})


class OutcomeStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self.pool = pool

    async def record(self, outcomes: Sequence[Outcome]) -> dict[UUID, DeliveryStatus]:
        """Record outcomes with their attempts, and return the new states of the deliveries they changed.

        A claim that was lost changes nothing, except that a success still ends its delivery. Recording the
        same outcome twice is the same as once.
        """
        changed = await self.record_held(self.pool, outcomes)
        late = [outcome for outcome in outcomes if outcome.attempts and outcome.claim.id not in changed]
        if late:
            changed |= dict.fromkeys(await self.record_late(late), DeliveryStatus.DELIVERED)
        return changed

    async def record_held(
        self, connection: postgres.Pool | postgres.Connection, outcomes: Sequence[Outcome]
    ) -> dict[UUID, DeliveryStatus]:
        """Record those outcomes whose claim is still held, and return the new states of their deliveries."""
        outcomes = sorted(outcomes, key=_delivery_id)
        delivery_ids = [outcome.claim.id for outcome in outcomes]
        attempts = [
            (outcome.claim, request, attempt, attempt is outcome.attempts[-1])
            for outcome in outcomes
            for request, attempt in enumerate(outcome.attempts, 1)
        ]
        rows = await connection.fetch(
            SQL["record"],
            delivery_ids,
            [outcome.claim.token for outcome in outcomes],
            [outcome.status for outcome in outcomes],
            [outcome.delay_seconds for outcome in outcomes],
            [outcome.failures for outcome in outcomes],
            [outcome.reason for outcome in outcomes],
            [len(outcome.attempts) for outcome in outcomes],
            [claim.id for claim, _, _, _ in attempts],
            [request for _, request, _, _ in attempts],
            [claim.subscription_id for claim, _, _, _ in attempts],
            [claim.tenant_id for claim, _, _, _ in attempts],
            [attempt.started_at for _, _, attempt, _ in attempts],
            [attempt.duration_ms for _, _, attempt, _ in attempts],
            [attempt.status_code for _, _, attempt, _ in attempts],
            [attempt.outcome for _, _, attempt, _ in attempts],
            [attempt.error_message for _, _, attempt, _ in attempts],
            [attempt.response_body for _, _, attempt, _ in attempts],
            [is_last for _, _, _, is_last in attempts],
            delivery_ids[0],
            delivery_ids[-1],
            [claim.event_type for claim, _, _, _ in attempts],
            [attempt.details for _, _, attempt, _ in attempts],
        )
        return {row["id"]: DeliveryStatus(row["status"]) for row in rows}

    async def record_late(self, outcomes: Sequence[Outcome]) -> list[UUID]:
        """Record attempts of claims that were lost, and return the deliveries that a success among them ends.

        An attempt is known by its claim and the request of it, so a late one takes no other's place: it is new, it is
        the true outcome of one that was taken for interrupted, or it was recorded before and changes nothing.
        """
        for _ in range(LATE_TRIES - 1):
            with contextlib.suppress(_QueuedAgain):
                return await self._try_record_late(outcomes)
        return await self._try_record_late(outcomes)

    async def _try_record_late(self, outcomes: Sequence[Outcome]) -> list[UUID]:
        delivery_ids = [outcome.claim.id for outcome in outcomes]
        bounds = min(delivery_ids), max(delivery_ids)
        tokens = list({outcome.claim.token for outcome in outcomes})
        async with self.pool.acquire() as connection, connection.transaction():
            queued = {row["id"]: row["attempt_count"] for row in await connection.fetch(SQL["lock_late"], delivery_ids)}
            others = [delivery_id for delivery_id in delivery_ids if delivery_id not in queued]
            ended: dict[UUID, int] = {}
            for row in await connection.fetch(SQL["lock_late_ended"], others, *bounds) if others else ():
                if row["queued_again"]:
                    raise _QueuedAgain
                ended[row["id"]] = row["attempt_count"]
            known = {
                (row["delivery_id"], row["claim_token"], row["request"]): row
                for row in await connection.fetch(SQL["select_attempts_of_claims"], delivery_ids, *bounds, tokens)
            }
            rows, settled = _late(outcomes, queued, ended, known)
            if rows:
                await connection.execute(SQL["record_late"], *map(list, zip(*rows, strict=True)))
                await connection.execute(SQL["settle_late"], *map(list, zip(*settled, strict=True)), *bounds)
        return [each.id for each in settled if each.delivered]


class _Settled(NamedTuple):
    """What late attempts make of a delivery, in the order of the parameters of settle_late."""

    id: UUID
    new_attempts: int
    delivered: bool
    # Whether one of them is the delivery's last attempt, and what that got.
    is_last: bool
    status_code: int | None
    error_kind: str | None


class _QueuedAgain(Exception):
    """A delivery was retried by hand between the two locks: the queue comes first, so both are taken again."""


def _late(
    outcomes: Sequence[Outcome],
    queued: Mapping[UUID, int],
    ended: Mapping[UUID, int],
    known: Mapping[tuple[UUID, UUID, int], Any],
) -> tuple[list[tuple[Any, ...]], list[_Settled]]:
    """Return the rows of late attempts to write, and what they make of each delivery.

    `queued` and `ended` are the attempts so far of deliveries that are unfinished, and of those that are not.
    """
    rows: list[tuple[Any, ...]] = []
    settled: list[_Settled] = []
    for outcome in outcomes:
        claim = outcome.claim
        before_count = queued.get(claim.id, ended.get(claim.id))
        if before_count is None:  # retention dropped its day
            continue
        count = before_count
        written: dict[int, Attempt] = {}
        for request, attempt in enumerate(outcome.attempts, 1):
            before = known.get((claim.id, claim.token, request))
            if before is not None and before["outcome"] not in _ENDED_BY_LEASE:
                continue
            if before is None:
                count += 1
            number = count if before is None else before["number"]
            delivers = _delivers(attempt) and claim.id in queued
            written[number] = attempt
            rows.append(
                (
                    claim.id,
                    claim.token,
                    request,
                    number,
                    claim.subscription_id,
                    claim.tenant_id,
                    attempt.started_at,
                    attempt.duration_ms,
                    attempt.status_code,
                    attempt.outcome,
                    attempt.error_message,
                    attempt.response_body,
                    delivers or (before is not None and before["final"]),
                    claim.event_type,
                    attempt.details,
                    claim.event_id,
                )
            )
        if written:
            last = written.get(count)
            settled.append(
                _Settled(
                    id=claim.id,
                    new_attempts=count - before_count,
                    delivered=claim.id in queued and any(map(_delivers, written.values())),
                    is_last=last is not None,
                    status_code=None if last is None else last.status_code,
                    error_kind=None if last is None or _delivers(last) else last.outcome,
                )
            )
    return rows, settled


def _delivers(attempt: Attempt) -> bool:
    return attempt.outcome == AttemptOutcome.SUCCESS


def _delivery_id(outcome: Outcome) -> UUID:
    return outcome.claim.id
