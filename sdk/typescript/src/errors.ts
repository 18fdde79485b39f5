/** What can go wrong. */

/** Anything that this package throws on purpose. */
export class WebhookServiceError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** There was no response, so it is not known whether the request had an effect. */
export class ConnectionFailed extends WebhookServiceError {}

/** The signature or the time of a delivery is missing or wrong. */
export class VerificationFailed extends WebhookServiceError {}

/** What is wrong with a field of a request. */
export interface FieldError {
  field: string;
  message: string;
}

/** The service refused a request (RFC 9457). `reason` is a stable code, and `errors` names each invalid field. */
export class ApiError extends WebhookServiceError {
  readonly status: number;
  readonly detail: string;
  readonly reason: string | null;
  readonly errors: FieldError[];
  readonly requestId: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(status: number, headers: Headers, body: string) {
    const found = problem(body);
    const detail = typeof found.detail === 'string' ? found.detail : `the response has status ${status}`;
    super(detail);
    this.status = status;
    this.detail = detail;
    this.reason = typeof found.reason === 'string' ? found.reason : null;
    this.errors = Array.isArray(found.errors) ? (found.errors as FieldError[]) : [];
    this.requestId = typeof found.request_id === 'string' ? found.request_id : headers.get('x-request-id');
    const seconds = headers.get('retry-after') ?? '';
    this.retryAfterSeconds = /^\d+$/.test(seconds) ? Number(seconds) : null;
  }
}

function problem(body: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(body);
    return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
  } catch {
    return {}; // of a proxy
  }
}
