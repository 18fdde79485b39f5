// The operations of the REST API. Generated from the OpenAPI document by `make generate`; do not edit.
import type { components } from './schema.js';
import { Pages, pick, segment, type Transport } from './transport.js';

type Schemas = components['schemas'];

/** Operations on webhooks. */
export class WebhooksResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Send a webhook to a subscription.
   *
   * The body `{"payload": …}` delivers the exact bytes of the value as `application/json`, whatever the
   * Content-Type. Any other body is the payload itself and is delivered with its own Content-Type, so
   * that webhooks of GitHub and others can be sent here. Without a Content-Type it is `application/json`
   * if it is valid JSON, else `application/octet-stream`. A body that is empty, begins with a byte order
   * mark, or has a `Content-Encoding` is delivered unchanged, with that encoding.
   *
   * Without `X-Event-Type` no filter applies, unless `verify` names a provider: an event without a
   * readable type is then delivered only by subscriptions without `event_types`. If the subscription
   * does not include the type, the response has status `filtered` and nothing is delivered; this is also
   * the response while the subscription is disabled and `keep_when_disabled` is false.
   *
   * The subscription's `verify` determines which signature the request must have: `Stripe-Signature`,
   * `X-Shopify-Hmac-Sha256`, `X-Slack-Signature` with `X-Slack-Request-Timestamp`, or `webhook-
   * signature` with `webhook-id` and `webhook-timestamp`; timestamps may differ by 5 minutes. The
   * event's type is then the provider's, and a repeated request of the provider gets the same response
   * and is delivered once; `X-Event-Type` and `Idempotency-Key` apply if the provider sends no type or
   * id.
   */
  send(subscriptionId: string, body: string | Uint8Array, options: { event_type?: string; hub_signature?: string; content_encoding?: string; tags?: Record<string, string>; event_version?: number; idempotency_key?: string; content_type?: string } = {}): Promise<Schemas['Handshake'] | Schemas['WebhookAccepted']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/webhooks/ingest/${segment(subscriptionId)}`, statuses: [200, 202], raw: body, contentType: options.content_type, headers: { 'X-Event-Type': options.event_type, 'X-Hub-Signature-256': options.hub_signature, 'Content-Encoding': options.content_encoding, 'X-Webhook-Tags': options.tags, 'X-Webhook-Event-Version': options.event_version }, keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * Send a webhook with an ingest token.
   *
   * Like the operation without a token, but needs no API key: the token allows sending to this one
   * subscription. An invalid token gets the same response as an unknown subscription.
   */
  sendWithToken(subscriptionId: string, token: string, body: string | Uint8Array, options: { event_type?: string; hub_signature?: string; content_encoding?: string; tags?: Record<string, string>; event_version?: number; idempotency_key?: string; content_type?: string } = {}): Promise<Schemas['Handshake'] | Schemas['WebhookAccepted']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/webhooks/ingest/${segment(subscriptionId)}/${segment(token)}`, statuses: [200, 202], raw: body, contentType: options.content_type, headers: { 'X-Event-Type': options.event_type, 'X-Hub-Signature-256': options.hub_signature, 'Content-Encoding': options.content_encoding, 'X-Webhook-Tags': options.tags, 'X-Webhook-Event-Version': options.event_version }, keyed: true, idempotencyKey: options.idempotency_key });
  }
}

/** Operations on events. */
export class EventsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Publish an event.
   *
   * The payload is stored once, with a delivery for each subscription to its type that was created
   * before. Its exact bytes are delivered as `application/json`.
   *
   * If the event goes to more than 100 subscriptions, its deliveries are created after the response,
   * which has `expanding: true` in place of `deliveries`. `get_event` tells when that is done.
   *
   * With `deliver_at` or `delay_seconds` the event is scheduled: the response has `deliver_at` in place
   * of `deliveries`, and the event goes to the subscriptions that match it when it is due.
   * `cancel_event` cancels it until then.
   *
   * Give tags in the body or in `X-Webhook-Tags`, not in both.
   */
  publish(options: Schemas['EventBody'] & { idempotency_key?: string }): Promise<Schemas['EventAccepted']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/events', statuses: [202], body: pick(options, ['event_type', 'event_version', 'payload', 'tags', 'deliver_at', 'delay_seconds', 'deliver_within_seconds']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * Search events.
   *
   * Find events, newest first, without payloads.
   *
   * Give a parameter several times to find what has one of the values; different parameters must all
   * match. Events are ordered by when they were accepted, so a cursor stays valid while others arrive.
   */
  list(options: { limit?: number; cursor?: string; event_type?: (string)[]; idempotency_key?: (string)[]; provider_id?: (string)[]; tag?: (string)[]; from?: string; to?: string; order?: Schemas['ListOrder']; scheduled?: boolean } = {}): Pages<Schemas['EventSummary'], Schemas['FoundEvents']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/events', statuses: [200], query: pick(options, ['limit', 'cursor', 'event_type', 'idempotency_key', 'provider_id', 'tag', 'from', 'to', 'order', 'scheduled']), reads: true });
  }

  /**
   * Publish a batch of events.
   *
   * Publishes up to 1,000 events, in a body of up to 8 MiB, as if each was published on its own: some
   * may be stored and others refused. Their exact payload bytes are delivered.
   *
   * `results` has, in the order of the events, the response to each, or an `error`, which is a problem
   * document. If its `status` is 429 or 503, or its `reason` is `IDEMPOTENCY_KEY_IN_USE`, send the event
   * again after a second.
   */
  publishBatch(options: Schemas['EventBatchBody'] & { idempotency_key?: string }): Promise<Schemas['BatchResults']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/events/batch', statuses: [200], body: pick(options, ['events']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * Get an event.
   *
   * Get an event with the exact bytes of its payload.
   *
   * Returns 404 if it is no longer retained, and 410 if it was erased.
   */
  get(eventId: string): Promise<Schemas['Event']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/events/${segment(eventId)}`, statuses: [200], reads: true });
  }

  /**
   * Cancel a scheduled event.
   *
   * Cancel an event that is scheduled: it is deleted, and never delivered.
   *
   * A repeated request has the same response. Once the event is due, cancel its deliveries instead.
   */
  cancel(eventId: string): Promise<Schemas['CancelledEvent']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/events/${segment(eventId)}/cancel`, statuses: [200] });
  }

  /**
   * Explain which subscriptions got an event.
   *
   * List the subscriptions that are not deleted, with why each got the event or did not.
   *
   * The reasons are found again from the event's deliveries and from the subscriptions as they are now.
   */
  routing(eventId: string, options: { limit?: number; cursor?: string; subscription_id?: string } = {}): Pages<Schemas['Route'], Schemas['RoutePage']> {
    return new Pages(this.transport, { method: 'GET', path: `/api/v1/events/${segment(eventId)}/routing`, statuses: [200], query: pick(options, ['limit', 'cursor', 'subscription_id']), reads: true });
  }

  /**
   * List deliveries of an event.
   *
   * List deliveries, without attempts.
   */
  deliveries(eventId: string, options: { tenant?: string; limit?: number; cursor?: string; status?: Schemas['DeliveryStatus'] } = {}): Pages<Schemas['DeliverySummary'], Schemas['DeliveryPage']> {
    return new Pages(this.transport, { method: 'GET', path: `/api/v1/events/${segment(eventId)}/deliveries`, statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'status']), reads: true });
  }
}

/** Operations on subscriptions. */
export class SubscriptionsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Create a subscription.
   *
   * Create a subscription. It receives matching events that are accepted after this response.
   *
   * If `secret_key` is absent, a secret is generated. Only this response shows it; an `ed25519` private
   * key is never shown.
   */
  create(options: Schemas['SubscriptionBody'] & { idempotency_key?: string } = {}): Promise<Schemas['CreatedSubscription']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/subscriptions', statuses: [201], body: pick(options, ['destination', 'expires_after_idle_seconds', 'target_url', 'secret_key', 'signature_scheme', 'event_types', 'filter', 'filter_on_error', 'description', 'name', 'metadata', 'tag_paths', 'keep_when_disabled', 'rate_limit_per_second', 'rate_limit_burst', 'timeout_seconds', 'retry_policy', 'headers', 'verify', 'verification_secrets', 'relay_headers', 'kind', 'template', 'template_secrets', 'event_versions', 'client_certificate']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List subscriptions.
   *
   * List the subscriptions that are not deleted, newest first.
   */
  list(options: { tenant?: string; limit?: number; cursor?: string; name?: string; metadata?: (string)[] } = {}): Pages<Schemas['Subscription'], Schemas['SubscriptionPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/subscriptions', statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'name', 'metadata']), reads: true });
  }

  /**
   * Get a subscription.
   *
   * Return one subscription; 404 once it is deleted.
   */
  get(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/subscriptions/${segment(subscriptionId)}`, statuses: [200], reads: true });
  }

  /**
   * Replace a subscription.
   *
   * Replace all fields with the body of a create request. An absent field gets its default, with these
   * exceptions.
   *
   * If `secret_key`, `headers`, `verification_secrets`, `client_certificate`, or `template_secrets` is
   * absent, the stored value is kept; null removes it. If `signature_scheme` or `verify` is absent or
   * null, the stored value is kept. `event_types` is required if the subscription is limited to some
   * types. The status and the `kind` never change. To change only some fields, use PATCH.
   */
  replace(subscriptionId: string, options: Schemas['SubscriptionBody'] & { if_match?: string } = {}): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'PUT', path: `/api/v1/subscriptions/${segment(subscriptionId)}`, statuses: [200], body: pick(options, ['destination', 'expires_after_idle_seconds', 'target_url', 'secret_key', 'signature_scheme', 'event_types', 'filter', 'filter_on_error', 'description', 'name', 'metadata', 'tag_paths', 'keep_when_disabled', 'rate_limit_per_second', 'rate_limit_burst', 'timeout_seconds', 'retry_policy', 'headers', 'verify', 'verification_secrets', 'relay_headers', 'kind', 'template', 'template_secrets', 'event_versions', 'client_certificate']), headers: { 'If-Match': options.if_match } });
  }

  /**
   * Update some fields of a subscription.
   *
   * Apply a JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
   *
   * An absent field keeps its value, and null resets it to its default or removes it. `headers`,
   * `metadata`, `tag_paths`, and `retry_policy` are merged field by field: `{"headers": {"X-Old":
   * null}}` removes one header and keeps the others.
   */
  update(subscriptionId: string, options: Schemas['SubscriptionPatch'] & { if_match?: string } = {}): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'PATCH', path: `/api/v1/subscriptions/${segment(subscriptionId)}`, statuses: [200], body: pick(options, ['destination', 'expires_after_idle_seconds', 'target_url', 'secret_key', 'signature_scheme', 'event_types', 'filter', 'filter_on_error', 'description', 'name', 'metadata', 'tag_paths', 'keep_when_disabled', 'rate_limit_per_second', 'rate_limit_burst', 'timeout_seconds', 'retry_policy', 'headers', 'verify', 'verification_secrets', 'relay_headers', 'kind', 'template', 'template_secrets', 'event_versions', 'client_certificate']), headers: { 'If-Match': options.if_match } });
  }

  /**
   * Delete a subscription.
   *
   * Delete a subscription and cancel its waiting deliveries. Its history stays readable.
   */
  delete(subscriptionId: string, options: { if_match?: string } = {}): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/subscriptions/${segment(subscriptionId)}`, statuses: [204], headers: { 'If-Match': options.if_match } });
  }

  /**
   * Disable a subscription.
   *
   * Stop deliveries until the subscription is enabled. Waiting deliveries are kept.
   *
   * New events are stored for it unless `keep_when_disabled` is false. No effect if it is already
   * disabled.
   */
  disable(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/disable`, statuses: [200] });
  }

  /**
   * Enable a subscription.
   *
   * Enable a disabled subscription, with its breaker closed. Waiting deliveries are sent.
   *
   * No effect if it is already active.
   */
  enable(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/enable`, statuses: [200] });
  }

  /**
   * Pause a subscription.
   *
   * Pause deliveries until the subscription is resumed. Events are stored meanwhile. No effect if
   * already paused.
   */
  pause(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/pause`, statuses: [200] });
  }

  /**
   * Resume a subscription.
   *
   * Resume a paused subscription. Waiting deliveries are sent. No effect if it is already active.
   */
  resume(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/resume`, statuses: [200] });
  }

  /**
   * Check the target of a subscription again.
   *
   * Send the target of an `unverified` subscription another challenge. No effect if it is active.
   *
   * If `ENDPOINT_VERIFICATION` has been turned off since, the subscription becomes active at once.
   */
  verify(subscriptionId: string): Promise<Schemas['Subscription']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/verify`, statuses: [200] });
  }

  /**
   * Send a test event to a subscription.
   *
   * Send an event of the type `webhook.test` now, and wait for what the receiver responds.
   *
   * It is signed as every delivery is, and sent whether the subscription is active or not. It is no
   * delivery: it is in no list and no statistics, is not retried, and does not count for the circuit
   * breaker.
   */
  test(subscriptionId: string): Promise<Schemas['Tested']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/test`, statuses: [200] });
  }

  /**
   * Try a subscription before it is created.
   *
   * Send an event of the type `webhook.test` to the target of a subscription that does not exist yet.
   *
   * The body is that of a create request, and is checked in the same way. The event is signed with its
   * `secret_key`, or with one that is made for the test, and has its headers, its client certificate,
   * and what its template makes. No subscription is created; what is secret is forgotten when the event
   * was sent. Where targets have to answer a challenge first, nothing is sent, and the error of the
   * attempt is `egress_denied`.
   */
  testNew(options: Schemas['SubscriptionBody'] = {}): Promise<Schemas['Tested']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/subscriptions/test', statuses: [200], body: pick(options, ['destination', 'expires_after_idle_seconds', 'target_url', 'secret_key', 'signature_scheme', 'event_types', 'filter', 'filter_on_error', 'description', 'name', 'metadata', 'tag_paths', 'keep_when_disabled', 'rate_limit_per_second', 'rate_limit_burst', 'timeout_seconds', 'retry_policy', 'headers', 'verify', 'verification_secrets', 'relay_headers', 'kind', 'template', 'template_secrets', 'event_versions', 'client_certificate']) });
  }

  /**
   * Replace the signing secret.
   *
   * Replace the secret. The old ones stay valid for a while.
   *
   * Until then, `webhook-signature` carries a signature of each, newest first, and inbound webhooks
   * signed with any of them are accepted. `X-Hub-Signature-256` carries one signature: of the newest
   * secret that is not `ed25519`. At most 10 old secrets are kept. To change the scheme, set
   * `signature_scheme`.
   */
  rotateSecret(subscriptionId: string, options: Schemas['RotationBody'] & { idempotency_key?: string } = {}): Promise<Schemas['Rotated']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/rotate-secret`, statuses: [200], body: pick(options, ['secret_key', 'signature_scheme', 'overlap_hours']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List the public keys that verify deliveries.
   *
   * List the public keys that receivers need to verify `ed25519` signatures.
   *
   * While a rotation overlaps there are several, and a delivery carries a signature of each. Empty for
   * `hmac-sha256`.
   */
  publicKeys(subscriptionId: string): Promise<Schemas['PublicKeys']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/subscriptions/${segment(subscriptionId)}/public-keys`, statuses: [200], reads: true });
  }

  /**
   * Create an ingest token.
   *
   * Create a token for the path of webhooks to this subscription. It replaces the previous one.
   *
   * The token only allows sending events to this subscription.
   */
  createIngestToken(subscriptionId: string, options: { idempotency_key?: string } = {}): Promise<Schemas['IngestToken']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/ingest-token`, statuses: [201], keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * Delete the ingest token.
   *
   * Delete the ingest token. Requests with it then return 404.
   */
  deleteIngestToken(subscriptionId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/subscriptions/${segment(subscriptionId)}/ingest-token`, statuses: [204] });
  }

  /**
   * List deliveries to a subscription.
   *
   * List deliveries, newest first, without attempts. Also works for a deleted subscription.
   */
  deliveries(subscriptionId: string, options: { tenant?: string; limit?: number; cursor?: string; status?: Schemas['DeliveryStatus'] } = {}): Pages<Schemas['DeliverySummary'], Schemas['DeliveryPage']> {
    return new Pages(this.transport, { method: 'GET', path: `/api/v1/subscriptions/${segment(subscriptionId)}/deliveries`, statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'status']), reads: true });
  }

  /**
   * Pull deliveries.
   *
   * Lease due deliveries of a subscription whose `destination` is `pull`, the longest due first.
   *
   * Report what became of each. One whose lease expires without a result has a failed attempt, and is
   * retried by the retry policy. While the subscription is paused or disabled there are none.
   */
  pull(subscriptionId: string, options: Schemas['PullBody'] = {}): Promise<Schemas['PulledDeliveries']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/pull`, statuses: [200], body: pick(options, ['max_deliveries', 'wait_seconds', 'lease_seconds']), waitSeconds: options.wait_seconds });
  }

  /**
   * Report what became of pulled deliveries.
   *
   * Record results, each for itself. A repeated request changes nothing, and gets the same response.
   */
  report(subscriptionId: string, options: Schemas['PullResultsBody']): Promise<Schemas['ReportedResults']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/pull/results`, statuses: [200], body: pick(options, ['results']) });
  }

  /**
   * Recover what a subscription did not get.
   *
   * Create a job for what one subscription did not get in a time.
   *
   * It retries deliveries that failed, or replays events: those that the subscription has no delivery
   * of, or all that it wants. Events that were sent only to another subscription are not among them.
   */
  recover(subscriptionId: string, options: Schemas['RecoverBody'] & { idempotency_key?: string }): Promise<Schemas['Job']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/subscriptions/${segment(subscriptionId)}/recover`, statuses: [202], body: pick(options, ['from', 'to', 'only', 'rate_per_second']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * Get statistics of a subscription.
   *
   * Get statistics of one subscription over a window that ends now. Also works for a deleted
   * subscription.
   */
  stats(subscriptionId: string, options: { tenant?: string; window?: string } = {}): Promise<Schemas['Stats']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/subscriptions/${segment(subscriptionId)}/stats`, statuses: [200], query: pick(options, ['tenant', 'window']), reads: true });
  }
}

/** Operations on templates. */
export class TemplatesResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Preview a template.
   *
   * Render a template from an event, without storing or sending anything.
   *
   * A template that fails is a response with `error`, not an error. Stored secrets are never used.
   */
  preview(options: Schemas['TemplatePreviewBody'] = {}): Promise<Schemas['TemplatePreview']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/templates/preview', statuses: [200], body: pick(options, ['template', 'template_secrets', 'event', 'event_id', 'subscription_id']) });
  }
}

/** Operations on event types. */
export class EventTypesResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Create an event type.
   *
   * Add an event type to the catalog, with version 1 of its schema.
   */
  create(options: Schemas['EventTypeBody'] & { idempotency_key?: string }): Promise<Schemas['EventType']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/event-types', statuses: [201], body: pick(options, ['schema', 'status', 'sunset_at', 'description', 'example', 'down_conversion', 'name', 'validation']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List event types.
   *
   * List the event types of the catalog by name, or look one up by its name.
   */
  list(options: { limit?: number; cursor?: string; name?: string } = {}): Pages<Schemas['EventType'], Schemas['EventTypePage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/event-types', statuses: [200], query: pick(options, ['limit', 'cursor', 'name']), reads: true });
  }

  /**
   * Get an event type.
   *
   * Return an event type with its newest version.
   */
  get(eventTypeId: string): Promise<Schemas['EventType']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/event-types/${segment(eventTypeId)}`, statuses: [200], reads: true });
  }

  /**
   * Change an event type.
   *
   * Change the description or the validation of an event type.
   */
  update(eventTypeId: string, options: Schemas['EventTypePatch'] = {}): Promise<Schemas['EventType']> {
    return this.transport.call({ method: 'PATCH', path: `/api/v1/event-types/${segment(eventTypeId)}`, statuses: [200], body: pick(options, ['description', 'validation']) });
  }

  /**
   * Delete an event type.
   *
   * Delete an event type with its versions. Its events stay, and new ones are not validated.
   */
  delete(eventTypeId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/event-types/${segment(eventTypeId)}`, statuses: [204] });
  }

  /**
   * Add a version.
   *
   * Add the next version to an event type. If it is `live`, events are validated against it from now on.
   */
  createVersion(eventTypeId: string, options: Schemas['EventTypeVersionBody'] & { idempotency_key?: string }): Promise<Schemas['EventTypeVersion']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/event-types/${segment(eventTypeId)}/versions`, statuses: [201], body: pick(options, ['schema', 'status', 'sunset_at', 'description', 'example', 'down_conversion']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List the versions of an event type.
   *
   * Return all versions of an event type, of which there are at most 50.
   */
  listVersions(eventTypeId: string): Promise<Schemas['EventTypeVersionList']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/event-types/${segment(eventTypeId)}/versions`, statuses: [200], reads: true });
  }

  /**
   * Compare a schema with a version.
   *
   * List what would be breaking in a new version: what lets through payloads that the version promises
   * not to have.
   *
   * A member that is no longer required, a new value of an enum, and a wider range are breaking; a new
   * member is not. Nothing is stored.
   */
  checkVersion(eventTypeId: string, options: Schemas['EventTypeCheckBody']): Promise<Schemas['SchemaComparison']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/event-types/${segment(eventTypeId)}/versions/check`, statuses: [200], body: pick(options, ['schema', 'version']) });
  }

  /**
   * Get a version.
   *
   * Return a version of an event type.
   */
  getVersion(eventTypeId: string, number: string): Promise<Schemas['EventTypeVersion']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/event-types/${segment(eventTypeId)}/versions/${segment(number)}`, statuses: [200], reads: true });
  }

  /**
   * Change a version.
   *
   * Publish a draft, deprecate a version, or change what is said about it. A published schema never
   * changes.
   */
  updateVersion(eventTypeId: string, number: string, options: Schemas['EventTypeVersionPatch'] = {}): Promise<Schemas['EventTypeVersion']> {
    return this.transport.call({ method: 'PATCH', path: `/api/v1/event-types/${segment(eventTypeId)}/versions/${segment(number)}`, statuses: [200], body: pick(options, ['schema', 'status', 'sunset_at', 'description', 'example', 'down_conversion']) });
  }
}

/** Operations on catalog. */
export class CatalogResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Export the catalog.
   *
   * Describe the current versions of event types in a format that code generators and documentation
   * pages read.
   *
   * Event types that have only drafts are left out. 422 if the document would have more than 2 MiB: then
   * select fewer with `event_type`.
   */
  exportDocument(options: { format?: Schemas['CatalogFormat']; event_type?: (string)[] } = {}): Promise<Schemas['CatalogDocument']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/catalog', statuses: [200], query: pick(options, ['format', 'event_type']), reads: true });
  }

  /**
   * Import a document to the catalog.
   *
   * Create event types and versions from an OpenAPI or AsyncAPI document, as requests one by one would.
   *
   * After that, the current version of each event type is as in the document; importing it again changes
   * nothing. Event types that are refused do not keep others from being imported, and event types that
   * are not in the document stay.
   */
  importDocument(options: Schemas['CatalogImportBody']): Promise<Schemas['CatalogImport']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/catalog/import', statuses: [200], body: pick(options, ['document', 'dry_run']) });
  }
}

/** Operations on filters. */
export class FiltersResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Try a filter on events.
   *
   * Evaluate a filter on an event, on stored events, or on the latest events for a subscription.
   *
   * Nothing is stored. 422 names the line and the column of what is wrong with the filter.
   */
  check(options: Schemas['FilterCheckBody']): Promise<Schemas['FilterCheck']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/filters/check', statuses: [200], body: pick(options, ['filter', 'event', 'event_ids', 'subscription_id', 'last']) });
  }
}

/** Operations on deliveries. */
export class DeliveriesResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Search deliveries.
   *
   * Find deliveries to any subscription, newest first, without attempts.
   *
   * Give a parameter several times to find what has one of the values; different parameters must all
   * match. Deliveries are ordered by when they were accepted, so a cursor stays valid while others
   * arrive.
   */
  list(options: { limit?: number; cursor?: string; event_type?: (string)[]; idempotency_key?: (string)[]; provider_id?: (string)[]; tag?: (string)[]; from?: string; to?: string; order?: Schemas['ListOrder']; subscription_id?: (string)[]; status?: (Schemas['DeliveryStatus'])[]; reason?: (Schemas['DeliveryReason'])[]; status_code?: (string)[]; error_kind?: (string)[]; held_by?: (Schemas['SearchedHold'])[]; min_attempts?: number } = {}): Pages<Schemas['DeliverySummary'], Schemas['FoundDeliveries']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/deliveries', statuses: [200], query: pick(options, ['limit', 'cursor', 'event_type', 'idempotency_key', 'provider_id', 'tag', 'from', 'to', 'order', 'subscription_id', 'status', 'reason', 'status_code', 'error_kind', 'held_by', 'min_attempts']), reads: true });
  }

  /**
   * Count deliveries in groups.
   *
   * Count the deliveries that a search finds, 10,000 at a time from the newest on.
   *
   * If there are more, `scanned_to` says how far the count got, and `next_cursor` counts on from there:
   * add the groups of both. `limit`, `order` and `format` have no meaning here.
   */
  summary(options: { limit?: number; cursor?: string; event_type?: (string)[]; idempotency_key?: (string)[]; provider_id?: (string)[]; tag?: (string)[]; from?: string; to?: string; order?: Schemas['ListOrder']; subscription_id?: (string)[]; status?: (Schemas['DeliveryStatus'])[]; reason?: (Schemas['DeliveryReason'])[]; status_code?: (string)[]; error_kind?: (string)[]; held_by?: (Schemas['SearchedHold'])[]; min_attempts?: number; group_by: Schemas['SummaryGroup'] }): Promise<Schemas['DeliverySummaryPage']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/deliveries/summary', statuses: [200], query: pick(options, ['limit', 'cursor', 'event_type', 'idempotency_key', 'provider_id', 'tag', 'from', 'to', 'order', 'subscription_id', 'status', 'reason', 'status_code', 'error_kind', 'held_by', 'min_attempts', 'group_by']), reads: true });
  }

  /**
   * Get a delivery and its attempts.
   *
   * Get a delivery with every attempt, oldest first.
   */
  get(deliveryId: string): Promise<Schemas['Delivery']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/deliveries/${segment(deliveryId)}`, statuses: [200], reads: true });
  }

  /**
   * Retry a delivery now.
   *
   * Make a delivery pending now, whatever its status, with its full retry schedule.
   *
   * A scheduled retry is replaced. While the subscription's circuit breaker is open this delivery is its
   * probe, and is sent now unless another probe is in progress. Returns 409 while a worker is sending
   * the delivery or its subscription is disabled, and 410 if its payload was erased, is no longer
   * retained, or is about to be removed.
   */
  retry(deliveryId: string): Promise<Schemas['Delivery']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/deliveries/${segment(deliveryId)}/retry`, statuses: [200] });
  }

  /**
   * Cancel a delivery.
   *
   * Cancel a delivery that is pending or scheduled. A cancelled delivery stays cancelled.
   */
  cancel(deliveryId: string): Promise<Schemas['Delivery']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/deliveries/${segment(deliveryId)}/cancel`, statuses: [200] });
  }
}

/** Operations on jobs. */
export class JobsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Retry, replay, or cancel many deliveries, or erase events.
   *
   * Create a job, or with `dry_run` count what it would do.
   *
   * A job works through its deliveries a few hundred at a time, at its rate, and survives restarts. Each
   * delivery is changed at most once. Rate limits, circuit breakers, and pauses of subscriptions apply
   * as always. The deliveries of a job are those that match when it is created, or when its dry run was
   * made. A repeated request with the same `Idempotency-Key` returns the job of the first one as it is
   * now; a dry run ignores the key.
   */
  create(options: Schemas['JobBody'] & { idempotency_key?: string } = {}): Promise<Schemas['Job'] | Schemas['JobPreview']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/jobs', statuses: [202, 200], body: pick(options, ['kind', 'filter', 'to_subscription_id', 'only', 'rate_per_second', 'dry_run', 'token']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List jobs.
   *
   * List jobs, newest first. They are kept for 30 days after they end.
   */
  list(options: { tenant?: string; limit?: number; cursor?: string; status?: Schemas['JobStatus'] } = {}): Pages<Schemas['Job'], Schemas['JobPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/jobs', statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'status']), reads: true });
  }

  /**
   * Get a job and its progress.
   *
   * Get a job: what it has done, what became of it, and when it will be complete.
   */
  get(jobId: string): Promise<Schemas['Job']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/jobs/${segment(jobId)}`, statuses: [200], reads: true });
  }

  /**
   * Pause a job.
   *
   * Pause a job that is queued or running. What it has made pending is still sent.
   */
  pause(jobId: string): Promise<Schemas['Job']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/jobs/${segment(jobId)}/pause`, statuses: [200] });
  }

  /**
   * Resume a job.
   *
   * Go on with a job that is paused.
   */
  resume(jobId: string): Promise<Schemas['Job']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/jobs/${segment(jobId)}/resume`, statuses: [200] });
  }

  /**
   * Cancel a job.
   *
   * End a job before it is complete. What it has done stays done.
   */
  cancel(jobId: string): Promise<Schemas['Job']> {
    return this.transport.call({ method: 'POST', path: `/api/v1/jobs/${segment(jobId)}/cancel`, statuses: [200] });
  }
}

/** Operations on stats. */
export class StatsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Get statistics of all subscriptions.
   *
   * Get statistics of all subscriptions over a window that ends now.
   */
  get(options: { tenant?: string; window?: string } = {}): Promise<Schemas['Stats']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/stats', statuses: [200], query: pick(options, ['tenant', 'window']), reads: true });
  }

  /**
   * Get statistics over time.
   *
   * Get statistics in steps of a minute to a day, in total and by outcome, subscription, or event type.
   *
   * The 200 largest event types of each minute (of each hour, for steps of `1h` and `1d`) are counted by
   * name. All others belong to the group `other`.
   */
  series(options: { tenant?: string; from?: string; to?: string; step?: Schemas['StatsStep']; group_by?: Schemas['StatsGrouping']; subscription_id?: (string)[]; limit?: number } = {}): Promise<Schemas['StatsOverTime']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/stats/series', statuses: [200], query: pick(options, ['tenant', 'from', 'to', 'step', 'group_by', 'subscription_id', 'limit']), reads: true });
  }

  /**
   * Count refused events.
   *
   * Count the events that were refused as they came in over REST, by subscription and reason.
   *
   * A refused event is a request to send a webhook, an event, or a batch that got an error, or an event
   * of a batch that has an error. Requests without a valid API key or ingest token are of no tenant, and
   * not counted.
   */
  refusals(options: { tenant?: string; from?: string; to?: string; subscription_id?: (string)[]; limit?: number } = {}): Promise<Schemas['Refusals']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/stats/refusals', statuses: [200], query: pick(options, ['tenant', 'from', 'to', 'subscription_id', 'limit']), reads: true });
  }
}

/** Operations on portal links. */
export class PortalLinksResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Create a portal link.
   *
   * Create an address where a customer sees and manages their own webhooks, in your page or in one of
   * its own.
   */
  create(options: Schemas['PortalLinkBody']): Promise<Schemas['PortalLink']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/portal-links', statuses: [201], body: pick(options, ['tenant_id', 'capabilities', 'subscriptions', 'expires_in_seconds', 'origin']) });
  }

  /**
   * Revoke a portal link.
   *
   * End a portal link before its time. Within 5 seconds its holder is refused everywhere.
   */
  revoke(linkId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/portal-links/${segment(linkId)}`, statuses: [204] });
  }
}

/** Operations on tenants. */
export class TenantsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Create a tenant.
   *
   * Create a tenant, which has no API keys yet.
   */
  create(options: Schemas['TenantBody'] & { idempotency_key?: string }): Promise<Schemas['Tenant']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/admin/tenants', statuses: [201], body: pick(options, ['id', 'name', 'description', 'weight', 'quotas', 'validation']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List tenants.
   *
   * List tenants that are not deleted, in the order of their ids.
   */
  list(options: { limit?: number; cursor?: string } = {}): Pages<Schemas['Tenant'], Schemas['TenantPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/admin/tenants', statuses: [200], query: pick(options, ['limit', 'cursor']), reads: true });
  }

  /**
   * Get a tenant.
   *
   * Return a tenant with its quotas and what it uses of them.
   */
  get(tenantId: string): Promise<Schemas['Tenant']> {
    return this.transport.call({ method: 'GET', path: `/api/v1/admin/tenants/${segment(tenantId)}`, statuses: [200], reads: true });
  }

  /**
   * Change a tenant.
   *
   * Change a tenant. Every process applies new quotas within 2 seconds, and a new weight within 10.
   */
  update(tenantId: string, options: Schemas['TenantPatch'] = {}): Promise<Schemas['Tenant']> {
    return this.transport.call({ method: 'PATCH', path: `/api/v1/admin/tenants/${segment(tenantId)}`, statuses: [200], body: pick(options, ['name', 'description', 'weight', 'validation', 'publishes_catalog', 'quotas', 'portal']) });
  }

  /**
   * Delete a tenant.
   *
   * Delete a tenant and revoke its API keys. Its id cannot be used again.
   */
  delete(tenantId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/admin/tenants/${segment(tenantId)}`, statuses: [204] });
  }
}

/** Operations on api keys. */
export class ApiKeysResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Create an API key.
   *
   * Create an API key. Only its digest is stored, so only this response shows it.
   */
  create(options: Schemas['ApiKeyBody'] & { idempotency_key?: string }): Promise<Schemas['CreatedApiKey']> {
    return this.transport.call({ method: 'POST', path: '/api/v1/admin/api-keys', statuses: [201], body: pick(options, ['tenant_id', 'name', 'role', 'capabilities', 'pull_subscription_ids', 'expires_at', 'requests_per_second']), keyed: true, idempotencyKey: options.idempotency_key });
  }

  /**
   * List API keys.
   *
   * List the API keys of one tenant or of all, newest first, including revoked and expired keys.
   */
  list(options: { tenant?: string; limit?: number; cursor?: string; tenant_id?: string } = {}): Pages<Schemas['ApiKey'], Schemas['ApiKeyPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/admin/api-keys', statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'tenant_id']), reads: true });
  }

  /**
   * Revoke an API key.
   *
   * Revoke an API key permanently. It is refused everywhere within 5 seconds, and stays in the list.
   */
  revoke(keyId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/admin/api-keys/${segment(keyId)}`, statuses: [204] });
  }
}

/** Operations on sessions. */
export class SessionsResource {
  constructor(private readonly transport: Transport) {}

  /**
   * List sessions.
   *
   * List who is signed in at the console, newest first, including sessions that were revoked in the last
   * 12 hours.
   */
  list(options: { tenant?: string; limit?: number; cursor?: string; tenant_id?: string } = {}): Pages<Schemas['Session'], Schemas['SessionPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/admin/sessions', statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'tenant_id']), reads: true });
  }

  /**
   * Revoke a session.
   *
   * Revoke a session permanently. It is refused everywhere within 5 seconds; its key remains valid.
   */
  revoke(sessionId: string): Promise<void> {
    return this.transport.call({ method: 'DELETE', path: `/api/v1/admin/sessions/${segment(sessionId)}`, statuses: [204] });
  }
}

/** Operations on audit. */
export class AuditResource {
  constructor(private readonly transport: Transport) {}

  /**
   * List audit entries.
   *
   * List changes to subscriptions, secrets, deliveries, tenants and API keys, and who made them, newest
   * first.
   *
   * An entry is written in the transaction of its change and kept for `AUDIT_RETENTION_HOURS`. It
   * contains no secrets, tokens or headers, and only the scheme, host and port of a target URL. Requests
   * that were refused or failed are not recorded, nor is the sending of events. If an admin reads in
   * another tenant, that is recorded as `tenant.enter`.
   */
  list(options: { tenant?: string; limit?: number; cursor?: string; tenant_id?: string; actor?: string; action?: Schemas['Action']; resource_type?: Schemas['ResourceType']; resource_id?: string; from?: string; to?: string } = {}): Pages<Schemas['AuditEntry'], Schemas['AuditPage']> {
    return new Pages(this.transport, { method: 'GET', path: '/api/v1/admin/audit', statuses: [200], query: pick(options, ['tenant', 'limit', 'cursor', 'tenant_id', 'actor', 'action', 'resource_type', 'resource_id', 'from', 'to']), reads: true });
  }
}

/** Operations on system. */
export class SystemResource {
  constructor(private readonly transport: Transport) {}

  /**
   * Get what the service runs on.
   *
   * Get the processes of the service with their versions, the stores, the queue of all tenants, and the
   * partitions.
   *
   * A service that does not respond is listed in `unavailable`, and its part is missing. Everybody who
   * asks within 5 seconds gets the same.
   */
  get(): Promise<Schemas['System']> {
    return this.transport.call({ method: 'GET', path: '/api/v1/system', statuses: [200], reads: true });
  }
}

/** Every operation of the REST API, by resource. */
export class Api {
  readonly webhooks: WebhooksResource;
  readonly events: EventsResource;
  readonly subscriptions: SubscriptionsResource;
  readonly templates: TemplatesResource;
  readonly eventTypes: EventTypesResource;
  readonly catalog: CatalogResource;
  readonly filters: FiltersResource;
  readonly deliveries: DeliveriesResource;
  readonly jobs: JobsResource;
  readonly stats: StatsResource;
  readonly portalLinks: PortalLinksResource;
  readonly tenants: TenantsResource;
  readonly apiKeys: ApiKeysResource;
  readonly sessions: SessionsResource;
  readonly audit: AuditResource;
  readonly system: SystemResource;

  constructor(protected readonly transport: Transport) {
    this.webhooks = new WebhooksResource(transport);
    this.events = new EventsResource(transport);
    this.subscriptions = new SubscriptionsResource(transport);
    this.templates = new TemplatesResource(transport);
    this.eventTypes = new EventTypesResource(transport);
    this.catalog = new CatalogResource(transport);
    this.filters = new FiltersResource(transport);
    this.deliveries = new DeliveriesResource(transport);
    this.jobs = new JobsResource(transport);
    this.stats = new StatsResource(transport);
    this.portalLinks = new PortalLinksResource(transport);
    this.tenants = new TenantsResource(transport);
    this.apiKeys = new ApiKeysResource(transport);
    this.sessions = new SessionsResource(transport);
    this.audit = new AuditResource(transport);
    this.system = new SystemResource(transport);
  }
}
