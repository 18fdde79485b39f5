"""JobService: what callers ask for of jobs."""

from uuid import UUID

from protos.webhook.v1 import jobs_pb2 as pb
from protos.webhook.v1 import jobs_pb2_grpc
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import WITHOUT_RESULTS, Job, Preview
from services.delivery.jobs.runner import JOBS
from services.delivery.jobs.store import DEFAULT_RATE_PER_SECOND, MAX_RATE_PER_SECOND, JobStore
from services.domain import idempotency
from services.domain.states import JobKind, JobStatus
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.stores.signals import Signals

_KINDS = pb.JobKind.DESCRIPTOR
# What a token stands for.
_OF_TOKEN = frozenset({"kind", "filter", "to_subscription_id", "only"})
_STATUSES = pb.JobStatus.DESCRIPTOR
_ONLY = pb.ReplayedEvents.DESCRIPTOR


class JobService(jobs_pb2_grpc.JobServiceServicer):
    """Servicer of webhook.v1.JobService."""

    def __init__(self, store: JobStore, heard: Signals) -> None:
        self._store = store
        self._heard = heard

    async def PreviewJob(self, request: pb.PreviewJobRequest, _context: Context) -> pb.PreviewJobResponse:
        """Count what it would do."""
        found = await self._store.preview(
            identity.tenant_of(request.tenant_id),
            _kind(request.kind),
            request.filter,
            to_subscription_id=_target(request.to_subscription_id),
            only=_only(request.only),
        )
        return _preview(found)

    async def CreateJob(self, request: pb.CreateJobRequest, _context: Context) -> pb.CreateJobResponse:
        """Create it, and have it begin."""
        tenant_id = identity.tenant_of(request.tenant_id)
        rate = request.rate_per_second or DEFAULT_RATE_PER_SECOND
        if not 1 <= rate <= MAX_RATE_PER_SECOND:
            raise errors.InvalidArgument.field("rate_per_second", f"must be between 1 and {MAX_RATE_PER_SECOND}")
        key = idempotency.key_of_request(tenant_id, "jobs", request)
        if request.token:
            for field, _ in request.ListFields():
                if field.name in _OF_TOKEN:
                    raise errors.InvalidArgument.field(field.name, "cannot be combined with token, which has it")
            made = await self._store.start(tenant_id, request.token, rate_per_second=rate, key=key)
        else:
            made = await self._store.create(
                tenant_id,
                _kind(request.kind),
                request.filter,
                rate_per_second=rate,
                to_subscription_id=_target(request.to_subscription_id),
                key=key,
                only=_only(request.only),
            )
        self._heard.wake(JOBS)
        return pb.CreateJobResponse(job=_message(made.job), replayed=made.replayed)

    async def GetJob(self, request: pb.GetJobRequest, _context: Context) -> pb.GetJobResponse:
        """Read one."""
        found = await self._store.get(identity.tenant_of(request.tenant_id), ids.parse("job_id", request.job_id))
        return pb.GetJobResponse(job=_message(found))

    async def ListJobs(self, request: pb.ListJobsRequest, _context: Context) -> pb.ListJobsResponse:
        """Read a page."""
        tenant_id = identity.tenant_of_list(request.tenant_id)
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        page = await self._store.page(tenant_id, status=_status(request.status), before=before, limit=size + 1)
        return pb.ListJobsResponse(
            jobs=[_message(job) for job in page[:size]],
            next_page_token=paging.token(page[size - 1].id) if len(page) > size else "",
        )

    async def PauseJob(self, request: pb.PauseJobRequest, _context: Context) -> pb.PauseJobResponse:
        """Pause it."""
        job = await self._store.pause(identity.tenant_of(request.tenant_id), ids.parse("job_id", request.job_id))
        return pb.PauseJobResponse(job=_message(job))

    async def ResumeJob(self, request: pb.ResumeJobRequest, _context: Context) -> pb.ResumeJobResponse:
        """Go on with it."""
        job = await self._store.resume(identity.tenant_of(request.tenant_id), ids.parse("job_id", request.job_id))
        self._heard.wake(JOBS)
        return pb.ResumeJobResponse(job=_message(job))

    async def CancelJob(self, request: pb.CancelJobRequest, _context: Context) -> pb.CancelJobResponse:
        """End it."""
        job = await self._store.cancel(identity.tenant_of(request.tenant_id), ids.parse("job_id", request.job_id))
        return pb.CancelJobResponse(job=_message(job))


def _kind(kind: pb.JobKind.ValueType) -> JobKind:
    if kind not in conversion.texts(_KINDS):
        raise errors.InvalidArgument.field("kind", f"must be one of {', '.join(JobKind)}")
    return JobKind(conversion.texts(_KINDS)[kind])


def _target(subscription_id: str) -> UUID | None:
    return ids.parse("to_subscription_id", subscription_id) if subscription_id else None


def _only(only: pb.ReplayedEvents.ValueType) -> Only | None:
    if only != pb.REPLAYED_EVENTS_UNSPECIFIED and only not in conversion.texts(_ONLY):
        raise errors.InvalidArgument.field("only", f"must be one of {', '.join(Only)}")
    return Only(conversion.texts(_ONLY)[only]) if only else None


def _status(status: pb.JobStatus.ValueType) -> JobStatus | None:
    if status != pb.JOB_STATUS_UNSPECIFIED and status not in conversion.texts(_STATUSES):
        raise errors.InvalidArgument.field("status", "must be a known job status")
    return JobStatus(conversion.texts(_STATUSES)[status]) if status else None


def _message(job: Job) -> pb.Job:
    results = pb.JobResults(
        delivered=job.delivered, failed=job.failed, waiting=max(job.done - job.delivered - job.failed, 0)
    )
    return conversion.message(
        pb.Job,
        job,
        error=job.error or "",
        counts=pb.JobCounts(
            matched=job.matched,
            matched_is_exact=job.matched_exact,
            done=job.done,
            skipped=job.skipped,
            gone=job.gone,
        ),
        results=results if job.kind not in WITHOUT_RESULTS else None,
    )


def _preview(found: Preview) -> pb.PreviewJobResponse:
    return conversion.message(
        pb.PreviewJobResponse,
        found,
        counts=pb.JobCounts(
            matched=found.matched,
            matched_is_exact=found.exact,
            done=found.matched - found.skipped - found.gone,
            skipped=found.skipped,
            gone=found.gone,
        ),
        reasons=[pb.JobReasonCount(reason=reason, deliveries=n) for reason, n in found.reasons.most_common()],
        samples=[
            pb.JobSample(
                delivery_id=str(row["delivery_id"] or ""),
                subscription_id=str(row["subscription_id"] or ""),
                event_id=str(row["event_id"]),
                event_type=row["event_type"] or "",
                reason=row["reason"] or "",
                created_at=row["created_at"],
            )
            for row in found.samples
        ],
    )
