"""Problem documents: their statuses, errors of services, and requests with many errors."""

import json
import re
from pathlib import Path
from typing import Any

import grpc
import httpx
import msgspec
import pytest
from grpc.aio import AioRpcError, Metadata
from starlette.requests import Request

from services.gateway.web import problems, routing
from services.platform import errors, ids
from services.platform.auth.authenticator import KEY_HEADER
from services.platform.auth.identity import ACTOR_HEADER
from services.platform.grpc import errors as grpc_errors
from tests.gateway.fakes import Services


def every_error(cls: type[errors.WebhookError] = errors.WebhookError) -> list[type[errors.WebhookError]]:
    return [cls, *(found for below in cls.__subclasses__() for found in every_error(below))]


# The relay answers nobody, and is imported only by tests of its own.
@pytest.mark.parametrize("cls", [cls for cls in every_error() if not cls.__module__.startswith("services.relay.")])
def test_errors_all_have_a_status_and_a_title(cls: type[errors.WebhookError]) -> None:
    assert cls in problems.STATUS
    assert problems.STATUS[cls] in problems.TITLES


@pytest.mark.parametrize("cls", [cls for cls in every_error() if cls.__module__ == errors.__name__])
def test_an_error_comes_through_grpc_with_the_same_status(cls: type[errors.WebhookError]) -> None:
    error = cls("no", violations=[errors.Violation(field="target_url", description="is bad")])
    details = grpc_errors.to_status(error).SerializeToString()
    rpc = AioRpcError(
        grpc_errors.status_code(error), Metadata(), Metadata((grpc_errors.DETAILS_KEY, details)), details="no"
    )
    answered = problems.response(grpc_errors.from_rpc_error(rpc))
    assert answered.status_code == problems.STATUS[cls]
    document = msgspec.json.decode(answered.body)
    assert document["reason"] == cls.reason
    assert document["errors"] == [{"field": "target_url", "message": "is bad"}]


def test_the_page_of_reason_codes_lists_each_code_once() -> None:
    page = Path(__file__).resolve().parents[3] / "docs/reference/errors.md"
    listed = re.findall(r"^\| `([A-Z_]+)` \|", page.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(errors.ErrorReason)


def test_a_document_has_the_members_of_rfc_9457() -> None:
    answered = problems.response(errors.InvalidArgument.field("target_url", "is required"))
    assert answered.media_type == "application/problem+json"
    assert msgspec.json.decode(answered.body) == {
        "type": "urn:webhook-service:error:INVALID_ARGUMENT",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "target_url: is required",
        "reason": "INVALID_ARGUMENT",
        "errors": [{"field": "target_url", "message": "is required"}],
    }


@pytest.mark.parametrize("cls", [errors.Overloaded, errors.Unavailable])
def test_a_retryable_error_says_when_to_retry(cls: type[errors.WebhookError]) -> None:
    assert problems.response(cls("try again")).headers["retry-after"] == "1"


def test_an_unauthenticated_answer_names_the_challenge() -> None:
    assert "www-authenticate" in problems.response(errors.Unauthenticated("no")).headers


def test_a_service_that_does_not_answer_in_time_is_unavailable() -> None:
    rpc = AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata(), details="ipv4:10.0.0.1:50051")
    answered = problems.response(grpc_errors.from_rpc_error(rpc))
    assert answered.status_code == 503
    assert b"10.0.0.1" not in answered.body


def test_a_bug_is_answered_without_its_message() -> None:
    answered = problems.bug(RuntimeError("password is hunter2"))
    document = msgspec.json.decode(answered.body)
    assert (answered.status_code, document["reason"]) == (500, "INTERNAL")
    assert document["instance"].startswith("urn:uuid:")
    assert b"hunter2" not in answered.body


@pytest.mark.parametrize(
    ("method", "reason"), [("GET", "UNAVAILABLE"), ("HEAD", "UNAVAILABLE"), ("POST", "OUTCOME_UNKNOWN")]
)
async def test_outcome_is_unknown_only_for_requests_that_change_something(method: str, reason: str) -> None:
    lost = AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata())
    request = Request({"type": "http", "method": method, "path": "/", "headers": []})
    answered = await problems.HANDLERS[AioRpcError](request, lost)
    assert (answered.status_code, msgspec.json.decode(answered.body)["reason"]) == (503, reason)
    assert answered.headers["retry-after"] == "1"


# How an error of a service appears to the gateway's client.


def over_grpc(error: errors.WebhookError) -> AioRpcError:
    details = grpc_errors.to_status(error).SerializeToString()
    return AioRpcError(
        grpc_errors.status_code(error), Metadata(), Metadata((grpc_errors.DETAILS_KEY, details)), details=error.message
    )


@pytest.mark.parametrize(
    "refused",
    [
        errors.Unauthenticated("the API key is not valid"),
        errors.Unauthenticated("send an API key", reason=errors.ErrorReason.KEY_MISSING),
        errors.PermissionDenied("this method requires the service key", reason=errors.ErrorReason.ROLE_INSUFFICIENT),
    ],
)
def test_a_service_key_that_is_not_taken_is_not_the_callers_fault(refused: errors.WebhookError) -> None:
    assert isinstance(problems.refusal_of(over_grpc(refused)), errors.Unavailable)


@pytest.mark.parametrize("header", [ACTOR_HEADER, KEY_HEADER])
@pytest.mark.parametrize(
    "refused",
    [
        errors.Unauthenticated("the API key has expired", reason=errors.ErrorReason.KEY_EXPIRED),
        errors.PermissionDenied(
            "this requires an API key with role admin", reason=errors.ErrorReason.ROLE_INSUFFICIENT
        ),
    ],
)
def test_a_callers_key_that_a_service_refuses_is_the_callers(refused: errors.WebhookError, header: str) -> None:
    violation = errors.Violation(field=header, description=refused.message)
    answered = problems.refusal_of(
        over_grpc(type(refused)(refused.message, reason=refused.reason, violations=[violation]))
    )
    assert (type(answered), answered.reason, answered.violations) == (type(refused), refused.reason, ())


@pytest.mark.parametrize("refused", [errors.SignatureMismatch("does not match"), errors.NotFound("no subscription")])
def test_rejections_of_any_other_kind_keep_their_type(refused: errors.WebhookError) -> None:
    assert type(problems.refusal_of(over_grpc(refused))) is type(refused)


# A request with many or large errors gets a bounded problem document with a 4xx status.


SUBSCRIPTIONS = "/api/v1/subscriptions"


EVENTS = "/api/v1/events"


URL = "https://example.com/"
# A problem with 20 errors, each as long as possible.
MAX_PROBLEM_BYTES = 32 << 10


def bounded(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text[:500]
    assert len(answer.content) < MAX_PROBLEM_BYTES
    document: dict[str, Any] = answer.json()
    assert len(document.get("errors", [])) <= errors.MAX_VIOLATIONS
    assert all(len(found["field"]) <= errors.MAX_NAME_LENGTH for found in document.get("errors", []))
    return document


@pytest.mark.parametrize(
    ("path", "body", "many"),
    [(SUBSCRIPTIONS, {"target_url": URL}, 10_000), (EVENTS, {"event_type": "a", "payload": 1}, 600)],
)
async def test_twenty_unknown_fields_are_listed_and_the_others_counted(
    client: httpx.AsyncClient, path: str, body: dict[str, object], many: int
) -> None:
    document = bounded(await client.post(path, json=body | {f"unknown-{number}": 1 for number in range(many)}))
    assert [found["field"] for found in document["errors"]] == [f"unknown-{number}" for number in range(20)]
    assert document["detail"].endswith(f"; and {many - 20} more")


async def test_a_long_name_is_cut(client: httpx.AsyncClient) -> None:
    for path, length in ((SUBSCRIPTIONS, 200_000), (EVENTS, 10_000)):
        document = bounded(await client.post(path, json={"x" * length: 1}))
        assert "x" * 99 + "…" in [found["field"] for found in document["errors"]]
    bounded(await client.post(SUBSCRIPTIONS, json={"x" * 1_000_000: 1}), 413)
    bounded(await client.post(EVENTS, json={"x" * 1_000_000: 1}), 413)


async def test_a_document_of_a_catalog_may_be_larger_than_other_bodies(client: httpx.AsyncClient) -> None:
    for size, status in ((routing.MAX_LARGE_BYTES, 422), (routing.MAX_LARGE_BYTES + 1, 413)):
        bounded(await client.post("/api/v1/catalog/import", content=b"{}".rjust(size)), status)


async def test_long_and_many_parameters_are_a_bounded_problem(client: httpx.AsyncClient) -> None:
    document = bounded(await client.get(f"{SUBSCRIPTIONS}?{'x' * 8000}=1"))
    assert document["errors"][0]["field"] == "x" * 99 + "…"
    document = bounded(await client.get(SUBSCRIPTIONS + "?" + "&".join(f"p{number}=1" for number in range(900))))
    assert document["detail"].endswith("; and 880 more")
    bounded(await client.get(f"{SUBSCRIPTIONS}?{'x' * 60_000}=1"), 414)


async def test_problem_about_many_wrong_event_types_is_bounded(client: httpx.AsyncClient, services: Services) -> None:
    bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL, "event_types": ["a b"] * 10_000}))
    bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL, "event_types": [1] * 10_000}))
    assert services.requests == []


async def test_a_service_that_finds_very_many_faults_is_the_clients_error(
    client: httpx.AsyncClient, services: Services
) -> None:
    wrong = [errors.Violation(field=f"event_types.{n}", description="☃" * 5000) for n in range(10_000)]
    services.failure = errors.InvalidArgument.of(*wrong)
    document = bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL}))
    assert document["errors"][0]["field"] == "event_types.0"
    assert document["detail"].endswith("; and 9980 more")


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "meant"),
    [
        ("POST", SUBSCRIPTIONS, {"url": URL}, "url", "target_url"),
        ("POST", SUBSCRIPTIONS, {"targetUrl": URL}, "targetUrl", "target_url"),
        ("POST", SUBSCRIPTIONS, {"target_url": URL, "event_type": []}, "event_type", "event_types"),
        ("PUT", f"{SUBSCRIPTIONS}/{ids.new()}", {"target_url": URL, "secret": "x"}, "secret", "secret_key"),
        ("POST", SUBSCRIPTIONS, {"retry_policy": {"baseSecond": 1}}, "retry_policy.baseSecond", "base_seconds"),
        ("POST", EVENTS, {"eventType": "a", "payload": 1}, "eventType", "event_type"),
        ("POST", EVENTS, {"type": "a", "payload": 1}, "type", "event_type"),
        ("GET", f"{SUBSCRIPTIONS}?curser=x", None, "curser", "cursor"),
        ("POST", SUBSCRIPTIONS, {"target_url": URL, "color": "red"}, "color", None),
    ],
)
async def test_a_field_that_is_nearly_right_is_answered_with_the_right_one(
    client: httpx.AsyncClient, method: str, path: str, body: object, field: str, meant: str | None
) -> None:
    content = None if body is None else json.dumps(body)
    document = bounded(await client.request(method, path, content=content))
    messages = {found["field"]: found["message"] for found in document["errors"]}
    assert messages[field] == "is not a known field" + (f"; did you mean {meant}?" if meant else "")
