"""GET /api/v1/system: what both services say together, and what is left when one of them says nothing."""

import httpx

from protos.webhook.v1 import system_pb2 as pb
from services.gateway.resources.system import System
from services.platform import errors, ids
from services.platform.process import metrics
from tests.gateway.fakes import NOW, Services

PATH = "/api/v1/system"


def filled(services: Services) -> None:
    services.system.processes.add(
        id=str(ids.new()), roles=["worker"], instance="pod", pid=1, version="0.1.0", started_at=NOW, seen_at=NOW,
        slots=8, busy_slots=0,
    )  # fmt: skip
    services.system.partitions.add(name="webhook_events_20260314", table="webhook_events", from_time=NOW, to_time=NOW)
    services.queue.MergeFrom(
        pb.GetQueueResponse(due=3, held=[pb.HeldDeliveries(held_by="paused", deliveries=2)], held_known=True)
    )


async def test_everything_is_in_one_response(client: httpx.AsyncClient, services: Services) -> None:
    filled(services)
    answer = await client.get(PATH)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert System.model_validate(body, strict=True).model_dump() == body
    assert (body["version"], body["unavailable"]) == (metrics.VERSION, [])
    (process,) = body["processes"]
    assert (process["roles"], process["slots"], process["busy_slots"], process["missing"]) == (["worker"], 8, 0, False)
    (partition,) = body["postgres"]["partitions"]
    assert (partition["name"], partition["rows"]) == ("webhook_events_20260314", None)
    assert (body["postgres"]["version"], body["postgres"]["partitions_until"]) == ("18.1", None)
    assert (body["queue"]["due"], body["queue"]["held"]) == (3, [{"held_by": "paused", "deliveries": 2}])
    assert body["redis"] == dict.fromkeys(("error", "version", "memory_bytes", "max_memory_bytes")) | {"doorbells": 0}


async def test_redis_that_is_away_says_so(client: httpx.AsyncClient, services: Services) -> None:
    services.queue.redis.CopyFrom(pb.RedisStatus(error="Connection refused"))
    redis = (await client.get(PATH)).json()["redis"]
    assert (redis["error"], redis["doorbells"]) == ("Connection refused", None)


async def test_a_service_that_says_nothing_is_named_and_its_part_missing(
    client: httpx.AsyncClient, services: Services
) -> None:
    filled(services)
    services.failures = [errors.Unavailable("it is away")]
    answer = await client.get(PATH)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (missing,) = body["unavailable"]
    assert missing["detail"] == "it is away"
    if missing["service"] == "ingest":
        assert (body["processes"], body["postgres"]) == ([], None)
        assert body["queue"]["due"] == 3
    else:
        assert (missing["service"], body["queue"], body["redis"]) == ("delivery", None, None)
        assert len(body["processes"]) == 1


async def test_when_nobody_says_anything_it_is_503(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = errors.Unavailable("it is away")
    answer = await client.get(PATH)
    assert (answer.status_code, answer.json()["reason"]) == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"]


async def test_what_the_caller_may_not_see_is_refused_as_a_whole(client: httpx.AsyncClient, services: Services) -> None:
    violation = errors.Violation(field="webhook-actor", description="has another role")
    services.failures = [errors.PermissionDenied("has another role", violations=[violation])]
    assert (await client.get(PATH)).status_code == 403
