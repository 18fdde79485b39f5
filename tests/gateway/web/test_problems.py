"""One table says what status each error has."""

import grpc
import msgspec
import pytest
from grpc.aio import AioRpcError, Metadata
from starlette.requests import Request

from services.gateway.web import problems
from services.platform import errors
from services.platform.grpc import errors as grpc_errors


def every_error(cls: type[errors.WebhookError] = errors.WebhookError) -> list[type[errors.WebhookError]]:
    return [cls, *(found for below in cls.__subclasses__() for found in every_error(below))]


@pytest.mark.parametrize("cls", every_error())
def test_every_error_stands_in_the_table_and_has_a_title(cls: type[errors.WebhookError]) -> None:
    assert cls in problems.STATUS
    assert problems.STATUS[cls] in problems.TITLES


@pytest.mark.parametrize("cls", [cls for cls in every_error() if cls.__module__ == errors.__name__])
def test_an_error_comes_through_grpc_with_the_same_status(cls: type[errors.WebhookError]) -> None:
    error = cls("no", violations=[errors.Violation(field="target_url", description="is bad")])
    details = grpc_errors.to_status(error).SerializeToString()
    rpc = AioRpcError(error.code, Metadata(), Metadata((grpc_errors.DETAILS_KEY, details)), details="no")
    answered = problems.response(grpc_errors.from_rpc_error(rpc))
    assert answered.status_code == problems.STATUS[cls]
    document = msgspec.json.decode(answered.body)
    assert document["reason"] == cls.reason
    assert document["errors"] == [{"field": "target_url", "message": "is bad"}]


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
def test_what_can_be_repeated_says_when(cls: type[errors.WebhookError]) -> None:
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
async def test_only_what_changes_something_has_an_unknown_outcome(method: str, reason: str) -> None:
    lost = AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata())
    request = Request({"type": "http", "method": method, "path": "/", "headers": []})
    answered = await problems.HANDLERS[AioRpcError](request, lost)
    assert (answered.status_code, msgspec.json.decode(answered.body)["reason"]) == (503, reason)
    assert answered.headers["retry-after"] == "1"
