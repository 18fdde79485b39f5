"""Settings of the ingest service."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from services.domain.egress.policy import EgressSettings
from services.domain.idempotency import IdempotencySettings
from services.domain.retry_policy import RetrySettings, TimeoutSettings
from services.domain.secrets.encryption import EncryptionSettings
from services.domain.tenants.quotas import QuotaSettings
from services.ingest.access.oidc.settings import OidcSettings
from services.platform.settings import (
    GrpcServerSettings,
    PostgresSettings,
    RedisSettings,
    constant,
)
from services.platform.tracing.settings import TracingDoorSettings


class IngestSettings(
    PostgresSettings,
    RedisSettings,
    GrpcServerSettings,
    RetrySettings,
    TimeoutSettings,
    EgressSettings,
    EncryptionSettings,
    QuotaSettings,
    IdempotencySettings,
    TracingDoorSettings,
    OidcSettings,
):
    """What the ingest service reads from the environment."""

    own_service_keys: ClassVar[Sequence[str]] = ("ingest_service_key",)

    # What a gateway shows to this process; unset: service_key.
    ingest_service_key: str = Field("", repr=False)
    # Keys are made here: without the first one nobody could.
    bootstrap_required: ClassVar[bool] = True
    # Events that wait to be committed; beyond this bound ingest returns RESOURCE_EXHAUSTED.
    ingest_queue_events: int = constant(5_000)
    ingest_queue_bytes: int = constant(128 << 20)
    # Deliveries that are created with their event; those of an event with more are created right after it.
    inline_deliveries: int = constant(100)
    # Subscriptions that are kept in the process.
    cached_subscriptions: int = constant(50_000)
