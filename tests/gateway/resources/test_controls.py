"""Why a subscription's deliveries are held, and how they are sent, over REST."""

from typing import Any

import httpx
import pytest
from google.protobuf import timestamp_pb2

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors, ids
from tests.gateway.fakes import NOW, Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
URL = "https://example.com/hook"
UNKNOWN = str(ids.new())


async def create(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post(SUBSCRIPTIONS, json={"target_url": URL, **body})


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("disable", "disabled"),
        ("enable", "active"),
        ("pause", "paused"),
        ("resume", "active"),
        ("verify", "unverified"),
    ],
)
async def test_a_status_is_changed_and_answered(
    client: httpx.AsyncClient, services: Services, verb: str, status: str
) -> None:
    path = (await create(client)).headers["location"]
    for slash in ("", "/"):
        answer = await client.post(f"{path}/{verb}{slash}")
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert services.requests[-1].action == pb.SubscriptionAction.Value(f"SUBSCRIPTION_ACTION_{verb.upper()}")
        assert services.requests[-1].subscription_id == answer.json()["id"]
        assert (await client.get(path)).json() == answer.json()
    assert (await client.post(f"{SUBSCRIPTIONS}/{UNKNOWN}/{verb}")).status_code == 404
    assert (await client.post(f"{SUBSCRIPTIONS}/x/{verb}")).status_code == 422
    assert (await client.get(f"{path}/{verb}")).status_code == 405


@pytest.mark.parametrize(("verb", "reason"), [("enable", "SUBSCRIPTION_PAUSED"), ("pause", "SUBSCRIPTION_DISABLED")])
async def test_a_status_that_forbids_it_is_a_conflict_that_says_why(
    client: httpx.AsyncClient, services: Services, verb: str, reason: str
) -> None:
    services.failure = errors.Conflict("the subscription is something else", reason=errors.ErrorReason(reason))
    answer = await client.post(f"{SUBSCRIPTIONS}/{UNKNOWN}/{verb}")
    assert (answer.status_code, answer.json()["reason"]) == (409, reason)


async def test_a_retry_to_a_disabled_subscription_is_a_conflict(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = errors.Conflict("the subscription is disabled", reason=errors.ErrorReason.SUBSCRIPTION_DISABLED)
    answer = await client.post(f"/api/v1/webhooks/deliveries/{UNKNOWN}/retry")
    assert (answer.status_code, answer.json()["reason"]) == (409, "SUBSCRIPTION_DISABLED")


async def test_the_status_and_the_breaker_are_returned_in_full(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    (stored,) = services.stored.values()
    stored.status.status = pb.SubscriptionStatus.STATUS_DISABLED
    stored.status.status_reason = "gone"
    stored.status.breaker.CopyFrom(
        pb.Breaker(
            state=pb.BREAKER_STATE_OPEN,
            since=NOW,
            reason="failures",
            next_probe_at=timestamp_pb2.Timestamp(seconds=60),
            consecutive_failures=12,
        )
    )
    found = (await client.get(path)).json()
    assert (found["status"], found["status_reason"]) == ("disabled", "gone")
    assert found["breaker"] == {
        "state": "open",
        "since": "2026-03-14T15:09:26.535Z",
        "reason": "failures",
        "next_probe_at": "1970-01-01T00:01:00.000Z",
        "consecutive_failures": 12,
    }


CONTROLS: dict[str, Any] = {
    "keep_when_disabled": False,
    "rate_limit_per_second": 0.5,
    "rate_limit_burst": 3,
    "timeout_seconds": 2.5,
}


@pytest.mark.parametrize(
    "policy",
    [
        {"base_seconds": 1.0, "factor": 1.5, "cap_seconds": 9.0, "limit": 0},
        {"delays_seconds": [1.0, 0.25]},
        {"name": "standard-webhooks"},
        None,
    ],
)
async def test_controls_go_through_both_ways(
    client: httpx.AsyncClient, services: Services, policy: dict[str, Any] | None
) -> None:
    made = await create(client, **CONTROLS, retry_policy=policy)
    expected = CONTROLS | {"retry_policy": policy}
    assert {name: made.json()[name] for name in expected} == expected
    path = made.headers["location"]
    back = (await client.put(path, json={"target_url": URL})).json()
    assert {name: back[name] for name in expected} == {
        "keep_when_disabled": True,
        "rate_limit_per_second": None,
        "rate_limit_burst": None,
        "timeout_seconds": None,
        "retry_policy": None,
    }
    again = (await client.put(path, json={"target_url": URL, **expected})).json()
    assert {name: again[name] for name in expected} == expected


async def test_null_means_none_and_whole_numbers_are_numbers(client: httpx.AsyncClient, services: Services) -> None:
    nothing = {"rate_limit_per_second": None, "rate_limit_burst": None, "timeout_seconds": None, "retry_policy": None}
    assert (await create(client, **nothing)).status_code == 201
    given = {field.name for field, _ in services.requests[-1].spec.ListFields()}
    assert given == {"target_url"}
    made = await create(client, rate_limit_per_second=5, timeout_seconds=3, retry_policy={"base_seconds": 1})
    assert made.status_code == 201
    assert services.requests[-1].spec.retry_policy == pb.RetryPolicy(base_seconds=1)
    empty = await create(client, retry_policy={"factor": None, "delays_seconds": None})
    assert empty.status_code == 201
    assert services.requests[-1].spec.HasField("retry_policy")


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"keep_when_disabled": None}, ["keep_when_disabled"]),
    ({"keep_when_disabled": "true"}, ["keep_when_disabled"]),
    ({"keep_when_disabled": 1}, ["keep_when_disabled"]),
    ({"rate_limit_per_second": 0}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": 1e-16}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": -1}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": 100_001}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": "5"}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": True}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": [5]}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": 10**40}, ["rate_limit_per_second"]),
    ({"rate_limit_burst": 0}, ["rate_limit_burst"]),
    ({"rate_limit_burst": 1.5}, ["rate_limit_burst"]),
    ({"rate_limit_burst": 10**40}, ["rate_limit_burst"]),
    ({"timeout_seconds": 0}, ["timeout_seconds"]),
    ({"timeout_seconds": 31}, ["timeout_seconds"]),
    ({"timeout_seconds": "10"}, ["timeout_seconds"]),
    ({"retry_policy": "standard-webhooks"}, ["retry_policy"]),
    ({"retry_policy": [1, 2]}, ["retry_policy"]),
    ({"retry_policy": {"nope": 1}}, ["retry_policy.nope"]),
    ({"retry_policy": {"name": "fibonacci"}}, ["retry_policy.name"]),
    ({"retry_policy": {"name": ""}}, ["retry_policy.name"]),
    ({"retry_policy": {"limit": -1}}, ["retry_policy.limit"]),
    ({"retry_policy": {"limit": 101}}, ["retry_policy.limit"]),
    ({"retry_policy": {"limit": "3"}}, ["retry_policy.limit"]),
    ({"retry_policy": {"base_seconds": 0}}, ["retry_policy.base_seconds"]),
    ({"retry_policy": {"factor": 0.5}}, ["retry_policy.factor"]),
    ({"retry_policy": {"cap_seconds": -1}}, ["retry_policy.cap_seconds"]),
    ({"retry_policy": {"delays_seconds": []}}, ["retry_policy.delays_seconds"]),
    ({"retry_policy": {"delays_seconds": 5}}, ["retry_policy.delays_seconds"]),
    ({"retry_policy": {"delays_seconds": [1] * 50_000}}, ["retry_policy.delays_seconds"]),
    ({"retry_policy": {"delays_seconds": [1, "2", 0, None]}}, [f"retry_policy.delays_seconds.{n}" for n in (1, 2, 3)]),
]


@pytest.mark.parametrize(("body", "at_fault"), BAD, ids=lambda value: str(value)[:60])
async def test_invalid_controls_are_named_and_never_sent_on(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], at_fault: list[str]
) -> None:
    path = (await create(client)).headers["location"]
    for answer in (await create(client, **body), await client.put(path, json={"target_url": URL, **body})):
        assert answer.status_code == 422
        assert [found["field"] for found in answer.json()["errors"]] == at_fault
        assert len(answer.content) < 2_000
    assert len(services.requests) == 1
