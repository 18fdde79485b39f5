"""Jobs as requests and responses have them."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from protos.webhook.v1 import deliveries_pb2
from protos.webhook.v1 import jobs_pb2 as pb
from services.gateway.resources import enums, models
from services.platform import errors
from services.platform.grpc import conversion

EXAMPLE_JOB_ID = "019ced7a-4be1-7d20-91f3-6a0c8e5d2b17"
MAX_RATE = 10_000
# Values of one field of a filter, and events that it names.
MAX_VALUES = 50
MAX_EVENTS = 1_000

_EXAMPLE: dict[str, Any] = {
    "kind": "retry",
    "filter": {"status": ["failed"], "event_type": ["order.*"], "from": models.EXAMPLE_TIME},
    "rate_per_second": 50,
    "dry_run": True,
}

_EMPTY_IN_SAMPLES = ("delivery_id", "subscription_id", "event_type", "reason")

Texts = Annotated[list[str], Field(max_length=MAX_VALUES)]
JobId = Annotated[models.Uuid, Field(description="Id of the job.", examples=[EXAMPLE_JOB_ID])]


class JobFilter(models.Request):
    """Which deliveries, or to erase which events: those that match every field, and one of the values of each list.

    Events to erase are found by `event_ids`, `tag`, `idempotency_key`, `provider_id`, `event_type`, `from`, and `to`.
    """

    subscription_id: Annotated[list[models.Uuid], Field(max_length=MAX_VALUES)] = Field(
        [], description="To these subscriptions. Default: all.", examples=[[models.EXAMPLE_SUBSCRIPTION_ID]]
    )
    status: Annotated[list[enums.DeliveryStatus], Field(max_length=MAX_VALUES)] = Field(
        [],
        description=(
            "With these statuses. To retry: `failed` (default), `cancelled`, `delivered`, `scheduled`. To cancel: "
            "`pending` and `scheduled` (default: both). To replay: any (default)."
        ),
        examples=[["failed"]],
    )
    reason: Texts = Field([], description="Failed or cancelled for these reasons.", examples=[["retries_exhausted"]])
    event_type: Texts = Field(
        [], description="Of events of these types, exact or with a prefix, such as `order.*`.", examples=[["order.*"]]
    )
    status_code: Texts = Field(
        [], description="Whose last response had this status code, such as `503` or `5xx`.", examples=[["5xx"]]
    )
    error_kind: Texts = Field([], description="Whose last attempt failed like this.", examples=[["timeout"]])
    held_by: Texts = Field([], description="That are due, but held for these reasons.", examples=[["breaker_open"]])
    min_attempts: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = Field(
        0, description="With at least so many attempts.", examples=[1]
    )
    tag: Texts = Field([], description="Of events with these tags.", examples=[["order=42"]])
    idempotency_key: Texts = Field(
        [],
        description="Of events that were accepted under these idempotency keys, for as long as keys are kept.",
        examples=[["order-42"]],
    )
    provider_id: Texts = Field(
        [],
        description="Of events with these ids of the provider that sent them, which are kept as long.",
        examples=[["evt_1NG8Du2eZvKYlo2CUI79vXWy"]],
    )
    event_ids: Annotated[list[models.Uuid], Field(max_length=MAX_EVENTS)] = Field(
        [],
        description="Of these events: up to 50, or to erase up to 1,000. An id that no event has matches nothing.",
        examples=[[]],
    )
    from_: models.Moment | None = Field(
        None,
        alias="from",
        description=(
            "Accepted at this time or later. Required unless `subscription_id`, `event_ids`, `tag`, `idempotency_key` "
            "or `provider_id` is given."
        ),
        examples=[models.EXAMPLE_TIME],
    )
    to: models.Moment | None = Field(None, description="Accepted before this time. Default: now.")

    def message(self) -> deliveries_pb2.DeliveryFilter:
        """Return it as the delivery service takes it."""
        return message(
            subscription_id=self.subscription_id,
            status=self.status,
            reason=self.reason,
            event_type=self.event_type,
            status_code=self.status_code,
            error_kind=self.error_kind,
            held_by=self.held_by,
            min_attempts=self.min_attempts,
            tag=self.tag,
            idempotency_key=self.idempotency_key,
            provider_id=self.provider_id,
            event_ids=self.event_ids,
            from_=self.from_,
            to=self.to,
        )


def message(
    *, status: Sequence[str] = (), from_: Any = None, to: Any = None, **others: Any
) -> deliveries_pb2.DeliveryFilter:
    """Return a filter of these values."""
    statuses = conversion.numbers(deliveries_pb2.DeliveryStatus.DESCRIPTOR)
    made = deliveries_pb2.DeliveryFilter(status=[statuses[text] for text in status], **others)
    if from_ is not None and to is not None and to <= from_:
        raise errors.InvalidArgument.field("to", "must be after from")
    if from_ is not None:
        made.from_time.FromDatetime(from_)
    if to is not None:
        made.to_time.FromDatetime(to)
    return made


class JobBody(models.Request):
    """A job to create or to preview."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    kind: enums.JobKind | None = Field(
        None,
        description=(
            "`retry` sends each delivery again now, with its full retry schedule and the same `webhook-id`. `cancel` "
            "cancels deliveries that wait. `replay` makes a new delivery of each event, with a `webhook-id` of its own "
            "and the header `X-Webhook-Replay`. `erase` removes the payloads of events, and all that was kept of what "
            "was sent and answered, for good; it requires a key with the capability `erase`. Required without `token`."
        ),
        examples=["retry"],
    )
    filter: JobFilter | None = Field(
        None,
        description=(
            "Which deliveries, or to erase which events. It needs a `from`, a `subscription_id`, `event_ids`, a `tag`, "
            "an `idempotency_key` or a `provider_id`. Required without `token`."
        ),
    )
    to_subscription_id: models.Uuid | None = Field(
        None,
        description="Only for `replay`: the subscription that gets the new deliveries. Default: each delivery's own.",
        examples=[None],
    )
    only: enums.ReplayedEvents | None = Field(
        None,
        description=(
            "Only for `replay` with `to_subscription_id`, which then is about events, in place of deliveries: "
            "`missing`: those that the subscription wants, by its `event_types` and its `filter`, and has no delivery "
            "of. `all`: all that it wants. The filter then has `from`, and may have `to` and `event_type`."
        ),
        examples=[None],
    )
    rate_per_second: Annotated[int, Field(strict=True, ge=1, le=MAX_RATE)] | None = Field(
        None, description="The most deliveries, or to erase events, per second. Default: 500.", examples=[50]
    )
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Count what the job would do, and change nothing."
    )
    token: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="The `token` of a dry run: starts exactly the job that was counted, once, within 15 minutes."
    )


class JobCounts(models.Answer):
    """What a job has done so far. When it has succeeded, `matched` is the sum of `done`, `skipped`, and `gone`."""

    matched: int = Field(description="Deliveries, or to erase events, that match.", examples=[100_000])
    matched_is_exact: bool = Field(description="Otherwise there are at least so many.", examples=[True])
    done: int = Field(description="Made pending again, cancelled, replayed, or erased.", examples=[99_980])
    skipped: int = Field(
        description="Left as they are: changed meanwhile, in flight, or their subscription is disabled or deleted.",
        examples=[15],
    )
    gone: int = Field(description="Their payloads are no longer retained.", examples=[5])


class JobResults(models.Answer):
    """What became of the retried or replayed deliveries, as of a few seconds ago."""

    delivered: int = Field(examples=[99_000])
    failed: int = Field(description="Failed again, or cancelled.", examples=[80])
    waiting: int = Field(description="Not ended yet.", examples=[900])


class StoredFilter(models.Answer):
    """The filter of a job, with the statuses and the end that were implied."""

    subscription_id: list[str] = Field(examples=[[models.EXAMPLE_SUBSCRIPTION_ID]])
    status: list[str] = Field(examples=[["failed"]])
    reason: list[str]
    event_type: list[str]
    status_code: list[str]
    error_kind: list[str]
    held_by: list[str]
    min_attempts: int
    tag: list[str] = Field(examples=[["order=42"]])
    idempotency_key: list[str]
    provider_id: list[str]
    event_ids: list[str]
    from_: models.Timestamp | None = Field(serialization_alias="from")
    to: models.Timestamp | None


class Job(models.Answer):
    """A job."""

    id: models.Uuid = Field(examples=[EXAMPLE_JOB_ID])
    tenant_id: str = Field(description="The job's tenant.", examples=["acme"])
    kind: enums.JobKind = Field(examples=["retry"])
    status: enums.JobStatus = Field(
        description=(
            "`queued`: not begun. `running`. `paused`: does nothing until it is resumed. `succeeded`: it has looked at "
            "all of its deliveries. `failed`: see `error`. `cancelled`."
        ),
        examples=["running"],
    )
    filter: StoredFilter
    to_subscription_id: str | None = Field(description="Who gets the deliveries of a `replay`.", examples=[None])
    only: enums.ReplayedEvents | None = Field(
        description="Which events a `replay` is about: `missing` or `all`; null if it is about deliveries.",
        examples=[None],
    )
    rate_per_second: int = Field(description="The most deliveries, or to erase events, per second.", examples=[500])
    counts: JobCounts
    results: JobResults | None = Field(description="null for `cancel` and `erase`.")
    error: str | None = Field(description="Why it failed, or why it does not go on now.", examples=[None])
    created_by: str = Field(
        description="Who created it: the UUID of an API key, `bootstrap` or `anonymous`.", examples=["bootstrap"]
    )
    created_at: models.Timestamp = Field(
        description="Deliveries that were accepted or that ended after this, or after its dry run, are not part of it."
    )
    started_at: models.Timestamp | None
    moved_at: models.Timestamp | None = Field(description="When it did something last.")
    ended_at: models.Timestamp | None
    current_rate_per_second: float | None = Field(
        description=(
            "How many deliveries it goes through in a second, measured over the last 10 to 20 seconds; null while it "
            "is not running, and in its first second."
        ),
        examples=[49.8],
    )
    estimated_end_at: models.Timestamp | None = Field(
        description="When it will have looked at all deliveries at its current rate; null if that is not known."
    )


class JobPage(models.Answer):
    """A page of jobs, newest first."""

    items: list[Job]
    next_cursor: models.NextCursor


class JobSample(models.Answer):
    """A delivery that would be changed, or an event that would be erased."""

    delivery_id: models.Uuid | None = Field(
        description="null for an event to erase.", examples=[models.EXAMPLE_DELIVERY_ID]
    )
    subscription_id: models.Uuid | None = Field(
        description="null for an event to erase.", examples=[models.EXAMPLE_SUBSCRIPTION_ID]
    )
    event_id: models.Uuid = Field(examples=[models.EXAMPLE_EVENT_ID])
    event_type: str | None = Field(examples=["order.created"])
    reason: str | None = Field(examples=["retries_exhausted"])
    created_at: models.Timestamp


class JobPreview(models.Answer):
    """What a job would do now."""

    token: str = Field(description="`token` of the request that starts this job.", examples=["whj_8cC1…"])
    token_expires_at: models.Timestamp
    counts: JobCounts
    oldest_at: models.Timestamp | None = Field(description="When the oldest of the deliveries was accepted.")
    newest_at: models.Timestamp | None = Field(description="When the newest was.")
    reasons: dict[str, int] = Field(
        description="Deliveries by reason; those without one are under an empty string.",
        examples=[{"retries_exhausted": 99_000, "expired": 1_000}],
    )
    samples: list[JobSample] = Field(description="Up to ten of the deliveries or events, the oldest first.")


class RecoverBody(models.Request):
    """What to recover of a subscription."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from": models.EXAMPLE_TIME}]})

    from_: models.Moment = Field(
        alias="from", description="Deliveries that were accepted at this time or later.", examples=[models.EXAMPLE_TIME]
    )
    to: models.Moment | None = Field(None, description="Accepted before this time. Default: now.")
    only: enums.Recovered = Field(
        "failed",
        description=(
            "`failed`: deliveries that failed are retried. `missing`: events that the subscription wants, by its "
            "`event_types` and its `filter`, and has no delivery of are replayed to it. `all`: all that it wants are."
        ),
    )
    rate_per_second: Annotated[int, Field(strict=True, ge=1, le=MAX_RATE)] | None = Field(
        None, description="The most deliveries per second. Default: 500.", examples=[50]
    )


class JobsQuery(models.ListQuery):
    """The page and the filter of a list of jobs."""

    status: enums.JobStatus | None = Field(None, description="Only jobs with this status.")


def job_of(found: pb.Job) -> Job:
    """Return a job as responses have it."""
    values = models.values(found)
    wanted = models.values(found.filter)
    stored = StoredFilter(**wanted | {"from_": wanted.pop("from_time"), "to": wanted.pop("to_time")})
    return Job(
        **values
        | {"filter": stored, "error": found.error or None, "to_subscription_id": found.to_subscription_id or None}
    )


def preview_of(found: pb.PreviewJobResponse) -> JobPreview:
    """Return what a dry run found."""
    values = models.values(found)
    samples = [sample | {name: sample[name] or None for name in _EMPTY_IN_SAMPLES} for sample in values["samples"]]
    reasons = {one.reason: one.deliveries for one in found.reasons}
    return JobPreview(**values | {"samples": samples, "reasons": reasons})
