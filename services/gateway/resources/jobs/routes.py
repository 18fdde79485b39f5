"""Jobs: what is done to many deliveries at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from protos.webhook.v1 import jobs_pb2 as pb
from services.gateway.resources import models
from services.gateway.resources.jobs.models import (
    Job,
    JobBody,
    JobId,
    JobPage,
    JobPreview,
    JobsQuery,
    RecoverBody,
    job_of,
    message,
    preview_of,
)
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JSON, JsonRoute
from services.platform import errors
from services.platform.grpc import conversion

router = APIRouter(tags=["jobs"], route_class=JsonRoute)

_CONFLICT = (
    f"{openapi.KEY_IN_USE} Or a job of this kind that is not finished touches the same subscription (`JOB_CONFLICT`), "
    "or five jobs of the tenant are not finished (`TOO_MANY_JOBS`)."
)
_CREATED: dict[str, Any] = {
    "headers": {
        "Location": {"description": "Path of the job.", "schema": {"type": "string"}},
        **openapi.REPLAYED_HEADER,
    }
}
_FINISHED = "The job has ended (`JOB_FINISHED`)."


@router.post(
    "/api/v1/jobs",
    operation_id="create_job",
    summary="Retry, replay, or cancel many deliveries, or erase events",
    status_code=202,
    response_description="The job, which begins within moments.",
    response_model=Job,
    responses={
        **openapi.problems(*openapi.WITH_BODY, 404, described={409: _CONFLICT, 422: openapi.KEY_REUSED}),
        202: _CREATED,
        200: {"model": JobPreview, "description": "With `dry_run`: what the job would do."},
    },
)
async def create_job(
    body: JobBody, services: backends.Injected, response: Response, idempotency_key: models.IdempotencyKey = None
) -> Any:
    """Create a job, or with `dry_run` count what it would do.

    A job works through its deliveries a few hundred at a time, at its rate, and survives restarts. Each delivery is
    changed at most once. Rate limits, circuit breakers, and pauses of subscriptions apply as always. The deliveries of
    a job are those that match when it is created, or when its dry run was made. A repeated request with the same
    `Idempotency-Key` returns the job of the first one as it is now; a dry run ignores the key.
    """
    kind = conversion.numbers(pb.JobKind.DESCRIPTOR)[body.kind] if body.kind else pb.JOB_KIND_UNSPECIFIED
    if body.token is not None:
        for name in ("kind", "filter", "to_subscription_id", "only"):
            if getattr(body, name) is not None:
                raise errors.InvalidArgument.field(name, "cannot be combined with token, which has it")
        if body.dry_run:
            raise errors.InvalidArgument.field("dry_run", "cannot be combined with token")
        started = pb.CreateJobRequest(
            token=body.token, rate_per_second=body.rate_per_second or 0, idempotency_key=idempotency_key or ""
        )
        return await _create(services, started, response)
    if body.kind is None or body.filter is None:
        raise errors.InvalidArgument.field("kind" if body.kind is None else "filter", "is required without token")
    wanted = body.filter.message()
    if body.dry_run:
        asked = pb.PreviewJobRequest(
            kind=kind, filter=wanted, to_subscription_id=body.to_subscription_id or "", only=_only(body.only)
        )
        answer = await services.call(services.jobs.PreviewJob, asked)
        return Response(preview_of(answer).model_dump_json(), headers=models.NO_STORE, media_type=JSON)
    created = pb.CreateJobRequest(
        kind=kind,
        filter=wanted,
        rate_per_second=body.rate_per_second or 0,
        to_subscription_id=body.to_subscription_id or "",
        idempotency_key=idempotency_key or "",
        only=_only(body.only),
    )
    return await _create(services, created, response)


@router.post(
    "/api/v1/subscriptions/{subscription_id}/recover",
    operation_id="recover_subscription",
    summary="Recover what a subscription did not get",
    status_code=202,
    response_description="The job, which begins within moments.",
    response_model=Job,
    responses={
        **openapi.problems(*openapi.WITH_BODY, 404, described={409: _CONFLICT, 422: openapi.KEY_REUSED}),
        202: _CREATED,
    },
)
async def recover_subscription(
    subscription_id: models.SubscriptionId,
    body: RecoverBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> Any:
    """Create a job for what one subscription did not get in a time.

    It retries deliveries that failed, or replays events: those that the subscription has no delivery of, or all that it
    wants. Events that were sent only to another subscription are not among them.
    """
    request = pb.CreateJobRequest(rate_per_second=body.rate_per_second or 0, idempotency_key=idempotency_key or "")
    if body.only == "failed":
        request.kind = pb.JOB_KIND_RETRY
        wanted = message(subscription_id=[subscription_id], status=["failed"], from_=body.from_, to=body.to)
    else:
        request.kind, request.only = pb.JOB_KIND_REPLAY, _only(body.only)
        request.to_subscription_id = subscription_id
        wanted = message(from_=body.from_, to=body.to)
    request.filter.CopyFrom(wanted)
    return await _create(services, request, response)


@router.get(
    "/api/v1/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    response_description="A page of jobs.",
    responses=openapi.problems(),
)
async def list_jobs(query: Annotated[JobsQuery, Query()], services: backends.Injected) -> JobPage:
    """List jobs, newest first. They are kept for 30 days after they end."""
    request = pb.ListJobsRequest(
        tenant_id=services.everywhere(query.tenant), page_size=query.limit, page_token=query.cursor
    )
    if query.status is not None:
        request.status = conversion.numbers(pb.JobStatus.DESCRIPTOR)[query.status]
    answer = await services.call(services.jobs.ListJobs, request)
    return JobPage(items=[job_of(job) for job in answer.jobs], next_cursor=answer.next_page_token or None)


@router.get(
    "/api/v1/jobs/{job_id}",
    operation_id="get_job",
    summary="Get a job and its progress",
    response_description="The job.",
    responses=openapi.problems(404),
)
async def get_job(job_id: JobId, services: backends.Injected) -> Job:
    """Get a job: what it has done, what became of it, and when it will be complete."""
    answer = await services.call(services.jobs.GetJob, pb.GetJobRequest(job_id=job_id))
    return job_of(answer.job)


@router.post(
    "/api/v1/jobs/{job_id}/pause",
    operation_id="pause_job",
    summary="Pause a job",
    response_description="The job, now paused.",
    responses=openapi.problems(404, described={409: _FINISHED}),
)
async def pause_job(job_id: JobId, services: backends.Injected) -> Job:
    """Pause a job that is queued or running. What it has made pending is still sent."""
    answer = await services.call(services.jobs.PauseJob, pb.PauseJobRequest(job_id=job_id))
    return job_of(answer.job)


@router.post(
    "/api/v1/jobs/{job_id}/resume",
    operation_id="resume_job",
    summary="Resume a job",
    response_description="The job, now running or queued.",
    responses=openapi.problems(404, described={409: _FINISHED}),
)
async def resume_job(job_id: JobId, services: backends.Injected) -> Job:
    """Go on with a job that is paused."""
    answer = await services.call(services.jobs.ResumeJob, pb.ResumeJobRequest(job_id=job_id))
    return job_of(answer.job)


@router.post(
    "/api/v1/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_description="The job, now cancelled.",
    responses=openapi.problems(404, described={409: _FINISHED}),
)
async def cancel_job(job_id: JobId, services: backends.Injected) -> Job:
    """End a job before it is complete. What it has done stays done."""
    answer = await services.call(services.jobs.CancelJob, pb.CancelJobRequest(job_id=job_id))
    return job_of(answer.job)


def _only(only: str | None) -> pb.ReplayedEvents.ValueType:
    return conversion.numbers(pb.ReplayedEvents.DESCRIPTOR)[only] if only else pb.REPLAYED_EVENTS_UNSPECIFIED


async def _create(services: backends.Backends, request: pb.CreateJobRequest, response: Response) -> Job:
    answer = await services.call(services.jobs.CreateJob, request)
    response.headers["location"] = f"/api/v1/jobs/{answer.job.id}"
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    return job_of(answer.job)
