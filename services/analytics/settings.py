"""Settings of the analytics process."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from services.domain.retry_policy import RetrySettings
from services.domain.tenants.quotas import QuotaSettings
from services.platform.settings import GrpcServerSettings, Hours, Port, PostgresSettings, constant
from services.platform.tracing.settings import TracingDoorSettings


class AnalyticsSettings(PostgresSettings, GrpcServerSettings, RetrySettings, QuotaSettings, TracingDoorSettings):
    """Everything the analytics process reads from the environment."""

    own_service_keys: ClassVar[Sequence[str]] = ("analytics_service_key",)

    # What a gateway shows to this process; unset: service_key.
    analytics_service_key: str = Field("", repr=False)
    grpc_port: Port = 50053
    # Hours that entries of the audit log are kept.
    audit_retention_hours: Hours = 8760
    # Days that statistics by hour are kept; those by minute are kept for log_retention_hours.
    stats_retention_days: Annotated[int, Field(ge=1, le=3650)] = 90
    # Seconds between two roll-ups: how old statistics get.
    rollup_interval_seconds: float = constant(5.0)
    # Seconds between two passes of retention.
    retention_interval_seconds: float = constant(300.0)
    # How many subscriptions each of the metrics that name any may name: a bound of their series.
    top_subscriptions: Annotated[int, Field(ge=0, le=100)] = 10

    @property
    def retention(self) -> timedelta:
        """LOG_RETENTION_HOURS."""
        return timedelta(hours=self.log_retention_hours)

    @property
    def stats_retention(self) -> timedelta:
        """STATS_RETENTION_DAYS."""
        return timedelta(days=self.stats_retention_days)

    @property
    def recovery(self) -> timedelta:
        """RECOVERY_HOURS."""
        return timedelta(hours=self.recovery_hours)

    @property
    def audit_retention(self) -> timedelta:
        """AUDIT_RETENTION_HOURS."""
        return timedelta(hours=self.audit_retention_hours)

    @property
    def delivery_expiry(self) -> timedelta:
        """DELIVERY_EXPIRY_HOURS."""
        return timedelta(hours=self.delivery_expiry_hours)
