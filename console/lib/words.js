// Words for states, errors and reasons: one place, so that every page says the same.

/** @typedef {{tone: "ok" | "bad" | "warn" | "info" | "mute", icon: string, label: string}} Look */

/** @type {Record<string, Look>} */
export const DELIVERY = {
  pending: { tone: "info", icon: "dots", label: "Pending" },
  scheduled: { tone: "warn", icon: "clock", label: "Scheduled" },
  in_flight: { tone: "info", icon: "arrow", label: "In flight" },
  delivered: { tone: "ok", icon: "check", label: "Delivered" },
  failed: { tone: "bad", icon: "cross", label: "Failed" },
  cancelled: { tone: "mute", icon: "slash", label: "Cancelled" },
};

/** @type {Record<string, Look>} */
export const SUBSCRIPTION = {
  active: { tone: "ok", icon: "check", label: "Active" },
  paused: { tone: "warn", icon: "pause", label: "Paused" },
  disabled: { tone: "bad", icon: "slash", label: "Disabled" },
  unverified: { tone: "warn", icon: "clock", label: "Unverified" },
};

/** @type {Record<string, Look>} */
export const BREAKER = {
  closed: { tone: "ok", icon: "check", label: "Closed" },
  open: { tone: "bad", icon: "bolt", label: "Open" },
  half_open: { tone: "warn", icon: "bolt", label: "Probing" },
};

/** @type {Record<string, Look>} */
export const VERSION = {
  draft: { tone: "info", icon: "dots", label: "Draft" },
  live: { tone: "ok", icon: "check", label: "Live" },
  deprecated: { tone: "warn", icon: "clock", label: "Deprecated" },
};

/** @type {Record<string, Look>} */
export const JOB = {
  queued: { tone: "info", icon: "dots", label: "Queued" },
  running: { tone: "info", icon: "arrow", label: "Running" },
  paused: { tone: "warn", icon: "pause", label: "Paused" },
  succeeded: { tone: "ok", icon: "check", label: "Complete" },
  failed: { tone: "bad", icon: "cross", label: "Failed" },
  cancelled: { tone: "mute", icon: "slash", label: "Cancelled" },
};

/** What an error of an attempt means, and what to do. @type {Record<string, [string, string]>} */
export const ERRORS = {
  http_3xx: ["Redirect", "The receiver responded with a redirect, and redirects are not followed. Change the subscription's URL to where it leads."],
  http_4xx: ["Refused (4xx)", "The receiver refused the request. Often its path has changed, or it rejects the signature: verify this request below with its secret."],
  http_5xx: ["Receiver error (5xx)", "The receiver failed. Retries go on by the schedule; look into the receiver's log at the time of the attempt."],
  timeout: ["Timeout", "The receiver did not respond in time. It should respond with 2xx at once and do slow work afterwards."],
  dns: ["Name not resolved", "The host of the URL has no address, or no name server responded."],
  connect: ["No connection", "Nothing accepted the connection at the receiver's address: it is down, or a firewall refuses it."],
  tls: ["TLS failed", "The TLS handshake failed, or the receiver's certificate is not valid for its name."],
  connection_lost: ["Connection lost", "The receiver closed the connection before its response was complete."],
  invalid_response: ["Not HTTP", "What the receiver sent is not valid HTTP."],
  egress_denied: ["Target not allowed", "The URL leads to an address or a port that deliveries may not go to. An operator can allow it."],
  invalid_request: ["Invalid request", "No request can be made from the subscription's settings: check its URL and headers."],
  secret_unreadable: ["Secret unreadable", "The subscription's secrets cannot be decrypted with the keys that the service has. An operator must restore the encryption key."],
  template_failed: ["Template failed", "The subscription's template made nothing that can be sent. Fix it: each retry uses the current template."],
  consumer_failed: ["Consumer failed", "The consumer that pulled it reported a failure. Retries go on by the schedule; look into the consumer's log."],
  lease_expired: ["Lease expired", "The consumer that pulled it reported nothing before its lease ended: it was stopped, or took too long. Ask for a longer lease, or extend it."],
  interrupted: ["Interrupted", "The worker stopped before it knew the outcome. The receiver may have got the request."],
};

/** @type {Record<string, string>} */
export const REASONS = {
  retries_exhausted: "No retries left",
  expired: "Expired",
  worker_lost: "Workers lost",
  payload_gone: "Payload gone",
  cancelled: "Cancelled by hand",
  subscription_deleted: "Subscription deleted",
  erased: "Event erased",
};

/** @type {Record<string, string>} */
export const HOLDS = {
  paused: "Subscription paused",
  disabled: "Subscription disabled",
  unverified: "Target unverified",
  pull: "To be pulled",
  breaker_open: "Breaker open",
  recovering: "Endpoint recovering",
  concurrency: "Concurrency limit",
  rate_limit: "Rate limit",
};

/** @type {Record<string, string>} */
export const ROUTING = {
  matched: "Matched",
  replayed: "Replayed",
  event_type: "Other event types",
  created_later: "Created later",
  system: "System subscription",
  disabled: "Disabled",
  expanding: "Being created",
  scheduled: "Scheduled",
  addressed: "Sent to another",
  changed_since: "Changed since",
};

/** @type {Record<string, string>} */
export const JOBS = { retry: "Retry", replay: "Replay", cancel: "Cancel", erase: "Erase" };

/** Return the words for a kind of error. @param {string} kind */
export const errorName = (kind) => ERRORS[kind]?.[0] || sentence(kind);

/** Return a name of the API as words. @param {string} name */
export const sentence = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

/** Return who did something. @param {string} actor */
export function actorName(actor) {
  const known = { system: "the service", anonymous: "anonymous", bootstrap: "the bootstrap key" };
  if (actor.startsWith("job:")) return "a job";
  if (actor.startsWith("portal:")) return "a portal link";
  // No line ends after the ellipsis.
  return known[actor] || `key …\u2060${actor.slice(-6)}`;
}
