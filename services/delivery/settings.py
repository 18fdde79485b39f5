"""Settings of the delivery service and of its workers."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from services.common.encryption_keys import EncryptionSettings
from services.common.retry_policy import RetrySettings
from services.common.settings import ExpirySettings, GrpcServerSettings, PostgresSettings, RedisSettings

# Between the longest request and the end of its lease: what recording its outcome may take.
RECORDING_SECONDS = 5.0


class LeaseSettings(PostgresSettings, RedisSettings, ExpirySettings):
    """What both processes must agree on."""

    # How long a claim holds without being renewed.
    lease_seconds: PositiveFloat = 60.0


class DeliverySettings(LeaseSettings, GrpcServerSettings):
    """What the delivery service reads from the environment."""

    grpc_port: Annotated[int, Field(ge=0, le=65535)] = 50052


class WorkerSettings(LeaseSettings, RetrySettings, EncryptionSettings):
    """What a worker reads from the environment."""

    # HTTP requests in flight.
    worker_concurrency: PositiveInt = 512
    # The longest that a receiver's Retry-After puts a retry off; 0 means that it is not looked at.
    retry_after_cap_seconds: Annotated[float, Field(ge=0, le=604_800)] = 3600.0
    # Deadline over connect, headers and body of one request, where the subscription has none of its own.
    delivery_timeout_seconds: Annotated[float, Field(ge=1, le=30)] = 15.0
    # Failures in a row that open a subscription's circuit breaker.
    breaker_failures: PositiveInt = 10
    # Or this share of a worker's attempts within the window, if they are so many at least. Over 1: never.
    breaker_failure_rate: PositiveFloat = 0.8
    breaker_window_seconds: PositiveInt = 60
    breaker_min_attempts: PositiveInt = 20
    # From the opening to the first probe; twice as long each time, up to the cap.
    breaker_cooldown_seconds: PositiveFloat = 10.0
    breaker_cooldown_cap_seconds: PositiveFloat = 600.0
    # A subscription that has only failed for so long is disabled.
    disable_after_hours: PositiveFloat = 120.0
    # Of a response, how much is read, and how much of that is stored.
    max_response_bytes: PositiveInt = 64 << 10
    stored_response_bytes: NonNegativeInt = 4 << 10
    # Networks (CIDR), hosts and host:port pairs that deliveries may reach though they are not public.
    # Unset: loopback in development, nothing elsewhere. Empty: nothing.
    egress_allow: str | None = None
    # Payloads of at most so many bytes come with the claim; larger ones are read just before their send.
    claimed_payload_bytes: PositiveInt = 64 << 10
    # Larger payloads that a worker holds at once.
    large_payload_budget_bytes: PositiveInt = 64 << 20

    @model_validator(mode="after")
    def _leases_outlast_requests(self) -> "WorkerSettings":
        if self.lease_seconds < self.delivery_timeout_seconds + RECORDING_SECONDS:
            message = f"lease_seconds must be at least delivery_timeout_seconds + {RECORDING_SECONDS:g}"
            raise ValueError(message)
        return self

    @property
    def egress_allowed(self) -> list[str]:
        """The entries of egress_allow."""
        if self.egress_allow is None:
            return ["127.0.0.0/8", "::1/128"] if self.development else []
        return [entry for entry in (part.strip() for part in self.egress_allow.split(",")) if entry]
