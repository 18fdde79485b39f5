"""Retry policies of subscriptions, as they are sent and as they are answered."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway.resources import models

# Strictly: neither "5" nor true is a number.
Seconds = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False, description="Above 0.")]

EXAMPLE: dict[str, Any] = {"base_seconds": 10.0, "factor": 3.0, "cap_seconds": 3600.0, "limit": 8}


class RetryPolicyBody(models.Request):
    """When a failed delivery is tried again. One of three kinds, which do not mix.

    Exponential: `base_seconds`, `factor`, `cap_seconds`, `limit`, each of which may be left to the service. Explicit:
    `delays_seconds`. Named: `name`. All delays together must fit into the life of a delivery.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [EXAMPLE, {"delays_seconds": [1.0, 60.0, 3600.0]}, {"name": "standard-webhooks"}]
        }
    )

    base_seconds: Seconds | None = Field(None, description="Delay before the first retry.")
    factor: float | None = Field(
        None, ge=1, strict=True, allow_inf_nan=False, description="Each further delay is so many times the one before."
    )
    cap_seconds: Seconds | None = Field(None, description="No delay is longer; at least `base_seconds`.")
    limit: int | None = Field(None, ge=0, le=100, strict=True, description="Retries after the first attempt.")
    delays_seconds: list[Seconds] | None = Field(
        None, min_length=1, max_length=100, description="Each delay by itself: so many retries, at these distances."
    )
    name: Literal["standard-webhooks"] | None = Field(
        None,
        description=(
            "`standard-webhooks`: the schedule of the Standard Webhooks specification, nine retries after 5 s, 5 min, "
            "30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h."
        ),
    )


class ExponentialRetries(models.Answer):
    """Retry *n* comes `base_seconds` · `factor`ⁿ⁻¹ after the failure before it, at most `cap_seconds`."""

    base_seconds: float = Field(examples=[EXAMPLE["base_seconds"]])
    factor: float = Field(examples=[EXAMPLE["factor"]])
    cap_seconds: float = Field(examples=[EXAMPLE["cap_seconds"]])
    limit: int = Field(description="Retries after the first attempt.", examples=[EXAMPLE["limit"]])


class ExplicitRetries(models.Answer):
    """Each delay by itself."""

    delays_seconds: list[float] = Field(examples=[[1.0, 60.0, 3600.0]])


class NamedRetries(models.Answer):
    """A schedule that has a name."""

    name: str = Field(examples=["standard-webhooks"])


RetryPolicy = ExponentialRetries | ExplicitRetries | NamedRetries


def asked(body: RetryPolicyBody | None) -> pb.RetryPolicy | None:
    """The message of a policy that is asked for."""
    return None if body is None else pb.RetryPolicy(**body.model_dump(exclude_none=True))


def answered(message: pb.Subscription) -> RetryPolicy | None:
    """The policy of a subscription; None for the service's own."""
    return _policy(message.retry_policy) if message.HasField("retry_policy") else None


def effective(message: pb.Subscription) -> RetryPolicy:
    """The policy that its deliveries follow."""
    return _policy(message.effective_retry_policy)


def _policy(policy: pb.RetryPolicy) -> RetryPolicy:
    if policy.name:
        return NamedRetries(name=policy.name)
    if policy.delays_seconds:
        return ExplicitRetries(delays_seconds=list(policy.delays_seconds))
    return ExponentialRetries(
        base_seconds=policy.base_seconds,
        factor=policy.factor,
        cap_seconds=policy.cap_seconds,
        limit=policy.limit,
    )
