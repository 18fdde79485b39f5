"""Settings of the delivery service and of its workers."""

import ssl
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from services.domain.egress.policy import EgressSettings
from services.domain.idempotency import IdempotencySettings
from services.domain.retry_policy import ExpirySettings, RetrySettings, TimeoutSettings
from services.domain.secrets.encryption import EncryptionSettings
from services.domain.tenants.quotas import QuotaSettings
from services.platform.settings import (
    Count,
    GrpcServerSettings,
    Port,
    PostgresSettings,
    RedisSettings,
    Seconds,
    constant,
    shaped,
)
from services.platform.tracing.settings import TracingDoorSettings, TracingSettings

# Between the longest request and the end of its lease: what recording its outcome may take.
RECORDING_SECONDS = 5.0


class LeaseSettings(PostgresSettings, RedisSettings, ExpirySettings):
    """What both processes must agree on."""

    # How long a claim holds without being renewed.
    lease_seconds: Seconds = 60.0


class ReceiverSettings(LeaseSettings, RetrySettings, EncryptionSettings):
    """What the requests to receivers depend on, whether workers send them or consumers pull them."""

    # Whether requests carry the header traceparent.
    tracing_to_receivers: bool = False


class DeliverySettings(ReceiverSettings, QuotaSettings, IdempotencySettings, GrpcServerSettings, TracingDoorSettings):
    """What the delivery service reads from the environment."""

    own_service_keys: ClassVar[Sequence[str]] = ("delivery_service_key",)

    # What a gateway shows to this process; unset: service_key.
    delivery_service_key: str = Field("", repr=False)
    grpc_port: Port = 50052


class WorkerSettings(ReceiverSettings, TimeoutSettings, EgressSettings, TracingSettings):
    """What a worker reads from the environment."""

    # HTTP requests in flight.
    worker_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 512
    # HTTP requests in flight over all workers: of one tenant, and to one host and port. Each worker keeps to its share.
    tenant_concurrency: Annotated[int, Field(ge=1, le=10_000_000)] = 4096
    target_host_concurrency: Annotated[int, Field(ge=1, le=10_000_000)] = 2048
    # The longest that a receiver's Retry-After puts a retry off; 0 means that it is not looked at.
    retry_after_cap_seconds: float = constant(3600.0)
    # Failures in a row that open a subscription's circuit breaker.
    breaker_failures: Count = 10
    # Or this share of a worker's attempts within the window, if they are so many at least. Over 1: never.
    breaker_failure_rate: float = constant(0.8)
    breaker_window_seconds: int = constant(60)
    breaker_min_attempts: int = constant(20)
    # From the opening to the first probe; twice as long each time, up to the cap.
    breaker_cooldown_seconds: Seconds = 10.0
    breaker_cooldown_cap_seconds: float = constant(600.0)
    # A subscription that has only failed for so long is disabled.
    disable_after_hours: Annotated[float, Field(gt=0, le=876_000, allow_inf_nan=False)] = 120.0
    # Of a response, how much is read, and how much of that is stored.
    max_response_bytes: int = constant(64 << 10)
    stored_response_bytes: Annotated[int, Field(ge=0, le=64 << 20)] = 4 << 10
    # Of which attempts headers, address and phases are stored.
    record_attempt_details: Literal["none", "failures", "all"] = "failures"
    # Extra certificate authorities of receivers, as a file in PEM form.
    egress_ca_bundle: str = ""
    # http://[user:password@]host:port of a proxy that every request goes through.
    egress_proxy: Annotated[
        str,
        shaped(
            r"^(http://([^\s/@]+@)?([^\s/@:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?)?$",
            "must be http://host:port or http://user:password@host:port",
        ),
    ] = ""
    # Payloads of at most so many bytes come with the claim; larger ones are read just before their send.
    claimed_payload_bytes: int = constant(64 << 10)
    # Larger payloads that a worker holds at once.
    large_payload_budget_bytes: int = constant(64 << 20)

    @field_validator("egress_ca_bundle")
    @classmethod
    def _holds_certificates(cls, path: str) -> str:
        if path:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:  # SSLError, for a file without certificates, is one
                raise ValueError(f"is not a file of PEM certificates: {error.strerror or error}") from None
        return path

    @field_validator("egress_proxy")
    @classmethod
    def _has_a_port(cls, url: str) -> str:
        if url and not urlsplit(url).port:
            raise ValueError("has no port from 1 to 65535")
        return url

    @model_validator(mode="after")
    def _leases_outlast_requests(self) -> "WorkerSettings":
        if self.lease_seconds < self.delivery_timeout_seconds + RECORDING_SECONDS:
            raise ValueError(f"LEASE_SECONDS must be at least DELIVERY_TIMEOUT_SECONDS + {RECORDING_SECONDS:g}")
        return self
