"""What the service runs on. Requires role admin."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
from fastapi import APIRouter
from pydantic import Field

from protos.webhook.v1 import system_pb2 as pb
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi, problems
from services.gateway.web.routing import RoleRoute
from services.platform import errors
from services.platform.process import metrics

router = APIRouter(prefix="/api/v1/system", tags=["admin"], route_class=RoleRoute)
Answer = TypeVar("Answer")

_EXAMPLE_ID = "019ced70-2b7e-7d14-9a3c-6e0f1d2c3b4a"
_EXAMPLE_PARTITION = "delivery_attempts_20260314"


class SystemProcess(models.Answer):
    """A process of the service."""

    id: models.Uuid = Field(description="Made as it starts.", examples=[_EXAMPLE_ID])
    roles: list[str] = Field(description="What it does.", examples=[["gateway", "ingest"]])
    instance: str = Field(description="Its host; in Kubernetes its pod.", examples=["webhook-gateway-6d5f7c9b8-x2x7k"])
    pid: int = Field(description="Its number on that host.", examples=[1])
    version: str = Field(examples=[metrics.VERSION])
    started_at: models.Timestamp
    seen_at: models.Timestamp = Field(description="When it was there last. It says so every 10 to 30 seconds.")
    missing: bool = Field(
        description=(
            "Whether it has said nothing for 75 seconds: it was killed, or cannot reach Postgres. It is forgotten "
            "after an hour, and at once if it stops in order."
        )
    )
    slots: int | None = Field(
        description="Requests that it may have in flight; null without the role `worker`.", examples=[256]
    )
    busy_slots: int | None = Field(
        description="Requests that it had in flight when it was seen; null without the role `worker`.", examples=[12]
    )


class SystemPartition(models.Answer):
    """A day of a table."""

    name: str = Field(examples=[_EXAMPLE_PARTITION])
    table: str = Field(examples=["delivery_attempts"])
    from_time: models.Timestamp = Field(description="The beginning of its day, in UTC.")
    to_time: models.Timestamp = Field(description="The end of its day.")
    rows: int | None = Field(
        description="Rows, as the server estimates them; null before it first did.", examples=[1_200_000]
    )
    bytes: int = Field(description="Size on disk, with indexes and TOAST.", examples=[512 << 20])


class SystemPostgres(models.Answer):
    """The database."""

    version: str = Field(description="Version of the server.", examples=["18.1"])
    bytes: int = Field(description="Size of the database on disk.", examples=[3 << 30])
    connections: int = Field(description="Connections to the database, from all clients.", examples=[24])
    max_connections: int = Field(description="Connections that the server allows, to all databases.", examples=[100])
    schema_version: str = Field(description="The newest migration that was applied.", examples=["20261124000001"])
    migrated_at: models.Timestamp = Field(description="When it was applied.")
    partitions: list[SystemPartition] = Field(description="The newest first; at most 500.")
    partition_count: int = Field(description="How many there are.", examples=[60])
    partitions_until: models.Timestamp | None = Field(
        description="Until when every table has partitions. They are made seven days ahead."
    )


class SystemHeld(models.Answer):
    """Due deliveries that something holds."""

    held_by: enums.Hold
    deliveries: int = Field(examples=[40])


class SystemQueue(models.Answer):
    """What is unfinished, in all tenants. Each number is counted up to 100,000."""

    due: int = Field(description="Deliveries that an additional worker could send at once.", examples=[3])
    scheduled: int = Field(description="Deliveries that wait for their next attempt.", examples=[120])
    in_flight: int = Field(description="Deliveries that a worker or a consumer has.", examples=[12])
    expanding: int = Field(description="Deliveries of large fan-outs that are yet to be created.", examples=[0])
    oldest_due_seconds: float = Field(description="How long the oldest due delivery has waited.", examples=[0.4])
    held: list[SystemHeld] = Field(description="Due deliveries that are held, by what holds them.")
    held_known: bool = Field(
        description="Whether `held` is complete. A delivery process that does not dispatch knows only a part."
    )
    breakers_open: int = Field(description="Circuit breakers that are open.", examples=[1])
    breakers_half_open: int = Field(description="Circuit breakers that probe their endpoint.", examples=[0])


class SystemRedis(models.Answer):
    """Redis, which stores nothing that must survive."""

    error: str | None = Field(
        description="Why it cannot be used; null if it can. Deliveries go on without it.", examples=[None]
    )
    version: str | None = Field(description="What it says that it is; null if it does not.", examples=["Valkey 8.1.0"])
    memory_bytes: int | None = Field(description="Memory that it uses; null if it does not say.", examples=[4 << 20])
    max_memory_bytes: int | None = Field(
        description="Its limit; 0 without one, null if it does not say.", examples=[256 << 20]
    )
    doorbells: int | None = Field(
        description="Messages to workers, unread or in progress, each with up to 64 deliveries; null without Redis.",
        examples=[2],
    )


class SystemUnavailable(models.Answer):
    """A service that did not respond, so that a part is missing."""

    service: str = Field(description="`ingest` or `delivery`.", examples=["delivery"])
    detail: str = Field(description="What it says.", examples=["the service cannot be reached; try again"])


class System(models.Answer):
    """What the service runs on, as of a few seconds ago."""

    version: str = Field(description="Version of the gateway that responds.", examples=[metrics.VERSION])
    processes: list[SystemProcess] = Field(
        description="The processes, by role and age; at most 200. Empty while ingest is unavailable."
    )
    postgres: SystemPostgres | None = Field(description="null while ingest is unavailable.")
    queue: SystemQueue | None = Field(description="null while delivery is unavailable.")
    redis: SystemRedis | None = Field(description="null while delivery is unavailable.")
    unavailable: list[SystemUnavailable] = Field(description="Which services did not respond.")


@router.get(
    "",
    operation_id="get_system",
    summary="Get what the service runs on",
    response_description="The processes, the stores, and the queue.",
    responses=openapi.problems(),
)
async def get_system(services: backends.Injected) -> System:
    """Get the processes of the service with their versions, the stores, the queue of all tenants, and the partitions.

    A service that does not respond is listed in `unavailable`, and its part is missing. Everybody who asks within 5
    seconds gets the same.
    """
    of_ingest = _part("ingest", services.operate(services.system.GetSystem, pb.GetSystemRequest()))
    of_delivery = _part("delivery", services.inspect(services.queue.GetQueue, pb.GetQueueRequest()))
    (system, no_system), (queue, no_queue) = await asyncio.gather(of_ingest, of_delivery)
    missing = [one for one in (no_system, no_queue) if one is not None]
    if system is None and queue is None:
        raise errors.Unavailable(missing[0].detail)
    return System(
        version=metrics.VERSION,
        processes=[] if system is None else models.values(system)["processes"],
        postgres=None if system is None else _postgres(system),
        queue=None if queue is None else SystemQueue(**models.values(queue)),
        redis=None if queue is None else _redis(queue.redis),
        unavailable=missing,
    )


async def _part(service: str, call: Awaitable[Answer]) -> tuple[Answer | None, SystemUnavailable | None]:
    """Return what a service says, or that it says nothing. What it refuses the caller is raised."""
    try:
        return await call, None
    except grpc.aio.AioRpcError as error:
        why = problems.refusal_of(error)
    except errors.WebhookError as error:
        why = error
    if isinstance(why, errors.Unauthenticated | errors.PermissionDenied):
        raise why
    return None, SystemUnavailable(service=service, detail=why.message)


def _postgres(system: pb.GetSystemResponse) -> SystemPostgres:
    found = models.values(system)
    shared = {name: found[name] for name in ("partitions", "partition_count", "partitions_until")}
    return SystemPostgres(**found["database"], **shared)


def _redis(redis: pb.RedisStatus) -> SystemRedis:
    found: dict[str, Any] = models.values(redis)
    return SystemRedis(**found | {"error": redis.error or None, "version": redis.version or None})
