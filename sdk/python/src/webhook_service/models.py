"""What requests and responses consist of.

Generated from the OpenAPI document by `make generate`; do not edit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType, field

from webhook_service.base import Model, OpenEnum


class Action(OpenEnum):
    """Recorded actions; the part before the dot is the type of the object."""

    SUBSCRIPTION_CREATE = "subscription.create"
    SUBSCRIPTION_UPDATE = "subscription.update"
    SUBSCRIPTION_DELETE = "subscription.delete"
    SUBSCRIPTION_DISABLE = "subscription.disable"
    SUBSCRIPTION_ENABLE = "subscription.enable"
    SUBSCRIPTION_PAUSE = "subscription.pause"
    SUBSCRIPTION_RESUME = "subscription.resume"
    SUBSCRIPTION_VERIFY = "subscription.verify"
    SUBSCRIPTION_TEST = "subscription.test"
    SUBSCRIPTION_TEST_NEW = "subscription.test_new"
    SUBSCRIPTION_ROTATE_SECRET = "subscription.rotate_secret"
    SUBSCRIPTION_CREATE_INGEST_TOKEN = "subscription.create_ingest_token"
    SUBSCRIPTION_DELETE_INGEST_TOKEN = "subscription.delete_ingest_token"
    DELIVERY_RETRY = "delivery.retry"
    DELIVERY_CANCEL = "delivery.cancel"
    EVENT_CANCEL = "event.cancel"
    JOB_CREATE = "job.create"
    JOB_PAUSE = "job.pause"
    JOB_RESUME = "job.resume"
    JOB_CANCEL = "job.cancel"
    EVENT_TYPE_CREATE = "event_type.create"
    EVENT_TYPE_UPDATE = "event_type.update"
    EVENT_TYPE_DELETE = "event_type.delete"
    EVENT_TYPE_CREATE_VERSION = "event_type.create_version"
    EVENT_TYPE_UPDATE_VERSION = "event_type.update_version"
    TENANT_CREATE = "tenant.create"
    TENANT_UPDATE = "tenant.update"
    TENANT_DELETE = "tenant.delete"
    TENANT_ENTER = "tenant.enter"
    API_KEY_CREATE = "api_key.create"
    API_KEY_UPDATE = "api_key.update"
    API_KEY_REVOKE = "api_key.revoke"
    SESSION_CREATE = "session.create"
    SESSION_REVOKE = "session.revoke"
    PORTAL_LINK_CREATE = "portal_link.create"
    PORTAL_LINK_EXCHANGE = "portal_link.exchange"
    PORTAL_LINK_REVOKE = "portal_link.revoke"


class BreakerState(OpenEnum):
    """Values of BreakerState."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Capability(OpenEnum):
    """Values of Capability."""

    ERASE = "erase"


class CatalogFormat(OpenEnum):
    """Values of CatalogFormat."""

    OPENAPI = "openapi"
    ASYNCAPI = "asyncapi"


class DeliveryReason(OpenEnum):
    """Values of DeliveryReason."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    PAYLOAD_GONE = "payload_gone"
    CANCELLED = "cancelled"
    SUBSCRIPTION_DELETED = "subscription_deleted"
    ERASED = "erased"


class DeliveryScheme(OpenEnum):
    """Values of DeliveryScheme."""

    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"
    NONE = "none"


class DeliveryStatus(OpenEnum):
    """Values of DeliveryStatus."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Destination(OpenEnum):
    """Values of Destination."""

    HTTP = "http"
    PULL = "pull"


class ErrorKind(OpenEnum):
    """Values of ErrorKind."""

    HTTP_3XX = "http_3xx"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    CONNECTION_LOST = "connection_lost"
    INVALID_RESPONSE = "invalid_response"
    EGRESS_DENIED = "egress_denied"
    INVALID_REQUEST = "invalid_request"
    SECRET_UNREADABLE = "secret_unreadable"
    TEMPLATE_FAILED = "template_failed"
    INTERRUPTED = "interrupted"
    CONSUMER_FAILED = "consumer_failed"
    LEASE_EXPIRED = "lease_expired"


class ErrorReason(OpenEnum):
    """Every reason code, over REST and gRPC. They are stable; docs/reference/errors.md says what to do
    about each.
    """

    CAPABILITY_MISSING = "CAPABILITY_MISSING"
    CATALOG_FULL = "CATALOG_FULL"
    CONFLICT = "CONFLICT"
    CROSS_SITE_REQUEST = "CROSS_SITE_REQUEST"
    DELIVERY_FINISHED = "DELIVERY_FINISHED"
    DELIVERY_IN_FLIGHT = "DELIVERY_IN_FLIGHT"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    EVENT_ERASED = "EVENT_ERASED"
    EVENT_ID_TAKEN = "EVENT_ID_TAKEN"
    EVENT_NOT_SCHEDULED = "EVENT_NOT_SCHEDULED"
    EVENT_TYPE_EXISTS = "EVENT_TYPE_EXISTS"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    HEADER_REPEATED = "HEADER_REPEATED"
    HOST_FORBIDDEN = "HOST_FORBIDDEN"
    HOST_INVALID = "HOST_INVALID"
    IDEMPOTENCY_KEY_IN_USE = "IDEMPOTENCY_KEY_IN_USE"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    INTERNAL = "INTERNAL"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    JOB_CONFLICT = "JOB_CONFLICT"
    JOB_FINISHED = "JOB_FINISHED"
    KEY_EXPIRED = "KEY_EXPIRED"
    KEY_INVALID = "KEY_INVALID"
    KEY_MISSING = "KEY_MISSING"
    MALFORMED_BODY = "MALFORMED_BODY"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NAME_TAKEN = "NAME_TAKEN"
    NOT_FOUND = "NOT_FOUND"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    OVERLOADED = "OVERLOADED"
    PAYLOAD_GONE = "PAYLOAD_GONE"
    PAYLOAD_INVALID = "PAYLOAD_INVALID"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    QUOTA_EVENTS_PER_SECOND = "QUOTA_EVENTS_PER_SECOND"
    QUOTA_SCHEDULED_BYTES = "QUOTA_SCHEDULED_BYTES"
    QUOTA_SCHEDULED_EVENTS = "QUOTA_SCHEDULED_EVENTS"
    QUOTA_STORED_BYTES = "QUOTA_STORED_BYTES"
    QUOTA_SUBSCRIPTIONS = "QUOTA_SUBSCRIPTIONS"
    QUOTA_WAITING_DELIVERIES = "QUOTA_WAITING_DELIVERIES"
    RATE_LIMITED = "RATE_LIMITED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    ROLE_INSUFFICIENT = "ROLE_INSUFFICIENT"
    SECRET_UNREADABLE = "SECRET_UNREADABLE"
    SIGNATURE_EXPIRED = "SIGNATURE_EXPIRED"
    SIGNATURE_MISMATCH = "SIGNATURE_MISMATCH"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    STREAM_ENDED = "STREAM_ENDED"
    SUBSCRIPTION_DELETED = "SUBSCRIPTION_DELETED"
    SUBSCRIPTION_DISABLED = "SUBSCRIPTION_DISABLED"
    SUBSCRIPTION_FORBIDDEN = "SUBSCRIPTION_FORBIDDEN"
    SUBSCRIPTION_IS_SYSTEM = "SUBSCRIPTION_IS_SYSTEM"
    SUBSCRIPTION_PAUSED = "SUBSCRIPTION_PAUSED"
    SUBSCRIPTION_UNVERIFIED = "SUBSCRIPTION_UNVERIFIED"
    SYSTEM_SUBSCRIPTION_EXISTS = "SYSTEM_SUBSCRIPTION_EXISTS"
    TARGET_TOO_LONG = "TARGET_TOO_LONG"
    TENANT_EXISTS = "TENANT_EXISTS"
    TENANT_FORBIDDEN = "TENANT_FORBIDDEN"
    TENANT_IN_USE = "TENANT_IN_USE"
    TENANT_IS_DEFAULT = "TENANT_IS_DEFAULT"
    TENANT_OVERLOADED = "TENANT_OVERLOADED"
    TOO_MANY_JOBS = "TOO_MANY_JOBS"
    TOO_MANY_SECRETS = "TOO_MANY_SECRETS"
    TRANSFER_ENCODING_UNSUPPORTED = "TRANSFER_ENCODING_UNSUPPORTED"
    UNAVAILABLE = "UNAVAILABLE"
    UNKNOWN_PATH = "UNKNOWN_PATH"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    VERSION_PUBLISHED = "VERSION_PUBLISHED"
    WRONG_DESTINATION = "WRONG_DESTINATION"


class EventTypeStatus(OpenEnum):
    """Values of EventTypeStatus."""

    DRAFT = "draft"
    LIVE = "live"
    DEPRECATED = "deprecated"


class FilterOnError(OpenEnum):
    """Values of FilterOnError."""

    DELIVER = "deliver"
    SKIP = "skip"


class FilterVerdict(OpenEnum):
    """Values of FilterVerdict."""

    MATCH = "match"
    NO_MATCH = "no_match"
    ERROR = "error"


class Hold(OpenEnum):
    """Values of Hold."""

    PAUSED = "paused"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"
    BREAKER_OPEN = "breaker_open"
    RECOVERING = "recovering"
    CONCURRENCY = "concurrency"
    RATE_LIMIT = "rate_limit"
    PULL = "pull"


class ImportOutcome(OpenEnum):
    """Values of ImportOutcome."""

    CREATED = "created"
    NEW_VERSION = "new_version"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class JobKind(OpenEnum):
    """Values of JobKind."""

    RETRY = "retry"
    REPLAY = "replay"
    CANCEL = "cancel"
    ERASE = "erase"


class JobStatus(OpenEnum):
    """Values of JobStatus."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ListFormat(OpenEnum):
    """Values of ListFormat."""

    JSON = "json"
    NDJSON = "ndjson"


class ListOrder(OpenEnum):
    """Values of ListOrder."""

    NEWEST = "newest"
    OLDEST = "oldest"


class LivenessStatus(OpenEnum):
    """Values of LivenessStatus."""

    OK = "ok"
    FAILING = "failing"


class OperationalEventType(OpenEnum):
    """What happened to a subscription."""

    SUBSCRIPTION_DISABLED = "subscription.disabled"
    SUBSCRIPTION_FAILING = "subscription.failing"
    SUBSCRIPTION_RECOVERED = "subscription.recovered"
    SUBSCRIPTION_FILTER_STOPPED = "subscription.filter_stopped"


class PortalCapability(OpenEnum):
    """Values of PortalCapability."""

    VIEW = "view"
    MANAGE = "manage"
    SECRETS = "secrets"
    TEST = "test"
    RECOVER = "recover"
    PAYLOADS = "payloads"


class PullOutcome(OpenEnum):
    """Values of PullOutcome."""

    SUCCESS = "success"
    FAILURE = "failure"
    EXTEND = "extend"


class PullResultStatus(OpenEnum):
    """Values of PullResultStatus."""

    RECORDED = "recorded"
    LEASE_EXPIRED = "lease_expired"
    NOT_FOUND = "not_found"


class Recovered(OpenEnum):
    """Values of Recovered."""

    FAILED = "failed"
    MISSING = "missing"
    ALL = "all"


class ReplayedEvents(OpenEnum):
    """Values of ReplayedEvents."""

    MISSING = "missing"
    ALL = "all"


class ResourceType(OpenEnum):
    """Values of ResourceType."""

    SUBSCRIPTION = "subscription"
    DELIVERY = "delivery"
    JOB = "job"
    EVENT_TYPE = "event_type"
    TENANT = "tenant"
    API_KEY = "api_key"
    SESSION = "session"
    PORTAL_LINK = "portal_link"


class RetrySchedule(OpenEnum):
    """Values of RetrySchedule."""

    STANDARD_WEBHOOKS = "standard-webhooks"


class Role(OpenEnum):
    """Values of Role."""

    ADMIN = "admin"
    WRITE = "write"
    INGEST = "ingest"
    READ = "read"
    PULL = "pull"


class SearchedHold(OpenEnum):
    """Values of SearchedHold."""

    PAUSED = "paused"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"
    PULL = "pull"
    BREAKER_OPEN = "breaker_open"
    RECOVERING = "recovering"
    CONCURRENCY = "concurrency"
    RATE_LIMIT = "rate_limit"


class SecretScheme(OpenEnum):
    """Values of SecretScheme."""

    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"


class StatsGrouping(OpenEnum):
    """Values of StatsGrouping."""

    OUTCOME = "outcome"
    SUBSCRIPTION = "subscription"
    EVENT_TYPE = "event_type"


class StatsStep(OpenEnum):
    """Values of StatsStep."""

    _1M = "1m"
    _5M = "5m"
    _1H = "1h"
    _1D = "1d"


class StatusReason(OpenEnum):
    """Values of StatusReason."""

    MANUAL = "manual"
    GONE = "gone"
    FAILING = "failing"


class StreamTopic(OpenEnum):
    """Values of StreamTopic."""

    DELIVERIES = "deliveries"
    STATS = "stats"


class SubscriptionKind(OpenEnum):
    """Values of SubscriptionKind."""

    NORMAL = "normal"
    SYSTEM = "system"


class SubscriptionStatus(OpenEnum):
    """Values of SubscriptionStatus."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"


class SummaryGroup(OpenEnum):
    """Values of SummaryGroup."""

    SUBSCRIPTION = "subscription"
    EVENT_TYPE = "event_type"
    STATUS = "status"
    ERROR_KIND = "error_kind"
    HOUR = "hour"
    HELD_BY = "held_by"


class TemplatePreset(OpenEnum):
    """Values of TemplatePreset."""

    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    PAGERDUTY = "pagerduty"
    GOOGLE_CHAT = "google-chat"
    CLOUDEVENTS = "cloudevents"
    CLOUDEVENTS_BINARY = "cloudevents-binary"


class Validation(OpenEnum):
    """Values of Validation."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class Verification(OpenEnum):
    """Values of Verification."""

    AUTO = "auto"
    REQUIRED = "required"
    GITHUB = "github"
    STRIPE = "stripe"
    SHOPIFY = "shopify"
    SLACK = "slack"
    STANDARD_WEBHOOKS = "standard-webhooks"
    NONE = "none"


class WebhookStatus(OpenEnum):
    """What becomes of a webhook."""

    FILTERED = "filtered"
    PENDING = "pending"


class ApiKey(Model, kw_only=True):
    """An API key without its secret."""

    id: str

    tenant_id: str

    name: str

    role: Role

    prefix: str
    """The key's first ten characters; `oidc` for a member."""

    created_at: datetime

    expires_at: datetime | None
    """null if it never expires."""

    revoked_at: datetime | None
    """null unless the key was revoked."""

    last_used_at: datetime | None
    """Exact to about a minute; null if never used."""

    requests_per_second: float | None
    """null for the service's default."""

    capabilities: list[Capability]
    """What it may do besides what its role allows."""

    pull_subscription_ids: list[str]
    """The only subscriptions that it pulls from; empty for all of its tenant's."""

    oidc_subject: str | None
    """Of a member, who signs in at the console by OpenID Connect and has no key: their `sub` at the
    issuer. null for a key.
    """


class ApiKeyBody(Model, kw_only=True):
    """An API key to create."""

    tenant_id: str | None | UnsetType = UNSET
    """The key's tenant. Default: that of `X-Tenant`, or of your key."""

    name: str
    """For people, such as who uses the key."""

    role: Role
    """`admin`: everything, including tenants and API keys; for the operator. `write`: changes
    subscriptions and deliveries, and includes `ingest`, `read`, and `pull`. `ingest`: only sends
    events. `read`: only reads. `pull`: only pulls deliveries, and reports on them.
    """

    capabilities: list[Capability] | UnsetType = UNSET
    """What the key may do besides what its role allows. `erase`: erase events by jobs, which cannot be
    undone; requires the role `write`, and `admin` has it.
    """

    pull_subscription_ids: list[str] | UnsetType = UNSET
    """The only subscriptions that the key pulls from; requires the role `pull`. Default: all of its
    tenant's.
    """

    expires_at: datetime | None | UnsetType = UNSET
    """When the key expires. Default: never."""

    requests_per_second: float | None | UnsetType = UNSET
    """Maximum requests per second at each gateway process; requests over it return 429. Default: the
    service's `API_KEY_REQUESTS_PER_SECOND`.
    """


class ApiKeyPage(Model, kw_only=True):
    """A page of API keys, newest first."""

    items: list[ApiKey]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class Attempt(Model, kw_only=True):
    """One request to the receiver."""

    number: int
    """Number of the attempt, from 1."""

    started_at: datetime

    duration_ms: int | None
    """Time to the outcome; null if unknown."""

    status_code: int | None
    """Status code of the response; null without a response."""

    error: AttemptError | None
    """null if the receiver responded 2xx."""

    response_body: str | None
    """The first 4 KiB of the response as text."""

    actor: str
    """Who asked for it, as in the audit log: `system` for automatic attempts, otherwise the id of the
    API key, `bootstrap`, or `anonymous`; or `job:` and the id of a job.
    """

    details: AttemptDetails | None
    """Headers, address, and times; null if they are not recorded (`RECORD_ATTEMPT_DETAILS`)."""


class AttemptDetails(Model, kw_only=True):
    """What explains an attempt."""

    request_headers: list[Header]
    """As sent; none if nothing was sent. The values of the subscription's own headers are `***`."""

    response_headers: list[Header]
    """As received. The values of headers that may hold credentials, such as `set-cookie`, are `***`."""

    headers_cut: bool
    """Whether headers are left out, over 2 KiB on a side, or values cut, over 512 characters."""

    address: str | None
    """The address that was connected to, or the last one tried. null without one, and unless the key
    has the role `admin` for targets that are not public, are allowed by `EGRESS_ALLOW`, or are
    reached through a proxy.
    """

    connection_reused: bool
    """Whether an open connection was used."""

    phases: list[Phase]
    """What the time went to; the attempt ended in the last phase. Shown to whom `address` is shown."""


class AttemptError(Model, kw_only=True):
    """Why an attempt failed."""

    kind: ErrorKind
    """`http_3xx`, `http_4xx`, `http_5xx`, `timeout`, `dns`, `connect`, `tls`, `connection_lost`,
    `invalid_response`, `egress_denied`, `invalid_request`, `secret_unreadable`, `template_failed`,
    or `interrupted`; of a pulled delivery `consumer_failed` or `lease_expired`.
    """

    message: str
    """For people."""


class AuditEntry(Model, kw_only=True):
    """One change."""

    id: str

    created_at: datetime

    tenant_id: str
    """Tenant of the changed object; `*` if an admin listed all tenants."""

    actor: str
    """Who made the change: the UUID of an API key, `bootstrap` (`BOOTSTRAP_ADMIN_KEY`), `anonymous` (a
    caller without a key, if none is required) or `system` (the service itself).
    """

    actor_name: str | None
    """The key's name at that time; null if the actor is not an API key."""

    actor_role: str | None
    """The key's role; null if the actor is not an API key."""

    actor_tenant_id: str | None
    """The key's tenant; null if the actor is not an API key."""

    action: str
    """The action."""

    resource_type: str
    """Type of the changed object."""

    resource_id: str
    """Id of the changed object."""

    changes: list[FieldChange]
    """The changed fields. Fields with secrets have only their name."""

    affected: int | None
    """Number of other objects that changed, such as keys revoked with a tenant; otherwise null."""


class AuditPage(Model, kw_only=True):
    """A page of entries, newest first."""

    items: list[AuditEntry]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class BatchResult(Model, kw_only=True):
    """What became of an event of a batch: it was stored as `event_id`, or there is an `error`."""

    event_id: str | None = None

    deliveries: int | None = None

    expanding: bool | None = None
    """Default: `false`."""

    deliver_at: datetime | None = None
    """When it becomes due; absent unless it is scheduled, and then `deliveries` is absent."""

    replayed: bool | None = None
    """Default: `false`."""

    error: Problem | None = None


class BatchResults(Model, kw_only=True):
    """BatchResults."""

    results: list[BatchResult]


class BatchedEvent(Model, kw_only=True):
    """BatchedEvent."""

    event_type: str

    event_version: int | None | UnsetType = UNSET
    """The version of its type that the payload is of. Default: the current version if the type is in
    the catalog, and otherwise none.
    """

    payload: Any
    """Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format."""

    tags: dict[str, str] | UnsetType = UNSET
    """By what the event is found: at most 5 pairs. A key has 1 to 64 characters of `A-Z a-z 0-9 . _
    -`, a value 1 to 255 printable characters.
    """

    deliver_at: datetime | UnsetType = UNSET
    """When the event becomes due, at most 30 days ahead. Until then it is scheduled: it has no
    deliveries, and can be cancelled. A time that has passed means at once. Not together with
    `delay_seconds`.
    """

    delay_seconds: int | None | UnsetType = UNSET
    """The same, in seconds from now."""

    deliver_within_seconds: int | None | UnsetType = UNSET
    """For how long after it is accepted, or is due, the event may be delivered. Deliveries that are
    unfinished then fail with reason `expired`. Default, and the most: `DELIVERY_EXPIRY_HOURS`.
    """

    idempotency_key: str | UnsetType = UNSET
    """As the header of a single event."""


class BatchedEventAccepted(Model, kw_only=True):
    """The same for an event of a batch; `replayed` if it repeats an earlier response."""

    event_id: str

    deliveries: int | None = None

    expanding: bool | None = None
    """Default: `false`."""

    deliver_at: datetime | None = None
    """When it becomes due; absent unless it is scheduled, and then `deliveries` is absent."""

    replayed: bool | None = None
    """Default: `false`."""


class BatchedEventRefused(Model, kw_only=True):
    """What is wrong with an event of a batch, which was not stored."""

    error: Problem


class Breaker(Model, kw_only=True):
    """Circuit breaker: delays deliveries while the endpoint fails."""

    state: BreakerState
    """`closed`: deliveries are sent. `open`: they wait. `half_open`: one of them is tried."""

    since: datetime | None
    """When it entered this state, or when the endpoint first failed if it was never open; null if it
    never failed.
    """

    reason: str | None
    """Why it opened; null while it is closed."""

    next_probe_at: datetime | None
    """When one delivery may be tried, while it is open; otherwise null."""

    consecutive_failures: int
    """Failed attempts since the last success."""


class CancelledEvent(Model, kw_only=True):
    """An event that was scheduled, and is cancelled."""

    event_id: str


class CatalogDocument(Model, kw_only=True):
    """The catalog as an OpenAPI or AsyncAPI document. What the format does not have is absent."""

    openapi: str | None = None
    """The version of OpenAPI."""

    asyncapi: str | None = None
    """The version of AsyncAPI."""

    info: dict[str, Any]
    """A title and a version."""

    webhooks: dict[str, Any] | None = None
    """OpenAPI: event types by their names."""

    channels: dict[str, Any] | None = None
    """AsyncAPI: the channel of all event types."""

    operations: dict[str, Any] | None = None
    """AsyncAPI: that the service sends them."""

    components: dict[str, Any]
    """Schemas, and in AsyncAPI messages."""


class CatalogImport(Model, kw_only=True):
    """What became of each event type of the document, in its order."""

    dry_run: bool
    """Whether nothing was changed."""

    event_types: list[ImportedEventType]


class CatalogImportBody(Model, kw_only=True):
    """A document to import."""

    document: dict[str, Any]
    """An OpenAPI 3.1 document, whose `webhooks` are event types, or an AsyncAPI 3.0 document, whose
    messages are; at most 2 MiB and 1,000 event types. References to other documents are refused.
    """

    dry_run: bool | UnsetType = UNSET
    """Whether to change nothing, and say what would be changed. Default: `false`."""


class Challenge(Model, kw_only=True):
    """What a new target gets where targets are verified. Respond with the challenge."""

    type: str

    challenge: str
    """What to respond with."""


class ClientCertificate(Model, kw_only=True):
    """The public part of a client certificate."""

    subject: str
    """In the format of RFC 4514."""

    issuer: str
    """In the format of RFC 4514."""

    serial_number: str
    """In hexadecimal."""

    not_before: datetime

    not_after: datetime
    """When it expires. Replace it in time: no notice is sent."""

    sha256_fingerprint: str
    """SHA-256 of its DER encoding, in hexadecimal."""


class ClientCertificateBody(Model, kw_only=True):
    """Client certificate for receivers that require one."""

    certificate: str
    """PEM chain of up to 8 certificates, leaf first, then each issuer of the one before. Each must be
    valid now. If the first has an extended key usage, it must include client authentication.
    """

    private_key: str
    """The private key of the first certificate, in PEM without a passphrase: RSA of 2,048 to 4,096
    bits, P-256, P-384, P-521, or Ed25519.
    """


class CloudEvent(Model, kw_only=True):
    """A CloudEvent in JSON, with at most 40 attributes. Extensions are strings, booleans, or integers,
    whose names have 1 to 64 characters of `a-z 0-9`.
    """

    specversion: str

    id: str
    """Unique for the source: an event with the same `source` and `id` is a repeat."""

    source: str
    """URI or path of what the event happened in."""

    type: str
    """Type of the event."""

    subject: str | None = None
    """What in the source the event is about."""

    time: str | None = None
    """When it happened, in RFC 3339."""

    datacontenttype: str | None = None
    """Content-Type with which the data is delivered; `application/json` if it is absent."""

    dataschema: str | None = None
    """URI of a schema of the data, which is not read."""

    eventversion: int | None = None
    """Extension: the version of its type that the data is of, as `event_version` of others."""

    data: Any = None
    """Any JSON value, whose exact bytes are delivered; a string if the type is not JSON."""

    data_base64: str | None = None
    """Bytes in base64, in place of `data`."""


class CreatedApiKey(Model, kw_only=True):
    """A new API key, which cannot be shown again."""

    id: str

    tenant_id: str

    name: str

    role: Role

    prefix: str
    """The key's first ten characters; `oidc` for a member."""

    created_at: datetime

    expires_at: datetime | None
    """null if it never expires."""

    revoked_at: datetime | None
    """null unless the key was revoked."""

    last_used_at: datetime | None
    """Exact to about a minute; null if never used."""

    requests_per_second: float | None
    """null for the service's default."""

    capabilities: list[Capability]
    """What it may do besides what its role allows."""

    pull_subscription_ids: list[str]
    """The only subscriptions that it pulls from; empty for all of its tenant's."""

    oidc_subject: str | None
    """Of a member, who signs in at the console by OpenID Connect and has no key: their `sub` at the
    issuer. null for a key.
    """

    key: str | None
    """The key itself. It is shown only in this response; null in a repeated one."""


class CreatedSubscription(Model, kw_only=True):
    """A new subscription, with its secret if one was generated."""

    id: str

    tenant_id: str
    """The subscription's tenant."""

    destination: Destination
    """`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them."""

    expires_after_idle_seconds: int | None
    """It is deleted when nobody has pulled from it, or changed it, for this long; null for never."""

    target_url: str | None
    """null if `destination` is `pull`."""

    event_types: list[str]

    filter: str | None
    """Condition in CEL that an event has to fulfill in addition to its type; null if there is none."""

    filter_on_error: FilterOnError
    """What becomes of an event that `filter` cannot be evaluated for."""

    filter_stopped_at: datetime | None
    """When `filter` was stopped because evaluating it took more than 5 ms for 100 events within an
    hour; since then `filter_on_error` decides. Another `filter` starts it again. null while it is
    evaluated.
    """

    description: str

    name: str | None
    """Unique among the tenant's subscriptions; null if it has none."""

    metadata: dict[str, str]
    """Pairs to find it by."""

    tag_paths: dict[str, str]
    """Where in webhooks to this subscription tags are found."""

    has_secret: bool
    """Whether deliveries are signed."""

    signature_scheme: DeliveryScheme
    """How deliveries are signed; `none` without a secret."""

    public_keys: list[PublicKey]
    """Public keys of the signing private keys, newest first; empty for `hmac-sha256`."""

    previous_secrets: list[PreviousSecret]
    """Replaced secrets that are still valid, newest first."""

    has_ingest_token: bool
    """Whether it has an ingest token."""

    status: SubscriptionStatus
    """`paused` and `disabled`: deliveries wait until it is resumed or enabled. `unverified`: they wait
    until its target has answered a challenge.
    """

    status_reason: StatusReason | None
    """Why it is disabled: `manual`, `gone` (the receiver responded with 410), or `failing` (all
    attempts failed for days); otherwise null.
    """

    status_since: datetime

    next_check_at: datetime | None
    """When an `unverified` target is sent the next challenge; null if not before somebody asks for it."""

    check_error: str | None
    """Why an `unverified` target is not verified yet; otherwise null."""

    keep_when_disabled: bool
    """Whether events are stored while it is disabled."""

    rate_limit_per_second: float | None
    """null for no limit."""

    rate_limit_burst: int | None
    """null for one second's worth of the rate."""

    timeout_seconds: float | None
    """null for the service's default."""

    effective_timeout_seconds: float | None
    """The timeout in effect: the subscription's own, or the service's default. null for `pull`."""

    retry_policy: RetryPolicy | None
    """With the service's defaults for fields that the request did not set; null for the service's
    default policy.
    """

    effective_retry_policy: RetryPolicy
    """The policy in effect: the subscription's own, or the service's default."""

    header_names: list[str]
    """Names of the headers that each request carries in addition to the service's own."""

    template: Template | None
    """What is sent in place of the payload; null for the payload."""

    template_secret_names: list[str]
    """Names of the template's secrets."""

    event_versions: dict[str, int]
    """The versions that it gets of events, by type."""

    verify: Verification
    """Signature required on incoming webhooks."""

    has_verification_secret: bool
    """Whether webhooks are verified with `verification_secrets` instead of `secret_key`."""

    relay_headers: bool
    """Whether deliveries have the provider's own headers, too."""

    kind: SubscriptionKind
    """`system`: receives only events about the tenant's other subscriptions."""

    client_certificate: ClientCertificate | None
    """Client certificate for receivers that require one; null if there is none."""

    breaker: Breaker

    warnings: list[str]
    """Weaknesses, one sentence each, such as a secret of fewer than 24 bytes, or relayed signatures
    that are valid for only 5 minutes. After a request that sets it, also what the filter asks for
    that the schemas of the event types in the catalog rule out.
    """

    created_at: datetime

    updated_at: datetime

    secret_key: str | None
    """The generated secret, shown only in this response; null if the request had a secret or chose
    `none`, and in a repeated response. An `ed25519` private key is never returned: see
    `public_keys`.
    """


class Delivery(Model, kw_only=True):
    """A delivery with its attempts, oldest first."""

    id: str

    tenant_id: str
    """The delivery's tenant."""

    event_id: str

    subscription_id: str

    event_type: str | None
    """null if the event has no type."""

    status: DeliveryStatus
    """`pending`: waiting for a worker. `scheduled`: waiting for `next_attempt_at`. `in_flight`: being
    sent. `delivered`, `failed`, `cancelled`: ended.
    """

    reason: DeliveryReason | None
    """Why it failed or was cancelled: `retries_exhausted`, `expired`, `worker_lost`, `payload_gone`,
    `cancelled`, `subscription_deleted` or `erased`; otherwise null.
    """

    attempt_count: int
    """Number of completed attempts."""

    created_at: datetime

    next_attempt_at: datetime | None

    completed_at: datetime | None
    """When the delivery ended."""

    expires_at: datetime | None
    """After this time the delivery fails with reason `expired`; null once it has ended."""

    held_by: Hold | None
    """Why a due delivery is not sent now: `paused`, `disabled`, `unverified` (its target has not
    answered a challenge), `pull` (it waits for a consumer), `breaker_open`, `recovering` (its
    endpoint failed until recently), `concurrency` (its endpoint has the most concurrent requests
    allowed) or `rate_limit`; otherwise null.
    """

    last_status_code: int | None
    """Status code of the last attempt; null if it got no response, and once it is delivered."""

    last_error_kind: ErrorKind | None
    """`kind` of the last attempt's error; null before the first, and once it is delivered."""

    explanation: str
    """Where the delivery is and why, for people."""

    waits_for: WaitsFor | None
    """What the delivery waits for; null once it has ended."""

    event_version: int | None
    """The version of its type that the event is of, as it was sent; null if it has none, or is no
    longer retained. A subscription that is pinned to an earlier version gets that one.
    """

    trace_id: str | None
    """The trace that its attempts belong to; null if the event is not traced or no longer retained."""

    attempts: list[Attempt]


class DeliveryCount(Model, kw_only=True):
    """A group of deliveries."""

    value: str | None
    """What they have in common: an id, a type, a status, a kind of error, the beginning of an hour, or
    what holds them; null if they have no type, or no error, or if nothing holds them.
    """

    deliveries: int
    """How many there are."""


class DeliveryPage(Model, kw_only=True):
    """A page of deliveries, newest first, without attempts."""

    items: list[DeliverySummary]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class DeliverySummary(Model, kw_only=True):
    """A delivery without its attempts."""

    id: str

    tenant_id: str
    """The delivery's tenant."""

    event_id: str

    subscription_id: str

    event_type: str | None
    """null if the event has no type."""

    status: DeliveryStatus
    """`pending`: waiting for a worker. `scheduled`: waiting for `next_attempt_at`. `in_flight`: being
    sent. `delivered`, `failed`, `cancelled`: ended.
    """

    reason: DeliveryReason | None
    """Why it failed or was cancelled: `retries_exhausted`, `expired`, `worker_lost`, `payload_gone`,
    `cancelled`, `subscription_deleted` or `erased`; otherwise null.
    """

    attempt_count: int
    """Number of completed attempts."""

    created_at: datetime

    next_attempt_at: datetime | None

    completed_at: datetime | None
    """When the delivery ended."""

    expires_at: datetime | None
    """After this time the delivery fails with reason `expired`; null once it has ended."""

    held_by: Hold | None
    """Why a due delivery is not sent now: `paused`, `disabled`, `unverified` (its target has not
    answered a challenge), `pull` (it waits for a consumer), `breaker_open`, `recovering` (its
    endpoint failed until recently), `concurrency` (its endpoint has the most concurrent requests
    allowed) or `rate_limit`; otherwise null.
    """

    last_status_code: int | None
    """Status code of the last attempt; null if it got no response, and once it is delivered."""

    last_error_kind: ErrorKind | None
    """`kind` of the last attempt's error; null before the first, and once it is delivered."""

    explanation: str
    """Where the delivery is and why, for people."""

    waits_for: WaitsFor | None
    """What the delivery waits for; null once it has ended."""

    event_version: int | None
    """The version of its type that the event is of, as it was sent; null if it has none, or is no
    longer retained. A subscription that is pinned to an earlier version gets that one.
    """


class DeliverySummaryPage(Model, kw_only=True):
    """Counts of deliveries, the largest group first."""

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""

    from_: datetime | None = field(name="from")
    """What was searched: from this time on; null if from the beginning."""

    to: datetime | None
    """And before this time; null if up to now."""

    scanned_to: datetime | None
    """How far the search got, if it stopped before the page was full because few of many are wanted;
    `next_cursor` goes on from there. Otherwise null.
    """

    groups: list[DeliveryCount]


class Envelope(Model, kw_only=True):
    """Envelope."""

    payload: Any
    """Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format."""


class Event(Model, kw_only=True):
    """An accepted event."""

    id: str

    event_type: str | None
    """null if the event has no type."""

    event_version: int | None = None
    """The version of its type that the payload is of; absent if it has none."""

    content_type: str
    """Content-Type with which the payload is delivered."""

    created_at: datetime
    """When it was accepted; of an event that was scheduled, when it became due."""

    scheduled: bool | None = None
    """true while the event is scheduled: it is not due yet, and has no deliveries; otherwise absent."""

    deliver_at: datetime | None = None
    """While it is scheduled: when it becomes due; otherwise absent."""

    deliver_within_seconds: int | None = None
    """While it is scheduled: for how long after that it may be delivered, if it has an expiry of its
    own; otherwise absent.
    """

    payload_bytes: int
    """Size of the payload in bytes."""

    payload: Any
    """The exact bytes of the payload if its content type is JSON and it is valid; otherwise null."""

    payload_base64: str | None = None
    """The payload in base64 if it is not JSON; otherwise absent."""

    content_encoding: str | None = None
    """Content-Encoding with which the payload is delivered; absent if it has none."""

    expanding: bool | None = None
    """true while deliveries of the event are still being created; otherwise absent."""

    payload_withheld: bool | None = None
    """true if a portal link without the capability `payloads` leaves the payload out; otherwise
    absent.
    """

    relayed_headers: dict[str, str] | None = None
    """The provider's own headers, kept because the subscription relays them; absent if there are none."""

    cloudevent: dict[str, str | int | bool] | None = None
    """The attributes of a CloudEvent, without `specversion`, `type`, and `datacontenttype`; absent if
    it is none.
    """

    tags: dict[str, str]
    """By what the event is found."""


class EventAccepted(Model, kw_only=True):
    """The response to an event: `deliveries` is the number of its deliveries, and absent while they
    are created.
    """

    event_id: str

    deliveries: int | None = None

    expanding: bool | None = None
    """Default: `false`."""

    deliver_at: datetime | None = None
    """When it becomes due; absent unless it is scheduled, and then `deliveries` is absent."""


class EventBatchBody(Model, kw_only=True):
    """EventBatchBody."""

    events: list[BatchedEvent]


class EventBody(Model, kw_only=True):
    """EventBody."""

    event_type: str

    event_version: int | None | UnsetType = UNSET
    """The version of its type that the payload is of. Default: the current version if the type is in
    the catalog, and otherwise none.
    """

    payload: Any
    """Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format."""

    tags: dict[str, str] | UnsetType = UNSET
    """By what the event is found: at most 5 pairs. A key has 1 to 64 characters of `A-Z a-z 0-9 . _
    -`, a value 1 to 255 printable characters.
    """

    deliver_at: datetime | UnsetType = UNSET
    """When the event becomes due, at most 30 days ahead. Until then it is scheduled: it has no
    deliveries, and can be cancelled. A time that has passed means at once. Not together with
    `delay_seconds`.
    """

    delay_seconds: int | None | UnsetType = UNSET
    """The same, in seconds from now."""

    deliver_within_seconds: int | None | UnsetType = UNSET
    """For how long after it is accepted, or is due, the event may be delivered. Deliveries that are
    unfinished then fail with reason `expired`. Default, and the most: `DELIVERY_EXPIRY_HOURS`.
    """


class EventSummary(Model, kw_only=True):
    """An accepted event without its payload."""

    id: str

    event_type: str | None
    """null if the event has no type."""

    content_type: str
    """Content-Type with which the payload is delivered."""

    content_encoding: str | None
    """Content-Encoding with which the payload is delivered; null if it has none."""

    created_at: datetime

    payload_bytes: int
    """Size of the payload in bytes."""

    expanding: bool
    """Whether deliveries of the event are still being created."""

    scheduled: bool
    """Whether the event is scheduled: it is not due yet, and has no deliveries."""

    deliver_at: datetime | None
    """While it is scheduled: when it becomes due; otherwise null."""

    tags: dict[str, str]
    """By what the event is found."""

    erased_at: datetime | None
    """When it was erased; null if it was not."""

    event_version: int | None
    """The version of its type that the payload is of; null if it has none."""


class EventType(Model, kw_only=True):
    """An event type of the catalog."""

    id: str

    name: str

    description: str

    validation: Validation | None
    """Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events
    that do not match are accepted and counted. `enforce`: they are refused with 422 and reason
    `PAYLOAD_INVALID`. Null: as the tenant has it.
    """

    effective_validation: Validation
    """What applies."""

    current_version: int | None
    """The version that events are validated against: the newest `live` one, or else the newest
    `deprecated` one; null if all are drafts.
    """

    latest_version: EventTypeVersion
    """The newest version, whatever its status."""

    invalid_events: InvalidEvents

    created_at: datetime

    updated_at: datetime


class EventTypeBody(Model, kw_only=True):
    """An event type to create, with its version 1."""

    schema: dict[str, Any]
    """[JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead
    only to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
    supported, and `format` is not checked.
    """

    status: EventTypeStatus | UnsetType = UNSET
    """`draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
    `deprecated`: in use, but consumers should move on. Default: `"live"`.
    """

    sunset_at: datetime | None | UnsetType = UNSET
    """When a `deprecated` version ends, for people. Default: not known."""

    description: str | UnsetType = UNSET
    """What the events are about, for people."""

    example: Any | UnsetType = UNSET
    """A payload that matches the schema, at most 16 KiB."""

    down_conversion: str | None | UnsetType = UNSET
    """A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
    version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes.
    It may change at any time. Null: none.
    """

    name: str
    """As in `event_type` of events. Unique in the tenant; it cannot be changed."""

    validation: Validation | None | UnsetType = UNSET
    """Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events
    that do not match are accepted and counted. `enforce`: they are refused with 422 and reason
    `PAYLOAD_INVALID`. Null: as the tenant has it.
    """


class EventTypeCheckBody(Model, kw_only=True):
    """A schema to compare with that of a version."""

    schema: dict[str, Any]
    """[JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead
    only to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
    supported, and `format` is not checked.
    """

    version: int | None | UnsetType = UNSET
    """The version to compare it with. Default: the current one, or the newest if all are drafts."""


class EventTypePage(Model, kw_only=True):
    """A page of event types, in the order of their names."""

    items: list[EventType]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class EventTypePatch(Model, kw_only=True):
    """Changes to an event type. Fields that are missing stay as they are."""

    description: str | UnsetType = UNSET
    """What the events are about, for people."""

    validation: Validation | None | UnsetType = UNSET
    """Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events
    that do not match are accepted and counted. `enforce`: they are refused with 422 and reason
    `PAYLOAD_INVALID`. Null: as the tenant has it.
    """


class EventTypeVersion(Model, kw_only=True):
    """A version of an event type."""

    event_type_id: str

    number: int
    """1 for the first one."""

    status: EventTypeStatus
    """`draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
    `deprecated`: in use, but consumers should move on.
    """

    schema: dict[str, Any]

    sunset_at: datetime | None
    """When it ends; null if not known."""

    description: str

    example: Any
    """A payload; null: none."""

    down_conversion: str | None
    """A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
    version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes.
    It may change at any time. null: none.
    """

    created_at: datetime

    updated_at: datetime


class EventTypeVersionBody(Model, kw_only=True):
    """A version of an event type."""

    schema: dict[str, Any]
    """[JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead
    only to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
    supported, and `format` is not checked.
    """

    status: EventTypeStatus | UnsetType = UNSET
    """`draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
    `deprecated`: in use, but consumers should move on. Default: `"live"`.
    """

    sunset_at: datetime | None | UnsetType = UNSET
    """When a `deprecated` version ends, for people. Default: not known."""

    description: str | UnsetType = UNSET
    """What is new in it, for people."""

    example: Any | UnsetType = UNSET
    """A payload that matches the schema, at most 16 KiB."""

    down_conversion: str | None | UnsetType = UNSET
    """A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
    version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes.
    It may change at any time. Null: none.
    """


class EventTypeVersionList(Model, kw_only=True):
    """All versions of an event type, the newest first."""

    items: list[EventTypeVersion]


class EventTypeVersionPatch(Model, kw_only=True):
    """Changes to a version. Fields that are missing stay as they are."""

    schema: dict[str, Any] | None | UnsetType = UNSET
    """Only that of a `draft` can change."""

    status: EventTypeStatus | UnsetType = UNSET
    """`draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
    `deprecated`: in use, but consumers should move on.
    """

    sunset_at: datetime | None | UnsetType = UNSET
    """When a `deprecated` version ends. Null: not known."""

    description: str | UnsetType = UNSET
    """What is new in it, for people."""

    example: Any | UnsetType = UNSET
    """A payload that matches the schema. Null: none."""

    down_conversion: str | None | UnsetType = UNSET
    """A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
    version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes.
    It may change at any time. Null: none.
    """


class ExhaustedEvent(Model, kw_only=True):
    """What a system subscription gets when deliveries ended as failed, at most once a minute for a
    subscription.
    """

    type: str

    timestamp: datetime

    data: ExhaustedEventData


class ExhaustedEventData(Model, kw_only=True):
    """The failed deliveries of a subscription since the previous event."""

    subscription_id: str
    """The subscription concerned."""

    target_host: str
    """Host of its current target."""

    reason: str | None
    """Why; null if there is no reason."""

    last_error: str | None
    """Error of the last attempt, or null."""

    deliveries: int
    """How many deliveries failed since the previous event."""

    since: datetime
    """When the first of them failed."""

    last_delivery_id: str

    last_event_id: str

    last_attempts: int
    """Attempts of the last of them."""


class ExplicitRetries(Model, kw_only=True):
    """The delay before each retry."""

    delays_seconds: list[float]


class ExponentialRetries(Model, kw_only=True):
    """Retry *n* comes `base_seconds` · `factor`ⁿ⁻¹ after the previous failure, at most `cap_seconds`."""

    base_seconds: float

    factor: float

    cap_seconds: float

    limit: int
    """Retries after the first attempt."""


class FieldChange(Model, kw_only=True):
    """A changed field. `before` and `after` are absent if there was no value or it is not shown."""

    field: str

    before: Any = None
    """The value before the change, as JSON."""

    after: Any = None
    """The value after the change, as JSON."""


class FieldError(Model, kw_only=True):
    """A field with an error: its name in the request, and what is wrong."""

    field: str

    message: str


class FilterCheck(Model, kw_only=True):
    """What a filter says of each event."""

    results: list[FilterResult]

    warnings: list[str]
    """What the filter asks for that the schemas of the event types in the catalog rule out."""


class FilterCheckBody(Model, kw_only=True):
    """A filter, and the events that it is tried on: `event`, `event_ids`, or those of
    `subscription_id`.
    """

    filter: str
    """Condition in CEL, as of a subscription."""

    event: TriedEvent | None | UnsetType = UNSET
    """An event that is not stored."""

    event_ids: list[str] | UnsetType = UNSET
    """Events that are stored, at most 20."""

    subscription_id: str | None | UnsetType = UNSET
    """The latest events of the last 7 days that this subscription's `event_types` want."""

    last: int | UnsetType = UNSET
    """How many of these. Default: `20`."""


class FilterResult(Model, kw_only=True):
    """What a filter says of an event."""

    event_id: str | None
    """null if the event is not stored."""

    verdict: FilterVerdict
    """`match`: it is true. `no_match`: it is false. `error`: `filter_on_error` decides."""

    explanation: str | None
    """The first part of the filter that was false, or why it cannot be evaluated; otherwise null."""


class FoundDeliveries(Model, kw_only=True):
    """A page of the deliveries that were searched for, without attempts."""

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""

    from_: datetime | None = field(name="from")
    """What was searched: from this time on; null if from the beginning."""

    to: datetime | None
    """And before this time; null if up to now."""

    scanned_to: datetime | None
    """How far the search got, if it stopped before the page was full because few of many are wanted;
    `next_cursor` goes on from there. Otherwise null.
    """

    items: list[DeliverySummary]


class FoundEvents(Model, kw_only=True):
    """A page of the events that were searched for, without payloads."""

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""

    from_: datetime | None = field(name="from")
    """What was searched: from this time on; null if from the beginning."""

    to: datetime | None
    """And before this time; null if up to now."""

    scanned_to: datetime | None
    """How far the search got, if it stopped before the page was full because few of many are wanted;
    `next_cursor` goes on from there. Otherwise null.
    """

    items: list[EventSummary]


class Handshake(Model, kw_only=True):
    """Handshake."""

    challenge: str


class Header(Model, kw_only=True):
    """A header."""

    name: str
    """Of a response, in lowercase."""

    value: str


class ImportProblem(Model, kw_only=True):
    """Why an event type was refused."""

    path: str
    """Where in the document, as a JSON Pointer."""

    description: str


class ImportedEventType(Model, kw_only=True):
    """What became of an event type of the document, or with `dry_run` would."""

    name: str

    outcome: ImportOutcome
    """`created`: it is new. `new_version`: its schema is another one than that of the current version.
    `updated`: its schema is the same; its descriptions, example, or status are not. `unchanged`:
    all is the same. `refused`: see `problems`.
    """

    event_type_id: str | None
    """null: it does not exist."""

    version: int | None
    """The version with this schema; null if it was refused."""

    breaking: list[SchemaChange]
    """Of a new version: what would surprise consumers of the current one; at most ten."""

    problems: list[ImportProblem]
    """Why it was refused; at most five."""


class IngestToken(Model, kw_only=True):
    """The right to send webhooks to one subscription."""

    token: str | None
    """The token. It is shown only in this response; null in a repeated one."""

    path: str | None
    """Path on this server to which webhooks are sent with the token; null in a repeated response."""


class InvalidEvents(Model, kw_only=True):
    """Events that did not match the schema, while validation was on."""

    count: int
    """How many came, accurate to some seconds."""

    last_at: datetime | None
    """When the last one came; null: none did."""

    last_errors: list[str]
    """What was wrong with it."""


class Job(Model, kw_only=True):
    """A job."""

    id: str

    tenant_id: str
    """The job's tenant."""

    kind: JobKind

    status: JobStatus
    """`queued`: not begun. `running`. `paused`: does nothing until it is resumed. `succeeded`: it has
    looked at all of its deliveries. `failed`: see `error`. `cancelled`.
    """

    filter: StoredFilter

    to_subscription_id: str | None
    """Who gets the deliveries of a `replay`."""

    only: ReplayedEvents | None
    """Which events a `replay` is about: `missing` or `all`; null if it is about deliveries."""

    rate_per_second: int
    """The most deliveries, or to erase events, per second."""

    counts: JobCounts

    results: JobResults | None
    """null for `cancel` and `erase`."""

    error: str | None
    """Why it failed, or why it does not go on now."""

    created_by: str
    """Who created it: the UUID of an API key, `bootstrap` or `anonymous`."""

    created_at: datetime
    """Deliveries that were accepted or that ended after this, or after its dry run, are not part of
    it.
    """

    started_at: datetime | None

    moved_at: datetime | None
    """When it did something last."""

    ended_at: datetime | None

    current_rate_per_second: float | None
    """How many deliveries it goes through in a second, measured over the last 10 to 20 seconds; null
    while it is not running, and in its first second.
    """

    estimated_end_at: datetime | None
    """When it will have looked at all deliveries at its current rate; null if that is not known."""


class JobBody(Model, kw_only=True):
    """A job to create or to preview."""

    kind: JobKind | None | UnsetType = UNSET
    """`retry` sends each delivery again now, with its full retry schedule and the same `webhook-id`.
    `cancel` cancels deliveries that wait. `replay` makes a new delivery of each event, with a
    `webhook-id` of its own and the header `X-Webhook-Replay`. `erase` removes the payloads of
    events, and all that was kept of what was sent and answered, for good; it requires a key with
    the capability `erase`. Required without `token`.
    """

    filter: JobFilter | None | UnsetType = UNSET
    """Which deliveries, or to erase which events. It needs a `from`, a `subscription_id`, `event_ids`,
    a `tag`, an `idempotency_key` or a `provider_id`. Required without `token`.
    """

    to_subscription_id: str | None | UnsetType = UNSET
    """Only for `replay`: the subscription that gets the new deliveries. Default: each delivery's own."""

    only: ReplayedEvents | None | UnsetType = UNSET
    """Only for `replay` with `to_subscription_id`, which then is about events, in place of deliveries:
    `missing`: those that the subscription wants, by its `event_types` and its `filter`, and has no
    delivery of. `all`: all that it wants. The filter then has `from`, and may have `to` and
    `event_type`.
    """

    rate_per_second: int | None | UnsetType = UNSET
    """The most deliveries, or to erase events, per second. Default: 500."""

    dry_run: bool | UnsetType = UNSET
    """Count what the job would do, and change nothing. Default: `false`."""

    token: str | None | UnsetType = UNSET
    """The `token` of a dry run: starts exactly the job that was counted, once, within 15 minutes."""


class JobCounts(Model, kw_only=True):
    """What a job has done so far. When it has succeeded, `matched` is the sum of `done`, `skipped`,
    and `gone`.
    """

    matched: int
    """Deliveries, or to erase events, that match."""

    matched_is_exact: bool
    """Otherwise there are at least so many."""

    done: int
    """Made pending again, cancelled, replayed, or erased."""

    skipped: int
    """Left as they are: changed meanwhile, in flight, or their subscription is disabled or deleted."""

    gone: int
    """Their payloads are no longer retained."""


class JobFilter(Model, kw_only=True):
    """Which deliveries, or to erase which events: those that match every field, and one of the values
    of each list.

    Events to erase are found by `event_ids`, `tag`, `idempotency_key`, `provider_id`, `event_type`,
    `from`, and `to`.
    """

    subscription_id: list[str] | UnsetType = UNSET
    """To these subscriptions. Default: all."""

    status: list[DeliveryStatus] | UnsetType = UNSET
    """With these statuses. To retry: `failed` (default), `cancelled`, `delivered`, `scheduled`. To
    cancel: `pending` and `scheduled` (default: both). To replay: any (default).
    """

    reason: list[str] | UnsetType = UNSET
    """Failed or cancelled for these reasons."""

    event_type: list[str] | UnsetType = UNSET
    """Of events of these types, exact or with a prefix, such as `order.*`."""

    status_code: list[str] | UnsetType = UNSET
    """Whose last response had this status code, such as `503` or `5xx`."""

    error_kind: list[str] | UnsetType = UNSET
    """Whose last attempt failed like this."""

    held_by: list[str] | UnsetType = UNSET
    """That are due, but held for these reasons."""

    min_attempts: int | UnsetType = UNSET
    """With at least so many attempts. Default: `0`."""

    tag: list[str] | UnsetType = UNSET
    """Of events with these tags."""

    idempotency_key: list[str] | UnsetType = UNSET
    """Of events that were accepted under these idempotency keys, for as long as keys are kept."""

    provider_id: list[str] | UnsetType = UNSET
    """Of events with these ids of the provider that sent them, which are kept as long."""

    event_ids: list[str] | UnsetType = UNSET
    """Of these events: up to 50, or to erase up to 1,000. An id that no event has matches nothing."""

    from_: datetime | None | UnsetType = field(name="from", default=UNSET)
    """Accepted at this time or later. Required unless `subscription_id`, `event_ids`, `tag`,
    `idempotency_key` or `provider_id` is given.
    """

    to: datetime | None | UnsetType = UNSET
    """Accepted before this time. Default: now."""


class JobPage(Model, kw_only=True):
    """A page of jobs, newest first."""

    items: list[Job]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class JobPreview(Model, kw_only=True):
    """What a job would do now."""

    token: str
    """`token` of the request that starts this job."""

    token_expires_at: datetime

    counts: JobCounts

    oldest_at: datetime | None
    """When the oldest of the deliveries was accepted."""

    newest_at: datetime | None
    """When the newest was."""

    reasons: dict[str, int]
    """Deliveries by reason; those without one are under an empty string."""

    samples: list[JobSample]
    """Up to ten of the deliveries or events, the oldest first."""


class JobResults(Model, kw_only=True):
    """What became of the retried or replayed deliveries, as of a few seconds ago."""

    delivered: int

    failed: int
    """Failed again, or cancelled."""

    waiting: int
    """Not ended yet."""


class JobSample(Model, kw_only=True):
    """A delivery that would be changed, or an event that would be erased."""

    delivery_id: str | None
    """null for an event to erase."""

    subscription_id: str | None
    """null for an event to erase."""

    event_id: str

    event_type: str | None

    reason: str | None

    created_at: datetime


class Latency(Model, kw_only=True):
    """Durations in milliseconds of attempts that received a response."""

    mean: float

    p50: float

    p95: float

    p99: float


class Limits(Model, kw_only=True):
    """The quotas that apply to a tenant."""

    subscriptions: int
    """Live subscriptions."""

    events_per_second: float
    """Events accepted per second."""

    waiting_deliveries: int
    """Deliveries that are not finished."""

    stored_bytes: int
    """Bytes of the payloads of retained events."""

    scheduled_events: int
    """Events that are scheduled and not due yet."""

    scheduled_bytes: int
    """Bytes of the payloads of scheduled events."""


class Liveness(Model, kw_only=True):
    """Liveness."""

    status: LivenessStatus | None = None


class NamedRetries(Model, kw_only=True):
    """A named schedule."""

    name: RetrySchedule


class OperationalEvent(Model, kw_only=True):
    """What a system subscription gets when an endpoint fails, recovers, or is disabled."""

    type: OperationalEventType

    timestamp: datetime

    data: OperationalEventData


class OperationalEventData(Model, kw_only=True):
    """The subscription concerned."""

    subscription_id: str
    """The subscription concerned."""

    target_host: str
    """Host of its current target."""

    reason: str | None
    """Why; null if there is no reason."""

    last_error: str | None
    """Error of the last attempt, or null."""


class OwnQuotas(Model, kw_only=True):
    """A tenant's own quotas. Null: it has the default of the service."""

    subscriptions: int | None
    """Live subscriptions."""

    events_per_second: float | None
    """Events accepted per second."""

    waiting_deliveries: int | None
    """Deliveries that are not finished."""

    stored_bytes: int | None
    """Bytes of the payloads of retained events."""

    scheduled_events: int | None
    """Events that are scheduled and not due yet."""

    scheduled_bytes: int | None
    """Bytes of the payloads of scheduled events."""


class Phase(Model, kw_only=True):
    """A part of an attempt's time."""

    name: str
    """`dns`, `connect`, `tls`, `first_byte` (until the response begins), or `body`."""

    duration_ms: float


class PortalLink(Model, kw_only=True):
    """A new portal link."""

    id: str

    url: str
    """Where it is, relative to the address at which browsers reach this service. It works once, and is
    shown only in this response.
    """

    expires_at: datetime


class PortalLinkBody(Model, kw_only=True):
    """A portal link to create."""

    tenant_id: str | None | UnsetType = UNSET
    """The tenant whose objects it shows. Default: that of `X-Tenant`, or of your key. Another one than
    your key's requires the role `admin`.
    """

    capabilities: list[PortalCapability]
    """What its holder may do, and no more than your key may: 403 otherwise. `view`, which is implied:
    see subscriptions, deliveries, events without their payloads, statistics, and jobs. `manage`:
    create, change, pause, and delete subscriptions. `secrets`: set and rotate secrets and ingest
    tokens, and see those that are made. `test`: send test events. `recover`: retry and cancel
    deliveries, and run jobs that do. `payloads`: see the payloads of events. All but `view` and
    `payloads` require the role `write`.
    """

    subscriptions: list[str] | None | UnsetType = UNSET
    """Limits it to these subscriptions of the tenant, and what was sent to them. Default: all."""

    expires_in_seconds: int | UnsetType = UNSET
    """After this time it ends, and what it was exchanged for. Default: `3600`."""

    origin: str | None | UnsetType = UNSET
    """The origin of the pages that may show it in a frame, such as `https://app.example.com`. Default:
    no page may.
    """


class PortalLook(Model, kw_only=True):
    """How the portal of a tenant looks. Null: as the console does."""

    name: str | None
    """Its name in the menu and the title."""

    accent: str | None
    """The color of links and buttons."""

    accent_dark: str | None
    """That in the dark theme."""

    has_logo: bool
    """Whether it has a logo."""


class PortalLookPatch(Model, kw_only=True):
    """How the portal of a tenant looks. Null: as the console does."""

    name: str | None | UnsetType = UNSET
    """Its name in the menu and the title."""

    accent: str | None | UnsetType = UNSET
    """The color of links and buttons, such as `#3d49cf`. It needs a contrast of 4.5 with white."""

    accent_dark: str | None | UnsetType = UNSET
    """That in the dark theme: a contrast of 4.5 with `#15191f`."""

    logo_base64: str | None | UnsetType = UNSET
    """A PNG or WebP of at most 64 KiB, in base64."""


class PreviousSecret(Model, kw_only=True):
    """A replaced secret that is still valid."""

    expires_at: datetime


class Problem(Model, kw_only=True):
    """An error. `type` is `urn:webhook-service:error:` and the `reason`, or `about:blank` without one."""

    type: str

    title: str

    status: int

    detail: str

    instance: str | None = None

    reason: ErrorReason | None = None

    errors: list[FieldError] | None = None

    request_id: str | None = None


class PublicKey(Model, kw_only=True):
    """A key that verifies `v1a` signatures."""

    public_key: str
    """`whpk_` and the base64 of the 32 bytes of an Ed25519 public key."""

    expires_at: datetime | None
    """When its private key stops signing; null for the current one."""


class PublicKeys(Model, kw_only=True):
    """The public keys of a subscription."""

    public_keys: list[PublicKey]
    """Public keys of the signing private keys, newest first."""


class PullBody(Model, kw_only=True):
    """What a consumer asks for."""

    max_deliveries: int | UnsetType = UNSET
    """How many to return. Their payloads add up to 4 MiB at most, unless a single one is larger.
    Default: `100`.
    """

    wait_seconds: float | UnsetType = UNSET
    """How long to wait if there are none. Default: `0.0`."""

    lease_seconds: float | UnsetType = UNSET
    """How long they are leased. Report what became of each before then, or extend its lease. Default:
    `60.0`.
    """


class PullResult(Model, kw_only=True):
    """What became of a delivery."""

    delivery_id: str

    lease_token: str
    """The one that the delivery was pulled with."""

    outcome: PullOutcome
    """`success`: it is delivered. `failure`: the attempt failed, and is retried by the retry policy.
    `extend`: nothing yet; the lease lasts for `lease_seconds` from now on.
    """

    status_code: int | None | UnsetType = UNSET
    """HTTP status that describes the outcome."""

    message: str | None | UnsetType = UNSET
    """For people; kept with the attempt."""

    duration_ms: int | None | UnsetType = UNSET
    """What the attempt took. Default: the time since the pull."""

    lease_seconds: float | None | UnsetType = UNSET
    """Only with `extend`. Default: 60."""


class PullResultsBody(Model, kw_only=True):
    """What became of deliveries that were pulled."""

    results: list[PullResult]
    """Each delivery at most once."""


class PulledDeliveries(Model, kw_only=True):
    """Deliveries that are leased to the consumer, the oldest first; none if there was nothing to pull."""

    deliveries: list[PulledDelivery]


class PulledDelivery(Model, kw_only=True):
    """A delivery that is leased to the consumer."""

    id: str

    event_id: str

    event_type: str | None
    """null if the event has no type."""

    attempt: int
    """Counts from 1."""

    lease_token: str
    """Send it with the result."""

    lease_expires_at: datetime
    """Without a result by then the attempt has failed with `lease_expired`, and is retried."""

    headers: dict[str, str]
    """As they would be sent to a target, signatures included."""

    payload_base64: str
    """The exact bytes, in base64."""


class QuotasBody(Model, kw_only=True):
    """Quotas of a tenant's own. Null: the default of the service."""

    subscriptions: int | None | UnsetType = UNSET
    """Live subscriptions."""

    events_per_second: float | None | UnsetType = UNSET
    """Events accepted per second."""

    waiting_deliveries: int | None | UnsetType = UNSET
    """Deliveries that are not finished."""

    stored_bytes: int | None | UnsetType = UNSET
    """Bytes of the payloads of retained events."""

    scheduled_events: int | None | UnsetType = UNSET
    """Events that are scheduled and not due yet."""

    scheduled_bytes: int | None | UnsetType = UNSET
    """Bytes of the payloads of scheduled events."""


class RecoverBody(Model, kw_only=True):
    """What to recover of a subscription."""

    from_: datetime = field(name="from")
    """Deliveries that were accepted at this time or later."""

    to: datetime | None | UnsetType = UNSET
    """Accepted before this time. Default: now."""

    only: Recovered | UnsetType = UNSET
    """`failed`: deliveries that failed are retried. `missing`: events that the subscription wants, by
    its `event_types` and its `filter`, and has no delivery of are replayed to it. `all`: all that
    it wants are. Default: `"failed"`.
    """

    rate_per_second: int | None | UnsetType = UNSET
    """The most deliveries per second. Default: 500."""


class RefusalCount(Model, kw_only=True):
    """How many events were refused for a subscription by a reason."""

    subscription_id: str | None
    """null if the request named no subscription, or one that the tenant never had."""

    reason: str
    """The reason code of the response."""

    events: int
    """How many."""

    last_at: datetime
    """When the last one was refused."""


class Refusals(Model, kw_only=True):
    """Refused events by subscription and reason."""

    from_: datetime = field(name="from")
    """Start of the first hour."""

    to: datetime
    """End of the last hour."""

    events: int
    """All refused events, also those of items that are not listed."""

    items: list[RefusalCount]
    """The largest first."""


class ReportedResult(Model, kw_only=True):
    """What became of a result."""

    delivery_id: str

    status: PullResultStatus
    """`recorded`: also if it was recorded before, and for a success that comes after the lease has
    expired: the delivery is delivered unless it has ended otherwise. `lease_expired`: the lease is
    over, and nothing changes. `not_found`: the subscription has no such delivery.
    """

    lease_expires_at: datetime | None
    """When the lease ends that was extended; otherwise null."""


class ReportedResults(Model, kw_only=True):
    """One for each result, in their order."""

    results: list[ReportedResult]


class RetryPolicy(Model, kw_only=True):
    """When a failed delivery is retried: exponentially, by `delays_seconds`, or by the schedule called
    `name`.
    """

    delays_seconds: list[float] | None = None

    base_seconds: float | None = None

    factor: float | None = None

    cap_seconds: float | None = None

    limit: int | None = None
    """Retries after the first attempt."""

    name: RetrySchedule | None = None


class RetryPolicyBody(Model, kw_only=True):
    """When a failed delivery is retried. One of three kinds, which cannot be combined.

    Exponential: `base_seconds`, `factor`, `cap_seconds`, `limit`; each has a default. Explicit:
    `delays_seconds`. Named: `name`. All delays together must fit within the lifetime of a delivery.
    """

    base_seconds: float | None | UnsetType = UNSET
    """Delay before the first retry."""

    factor: float | None | UnsetType = UNSET
    """Each further delay is the previous one times this factor."""

    cap_seconds: float | None | UnsetType = UNSET
    """Longest delay; at least `base_seconds`."""

    limit: int | None | UnsetType = UNSET
    """Retries after the first attempt."""

    delays_seconds: list[float] | None | UnsetType = UNSET
    """The delay before each retry; its length is the number of retries."""

    name: RetrySchedule | None | UnsetType = UNSET
    """`standard-webhooks`: the schedule of the Standard Webhooks specification: nine retries after 5
    s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, and 24 h.
    """


class Rotated(Model, kw_only=True):
    """The secrets after a rotation."""

    secret_key: str | None
    """The generated secret, shown only in this response; null if the request had a secret, in a
    repeated response, and for `ed25519`, whose private key is never returned.
    """

    public_keys: list[PublicKey]
    """Public keys of the signing private keys, newest first."""

    previous_secrets: list[PreviousSecret]
    """Replaced secrets that are still valid, newest first."""

    warnings: list[str]
    """Weaknesses of the subscription, such as a secret of fewer than 24 bytes."""


class RotationBody(Model, kw_only=True):
    """The next secret, and how long the old ones stay valid."""

    secret_key: str | None | UnsetType = UNSET
    """Absent or null: one is generated. After the prefix `whsec_` or `v1,whsec_` comes the base64 of
    the key of `webhook-signature`; any other secret is used as its UTF-8 bytes. The key must have
    at least 8 bytes, without white space around it; `warnings` reports a key of fewer than 24. For
    the scheme `ed25519` it is a private key: `whsk_` and the base64 of 32 bytes, or of 64 bytes
    that end with the public key.
    """

    signature_scheme: SecretScheme | None | UnsetType = UNSET
    """Scheme of the new secret. Absent or null: the subscription's scheme."""

    overlap_hours: float | UnsetType = UNSET
    """How long old secrets stay valid at most; 0 invalidates them at once. Default: `24`."""


class Route(Model, kw_only=True):
    """Whether a subscription got the event, and why."""

    subscription_id: str

    routed: bool
    """Whether the subscription got the event."""

    reason: str
    """Got it: `matched`, or `replayed` (a job sent it there later). Did not: `event_type` (it does not
    get events of this type), `filter` (its filter does not let the event through), `created_later`,
    `system` (it gets only operational events), `disabled` (and it keeps no events meanwhile),
    `expanding` (deliveries are still being created), `scheduled` (the event is not due yet), or
    `addressed` (the event was sent to another subscription, not to all that want its type).
    `changed_since`: it was changed after the event was accepted, and what it was before is not
    known.
    """

    explanation: str
    """The reason as a sentence, for people."""

    delivery_id: str | None
    """The delivery; null if it did not get the event."""


class RoutePage(Model, kw_only=True):
    """A page of routes, those of the newest subscriptions first."""

    items: list[Route]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class SchemaChange(Model, kw_only=True):
    """A difference of two schemas."""

    path: str
    """Where in the schema, as a JSON Pointer; empty for the whole."""

    description: str


class SchemaComparison(Model, kw_only=True):
    """How a schema differs from a version."""

    version: int
    """The version that it was compared with."""

    compatible: bool
    """Whether no change is breaking."""

    breaking: list[SchemaChange]
    """Changes after which payloads may surprise consumers of the version, at most 100."""


class Session(Model, kw_only=True):
    """Somebody who signed in at the console with an API key. A session can do what its key can, and
    ends with it.
    """

    id: str

    tenant_id: str
    """The key's tenant."""

    key_id: str
    """Id of the key; `bootstrap` for `BOOTSTRAP_ADMIN_KEY`."""

    key_name: str
    """The key's name; empty for `BOOTSTRAP_ADMIN_KEY`."""

    role: Role
    """The key's role."""

    user_agent: str
    """What the browser called itself."""

    created_at: datetime

    expires_at: datetime

    revoked_at: datetime | None
    """null unless it was revoked, or its holder signed out."""


class SessionPage(Model, kw_only=True):
    """A page of sessions, newest first."""

    items: list[Session]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class Stats(Model, kw_only=True):
    """Counts and latencies in a time window."""

    window_start: datetime

    window_end: datetime
    """When the latest numbers were computed, or the end of a step."""

    events: int | None
    """Accepted events; null for subscriptions and outcomes, which events do not have."""

    attempts: int

    attempts_by_outcome: dict[str, int]
    """By `success` or kind of error; kinds without attempts are omitted."""

    delivered: int
    """Deliveries that ended with status `delivered`. One that is retried after its end ends again."""

    failed: int
    """Deliveries that ended with status `failed`, also those that never had an attempt."""

    cancelled: int
    """Deliveries that ended with status `cancelled`."""

    attempt_success_rate: float | None
    """Share of successful attempts among those with a known outcome, 0 to 1; null if there are none."""

    delivery_success_rate: float | None
    """`delivered` as a share of `delivered` and `failed`, 0 to 1; null if both are 0."""

    latency_ms: Latency | None
    """null if no attempt received a response."""


class StatsGroup(Model, kw_only=True):
    """Statistics over time of one group."""

    summary: Stats
    """All steps together."""

    points: list[Stats]
    """Each step, the first first."""

    group: str | None
    """The outcome, the id of the subscription, or the event type (null: events without one); `other`
    for all groups that are not listed.
    """


class StatsOverTime(Model, kw_only=True):
    """Statistics over time, in total and by group."""

    from_: datetime = field(name="from")
    """Start of the first step."""

    to: datetime
    """End of the last step."""

    step: StatsStep

    complete_to: datetime
    """When the latest numbers were computed: steps that end later are not complete."""

    group_by: StatsGrouping | None

    total: StatsSeries

    groups: list[StatsGroup]
    """Empty without `group_by`."""


class StatsSeries(Model, kw_only=True):
    """Statistics over time."""

    summary: Stats
    """All steps together."""

    points: list[Stats]
    """Each step, the first first."""


class StoredFilter(Model, kw_only=True):
    """The filter of a job, with the statuses and the end that were implied."""

    subscription_id: list[str]

    status: list[str]

    reason: list[str]

    event_type: list[str]

    status_code: list[str]

    error_kind: list[str]

    held_by: list[str]

    min_attempts: int

    tag: list[str]

    idempotency_key: list[str]

    provider_id: list[str]

    event_ids: list[str]

    from_: datetime | None = field(name="from")

    to: datetime | None


class Subscription(Model, kw_only=True):
    """A stored subscription. Responses never contain its secrets, except one that was just generated."""

    id: str

    tenant_id: str
    """The subscription's tenant."""

    destination: Destination
    """`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them."""

    expires_after_idle_seconds: int | None
    """It is deleted when nobody has pulled from it, or changed it, for this long; null for never."""

    target_url: str | None
    """null if `destination` is `pull`."""

    event_types: list[str]

    filter: str | None
    """Condition in CEL that an event has to fulfill in addition to its type; null if there is none."""

    filter_on_error: FilterOnError
    """What becomes of an event that `filter` cannot be evaluated for."""

    filter_stopped_at: datetime | None
    """When `filter` was stopped because evaluating it took more than 5 ms for 100 events within an
    hour; since then `filter_on_error` decides. Another `filter` starts it again. null while it is
    evaluated.
    """

    description: str

    name: str | None
    """Unique among the tenant's subscriptions; null if it has none."""

    metadata: dict[str, str]
    """Pairs to find it by."""

    tag_paths: dict[str, str]
    """Where in webhooks to this subscription tags are found."""

    has_secret: bool
    """Whether deliveries are signed."""

    signature_scheme: DeliveryScheme
    """How deliveries are signed; `none` without a secret."""

    public_keys: list[PublicKey]
    """Public keys of the signing private keys, newest first; empty for `hmac-sha256`."""

    previous_secrets: list[PreviousSecret]
    """Replaced secrets that are still valid, newest first."""

    has_ingest_token: bool
    """Whether it has an ingest token."""

    status: SubscriptionStatus
    """`paused` and `disabled`: deliveries wait until it is resumed or enabled. `unverified`: they wait
    until its target has answered a challenge.
    """

    status_reason: StatusReason | None
    """Why it is disabled: `manual`, `gone` (the receiver responded with 410), or `failing` (all
    attempts failed for days); otherwise null.
    """

    status_since: datetime

    next_check_at: datetime | None
    """When an `unverified` target is sent the next challenge; null if not before somebody asks for it."""

    check_error: str | None
    """Why an `unverified` target is not verified yet; otherwise null."""

    keep_when_disabled: bool
    """Whether events are stored while it is disabled."""

    rate_limit_per_second: float | None
    """null for no limit."""

    rate_limit_burst: int | None
    """null for one second's worth of the rate."""

    timeout_seconds: float | None
    """null for the service's default."""

    effective_timeout_seconds: float | None
    """The timeout in effect: the subscription's own, or the service's default. null for `pull`."""

    retry_policy: RetryPolicy | None
    """With the service's defaults for fields that the request did not set; null for the service's
    default policy.
    """

    effective_retry_policy: RetryPolicy
    """The policy in effect: the subscription's own, or the service's default."""

    header_names: list[str]
    """Names of the headers that each request carries in addition to the service's own."""

    template: Template | None
    """What is sent in place of the payload; null for the payload."""

    template_secret_names: list[str]
    """Names of the template's secrets."""

    event_versions: dict[str, int]
    """The versions that it gets of events, by type."""

    verify: Verification
    """Signature required on incoming webhooks."""

    has_verification_secret: bool
    """Whether webhooks are verified with `verification_secrets` instead of `secret_key`."""

    relay_headers: bool
    """Whether deliveries have the provider's own headers, too."""

    kind: SubscriptionKind
    """`system`: receives only events about the tenant's other subscriptions."""

    client_certificate: ClientCertificate | None
    """Client certificate for receivers that require one; null if there is none."""

    breaker: Breaker

    warnings: list[str]
    """Weaknesses, one sentence each, such as a secret of fewer than 24 bytes, or relayed signatures
    that are valid for only 5 minutes. After a request that sets it, also what the filter asks for
    that the schemas of the event types in the catalog rule out.
    """

    created_at: datetime

    updated_at: datetime


class SubscriptionBody(Model, kw_only=True):
    """An endpoint and the events that it receives."""

    destination: Destination | None | UnsetType = UNSET
    """`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them (`POST …/pull`). It
    cannot be combined with `target_url`, `timeout_seconds`, `rate_limit_per_second`, and
    `client_certificate`. Absent or null: `http` on create, the stored value on update. It cannot be
    changed.
    """

    expires_after_idle_seconds: int | None | UnsetType = UNSET
    """With `destination` `pull`: the subscription is deleted when nobody has pulled from it, or
    changed it, for this long. Absent or null: never.
    """

    target_url: str | None | UnsetType = UNSET
    """Absolute http or https URL without credentials, to which deliveries are POSTed. Its host must
    resolve to public addresses, and ports of services other than web servers are not allowed.
    Required unless `destination` is `pull`.
    """

    secret_key: str | None | UnsetType = UNSET
    """Secret that signs deliveries and verifies `X-Hub-Signature-256`; write-only. After the prefix
    `whsec_` or `v1,whsec_` comes the base64 of the key of `webhook-signature`; any other secret is
    used as its UTF-8 bytes. The key must have at least 8 bytes, without white space around it;
    `warnings` reports a key of fewer than 24. For the scheme `ed25519` it is a private key: `whsk_`
    and the base64 of 32 bytes, or of 64 bytes that end with the public key. On create, if absent or
    null, a secret is generated and returned. On update, absent keeps the stored secret, null
    removes it, and another value replaces it at once; `rotate-secret` replaces it with an overlap.
    """

    signature_scheme: DeliveryScheme | None | UnsetType = UNSET
    """How deliveries are signed. `hmac-sha256`: with a secret that the receiver also has (`v1`, and
    `X-Hub-Signature-256`). `ed25519`: with a private key that stays in the service; the receiver
    verifies with the public key (`v1a`). `none`: not signed; removes a stored secret. Default:
    `hmac-sha256` on create, the stored scheme on update. To change it in an update, send
    `secret_key` with it; `rotate-secret` changes it with an overlap.
    """

    event_types: list[str] | UnsetType = UNSET
    """Event types to deliver. `order.*` means every type that begins with `order.`. Default, and an
    empty list: every type. A PUT must include it if the subscription filters event types.
    """

    filter: str | None | UnsetType = UNSET
    """Condition in CEL (https://cel.dev) that an event has to fulfill in addition to its type, on
    `event.data`, which is the payload, `event.type`, `event.tags`, `event.time`, `event.id`, and
    `event.content_type`. 422 names the line and the column of what is wrong with it. Absent or
    null: none.
    """

    filter_on_error: FilterOnError | None | UnsetType = UNSET
    """What becomes of an event that `filter` cannot be evaluated for, such as one without a field that
    it names. Absent or null: `deliver` on create, the stored value on update.
    """

    description: str | UnsetType = UNSET
    """Free-form description."""

    name: str | None | UnsetType = UNSET
    """Name to find the subscription by, such as the one that it has in your configuration: 1 to 64
    characters of `a-z 0-9 . _ -`. Unique among the tenant's subscriptions that are not deleted; 409
    `NAME_TAKEN` if another has it. Absent or null: none.
    """

    metadata: dict[str, str] | None | UnsetType = UNSET
    """Pairs to find the subscription by; the service does not use them. At most 20; a key has 1 to 64
    characters of `A-Z a-z 0-9 . _ / -`, a value 1 to 512 characters. Absent or null: none.
    """

    tag_paths: dict[str, str] | None | UnsetType = UNSET
    """Where in webhooks to this subscription tags are found, by which events are then searched: the
    key of each tag, and a JSON Pointer to a string, a number, or a boolean in the payload. At most
    5; tags in `X-Webhook-Tags` come first. Absent or null: none.
    """

    keep_when_disabled: bool | UnsetType = UNSET
    """Whether events are stored while the subscription is disabled, and delivered once it is enabled.
    If false, they get status `filtered`. Default: `true`.
    """

    rate_limit_per_second: float | None | UnsetType = UNSET
    """Maximum requests per second, at least 0.001; deliveries over the limit wait. Absent or null: no
    limit.
    """

    rate_limit_burst: int | None | UnsetType = UNSET
    """Maximum requests at once; requires `rate_limit_per_second`. Absent or null: one second's worth
    of the rate, and at least 1.
    """

    timeout_seconds: float | None | UnsetType = UNSET
    """Timeout of one request. Absent or null: the service's default, 15 s unless configured."""

    retry_policy: RetryPolicyBody | None | UnsetType = UNSET
    """When failed deliveries are retried. Absent or null: the service's default policy."""

    headers: dict[str, str] | None | UnsetType = UNSET
    """Headers that each request carries in addition to the service's own. Values are write-only,
    because they may be credentials. At most 20, which total at most 4,096 bytes; a value has 1 to
    1,024 printable ASCII characters. Not allowed are headers of the connection (`Host`,
    `Connection`, `Content-Length`, …) and the service's own (`Content-Type`, `User-Agent`,
    `webhook-*`, `X-Webhook-*`, …), also with `_` for `-`. In an update: absent keeps the stored
    headers, null removes them.
    """

    verify: Verification | None | UnsetType = UNSET
    """Signature required on incoming webhooks; others return 401 and are not stored. `auto`:
    `X-Hub-Signature-256` is verified if present. `required`: it must be present. `github`,
    `stripe`, `shopify`, `slack`, `standard-webhooks`: the provider's signature; the event's type
    and id are read from the provider's headers or body. `none`: signatures are ignored. Absent or
    null: `auto` on create, the stored value on update; null in a PATCH resets it to `auto`.
    """

    verification_secrets: list[str] | None | UnsetType = UNSET
    """The provider's secrets, which verify webhooks to this subscription; write-only. One, or two
    while the provider changes its secret: either may have signed. Required for `stripe`, `shopify`,
    `slack`, and `standard-webhooks` (there with the prefix `whsec_` or `v1,whsec_` and the base64
    of the key); otherwise `secret_key` is used if there are none. At least 8 bytes, without white
    space around them; `warnings` reports fewer than 24. In an update: absent keeps the stored
    secrets, null removes them.
    """

    relay_headers: bool | None | UnsetType = UNSET
    """Whether the provider's own headers (`X-GitHub-Event`, `Stripe-Signature`, …) are kept with
    webhooks and sent with their deliveries, for receivers that use the provider's library. The
    provider's `X-Hub-Signature-256` then replaces the service's; `webhook-signature` stays.
    Requires `verify` to name a provider. Absent or null: false.
    """

    kind: SubscriptionKind | None | UnsetType = UNSET
    """`normal`: receives the tenant's events. `system`: receives only events about the tenant's other
    subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`,
    `subscription.filter_stopped`, `delivery.exhausted`); a tenant has at most one. Absent or null:
    `normal` on create, the stored value on update. It cannot be changed.
    """

    template: TemplateBody | None | UnsetType = UNSET
    """What is sent in place of the payload, rendered at each attempt from the stored event. An update
    replaces it as a whole. Absent or null: the payload is sent.
    """

    template_secrets: dict[str, Any] | None | UnsetType = UNSET
    """Values that the template knows as `secrets.NAME`, such as the routing key of PagerDuty;
    write-only. At most 10; a name has 1 to 64 characters of `a-z 0-9 _`, a value 1 to 256
    characters. In an update: absent keeps the stored values, null removes them, and other values
    replace all of them.
    """

    event_versions: dict[str, int] | None | UnsetType = UNSET
    """The versions to get of events, by type; `invoice.*` means every type that begins with
    `invoice.`. The entry that names the type decides, or else the longest prefix. Payloads of later
    versions are converted by `down_conversion` of the catalog's versions; others are sent as they
    are. An update replaces all entries. Absent or null: events are sent as they are.
    """

    client_certificate: ClientCertificateBody | None | UnsetType = UNSET
    """Client certificate for receivers that require one (mutual TLS). Requires a `target_url` with
    https; the key is write-only. In an update: absent keeps the stored certificate, null removes
    it.
    """


class SubscriptionPage(Model, kw_only=True):
    """A page of subscriptions, newest first."""

    items: list[Subscription]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class SubscriptionPatch(Model, kw_only=True):
    """The fields to change (JSON Merge Patch, RFC 7396): absent keeps the stored value, null removes
    it.

    `headers`, `metadata`, `tag_paths`, and `retry_policy` are merged field by field.
    """

    destination: Destination | None | UnsetType = UNSET
    """`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them (`POST …/pull`). It
    cannot be combined with `target_url`, `timeout_seconds`, `rate_limit_per_second`, and
    `client_certificate`. Absent or null: `http` on create, the stored value on update. It cannot be
    changed.
    """

    expires_after_idle_seconds: int | None | UnsetType = UNSET
    """With `destination` `pull`: the subscription is deleted when nobody has pulled from it, or
    changed it, for this long. Absent or null: never.
    """

    target_url: str | None | UnsetType = UNSET
    """Absolute http or https URL without credentials, to which deliveries are POSTed. Its host must
    resolve to public addresses, and ports of services other than web servers are not allowed.
    Required unless `destination` is `pull`.
    """

    secret_key: str | None | UnsetType = UNSET
    """Secret that signs deliveries and verifies `X-Hub-Signature-256`; write-only. After the prefix
    `whsec_` or `v1,whsec_` comes the base64 of the key of `webhook-signature`; any other secret is
    used as its UTF-8 bytes. The key must have at least 8 bytes, without white space around it;
    `warnings` reports a key of fewer than 24. For the scheme `ed25519` it is a private key: `whsk_`
    and the base64 of 32 bytes, or of 64 bytes that end with the public key. On create, if absent or
    null, a secret is generated and returned. On update, absent keeps the stored secret, null
    removes it, and another value replaces it at once; `rotate-secret` replaces it with an overlap.
    """

    signature_scheme: DeliveryScheme | None | UnsetType = UNSET
    """How deliveries are signed. `hmac-sha256`: with a secret that the receiver also has (`v1`, and
    `X-Hub-Signature-256`). `ed25519`: with a private key that stays in the service; the receiver
    verifies with the public key (`v1a`). `none`: not signed; removes a stored secret. Default:
    `hmac-sha256` on create, the stored scheme on update. To change it in an update, send
    `secret_key` with it; `rotate-secret` changes it with an overlap.
    """

    event_types: list[str] | None | UnsetType = UNSET
    """Event types to deliver. `order.*` means every type that begins with `order.`. Default, and an
    empty list: every type. A PUT must include it if the subscription filters event types.
    """

    filter: str | None | UnsetType = UNSET
    """Condition in CEL (https://cel.dev) that an event has to fulfill in addition to its type, on
    `event.data`, which is the payload, `event.type`, `event.tags`, `event.time`, `event.id`, and
    `event.content_type`. 422 names the line and the column of what is wrong with it. Absent or
    null: none.
    """

    filter_on_error: FilterOnError | None | UnsetType = UNSET
    """What becomes of an event that `filter` cannot be evaluated for, such as one without a field that
    it names. Absent or null: `deliver` on create, the stored value on update.
    """

    description: str | None | UnsetType = UNSET
    """Free-form description."""

    name: str | None | UnsetType = UNSET
    """Name to find the subscription by, such as the one that it has in your configuration: 1 to 64
    characters of `a-z 0-9 . _ -`. Unique among the tenant's subscriptions that are not deleted; 409
    `NAME_TAKEN` if another has it. Absent or null: none.
    """

    metadata: dict[str, str | None] | None | UnsetType = UNSET
    """Pairs to find the subscription by; the service does not use them. At most 20; a key has 1 to 64
    characters of `A-Z a-z 0-9 . _ / -`, a value 1 to 512 characters. Absent or null: none.
    """

    tag_paths: dict[str, str | None] | None | UnsetType = UNSET
    """Where in webhooks to this subscription tags are found, by which events are then searched: the
    key of each tag, and a JSON Pointer to a string, a number, or a boolean in the payload. At most
    5; tags in `X-Webhook-Tags` come first. Absent or null: none.
    """

    keep_when_disabled: bool | None | UnsetType = UNSET
    """Whether events are stored while the subscription is disabled, and delivered once it is enabled.
    If false, they get status `filtered`.
    """

    rate_limit_per_second: float | None | UnsetType = UNSET
    """Maximum requests per second, at least 0.001; deliveries over the limit wait. Absent or null: no
    limit.
    """

    rate_limit_burst: int | None | UnsetType = UNSET
    """Maximum requests at once; requires `rate_limit_per_second`. Absent or null: one second's worth
    of the rate, and at least 1.
    """

    timeout_seconds: float | None | UnsetType = UNSET
    """Timeout of one request. Absent or null: the service's default, 15 s unless configured."""

    retry_policy: RetryPolicyBody | None | UnsetType = UNSET
    """When failed deliveries are retried. Absent or null: the service's default policy."""

    headers: dict[str, str | None] | None | UnsetType = UNSET
    """Headers that each request carries in addition to the service's own. Values are write-only,
    because they may be credentials. At most 20, which total at most 4,096 bytes; a value has 1 to
    1,024 printable ASCII characters. Not allowed are headers of the connection (`Host`,
    `Connection`, `Content-Length`, …) and the service's own (`Content-Type`, `User-Agent`,
    `webhook-*`, `X-Webhook-*`, …), also with `_` for `-`. In an update: absent keeps the stored
    headers, null removes them.
    """

    verify: Verification | None | UnsetType = UNSET
    """Signature required on incoming webhooks; others return 401 and are not stored. `auto`:
    `X-Hub-Signature-256` is verified if present. `required`: it must be present. `github`,
    `stripe`, `shopify`, `slack`, `standard-webhooks`: the provider's signature; the event's type
    and id are read from the provider's headers or body. `none`: signatures are ignored. Absent or
    null: `auto` on create, the stored value on update; null in a PATCH resets it to `auto`.
    """

    verification_secrets: list[str] | None | UnsetType = UNSET
    """The provider's secrets, which verify webhooks to this subscription; write-only. One, or two
    while the provider changes its secret: either may have signed. Required for `stripe`, `shopify`,
    `slack`, and `standard-webhooks` (there with the prefix `whsec_` or `v1,whsec_` and the base64
    of the key); otherwise `secret_key` is used if there are none. At least 8 bytes, without white
    space around them; `warnings` reports fewer than 24. In an update: absent keeps the stored
    secrets, null removes them.
    """

    relay_headers: bool | None | UnsetType = UNSET
    """Whether the provider's own headers (`X-GitHub-Event`, `Stripe-Signature`, …) are kept with
    webhooks and sent with their deliveries, for receivers that use the provider's library. The
    provider's `X-Hub-Signature-256` then replaces the service's; `webhook-signature` stays.
    Requires `verify` to name a provider. Absent or null: false.
    """

    kind: SubscriptionKind | None | UnsetType = UNSET
    """`normal`: receives the tenant's events. `system`: receives only events about the tenant's other
    subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`,
    `subscription.filter_stopped`, `delivery.exhausted`); a tenant has at most one. Absent or null:
    `normal` on create, the stored value on update. It cannot be changed.
    """

    template: TemplateBody | None | UnsetType = UNSET
    """What is sent in place of the payload, rendered at each attempt from the stored event. An update
    replaces it as a whole. Absent or null: the payload is sent.
    """

    template_secrets: dict[str, Any] | None | UnsetType = UNSET
    """Values that the template knows as `secrets.NAME`, such as the routing key of PagerDuty;
    write-only. At most 10; a name has 1 to 64 characters of `a-z 0-9 _`, a value 1 to 256
    characters. In an update: absent keeps the stored values, null removes them, and other values
    replace all of them.
    """

    event_versions: dict[str, int] | None | UnsetType = UNSET
    """The versions to get of events, by type; `invoice.*` means every type that begins with
    `invoice.`. The entry that names the type decides, or else the longest prefix. Payloads of later
    versions are converted by `down_conversion` of the catalog's versions; others are sent as they
    are. An update replaces all entries. Absent or null: events are sent as they are.
    """

    client_certificate: ClientCertificateBody | None | UnsetType = UNSET
    """Client certificate for receivers that require one (mutual TLS). Requires a `target_url` with
    https; the key is write-only. In an update: absent keeps the stored certificate, null removes
    it.
    """


class System(Model, kw_only=True):
    """What the service runs on, as of a few seconds ago."""

    version: str
    """Version of the gateway that responds."""

    processes: list[SystemProcess]
    """The processes, by role and age; at most 200. Empty while ingest is unavailable."""

    postgres: SystemPostgres | None
    """null while ingest is unavailable."""

    queue: SystemQueue | None
    """null while delivery is unavailable."""

    redis: SystemRedis | None
    """null while delivery is unavailable."""

    unavailable: list[SystemUnavailable]
    """Which services did not respond."""


class SystemHeld(Model, kw_only=True):
    """Due deliveries that something holds."""

    held_by: Hold

    deliveries: int


class SystemPartition(Model, kw_only=True):
    """A day of a table."""

    name: str

    table: str

    from_time: datetime
    """The beginning of its day, in UTC."""

    to_time: datetime
    """The end of its day."""

    rows: int | None
    """Rows, as the server estimates them; null before it first did."""

    bytes: int
    """Size on disk, with indexes and TOAST."""


class SystemPostgres(Model, kw_only=True):
    """The database."""

    version: str
    """Version of the server."""

    bytes: int
    """Size of the database on disk."""

    connections: int
    """Connections to the database, from all clients."""

    max_connections: int
    """Connections that the server allows, to all databases."""

    schema_version: str
    """The newest migration that was applied."""

    migrated_at: datetime
    """When it was applied."""

    partitions: list[SystemPartition]
    """The newest first; at most 500."""

    partition_count: int
    """How many there are."""

    partitions_until: datetime | None
    """Until when every table has partitions. They are made seven days ahead."""


class SystemProcess(Model, kw_only=True):
    """A process of the service."""

    id: str
    """Made as it starts."""

    roles: list[str]
    """What it does."""

    instance: str
    """Its host; in Kubernetes its pod."""

    pid: int
    """Its number on that host."""

    version: str

    started_at: datetime

    seen_at: datetime
    """When it was there last. It says so every 10 to 30 seconds."""

    missing: bool
    """Whether it has said nothing for 75 seconds: it was killed, or cannot reach Postgres. It is
    forgotten after an hour, and at once if it stops in order.
    """

    slots: int | None
    """Requests that it may have in flight; null without the role `worker`."""

    busy_slots: int | None
    """Requests that it had in flight when it was seen; null without the role `worker`."""


class SystemQueue(Model, kw_only=True):
    """What is unfinished, in all tenants. Each number is counted up to 100,000."""

    due: int
    """Deliveries that an additional worker could send at once."""

    scheduled: int
    """Deliveries that wait for their next attempt."""

    in_flight: int
    """Deliveries that a worker or a consumer has."""

    expanding: int
    """Deliveries of large fan-outs that are yet to be created."""

    oldest_due_seconds: float
    """How long the oldest due delivery has waited."""

    held: list[SystemHeld]
    """Due deliveries that are held, by what holds them."""

    held_known: bool
    """Whether `held` is complete. A delivery process that does not dispatch knows only a part."""

    breakers_open: int
    """Circuit breakers that are open."""

    breakers_half_open: int
    """Circuit breakers that probe their endpoint."""


class SystemRedis(Model, kw_only=True):
    """Redis, which stores nothing that must survive."""

    error: str | None
    """Why it cannot be used; null if it can. Deliveries go on without it."""

    version: str | None
    """What it says that it is; null if it does not."""

    memory_bytes: int | None
    """Memory that it uses; null if it does not say."""

    max_memory_bytes: int | None
    """Its limit; 0 without one, null if it does not say."""

    doorbells: int | None
    """Messages to workers, unread or in progress, each with up to 64 deliveries; null without Redis."""


class SystemUnavailable(Model, kw_only=True):
    """A service that did not respond, so that a part is missing."""

    service: str
    """`ingest` or `delivery`."""

    detail: str
    """What it says."""


class Template(Model, kw_only=True):
    """What is sent in place of an event's payload."""

    preset: TemplatePreset | None
    """null if it has a `source`."""

    source: str | None
    """null if it is a `preset`."""

    content_type: str | None
    """null if it is a `preset`."""


class TemplateBody(Model, kw_only=True):
    """What is sent in place of an event's payload: a `preset`, or a `source` with its `content_type`."""

    preset: TemplatePreset | None | UnsetType = UNSET
    """`slack`, `teams`, `discord`, `google-chat`: a message for the provider's incoming webhooks.
    `pagerduty`: an alert, which requires `template_secrets.routing_key`. `cloudevents`: a
    CloudEvent in structured mode. `cloudevents-binary`: in binary mode, with its attributes in
    headers and the payload as it is.
    """

    source: str | None | UnsetType = UNSET
    """A template in the language of MiniJinja, a subset of Jinja, with `if`, `for`, `set`, and `raw`;
    at most 16,384 bytes. Its variables are `event.id`, `event.type`, `event.time`,
    `event.content_type`, `event.tags`, `event.data`, `event.cloudevent`, `subscription.id`,
    `delivery.id`, and `secrets`. In JSON `{{ x }}` writes the escaped text inside a string, and the
    whole value elsewhere.
    """

    content_type: str | None | UnsetType = UNSET
    """Content-Type of what `source` makes. Required with `source`."""


class TemplateEvent(Model, kw_only=True):
    """An event that is made up."""

    event_type: str | None | UnsetType = UNSET
    """Absent or null: it has no type."""

    content_type: str | UnsetType = UNSET
    """Type of the payload. Default: `"application/json"`."""

    payload: Any
    """JSON; a string if `content_type` is not JSON."""

    tags: dict[str, str] | None | UnsetType = UNSET
    """Absent or null: none."""


class TemplatePreview(Model, kw_only=True):
    """What would be sent, or why nothing would be."""

    body: str | None
    """What would be sent; null if the template failed."""

    content_type: str | None
    """Its Content-Type; null if the template failed."""

    headers: dict[str, str]
    """Headers that the template adds."""

    error: str | None
    """Why the template failed; null if it did not."""

    line: int | None
    """The line of the source where it failed; null if that is not known."""

    secret_names: list[str]
    """Names of the secrets that the template uses."""


class TemplatePreviewBody(Model, kw_only=True):
    """A template, and the event to try it with."""

    template: TemplateBody | None | UnsetType = UNSET
    """Absent or null: the template of the subscription `subscription_id`."""

    template_secrets: dict[str, Any] | None | UnsetType = UNSET
    """Values of secrets. For those that are absent, and for the stored ones, the output has `***`."""

    event: TemplateEvent | None | UnsetType = UNSET
    """An event; or give `event_id`."""

    event_id: str | None | UnsetType = UNSET
    """A stored event."""

    subscription_id: str | None | UnsetType = UNSET
    """The subscription whose template is tried if there is no `template`."""


class Tenant(Model, kw_only=True):
    """A tenant."""

    id: str

    name: str

    description: str

    created_at: datetime

    weight: int
    """How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
    What it does not use goes to the others.
    """

    validation: Validation
    """What becomes of events that do not match the schema of their event type, where that does not
    say.
    """

    publishes_catalog: bool
    """Whether anybody may read its event catalog at `/catalogs/{id}`, without a key: the current
    versions of event types, and none that are drafts.
    """

    quotas: OwnQuotas

    limits: Limits

    usage: Usage | None
    """Null until it is known, and for a new tenant."""

    portal: PortalLook


class TenantBody(Model, kw_only=True):
    """A tenant to create."""

    id: str
    """Chosen by you. An id is never used for a second tenant."""

    name: str | UnsetType = UNSET
    """For people. Default: the id."""

    description: str | UnsetType = UNSET
    """Free-form description."""

    weight: int | UnsetType = UNSET
    """How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
    What it does not use goes to the others. Default: `1`.
    """

    quotas: QuotasBody | UnsetType = UNSET
    """The tenant's own quotas."""

    validation: Validation | UnsetType = UNSET
    """What becomes of events that do not match the schema of their event type, where that does not
    say. Default: `"off"`.
    """


class TenantPage(Model, kw_only=True):
    """A page of tenants, in the order of their ids."""

    items: list[Tenant]

    next_cursor: str | None
    """`cursor` of the next page, an opaque string; null on the last page."""


class TenantPatch(Model, kw_only=True):
    """Changes to a tenant. Fields that are missing stay as they are."""

    name: str | UnsetType = UNSET
    """For people. Empty: the id."""

    description: str | UnsetType = UNSET
    """Free-form description."""

    weight: int | UnsetType = UNSET
    """How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
    What it does not use goes to the others.
    """

    validation: Validation | UnsetType = UNSET
    """What becomes of events that do not match the schema of their event type, where that does not
    say.
    """

    publishes_catalog: bool | UnsetType = UNSET
    """Whether anybody may read its event catalog at `/catalogs/{id}`, without a key: the current
    versions of event types, and none that are drafts.
    """

    quotas: QuotasBody | UnsetType = UNSET
    """Quotas that are missing stay as they are; null restores the default."""

    portal: PortalLookPatch | UnsetType = UNSET
    """How its portal looks. Fields that are missing stay as they are; null: as the console does."""


class Tested(Model, kw_only=True):
    """What became of a test event."""

    webhook_id: str
    """The `webhook-id` of the request."""

    attempt: Attempt


class TriedEvent(Model, kw_only=True):
    """An event that is not stored."""

    event_type: str | UnsetType = UNSET
    """Its type."""

    payload: Any
    """Its payload."""

    tags: dict[str, str] | UnsetType = UNSET
    """Its tags."""


class Usage(Model, kw_only=True):
    """What a tenant uses of its quotas."""

    subscriptions: int
    """Live subscriptions."""

    events_per_second: float
    """Events accepted per second, of late."""

    waiting_deliveries: int
    """Deliveries that are not finished."""

    stored_bytes: int
    """Bytes of the payloads of retained events."""

    scheduled_events: int
    """Events that are scheduled and not due yet."""

    scheduled_bytes: int
    """Bytes of the payloads of scheduled events."""

    measured_at: datetime
    """When that was, a few seconds ago."""


class WaitsFor(Model, kw_only=True):
    """What an unfinished delivery waits for."""

    kind: str
    """`worker`: a free worker. `retry`: the time of its next attempt. `response`: the receiver, to
    which it is being sent. Otherwise what it is `held_by`.
    """

    until: datetime | None
    """When its next attempt is due, or the next probe; null if that is not known."""


class WebhookAccepted(Model, kw_only=True):
    """The response to a webhook."""

    delivery_id: str | None

    event_id: str

    status: WebhookStatus
