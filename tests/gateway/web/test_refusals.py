"""What a service's refusal is to whoever called the gateway."""

import pytest
from grpc.aio import AioRpcError, Metadata

from services.gateway.web import problems
from services.platform import errors
from services.platform.auth.authenticator import ACTOR_HEADER, KEY_HEADER
from services.platform.grpc import errors as grpc_errors


def over_grpc(error: errors.WebhookError) -> AioRpcError:
    details = grpc_errors.to_status(error).SerializeToString()
    return AioRpcError(error.code, Metadata(), Metadata((grpc_errors.DETAILS_KEY, details)), details=error.message)


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
        errors.PermissionDenied("this requires an API key of role admin", reason=errors.ErrorReason.ROLE_INSUFFICIENT),
    ],
)
def test_a_callers_key_that_a_service_refuses_is_the_callers(refused: errors.WebhookError, header: str) -> None:
    violation = errors.Violation(field=header, description=refused.message)
    answered = problems.refusal_of(
        over_grpc(type(refused)(refused.message, reason=refused.reason, violations=[violation]))
    )
    assert (type(answered), answered.reason, answered.violations) == (type(refused), refused.reason, ())


@pytest.mark.parametrize("refused", [errors.SignatureMismatch("does not match"), errors.NotFound("no subscription")])
def test_any_other_refusal_is_the_callers(refused: errors.WebhookError) -> None:
    assert type(problems.refusal_of(over_grpc(refused))) is type(refused)
