// Code generated from the OpenAPI document by `make generate`. DO NOT EDIT.

package webhooks

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// WebhooksResource has the operations on webhooks.
type WebhooksResource struct {
	client *Client
}

// WebhooksSendResult has one of these; the others are nil.
type WebhooksSendResult struct {
	Handshake *Handshake

	WebhookAccepted *WebhookAccepted
}

// Send: Send a webhook to a subscription.
//
// The body `{"payload": …}` delivers the exact bytes of the value as `application/json`, whatever the
// Content-Type. Any other body is the payload itself and is delivered with its own Content-Type, so
// that webhooks of GitHub and others can be sent here. Without a Content-Type it is `application/json`
// if it is valid JSON, else `application/octet-stream`. A body that is empty, begins with a byte order
// mark, or has a `Content-Encoding` is delivered unchanged, with that encoding.
//
// Without `X-Event-Type` no filter applies, unless `verify` names a provider: an event without a
// readable type is then delivered only by subscriptions without `event_types`. If the subscription
// does not include the type, the response has status `filtered` and nothing is delivered; this is also
// the response while the subscription is disabled and `keep_when_disabled` is false.
//
// The subscription's `verify` determines which signature the request must have: `Stripe-Signature`,
// `X-Shopify-Hmac-Sha256`, `X-Slack-Signature` with `X-Slack-Request-Timestamp`, or
// `webhook-signature` with `webhook-id` and `webhook-timestamp`; timestamps may differ by 5 minutes.
// The event's type is then the provider's, and a repeated request of the provider gets the same
// response and is delivered once; `X-Event-Type` and `Idempotency-Key` apply if the provider sends no
// type or id.
func (r *WebhooksResource) Send(ctx context.Context, subscriptionID string, webhook Webhook, options ...CallOption) (*WebhooksSendResult, error) {
	found := new(WebhooksSendResult)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/webhooks/ingest/" + url.PathEscape(subscriptionID), webhook: &webhook, keyed: true}, options, map[int]any{200: &found.Handshake, 202: &found.WebhookAccepted})
}

// WebhooksSendWithTokenResult has one of these; the others are nil.
type WebhooksSendWithTokenResult struct {
	Handshake *Handshake

	WebhookAccepted *WebhookAccepted
}

// SendWithToken: Send a webhook with an ingest token.
//
// Like the operation without a token, but needs no API key: the token allows sending to this one
// subscription. An invalid token gets the same response as an unknown subscription.
func (r *WebhooksResource) SendWithToken(ctx context.Context, subscriptionID string, token string, webhook Webhook, options ...CallOption) (*WebhooksSendWithTokenResult, error) {
	found := new(WebhooksSendWithTokenResult)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/webhooks/ingest/" + url.PathEscape(subscriptionID) + "/" + url.PathEscape(token), webhook: &webhook, keyed: true}, options, map[int]any{200: &found.Handshake, 202: &found.WebhookAccepted})
}

// EventsResource has the operations on events.
type EventsResource struct {
	client *Client
}

// Publish: Publish an event.
//
// The payload is stored once, with a delivery for each subscription to its type that was created
// before. Its exact bytes are delivered as `application/json`.
//
// If the event goes to more than 100 subscriptions, its deliveries are created after the response,
// which has `expanding: true` in place of `deliveries`. `get_event` tells when that is done.
//
// With `deliver_at` or `delay_seconds` the event is scheduled: the response has `deliver_at` in place
// of `deliveries`, and the event goes to the subscriptions that match it when it is due.
// `cancel_event` cancels it until then.
//
// Give tags in the body or in `X-Webhook-Tags`, not in both.
func (r *EventsResource) Publish(ctx context.Context, body EventBody, options ...CallOption) (*EventAccepted, error) {
	found := new(EventAccepted)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/events", body: body, keyed: true}, options, map[int]any{202: found})
}

// EventsListParams are the parameters; those that are zero are not sent.
type EventsListParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Of this type; `order.*` stands for all types that begin with `order.`.
	EventType []string

	// Accepted under this idempotency key, for as long as keys are kept (default: 24 hours).
	IdempotencyKey []string

	// With this id of the provider that sent it, which is kept as long.
	ProviderID []string

	// With this tag: a key and a value.
	Tag []string

	// Accepted at this time or later. Default: 24 hours ago, or 24 hours before `to` if that is in the
	// past; any time if there is a `subscription_id`, `idempotency_key`, `provider_id` or `tag`.
	From time.Time

	// Accepted before this time. Default: any time.
	To time.Time

	// Whether the newest or the oldest come first.
	Order string

	// `true`: events that are scheduled, and no others. They are ordered by when they become due, which
	// is also the time that `from` and `to` are about; `from` has no default.
	Scheduled bool
}

func (p EventsListParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "event_type", p.EventType)
	add(values, "idempotency_key", p.IdempotencyKey)
	add(values, "provider_id", p.ProviderID)
	add(values, "tag", p.Tag)
	add(values, "from", p.From)
	add(values, "to", p.To)
	add(values, "order", p.Order)
	add(values, "scheduled", p.Scheduled)
	return values
}

// List: Search events.
//
// Find events, newest first, without payloads.
//
// Give a parameter several times to find what has one of the values; different parameters must all
// match. Events are ordered by when they were accepted, so a cursor stays valid while others arrive.
func (r *EventsResource) List(ctx context.Context, params EventsListParams, options ...CallOption) iter.Seq2[EventSummary, error] {
	return pages[EventSummary](ctx, r.client, &call{method: "GET", path: "/api/v1/events", query: params.values(), reads: true}, options)
}

// PublishBatch: Publish a batch of events.
//
// Publishes up to 1,000 events, in a body of up to 8 MiB, as if each was published on its own: some
// may be stored and others refused. Their exact payload bytes are delivered.
//
// `results` has, in the order of the events, the response to each, or an `error`, which is a problem
// document. If its `status` is 429 or 503, or its `reason` is `IDEMPOTENCY_KEY_IN_USE`, send the event
// again after a second.
func (r *EventsResource) PublishBatch(ctx context.Context, body EventBatchBody, options ...CallOption) (*BatchResults, error) {
	found := new(BatchResults)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/events/batch", body: body, keyed: true}, options, map[int]any{200: found})
}

// Get: Get an event.
//
// Get an event with the exact bytes of its payload.
//
// Returns 404 if it is no longer retained, and 410 if it was erased.
func (r *EventsResource) Get(ctx context.Context, eventID string, options ...CallOption) (*Event, error) {
	found := new(Event)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/events/" + url.PathEscape(eventID), reads: true}, options, map[int]any{200: found})
}

// Cancel: Cancel a scheduled event.
//
// Cancel an event that is scheduled: it is deleted, and never delivered.
//
// A repeated request has the same response. Once the event is due, cancel its deliveries instead.
func (r *EventsResource) Cancel(ctx context.Context, eventID string, options ...CallOption) (*CancelledEvent, error) {
	found := new(CancelledEvent)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/events/" + url.PathEscape(eventID) + "/cancel"}, options, map[int]any{200: found})
}

// EventsRoutingParams are the parameters; those that are zero are not sent.
type EventsRoutingParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only the route of this subscription, which may be deleted.
	SubscriptionID string
}

func (p EventsRoutingParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "subscription_id", p.SubscriptionID)
	return values
}

// Routing: Explain which subscriptions got an event.
//
// List the subscriptions that are not deleted, with why each got the event or did not.
//
// The reasons are found again from the event's deliveries and from the subscriptions as they are now.
func (r *EventsResource) Routing(ctx context.Context, eventID string, params EventsRoutingParams, options ...CallOption) iter.Seq2[Route, error] {
	return pages[Route](ctx, r.client, &call{method: "GET", path: "/api/v1/events/" + url.PathEscape(eventID) + "/routing", query: params.values(), reads: true}, options)
}

// EventsDeliveriesParams are the parameters; those that are zero are not sent.
type EventsDeliveriesParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only deliveries with this status.
	Status string
}

func (p EventsDeliveriesParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "status", p.Status)
	return values
}

// Deliveries: List deliveries of an event.
//
// List deliveries, without attempts.
func (r *EventsResource) Deliveries(ctx context.Context, eventID string, params EventsDeliveriesParams, options ...CallOption) iter.Seq2[DeliverySummary, error] {
	return pages[DeliverySummary](ctx, r.client, &call{method: "GET", path: "/api/v1/events/" + url.PathEscape(eventID) + "/deliveries", query: params.values(), reads: true}, options)
}

// SubscriptionsResource has the operations on subscriptions.
type SubscriptionsResource struct {
	client *Client
}

// Create: Create a subscription.
//
// Create a subscription. It receives matching events that are accepted after this response.
//
// If `secret_key` is absent, a secret is generated. Only this response shows it; an `ed25519` private
// key is never shown.
func (r *SubscriptionsResource) Create(ctx context.Context, body SubscriptionBody, options ...CallOption) (*CreatedSubscription, error) {
	found := new(CreatedSubscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions", body: body, keyed: true}, options, map[int]any{201: found})
}

// SubscriptionsListParams are the parameters; those that are zero are not sent.
type SubscriptionsListParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only the subscription with this name. Not with `tenant=*`.
	Name string

	// `key=value`: only subscriptions with this pair in their metadata. Repeat the parameter for several
	// pairs, which a subscription must all have. A page may then have fewer objects than `limit`, or
	// none, and a `next_cursor`. Not with `tenant=*`.
	Metadata []string
}

func (p SubscriptionsListParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "name", p.Name)
	add(values, "metadata", p.Metadata)
	return values
}

// List: List subscriptions.
//
// List the subscriptions that are not deleted, newest first.
func (r *SubscriptionsResource) List(ctx context.Context, params SubscriptionsListParams, options ...CallOption) iter.Seq2[Subscription, error] {
	return pages[Subscription](ctx, r.client, &call{method: "GET", path: "/api/v1/subscriptions", query: params.values(), reads: true}, options)
}

// Get: Get a subscription.
//
// Return one subscription; 404 once it is deleted.
func (r *SubscriptionsResource) Get(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID), reads: true}, options, map[int]any{200: found})
}

// Replace: Replace a subscription.
//
// Replace all fields with the body of a create request. An absent field gets its default, with these
// exceptions.
//
// If `secret_key`, `headers`, `verification_secrets`, `client_certificate`, or `template_secrets` is
// absent, the stored value is kept; null removes it. If `signature_scheme` or `verify` is absent or
// null, the stored value is kept. `event_types` is required if the subscription is limited to some
// types. The status and the `kind` never change. To change only some fields, use PATCH.
func (r *SubscriptionsResource) Replace(ctx context.Context, subscriptionID string, body SubscriptionBody, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "PUT", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID), body: body}, options, map[int]any{200: found})
}

// Update: Update some fields of a subscription.
//
// Apply a JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
//
// An absent field keeps its value, and null resets it to its default or removes it. `headers`,
// `metadata`, `tag_paths`, and `retry_policy` are merged field by field: `{"headers": {"X-Old":
// null}}` removes one header and keeps the others.
func (r *SubscriptionsResource) Update(ctx context.Context, subscriptionID string, body SubscriptionPatch, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "PATCH", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID), body: body}, options, map[int]any{200: found})
}

// Delete: Delete a subscription.
//
// Delete a subscription and cancel its waiting deliveries. Its history stays readable.
func (r *SubscriptionsResource) Delete(ctx context.Context, subscriptionID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID)}, options, noContent(204))
}

// Disable: Disable a subscription.
//
// Stop deliveries until the subscription is enabled. Waiting deliveries are kept.
//
// New events are stored for it unless `keep_when_disabled` is false. No effect if it is already
// disabled.
func (r *SubscriptionsResource) Disable(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/disable"}, options, map[int]any{200: found})
}

// Enable: Enable a subscription.
//
// Enable a disabled subscription, with its breaker closed. Waiting deliveries are sent.
//
// No effect if it is already active.
func (r *SubscriptionsResource) Enable(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/enable"}, options, map[int]any{200: found})
}

// Pause: Pause a subscription.
//
// Pause deliveries until the subscription is resumed. Events are stored meanwhile. No effect if
// already paused.
func (r *SubscriptionsResource) Pause(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/pause"}, options, map[int]any{200: found})
}

// Resume: Resume a subscription.
//
// Resume a paused subscription. Waiting deliveries are sent. No effect if it is already active.
func (r *SubscriptionsResource) Resume(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/resume"}, options, map[int]any{200: found})
}

// Verify: Check the target of a subscription again.
//
// Send the target of an `unverified` subscription another challenge. No effect if it is active.
//
// If `ENDPOINT_VERIFICATION` has been turned off since, the subscription becomes active at once.
func (r *SubscriptionsResource) Verify(ctx context.Context, subscriptionID string, options ...CallOption) (*Subscription, error) {
	found := new(Subscription)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/verify"}, options, map[int]any{200: found})
}

// Test: Send a test event to a subscription.
//
// Send an event of the type `webhook.test` now, and wait for what the receiver responds.
//
// It is signed as every delivery is, and sent whether the subscription is active or not. It is no
// delivery: it is in no list and no statistics, is not retried, and does not count for the circuit
// breaker.
func (r *SubscriptionsResource) Test(ctx context.Context, subscriptionID string, options ...CallOption) (*Tested, error) {
	found := new(Tested)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/test"}, options, map[int]any{200: found})
}

// TestNew: Try a subscription before it is created.
//
// Send an event of the type `webhook.test` to the target of a subscription that does not exist yet.
//
// The body is that of a create request, and is checked in the same way. The event is signed with its
// `secret_key`, or with one that is made for the test, and has its headers, its client certificate,
// and what its template makes. No subscription is created; what is secret is forgotten when the event
// was sent. Where targets have to answer a challenge first, nothing is sent, and the error of the
// attempt is `egress_denied`.
func (r *SubscriptionsResource) TestNew(ctx context.Context, body SubscriptionBody, options ...CallOption) (*Tested, error) {
	found := new(Tested)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/test", body: body}, options, map[int]any{200: found})
}

// RotateSecret: Replace the signing secret.
//
// Replace the secret. The old ones stay valid for a while.
//
// Until then, `webhook-signature` carries a signature of each, newest first, and inbound webhooks
// signed with any of them are accepted. `X-Hub-Signature-256` carries one signature: of the newest
// secret that is not `ed25519`. At most 10 old secrets are kept. To change the scheme, set
// `signature_scheme`.
func (r *SubscriptionsResource) RotateSecret(ctx context.Context, subscriptionID string, body RotationBody, options ...CallOption) (*Rotated, error) {
	found := new(Rotated)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/rotate-secret", body: body, keyed: true}, options, map[int]any{200: found})
}

// PublicKeys: List the public keys that verify deliveries.
//
// List the public keys that receivers need to verify `ed25519` signatures.
//
// While a rotation overlaps there are several, and a delivery carries a signature of each. Empty for
// `hmac-sha256`.
func (r *SubscriptionsResource) PublicKeys(ctx context.Context, subscriptionID string, options ...CallOption) (*PublicKeys, error) {
	found := new(PublicKeys)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/public-keys", reads: true}, options, map[int]any{200: found})
}

// CreateIngestToken: Create an ingest token.
//
// Create a token for the path of webhooks to this subscription. It replaces the previous one.
//
// The token only allows sending events to this subscription.
func (r *SubscriptionsResource) CreateIngestToken(ctx context.Context, subscriptionID string, options ...CallOption) (*IngestToken, error) {
	found := new(IngestToken)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/ingest-token", keyed: true}, options, map[int]any{201: found})
}

// DeleteIngestToken: Delete the ingest token.
//
// Delete the ingest token. Requests with it then return 404.
func (r *SubscriptionsResource) DeleteIngestToken(ctx context.Context, subscriptionID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/ingest-token"}, options, noContent(204))
}

// SubscriptionsDeliveriesParams are the parameters; those that are zero are not sent.
type SubscriptionsDeliveriesParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only deliveries with this status.
	Status string
}

func (p SubscriptionsDeliveriesParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "status", p.Status)
	return values
}

// Deliveries: List deliveries to a subscription.
//
// List deliveries, newest first, without attempts. Also works for a deleted subscription.
func (r *SubscriptionsResource) Deliveries(ctx context.Context, subscriptionID string, params SubscriptionsDeliveriesParams, options ...CallOption) iter.Seq2[DeliverySummary, error] {
	return pages[DeliverySummary](ctx, r.client, &call{method: "GET", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/deliveries", query: params.values(), reads: true}, options)
}

// Pull: Pull deliveries.
//
// Lease due deliveries of a subscription whose `destination` is `pull`, the longest due first.
//
// Report what became of each. One whose lease expires without a result has a failed attempt, and is
// retried by the retry policy. While the subscription is paused or disabled there are none.
func (r *SubscriptionsResource) Pull(ctx context.Context, subscriptionID string, body PullBody, options ...CallOption) (*PulledDeliveries, error) {
	found := new(PulledDeliveries)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/pull", body: body, wait: seconds(body.WaitSeconds)}, options, map[int]any{200: found})
}

// Report: Report what became of pulled deliveries.
//
// Record results, each for itself. A repeated request changes nothing, and gets the same response.
func (r *SubscriptionsResource) Report(ctx context.Context, subscriptionID string, body PullResultsBody, options ...CallOption) (*ReportedResults, error) {
	found := new(ReportedResults)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/pull/results", body: body}, options, map[int]any{200: found})
}

// Recover: Recover what a subscription did not get.
//
// Create a job for what one subscription did not get in a time.
//
// It retries deliveries that failed, or replays events: those that the subscription has no delivery
// of, or all that it wants. Events that were sent only to another subscription are not among them.
func (r *SubscriptionsResource) Recover(ctx context.Context, subscriptionID string, body RecoverBody, options ...CallOption) (*Job, error) {
	found := new(Job)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/recover", body: body, keyed: true}, options, map[int]any{202: found})
}

// SubscriptionsStatsParams are the parameters; those that are zero are not sent.
type SubscriptionsStatsParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// How far back from now: minutes, hours, or days, within the retention of attempts (default: 72 h).
	Window string
}

func (p SubscriptionsStatsParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "window", p.Window)
	return values
}

// Stats: Get statistics of a subscription.
//
// Get statistics of one subscription over a window that ends now. Also works for a deleted
// subscription.
func (r *SubscriptionsResource) Stats(ctx context.Context, subscriptionID string, params SubscriptionsStatsParams, options ...CallOption) (*Stats, error) {
	found := new(Stats)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/subscriptions/" + url.PathEscape(subscriptionID) + "/stats", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// TemplatesResource has the operations on templates.
type TemplatesResource struct {
	client *Client
}

// Preview: Preview a template.
//
// Render a template from an event, without storing or sending anything.
//
// A template that fails is a response with `error`, not an error. Stored secrets are never used.
func (r *TemplatesResource) Preview(ctx context.Context, body TemplatePreviewBody, options ...CallOption) (*TemplatePreview, error) {
	found := new(TemplatePreview)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/templates/preview", body: body}, options, map[int]any{200: found})
}

// EventTypesResource has the operations on event types.
type EventTypesResource struct {
	client *Client
}

// Create: Create an event type.
//
// Add an event type to the catalog, with version 1 of its schema.
func (r *EventTypesResource) Create(ctx context.Context, body EventTypeBody, options ...CallOption) (*EventType, error) {
	found := new(EventType)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/event-types", body: body, keyed: true}, options, map[int]any{201: found})
}

// EventTypesListParams are the parameters; those that are zero are not sent.
type EventTypesListParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only the event type with this name.
	Name string
}

func (p EventTypesListParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "name", p.Name)
	return values
}

// List: List event types.
//
// List the event types of the catalog by name, or look one up by its name.
func (r *EventTypesResource) List(ctx context.Context, params EventTypesListParams, options ...CallOption) iter.Seq2[EventType, error] {
	return pages[EventType](ctx, r.client, &call{method: "GET", path: "/api/v1/event-types", query: params.values(), reads: true}, options)
}

// Get: Get an event type.
//
// Return an event type with its newest version.
func (r *EventTypesResource) Get(ctx context.Context, eventTypeID string, options ...CallOption) (*EventType, error) {
	found := new(EventType)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID), reads: true}, options, map[int]any{200: found})
}

// Update: Change an event type.
//
// Change the description or the validation of an event type.
func (r *EventTypesResource) Update(ctx context.Context, eventTypeID string, body EventTypePatch, options ...CallOption) (*EventType, error) {
	found := new(EventType)
	return found, r.client.call(ctx, &call{method: "PATCH", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID), body: body}, options, map[int]any{200: found})
}

// Delete: Delete an event type.
//
// Delete an event type with its versions. Its events stay, and new ones are not validated.
func (r *EventTypesResource) Delete(ctx context.Context, eventTypeID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID)}, options, noContent(204))
}

// CreateVersion: Add a version.
//
// Add the next version to an event type. If it is `live`, events are validated against it from now on.
func (r *EventTypesResource) CreateVersion(ctx context.Context, eventTypeID string, body EventTypeVersionBody, options ...CallOption) (*EventTypeVersion, error) {
	found := new(EventTypeVersion)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID) + "/versions", body: body, keyed: true}, options, map[int]any{201: found})
}

// ListVersions: List the versions of an event type.
//
// Return all versions of an event type, of which there are at most 50.
func (r *EventTypesResource) ListVersions(ctx context.Context, eventTypeID string, options ...CallOption) (*EventTypeVersionList, error) {
	found := new(EventTypeVersionList)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID) + "/versions", reads: true}, options, map[int]any{200: found})
}

// CheckVersion: Compare a schema with a version.
//
// List what would be breaking in a new version: what lets through payloads that the version promises
// not to have.
//
// A member that is no longer required, a new value of an enum, and a wider range are breaking; a new
// member is not. Nothing is stored.
func (r *EventTypesResource) CheckVersion(ctx context.Context, eventTypeID string, body EventTypeCheckBody, options ...CallOption) (*SchemaComparison, error) {
	found := new(SchemaComparison)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID) + "/versions/check", body: body}, options, map[int]any{200: found})
}

// GetVersion: Get a version.
//
// Return a version of an event type.
func (r *EventTypesResource) GetVersion(ctx context.Context, eventTypeID string, number string, options ...CallOption) (*EventTypeVersion, error) {
	found := new(EventTypeVersion)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID) + "/versions/" + url.PathEscape(number), reads: true}, options, map[int]any{200: found})
}

// UpdateVersion: Change a version.
//
// Publish a draft, deprecate a version, or change what is said about it. A published schema never
// changes.
func (r *EventTypesResource) UpdateVersion(ctx context.Context, eventTypeID string, number string, body EventTypeVersionPatch, options ...CallOption) (*EventTypeVersion, error) {
	found := new(EventTypeVersion)
	return found, r.client.call(ctx, &call{method: "PATCH", path: "/api/v1/event-types/" + url.PathEscape(eventTypeID) + "/versions/" + url.PathEscape(number), body: body}, options, map[int]any{200: found})
}

// CatalogResource has the operations on catalog.
type CatalogResource struct {
	client *Client
}

// CatalogExportDocumentParams are the parameters; those that are zero are not sent.
type CatalogExportDocumentParams struct {
	// `openapi`: OpenAPI 3.1, with `webhooks`. `asyncapi`: AsyncAPI 3.0, with messages.
	Format string

	// Only these event types; `invoice.*` means every type that begins with `invoice.`. Default: all.
	EventType []string
}

func (p CatalogExportDocumentParams) values() url.Values {
	values := url.Values{}
	add(values, "format", p.Format)
	add(values, "event_type", p.EventType)
	return values
}

// ExportDocument: Export the catalog.
//
// Describe the current versions of event types in a format that code generators and documentation
// pages read.
//
// Event types that have only drafts are left out. 422 if the document would have more than 2 MiB: then
// select fewer with `event_type`.
func (r *CatalogResource) ExportDocument(ctx context.Context, params CatalogExportDocumentParams, options ...CallOption) (*CatalogDocument, error) {
	found := new(CatalogDocument)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/catalog", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// ImportDocument: Import a document to the catalog.
//
// Create event types and versions from an OpenAPI or AsyncAPI document, as requests one by one would.
//
// After that, the current version of each event type is as in the document; importing it again changes
// nothing. Event types that are refused do not keep others from being imported, and event types that
// are not in the document stay.
func (r *CatalogResource) ImportDocument(ctx context.Context, body CatalogImportBody, options ...CallOption) (*CatalogImport, error) {
	found := new(CatalogImport)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/catalog/import", body: body}, options, map[int]any{200: found})
}

// FiltersResource has the operations on filters.
type FiltersResource struct {
	client *Client
}

// Check: Try a filter on events.
//
// Evaluate a filter on an event, on stored events, or on the latest events for a subscription.
//
// Nothing is stored. 422 names the line and the column of what is wrong with the filter.
func (r *FiltersResource) Check(ctx context.Context, body FilterCheckBody, options ...CallOption) (*FilterCheck, error) {
	found := new(FilterCheck)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/filters/check", body: body}, options, map[int]any{200: found})
}

// DeliveriesResource has the operations on deliveries.
type DeliveriesResource struct {
	client *Client
}

// DeliveriesListParams are the parameters; those that are zero are not sent.
type DeliveriesListParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Of this type; `order.*` stands for all types that begin with `order.`.
	EventType []string

	// Accepted under this idempotency key, for as long as keys are kept (default: 24 hours).
	IdempotencyKey []string

	// With this id of the provider that sent it, which is kept as long.
	ProviderID []string

	// With this tag: a key and a value.
	Tag []string

	// Accepted at this time or later. Default: 24 hours ago, or 24 hours before `to` if that is in the
	// past; any time if there is a `subscription_id`, `idempotency_key`, `provider_id` or `tag`.
	From time.Time

	// Accepted before this time. Default: any time.
	To time.Time

	// Whether the newest or the oldest come first.
	Order string

	// To this subscription, which may be deleted.
	SubscriptionID []string

	// With this status.
	Status []string

	// Failed or cancelled for this reason.
	Reason []string

	// Whose last attempt got this status code, or one of this class. Finds no delivered ones: those were
	// answered with 2xx.
	StatusCode []string

	// Whose last attempt ended with this kind of error, such as `timeout`. Finds no delivered ones.
	ErrorKind []string

	// That are due, but are not sent for this reason.
	HeldBy []string

	// With this many attempts or more.
	MinAttempts int64
}

func (p DeliveriesListParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "event_type", p.EventType)
	add(values, "idempotency_key", p.IdempotencyKey)
	add(values, "provider_id", p.ProviderID)
	add(values, "tag", p.Tag)
	add(values, "from", p.From)
	add(values, "to", p.To)
	add(values, "order", p.Order)
	add(values, "subscription_id", p.SubscriptionID)
	add(values, "status", p.Status)
	add(values, "reason", p.Reason)
	add(values, "status_code", p.StatusCode)
	add(values, "error_kind", p.ErrorKind)
	add(values, "held_by", p.HeldBy)
	add(values, "min_attempts", p.MinAttempts)
	return values
}

// List: Search deliveries.
//
// Find deliveries to any subscription, newest first, without attempts.
//
// Give a parameter several times to find what has one of the values; different parameters must all
// match. Deliveries are ordered by when they were accepted, so a cursor stays valid while others
// arrive.
func (r *DeliveriesResource) List(ctx context.Context, params DeliveriesListParams, options ...CallOption) iter.Seq2[DeliverySummary, error] {
	return pages[DeliverySummary](ctx, r.client, &call{method: "GET", path: "/api/v1/deliveries", query: params.values(), reads: true}, options)
}

// DeliveriesSummaryParams are the parameters; those that are zero are not sent.
type DeliveriesSummaryParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Of this type; `order.*` stands for all types that begin with `order.`.
	EventType []string

	// Accepted under this idempotency key, for as long as keys are kept (default: 24 hours).
	IdempotencyKey []string

	// With this id of the provider that sent it, which is kept as long.
	ProviderID []string

	// With this tag: a key and a value.
	Tag []string

	// Accepted at this time or later. Default: 24 hours ago, or 24 hours before `to` if that is in the
	// past; any time if there is a `subscription_id`, `idempotency_key`, `provider_id` or `tag`.
	From time.Time

	// Accepted before this time. Default: any time.
	To time.Time

	// Whether the newest or the oldest come first.
	Order string

	// To this subscription, which may be deleted.
	SubscriptionID []string

	// With this status.
	Status []string

	// Failed or cancelled for this reason.
	Reason []string

	// Whose last attempt got this status code, or one of this class. Finds no delivered ones: those were
	// answered with 2xx.
	StatusCode []string

	// Whose last attempt ended with this kind of error, such as `timeout`. Finds no delivered ones.
	ErrorKind []string

	// That are due, but are not sent for this reason.
	HeldBy []string

	// With this many attempts or more.
	MinAttempts int64

	// What they are counted by.
	GroupBy string
}

func (p DeliveriesSummaryParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "event_type", p.EventType)
	add(values, "idempotency_key", p.IdempotencyKey)
	add(values, "provider_id", p.ProviderID)
	add(values, "tag", p.Tag)
	add(values, "from", p.From)
	add(values, "to", p.To)
	add(values, "order", p.Order)
	add(values, "subscription_id", p.SubscriptionID)
	add(values, "status", p.Status)
	add(values, "reason", p.Reason)
	add(values, "status_code", p.StatusCode)
	add(values, "error_kind", p.ErrorKind)
	add(values, "held_by", p.HeldBy)
	add(values, "min_attempts", p.MinAttempts)
	add(values, "group_by", p.GroupBy)
	return values
}

// Summary: Count deliveries in groups.
//
// Count the deliveries that a search finds, 10,000 at a time from the newest on.
//
// If there are more, `scanned_to` says how far the count got, and `next_cursor` counts on from there:
// add the groups of both. `limit`, `order` and `format` have no meaning here.
func (r *DeliveriesResource) Summary(ctx context.Context, params DeliveriesSummaryParams, options ...CallOption) (*DeliverySummaryPage, error) {
	found := new(DeliverySummaryPage)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/deliveries/summary", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// Get: Get a delivery and its attempts.
//
// Get a delivery with every attempt, oldest first.
func (r *DeliveriesResource) Get(ctx context.Context, deliveryID string, options ...CallOption) (*Delivery, error) {
	found := new(Delivery)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/deliveries/" + url.PathEscape(deliveryID), reads: true}, options, map[int]any{200: found})
}

// Retry: Retry a delivery now.
//
// Make a delivery pending now, whatever its status, with its full retry schedule.
//
// A scheduled retry is replaced. While the subscription's circuit breaker is open this delivery is its
// probe, and is sent now unless another probe is in progress. Returns 409 while a worker is sending
// the delivery or its subscription is disabled, and 410 if its payload was erased, is no longer
// retained, or is about to be removed.
func (r *DeliveriesResource) Retry(ctx context.Context, deliveryID string, options ...CallOption) (*Delivery, error) {
	found := new(Delivery)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/deliveries/" + url.PathEscape(deliveryID) + "/retry"}, options, map[int]any{200: found})
}

// Cancel: Cancel a delivery.
//
// Cancel a delivery that is pending or scheduled. A cancelled delivery stays cancelled.
func (r *DeliveriesResource) Cancel(ctx context.Context, deliveryID string, options ...CallOption) (*Delivery, error) {
	found := new(Delivery)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/deliveries/" + url.PathEscape(deliveryID) + "/cancel"}, options, map[int]any{200: found})
}

// JobsResource has the operations on jobs.
type JobsResource struct {
	client *Client
}

// JobsCreateResult has one of these; the others are nil.
type JobsCreateResult struct {
	Job *Job

	JobPreview *JobPreview
}

// Create: Retry, replay, or cancel many deliveries, or erase events.
//
// Create a job, or with `dry_run` count what it would do.
//
// A job works through its deliveries a few hundred at a time, at its rate, and survives restarts. Each
// delivery is changed at most once. Rate limits, circuit breakers, and pauses of subscriptions apply
// as always. The deliveries of a job are those that match when it is created, or when its dry run was
// made. A repeated request with the same `Idempotency-Key` returns the job of the first one as it is
// now; a dry run ignores the key.
func (r *JobsResource) Create(ctx context.Context, body JobBody, options ...CallOption) (*JobsCreateResult, error) {
	found := new(JobsCreateResult)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/jobs", body: body, keyed: true}, options, map[int]any{202: &found.Job, 200: &found.JobPreview})
}

// JobsListParams are the parameters; those that are zero are not sent.
type JobsListParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only jobs with this status.
	Status string
}

func (p JobsListParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "status", p.Status)
	return values
}

// List: List jobs.
//
// List jobs, newest first. They are kept for 30 days after they end.
func (r *JobsResource) List(ctx context.Context, params JobsListParams, options ...CallOption) iter.Seq2[Job, error] {
	return pages[Job](ctx, r.client, &call{method: "GET", path: "/api/v1/jobs", query: params.values(), reads: true}, options)
}

// Get: Get a job and its progress.
//
// Get a job: what it has done, what became of it, and when it will be complete.
func (r *JobsResource) Get(ctx context.Context, jobID string, options ...CallOption) (*Job, error) {
	found := new(Job)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/jobs/" + url.PathEscape(jobID), reads: true}, options, map[int]any{200: found})
}

// Pause: Pause a job.
//
// Pause a job that is queued or running. What it has made pending is still sent.
func (r *JobsResource) Pause(ctx context.Context, jobID string, options ...CallOption) (*Job, error) {
	found := new(Job)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/jobs/" + url.PathEscape(jobID) + "/pause"}, options, map[int]any{200: found})
}

// Resume: Resume a job.
//
// Go on with a job that is paused.
func (r *JobsResource) Resume(ctx context.Context, jobID string, options ...CallOption) (*Job, error) {
	found := new(Job)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/jobs/" + url.PathEscape(jobID) + "/resume"}, options, map[int]any{200: found})
}

// Cancel: Cancel a job.
//
// End a job before it is complete. What it has done stays done.
func (r *JobsResource) Cancel(ctx context.Context, jobID string, options ...CallOption) (*Job, error) {
	found := new(Job)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/jobs/" + url.PathEscape(jobID) + "/cancel"}, options, map[int]any{200: found})
}

// StatsResource has the operations on stats.
type StatsResource struct {
	client *Client
}

// StatsGetParams are the parameters; those that are zero are not sent.
type StatsGetParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// How far back from now: minutes, hours, or days, within the retention of attempts (default: 72 h).
	Window string
}

func (p StatsGetParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "window", p.Window)
	return values
}

// Get: Get statistics of all subscriptions.
//
// Get statistics of all subscriptions over a window that ends now.
func (r *StatsResource) Get(ctx context.Context, params StatsGetParams, options ...CallOption) (*Stats, error) {
	found := new(Stats)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/stats", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// StatsSeriesParams are the parameters; those that are zero are not sent.
type StatsSeriesParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Start, rounded down to a step. Default: 24 hours before `to`. Steps of `1m` and `5m` go back
	// `LOG_RETENTION_HOURS` (default: 72), others `STATS_RETENTION_DAYS` (default: 90).
	From time.Time

	// End, not included, rounded up to a step. Default: now, also for a later time.
	To time.Time

	// Length of a step, in UTC: at most 1,500 of them, and 5,000 points in all groups. Default: the
	// shortest that makes at most 300 points.
	Step string

	// What the groups are. Default: no groups.
	GroupBy string

	// Only these subscriptions, which may be deleted: repeat the parameter for several. Not with
	// `group_by=event_type`.
	SubscriptionID []string

	// How many groups are listed, the largest first; the others are one group, `other`. Default: 10, or
	// as many as fit. Subscriptions that are named are all listed.
	Limit int64
}

func (p StatsSeriesParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "from", p.From)
	add(values, "to", p.To)
	add(values, "step", p.Step)
	add(values, "group_by", p.GroupBy)
	add(values, "subscription_id", p.SubscriptionID)
	add(values, "limit", p.Limit)
	return values
}

// Series: Get statistics over time.
//
// Get statistics in steps of a minute to a day, in total and by outcome, subscription, or event type.
//
// The 200 largest event types of each minute (of each hour, for steps of `1h` and `1d`) are counted by
// name. All others belong to the group `other`.
func (r *StatsResource) Series(ctx context.Context, params StatsSeriesParams, options ...CallOption) (*StatsOverTime, error) {
	found := new(StatsOverTime)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/stats/series", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// StatsRefusalsParams are the parameters; those that are zero are not sent.
type StatsRefusalsParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Start, rounded down to an hour in UTC. Default: 24 hours before `to`. It goes back
	// `STATS_RETENTION_DAYS` (default: 90).
	From time.Time

	// End, not included, rounded up to an hour. Default: now, also for a later time.
	To time.Time

	// Only those for these subscriptions, which may be deleted: repeat the parameter for several.
	SubscriptionID []string

	// How many items are listed, the largest first.
	Limit int64
}

func (p StatsRefusalsParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "from", p.From)
	add(values, "to", p.To)
	add(values, "subscription_id", p.SubscriptionID)
	add(values, "limit", p.Limit)
	return values
}

// Refusals: Count refused events.
//
// Count the events that were refused as they came in over REST, by subscription and reason.
//
// A refused event is a request to send a webhook, an event, or a batch that got an error, or an event
// of a batch that has an error. Requests without a valid API key or ingest token are of no tenant, and
// not counted.
func (r *StatsResource) Refusals(ctx context.Context, params StatsRefusalsParams, options ...CallOption) (*Refusals, error) {
	found := new(Refusals)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/stats/refusals", query: params.values(), reads: true}, options, map[int]any{200: found})
}

// PortalLinksResource has the operations on portal links.
type PortalLinksResource struct {
	client *Client
}

// Create: Create a portal link.
//
// Create an address where a customer sees and manages their own webhooks, in your page or in one of
// its own.
func (r *PortalLinksResource) Create(ctx context.Context, body PortalLinkBody, options ...CallOption) (*PortalLink, error) {
	found := new(PortalLink)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/portal-links", body: body}, options, map[int]any{201: found})
}

// Revoke: Revoke a portal link.
//
// End a portal link before its time. Within 5 seconds its holder is refused everywhere.
func (r *PortalLinksResource) Revoke(ctx context.Context, linkID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/portal-links/" + url.PathEscape(linkID)}, options, noContent(204))
}

// TenantsResource has the operations on tenants.
type TenantsResource struct {
	client *Client
}

// Create: Create a tenant.
//
// Create a tenant, which has no API keys yet.
func (r *TenantsResource) Create(ctx context.Context, body TenantBody, options ...CallOption) (*Tenant, error) {
	found := new(Tenant)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/admin/tenants", body: body, keyed: true}, options, map[int]any{201: found})
}

// TenantsListParams are the parameters; those that are zero are not sent.
type TenantsListParams struct {
	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string
}

func (p TenantsListParams) values() url.Values {
	values := url.Values{}
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	return values
}

// List: List tenants.
//
// List tenants that are not deleted, in the order of their ids.
func (r *TenantsResource) List(ctx context.Context, params TenantsListParams, options ...CallOption) iter.Seq2[Tenant, error] {
	return pages[Tenant](ctx, r.client, &call{method: "GET", path: "/api/v1/admin/tenants", query: params.values(), reads: true}, options)
}

// Get: Get a tenant.
//
// Return a tenant with its quotas and what it uses of them.
func (r *TenantsResource) Get(ctx context.Context, tenantID string, options ...CallOption) (*Tenant, error) {
	found := new(Tenant)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/admin/tenants/" + url.PathEscape(tenantID), reads: true}, options, map[int]any{200: found})
}

// Update: Change a tenant.
//
// Change a tenant. Every process applies new quotas within 2 seconds, and a new weight within 10.
func (r *TenantsResource) Update(ctx context.Context, tenantID string, body TenantPatch, options ...CallOption) (*Tenant, error) {
	found := new(Tenant)
	return found, r.client.call(ctx, &call{method: "PATCH", path: "/api/v1/admin/tenants/" + url.PathEscape(tenantID), body: body}, options, map[int]any{200: found})
}

// Delete: Delete a tenant.
//
// Delete a tenant and revoke its API keys. Its id cannot be used again.
func (r *TenantsResource) Delete(ctx context.Context, tenantID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/admin/tenants/" + url.PathEscape(tenantID)}, options, noContent(204))
}

// APIKeysResource has the operations on api keys.
type APIKeysResource struct {
	client *Client
}

// Create: Create an API key.
//
// Create an API key. Only its digest is stored, so only this response shows it.
func (r *APIKeysResource) Create(ctx context.Context, body ApiKeyBody, options ...CallOption) (*CreatedApiKey, error) {
	found := new(CreatedApiKey)
	return found, r.client.call(ctx, &call{method: "POST", path: "/api/v1/admin/api-keys", body: body, keyed: true}, options, map[int]any{201: found})
}

// APIKeysListParams are the parameters; those that are zero are not sent.
type APIKeysListParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only keys of this tenant.
	TenantID string
}

func (p APIKeysListParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "tenant_id", p.TenantID)
	return values
}

// List: List API keys.
//
// List the API keys of one tenant or of all, newest first, including revoked and expired keys.
func (r *APIKeysResource) List(ctx context.Context, params APIKeysListParams, options ...CallOption) iter.Seq2[ApiKey, error] {
	return pages[ApiKey](ctx, r.client, &call{method: "GET", path: "/api/v1/admin/api-keys", query: params.values(), reads: true}, options)
}

// Revoke: Revoke an API key.
//
// Revoke an API key permanently. It is refused everywhere within 5 seconds, and stays in the list.
func (r *APIKeysResource) Revoke(ctx context.Context, keyID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/admin/api-keys/" + url.PathEscape(keyID)}, options, noContent(204))
}

// SessionsResource has the operations on sessions.
type SessionsResource struct {
	client *Client
}

// SessionsListParams are the parameters; those that are zero are not sent.
type SessionsListParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only sessions of this tenant.
	TenantID string
}

func (p SessionsListParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "tenant_id", p.TenantID)
	return values
}

// List: List sessions.
//
// List who is signed in at the console, newest first, including sessions that were revoked in the last
// 12 hours.
func (r *SessionsResource) List(ctx context.Context, params SessionsListParams, options ...CallOption) iter.Seq2[Session, error] {
	return pages[Session](ctx, r.client, &call{method: "GET", path: "/api/v1/admin/sessions", query: params.values(), reads: true}, options)
}

// Revoke: Revoke a session.
//
// Revoke a session permanently. It is refused everywhere within 5 seconds; its key remains valid.
func (r *SessionsResource) Revoke(ctx context.Context, sessionID string, options ...CallOption) error {
	return r.client.call(ctx, &call{method: "DELETE", path: "/api/v1/admin/sessions/" + url.PathEscape(sessionID)}, options, noContent(204))
}

// AuditResource has the operations on audit.
type AuditResource struct {
	client *Client
}

// AuditListParams are the parameters; those that are zero are not sent.
type AuditListParams struct {
	// `*` lists all tenants. Requires a key with role `admin`.
	Tenant string

	// Objects per page.
	Limit int64

	// `next_cursor` of the previous page. Default: the first page.
	Cursor string

	// Only changes to objects of this tenant.
	TenantID string

	// Only changes by this API key (its UUID), by this portal link (`portal:` and its UUID), or by
	// `bootstrap`, `anonymous`, or `system`.
	Actor string

	// Only this action.
	Action string

	// Only changes to objects of this type.
	ResourceType string

	// Only changes to the object with this id: a UUID, or the id of a tenant.
	ResourceID string

	// Only changes at this time or later.
	From time.Time

	// Only changes before this time.
	To time.Time
}

func (p AuditListParams) values() url.Values {
	values := url.Values{}
	add(values, "tenant", p.Tenant)
	add(values, "limit", p.Limit)
	add(values, "cursor", p.Cursor)
	add(values, "tenant_id", p.TenantID)
	add(values, "actor", p.Actor)
	add(values, "action", p.Action)
	add(values, "resource_type", p.ResourceType)
	add(values, "resource_id", p.ResourceID)
	add(values, "from", p.From)
	add(values, "to", p.To)
	return values
}

// List: List audit entries.
//
// List changes to subscriptions, secrets, deliveries, tenants and API keys, and who made them, newest
// first.
//
// An entry is written in the transaction of its change and kept for `AUDIT_RETENTION_HOURS`. It
// contains no secrets, tokens or headers, and only the scheme, host and port of a target URL. Requests
// that were refused or failed are not recorded, nor is the sending of events. If an admin reads in
// another tenant, that is recorded as `tenant.enter`.
func (r *AuditResource) List(ctx context.Context, params AuditListParams, options ...CallOption) iter.Seq2[AuditEntry, error] {
	return pages[AuditEntry](ctx, r.client, &call{method: "GET", path: "/api/v1/admin/audit", query: params.values(), reads: true}, options)
}

// SystemResource has the operations on system.
type SystemResource struct {
	client *Client
}

// Get: Get what the service runs on.
//
// Get the processes of the service with their versions, the stores, the queue of all tenants, and the
// partitions.
//
// A service that does not respond is listed in `unavailable`, and its part is missing. Everybody who
// asks within 5 seconds gets the same.
func (r *SystemResource) Get(ctx context.Context, options ...CallOption) (*System, error) {
	found := new(System)
	return found, r.client.call(ctx, &call{method: "GET", path: "/api/v1/system", reads: true}, options, map[int]any{200: found})
}

// Resources has every operation of the REST API.
type Resources struct {
	Webhooks *WebhooksResource

	Events *EventsResource

	Subscriptions *SubscriptionsResource

	Templates *TemplatesResource

	EventTypes *EventTypesResource

	Catalog *CatalogResource

	Filters *FiltersResource

	Deliveries *DeliveriesResource

	Jobs *JobsResource

	Stats *StatsResource

	PortalLinks *PortalLinksResource

	Tenants *TenantsResource

	APIKeys *APIKeysResource

	Sessions *SessionsResource

	Audit *AuditResource

	System *SystemResource
}

func (r *Resources) connect(client *Client) {
	r.Webhooks = &WebhooksResource{client}
	r.Events = &EventsResource{client}
	r.Subscriptions = &SubscriptionsResource{client}
	r.Templates = &TemplatesResource{client}
	r.EventTypes = &EventTypesResource{client}
	r.Catalog = &CatalogResource{client}
	r.Filters = &FiltersResource{client}
	r.Deliveries = &DeliveriesResource{client}
	r.Jobs = &JobsResource{client}
	r.Stats = &StatsResource{client}
	r.PortalLinks = &PortalLinksResource{client}
	r.Tenants = &TenantsResource{client}
	r.APIKeys = &APIKeysResource{client}
	r.Sessions = &SessionsResource{client}
	r.Audit = &AuditResource{client}
	r.System = &SystemResource{client}
}
