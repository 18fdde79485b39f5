"""The enums of the REST API. Clients that are generated from the OpenAPI document call them by these names.

Values of requests are checked here. Values that only responses have are not: during an upgrade a service may return one
that this gateway does not know yet.
"""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from services.domain import states
from services.domain.templates import presets

DeliveryStatus = TypeAliasType(
    "DeliveryStatus", Literal["pending", "scheduled", "in_flight", "delivered", "failed", "cancelled"]
)
DeliveryReason = TypeAliasType(
    "DeliveryReason",
    Literal[
        "retries_exhausted", "expired", "worker_lost", "payload_gone", "cancelled", "subscription_deleted", "erased"
    ],
)
# What a search finds deliveries by; those of responses are Hold.
SearchedHold = TypeAliasType(
    "SearchedHold",
    Literal["paused", "disabled", "unverified", "pull", "breaker_open", "recovering", "concurrency", "rate_limit"],
)
Hold = TypeAliasType(
    "Hold",
    Annotated[
        str,
        Field(
            json_schema_extra={"enum": [hold for hold in states.Hold if hold is not states.Hold.SUBSCRIPTION_DELETED]}
        ),
    ],
)
ErrorKind = TypeAliasType(
    "ErrorKind",
    Annotated[
        str,
        Field(
            json_schema_extra={
                "enum": [kind for kind in states.AttemptOutcome if kind is not states.AttemptOutcome.SUCCESS]
            }
        ),
    ],
)
SummaryGroup = TypeAliasType(
    "SummaryGroup", Literal["subscription", "event_type", "status", "error_kind", "hour", "held_by"]
)

PullOutcome = TypeAliasType("PullOutcome", Literal["success", "failure", "extend"])
PullResultStatus = TypeAliasType(
    "PullResultStatus",
    Annotated[str, Field(json_schema_extra={"enum": ["recorded", "lease_expired", "not_found"]})],
)

JobKind = TypeAliasType("JobKind", Literal["retry", "replay", "cancel", "erase"])
JobStatus = TypeAliasType("JobStatus", Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"])
ReplayedEvents = TypeAliasType("ReplayedEvents", Literal["missing", "all"])
Recovered = TypeAliasType("Recovered", Literal["failed", "missing", "all"])

SecretScheme = TypeAliasType("SecretScheme", Literal["hmac-sha256", "ed25519"])
DeliveryScheme = TypeAliasType("DeliveryScheme", Literal["hmac-sha256", "ed25519", "none"])
RetrySchedule = TypeAliasType("RetrySchedule", Literal["standard-webhooks"])
Verification = TypeAliasType(
    "Verification",
    Literal["auto", "required", "github", "stripe", "shopify", "slack", "standard-webhooks", "none"],
)
SubscriptionStatus = TypeAliasType("SubscriptionStatus", Literal["active", "paused", "disabled", "unverified"])
SubscriptionKind = TypeAliasType("SubscriptionKind", Literal["normal", "system"])
FilterVerdict = TypeAliasType("FilterVerdict", Literal["match", "no_match", "error"])
FilterOnError = TypeAliasType("FilterOnError", Literal["deliver", "skip"])
Destination = TypeAliasType("Destination", Literal["http", "pull"])
StatusReason = TypeAliasType("StatusReason", Annotated[str, Field(json_schema_extra={"enum": [*states.StatusReason]})])
BreakerState = TypeAliasType("BreakerState", Literal["closed", "open", "half_open"])

StatsStep = TypeAliasType("StatsStep", Literal["1m", "5m", "1h", "1d"])
StatsGrouping = TypeAliasType("StatsGrouping", Literal["outcome", "subscription", "event_type"])

Validation = TypeAliasType("Validation", Literal["off", "warn", "enforce"])
CatalogFormat = TypeAliasType("CatalogFormat", Literal["openapi", "asyncapi"])
ImportOutcome = TypeAliasType("ImportOutcome", Literal["created", "new_version", "updated", "unchanged", "refused"])
EventTypeStatus = TypeAliasType("EventTypeStatus", Literal["draft", "live", "deprecated"])

ListFormat = TypeAliasType("ListFormat", Literal["json", "ndjson"])
ListOrder = TypeAliasType("ListOrder", Literal["newest", "oldest"])

Role = TypeAliasType("Role", Literal["admin", "write", "ingest", "read", "pull"])
Capability = TypeAliasType("Capability", Literal["erase"])
ResourceType = TypeAliasType(
    "ResourceType",
    Literal["subscription", "delivery", "job", "event_type", "tenant", "api_key", "session", "portal_link"],
)
PortalCapability = TypeAliasType(
    "PortalCapability", Literal["view", "manage", "secrets", "test", "recover", "payloads"]
)
TemplatePreset = TypeAliasType("TemplatePreset", Annotated[str, Field(json_schema_extra={"enum": [*presets.PRESETS]})])
StreamTopic = TypeAliasType("StreamTopic", Literal["deliveries", "stats"])
