"""Retries by hand share calls, and each has its own result."""

import asyncio

import httpx

from protos.webhook.v1 import deliveries_pb2 as pb
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.gateway.fakes import NOW, Services


def path(delivery_id: str) -> str:
    return f"/api/v1/webhooks/deliveries/{delivery_id}/retry"


def result(delivery_id: str) -> pb.RetryResult:
    delivery = pb.Delivery(
        id=delivery_id,
        event_id=str(ids.new()),
        subscription_id=str(ids.new()),
        tenant_id="default",
        status=pb.DELIVERY_STATUS_PENDING,
        created_at=NOW,
        expires_at=NOW,
        attempts=[pb.Attempt(number=1, started_at=NOW, error=pb.AttemptError(kind="timeout", message="too late"))],
    )
    return pb.RetryResult(delivery=delivery)


async def test_retries_at_once_share_calls_and_each_has_its_own_response(
    client: httpx.AsyncClient, services: Services
) -> None:
    made = [str(ids.new()) for _ in range(100)]
    refused = errors.Conflict("a worker is sending it", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT)
    services.retried = {name: result(name) for name in made} | {
        made[50]: pb.RetryResult(
            error=pb.RetryError(code=grpc_errors.code_number(refused), reason=refused.reason, message=refused.message)
        )
    }
    answers = await asyncio.gather(*(client.post(path(name)) for name in made))
    conflict = answers.pop(50)
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "DELIVERY_IN_FLIGHT")
    assert conflict.json()["detail"] == "a worker is sending it"
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["id"] for answer in answers] == [*made[:50], *made[51:]]
    assert sorted(name for request in services.requests for name in request.delivery_ids) == sorted(made)
    assert len(services.requests) <= len(made) / 2


async def test_a_call_that_fails_fails_each_of_its_retries(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = errors.Unavailable("the database cannot be reached; try again")
    answers = await asyncio.gather(*(client.post(path(str(ids.new()))) for _ in range(10)))
    assert {(answer.status_code, answer.json()["reason"]) for answer in answers} == {(503, "UNAVAILABLE")}


async def test_a_retry_has_the_fields_of_a_delivery_and_a_call_its_requests_id(
    client: httpx.AsyncClient, services: Services
) -> None:
    name = str(ids.new())
    services.retried = {name: result(name)}
    services.delivery = services.retried[name].delivery
    answer = await client.post(path(name), headers={"X-Request-Id": "mine"})
    assert services.request_ids == ["mine"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == (await client.get(f"/api/v1/webhooks/deliveries/{name}")).json()


async def test_a_retry_of_what_is_no_id_is_refused_and_only_post_is_supported(client: httpx.AsyncClient) -> None:
    answer = await client.post(path("x"))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "delivery_id")
    answer = await client.get(path(str(ids.new())))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
