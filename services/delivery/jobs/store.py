"""What callers ask of jobs: to count, create, list, and change them.

A job is a row, which processes go on with in chunks (chunks.py). A job that erases does so with events (erasure.py),
which it counts in place of deliveries.
"""

import contextlib
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from google.protobuf import json_format

from protos.webhook.v1 import deliveries_pb2
from services.delivery.api import search
from services.delivery.api.filters import Filter
from services.delivery.api.store import DeliveryStore
from services.delivery.jobs import erasure, missed
from services.delivery.jobs.chunks import ChunkStore
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import Job, Plan, Preview, parsed, reaches_beyond
from services.delivery.jobs.rows import filter_of, job_of, only_of
from services.domain import idempotency
from services.domain.idempotency import Key
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.domain.states import UNFINISHED_JOBS, JobKind, JobStatus
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.roles import Capability
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Span

SQL = sql.Queries("services.delivery.jobs")

DEFAULT_RATE_PER_SECOND = 500
MAX_RATE_PER_SECOND = 10_000
# Of a tenant, at once.
MAX_UNFINISHED = 5
# How many deliveries are counted exactly, and those that are read at once for it.
COUNTED = 100_000
COUNTED_AT_ONCE = 5_000
# Counting ends after so many looks that found little, too, and after so long: then there are at least so many.
COUNT_LOOKS = 25
COUNT_SECONDS = 5.0
# Dry runs of a tenant at once in a process: each reads much, and holds a snapshot of the database meanwhile.
MAX_PREVIEWING = 4
SAMPLES = 10
TOKEN_SECONDS = 900.0
# Dry runs of a tenant that are kept for their tokens; the oldest are removed first.
MAX_PREVIEWS = 1_000
TOKEN_PREFIX = "whj_"  # noqa: S105 - the beginning of tokens
# Of a job, after its end; how many of a tenant are kept; and how many are removed whenever one is created.
KEEP_DAYS = 30
KEEP_JOBS = 1_000
FORGET_AT_ONCE = 100


def _check_caller(kind: JobKind) -> None:
    """PermissionDenied for a kind of job that the caller may neither create nor change."""
    if kind is JobKind.ERASE:
        identity.check_capability(Capability.ERASE)


def _is_hidden(job: Job | Plan) -> bool:
    """Return whether the caller's portal link does not reach what a job is about."""
    limit = identity.limited_to()
    return limit is not None and reaches_beyond(limit, job.filter, job.to_subscription_id, job.only)


class Created(NamedTuple):
    """A job, and whether an earlier request with the same idempotency key created it."""

    job: Job
    replayed: bool


def _kept(job: Job | None) -> bytes:
    """Return what is kept with an idempotency key: the job's row has the rest."""
    assert job is not None, "it was made"
    return job.id.bytes


class JobStore(ChunkStore):
    """Jobs of tenants. Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(
        self,
        pool: postgres.Pool,
        of_deliveries: DeliveryStore,
        *,
        retention_hours: int,
        recovery_hours: int,
        expiry_hours: int,
        key_hours: int,
    ) -> None:
        super().__init__(
            pool,
            of_deliveries,
            retention_hours=retention_hours,
            recovery_hours=recovery_hours,
            expiry_hours=expiry_hours,
        )
        # Of idempotency keys.
        self._key_hours = key_hours
        # How many dry runs of a tenant are in progress.
        self._previewing: Counter[str] = Counter()

    async def preview(
        self,
        tenant_id: str,
        kind: JobKind,
        message: deliveries_pb2.DeliveryFilter,
        *,
        to_subscription_id: UUID | None = None,
        only: Only | None = None,
    ) -> Preview:
        """Count what a job would do now, and keep it for the job that its token starts."""
        async with self._previews(tenant_id), self._pool.acquire() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                plan = await self._plan(connection, tenant_id, kind, message, to_subscription_id, only)
                found = await self._counted(connection, tenant_id, plan, described=True)
            found.token = TOKEN_PREFIX + secrets.token_urlsafe(32)
            found.token_expires_at = await connection.fetchval(
                SQL["insert_preview"],
                _hash(found.token), tenant_id, kind, plan.json, plan.frozen_at, found.matched, found.exact,
                TOKEN_SECONDS, plan.to_subscription_id, plan.only,
            )  # fmt: skip
            await connection.execute(SQL["forget_previews"], FORGET_AT_ONCE)
            await connection.execute(SQL["forget_older_previews"], tenant_id, MAX_PREVIEWS)
        return found

    async def create(
        self,
        tenant_id: str,
        kind: JobKind,
        message: deliveries_pb2.DeliveryFilter,
        *,
        rate_per_second: int,
        to_subscription_id: UUID | None = None,
        key: Key | None = None,
        only: Only | None = None,
    ) -> Created:
        """Create a job for what its filter matches now; Conflict while the tenant's others do not allow it."""
        # Nothing is counted for a repeated request.
        if key is not None and (first := await idempotency.first(self._pool, key)) is not None:
            return await self._repeated(tenant_id, first)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            plan = await self._plan(connection, tenant_id, kind, message, to_subscription_id, only)
            found = await self._counted(connection, tenant_id, plan, described=False)

        async def insert(connection: postgres.Connection, job_id: UUID) -> Job:
            return await self._insert(connection, tenant_id, job_id, plan, found, rate_per_second)

        return await self._once(tenant_id, key, insert)

    async def start(self, tenant_id: str, token: str, *, rate_per_second: int, key: Key | None = None) -> Created:
        """Create the job of a preview; NotFound for a token that was used, has expired, or is another tenant's."""

        async def insert(connection: postgres.Connection, job_id: UUID) -> Job:
            row = await connection.fetchrow(SQL["take_preview"], _hash(token), tenant_id)
            if row is None:
                raise _no_preview()
            _check_caller(JobKind(row["kind"]))
            plan = Plan(
                kind=JobKind(row["kind"]),
                filter=filter_of(row["filter"]),
                frozen_at=row["frozen_at"],
                to_subscription_id=row["to_subscription_id"],
                only=only_of(row),
            )
            if _is_hidden(plan):
                raise _no_preview()
            found = Preview(matched=row["matched"], exact=row["matched_exact"])
            return await self._insert(connection, tenant_id, job_id, plan, found, rate_per_second)

        return await self._once(tenant_id, key, insert)

    async def _once(
        self, tenant_id: str, key: Key | None, insert: Callable[[postgres.Connection, UUID], Awaitable[Job]]
    ) -> Created:
        """Create a job with its key; for a key that was used, return the job that it made, as it is now."""
        job_id = ids.new()
        made, first = await idempotency.once(
            self._pool, key, job_id, lambda connection: insert(connection, job_id), _kept, hours=self._key_hours
        )
        return await self._repeated(tenant_id, first) if made is None else Created(made, replayed=False)

    async def _repeated(self, tenant_id: str, first: bytes) -> Created:
        return Created(await self.get(tenant_id, UUID(bytes=first)), replayed=True)

    async def get(self, tenant_id: str, job_id: UUID) -> Job:
        """Return a job; NotFound when the tenant has none of this id."""
        row = await self._pool.fetchrow(SQL["select_job"], job_id, tenant_id)
        if row is None or _is_hidden(job_of(row)):
            raise _no_job(job_id)
        return job_of(row)

    async def page(self, tenant_id: str | None, *, status: JobStatus | None, before: UUID, limit: int) -> list[Job]:
        """Return up to `limit` jobs with ids below `before`, newest first; of all tenants for None."""
        if tenant_id is None:
            rows = await self._pool.fetch(SQL["select_all_jobs"], before, status, limit)
        else:
            # Few are kept, so that all can be looked at for those that a portal link reaches.
            most = limit if identity.limited_to() is None else KEEP_JOBS + MAX_UNFINISHED
            rows = await self._pool.fetch(SQL["select_jobs"], tenant_id, before, status, most)
        return [job for job in map(job_of, rows) if not _is_hidden(job)][:limit]

    async def pause(self, tenant_id: str, job_id: UUID) -> Job:
        """Pause a job; Conflict once it has ended."""
        return await self._change(tenant_id, job_id, Action.PAUSE_JOB)

    async def resume(self, tenant_id: str, job_id: UUID) -> Job:
        """Go on with a job; Conflict once it has ended."""
        return await self._change(tenant_id, job_id, Action.RESUME_JOB)

    async def cancel(self, tenant_id: str, job_id: UUID) -> Job:
        """End a job; Conflict once it has ended otherwise."""
        return await self._change(tenant_id, job_id, Action.CANCEL_JOB)

    async def _change(self, tenant_id: str, job_id: UUID, action: Action) -> Job:
        # It waits for a chunk that is being done, which takes moments.
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_job"], job_id, tenant_id)
            if row is None or _is_hidden(job_of(row)):
                raise _no_job(job_id)
            _check_caller(JobKind(row["kind"]))
            before = JobStatus(row["status"])
            if action is Action.CANCEL_JOB and before is JobStatus.CANCELLED:
                return job_of(row)
            if before not in UNFINISHED_JOBS:
                raise errors.Conflict(f"the job has ended with status {before}", reason=errors.ErrorReason.JOB_FINISHED)
            after = {
                Action.PAUSE_JOB: JobStatus.PAUSED,
                Action.RESUME_JOB: JobStatus.RUNNING if row["started_at"] else JobStatus.QUEUED,
                Action.CANCEL_JOB: JobStatus.CANCELLED,
            }[action]
            if after is before or (action is Action.RESUME_JOB and before is not JobStatus.PAUSED):
                return job_of(row)
            changed = await connection.fetchrow(SQL["set_job_status"], job_id, after)
            await audit.record(
                connection,
                audit.Entry(
                    action=action,
                    tenant_id=tenant_id,
                    resource_id=str(job_id),
                    changes=[FieldChange(field="status", before=before, after=after)],
                    affected=row["done"],
                ),
            )
            return job_of(changed)

    async def _plan(
        self,
        connection: postgres.Connection,
        tenant_id: str,
        kind: JobKind,
        message: deliveries_pb2.DeliveryFilter,
        to_subscription_id: UUID | None,
        only: Only | None,
    ) -> Plan:
        _check_caller(kind)
        plan = Plan.of(kind, message, await connection.fetchval(SQL["select_now"]), to_subscription_id, only)
        if to_subscription_id is not None and not await connection.fetchval(
            SQL["subscription_takes"], to_subscription_id, tenant_id
        ):
            raise errors.NotFound(f"subscription {to_subscription_id} not found")
        return plan

    async def _insert(
        self,
        connection: postgres.Connection,
        tenant_id: str,
        job_id: UUID,
        plan: Plan,
        found: Preview,
        rate_per_second: int,
    ) -> Job:
        subscriptions = plan.touches
        await connection.execute(SQL["lock_jobs_of_tenant"], tenant_id)
        row = await connection.fetchrow(SQL["select_unfinished"], tenant_id, plan.kind, subscriptions)
        assert row is not None, "it counts"
        if row["conflicting"] is not None:
            message = f"job {row['conflicting']} of kind {plan.kind} is not finished and touches the same subscription"
            raise errors.Conflict(message, reason=errors.ErrorReason.JOB_CONFLICT)
        if row["unfinished"] >= MAX_UNFINISHED:
            message = f"{MAX_UNFINISHED} jobs of the tenant are not finished; wait for one, or cancel one"
            raise errors.Conflict(message, reason=errors.ErrorReason.TOO_MANY_JOBS)
        caller = identity.CALLER.get().key_id
        made = await connection.fetchrow(
            SQL["insert_job"],
            job_id, tenant_id, plan.kind, plan.json, subscriptions, rate_per_second, caller, plan.frozen_at,
            found.matched, found.exact, plan.to_subscription_id, plan.only,
        )  # fmt: skip
        changes = [
            FieldChange(field="kind", after=plan.kind),
            FieldChange(field="rate_per_second", after=rate_per_second),
        ]
        told = json_format.MessageToDict(plan.filter, preserving_proto_field_name=True)
        if plan.to_subscription_id is not None:
            changes.append(FieldChange(field="to_subscription_id", after=str(plan.to_subscription_id)))
        if plan.only is not None:
            changes.append(FieldChange(field="only", after=plan.only))
        changes += [FieldChange(field=f"filter.{name}", after=value) for name, value in told.items()]
        await audit.record(
            connection,
            audit.Entry(
                action=Action.CREATE_JOB,
                tenant_id=tenant_id,
                resource_id=str(job_id),
                changes=changes,
                affected=found.matched,
            ),
        )
        await connection.execute(SQL["forget_jobs"], tenant_id, KEEP_DAYS, FORGET_AT_ONCE, KEEP_JOBS)
        return job_of(made)

    @contextlib.asynccontextmanager
    async def _previews(self, tenant_id: str) -> AsyncIterator[None]:
        """Take one of the places for dry runs of a tenant; TenantOverloaded if there is none."""
        if self._previewing[tenant_id] >= MAX_PREVIEWING:
            raise errors.TenantOverloaded(f"{MAX_PREVIEWING} dry runs of the tenant are in progress; try again")
        self._previewing[tenant_id] += 1
        try:
            yield
        finally:
            self._previewing[tenant_id] -= 1
            if not self._previewing[tenant_id]:
                del self._previewing[tenant_id]

    async def _counted(
        self, connection: postgres.Connection, tenant_id: str, plan: Plan, *, described: bool
    ) -> Preview:
        """Count what a plan is about, exactly up to COUNTED and for COUNT_SECONDS."""
        wanted = parsed(plan.kind, plan.filter)
        span, preview = Span.of(wanted, ascending=True), Preview()
        ends_at = time.monotonic() + COUNT_SECONDS
        for _ in range(COUNT_LOOKS):
            if plan.is_of_events:
                found = await self._find_events(connection, tenant_id, plan, wanted, span.after)
            else:
                found = await search.find(connection, tenant_id, wanted, span, COUNTED_AT_ONCE)
            preview.matched += len(found.ids)
            if described and found.ids:
                await self._describe(connection, preview, found.ids, plan)
            if found.reached is None:
                preview.exact = True
                break
            if preview.matched >= COUNTED or time.monotonic() > ends_at:
                break
            span = span.beyond(found.reached)
        return preview

    async def _find_events(
        self, connection: postgres.Connection, tenant_id: str, plan: Plan, wanted: Filter, after: UUID
    ) -> Found:
        if plan.only is None or plan.to_subscription_id is None:
            return await erasure.find(connection, tenant_id, wanted, plan.frozen_at, after, COUNTED_AT_ONCE)
        by = await missed.wanting(connection, tenant_id, plan.to_subscription_id)
        return await missed.find(
            connection, tenant_id, wanted, by, plan.only,
            frozen_at=plan.frozen_at, after=max(after, self._oldest()), limit=COUNTED_AT_ONCE,
        )  # fmt: skip

    async def _describe(
        self, connection: postgres.Connection, preview: Preview, found: Sequence[UUID], plan: Plan
    ) -> None:
        bounds = min(found), max(found)
        if not preview.samples:
            some = found[:SAMPLES]
            query = "select_event_samples" if plan.is_of_events else "select_samples"
            preview.samples = await connection.fetch(SQL[query], some, min(some), max(some))
        if plan.is_of_events:
            rows = await connection.fetch(SQL["describe_events"], found, *bounds)
        else:
            arguments = found, *bounds, self._oldest(), plan.to_subscription_id, self._recovery
            rows = await connection.fetch(SQL["describe"], *arguments)
        for row in rows:
            if not plan.is_of_events:
                preview.reasons[row["reason"]] += row["deliveries"]
                preview.skipped += row["blocked"]
                preview.gone += row["gone"]
            preview.oldest_at = min(preview.oldest_at or row["oldest_at"], row["oldest_at"])
            preview.newest_at = max(preview.newest_at or row["newest_at"], row["newest_at"])


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _no_preview() -> errors.NotFound:
    return errors.NotFound("the token was used, has expired, or never existed; preview the job again")


def _no_job(job_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"job {job_id} not found")
