"""Statistics of attempts."""

from typing import Annotated

from fastapi import APIRouter, Query
from google.protobuf import duration_pb2
from pydantic import Field

from protos.webhook.v1 import analytics_pb2 as pb
from services.gateway.resources import models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import RoleRoute

router = APIRouter(prefix="/api/v1", tags=["statistics"], route_class=RoleRoute)

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}


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
        return duration_pb2.Duration(seconds=int(self.window[:-1]) * _UNIT_SECONDS[self.window[-1]])


class Latency(models.Answer):
    """Durations in milliseconds of attempts that received a response."""

    mean: float = Field(examples=[48.2])
    p50: float = Field(examples=[31.0])
    p95: float = Field(examples=[140.5])
    p99: float = Field(examples=[420.0])


class Stats(models.Answer):
    """Counts and latencies in a time window."""

    window_start: models.Timestamp
    window_end: models.Timestamp = Field(description="When the latest numbers were computed.")
    attempts: int = Field(examples=[1000])
    attempts_by_outcome: dict[str, int] = Field(
        description="By `success` or kind of error; kinds without attempts are omitted.",
        examples=[{"success": 990, "http_5xx": 8, "timeout": 2}],
    )
    delivered: int = Field(description="Deliveries that ended with status `delivered`.", examples=[990])
    failed: int = Field(description="Deliveries that ended with status `failed`.", examples=[2])
    success_rate: float | None = Field(
        description="Share of successful attempts among those with a known outcome, 0 to 1; null if there are none.",
        examples=[0.99],
    )
    latency_ms: Latency | None = Field(description="null if no attempt received a response.")


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


async def _stats(services: backends.Backends, query: StatsQuery, subscription_id: str) -> Stats:
    request = pb.GetStatsRequest(
        tenant_id=services.everywhere(query.tenant), subscription_id=subscription_id, window=query.duration()
    )
    answer = await services.call(services.analytics.GetStats, request)
    found = models.values(answer.stats)
    latency = found.pop("latency")
    if latency is not None:
        latency = Latency(**{name.removesuffix("_ms"): value for name, value in latency.items()})
    return Stats(**found, latency_ms=latency)
