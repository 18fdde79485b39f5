"""What processes do for jobs: a chunk of one at a time, and looks at what became of chunks.

A chunk is one transaction, which locks the job's row, does what is to be done to some hundred deliveries, and moves the
place up to which the job has looked: a process that dies in between leaves no trace, and another one does the same
chunk. So no delivery is retried twice by a job, whatever happens to its processes.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.delivery.api import search
from services.delivery.api.filters import Filter
from services.delivery.api.store import DeliveryStore
from services.delivery.jobs import erasure, missed
from services.delivery.jobs.erasure import Place
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import Job, parsed
from services.delivery.jobs.rows import job_of
from services.domain import deliveries
from services.domain.states import DeliveryReason, DeliveryStatus, JobKind, JobStatus
from services.platform import errors, ids
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Span

SQL = sql.Queries("services.delivery.jobs")

MAX_MATCHED = 10_000_000
# A chunk: about what the rate allows in this time, and at most so many deliveries. Others wait behind it in the hands
# of a worker, so it is no larger than is worth a transaction.
CHUNK_SECONDS = 0.1
CHUNK_DELIVERIES = 500
# What is called a job's current rate is that of this time, up to twice as long (plans.MIN_WINDOW_SECONDS at least).
WINDOW_SECONDS = 10.0
# Between looks at what became of a chunk.
LOOK_SECONDS = 1.0
MAX_LOOK_SECONDS = 300.0
PUT_OFF_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """A chunk of a job that was done."""

    job: Job
    done: int
    skipped: int
    gone: int
    status: JobStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    """What a chunk did: deliveries by what became of them, and how many ended with it."""

    done: Sequence[UUID] = ()
    skipped: int = 0
    gone: int = 0
    ended: int = 0
    # The last delivery that it looked at; None: it has looked at all.
    reached: UUID | None = None


class ChunkStore:
    """Chunks of the jobs of all tenants. Every method raises what stores.availability.STORE_AWAY lists."""

    def __init__(
        self,
        pool: postgres.Pool,
        of_deliveries: DeliveryStore,
        *,
        retention_hours: int,
        recovery_hours: int,
        expiry_hours: int,
    ) -> None:
        self._pool = pool
        self._deliveries = of_deliveries
        self._expiry_hours = expiry_hours
        self._retention = timedelta(hours=retention_hours)
        self._recovery = timedelta(hours=recovery_hours)

    async def move(self) -> Moved | None:
        """Do a chunk of the job that is due longest; None if none is due, or another process has it.

        A job that cannot go on is put off, with the reason, so that others are not kept waiting by it.
        """
        locked: list[UUID] = []
        try:
            return await postgres.repeat_rolled_back(lambda: self._move(locked))
        except errors.WebhookError as error:  # such as a quota of the tenant
            await self._pool.execute(SQL["put_off_job"], locked[-1], PUT_OFF_SECONDS, error.message)
            return None
        except Exception as error:
            if locked and errors.classify(error) is None:  # a bug, which the process logs
                await self._pool.execute(
                    SQL["put_off_job"], locked[-1], PUT_OFF_SECONDS, "internal error; it was logged"
                )
            raise

    async def _move(self, locked: list[UUID]) -> Moved | None:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_due_job"])
            if row is None:
                return None
            job = job_of(row)
            locked.append(job.id)
            limit = max(1, min(math.ceil(job.rate_per_second * CHUNK_SECONDS), CHUNK_DELIVERIES))
            chunk = await self._do(connection, job, parsed(job.kind, job.filter), limit)
            moved = await self._record(connection, job, chunk)
        if chunk.ended:
            deliveries.DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc(chunk.ended)
        return moved

    async def _do(self, connection: postgres.Connection, job: Job, wanted: Filter, limit: int) -> _Chunk:
        if job.kind is JobKind.ERASE:
            return await self._erase(connection, job, wanted, limit)
        if job.only is not None and job.to_subscription_id is not None:
            return await self._replay_events(connection, job, wanted, job.to_subscription_id, job.only, limit)
        span = Span.of(wanted, ascending=True).beyond(job.at_delivery)
        found = await search.find(connection, job.tenant_id, wanted, span, limit)
        chunk = await self._act(connection, job, sorted(set(found.ids)), wanted.statuses) if found.ids else _Chunk()
        return dataclasses.replace(chunk, reached=found.reached)

    async def _erase(self, connection: postgres.Connection, job: Job, wanted: Filter, limit: int) -> _Chunk:
        place = Place(event=job.at_event, within=job.in_event, delivery=job.at_delivery)
        made = await erasure.chunk(connection, job.tenant_id, wanted, job.frozen_at, place, limit)
        if made.place is None:
            return _Chunk(done=made.events, ended=made.ended)
        after = made.place
        await connection.execute(SQL["move_in_events"], job.id, after.event, after.within, after.delivery)
        return _Chunk(done=made.events, ended=made.ended, reached=after.delivery)

    async def _act(
        self, connection: postgres.Connection, job: Job, found: Sequence[UUID], statuses: frozenset[DeliveryStatus]
    ) -> _Chunk:
        if job.kind is JobKind.CANCEL:
            ended = await deliveries.end_waiting(
                connection, found, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.CANCELLED
            )
            return _Chunk(done=ended, skipped=len(found) - len(ended), ended=len(ended))
        if job.kind is JobKind.REPLAY:
            return await self._replay(connection, job, found)
        made = await self._deliveries.reopen(
            connection, job.tenant_id, found, statuses=statuses, ended_by=job.frozen_at, actor=_actor(job)
        )
        if made.ids:
            await connection.execute(SQL["insert_chunk"], job.id, job.chunks, made.ids, LOOK_SECONDS)
        return _Chunk(done=made.ids, gone=made.gone, skipped=len(found) - len(made.ids) - made.gone - made.late)

    async def _replay(self, connection: postgres.Connection, job: Job, found: Sequence[UUID]) -> _Chunk:
        await self._deliveries.check_quota(connection, job.tenant_id)
        # What a job makes is accepted later than it was frozen, so that it does not replay its own deliveries.
        rows = await connection.fetch(
            SQL["select_to_replay"],
            found, min(found), max(found), job.tenant_id, job.frozen_at, job.to_subscription_id, self._oldest(),
            self._recovery,
        )  # fmt: skip
        gone = [row for row in rows if not row["blocked"] and not row["retained"]]
        left = [row for row in rows if not row["blocked"] and row["retained"]]
        # An event that went to several subscriptions goes to another one once.
        new = {ids.of_replay(row["event_id"], row["subscription_id"], job.id): row for row in left}
        made = await connection.fetch(
            SQL["insert_replayed"],
            list(new), *([row[name] for row in new.values()] for name in ("event_id", "subscription_id", "event_type")),
            job.tenant_id, self._expiry_hours, _actor(job),
        )  # fmt: skip
        done = [row["id"] for row in made]
        if done:
            await connection.execute(SQL["insert_chunk"], job.id, job.chunks, done, LOOK_SECONDS)
        return _Chunk(done=done, gone=len(gone), skipped=len(rows) - len(gone) - len(done))

    async def _replay_events(
        self,
        connection: postgres.Connection,
        job: Job,
        wanted: Filter,
        subscription_id: UUID,
        only: Only,
        limit: int,
    ) -> _Chunk:
        await self._deliveries.check_quota(connection, job.tenant_id)
        by = await missed.wanting(connection, job.tenant_id, subscription_id)
        found = await missed.find(
            connection, job.tenant_id, wanted, by, only,
            frozen_at=job.frozen_at, after=max(job.at_event, self._oldest()), limit=limit,
        )  # fmt: skip
        reached = found.reached
        if reached is not None:
            await connection.execute(SQL["move_in_events"], job.id, reached, None, reached)
        if by.blocked or not found.ids:
            return _Chunk(skipped=len(found.ids), reached=reached)
        rows = await connection.fetch(SQL["select_event_types"], found.ids, min(found.ids), max(found.ids))
        new = {ids.of_replay(row["id"], subscription_id, job.id): row for row in rows}
        made = await connection.fetch(
            SQL["insert_replayed"],
            list(new), [row["id"] for row in new.values()], [subscription_id] * len(new),
            [row["event_type"] for row in new.values()], job.tenant_id, self._expiry_hours, _actor(job),
        )  # fmt: skip
        done = [row["id"] for row in made]
        if done:
            await connection.execute(SQL["insert_chunk"], job.id, job.chunks, done, LOOK_SECONDS)
        return _Chunk(done=done, skipped=len(found.ids) - len(done), reached=reached)

    def _oldest(self) -> UUID:
        """Return the least id of the days that are not about to be removed."""
        day = (datetime.now(UTC) - self._retention).replace(hour=0, minute=0, second=0, microsecond=0)
        return ids.least_at(day)

    async def _record(self, connection: postgres.Connection, job: Job, chunk: _Chunk) -> Moved:
        looked_at = job.looked_at + len(chunk.done) + chunk.skipped + chunk.gone
        skipped, gone, matched, exact = chunk.skipped, chunk.gone, max(job.matched, looked_at), job.matched_exact
        status, error = JobStatus.RUNNING, None
        if chunk.reached is None:
            # What was counted and is not found any more was changed by somebody else; an event is no longer retained.
            if job.kind is JobKind.ERASE:
                gone += matched - looked_at
            else:
                skipped += matched - looked_at
            status, exact = JobStatus.SUCCEEDED, True
        elif looked_at >= MAX_MATCHED:
            status, error = JobStatus.FAILED, f"more than {MAX_MATCHED} deliveries match; narrow the filter"
        await connection.execute(
            SQL["move_job"],
            job.id, chunk.reached or job.at_delivery, len(chunk.done), skipped, gone, status, error, matched, exact,
            len(chunk.done) / job.rate_per_second, WINDOW_SECONDS,
        )  # fmt: skip
        return Moved(job=job, done=len(chunk.done), skipped=skipped, gone=gone, status=status)

    async def look(self) -> bool:
        """See what became of a chunk; return whether there was one to look at."""
        return await postgres.repeat_rolled_back(self._look)

    async def _look(self) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_chunk"])
            if row is None:
                return False
            job_id, number, asked = row["job_id"], row["number"], row["delivery_ids"]
            outcomes = await connection.fetchrow(SQL["select_outcomes"], asked, min(asked), max(asked))
            assert outcomes is not None, "it counts"
            delivered, waiting = outcomes["delivered"], outcomes["waiting"]
            # The others failed, were cancelled, or are no longer retained.
            failed = len(asked) - delivered - len(waiting)
            if waiting:
                await connection.execute(SQL["keep_chunk"], job_id, number, waiting, LOOK_SECONDS, MAX_LOOK_SECONDS)
            else:
                await connection.execute(SQL["delete_chunk"], job_id, number)
            if delivered or failed:
                await connection.execute(SQL["add_results"], job_id, delivered, failed)
        return True

    async def next_seconds(self) -> float | None:
        """Return in how many seconds there is something to do; None if nothing is known of."""
        found: float | None = await self._pool.fetchval(SQL["select_next"])
        return found

    async def measure(self) -> Sequence[Any]:
        """Return the unfinished jobs by kind and state."""
        found: Sequence[Any] = await self._pool.fetch(SQL["measure_jobs"])
        return found


def _actor(job: Job) -> str:
    """Return who asks for the attempts of a job's deliveries."""
    return f"job:{job.id}"
