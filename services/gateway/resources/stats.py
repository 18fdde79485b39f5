"""Statistics of events, deliveries and attempts."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from google.protobuf import duration_pb2
from pydantic import Field

from protos.webhook.v1 import analytics_pb2 as pb
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JSON, RoleRoute
from services.platform.grpc import conversion

router = APIRouter(prefix="/api/v1", tags=["statistics"], route_class=RoleRoute)

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def _seconds(text: str) -> int:
    """Return a length of time such as 5m in seconds."""
    return int(text[:-1]) * _UNIT_SECONDS[text[-1]]


class StatsQuery(models.TenantsQuery):
    """The time window of statistics."""

    window: str = Field(
        "24h",
        pattern="^[1-9][0-9]{0,5}[mhd]$",
        description="How far back from now: minutes, hours, or days, within the retention of attempts (default: 72 h).",
        examples=["15m", "1h", "24h", "3d"],
    )

    def duration(self) -> duration_pb2.Duration:
        """Return the length of the window."""
        return duration_pb2.Duration(seconds=_seconds(self.window))


class Latency(models.Answer):
    """Durations in milliseconds of attempts that received a response."""

    mean: float = Field(examples=[48.2])
    p50: float = Field(examples=[31.0])
    p95: float = Field(examples=[140.5])
    p99: float = Field(examples=[420.0])


class Stats(models.Answer):
    """Counts and latencies in a time window."""

    window_start: models.Timestamp
    window_end: models.Timestamp = Field(description="When the latest numbers were computed, or the end of a step.")
    events: int | None = Field(
        description="Accepted events; null for subscriptions and outcomes, which events do not have.", examples=[990]
    )
    attempts: int = Field(examples=[1000])
    attempts_by_outcome: dict[str, int] = Field(
        description="By `success` or kind of error; kinds without attempts are omitted.",
        examples=[{"success": 990, "http_5xx": 8, "timeout": 2}],
    )
    delivered: int = Field(
        description="Deliveries that ended with status `delivered`. One that is retried after its end ends again.",
        examples=[988],
    )
    failed: int = Field(
        description="Deliveries that ended with status `failed`, also those that never had an attempt.", examples=[2]
    )
    cancelled: int = Field(description="Deliveries that ended with status `cancelled`.", examples=[0])
    attempt_success_rate: float | None = Field(
        description="Share of successful attempts among those with a known outcome, 0 to 1; null if there are none.",
        examples=[0.99],
    )
    delivery_success_rate: float | None = Field(
        description="`delivered` as a share of `delivered` and `failed`, 0 to 1; null if both are 0.",
        examples=[0.998],
    )
    latency_ms: Latency | None = Field(description="null if no attempt received a response.")


_STEPS: tuple[enums.StatsStep, ...] = ("1m", "5m", "1h", "1d")


class SeriesQuery(models.TenantsQuery):
    """Which statistics over time."""

    from_: models.Moment | None = Field(
        None,
        alias="from",
        description="Start, rounded down to a step. Default: 24 hours before `to`. Steps of `1m` and `5m` go back "
        "`LOG_RETENTION_HOURS` (default: 72), others `STATS_RETENTION_DAYS` (default: 90).",
    )
    to: models.Moment | None = Field(
        None, description="End, not included, rounded up to a step. Default: now, also for a later time."
    )
    step: enums.StatsStep | None = Field(
        None,
        description="Length of a step, in UTC: at most 1,500 of them, and 5,000 points in all groups. Default: the "
        "shortest that makes at most 300 points.",
    )
    group_by: enums.StatsGrouping | None = Field(None, description="What the groups are. Default: no groups.")
    subscription_id: list[models.Uuid] = Field(
        [],
        max_length=100,
        description="Only these subscriptions, which may be deleted: repeat the parameter for several. Not with "
        "`group_by=event_type`.",
        examples=[[models.EXAMPLE_SUBSCRIPTION_ID]],
    )
    limit: Annotated[int, Field(ge=1, le=200)] | None = Field(
        None,
        description="How many groups are listed, the largest first; the others are one group, `other`. Default: 10, or "
        "as many as fit. Subscriptions that are named are all listed.",
    )


class RefusalsQuery(models.TenantsQuery):
    """Which refused events."""

    from_: models.Moment | None = Field(
        None,
        alias="from",
        description="Start, rounded down to an hour in UTC. Default: 24 hours before `to`. It goes back "
        "`STATS_RETENTION_DAYS` (default: 90).",
    )
    to: models.Moment | None = Field(
        None, description="End, not included, rounded up to an hour. Default: now, also for a later time."
    )
    subscription_id: list[models.Uuid] = Field(
        [],
        max_length=100,
        description="Only those for these subscriptions, which may be deleted: repeat the parameter for several.",
        examples=[[models.EXAMPLE_SUBSCRIPTION_ID]],
    )
    limit: Annotated[int, Field(ge=1, le=200)] = Field(50, description="How many items are listed, the largest first.")


class RefusalCount(models.Answer):
    """How many events were refused for a subscription by a reason."""

    subscription_id: str | None = Field(
        description="null if the request named no subscription, or one that the tenant never had.",
        examples=[models.EXAMPLE_SUBSCRIPTION_ID],
    )
    reason: str = Field(description="The reason code of the response.", examples=["SIGNATURE_MISMATCH"])
    events: int = Field(description="How many.", examples=[12])
    last_at: models.Timestamp = Field(description="When the last one was refused.")


class Refusals(models.Answer):
    """Refused events by subscription and reason."""

    from_: models.Timestamp = Field(alias="from", description="Start of the first hour.")
    to: models.Timestamp = Field(description="End of the last hour.")
    events: int = Field(description="All refused events, also those of items that are not listed.", examples=[12])
    items: list[RefusalCount] = Field(description="The largest first.")


class StatsSeries(models.Answer):
    """Statistics over time."""

    summary: Stats = Field(description="All steps together.")
    points: list[Stats] = Field(description="Each step, the first first.")


class StatsGroup(StatsSeries):
    """Statistics over time of one group."""

    group: str | None = Field(
        description="The outcome, the id of the subscription, or the event type (null: events without one); `other` "
        "for all groups that are not listed.",
        examples=["order.created"],
    )


class StatsOverTime(models.Answer):
    """Statistics over time, in total and by group."""

    from_: models.Timestamp = Field(alias="from", description="Start of the first step.")
    to: models.Timestamp = Field(description="End of the last step.")
    step: enums.StatsStep = Field(examples=["5m"])
    complete_to: models.Timestamp = Field(
        description="When the latest numbers were computed: steps that end later are not complete."
    )
    group_by: enums.StatsGrouping | None = Field(examples=["event_type"])
    total: StatsSeries
    groups: list[StatsGroup] = Field(description="Empty without `group_by`.")


@router.get(
    "/subscriptions/{subscription_id}/stats",
    operation_id="get_subscription_stats",
    summary="Get statistics of a subscription",
    response_description="The statistics.",
    responses=openapi.problems(404),
)
async def get_subscription_stats(
    subscription_id: models.SubscriptionId,
    query: Annotated[StatsQuery, Query()],
    services: backends.Injected,
) -> Stats:
    """Get statistics of one subscription over a window that ends now. Also works for a deleted subscription."""
    return await _stats(services, query, subscription_id)


@router.get(
    "/stats",
    operation_id="get_stats",
    summary="Get statistics of all subscriptions",
    response_description="The statistics.",
    responses=openapi.problems(),
)
async def get_stats(query: Annotated[StatsQuery, Query()], services: backends.Injected) -> Stats:
    """Get statistics of all subscriptions over a window that ends now."""
    return await _stats(services, query, "")


@router.get(
    "/stats/series",
    operation_id="get_stats_series",
    summary="Get statistics over time",
    response_description="The statistics.",
    response_model=StatsOverTime,
    responses=openapi.problems(404),
)
async def get_stats_series(query: Annotated[SeriesQuery, Query()], services: backends.Injected) -> Response:
    """Get statistics in steps of a minute to a day, in total and by outcome, subscription, or event type.

    The 200 largest event types of each minute (of each hour, for steps of `1h` and `1d`) are counted by name. All
    others belong to the group `other`.
    """
    request = pb.GetStatsSeriesRequest(
        tenant_id=services.everywhere(query.tenant), subscription_ids=query.subscription_id, limit=query.limit or 0
    )
    if query.from_ is not None:
        request.from_time.FromDatetime(query.from_)
    if query.to is not None:
        request.to_time.FromDatetime(query.to)
    if query.step is not None:
        request.step.seconds = _seconds(query.step)
    if query.group_by is not None:
        request.group_by = conversion.numbers(pb.StatsGroup.DESCRIPTOR)[query.group_by.replace("_", "-")]
    answer = await services.call(services.analytics.GetStatsSeries, request)
    groups = []
    for series in answer.groups:
        # A group takes milliseconds: others have their turn in between.
        await asyncio.sleep(0)
        groups.append({"group": series.group or None} | _series(series))
    body = {
        "from": models.timestamp(answer.from_time),
        "to": models.timestamp(answer.to_time),
        "step": next(step for step in _STEPS if _seconds(step) == answer.step.seconds),
        "complete_to": models.timestamp(answer.complete_to),
        "group_by": query.group_by,
        "total": _series(answer.total),
        "groups": groups,
    }
    # There may be thousands of points, which the response's model would take a second to check.
    return Response(msgspec.json.encode(body), media_type=JSON)


@router.get(
    "/stats/refusals",
    operation_id="get_refusals",
    summary="Count refused events",
    response_description="The numbers of refused events.",
    responses=openapi.problems(404),
)
async def get_refusals(query: Annotated[RefusalsQuery, Query()], services: backends.Injected) -> Refusals:
    """Count the events that were refused as they came in over REST, by subscription and reason.

    A refused event is a request to send a webhook, an event, or a batch that got an error, or an event of a batch that
    has an error. Requests without a valid API key or ingest token are of no tenant, and not counted.
    """
    request = pb.GetRefusalsRequest(
        tenant_id=services.everywhere(query.tenant), subscription_ids=query.subscription_id, limit=query.limit
    )
    if query.from_ is not None:
        request.from_time.FromDatetime(query.from_)
    if query.to is not None:
        request.to_time.FromDatetime(query.to)
    answer = await services.call(services.analytics.GetRefusals, request)
    items = [
        RefusalCount(
            subscription_id=count.subscription_id or None,
            reason=count.reason,
            events=count.events,
            last_at=models.timestamp(count.last_at),
        )
        for count in answer.counts
    ]
    moments = {"from": models.timestamp(answer.from_time), "to": models.timestamp(answer.to_time)}
    return Refusals(**moments, events=answer.events, items=items)


async def _stats(services: backends.Backends, query: StatsQuery, subscription_id: str) -> Stats:
    request = pb.GetStatsRequest(
        tenant_id=services.everywhere(query.tenant), subscription_id=subscription_id, window=query.duration()
    )
    answer = await services.call(services.analytics.GetStats, request)
    return Stats(**_fields(answer.stats))


def _series(series: pb.StatsSeries) -> dict[str, Any]:
    return {"summary": _fields(series.summary), "points": [_fields(point) for point in series.points]}


def _fields(stats: pb.Stats) -> dict[str, Any]:
    """Return the fields of Stats; field by field, for there may be thousands."""

    def optional(name: Literal["events", "attempt_success_rate", "delivery_success_rate"]) -> float | None:
        value: float | None = getattr(stats, name) if stats.HasField(name) else None
        return value

    latency = None
    if stats.HasField("latency"):
        found = stats.latency
        latency = {"mean": found.mean_ms, "p50": found.p50_ms, "p95": found.p95_ms, "p99": found.p99_ms}
    return {
        "window_start": models.timestamp(stats.window_start),
        "window_end": models.timestamp(stats.window_end),
        "events": optional("events"),
        "attempts": stats.attempts,
        "attempts_by_outcome": dict(stats.attempts_by_outcome),
        "delivered": stats.delivered,
        "failed": stats.failed,
        "cancelled": stats.cancelled,
        "attempt_success_rate": optional("attempt_success_rate"),
        "delivery_success_rate": optional("delivery_success_rate"),
        "latency_ms": latency,
    }
