"""Jobs over REST: what is passed on, and what is refused before it."""

from typing import Any

import httpx
import pytest

from protos.webhook.v1 import deliveries_pb2, jobs_pb2
from services.platform import errors, ids
from services.platform.auth import identity
from tests.gateway.fakes import Services

SUBSCRIPTION = str(ids.new())
FILTER = {"subscription_id": [SUBSCRIPTION], "status": ["failed"], "from": "2026-03-14T00:00:00Z"}


async def test_a_job_is_created_with_its_filter(client: httpx.AsyncClient, services: Services) -> None:
    answer = await client.post("/api/v1/jobs", json={"kind": "retry", "filter": FILTER, "rate_per_second": 50})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["location"] == f"/api/v1/jobs/{services.job.id}"
    (request,) = services.requests
    assert (request.kind, request.rate_per_second) == (jobs_pb2.JOB_KIND_RETRY, 50)
    assert list(request.filter.subscription_id) == [SUBSCRIPTION]
    assert list(request.filter.status) == [deliveries_pb2.DELIVERY_STATUS_FAILED]
    assert request.filter.from_time.ToJsonString() == "2026-03-14T00:00:00Z"


async def test_a_job_of_certain_events_needs_no_time(client: httpx.AsyncClient, services: Services) -> None:
    named = {"tag": ["order=42", "a=b"], "idempotency_key": ["k"], "provider_id": ["evt_1"]}
    services.job.filter.tag.append("order=42")
    services.job.filter.provider_id.append("evt_1")
    answer = await client.post("/api/v1/jobs", json={"kind": "retry", "filter": named})
    assert answer.status_code == 202
    (request,) = services.requests
    wanted = request.filter
    assert {name: list(getattr(wanted, name)) for name in named} == named
    shown = answer.json()["filter"]
    assert {name: shown[name] for name in named} == {
        "tag": ["order=42"],
        "idempotency_key": [],
        "provider_id": ["evt_1"],
    }


async def test_a_dry_run_creates_nothing(client: httpx.AsyncClient, services: Services) -> None:
    services.preview.token = "whj_token"
    services.preview.reasons.add(reason="expired", deliveries=3)
    answer = await client.post("/api/v1/jobs", json={"kind": "cancel", "filter": FILTER, "dry_run": True})
    assert answer.status_code == 200
    assert (answer.json()["token"], answer.json()["reasons"]) == ("whj_token", {"expired": 3})
    assert answer.headers["cache-control"] == "no-store"
    assert [type(request) for request in services.requests] == [jobs_pb2.PreviewJobRequest]


async def test_a_token_starts_the_job_of_a_dry_run(client: httpx.AsyncClient, services: Services) -> None:
    answer = await client.post("/api/v1/jobs", json={"token": "whj_token"})
    assert answer.status_code == 202
    assert services.requests[-1].token == "whj_token"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": FILTER}, "kind"),
        ({"kind": "retry"}, "filter"),
        ({"kind": "retry", "token": "whj_token"}, "kind"),
        ({"filter": FILTER, "token": "whj_token"}, "filter"),
        ({"token": "whj_token", "dry_run": True}, "dry_run"),
        ({"kind": "retry", "filter": FILTER | {"to": "2026-03-14T00:00:00Z"}}, "to"),
        ({"kind": "retry", "filter": FILTER, "rate_per_second": 10_001}, "rate_per_second"),
    ],
)
async def test_a_job_that_makes_no_sense_is_invalid(
    client: httpx.AsyncClient, services: Services, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422
    assert [error["field"].rpartition(".")[2] for error in answer.json()["errors"]] == [field]
    assert services.requests == []


async def test_what_failed_of_a_subscription_is_recovered_by_a_retry(
    client: httpx.AsyncClient, services: Services
) -> None:
    path = f"/api/v1/subscriptions/{SUBSCRIPTION}/recover"
    assert (await client.post(path, json={"from": "2026-03-14T00:00:00Z"})).status_code == 202
    (request,) = services.requests
    assert request.kind == jobs_pb2.JOB_KIND_RETRY
    assert list(request.filter.subscription_id) == [SUBSCRIPTION]
    assert list(request.filter.status) == [deliveries_pb2.DELIVERY_STATUS_FAILED]
    assert (await client.post(path, json={})).status_code == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/jobs", {"kind": "retry", "filter": FILTER}),
        ("/api/v1/jobs", {"token": "whj_token"}),
        (f"/api/v1/subscriptions/{SUBSCRIPTION}/recover", {"from": "2026-03-14T00:00:00Z"}),
    ],
)
async def test_the_key_of_a_request_is_passed_on_and_a_repeated_answer_says_so(
    client: httpx.AsyncClient, services: Services, path: str, body: dict[str, Any]
) -> None:
    for key, replayed in (("first", None), ("again", "true")):
        answer = await client.post(path, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 202
        assert answer.headers.get("idempotent-replayed") == replayed
        assert answer.headers["location"] == f"/api/v1/jobs/{services.job.id}"
        assert services.requests[-1].idempotency_key == key
    await client.post(path, json=body)
    assert services.requests[-1].idempotency_key == ""
    assert (await client.post(path, json=body, headers=[(b"Idempotency-Key", b"\xe9")])).status_code == 422


async def test_a_dry_run_takes_no_key(client: httpx.AsyncClient, services: Services) -> None:
    body = {"kind": "cancel", "filter": FILTER, "dry_run": True}
    assert (await client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "again"})).status_code == 200
    assert [type(request) for request in services.requests] == [jobs_pb2.PreviewJobRequest]


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
async def test_a_job_that_has_ended_is_a_conflict(client: httpx.AsyncClient, services: Services, verb: str) -> None:
    path = f"/api/v1/jobs/{ids.new()}"
    assert (await client.post(f"{path}/{verb}")).status_code == 200
    services.failure = errors.Conflict("the job has succeeded", reason=errors.ErrorReason.JOB_FINISHED)
    answer = await client.post(f"{path}/{verb}")
    assert (answer.status_code, answer.json()["reason"]) == (409, "JOB_FINISHED")


async def test_jobs_are_listed_by_status(client: httpx.AsyncClient, services: Services) -> None:
    answer = await client.get("/api/v1/jobs", params={"status": "paused", "limit": 1})
    assert (answer.status_code, answer.json()["next_cursor"]) == (200, "more")
    assert (services.requests[-1].status, services.requests[-1].page_size) == (jobs_pb2.JOB_STATUS_PAUSED, 1)


async def test_events_to_erase_are_passed_on_by_their_ids(client: httpx.AsyncClient, services: Services) -> None:
    event_ids = [str(ids.new()) for _ in range(60)]
    body = {"kind": "erase", "filter": {"event_ids": event_ids}}
    assert (await client.post("/api/v1/jobs", json=body)).status_code == 202
    (request,) = services.requests
    assert request.kind == jobs_pb2.JOB_KIND_ERASE
    assert list(request.filter.event_ids) == event_ids


async def test_a_caller_without_a_capability_is_forbidden(client: httpx.AsyncClient, services: Services) -> None:
    # As a service says it of the API key that the gateway acts for.
    violation = errors.Violation(
        field=identity.ACTOR_HEADER, description="requires an API key with the capability erase"
    )
    services.failure = errors.PermissionDenied(
        "this requires an API key with the capability erase",
        reason=errors.ErrorReason.CAPABILITY_MISSING,
        violations=[violation],
    )
    answer = await client.post("/api/v1/jobs", json={"kind": "erase", "filter": {"event_ids": [str(ids.new())]}})
    assert (answer.status_code, answer.json()["reason"]) == (403, "CAPABILITY_MISSING")


@pytest.mark.parametrize(
    ("only", "passed_on"),
    [("missing", jobs_pb2.REPLAYED_EVENTS_MISSING), ("all", jobs_pb2.REPLAYED_EVENTS_ALL)],
)
async def test_what_a_subscription_missed_is_recovered_by_a_replay_of_events(
    client: httpx.AsyncClient, services: Services, only: str, passed_on: int
) -> None:
    path = f"/api/v1/subscriptions/{SUBSCRIPTION}/recover"
    answer = await client.post(path, json={"from": "2026-03-14T00:00:00Z", "only": only})
    assert answer.status_code == 202
    body = {"kind": "replay", "to_subscription_id": SUBSCRIPTION, "only": only, "dry_run": True}
    answer = await client.post("/api/v1/jobs", json=body | {"filter": {"from": "2026-03-14T00:00:00Z"}})
    assert answer.status_code == 200
    recovery, dry_run = services.requests
    assert recovery.kind == jobs_pb2.JOB_KIND_REPLAY
    for request in (recovery, dry_run):
        assert (request.to_subscription_id, request.only) == (SUBSCRIPTION, passed_on)
        assert [field.name for field, _ in request.filter.ListFields()] == ["from_time"]
