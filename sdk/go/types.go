// Code generated from the OpenAPI document by `make generate`. DO NOT EDIT.

package webhooks

import (
	"encoding/json"
	"time"
)

// Action: Recorded actions; the part before the dot is the type of the object.
type Action string

// Values of Action; a newer service may have others.
const (
	ActionSubscriptionCreate Action = "subscription.create"

	ActionSubscriptionUpdate Action = "subscription.update"

	ActionSubscriptionDelete Action = "subscription.delete"

	ActionSubscriptionDisable Action = "subscription.disable"

	ActionSubscriptionEnable Action = "subscription.enable"

	ActionSubscriptionPause Action = "subscription.pause"

	ActionSubscriptionResume Action = "subscription.resume"

	ActionSubscriptionVerify Action = "subscription.verify"

	ActionSubscriptionTest Action = "subscription.test"

	ActionSubscriptionTestNew Action = "subscription.test_new"

	ActionSubscriptionRotateSecret Action = "subscription.rotate_secret"

	ActionSubscriptionCreateIngestToken Action = "subscription.create_ingest_token"

	ActionSubscriptionDeleteIngestToken Action = "subscription.delete_ingest_token"

	ActionDeliveryRetry Action = "delivery.retry"

	ActionDeliveryCancel Action = "delivery.cancel"

	ActionEventCancel Action = "event.cancel"

	ActionJobCreate Action = "job.create"

	ActionJobPause Action = "job.pause"

	ActionJobResume Action = "job.resume"

	ActionJobCancel Action = "job.cancel"

	ActionEventTypeCreate Action = "event_type.create"

	ActionEventTypeUpdate Action = "event_type.update"

	ActionEventTypeDelete Action = "event_type.delete"

	ActionEventTypeCreateVersion Action = "event_type.create_version"

	ActionEventTypeUpdateVersion Action = "event_type.update_version"

	ActionTenantCreate Action = "tenant.create"

	ActionTenantUpdate Action = "tenant.update"

	ActionTenantDelete Action = "tenant.delete"

	ActionTenantEnter Action = "tenant.enter"

	ActionAPIKeyCreate Action = "api_key.create"

	ActionAPIKeyUpdate Action = "api_key.update"

	ActionAPIKeyRevoke Action = "api_key.revoke"

	ActionSessionCreate Action = "session.create"

	ActionSessionRevoke Action = "session.revoke"

	ActionPortalLinkCreate Action = "portal_link.create"

	ActionPortalLinkExchange Action = "portal_link.exchange"

	ActionPortalLinkRevoke Action = "portal_link.revoke"
)

// ApiKey: An API key without its secret.
type ApiKey struct {
	ID string `json:"id"`

	TenantID string `json:"tenant_id"`

	Name string `json:"name"`

	Role Role `json:"role"`

	// The key's first ten characters; `oidc` for a member.
	Prefix string `json:"prefix"`

	CreatedAt time.Time `json:"created_at"`

	// null if it never expires.
	ExpiresAt *time.Time `json:"expires_at"`

	// null unless the key was revoked.
	RevokedAt *time.Time `json:"revoked_at"`

	// Exact to about a minute; null if never used.
	LastUsedAt *time.Time `json:"last_used_at"`

	// null for the service's default.
	RequestsPerSecond *float64 `json:"requests_per_second"`

	// What it may do besides what its role allows.
	Capabilities []Capability `json:"capabilities"`

	// The only subscriptions that it pulls from; empty for all of its tenant's.
	PullSubscriptionIDs []string `json:"pull_subscription_ids"`

	// Of a member, who signs in at the console by OpenID Connect and has no key: their `sub` at the
	// issuer. null for a key.
	OidcSubject *string `json:"oidc_subject"`
}

// ApiKeyBody: An API key to create.
type ApiKeyBody struct {
	// The key's tenant. Default: that of `X-Tenant`, or of your key.
	TenantID *string `json:"tenant_id,omitempty"`

	// For people, such as who uses the key.
	Name string `json:"name"`

	// `admin`: everything, including tenants and API keys; for the operator. `write`: changes
	// subscriptions and deliveries, and includes `ingest`, `read`, and `pull`. `ingest`: only sends
	// events. `read`: only reads. `pull`: only pulls deliveries, and reports on them.
	Role Role `json:"role"`

	// What the key may do besides what its role allows. `erase`: erase events by jobs, which cannot be
	// undone; requires the role `write`, and `admin` has it.
	Capabilities []Capability `json:"capabilities,omitempty"`

	// The only subscriptions that the key pulls from; requires the role `pull`. Default: all of its
	// tenant's.
	PullSubscriptionIDs []string `json:"pull_subscription_ids,omitempty"`

	// When the key expires. Default: never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`

	// Maximum requests per second at each gateway process; requests over it return 429. Default: the
	// service's `API_KEY_REQUESTS_PER_SECOND`.
	RequestsPerSecond *float64 `json:"requests_per_second,omitempty"`
}

// ApiKeyPage: A page of API keys, newest first.
type ApiKeyPage struct {
	Items []ApiKey `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// Attempt: One request to the receiver.
type Attempt struct {
	// Number of the attempt, from 1.
	Number int64 `json:"number"`

	StartedAt time.Time `json:"started_at"`

	// Time to the outcome; null if unknown.
	DurationMs *int64 `json:"duration_ms"`

	// Status code of the response; null without a response.
	StatusCode *int64 `json:"status_code"`

	// null if the receiver responded 2xx.
	Error *AttemptError `json:"error"`

	// The first 4 KiB of the response as text.
	ResponseBody *string `json:"response_body"`

	// Who asked for it, as in the audit log: `system` for automatic attempts, otherwise the id of the API
	// key, `bootstrap`, or `anonymous`; or `job:` and the id of a job.
	Actor string `json:"actor"`

	// Headers, address, and times; null if they are not recorded (`RECORD_ATTEMPT_DETAILS`).
	Details *AttemptDetails `json:"details"`
}

// AttemptDetails: What explains an attempt.
type AttemptDetails struct {
	// As sent; none if nothing was sent. The values of the subscription's own headers are `***`.
	RequestHeaders []Header `json:"request_headers"`

	// As received. The values of headers that may hold credentials, such as `set-cookie`, are `***`.
	ResponseHeaders []Header `json:"response_headers"`

	// Whether headers are left out, over 2 KiB on a side, or values cut, over 512 characters.
	HeadersCut bool `json:"headers_cut"`

	// The address that was connected to, or the last one tried. null without one, and unless the key has
	// the role `admin` for targets that are not public, are allowed by `EGRESS_ALLOW`, or are reached
	// through a proxy.
	Address *string `json:"address"`

	// Whether an open connection was used.
	ConnectionReused bool `json:"connection_reused"`

	// What the time went to; the attempt ended in the last phase. Shown to whom `address` is shown.
	Phases []Phase `json:"phases"`
}

// AttemptError: Why an attempt failed.
type AttemptError struct {
	// `http_3xx`, `http_4xx`, `http_5xx`, `timeout`, `dns`, `connect`, `tls`, `connection_lost`,
	// `invalid_response`, `egress_denied`, `invalid_request`, `secret_unreadable`, `template_failed`, or
	// `interrupted`; of a pulled delivery `consumer_failed` or `lease_expired`.
	Kind ErrorKind `json:"kind"`

	// For people.
	Message string `json:"message"`
}

// AuditEntry: One change.
type AuditEntry struct {
	ID string `json:"id"`

	CreatedAt time.Time `json:"created_at"`

	// Tenant of the changed object; `*` if an admin listed all tenants.
	TenantID string `json:"tenant_id"`

	// Who made the change: the UUID of an API key, `bootstrap` (`BOOTSTRAP_ADMIN_KEY`), `anonymous` (a
	// caller without a key, if none is required) or `system` (the service itself).
	Actor string `json:"actor"`

	// The key's name at that time; null if the actor is not an API key.
	ActorName *string `json:"actor_name"`

	// The key's role; null if the actor is not an API key.
	ActorRole *string `json:"actor_role"`

	// The key's tenant; null if the actor is not an API key.
	ActorTenantID *string `json:"actor_tenant_id"`

	// The action.
	Action string `json:"action"`

	// Type of the changed object.
	ResourceType string `json:"resource_type"`

	// Id of the changed object.
	ResourceID string `json:"resource_id"`

	// The changed fields. Fields with secrets have only their name.
	Changes []FieldChange `json:"changes"`

	// Number of other objects that changed, such as keys revoked with a tenant; otherwise null.
	Affected *int64 `json:"affected"`
}

// AuditPage: A page of entries, newest first.
type AuditPage struct {
	Items []AuditEntry `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// BatchResult: What became of an event of a batch: it was stored as `event_id`, or there is an
// `error`.
type BatchResult struct {
	EventID *string `json:"event_id,omitempty"`

	Deliveries *int64 `json:"deliveries,omitempty"`

	// Default: `false`.
	Expanding *bool `json:"expanding,omitempty"`

	// When it becomes due; absent unless it is scheduled, and then `deliveries` is absent.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`

	// Default: `false`.
	Replayed *bool `json:"replayed,omitempty"`

	Error *Problem `json:"error,omitempty"`
}

// BatchResults has a value.
type BatchResults struct {
	Results []BatchResult `json:"results"`
}

// BatchedEvent has a value.
type BatchedEvent struct {
	EventType string `json:"event_type"`

	// The version of its type that the payload is of. Default: the current version if the type is in the
	// catalog, and otherwise none.
	EventVersion *int64 `json:"event_version,omitempty"`

	// Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format.
	Payload any `json:"payload"`

	// By what the event is found: at most 5 pairs. A key has 1 to 64 characters of `A-Z a-z 0-9 . _ -`, a
	// value 1 to 255 printable characters.
	Tags map[string]string `json:"tags,omitempty"`

	// When the event becomes due, at most 30 days ahead. Until then it is scheduled: it has no
	// deliveries, and can be cancelled. A time that has passed means at once. Not together with
	// `delay_seconds`.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`

	// The same, in seconds from now.
	DelaySeconds *int64 `json:"delay_seconds,omitempty"`

	// For how long after it is accepted, or is due, the event may be delivered. Deliveries that are
	// unfinished then fail with reason `expired`. Default, and the most: `DELIVERY_EXPIRY_HOURS`.
	DeliverWithinSeconds *int64 `json:"deliver_within_seconds,omitempty"`

	// As the header of a single event.
	IdempotencyKey *string `json:"idempotency_key,omitempty"`
}

// BatchedEventAccepted: The same for an event of a batch; `replayed` if it repeats an earlier
// response.
type BatchedEventAccepted struct {
	EventID string `json:"event_id"`

	Deliveries *int64 `json:"deliveries,omitempty"`

	// Default: `false`.
	Expanding *bool `json:"expanding,omitempty"`

	// When it becomes due; absent unless it is scheduled, and then `deliveries` is absent.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`

	// Default: `false`.
	Replayed *bool `json:"replayed,omitempty"`
}

// BatchedEventRefused: What is wrong with an event of a batch, which was not stored.
type BatchedEventRefused struct {
	Error Problem `json:"error"`
}

// Breaker: Circuit breaker: delays deliveries while the endpoint fails.
type Breaker struct {
	// `closed`: deliveries are sent. `open`: they wait. `half_open`: one of them is tried.
	State BreakerState `json:"state"`

	// When it entered this state, or when the endpoint first failed if it was never open; null if it
	// never failed.
	Since *time.Time `json:"since"`

	// Why it opened; null while it is closed.
	Reason *string `json:"reason"`

	// When one delivery may be tried, while it is open; otherwise null.
	NextProbeAt *time.Time `json:"next_probe_at"`

	// Failed attempts since the last success.
	ConsecutiveFailures int64 `json:"consecutive_failures"`
}

// BreakerState has a value.
type BreakerState string

// Values of BreakerState; a newer service may have others.
const (
	BreakerStateClosed BreakerState = "closed"

	BreakerStateOpen BreakerState = "open"

	BreakerStateHalfOpen BreakerState = "half_open"
)

// CancelledEvent: An event that was scheduled, and is cancelled.
type CancelledEvent struct {
	EventID string `json:"event_id"`
}

// Capability has a value.
type Capability string

// Values of Capability; a newer service may have others.
const (
	CapabilityErase Capability = "erase"
)

// CatalogDocument: The catalog as an OpenAPI or AsyncAPI document. What the format does not have is
// absent.
type CatalogDocument struct {
	// The version of OpenAPI.
	Openapi *string `json:"openapi,omitempty"`

	// The version of AsyncAPI.
	Asyncapi *string `json:"asyncapi,omitempty"`

	// A title and a version.
	Info map[string]any `json:"info"`

	// OpenAPI: event types by their names.
	Webhooks map[string]any `json:"webhooks,omitempty"`

	// AsyncAPI: the channel of all event types.
	Channels map[string]any `json:"channels,omitempty"`

	// AsyncAPI: that the service sends them.
	Operations map[string]any `json:"operations,omitempty"`

	// Schemas, and in AsyncAPI messages.
	Components map[string]any `json:"components"`
}

// CatalogFormat has a value.
type CatalogFormat string

// Values of CatalogFormat; a newer service may have others.
const (
	CatalogFormatOpenapi CatalogFormat = "openapi"

	CatalogFormatAsyncapi CatalogFormat = "asyncapi"
)

// CatalogImport: What became of each event type of the document, in its order.
type CatalogImport struct {
	// Whether nothing was changed.
	DryRun bool `json:"dry_run"`

	EventTypes []ImportedEventType `json:"event_types"`
}

// CatalogImportBody: A document to import.
type CatalogImportBody struct {
	// An OpenAPI 3.1 document, whose `webhooks` are event types, or an AsyncAPI 3.0 document, whose
	// messages are; at most 2 MiB and 1,000 event types. References to other documents are refused.
	Document map[string]any `json:"document"`

	// Whether to change nothing, and say what would be changed. Default: `false`.
	DryRun *bool `json:"dry_run,omitempty"`
}

// Challenge: What a new target gets where targets are verified. Respond with the challenge.
type Challenge struct {
	Type string `json:"type"`

	// What to respond with.
	Challenge string `json:"challenge"`
}

// ClientCertificate: The public part of a client certificate.
type ClientCertificate struct {
	// In the format of RFC 4514.
	Subject string `json:"subject"`

	// In the format of RFC 4514.
	Issuer string `json:"issuer"`

	// In hexadecimal.
	SerialNumber string `json:"serial_number"`

	NotBefore time.Time `json:"not_before"`

	// When it expires. Replace it in time: no notice is sent.
	NotAfter time.Time `json:"not_after"`

	// SHA-256 of its DER encoding, in hexadecimal.
	Sha256Fingerprint string `json:"sha256_fingerprint"`
}

// ClientCertificateBody: Client certificate for receivers that require one.
type ClientCertificateBody struct {
	// PEM chain of up to 8 certificates, leaf first, then each issuer of the one before. Each must be
	// valid now. If the first has an extended key usage, it must include client authentication.
	Certificate string `json:"certificate"`

	// The private key of the first certificate, in PEM without a passphrase: RSA of 2,048 to 4,096 bits,
	// P-256, P-384, P-521, or Ed25519.
	PrivateKey string `json:"private_key"`
}

// CloudEvent: A CloudEvent in JSON, with at most 40 attributes. Extensions are strings, booleans, or
// integers, whose names have 1 to 64 characters of `a-z 0-9`.
type CloudEvent struct {
	Specversion string `json:"specversion"`

	// Unique for the source: an event with the same `source` and `id` is a repeat.
	ID string `json:"id"`

	// URI or path of what the event happened in.
	Source string `json:"source"`

	// Type of the event.
	Type string `json:"type"`

	// What in the source the event is about.
	Subject *string `json:"subject,omitempty"`

	// When it happened, in RFC 3339.
	Time *string `json:"time,omitempty"`

	// Content-Type with which the data is delivered; `application/json` if it is absent.
	Datacontenttype *string `json:"datacontenttype,omitempty"`

	// URI of a schema of the data, which is not read.
	Dataschema *string `json:"dataschema,omitempty"`

	// Extension: the version of its type that the data is of, as `event_version` of others.
	Eventversion *int64 `json:"eventversion,omitempty"`

	// Any JSON value, whose exact bytes are delivered; a string if the type is not JSON.
	Data json.RawMessage `json:"data,omitempty"`

	// Bytes in base64, in place of `data`.
	DataBase64 *string `json:"data_base64,omitempty"`
}

// CreatedApiKey: A new API key, which cannot be shown again.
type CreatedApiKey struct {
	ID string `json:"id"`

	TenantID string `json:"tenant_id"`

	Name string `json:"name"`

	Role Role `json:"role"`

	// The key's first ten characters; `oidc` for a member.
	Prefix string `json:"prefix"`

	CreatedAt time.Time `json:"created_at"`

	// null if it never expires.
	ExpiresAt *time.Time `json:"expires_at"`

	// null unless the key was revoked.
	RevokedAt *time.Time `json:"revoked_at"`

	// Exact to about a minute; null if never used.
	LastUsedAt *time.Time `json:"last_used_at"`

	// null for the service's default.
	RequestsPerSecond *float64 `json:"requests_per_second"`

	// What it may do besides what its role allows.
	Capabilities []Capability `json:"capabilities"`

	// The only subscriptions that it pulls from; empty for all of its tenant's.
	PullSubscriptionIDs []string `json:"pull_subscription_ids"`

	// Of a member, who signs in at the console by OpenID Connect and has no key: their `sub` at the
	// issuer. null for a key.
	OidcSubject *string `json:"oidc_subject"`

	// The key itself. It is shown only in this response; null in a repeated one.
	Key *string `json:"key"`
}

// CreatedSubscription: A new subscription, with its secret if one was generated.
type CreatedSubscription struct {
	ID string `json:"id"`

	// The subscription's tenant.
	TenantID string `json:"tenant_id"`

	// `http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them.
	Destination Destination `json:"destination"`

	// It is deleted when nobody has pulled from it, or changed it, for this long; null for never.
	ExpiresAfterIdleSeconds *int64 `json:"expires_after_idle_seconds"`

	// null if `destination` is `pull`.
	TargetURL *string `json:"target_url"`

	EventTypes []string `json:"event_types"`

	// Condition in CEL that an event has to fulfill in addition to its type; null if there is none.
	Filter *string `json:"filter"`

	// What becomes of an event that `filter` cannot be evaluated for.
	FilterOnError FilterOnError `json:"filter_on_error"`

	// When `filter` was stopped because evaluating it took more than 5 ms for 100 events within an hour;
	// since then `filter_on_error` decides. Another `filter` starts it again. null while it is evaluated.
	FilterStoppedAt *time.Time `json:"filter_stopped_at"`

	Description string `json:"description"`

	// Unique among the tenant's subscriptions; null if it has none.
	Name *string `json:"name"`

	// Pairs to find it by.
	Metadata map[string]string `json:"metadata"`

	// Where in webhooks to this subscription tags are found.
	TagPaths map[string]string `json:"tag_paths"`

	// Whether deliveries are signed.
	HasSecret bool `json:"has_secret"`

	// How deliveries are signed; `none` without a secret.
	SignatureScheme DeliveryScheme `json:"signature_scheme"`

	// Public keys of the signing private keys, newest first; empty for `hmac-sha256`.
	PublicKeys []PublicKey `json:"public_keys"`

	// Replaced secrets that are still valid, newest first.
	PreviousSecrets []PreviousSecret `json:"previous_secrets"`

	// Whether it has an ingest token.
	HasIngestToken bool `json:"has_ingest_token"`

	// `paused` and `disabled`: deliveries wait until it is resumed or enabled. `unverified`: they wait
	// until its target has answered a challenge.
	Status SubscriptionStatus `json:"status"`

	// Why it is disabled: `manual`, `gone` (the receiver responded with 410), or `failing` (all attempts
	// failed for days); otherwise null.
	StatusReason *StatusReason `json:"status_reason"`

	StatusSince time.Time `json:"status_since"`

	// When an `unverified` target is sent the next challenge; null if not before somebody asks for it.
	NextCheckAt *time.Time `json:"next_check_at"`

	// Why an `unverified` target is not verified yet; otherwise null.
	CheckError *string `json:"check_error"`

	// Whether events are stored while it is disabled.
	KeepWhenDisabled bool `json:"keep_when_disabled"`

	// null for no limit.
	RateLimitPerSecond *float64 `json:"rate_limit_per_second"`

	// null for one second's worth of the rate.
	RateLimitBurst *int64 `json:"rate_limit_burst"`

	// null for the service's default.
	TimeoutSeconds *float64 `json:"timeout_seconds"`

	// The timeout in effect: the subscription's own, or the service's default. null for `pull`.
	EffectiveTimeoutSeconds *float64 `json:"effective_timeout_seconds"`

	// With the service's defaults for fields that the request did not set; null for the service's default
	// policy.
	RetryPolicy *RetryPolicy `json:"retry_policy"`

	// The policy in effect: the subscription's own, or the service's default.
	EffectiveRetryPolicy RetryPolicy `json:"effective_retry_policy"`

	// Names of the headers that each request carries in addition to the service's own.
	HeaderNames []string `json:"header_names"`

	// What is sent in place of the payload; null for the payload.
	Template *Template `json:"template"`

	// Names of the template's secrets.
	TemplateSecretNames []string `json:"template_secret_names"`

	// The versions that it gets of events, by type.
	EventVersions map[string]int64 `json:"event_versions"`

	// Signature required on incoming webhooks.
	Verify Verification `json:"verify"`

	// Whether webhooks are verified with `verification_secrets` instead of `secret_key`.
	HasVerificationSecret bool `json:"has_verification_secret"`

	// Whether deliveries have the provider's own headers, too.
	RelayHeaders bool `json:"relay_headers"`

	// `system`: receives only events about the tenant's other subscriptions.
	Kind SubscriptionKind `json:"kind"`

	// Client certificate for receivers that require one; null if there is none.
	ClientCertificate *ClientCertificate `json:"client_certificate"`

	Breaker Breaker `json:"breaker"`

	// Weaknesses, one sentence each, such as a secret of fewer than 24 bytes, or relayed signatures that
	// are valid for only 5 minutes. After a request that sets it, also what the filter asks for that the
	// schemas of the event types in the catalog rule out.
	Warnings []string `json:"warnings"`

	CreatedAt time.Time `json:"created_at"`

	UpdatedAt time.Time `json:"updated_at"`

	// The generated secret, shown only in this response; null if the request had a secret or chose
	// `none`, and in a repeated response. An `ed25519` private key is never returned: see `public_keys`.
	SecretKey *string `json:"secret_key"`
}

// Delivery: A delivery with its attempts, oldest first.
type Delivery struct {
	ID string `json:"id"`

	// The delivery's tenant.
	TenantID string `json:"tenant_id"`

	EventID string `json:"event_id"`

	SubscriptionID string `json:"subscription_id"`

	// null if the event has no type.
	EventType *string `json:"event_type"`

	// `pending`: waiting for a worker. `scheduled`: waiting for `next_attempt_at`. `in_flight`: being
	// sent. `delivered`, `failed`, `cancelled`: ended.
	Status DeliveryStatus `json:"status"`

	// Why it failed or was cancelled: `retries_exhausted`, `expired`, `worker_lost`, `payload_gone`,
	// `cancelled`, `subscription_deleted` or `erased`; otherwise null.
	Reason *DeliveryReason `json:"reason"`

	// Number of completed attempts.
	AttemptCount int64 `json:"attempt_count"`

	CreatedAt time.Time `json:"created_at"`

	NextAttemptAt *time.Time `json:"next_attempt_at"`

	// When the delivery ended.
	CompletedAt *time.Time `json:"completed_at"`

	// After this time the delivery fails with reason `expired`; null once it has ended.
	ExpiresAt *time.Time `json:"expires_at"`

	// Why a due delivery is not sent now: `paused`, `disabled`, `unverified` (its target has not answered
	// a challenge), `pull` (it waits for a consumer), `breaker_open`, `recovering` (its endpoint failed
	// until recently), `concurrency` (its endpoint has the most concurrent requests allowed) or
	// `rate_limit`; otherwise null.
	HeldBy *Hold `json:"held_by"`

	// Status code of the last attempt; null if it got no response, and once it is delivered.
	LastStatusCode *int64 `json:"last_status_code"`

	// `kind` of the last attempt's error; null before the first, and once it is delivered.
	LastErrorKind *ErrorKind `json:"last_error_kind"`

	// Where the delivery is and why, for people.
	Explanation string `json:"explanation"`

	// What the delivery waits for; null once it has ended.
	WaitsFor *WaitsFor `json:"waits_for"`

	// The version of its type that the event is of, as it was sent; null if it has none, or is no longer
	// retained. A subscription that is pinned to an earlier version gets that one.
	EventVersion *int64 `json:"event_version"`

	// The trace that its attempts belong to; null if the event is not traced or no longer retained.
	TraceID *string `json:"trace_id"`

	Attempts []Attempt `json:"attempts"`
}

// DeliveryCount: A group of deliveries.
type DeliveryCount struct {
	// What they have in common: an id, a type, a status, a kind of error, the beginning of an hour, or
	// what holds them; null if they have no type, or no error, or if nothing holds them.
	Value *string `json:"value"`

	// How many there are.
	Deliveries int64 `json:"deliveries"`
}

// DeliveryPage: A page of deliveries, newest first, without attempts.
type DeliveryPage struct {
	Items []DeliverySummary `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// DeliveryReason has a value.
type DeliveryReason string

// Values of DeliveryReason; a newer service may have others.
const (
	DeliveryReasonRetriesExhausted DeliveryReason = "retries_exhausted"

	DeliveryReasonExpired DeliveryReason = "expired"

	DeliveryReasonWorkerLost DeliveryReason = "worker_lost"

	DeliveryReasonPayloadGone DeliveryReason = "payload_gone"

	DeliveryReasonCancelled DeliveryReason = "cancelled"

	DeliveryReasonSubscriptionDeleted DeliveryReason = "subscription_deleted"

	DeliveryReasonErased DeliveryReason = "erased"
)

// DeliveryScheme has a value.
type DeliveryScheme string

// Values of DeliveryScheme; a newer service may have others.
const (
	DeliverySchemeHmacSha256 DeliveryScheme = "hmac-sha256"

	DeliverySchemeEd25519 DeliveryScheme = "ed25519"

	DeliverySchemeNone DeliveryScheme = "none"
)

// DeliveryStatus has a value.
type DeliveryStatus string

// Values of DeliveryStatus; a newer service may have others.
const (
	DeliveryStatusPending DeliveryStatus = "pending"

	DeliveryStatusScheduled DeliveryStatus = "scheduled"

	DeliveryStatusInFlight DeliveryStatus = "in_flight"

	DeliveryStatusDelivered DeliveryStatus = "delivered"

	DeliveryStatusFailed DeliveryStatus = "failed"

	DeliveryStatusCancelled DeliveryStatus = "cancelled"
)

// DeliverySummary: A delivery without its attempts.
type DeliverySummary struct {
	ID string `json:"id"`

	// The delivery's tenant.
	TenantID string `json:"tenant_id"`

	EventID string `json:"event_id"`

	SubscriptionID string `json:"subscription_id"`

	// null if the event has no type.
	EventType *string `json:"event_type"`

	// `pending`: waiting for a worker. `scheduled`: waiting for `next_attempt_at`. `in_flight`: being
	// sent. `delivered`, `failed`, `cancelled`: ended.
	Status DeliveryStatus `json:"status"`

	// Why it failed or was cancelled: `retries_exhausted`, `expired`, `worker_lost`, `payload_gone`,
	// `cancelled`, `subscription_deleted` or `erased`; otherwise null.
	Reason *DeliveryReason `json:"reason"`

	// Number of completed attempts.
	AttemptCount int64 `json:"attempt_count"`

	CreatedAt time.Time `json:"created_at"`

	NextAttemptAt *time.Time `json:"next_attempt_at"`

	// When the delivery ended.
	CompletedAt *time.Time `json:"completed_at"`

	// After this time the delivery fails with reason `expired`; null once it has ended.
	ExpiresAt *time.Time `json:"expires_at"`

	// Why a due delivery is not sent now: `paused`, `disabled`, `unverified` (its target has not answered
	// a challenge), `pull` (it waits for a consumer), `breaker_open`, `recovering` (its endpoint failed
	// until recently), `concurrency` (its endpoint has the most concurrent requests allowed) or
	// `rate_limit`; otherwise null.
	HeldBy *Hold `json:"held_by"`

	// Status code of the last attempt; null if it got no response, and once it is delivered.
	LastStatusCode *int64 `json:"last_status_code"`

	// `kind` of the last attempt's error; null before the first, and once it is delivered.
	LastErrorKind *ErrorKind `json:"last_error_kind"`

	// Where the delivery is and why, for people.
	Explanation string `json:"explanation"`

	// What the delivery waits for; null once it has ended.
	WaitsFor *WaitsFor `json:"waits_for"`

	// The version of its type that the event is of, as it was sent; null if it has none, or is no longer
	// retained. A subscription that is pinned to an earlier version gets that one.
	EventVersion *int64 `json:"event_version"`
}

// DeliverySummaryPage: Counts of deliveries, the largest group first.
type DeliverySummaryPage struct {
	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`

	// What was searched: from this time on; null if from the beginning.
	From *time.Time `json:"from"`

	// And before this time; null if up to now.
	To *time.Time `json:"to"`

	// How far the search got, if it stopped before the page was full because few of many are wanted;
	// `next_cursor` goes on from there. Otherwise null.
	ScannedTo *time.Time `json:"scanned_to"`

	Groups []DeliveryCount `json:"groups"`
}

// Destination has a value.
type Destination string

// Values of Destination; a newer service may have others.
const (
	DestinationHTTP Destination = "http"

	DestinationPull Destination = "pull"
)

// Envelope has a value.
type Envelope struct {
	// Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format.
	Payload json.RawMessage `json:"payload"`
}

// ErrorKind has a value.
type ErrorKind string

// Values of ErrorKind; a newer service may have others.
const (
	ErrorKindHTTP3xx ErrorKind = "http_3xx"

	ErrorKindHTTP4xx ErrorKind = "http_4xx"

	ErrorKindHTTP5xx ErrorKind = "http_5xx"

	ErrorKindTimeout ErrorKind = "timeout"

	ErrorKindDns ErrorKind = "dns"

	ErrorKindConnect ErrorKind = "connect"

	ErrorKindTls ErrorKind = "tls"

	ErrorKindConnectionLost ErrorKind = "connection_lost"

	ErrorKindInvalidResponse ErrorKind = "invalid_response"

	ErrorKindEgressDenied ErrorKind = "egress_denied"

	ErrorKindInvalidRequest ErrorKind = "invalid_request"

	ErrorKindSecretUnreadable ErrorKind = "secret_unreadable"

	ErrorKindTemplateFailed ErrorKind = "template_failed"

	ErrorKindInterrupted ErrorKind = "interrupted"

	ErrorKindConsumerFailed ErrorKind = "consumer_failed"

	ErrorKindLeaseExpired ErrorKind = "lease_expired"
)

// ErrorReason: Every reason code, over REST and gRPC. They are stable; docs/reference/errors.md says
// what to do about each.
type ErrorReason string

// Values of ErrorReason; a newer service may have others.
const (
	ErrorReasonCAPABILITYMISSING ErrorReason = "CAPABILITY_MISSING"

	ErrorReasonCATALOGFULL ErrorReason = "CATALOG_FULL"

	ErrorReasonCONFLICT ErrorReason = "CONFLICT"

	ErrorReasonCROSSSITEREQUEST ErrorReason = "CROSS_SITE_REQUEST"

	ErrorReasonDELIVERYFINISHED ErrorReason = "DELIVERY_FINISHED"

	ErrorReasonDELIVERYINFLIGHT ErrorReason = "DELIVERY_IN_FLIGHT"

	ErrorReasonETAGMISMATCH ErrorReason = "ETAG_MISMATCH"

	ErrorReasonEVENTERASED ErrorReason = "EVENT_ERASED"

	ErrorReasonEVENTIDTAKEN ErrorReason = "EVENT_ID_TAKEN"

	ErrorReasonEVENTNOTSCHEDULED ErrorReason = "EVENT_NOT_SCHEDULED"

	ErrorReasonEVENTTYPEEXISTS ErrorReason = "EVENT_TYPE_EXISTS"

	ErrorReasonHEADERSTOOLARGE ErrorReason = "HEADERS_TOO_LARGE"

	ErrorReasonHEADERREPEATED ErrorReason = "HEADER_REPEATED"

	ErrorReasonHOSTFORBIDDEN ErrorReason = "HOST_FORBIDDEN"

	ErrorReasonHOSTINVALID ErrorReason = "HOST_INVALID"

	ErrorReasonIDEMPOTENCYKEYINUSE ErrorReason = "IDEMPOTENCY_KEY_IN_USE"

	ErrorReasonIDEMPOTENCYKEYREUSED ErrorReason = "IDEMPOTENCY_KEY_REUSED"

	ErrorReasonINTERNAL ErrorReason = "INTERNAL"

	ErrorReasonINVALIDARGUMENT ErrorReason = "INVALID_ARGUMENT"

	ErrorReasonJOBCONFLICT ErrorReason = "JOB_CONFLICT"

	ErrorReasonJOBFINISHED ErrorReason = "JOB_FINISHED"

	ErrorReasonKEYEXPIRED ErrorReason = "KEY_EXPIRED"

	ErrorReasonKEYINVALID ErrorReason = "KEY_INVALID"

	ErrorReasonKEYMISSING ErrorReason = "KEY_MISSING"

	ErrorReasonMALFORMEDBODY ErrorReason = "MALFORMED_BODY"

	ErrorReasonMALFORMEDREQUEST ErrorReason = "MALFORMED_REQUEST"

	ErrorReasonMETHODNOTALLOWED ErrorReason = "METHOD_NOT_ALLOWED"

	ErrorReasonNAMETAKEN ErrorReason = "NAME_TAKEN"

	ErrorReasonNOTFOUND ErrorReason = "NOT_FOUND"

	ErrorReasonOUTCOMEUNKNOWN ErrorReason = "OUTCOME_UNKNOWN"

	ErrorReasonOVERLOADED ErrorReason = "OVERLOADED"

	ErrorReasonPAYLOADGONE ErrorReason = "PAYLOAD_GONE"

	ErrorReasonPAYLOADINVALID ErrorReason = "PAYLOAD_INVALID"

	ErrorReasonPAYLOADTOOLARGE ErrorReason = "PAYLOAD_TOO_LARGE"

	ErrorReasonPERMISSIONDENIED ErrorReason = "PERMISSION_DENIED"

	ErrorReasonQUOTAEVENTSPERSECOND ErrorReason = "QUOTA_EVENTS_PER_SECOND"

	ErrorReasonQUOTASCHEDULEDBYTES ErrorReason = "QUOTA_SCHEDULED_BYTES"

	ErrorReasonQUOTASCHEDULEDEVENTS ErrorReason = "QUOTA_SCHEDULED_EVENTS"

	ErrorReasonQUOTASTOREDBYTES ErrorReason = "QUOTA_STORED_BYTES"

	ErrorReasonQUOTASUBSCRIPTIONS ErrorReason = "QUOTA_SUBSCRIPTIONS"

	ErrorReasonQUOTAWAITINGDELIVERIES ErrorReason = "QUOTA_WAITING_DELIVERIES"

	ErrorReasonRATELIMITED ErrorReason = "RATE_LIMITED"

	ErrorReasonREQUESTTIMEOUT ErrorReason = "REQUEST_TIMEOUT"

	ErrorReasonROLEINSUFFICIENT ErrorReason = "ROLE_INSUFFICIENT"

	ErrorReasonSECRETUNREADABLE ErrorReason = "SECRET_UNREADABLE"

	ErrorReasonSIGNATUREEXPIRED ErrorReason = "SIGNATURE_EXPIRED"

	ErrorReasonSIGNATUREMISMATCH ErrorReason = "SIGNATURE_MISMATCH"

	ErrorReasonSIGNATUREMISSING ErrorReason = "SIGNATURE_MISSING"

	ErrorReasonSTREAMENDED ErrorReason = "STREAM_ENDED"

	ErrorReasonSUBSCRIPTIONDELETED ErrorReason = "SUBSCRIPTION_DELETED"

	ErrorReasonSUBSCRIPTIONDISABLED ErrorReason = "SUBSCRIPTION_DISABLED"

	ErrorReasonSUBSCRIPTIONFORBIDDEN ErrorReason = "SUBSCRIPTION_FORBIDDEN"

	ErrorReasonSUBSCRIPTIONISSYSTEM ErrorReason = "SUBSCRIPTION_IS_SYSTEM"

	ErrorReasonSUBSCRIPTIONPAUSED ErrorReason = "SUBSCRIPTION_PAUSED"

	ErrorReasonSUBSCRIPTIONUNVERIFIED ErrorReason = "SUBSCRIPTION_UNVERIFIED"

	ErrorReasonSYSTEMSUBSCRIPTIONEXISTS ErrorReason = "SYSTEM_SUBSCRIPTION_EXISTS"

	ErrorReasonTARGETTOOLONG ErrorReason = "TARGET_TOO_LONG"

	ErrorReasonTENANTEXISTS ErrorReason = "TENANT_EXISTS"

	ErrorReasonTENANTFORBIDDEN ErrorReason = "TENANT_FORBIDDEN"

	ErrorReasonTENANTINUSE ErrorReason = "TENANT_IN_USE"

	ErrorReasonTENANTISDEFAULT ErrorReason = "TENANT_IS_DEFAULT"

	ErrorReasonTENANTOVERLOADED ErrorReason = "TENANT_OVERLOADED"

	ErrorReasonTOOMANYJOBS ErrorReason = "TOO_MANY_JOBS"

	ErrorReasonTOOMANYSECRETS ErrorReason = "TOO_MANY_SECRETS"

	ErrorReasonTRANSFERENCODINGUNSUPPORTED ErrorReason = "TRANSFER_ENCODING_UNSUPPORTED"

	ErrorReasonUNAVAILABLE ErrorReason = "UNAVAILABLE"

	ErrorReasonUNKNOWNPATH ErrorReason = "UNKNOWN_PATH"

	ErrorReasonUNSUPPORTEDMEDIATYPE ErrorReason = "UNSUPPORTED_MEDIA_TYPE"

	ErrorReasonVERSIONPUBLISHED ErrorReason = "VERSION_PUBLISHED"

	ErrorReasonWRONGDESTINATION ErrorReason = "WRONG_DESTINATION"
)

// Event: An accepted event.
type Event struct {
	ID string `json:"id"`

	// null if the event has no type.
	EventType *string `json:"event_type"`

	// The version of its type that the payload is of; absent if it has none.
	EventVersion *int64 `json:"event_version,omitempty"`

	// Content-Type with which the payload is delivered.
	ContentType string `json:"content_type"`

	// When it was accepted; of an event that was scheduled, when it became due.
	CreatedAt time.Time `json:"created_at"`

	// true while the event is scheduled: it is not due yet, and has no deliveries; otherwise absent.
	Scheduled *bool `json:"scheduled,omitempty"`

	// While it is scheduled: when it becomes due; otherwise absent.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`

	// While it is scheduled: for how long after that it may be delivered, if it has an expiry of its own;
	// otherwise absent.
	DeliverWithinSeconds *int64 `json:"deliver_within_seconds,omitempty"`

	// Size of the payload in bytes.
	PayloadBytes int64 `json:"payload_bytes"`

	// The exact bytes of the payload if its content type is JSON and it is valid; otherwise null.
	Payload json.RawMessage `json:"payload"`

	// The payload in base64 if it is not JSON; otherwise absent.
	PayloadBase64 *string `json:"payload_base64,omitempty"`

	// Content-Encoding with which the payload is delivered; absent if it has none.
	ContentEncoding *string `json:"content_encoding,omitempty"`

	// true while deliveries of the event are still being created; otherwise absent.
	Expanding *bool `json:"expanding,omitempty"`

	// true if a portal link without the capability `payloads` leaves the payload out; otherwise absent.
	PayloadWithheld *bool `json:"payload_withheld,omitempty"`

	// The provider's own headers, kept because the subscription relays them; absent if there are none.
	RelayedHeaders map[string]string `json:"relayed_headers,omitempty"`

	// The attributes of a CloudEvent, without `specversion`, `type`, and `datacontenttype`; absent if it
	// is none.
	Cloudevent map[string]any `json:"cloudevent,omitempty"`

	// By what the event is found.
	Tags map[string]string `json:"tags"`
}

// EventAccepted: The response to an event: `deliveries` is the number of its deliveries, and absent
// while they are created.
type EventAccepted struct {
	EventID string `json:"event_id"`

	Deliveries *int64 `json:"deliveries,omitempty"`

	// Default: `false`.
	Expanding *bool `json:"expanding,omitempty"`

	// When it becomes due; absent unless it is scheduled, and then `deliveries` is absent.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`
}

// EventBatchBody has a value.
type EventBatchBody struct {
	Events []BatchedEvent `json:"events"`
}

// EventBody has a value.
type EventBody struct {
	EventType string `json:"event_type"`

	// The version of its type that the payload is of. Default: the current version if the type is in the
	// catalog, and otherwise none.
	EventVersion *int64 `json:"event_version,omitempty"`

	// Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format.
	Payload any `json:"payload"`

	// By what the event is found: at most 5 pairs. A key has 1 to 64 characters of `A-Z a-z 0-9 . _ -`, a
	// value 1 to 255 printable characters.
	Tags map[string]string `json:"tags,omitempty"`

	// When the event becomes due, at most 30 days ahead. Until then it is scheduled: it has no
	// deliveries, and can be cancelled. A time that has passed means at once. Not together with
	// `delay_seconds`.
	DeliverAt *time.Time `json:"deliver_at,omitempty"`

	// The same, in seconds from now.
	DelaySeconds *int64 `json:"delay_seconds,omitempty"`

	// For how long after it is accepted, or is due, the event may be delivered. Deliveries that are
	// unfinished then fail with reason `expired`. Default, and the most: `DELIVERY_EXPIRY_HOURS`.
	DeliverWithinSeconds *int64 `json:"deliver_within_seconds,omitempty"`
}

// EventSummary: An accepted event without its payload.
type EventSummary struct {
	ID string `json:"id"`

	// null if the event has no type.
	EventType *string `json:"event_type"`

	// Content-Type with which the payload is delivered.
	ContentType string `json:"content_type"`

	// Content-Encoding with which the payload is delivered; null if it has none.
	ContentEncoding *string `json:"content_encoding"`

	CreatedAt time.Time `json:"created_at"`

	// Size of the payload in bytes.
	PayloadBytes int64 `json:"payload_bytes"`

	// Whether deliveries of the event are still being created.
	Expanding bool `json:"expanding"`

	// Whether the event is scheduled: it is not due yet, and has no deliveries.
	Scheduled bool `json:"scheduled"`

	// While it is scheduled: when it becomes due; otherwise null.
	DeliverAt *time.Time `json:"deliver_at"`

	// By what the event is found.
	Tags map[string]string `json:"tags"`

	// When it was erased; null if it was not.
	ErasedAt *time.Time `json:"erased_at"`

	// The version of its type that the payload is of; null if it has none.
	EventVersion *int64 `json:"event_version"`
}

// EventType: An event type of the catalog.
type EventType struct {
	ID string `json:"id"`

	Name string `json:"name"`

	Description string `json:"description"`

	// Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events that
	// do not match are accepted and counted. `enforce`: they are refused with 422 and reason
	// `PAYLOAD_INVALID`. Null: as the tenant has it.
	Validation *Validation `json:"validation"`

	// What applies.
	EffectiveValidation Validation `json:"effective_validation"`

	// The version that events are validated against: the newest `live` one, or else the newest
	// `deprecated` one; null if all are drafts.
	CurrentVersion *int64 `json:"current_version"`

	// The newest version, whatever its status.
	LatestVersion EventTypeVersion `json:"latest_version"`

	InvalidEvents InvalidEvents `json:"invalid_events"`

	CreatedAt time.Time `json:"created_at"`

	UpdatedAt time.Time `json:"updated_at"`
}

// EventTypeBody: An event type to create, with its version 1.
type EventTypeBody struct {
	// [JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead only
	// to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
	// supported, and `format` is not checked.
	Schema map[string]any `json:"schema"`

	// `draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
	// `deprecated`: in use, but consumers should move on. Default: `"live"`.
	Status *EventTypeStatus `json:"status,omitempty"`

	// When a `deprecated` version ends, for people. Default: not known.
	SunsetAt *time.Time `json:"sunset_at,omitempty"`

	// What the events are about, for people.
	Description *string `json:"description,omitempty"`

	// A payload that matches the schema, at most 16 KiB.
	Example any `json:"example,omitempty"`

	// A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
	// version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes. It
	// may change at any time. Null: none.
	DownConversion *string `json:"down_conversion,omitempty"`

	// As in `event_type` of events. Unique in the tenant; it cannot be changed.
	Name string `json:"name"`

	// Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events that
	// do not match are accepted and counted. `enforce`: they are refused with 422 and reason
	// `PAYLOAD_INVALID`. Null: as the tenant has it.
	Validation *Validation `json:"validation,omitempty"`
}

// EventTypeCheckBody: A schema to compare with that of a version.
type EventTypeCheckBody struct {
	// [JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead only
	// to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
	// supported, and `format` is not checked.
	Schema map[string]any `json:"schema"`

	// The version to compare it with. Default: the current one, or the newest if all are drafts.
	Version *int64 `json:"version,omitempty"`
}

// EventTypePage: A page of event types, in the order of their names.
type EventTypePage struct {
	Items []EventType `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// EventTypePatch: Changes to an event type. Fields that are missing stay as they are.
type EventTypePatch struct {
	// What the events are about, for people.
	Description *string `json:"description,omitempty"`

	// Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events that
	// do not match are accepted and counted. `enforce`: they are refused with 422 and reason
	// `PAYLOAD_INVALID`. Null: as the tenant has it.
	Validation *Validation `json:"validation,omitempty"`

	// Null has the names of fields to reset or remove, as in the API.
	Null []string `json:"-"`
}

// MarshalJSON also writes the fields that are null.
func (p EventTypePatch) MarshalJSON() ([]byte, error) {
	type plain EventTypePatch
	return withNull(plain(p), p.Null)
}

// EventTypeStatus has a value.
type EventTypeStatus string

// Values of EventTypeStatus; a newer service may have others.
const (
	EventTypeStatusDraft EventTypeStatus = "draft"

	EventTypeStatusLive EventTypeStatus = "live"

	EventTypeStatusDeprecated EventTypeStatus = "deprecated"
)

// EventTypeVersion: A version of an event type.
type EventTypeVersion struct {
	EventTypeID string `json:"event_type_id"`

	// 1 for the first one.
	Number int64 `json:"number"`

	// `draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
	// `deprecated`: in use, but consumers should move on.
	Status EventTypeStatus `json:"status"`

	Schema map[string]any `json:"schema"`

	// When it ends; null if not known.
	SunsetAt *time.Time `json:"sunset_at"`

	Description string `json:"description"`

	// A payload; null: none.
	Example json.RawMessage `json:"example"`

	// A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
	// version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes. It
	// may change at any time. null: none.
	DownConversion *string `json:"down_conversion"`

	CreatedAt time.Time `json:"created_at"`

	UpdatedAt time.Time `json:"updated_at"`
}

// EventTypeVersionBody: A version of an event type.
type EventTypeVersionBody struct {
	// [JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead only
	// to places within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not
	// supported, and `format` is not checked.
	Schema map[string]any `json:"schema"`

	// `draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
	// `deprecated`: in use, but consumers should move on. Default: `"live"`.
	Status *EventTypeStatus `json:"status,omitempty"`

	// When a `deprecated` version ends, for people. Default: not known.
	SunsetAt *time.Time `json:"sunset_at,omitempty"`

	// What is new in it, for people.
	Description *string `json:"description,omitempty"`

	// A payload that matches the schema, at most 16 KiB.
	Example any `json:"example,omitempty"`

	// A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
	// version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes. It
	// may change at any time. Null: none.
	DownConversion *string `json:"down_conversion,omitempty"`
}

// EventTypeVersionList: All versions of an event type, the newest first.
type EventTypeVersionList struct {
	Items []EventTypeVersion `json:"items"`
}

// EventTypeVersionPatch: Changes to a version. Fields that are missing stay as they are.
type EventTypeVersionPatch struct {
	// Only that of a `draft` can change.
	Schema map[string]any `json:"schema,omitempty"`

	// `draft`: not published yet; it validates nothing, and its schema may change. `live`: in use.
	// `deprecated`: in use, but consumers should move on.
	Status *EventTypeStatus `json:"status,omitempty"`

	// When a `deprecated` version ends. Null: not known.
	SunsetAt *time.Time `json:"sunset_at,omitempty"`

	// What is new in it, for people.
	Description *string `json:"description,omitempty"`

	// A payload that matches the schema. Null: none.
	Example any `json:"example,omitempty"`

	// A template in MiniJinja that converts a payload of this version (`event.data`) to the previous
	// version, for subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes. It
	// may change at any time. Null: none.
	DownConversion *string `json:"down_conversion,omitempty"`

	// Null has the names of fields to reset or remove, as in the API.
	Null []string `json:"-"`
}

// MarshalJSON also writes the fields that are null.
func (p EventTypeVersionPatch) MarshalJSON() ([]byte, error) {
	type plain EventTypeVersionPatch
	return withNull(plain(p), p.Null)
}

// ExhaustedEvent: What a system subscription gets when deliveries ended as failed, at most once a
// minute for a subscription.
type ExhaustedEvent struct {
	Type string `json:"type"`

	Timestamp time.Time `json:"timestamp"`

	Data ExhaustedEventData `json:"data"`
}

// ExhaustedEventData: The failed deliveries of a subscription since the previous event.
type ExhaustedEventData struct {
	// The subscription concerned.
	SubscriptionID string `json:"subscription_id"`

	// Host of its current target.
	TargetHost string `json:"target_host"`

	// Why; null if there is no reason.
	Reason *string `json:"reason"`

	// Error of the last attempt, or null.
	LastError *string `json:"last_error"`

	// How many deliveries failed since the previous event.
	Deliveries int64 `json:"deliveries"`

	// When the first of them failed.
	Since time.Time `json:"since"`

	LastDeliveryID string `json:"last_delivery_id"`

	LastEventID string `json:"last_event_id"`

	// Attempts of the last of them.
	LastAttempts int64 `json:"last_attempts"`
}

// ExplicitRetries: The delay before each retry.
type ExplicitRetries struct {
	DelaysSeconds []float64 `json:"delays_seconds"`
}

// ExponentialRetries: Retry *n* comes `base_seconds` · `factor`ⁿ⁻¹ after the previous failure, at most
// `cap_seconds`.
type ExponentialRetries struct {
	BaseSeconds float64 `json:"base_seconds"`

	Factor float64 `json:"factor"`

	CapSeconds float64 `json:"cap_seconds"`

	// Retries after the first attempt.
	Limit int64 `json:"limit"`
}

// FieldChange: A changed field. `before` and `after` are absent if there was no value or it is not
// shown.
type FieldChange struct {
	Field string `json:"field"`

	// The value before the change, as JSON.
	Before json.RawMessage `json:"before,omitempty"`

	// The value after the change, as JSON.
	After json.RawMessage `json:"after,omitempty"`
}

// FieldError: A field with an error: its name in the request, and what is wrong.
type FieldError struct {
	Field string `json:"field"`

	Message string `json:"message"`
}

// FilterCheck: What a filter says of each event.
type FilterCheck struct {
	Results []FilterResult `json:"results"`

	// What the filter asks for that the schemas of the event types in the catalog rule out.
	Warnings []string `json:"warnings"`
}

// FilterCheckBody: A filter, and the events that it is tried on: `event`, `event_ids`, or those of
// `subscription_id`.
type FilterCheckBody struct {
	// Condition in CEL, as of a subscription.
	Filter string `json:"filter"`

	// An event that is not stored.
	Event *TriedEvent `json:"event,omitempty"`

	// Events that are stored, at most 20.
	EventIDs []string `json:"event_ids,omitempty"`

	// The latest events of the last 7 days that this subscription's `event_types` want.
	SubscriptionID *string `json:"subscription_id,omitempty"`

	// How many of these. Default: `20`.
	Last *int64 `json:"last,omitempty"`
}

// FilterOnError has a value.
type FilterOnError string

// Values of FilterOnError; a newer service may have others.
const (
	FilterOnErrorDeliver FilterOnError = "deliver"

	FilterOnErrorSkip FilterOnError = "skip"
)

// FilterResult: What a filter says of an event.
type FilterResult struct {
	// null if the event is not stored.
	EventID *string `json:"event_id"`

	// `match`: it is true. `no_match`: it is false. `error`: `filter_on_error` decides.
	Verdict FilterVerdict `json:"verdict"`

	// The first part of the filter that was false, or why it cannot be evaluated; otherwise null.
	Explanation *string `json:"explanation"`
}

// FilterVerdict has a value.
type FilterVerdict string

// Values of FilterVerdict; a newer service may have others.
const (
	FilterVerdictMatch FilterVerdict = "match"

	FilterVerdictNoMatch FilterVerdict = "no_match"

	FilterVerdictError FilterVerdict = "error"
)

// FoundDeliveries: A page of the deliveries that were searched for, without attempts.
type FoundDeliveries struct {
	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`

	// What was searched: from this time on; null if from the beginning.
	From *time.Time `json:"from"`

	// And before this time; null if up to now.
	To *time.Time `json:"to"`

	// How far the search got, if it stopped before the page was full because few of many are wanted;
	// `next_cursor` goes on from there. Otherwise null.
	ScannedTo *time.Time `json:"scanned_to"`

	Items []DeliverySummary `json:"items"`
}

// FoundEvents: A page of the events that were searched for, without payloads.
type FoundEvents struct {
	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`

	// What was searched: from this time on; null if from the beginning.
	From *time.Time `json:"from"`

	// And before this time; null if up to now.
	To *time.Time `json:"to"`

	// How far the search got, if it stopped before the page was full because few of many are wanted;
	// `next_cursor` goes on from there. Otherwise null.
	ScannedTo *time.Time `json:"scanned_to"`

	Items []EventSummary `json:"items"`
}

// Handshake has a value.
type Handshake struct {
	Challenge string `json:"challenge"`
}

// Header: A header.
type Header struct {
	// Of a response, in lowercase.
	Name string `json:"name"`

	Value string `json:"value"`
}

// Hold has a value.
type Hold string

// Values of Hold; a newer service may have others.
const (
	HoldPaused Hold = "paused"

	HoldDisabled Hold = "disabled"

	HoldUnverified Hold = "unverified"

	HoldBreakerOpen Hold = "breaker_open"

	HoldRecovering Hold = "recovering"

	HoldConcurrency Hold = "concurrency"

	HoldRateLimit Hold = "rate_limit"

	HoldPull Hold = "pull"
)

// ImportOutcome has a value.
type ImportOutcome string

// Values of ImportOutcome; a newer service may have others.
const (
	ImportOutcomeCreated ImportOutcome = "created"

	ImportOutcomeNewVersion ImportOutcome = "new_version"

	ImportOutcomeUpdated ImportOutcome = "updated"

	ImportOutcomeUnchanged ImportOutcome = "unchanged"

	ImportOutcomeRefused ImportOutcome = "refused"
)

// ImportProblem: Why an event type was refused.
type ImportProblem struct {
	// Where in the document, as a JSON Pointer.
	Path string `json:"path"`

	Description string `json:"description"`
}

// ImportedEventType: What became of an event type of the document, or with `dry_run` would.
type ImportedEventType struct {
	Name string `json:"name"`

	// `created`: it is new. `new_version`: its schema is another one than that of the current version.
	// `updated`: its schema is the same; its descriptions, example, or status are not. `unchanged`: all
	// is the same. `refused`: see `problems`.
	Outcome ImportOutcome `json:"outcome"`

	// null: it does not exist.
	EventTypeID *string `json:"event_type_id"`

	// The version with this schema; null if it was refused.
	Version *int64 `json:"version"`

	// Of a new version: what would surprise consumers of the current one; at most ten.
	Breaking []SchemaChange `json:"breaking"`

	// Why it was refused; at most five.
	Problems []ImportProblem `json:"problems"`
}

// IngestToken: The right to send webhooks to one subscription.
type IngestToken struct {
	// The token. It is shown only in this response; null in a repeated one.
	Token *string `json:"token"`

	// Path on this server to which webhooks are sent with the token; null in a repeated response.
	Path *string `json:"path"`
}

// InvalidEvents: Events that did not match the schema, while validation was on.
type InvalidEvents struct {
	// How many came, accurate to some seconds.
	Count int64 `json:"count"`

	// When the last one came; null: none did.
	LastAt *time.Time `json:"last_at"`

	// What was wrong with it.
	LastErrors []string `json:"last_errors"`
}

// Job: A job.
type Job struct {
	ID string `json:"id"`

	// The job's tenant.
	TenantID string `json:"tenant_id"`

	Kind JobKind `json:"kind"`

	// `queued`: not begun. `running`. `paused`: does nothing until it is resumed. `succeeded`: it has
	// looked at all of its deliveries. `failed`: see `error`. `cancelled`.
	Status JobStatus `json:"status"`

	Filter StoredFilter `json:"filter"`

	// Who gets the deliveries of a `replay`.
	ToSubscriptionID *string `json:"to_subscription_id"`

	// Which events a `replay` is about: `missing` or `all`; null if it is about deliveries.
	Only *ReplayedEvents `json:"only"`

	// The most deliveries, or to erase events, per second.
	RatePerSecond int64 `json:"rate_per_second"`

	Counts JobCounts `json:"counts"`

	// null for `cancel` and `erase`.
	Results *JobResults `json:"results"`

	// Why it failed, or why it does not go on now.
	Error *string `json:"error"`

	// Who created it: the UUID of an API key, `bootstrap` or `anonymous`.
	CreatedBy string `json:"created_by"`

	// Deliveries that were accepted or that ended after this, or after its dry run, are not part of it.
	CreatedAt time.Time `json:"created_at"`

	StartedAt *time.Time `json:"started_at"`

	// When it did something last.
	MovedAt *time.Time `json:"moved_at"`

	EndedAt *time.Time `json:"ended_at"`

	// How many deliveries it goes through in a second, measured over the last 10 to 20 seconds; null
	// while it is not running, and in its first second.
	CurrentRatePerSecond *float64 `json:"current_rate_per_second"`

	// When it will have looked at all deliveries at its current rate; null if that is not known.
	EstimatedEndAt *time.Time `json:"estimated_end_at"`
}

// JobBody: A job to create or to preview.
type JobBody struct {
	// `retry` sends each delivery again now, with its full retry schedule and the same `webhook-id`.
	// `cancel` cancels deliveries that wait. `replay` makes a new delivery of each event, with a
	// `webhook-id` of its own and the header `X-Webhook-Replay`. `erase` removes the payloads of events,
	// and all that was kept of what was sent and answered, for good; it requires a key with the
	// capability `erase`. Required without `token`.
	Kind *JobKind `json:"kind,omitempty"`

	// Which deliveries, or to erase which events. It needs a `from`, a `subscription_id`, `event_ids`, a
	// `tag`, an `idempotency_key` or a `provider_id`. Required without `token`.
	Filter *JobFilter `json:"filter,omitempty"`

	// Only for `replay`: the subscription that gets the new deliveries. Default: each delivery's own.
	ToSubscriptionID *string `json:"to_subscription_id,omitempty"`

	// Only for `replay` with `to_subscription_id`, which then is about events, in place of deliveries:
	// `missing`: those that the subscription wants, by its `event_types` and its `filter`, and has no
	// delivery of. `all`: all that it wants. The filter then has `from`, and may have `to` and
	// `event_type`.
	Only *ReplayedEvents `json:"only,omitempty"`

	// The most deliveries, or to erase events, per second. Default: 500.
	RatePerSecond *int64 `json:"rate_per_second,omitempty"`

	// Count what the job would do, and change nothing. Default: `false`.
	DryRun *bool `json:"dry_run,omitempty"`

	// The `token` of a dry run: starts exactly the job that was counted, once, within 15 minutes.
	Token *string `json:"token,omitempty"`
}

// JobCounts: What a job has done so far. When it has succeeded, `matched` is the sum of `done`,
// `skipped`, and `gone`.
type JobCounts struct {
	// Deliveries, or to erase events, that match.
	Matched int64 `json:"matched"`

	// Otherwise there are at least so many.
	MatchedIsExact bool `json:"matched_is_exact"`

	// Made pending again, cancelled, replayed, or erased.
	Done int64 `json:"done"`

	// Left as they are: changed meanwhile, in flight, or their subscription is disabled or deleted.
	Skipped int64 `json:"skipped"`

	// Their payloads are no longer retained.
	Gone int64 `json:"gone"`
}

// JobFilter: Which deliveries, or to erase which events: those that match every field, and one of the
// values of each list.
//
// Events to erase are found by `event_ids`, `tag`, `idempotency_key`, `provider_id`, `event_type`,
// `from`, and `to`.
type JobFilter struct {
	// To these subscriptions. Default: all.
	SubscriptionID []string `json:"subscription_id,omitempty"`

	// With these statuses. To retry: `failed` (default), `cancelled`, `delivered`, `scheduled`. To
	// cancel: `pending` and `scheduled` (default: both). To replay: any (default).
	Status []DeliveryStatus `json:"status,omitempty"`

	// Failed or cancelled for these reasons.
	Reason []string `json:"reason,omitempty"`

	// Of events of these types, exact or with a prefix, such as `order.*`.
	EventType []string `json:"event_type,omitempty"`

	// Whose last response had this status code, such as `503` or `5xx`.
	StatusCode []string `json:"status_code,omitempty"`

	// Whose last attempt failed like this.
	ErrorKind []string `json:"error_kind,omitempty"`

	// That are due, but held for these reasons.
	HeldBy []string `json:"held_by,omitempty"`

	// With at least so many attempts. Default: `0`.
	MinAttempts *int64 `json:"min_attempts,omitempty"`

	// Of events with these tags.
	Tag []string `json:"tag,omitempty"`

	// Of events that were accepted under these idempotency keys, for as long as keys are kept.
	IdempotencyKey []string `json:"idempotency_key,omitempty"`

	// Of events with these ids of the provider that sent them, which are kept as long.
	ProviderID []string `json:"provider_id,omitempty"`

	// Of these events: up to 50, or to erase up to 1,000. An id that no event has matches nothing.
	EventIDs []string `json:"event_ids,omitempty"`

	// Accepted at this time or later. Required unless `subscription_id`, `event_ids`, `tag`,
	// `idempotency_key` or `provider_id` is given.
	From *time.Time `json:"from,omitempty"`

	// Accepted before this time. Default: now.
	To *time.Time `json:"to,omitempty"`
}

// JobKind has a value.
type JobKind string

// Values of JobKind; a newer service may have others.
const (
	JobKindRetry JobKind = "retry"

	JobKindReplay JobKind = "replay"

	JobKindCancel JobKind = "cancel"

	JobKindErase JobKind = "erase"
)

// JobPage: A page of jobs, newest first.
type JobPage struct {
	Items []Job `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// JobPreview: What a job would do now.
type JobPreview struct {
	// `token` of the request that starts this job.
	Token string `json:"token"`

	TokenExpiresAt time.Time `json:"token_expires_at"`

	Counts JobCounts `json:"counts"`

	// When the oldest of the deliveries was accepted.
	OldestAt *time.Time `json:"oldest_at"`

	// When the newest was.
	NewestAt *time.Time `json:"newest_at"`

	// Deliveries by reason; those without one are under an empty string.
	Reasons map[string]int64 `json:"reasons"`

	// Up to ten of the deliveries or events, the oldest first.
	Samples []JobSample `json:"samples"`
}

// JobResults: What became of the retried or replayed deliveries, as of a few seconds ago.
type JobResults struct {
	Delivered int64 `json:"delivered"`

	// Failed again, or cancelled.
	Failed int64 `json:"failed"`

	// Not ended yet.
	Waiting int64 `json:"waiting"`
}

// JobSample: A delivery that would be changed, or an event that would be erased.
type JobSample struct {
	// null for an event to erase.
	DeliveryID *string `json:"delivery_id"`

	// null for an event to erase.
	SubscriptionID *string `json:"subscription_id"`

	EventID string `json:"event_id"`

	EventType *string `json:"event_type"`

	Reason *string `json:"reason"`

	CreatedAt time.Time `json:"created_at"`
}

// JobStatus has a value.
type JobStatus string

// Values of JobStatus; a newer service may have others.
const (
	JobStatusQueued JobStatus = "queued"

	JobStatusRunning JobStatus = "running"

	JobStatusPaused JobStatus = "paused"

	JobStatusSucceeded JobStatus = "succeeded"

	JobStatusFailed JobStatus = "failed"

	JobStatusCancelled JobStatus = "cancelled"
)

// Latency: Durations in milliseconds of attempts that received a response.
type Latency struct {
	Mean float64 `json:"mean"`

	P50 float64 `json:"p50"`

	P95 float64 `json:"p95"`

	P99 float64 `json:"p99"`
}

// Limits: The quotas that apply to a tenant.
type Limits struct {
	// Live subscriptions.
	Subscriptions int64 `json:"subscriptions"`

	// Events accepted per second.
	EventsPerSecond float64 `json:"events_per_second"`

	// Deliveries that are not finished.
	WaitingDeliveries int64 `json:"waiting_deliveries"`

	// Bytes of the payloads of retained events.
	StoredBytes int64 `json:"stored_bytes"`

	// Events that are scheduled and not due yet.
	ScheduledEvents int64 `json:"scheduled_events"`

	// Bytes of the payloads of scheduled events.
	ScheduledBytes int64 `json:"scheduled_bytes"`
}

// ListFormat has a value.
type ListFormat string

// Values of ListFormat; a newer service may have others.
const (
	ListFormatJSON ListFormat = "json"

	ListFormatNdjson ListFormat = "ndjson"
)

// ListOrder has a value.
type ListOrder string

// Values of ListOrder; a newer service may have others.
const (
	ListOrderNewest ListOrder = "newest"

	ListOrderOldest ListOrder = "oldest"
)

// Liveness has a value.
type Liveness struct {
	Status *LivenessStatus `json:"status,omitempty"`
}

// LivenessStatus has a value.
type LivenessStatus string

// Values of LivenessStatus; a newer service may have others.
const (
	LivenessStatusOk LivenessStatus = "ok"

	LivenessStatusFailing LivenessStatus = "failing"
)

// NamedRetries: A named schedule.
type NamedRetries struct {
	Name RetrySchedule `json:"name"`
}

// OperationalEvent: What a system subscription gets when an endpoint fails, recovers, or is disabled.
type OperationalEvent struct {
	Type OperationalEventType `json:"type"`

	Timestamp time.Time `json:"timestamp"`

	Data OperationalEventData `json:"data"`
}

// OperationalEventData: The subscription concerned.
type OperationalEventData struct {
	// The subscription concerned.
	SubscriptionID string `json:"subscription_id"`

	// Host of its current target.
	TargetHost string `json:"target_host"`

	// Why; null if there is no reason.
	Reason *string `json:"reason"`

	// Error of the last attempt, or null.
	LastError *string `json:"last_error"`
}

// OperationalEventType: What happened to a subscription.
type OperationalEventType string

// Values of OperationalEventType; a newer service may have others.
const (
	OperationalEventTypeSubscriptionDisabled OperationalEventType = "subscription.disabled"

	OperationalEventTypeSubscriptionFailing OperationalEventType = "subscription.failing"

	OperationalEventTypeSubscriptionRecovered OperationalEventType = "subscription.recovered"

	OperationalEventTypeSubscriptionFilterStopped OperationalEventType = "subscription.filter_stopped"
)

// OwnQuotas: A tenant's own quotas. Null: it has the default of the service.
type OwnQuotas struct {
	// Live subscriptions.
	Subscriptions *int64 `json:"subscriptions"`

	// Events accepted per second.
	EventsPerSecond *float64 `json:"events_per_second"`

	// Deliveries that are not finished.
	WaitingDeliveries *int64 `json:"waiting_deliveries"`

	// Bytes of the payloads of retained events.
	StoredBytes *int64 `json:"stored_bytes"`

	// Events that are scheduled and not due yet.
	ScheduledEvents *int64 `json:"scheduled_events"`

	// Bytes of the payloads of scheduled events.
	ScheduledBytes *int64 `json:"scheduled_bytes"`
}

// Phase: A part of an attempt's time.
type Phase struct {
	// `dns`, `connect`, `tls`, `first_byte` (until the response begins), or `body`.
	Name string `json:"name"`

	DurationMs float64 `json:"duration_ms"`
}

// PortalCapability has a value.
type PortalCapability string

// Values of PortalCapability; a newer service may have others.
const (
	PortalCapabilityView PortalCapability = "view"

	PortalCapabilityManage PortalCapability = "manage"

	PortalCapabilitySecrets PortalCapability = "secrets"

	PortalCapabilityTest PortalCapability = "test"

	PortalCapabilityRecover PortalCapability = "recover"

	PortalCapabilityPayloads PortalCapability = "payloads"
)

// PortalLink: A new portal link.
type PortalLink struct {
	ID string `json:"id"`

	// Where it is, relative to the address at which browsers reach this service. It works once, and is
	// shown only in this response.
	URL string `json:"url"`

	ExpiresAt time.Time `json:"expires_at"`
}

// PortalLinkBody: A portal link to create.
type PortalLinkBody struct {
	// The tenant whose objects it shows. Default: that of `X-Tenant`, or of your key. Another one than
	// your key's requires the role `admin`.
	TenantID *string `json:"tenant_id,omitempty"`

	// What its holder may do, and no more than your key may: 403 otherwise. `view`, which is implied: see
	// subscriptions, deliveries, events without their payloads, statistics, and jobs. `manage`: create,
	// change, pause, and delete subscriptions. `secrets`: set and rotate secrets and ingest tokens, and
	// see those that are made. `test`: send test events. `recover`: retry and cancel deliveries, and run
	// jobs that do. `payloads`: see the payloads of events. All but `view` and `payloads` require the
	// role `write`.
	Capabilities []PortalCapability `json:"capabilities"`

	// Limits it to these subscriptions of the tenant, and what was sent to them. Default: all.
	Subscriptions []string `json:"subscriptions,omitempty"`

	// After this time it ends, and what it was exchanged for. Default: `3600`.
	ExpiresInSeconds *int64 `json:"expires_in_seconds,omitempty"`

	// The origin of the pages that may show it in a frame, such as `https://app.example.com`. Default: no
	// page may.
	Origin *string `json:"origin,omitempty"`
}

// PortalLook: How the portal of a tenant looks. Null: as the console does.
type PortalLook struct {
	// Its name in the menu and the title.
	Name *string `json:"name"`

	// The color of links and buttons.
	Accent *string `json:"accent"`

	// That in the dark theme.
	AccentDark *string `json:"accent_dark"`

	// Whether it has a logo.
	HasLogo bool `json:"has_logo"`
}

// PortalLookPatch: How the portal of a tenant looks. Null: as the console does.
type PortalLookPatch struct {
	// Its name in the menu and the title.
	Name *string `json:"name,omitempty"`

	// The color of links and buttons, such as `#3d49cf`. It needs a contrast of 4.5 with white.
	Accent *string `json:"accent,omitempty"`

	// That in the dark theme: a contrast of 4.5 with `#15191f`.
	AccentDark *string `json:"accent_dark,omitempty"`

	// A PNG or WebP of at most 64 KiB, in base64.
	LogoBase64 *string `json:"logo_base64,omitempty"`

	// Null has the names of fields to reset or remove, as in the API.
	Null []string `json:"-"`
}

// MarshalJSON also writes the fields that are null.
func (p PortalLookPatch) MarshalJSON() ([]byte, error) {
	type plain PortalLookPatch
	return withNull(plain(p), p.Null)
}

// PreviousSecret: A replaced secret that is still valid.
type PreviousSecret struct {
	ExpiresAt time.Time `json:"expires_at"`
}

// Problem: An error. `type` is `urn:webhook-service:error:` and the `reason`, or `about:blank` without
// one.
type Problem struct {
	Type string `json:"type"`

	Title string `json:"title"`

	Status int64 `json:"status"`

	Detail string `json:"detail"`

	Instance *string `json:"instance,omitempty"`

	Reason *ErrorReason `json:"reason,omitempty"`

	Errors []FieldError `json:"errors,omitempty"`

	RequestID *string `json:"request_id,omitempty"`
}

// PublicKey: A key that verifies `v1a` signatures.
type PublicKey struct {
	// `whpk_` and the base64 of the 32 bytes of an Ed25519 public key.
	PublicKey string `json:"public_key"`

	// When its private key stops signing; null for the current one.
	ExpiresAt *time.Time `json:"expires_at"`
}

// PublicKeys: The public keys of a subscription.
type PublicKeys struct {
	// Public keys of the signing private keys, newest first.
	PublicKeys []PublicKey `json:"public_keys"`
}

// PullBody: What a consumer asks for.
type PullBody struct {
	// How many to return. Their payloads add up to 4 MiB at most, unless a single one is larger. Default:
	// `100`.
	MaxDeliveries *int64 `json:"max_deliveries,omitempty"`

	// How long to wait if there are none. Default: `0.0`.
	WaitSeconds *float64 `json:"wait_seconds,omitempty"`

	// How long they are leased. Report what became of each before then, or extend its lease. Default:
	// `60.0`.
	LeaseSeconds *float64 `json:"lease_seconds,omitempty"`
}

// PullOutcome has a value.
type PullOutcome string

// Values of PullOutcome; a newer service may have others.
const (
	PullOutcomeSuccess PullOutcome = "success"

	PullOutcomeFailure PullOutcome = "failure"

	PullOutcomeExtend PullOutcome = "extend"
)

// PullResult: What became of a delivery.
type PullResult struct {
	DeliveryID string `json:"delivery_id"`

	// The one that the delivery was pulled with.
	LeaseToken string `json:"lease_token"`

	// `success`: it is delivered. `failure`: the attempt failed, and is retried by the retry policy.
	// `extend`: nothing yet; the lease lasts for `lease_seconds` from now on.
	Outcome PullOutcome `json:"outcome"`

	// HTTP status that describes the outcome.
	StatusCode *int64 `json:"status_code,omitempty"`

	// For people; kept with the attempt.
	Message *string `json:"message,omitempty"`

	// What the attempt took. Default: the time since the pull.
	DurationMs *int64 `json:"duration_ms,omitempty"`

	// Only with `extend`. Default: 60.
	LeaseSeconds *float64 `json:"lease_seconds,omitempty"`
}

// PullResultStatus has a value.
type PullResultStatus string

// Values of PullResultStatus; a newer service may have others.
const (
	PullResultStatusRecorded PullResultStatus = "recorded"

	PullResultStatusLeaseExpired PullResultStatus = "lease_expired"

	PullResultStatusNotFound PullResultStatus = "not_found"
)

// PullResultsBody: What became of deliveries that were pulled.
type PullResultsBody struct {
	// Each delivery at most once.
	Results []PullResult `json:"results"`
}

// PulledDeliveries: Deliveries that are leased to the consumer, the oldest first; none if there was
// nothing to pull.
type PulledDeliveries struct {
	Deliveries []PulledDelivery `json:"deliveries"`
}

// PulledDelivery: A delivery that is leased to the consumer.
type PulledDelivery struct {
	ID string `json:"id"`

	EventID string `json:"event_id"`

	// null if the event has no type.
	EventType *string `json:"event_type"`

	// Counts from 1.
	Attempt int64 `json:"attempt"`

	// Send it with the result.
	LeaseToken string `json:"lease_token"`

	// Without a result by then the attempt has failed with `lease_expired`, and is retried.
	LeaseExpiresAt time.Time `json:"lease_expires_at"`

	// As they would be sent to a target, signatures included.
	Headers map[string]string `json:"headers"`

	// The exact bytes, in base64.
	PayloadBase64 string `json:"payload_base64"`
}

// QuotasBody: Quotas of a tenant's own. Null: the default of the service.
type QuotasBody struct {
	// Live subscriptions.
	Subscriptions *int64 `json:"subscriptions,omitempty"`

	// Events accepted per second.
	EventsPerSecond *float64 `json:"events_per_second,omitempty"`

	// Deliveries that are not finished.
	WaitingDeliveries *int64 `json:"waiting_deliveries,omitempty"`

	// Bytes of the payloads of retained events.
	StoredBytes *int64 `json:"stored_bytes,omitempty"`

	// Events that are scheduled and not due yet.
	ScheduledEvents *int64 `json:"scheduled_events,omitempty"`

	// Bytes of the payloads of scheduled events.
	ScheduledBytes *int64 `json:"scheduled_bytes,omitempty"`
}

// RecoverBody: What to recover of a subscription.
type RecoverBody struct {
	// Deliveries that were accepted at this time or later.
	From time.Time `json:"from"`

	// Accepted before this time. Default: now.
	To *time.Time `json:"to,omitempty"`

	// `failed`: deliveries that failed are retried. `missing`: events that the subscription wants, by its
	// `event_types` and its `filter`, and has no delivery of are replayed to it. `all`: all that it wants
	// are. Default: `"failed"`.
	Only *Recovered `json:"only,omitempty"`

	// The most deliveries per second. Default: 500.
	RatePerSecond *int64 `json:"rate_per_second,omitempty"`
}

// Recovered has a value.
type Recovered string

// Values of Recovered; a newer service may have others.
const (
	RecoveredFailed Recovered = "failed"

	RecoveredMissing Recovered = "missing"

	RecoveredAll Recovered = "all"
)

// RefusalCount: How many events were refused for a subscription by a reason.
type RefusalCount struct {
	// null if the request named no subscription, or one that the tenant never had.
	SubscriptionID *string `json:"subscription_id"`

	// The reason code of the response.
	Reason string `json:"reason"`

	// How many.
	Events int64 `json:"events"`

	// When the last one was refused.
	LastAt time.Time `json:"last_at"`
}

// Refusals: Refused events by subscription and reason.
type Refusals struct {
	// Start of the first hour.
	From time.Time `json:"from"`

	// End of the last hour.
	To time.Time `json:"to"`

	// All refused events, also those of items that are not listed.
	Events int64 `json:"events"`

	// The largest first.
	Items []RefusalCount `json:"items"`
}

// ReplayedEvents has a value.
type ReplayedEvents string

// Values of ReplayedEvents; a newer service may have others.
const (
	ReplayedEventsMissing ReplayedEvents = "missing"

	ReplayedEventsAll ReplayedEvents = "all"
)

// ReportedResult: What became of a result.
type ReportedResult struct {
	DeliveryID string `json:"delivery_id"`

	// `recorded`: also if it was recorded before, and for a success that comes after the lease has
	// expired: the delivery is delivered unless it has ended otherwise. `lease_expired`: the lease is
	// over, and nothing changes. `not_found`: the subscription has no such delivery.
	Status PullResultStatus `json:"status"`

	// When the lease ends that was extended; otherwise null.
	LeaseExpiresAt *time.Time `json:"lease_expires_at"`
}

// ReportedResults: One for each result, in their order.
type ReportedResults struct {
	Results []ReportedResult `json:"results"`
}

// ResourceType has a value.
type ResourceType string

// Values of ResourceType; a newer service may have others.
const (
	ResourceTypeSubscription ResourceType = "subscription"

	ResourceTypeDelivery ResourceType = "delivery"

	ResourceTypeJob ResourceType = "job"

	ResourceTypeEventType ResourceType = "event_type"

	ResourceTypeTenant ResourceType = "tenant"

	ResourceTypeAPIKey ResourceType = "api_key"

	ResourceTypeSession ResourceType = "session"

	ResourceTypePortalLink ResourceType = "portal_link"
)

// RetryPolicy: When a failed delivery is retried: exponentially, by `delays_seconds`, or by the
// schedule called `name`.
type RetryPolicy struct {
	DelaysSeconds []float64 `json:"delays_seconds,omitempty"`

	BaseSeconds *float64 `json:"base_seconds,omitempty"`

	Factor *float64 `json:"factor,omitempty"`

	CapSeconds *float64 `json:"cap_seconds,omitempty"`

	// Retries after the first attempt.
	Limit *int64 `json:"limit,omitempty"`

	Name *RetrySchedule `json:"name,omitempty"`
}

// RetryPolicyBody: When a failed delivery is retried. One of three kinds, which cannot be combined.
//
// Exponential: `base_seconds`, `factor`, `cap_seconds`, `limit`; each has a default. Explicit:
// `delays_seconds`. Named: `name`. All delays together must fit within the lifetime of a delivery.
type RetryPolicyBody struct {
	// Delay before the first retry.
	BaseSeconds *float64 `json:"base_seconds,omitempty"`

	// Each further delay is the previous one times this factor.
	Factor *float64 `json:"factor,omitempty"`

	// Longest delay; at least `base_seconds`.
	CapSeconds *float64 `json:"cap_seconds,omitempty"`

	// Retries after the first attempt.
	Limit *int64 `json:"limit,omitempty"`

	// The delay before each retry; its length is the number of retries.
	DelaysSeconds []float64 `json:"delays_seconds,omitempty"`

	// `standard-webhooks`: the schedule of the Standard Webhooks specification: nine retries after 5 s, 5
	// min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, and 24 h.
	Name *RetrySchedule `json:"name,omitempty"`
}

// RetrySchedule has a value.
type RetrySchedule string

// Values of RetrySchedule; a newer service may have others.
const (
	RetryScheduleStandardWebhooks RetrySchedule = "standard-webhooks"
)

// Role has a value.
type Role string

// Values of Role; a newer service may have others.
const (
	RoleAdmin Role = "admin"

	RoleWrite Role = "write"

	RoleIngest Role = "ingest"

	RoleRead Role = "read"

	RolePull Role = "pull"
)

// Rotated: The secrets after a rotation.
type Rotated struct {
	// The generated secret, shown only in this response; null if the request had a secret, in a repeated
	// response, and for `ed25519`, whose private key is never returned.
	SecretKey *string `json:"secret_key"`

	// Public keys of the signing private keys, newest first.
	PublicKeys []PublicKey `json:"public_keys"`

	// Replaced secrets that are still valid, newest first.
	PreviousSecrets []PreviousSecret `json:"previous_secrets"`

	// Weaknesses of the subscription, such as a secret of fewer than 24 bytes.
	Warnings []string `json:"warnings"`
}

// RotationBody: The next secret, and how long the old ones stay valid.
type RotationBody struct {
	// Absent or null: one is generated. After the prefix `whsec_` or `v1,whsec_` comes the base64 of the
	// key of `webhook-signature`; any other secret is used as its UTF-8 bytes. The key must have at least
	// 8 bytes, without white space around it; `warnings` reports a key of fewer than 24. For the scheme
	// `ed25519` it is a private key: `whsk_` and the base64 of 32 bytes, or of 64 bytes that end with the
	// public key.
	SecretKey *string `json:"secret_key,omitempty"`

	// Scheme of the new secret. Absent or null: the subscription's scheme.
	SignatureScheme *SecretScheme `json:"signature_scheme,omitempty"`

	// How long old secrets stay valid at most; 0 invalidates them at once. Default: `24`.
	OverlapHours *float64 `json:"overlap_hours,omitempty"`
}

// Route: Whether a subscription got the event, and why.
type Route struct {
	SubscriptionID string `json:"subscription_id"`

	// Whether the subscription got the event.
	Routed bool `json:"routed"`

	// Got it: `matched`, or `replayed` (a job sent it there later). Did not: `event_type` (it does not
	// get events of this type), `filter` (its filter does not let the event through), `created_later`,
	// `system` (it gets only operational events), `disabled` (and it keeps no events meanwhile),
	// `expanding` (deliveries are still being created), `scheduled` (the event is not due yet), or
	// `addressed` (the event was sent to another subscription, not to all that want its type).
	// `changed_since`: it was changed after the event was accepted, and what it was before is not known.
	Reason string `json:"reason"`

	// The reason as a sentence, for people.
	Explanation string `json:"explanation"`

	// The delivery; null if it did not get the event.
	DeliveryID *string `json:"delivery_id"`
}

// RoutePage: A page of routes, those of the newest subscriptions first.
type RoutePage struct {
	Items []Route `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// SchemaChange: A difference of two schemas.
type SchemaChange struct {
	// Where in the schema, as a JSON Pointer; empty for the whole.
	Path string `json:"path"`

	Description string `json:"description"`
}

// SchemaComparison: How a schema differs from a version.
type SchemaComparison struct {
	// The version that it was compared with.
	Version int64 `json:"version"`

	// Whether no change is breaking.
	Compatible bool `json:"compatible"`

	// Changes after which payloads may surprise consumers of the version, at most 100.
	Breaking []SchemaChange `json:"breaking"`
}

// SearchedHold has a value.
type SearchedHold string

// Values of SearchedHold; a newer service may have others.
const (
	SearchedHoldPaused SearchedHold = "paused"

	SearchedHoldDisabled SearchedHold = "disabled"

	SearchedHoldUnverified SearchedHold = "unverified"

	SearchedHoldPull SearchedHold = "pull"

	SearchedHoldBreakerOpen SearchedHold = "breaker_open"

	SearchedHoldRecovering SearchedHold = "recovering"

	SearchedHoldConcurrency SearchedHold = "concurrency"

	SearchedHoldRateLimit SearchedHold = "rate_limit"
)

// SecretScheme has a value.
type SecretScheme string

// Values of SecretScheme; a newer service may have others.
const (
	SecretSchemeHmacSha256 SecretScheme = "hmac-sha256"

	SecretSchemeEd25519 SecretScheme = "ed25519"
)

// Session: Somebody who signed in at the console with an API key. A session can do what its key can,
// and ends with it.
type Session struct {
	ID string `json:"id"`

	// The key's tenant.
	TenantID string `json:"tenant_id"`

	// Id of the key; `bootstrap` for `BOOTSTRAP_ADMIN_KEY`.
	KeyID string `json:"key_id"`

	// The key's name; empty for `BOOTSTRAP_ADMIN_KEY`.
	KeyName string `json:"key_name"`

	// The key's role.
	Role Role `json:"role"`

	// What the browser called itself.
	UserAgent string `json:"user_agent"`

	CreatedAt time.Time `json:"created_at"`

	ExpiresAt time.Time `json:"expires_at"`

	// null unless it was revoked, or its holder signed out.
	RevokedAt *time.Time `json:"revoked_at"`
}

// SessionPage: A page of sessions, newest first.
type SessionPage struct {
	Items []Session `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// Stats: Counts and latencies in a time window.
type Stats struct {
	WindowStart time.Time `json:"window_start"`

	// When the latest numbers were computed, or the end of a step.
	WindowEnd time.Time `json:"window_end"`

	// Accepted events; null for subscriptions and outcomes, which events do not have.
	Events *int64 `json:"events"`

	Attempts int64 `json:"attempts"`

	// By `success` or kind of error; kinds without attempts are omitted.
	AttemptsByOutcome map[string]int64 `json:"attempts_by_outcome"`

	// Deliveries that ended with status `delivered`. One that is retried after its end ends again.
	Delivered int64 `json:"delivered"`

	// Deliveries that ended with status `failed`, also those that never had an attempt.
	Failed int64 `json:"failed"`

	// Deliveries that ended with status `cancelled`.
	Cancelled int64 `json:"cancelled"`

	// Share of successful attempts among those with a known outcome, 0 to 1; null if there are none.
	AttemptSuccessRate *float64 `json:"attempt_success_rate"`

	// `delivered` as a share of `delivered` and `failed`, 0 to 1; null if both are 0.
	DeliverySuccessRate *float64 `json:"delivery_success_rate"`

	// null if no attempt received a response.
	LatencyMs *Latency `json:"latency_ms"`
}

// StatsGroup: Statistics over time of one group.
type StatsGroup struct {
	// All steps together.
	Summary Stats `json:"summary"`

	// Each step, the first first.
	Points []Stats `json:"points"`

	// The outcome, the id of the subscription, or the event type (null: events without one); `other` for
	// all groups that are not listed.
	Group *string `json:"group"`
}

// StatsGrouping has a value.
type StatsGrouping string

// Values of StatsGrouping; a newer service may have others.
const (
	StatsGroupingOutcome StatsGrouping = "outcome"

	StatsGroupingSubscription StatsGrouping = "subscription"

	StatsGroupingEventType StatsGrouping = "event_type"
)

// StatsOverTime: Statistics over time, in total and by group.
type StatsOverTime struct {
	// Start of the first step.
	From time.Time `json:"from"`

	// End of the last step.
	To time.Time `json:"to"`

	Step StatsStep `json:"step"`

	// When the latest numbers were computed: steps that end later are not complete.
	CompleteTo time.Time `json:"complete_to"`

	GroupBy *StatsGrouping `json:"group_by"`

	Total StatsSeries `json:"total"`

	// Empty without `group_by`.
	Groups []StatsGroup `json:"groups"`
}

// StatsSeries: Statistics over time.
type StatsSeries struct {
	// All steps together.
	Summary Stats `json:"summary"`

	// Each step, the first first.
	Points []Stats `json:"points"`
}

// StatsStep has a value.
type StatsStep string

// Values of StatsStep; a newer service may have others.
const (
	StatsStep1m StatsStep = "1m"

	StatsStep5m StatsStep = "5m"

	StatsStep1h StatsStep = "1h"

	StatsStep1d StatsStep = "1d"
)

// StatusReason has a value.
type StatusReason string

// Values of StatusReason; a newer service may have others.
const (
	StatusReasonManual StatusReason = "manual"

	StatusReasonGone StatusReason = "gone"

	StatusReasonFailing StatusReason = "failing"
)

// StoredFilter: The filter of a job, with the statuses and the end that were implied.
type StoredFilter struct {
	SubscriptionID []string `json:"subscription_id"`

	Status []string `json:"status"`

	Reason []string `json:"reason"`

	EventType []string `json:"event_type"`

	StatusCode []string `json:"status_code"`

	ErrorKind []string `json:"error_kind"`

	HeldBy []string `json:"held_by"`

	MinAttempts int64 `json:"min_attempts"`

	Tag []string `json:"tag"`

	IdempotencyKey []string `json:"idempotency_key"`

	ProviderID []string `json:"provider_id"`

	EventIDs []string `json:"event_ids"`

	From *time.Time `json:"from"`

	To *time.Time `json:"to"`
}

// StreamTopic has a value.
type StreamTopic string

// Values of StreamTopic; a newer service may have others.
const (
	StreamTopicDeliveries StreamTopic = "deliveries"

	StreamTopicStats StreamTopic = "stats"
)

// Subscription: A stored subscription. Responses never contain its secrets, except one that was just
// generated.
type Subscription struct {
	ID string `json:"id"`

	// The subscription's tenant.
	TenantID string `json:"tenant_id"`

	// `http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them.
	Destination Destination `json:"destination"`

	// It is deleted when nobody has pulled from it, or changed it, for this long; null for never.
	ExpiresAfterIdleSeconds *int64 `json:"expires_after_idle_seconds"`

	// null if `destination` is `pull`.
	TargetURL *string `json:"target_url"`

	EventTypes []string `json:"event_types"`

	// Condition in CEL that an event has to fulfill in addition to its type; null if there is none.
	Filter *string `json:"filter"`

	// What becomes of an event that `filter` cannot be evaluated for.
	FilterOnError FilterOnError `json:"filter_on_error"`

	// When `filter` was stopped because evaluating it took more than 5 ms for 100 events within an hour;
	// since then `filter_on_error` decides. Another `filter` starts it again. null while it is evaluated.
	FilterStoppedAt *time.Time `json:"filter_stopped_at"`

	Description string `json:"description"`

	// Unique among the tenant's subscriptions; null if it has none.
	Name *string `json:"name"`

	// Pairs to find it by.
	Metadata map[string]string `json:"metadata"`

	// Where in webhooks to this subscription tags are found.
	TagPaths map[string]string `json:"tag_paths"`

	// Whether deliveries are signed.
	HasSecret bool `json:"has_secret"`

	// How deliveries are signed; `none` without a secret.
	SignatureScheme DeliveryScheme `json:"signature_scheme"`

	// Public keys of the signing private keys, newest first; empty for `hmac-sha256`.
	PublicKeys []PublicKey `json:"public_keys"`

	// Replaced secrets that are still valid, newest first.
	PreviousSecrets []PreviousSecret `json:"previous_secrets"`

	// Whether it has an ingest token.
	HasIngestToken bool `json:"has_ingest_token"`

	// `paused` and `disabled`: deliveries wait until it is resumed or enabled. `unverified`: they wait
	// until its target has answered a challenge.
	Status SubscriptionStatus `json:"status"`

	// Why it is disabled: `manual`, `gone` (the receiver responded with 410), or `failing` (all attempts
	// failed for days); otherwise null.
	StatusReason *StatusReason `json:"status_reason"`

	StatusSince time.Time `json:"status_since"`

	// When an `unverified` target is sent the next challenge; null if not before somebody asks for it.
	NextCheckAt *time.Time `json:"next_check_at"`

	// Why an `unverified` target is not verified yet; otherwise null.
	CheckError *string `json:"check_error"`

	// Whether events are stored while it is disabled.
	KeepWhenDisabled bool `json:"keep_when_disabled"`

	// null for no limit.
	RateLimitPerSecond *float64 `json:"rate_limit_per_second"`

	// null for one second's worth of the rate.
	RateLimitBurst *int64 `json:"rate_limit_burst"`

	// null for the service's default.
	TimeoutSeconds *float64 `json:"timeout_seconds"`

	// The timeout in effect: the subscription's own, or the service's default. null for `pull`.
	EffectiveTimeoutSeconds *float64 `json:"effective_timeout_seconds"`

	// With the service's defaults for fields that the request did not set; null for the service's default
	// policy.
	RetryPolicy *RetryPolicy `json:"retry_policy"`

	// The policy in effect: the subscription's own, or the service's default.
	EffectiveRetryPolicy RetryPolicy `json:"effective_retry_policy"`

	// Names of the headers that each request carries in addition to the service's own.
	HeaderNames []string `json:"header_names"`

	// What is sent in place of the payload; null for the payload.
	Template *Template `json:"template"`

	// Names of the template's secrets.
	TemplateSecretNames []string `json:"template_secret_names"`

	// The versions that it gets of events, by type.
	EventVersions map[string]int64 `json:"event_versions"`

	// Signature required on incoming webhooks.
	Verify Verification `json:"verify"`

	// Whether webhooks are verified with `verification_secrets` instead of `secret_key`.
	HasVerificationSecret bool `json:"has_verification_secret"`

	// Whether deliveries have the provider's own headers, too.
	RelayHeaders bool `json:"relay_headers"`

	// `system`: receives only events about the tenant's other subscriptions.
	Kind SubscriptionKind `json:"kind"`

	// Client certificate for receivers that require one; null if there is none.
	ClientCertificate *ClientCertificate `json:"client_certificate"`

	Breaker Breaker `json:"breaker"`

	// Weaknesses, one sentence each, such as a secret of fewer than 24 bytes, or relayed signatures that
	// are valid for only 5 minutes. After a request that sets it, also what the filter asks for that the
	// schemas of the event types in the catalog rule out.
	Warnings []string `json:"warnings"`

	CreatedAt time.Time `json:"created_at"`

	UpdatedAt time.Time `json:"updated_at"`
}

// SubscriptionBody: An endpoint and the events that it receives.
type SubscriptionBody struct {
	// `http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them (`POST …/pull`). It
	// cannot be combined with `target_url`, `timeout_seconds`, `rate_limit_per_second`, and
	// `client_certificate`. Absent or null: `http` on create, the stored value on update. It cannot be
	// changed.
	Destination *Destination `json:"destination,omitempty"`

	// With `destination` `pull`: the subscription is deleted when nobody has pulled from it, or changed
	// it, for this long. Absent or null: never.
	ExpiresAfterIdleSeconds *int64 `json:"expires_after_idle_seconds,omitempty"`

	// Absolute http or https URL without credentials, to which deliveries are POSTed. Its host must
	// resolve to public addresses, and ports of services other than web servers are not allowed. Required
	// unless `destination` is `pull`.
	TargetURL *string `json:"target_url,omitempty"`

	// Secret that signs deliveries and verifies `X-Hub-Signature-256`; write-only. After the prefix
	// `whsec_` or `v1,whsec_` comes the base64 of the key of `webhook-signature`; any other secret is
	// used as its UTF-8 bytes. The key must have at least 8 bytes, without white space around it;
	// `warnings` reports a key of fewer than 24. For the scheme `ed25519` it is a private key: `whsk_`
	// and the base64 of 32 bytes, or of 64 bytes that end with the public key. On create, if absent or
	// null, a secret is generated and returned. On update, absent keeps the stored secret, null removes
	// it, and another value replaces it at once; `rotate-secret` replaces it with an overlap.
	SecretKey *string `json:"secret_key,omitempty"`

	// How deliveries are signed. `hmac-sha256`: with a secret that the receiver also has (`v1`, and
	// `X-Hub-Signature-256`). `ed25519`: with a private key that stays in the service; the receiver
	// verifies with the public key (`v1a`). `none`: not signed; removes a stored secret. Default:
	// `hmac-sha256` on create, the stored scheme on update. To change it in an update, send `secret_key`
	// with it; `rotate-secret` changes it with an overlap.
	SignatureScheme *DeliveryScheme `json:"signature_scheme,omitempty"`

	// Event types to deliver. `order.*` means every type that begins with `order.`. Default, and an empty
	// list: every type. A PUT must include it if the subscription filters event types.
	EventTypes []string `json:"event_types,omitempty"`

	// Condition in CEL (https://cel.dev) that an event has to fulfill in addition to its type, on
	// `event.data`, which is the payload, `event.type`, `event.tags`, `event.time`, `event.id`, and
	// `event.content_type`. 422 names the line and the column of what is wrong with it. Absent or null:
	// none.
	Filter *string `json:"filter,omitempty"`

	// What becomes of an event that `filter` cannot be evaluated for, such as one without a field that it
	// names. Absent or null: `deliver` on create, the stored value on update.
	FilterOnError *FilterOnError `json:"filter_on_error,omitempty"`

	// Free-form description.
	Description *string `json:"description,omitempty"`

	// Name to find the subscription by, such as the one that it has in your configuration: 1 to 64
	// characters of `a-z 0-9 . _ -`. Unique among the tenant's subscriptions that are not deleted; 409
	// `NAME_TAKEN` if another has it. Absent or null: none.
	Name *string `json:"name,omitempty"`

	// Pairs to find the subscription by; the service does not use them. At most 20; a key has 1 to 64
	// characters of `A-Z a-z 0-9 . _ / -`, a value 1 to 512 characters. Absent or null: none.
	Metadata map[string]string `json:"metadata,omitempty"`

	// Where in webhooks to this subscription tags are found, by which events are then searched: the key
	// of each tag, and a JSON Pointer to a string, a number, or a boolean in the payload. At most 5; tags
	// in `X-Webhook-Tags` come first. Absent or null: none.
	TagPaths map[string]string `json:"tag_paths,omitempty"`

	// Whether events are stored while the subscription is disabled, and delivered once it is enabled. If
	// false, they get status `filtered`. Default: `true`.
	KeepWhenDisabled *bool `json:"keep_when_disabled,omitempty"`

	// Maximum requests per second, at least 0.001; deliveries over the limit wait. Absent or null: no
	// limit.
	RateLimitPerSecond *float64 `json:"rate_limit_per_second,omitempty"`

	// Maximum requests at once; requires `rate_limit_per_second`. Absent or null: one second's worth of
	// the rate, and at least 1.
	RateLimitBurst *int64 `json:"rate_limit_burst,omitempty"`

	// Timeout of one request. Absent or null: the service's default, 15 s unless configured.
	TimeoutSeconds *float64 `json:"timeout_seconds,omitempty"`

	// When failed deliveries are retried. Absent or null: the service's default policy.
	RetryPolicy *RetryPolicyBody `json:"retry_policy,omitempty"`

	// Headers that each request carries in addition to the service's own. Values are write-only, because
	// they may be credentials. At most 20, which total at most 4,096 bytes; a value has 1 to 1,024
	// printable ASCII characters. Not allowed are headers of the connection (`Host`, `Connection`,
	// `Content-Length`, …) and the service's own (`Content-Type`, `User-Agent`, `webhook-*`,
	// `X-Webhook-*`, …), also with `_` for `-`. In an update: absent keeps the stored headers, null
	// removes them.
	Headers map[string]string `json:"headers,omitempty"`

	// Signature required on incoming webhooks; others return 401 and are not stored. `auto`:
	// `X-Hub-Signature-256` is verified if present. `required`: it must be present. `github`, `stripe`,
	// `shopify`, `slack`, `standard-webhooks`: the provider's signature; the event's type and id are read
	// from the provider's headers or body. `none`: signatures are ignored. Absent or null: `auto` on
	// create, the stored value on update; null in a PATCH resets it to `auto`.
	Verify *Verification `json:"verify,omitempty"`

	// The provider's secrets, which verify webhooks to this subscription; write-only. One, or two while
	// the provider changes its secret: either may have signed. Required for `stripe`, `shopify`, `slack`,
	// and `standard-webhooks` (there with the prefix `whsec_` or `v1,whsec_` and the base64 of the key);
	// otherwise `secret_key` is used if there are none. At least 8 bytes, without white space around
	// them; `warnings` reports fewer than 24. In an update: absent keeps the stored secrets, null removes
	// them.
	VerificationSecrets []string `json:"verification_secrets,omitempty"`

	// Whether the provider's own headers (`X-GitHub-Event`, `Stripe-Signature`, …) are kept with webhooks
	// and sent with their deliveries, for receivers that use the provider's library. The provider's
	// `X-Hub-Signature-256` then replaces the service's; `webhook-signature` stays. Requires `verify` to
	// name a provider. Absent or null: false.
	RelayHeaders *bool `json:"relay_headers,omitempty"`

	// `normal`: receives the tenant's events. `system`: receives only events about the tenant's other
	// subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`,
	// `subscription.filter_stopped`, `delivery.exhausted`); a tenant has at most one. Absent or null:
	// `normal` on create, the stored value on update. It cannot be changed.
	Kind *SubscriptionKind `json:"kind,omitempty"`

	// What is sent in place of the payload, rendered at each attempt from the stored event. An update
	// replaces it as a whole. Absent or null: the payload is sent.
	Template *TemplateBody `json:"template,omitempty"`

	// Values that the template knows as `secrets.NAME`, such as the routing key of PagerDuty; write-only.
	// At most 10; a name has 1 to 64 characters of `a-z 0-9 _`, a value 1 to 256 characters. In an
	// update: absent keeps the stored values, null removes them, and other values replace all of them.
	TemplateSecrets map[string]any `json:"template_secrets,omitempty"`

	// The versions to get of events, by type; `invoice.*` means every type that begins with `invoice.`.
	// The entry that names the type decides, or else the longest prefix. Payloads of later versions are
	// converted by `down_conversion` of the catalog's versions; others are sent as they are. An update
	// replaces all entries. Absent or null: events are sent as they are.
	EventVersions map[string]int64 `json:"event_versions,omitempty"`

	// Client certificate for receivers that require one (mutual TLS). Requires a `target_url` with https;
	// the key is write-only. In an update: absent keeps the stored certificate, null removes it.
	ClientCertificate *ClientCertificateBody `json:"client_certificate,omitempty"`
}

// SubscriptionKind has a value.
type SubscriptionKind string

// Values of SubscriptionKind; a newer service may have others.
const (
	SubscriptionKindNormal SubscriptionKind = "normal"

	SubscriptionKindSystem SubscriptionKind = "system"
)

// SubscriptionPage: A page of subscriptions, newest first.
type SubscriptionPage struct {
	Items []Subscription `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// SubscriptionPatch: The fields to change (JSON Merge Patch, RFC 7396): absent keeps the stored value,
// null removes it.
//
// `headers`, `metadata`, `tag_paths`, and `retry_policy` are merged field by field.
type SubscriptionPatch struct {
	// `http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them (`POST …/pull`). It
	// cannot be combined with `target_url`, `timeout_seconds`, `rate_limit_per_second`, and
	// `client_certificate`. Absent or null: `http` on create, the stored value on update. It cannot be
	// changed.
	Destination *Destination `json:"destination,omitempty"`

	// With `destination` `pull`: the subscription is deleted when nobody has pulled from it, or changed
	// it, for this long. Absent or null: never.
	ExpiresAfterIdleSeconds *int64 `json:"expires_after_idle_seconds,omitempty"`

	// Absolute http or https URL without credentials, to which deliveries are POSTed. Its host must
	// resolve to public addresses, and ports of services other than web servers are not allowed. Required
	// unless `destination` is `pull`.
	TargetURL *string `json:"target_url,omitempty"`

	// Secret that signs deliveries and verifies `X-Hub-Signature-256`; write-only. After the prefix
	// `whsec_` or `v1,whsec_` comes the base64 of the key of `webhook-signature`; any other secret is
	// used as its UTF-8 bytes. The key must have at least 8 bytes, without white space around it;
	// `warnings` reports a key of fewer than 24. For the scheme `ed25519` it is a private key: `whsk_`
	// and the base64 of 32 bytes, or of 64 bytes that end with the public key. On create, if absent or
	// null, a secret is generated and returned. On update, absent keeps the stored secret, null removes
	// it, and another value replaces it at once; `rotate-secret` replaces it with an overlap.
	SecretKey *string `json:"secret_key,omitempty"`

	// How deliveries are signed. `hmac-sha256`: with a secret that the receiver also has (`v1`, and
	// `X-Hub-Signature-256`). `ed25519`: with a private key that stays in the service; the receiver
	// verifies with the public key (`v1a`). `none`: not signed; removes a stored secret. Default:
	// `hmac-sha256` on create, the stored scheme on update. To change it in an update, send `secret_key`
	// with it; `rotate-secret` changes it with an overlap.
	SignatureScheme *DeliveryScheme `json:"signature_scheme,omitempty"`

	// Event types to deliver. `order.*` means every type that begins with `order.`. Default, and an empty
	// list: every type. A PUT must include it if the subscription filters event types.
	EventTypes []string `json:"event_types,omitempty"`

	// Condition in CEL (https://cel.dev) that an event has to fulfill in addition to its type, on
	// `event.data`, which is the payload, `event.type`, `event.tags`, `event.time`, `event.id`, and
	// `event.content_type`. 422 names the line and the column of what is wrong with it. Absent or null:
	// none.
	Filter *string `json:"filter,omitempty"`

	// What becomes of an event that `filter` cannot be evaluated for, such as one without a field that it
	// names. Absent or null: `deliver` on create, the stored value on update.
	FilterOnError *FilterOnError `json:"filter_on_error,omitempty"`

	// Free-form description.
	Description *string `json:"description,omitempty"`

	// Name to find the subscription by, such as the one that it has in your configuration: 1 to 64
	// characters of `a-z 0-9 . _ -`. Unique among the tenant's subscriptions that are not deleted; 409
	// `NAME_TAKEN` if another has it. Absent or null: none.
	Name *string `json:"name,omitempty"`

	// Pairs to find the subscription by; the service does not use them. At most 20; a key has 1 to 64
	// characters of `A-Z a-z 0-9 . _ / -`, a value 1 to 512 characters. Absent or null: none.
	Metadata map[string]*string `json:"metadata,omitempty"`

	// Where in webhooks to this subscription tags are found, by which events are then searched: the key
	// of each tag, and a JSON Pointer to a string, a number, or a boolean in the payload. At most 5; tags
	// in `X-Webhook-Tags` come first. Absent or null: none.
	TagPaths map[string]*string `json:"tag_paths,omitempty"`

	// Whether events are stored while the subscription is disabled, and delivered once it is enabled. If
	// false, they get status `filtered`.
	KeepWhenDisabled *bool `json:"keep_when_disabled,omitempty"`

	// Maximum requests per second, at least 0.001; deliveries over the limit wait. Absent or null: no
	// limit.
	RateLimitPerSecond *float64 `json:"rate_limit_per_second,omitempty"`

	// Maximum requests at once; requires `rate_limit_per_second`. Absent or null: one second's worth of
	// the rate, and at least 1.
	RateLimitBurst *int64 `json:"rate_limit_burst,omitempty"`

	// Timeout of one request. Absent or null: the service's default, 15 s unless configured.
	TimeoutSeconds *float64 `json:"timeout_seconds,omitempty"`

	// When failed deliveries are retried. Absent or null: the service's default policy.
	RetryPolicy *RetryPolicyBody `json:"retry_policy,omitempty"`

	// Headers that each request carries in addition to the service's own. Values are write-only, because
	// they may be credentials. At most 20, which total at most 4,096 bytes; a value has 1 to 1,024
	// printable ASCII characters. Not allowed are headers of the connection (`Host`, `Connection`,
	// `Content-Length`, …) and the service's own (`Content-Type`, `User-Agent`, `webhook-*`,
	// `X-Webhook-*`, …), also with `_` for `-`. In an update: absent keeps the stored headers, null
	// removes them.
	Headers map[string]*string `json:"headers,omitempty"`

	// Signature required on incoming webhooks; others return 401 and are not stored. `auto`:
	// `X-Hub-Signature-256` is verified if present. `required`: it must be present. `github`, `stripe`,
	// `shopify`, `slack`, `standard-webhooks`: the provider's signature; the event's type and id are read
	// from the provider's headers or body. `none`: signatures are ignored. Absent or null: `auto` on
	// create, the stored value on update; null in a PATCH resets it to `auto`.
	Verify *Verification `json:"verify,omitempty"`

	// The provider's secrets, which verify webhooks to this subscription; write-only. One, or two while
	// the provider changes its secret: either may have signed. Required for `stripe`, `shopify`, `slack`,
	// and `standard-webhooks` (there with the prefix `whsec_` or `v1,whsec_` and the base64 of the key);
	// otherwise `secret_key` is used if there are none. At least 8 bytes, without white space around
	// them; `warnings` reports fewer than 24. In an update: absent keeps the stored secrets, null removes
	// them.
	VerificationSecrets []string `json:"verification_secrets,omitempty"`

	// Whether the provider's own headers (`X-GitHub-Event`, `Stripe-Signature`, …) are kept with webhooks
	// and sent with their deliveries, for receivers that use the provider's library. The provider's
	// `X-Hub-Signature-256` then replaces the service's; `webhook-signature` stays. Requires `verify` to
	// name a provider. Absent or null: false.
	RelayHeaders *bool `json:"relay_headers,omitempty"`

	// `normal`: receives the tenant's events. `system`: receives only events about the tenant's other
	// subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`,
	// `subscription.filter_stopped`, `delivery.exhausted`); a tenant has at most one. Absent or null:
	// `normal` on create, the stored value on update. It cannot be changed.
	Kind *SubscriptionKind `json:"kind,omitempty"`

	// What is sent in place of the payload, rendered at each attempt from the stored event. An update
	// replaces it as a whole. Absent or null: the payload is sent.
	Template *TemplateBody `json:"template,omitempty"`

	// Values that the template knows as `secrets.NAME`, such as the routing key of PagerDuty; write-only.
	// At most 10; a name has 1 to 64 characters of `a-z 0-9 _`, a value 1 to 256 characters. In an
	// update: absent keeps the stored values, null removes them, and other values replace all of them.
	TemplateSecrets map[string]any `json:"template_secrets,omitempty"`

	// The versions to get of events, by type; `invoice.*` means every type that begins with `invoice.`.
	// The entry that names the type decides, or else the longest prefix. Payloads of later versions are
	// converted by `down_conversion` of the catalog's versions; others are sent as they are. An update
	// replaces all entries. Absent or null: events are sent as they are.
	EventVersions map[string]int64 `json:"event_versions,omitempty"`

	// Client certificate for receivers that require one (mutual TLS). Requires a `target_url` with https;
	// the key is write-only. In an update: absent keeps the stored certificate, null removes it.
	ClientCertificate *ClientCertificateBody `json:"client_certificate,omitempty"`

	// Null has the names of fields to reset or remove, as in the API.
	Null []string `json:"-"`
}

// MarshalJSON also writes the fields that are null.
func (p SubscriptionPatch) MarshalJSON() ([]byte, error) {
	type plain SubscriptionPatch
	return withNull(plain(p), p.Null)
}

// SubscriptionStatus has a value.
type SubscriptionStatus string

// Values of SubscriptionStatus; a newer service may have others.
const (
	SubscriptionStatusActive SubscriptionStatus = "active"

	SubscriptionStatusPaused SubscriptionStatus = "paused"

	SubscriptionStatusDisabled SubscriptionStatus = "disabled"

	SubscriptionStatusUnverified SubscriptionStatus = "unverified"
)

// SummaryGroup has a value.
type SummaryGroup string

// Values of SummaryGroup; a newer service may have others.
const (
	SummaryGroupSubscription SummaryGroup = "subscription"

	SummaryGroupEventType SummaryGroup = "event_type"

	SummaryGroupStatus SummaryGroup = "status"

	SummaryGroupErrorKind SummaryGroup = "error_kind"

	SummaryGroupHour SummaryGroup = "hour"

	SummaryGroupHeldBy SummaryGroup = "held_by"
)

// System: What the service runs on, as of a few seconds ago.
type System struct {
	// Version of the gateway that responds.
	Version string `json:"version"`

	// The processes, by role and age; at most 200. Empty while ingest is unavailable.
	Processes []SystemProcess `json:"processes"`

	// null while ingest is unavailable.
	Postgres *SystemPostgres `json:"postgres"`

	// null while delivery is unavailable.
	Queue *SystemQueue `json:"queue"`

	// null while delivery is unavailable.
	Redis *SystemRedis `json:"redis"`

	// Which services did not respond.
	Unavailable []SystemUnavailable `json:"unavailable"`
}

// SystemHeld: Due deliveries that something holds.
type SystemHeld struct {
	HeldBy Hold `json:"held_by"`

	Deliveries int64 `json:"deliveries"`
}

// SystemPartition: A day of a table.
type SystemPartition struct {
	Name string `json:"name"`

	Table string `json:"table"`

	// The beginning of its day, in UTC.
	FromTime time.Time `json:"from_time"`

	// The end of its day.
	ToTime time.Time `json:"to_time"`

	// Rows, as the server estimates them; null before it first did.
	Rows *int64 `json:"rows"`

	// Size on disk, with indexes and TOAST.
	Bytes int64 `json:"bytes"`
}

// SystemPostgres: The database.
type SystemPostgres struct {
	// Version of the server.
	Version string `json:"version"`

	// Size of the database on disk.
	Bytes int64 `json:"bytes"`

	// Connections to the database, from all clients.
	Connections int64 `json:"connections"`

	// Connections that the server allows, to all databases.
	MaxConnections int64 `json:"max_connections"`

	// The newest migration that was applied.
	SchemaVersion string `json:"schema_version"`

	// When it was applied.
	MigratedAt time.Time `json:"migrated_at"`

	// The newest first; at most 500.
	Partitions []SystemPartition `json:"partitions"`

	// How many there are.
	PartitionCount int64 `json:"partition_count"`

	// Until when every table has partitions. They are made seven days ahead.
	PartitionsUntil *time.Time `json:"partitions_until"`
}

// SystemProcess: A process of the service.
type SystemProcess struct {
	// Made as it starts.
	ID string `json:"id"`

	// What it does.
	Roles []string `json:"roles"`

	// Its host; in Kubernetes its pod.
	Instance string `json:"instance"`

	// Its number on that host.
	Pid int64 `json:"pid"`

	Version string `json:"version"`

	StartedAt time.Time `json:"started_at"`

	// When it was there last. It says so every 10 to 30 seconds.
	SeenAt time.Time `json:"seen_at"`

	// Whether it has said nothing for 75 seconds: it was killed, or cannot reach Postgres. It is
	// forgotten after an hour, and at once if it stops in order.
	Missing bool `json:"missing"`

	// Requests that it may have in flight; null without the role `worker`.
	Slots *int64 `json:"slots"`

	// Requests that it had in flight when it was seen; null without the role `worker`.
	BusySlots *int64 `json:"busy_slots"`
}

// SystemQueue: What is unfinished, in all tenants. Each number is counted up to 100,000.
type SystemQueue struct {
	// Deliveries that an additional worker could send at once.
	Due int64 `json:"due"`

	// Deliveries that wait for their next attempt.
	Scheduled int64 `json:"scheduled"`

	// Deliveries that a worker or a consumer has.
	InFlight int64 `json:"in_flight"`

	// Deliveries of large fan-outs that are yet to be created.
	Expanding int64 `json:"expanding"`

	// How long the oldest due delivery has waited.
	OldestDueSeconds float64 `json:"oldest_due_seconds"`

	// Due deliveries that are held, by what holds them.
	Held []SystemHeld `json:"held"`

	// Whether `held` is complete. A delivery process that does not dispatch knows only a part.
	HeldKnown bool `json:"held_known"`

	// Circuit breakers that are open.
	BreakersOpen int64 `json:"breakers_open"`

	// Circuit breakers that probe their endpoint.
	BreakersHalfOpen int64 `json:"breakers_half_open"`
}

// SystemRedis: Redis, which stores nothing that must survive.
type SystemRedis struct {
	// Why it cannot be used; null if it can. Deliveries go on without it.
	Error *string `json:"error"`

	// What it says that it is; null if it does not.
	Version *string `json:"version"`

	// Memory that it uses; null if it does not say.
	MemoryBytes *int64 `json:"memory_bytes"`

	// Its limit; 0 without one, null if it does not say.
	MaxMemoryBytes *int64 `json:"max_memory_bytes"`

	// Messages to workers, unread or in progress, each with up to 64 deliveries; null without Redis.
	Doorbells *int64 `json:"doorbells"`
}

// SystemUnavailable: A service that did not respond, so that a part is missing.
type SystemUnavailable struct {
	// `ingest` or `delivery`.
	Service string `json:"service"`

	// What it says.
	Detail string `json:"detail"`
}

// Template: What is sent in place of an event's payload.
type Template struct {
	// null if it has a `source`.
	Preset *TemplatePreset `json:"preset"`

	// null if it is a `preset`.
	Source *string `json:"source"`

	// null if it is a `preset`.
	ContentType *string `json:"content_type"`
}

// TemplateBody: What is sent in place of an event's payload: a `preset`, or a `source` with its
// `content_type`.
type TemplateBody struct {
	// `slack`, `teams`, `discord`, `google-chat`: a message for the provider's incoming webhooks.
	// `pagerduty`: an alert, which requires `template_secrets.routing_key`. `cloudevents`: a CloudEvent
	// in structured mode. `cloudevents-binary`: in binary mode, with its attributes in headers and the
	// payload as it is.
	Preset *TemplatePreset `json:"preset,omitempty"`

	// A template in the language of MiniJinja, a subset of Jinja, with `if`, `for`, `set`, and `raw`; at
	// most 16,384 bytes. Its variables are `event.id`, `event.type`, `event.time`, `event.content_type`,
	// `event.tags`, `event.data`, `event.cloudevent`, `subscription.id`, `delivery.id`, and `secrets`. In
	// JSON `{{ x }}` writes the escaped text inside a string, and the whole value elsewhere.
	Source *string `json:"source,omitempty"`

	// Content-Type of what `source` makes. Required with `source`.
	ContentType *string `json:"content_type,omitempty"`
}

// TemplateEvent: An event that is made up.
type TemplateEvent struct {
	// Absent or null: it has no type.
	EventType *string `json:"event_type,omitempty"`

	// Type of the payload. Default: `"application/json"`.
	ContentType *string `json:"content_type,omitempty"`

	// JSON; a string if `content_type` is not JSON.
	Payload json.RawMessage `json:"payload"`

	// Absent or null: none.
	Tags map[string]string `json:"tags,omitempty"`
}

// TemplatePreset has a value.
type TemplatePreset string

// Values of TemplatePreset; a newer service may have others.
const (
	TemplatePresetSlack TemplatePreset = "slack"

	TemplatePresetTeams TemplatePreset = "teams"

	TemplatePresetDiscord TemplatePreset = "discord"

	TemplatePresetPagerduty TemplatePreset = "pagerduty"

	TemplatePresetGoogleChat TemplatePreset = "google-chat"

	TemplatePresetCloudevents TemplatePreset = "cloudevents"

	TemplatePresetCloudeventsBinary TemplatePreset = "cloudevents-binary"
)

// TemplatePreview: What would be sent, or why nothing would be.
type TemplatePreview struct {
	// What would be sent; null if the template failed.
	Body *string `json:"body"`

	// Its Content-Type; null if the template failed.
	ContentType *string `json:"content_type"`

	// Headers that the template adds.
	Headers map[string]string `json:"headers"`

	// Why the template failed; null if it did not.
	Error *string `json:"error"`

	// The line of the source where it failed; null if that is not known.
	Line *int64 `json:"line"`

	// Names of the secrets that the template uses.
	SecretNames []string `json:"secret_names"`
}

// TemplatePreviewBody: A template, and the event to try it with.
type TemplatePreviewBody struct {
	// Absent or null: the template of the subscription `subscription_id`.
	Template *TemplateBody `json:"template,omitempty"`

	// Values of secrets. For those that are absent, and for the stored ones, the output has `***`.
	TemplateSecrets map[string]any `json:"template_secrets,omitempty"`

	// An event; or give `event_id`.
	Event *TemplateEvent `json:"event,omitempty"`

	// A stored event.
	EventID *string `json:"event_id,omitempty"`

	// The subscription whose template is tried if there is no `template`.
	SubscriptionID *string `json:"subscription_id,omitempty"`
}

// Tenant: A tenant.
type Tenant struct {
	ID string `json:"id"`

	Name string `json:"name"`

	Description string `json:"description"`

	CreatedAt time.Time `json:"created_at"`

	// How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
	// What it does not use goes to the others.
	Weight int64 `json:"weight"`

	// What becomes of events that do not match the schema of their event type, where that does not say.
	Validation Validation `json:"validation"`

	// Whether anybody may read its event catalog at `/catalogs/{id}`, without a key: the current versions
	// of event types, and none that are drafts.
	PublishesCatalog bool `json:"publishes_catalog"`

	Quotas OwnQuotas `json:"quotas"`

	Limits Limits `json:"limits"`

	// Null until it is known, and for a new tenant.
	Usage *Usage `json:"usage"`

	Portal PortalLook `json:"portal"`
}

// TenantBody: A tenant to create.
type TenantBody struct {
	// Chosen by you. An id is never used for a second tenant.
	ID string `json:"id"`

	// For people. Default: the id.
	Name *string `json:"name,omitempty"`

	// Free-form description.
	Description *string `json:"description,omitempty"`

	// How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
	// What it does not use goes to the others. Default: `1`.
	Weight *int64 `json:"weight,omitempty"`

	// The tenant's own quotas.
	Quotas *QuotasBody `json:"quotas,omitempty"`

	// What becomes of events that do not match the schema of their event type, where that does not say.
	// Default: `"off"`.
	Validation *Validation `json:"validation,omitempty"`
}

// TenantPage: A page of tenants, in the order of their ids.
type TenantPage struct {
	Items []Tenant `json:"items"`

	// `cursor` of the next page, an opaque string; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// TenantPatch: Changes to a tenant. Fields that are missing stay as they are.
type TenantPatch struct {
	// For people. Empty: the id.
	Name *string `json:"name,omitempty"`

	// Free-form description.
	Description *string `json:"description,omitempty"`

	// How many times the share of a tenant of weight 1 it gets while tenants want more than there is.
	// What it does not use goes to the others.
	Weight *int64 `json:"weight,omitempty"`

	// What becomes of events that do not match the schema of their event type, where that does not say.
	Validation *Validation `json:"validation,omitempty"`

	// Whether anybody may read its event catalog at `/catalogs/{id}`, without a key: the current versions
	// of event types, and none that are drafts.
	PublishesCatalog *bool `json:"publishes_catalog,omitempty"`

	// Quotas that are missing stay as they are; null restores the default.
	Quotas *QuotasBody `json:"quotas,omitempty"`

	// How its portal looks. Fields that are missing stay as they are; null: as the console does.
	Portal *PortalLookPatch `json:"portal,omitempty"`

	// Null has the names of fields to reset or remove, as in the API.
	Null []string `json:"-"`
}

// MarshalJSON also writes the fields that are null.
func (p TenantPatch) MarshalJSON() ([]byte, error) {
	type plain TenantPatch
	return withNull(plain(p), p.Null)
}

// Tested: What became of a test event.
type Tested struct {
	// The `webhook-id` of the request.
	WebhookID string `json:"webhook_id"`

	Attempt Attempt `json:"attempt"`
}

// TriedEvent: An event that is not stored.
type TriedEvent struct {
	// Its type.
	EventType *string `json:"event_type,omitempty"`

	// Its payload.
	Payload json.RawMessage `json:"payload"`

	// Its tags.
	Tags map[string]string `json:"tags,omitempty"`
}

// Usage: What a tenant uses of its quotas.
type Usage struct {
	// Live subscriptions.
	Subscriptions int64 `json:"subscriptions"`

	// Events accepted per second, of late.
	EventsPerSecond float64 `json:"events_per_second"`

	// Deliveries that are not finished.
	WaitingDeliveries int64 `json:"waiting_deliveries"`

	// Bytes of the payloads of retained events.
	StoredBytes int64 `json:"stored_bytes"`

	// Events that are scheduled and not due yet.
	ScheduledEvents int64 `json:"scheduled_events"`

	// Bytes of the payloads of scheduled events.
	ScheduledBytes int64 `json:"scheduled_bytes"`

	// When that was, a few seconds ago.
	MeasuredAt time.Time `json:"measured_at"`
}

// Validation has a value.
type Validation string

// Values of Validation; a newer service may have others.
const (
	ValidationOff Validation = "off"

	ValidationWarn Validation = "warn"

	ValidationEnforce Validation = "enforce"
)

// Verification has a value.
type Verification string

// Values of Verification; a newer service may have others.
const (
	VerificationAuto Verification = "auto"

	VerificationRequired Verification = "required"

	VerificationGithub Verification = "github"

	VerificationStripe Verification = "stripe"

	VerificationShopify Verification = "shopify"

	VerificationSlack Verification = "slack"

	VerificationStandardWebhooks Verification = "standard-webhooks"

	VerificationNone Verification = "none"
)

// WaitsFor: What an unfinished delivery waits for.
type WaitsFor struct {
	// `worker`: a free worker. `retry`: the time of its next attempt. `response`: the receiver, to which
	// it is being sent. Otherwise what it is `held_by`.
	Kind string `json:"kind"`

	// When its next attempt is due, or the next probe; null if that is not known.
	Until *time.Time `json:"until"`
}

// WebhookAccepted: The response to a webhook.
type WebhookAccepted struct {
	DeliveryID *string `json:"delivery_id"`

	EventID string `json:"event_id"`

	Status WebhookStatus `json:"status"`
}

// WebhookStatus: What becomes of a webhook.
type WebhookStatus string

// Values of WebhookStatus; a newer service may have others.
const (
	WebhookStatusFiltered WebhookStatus = "filtered"

	WebhookStatusPending WebhookStatus = "pending"
)
