/** Sends calls, and repeats those that may be repeated. */
import { ApiError, ConnectionFailed, type WebhookServiceError } from './errors.js';

/** A call of an operation. */
export interface Call {
  method: string;
  path: string;
  /** The statuses of success. */
  statuses: number[];
  query?: Record<string, unknown>;
  body?: Record<string, unknown>;
  raw?: string | Uint8Array;
  contentType?: string;
  headers?: Record<string, string | number | Record<string, string> | undefined>;
  /** Whether repeated requests are recognized by an Idempotency-Key. */
  keyed?: boolean;
  idempotencyKey?: string;
  /** Whether it changes nothing. */
  reads?: boolean;
  /** How long the service waits before it responds. */
  waitSeconds?: number;
}

export interface TransportOptions {
  url: string;
  headers: Record<string, string>;
  attempts: number;
  timeoutSeconds: number;
  fetch: typeof fetch;
}

// Refusals after which the same request can succeed. 409 is one only while the first request is still running.
const AGAIN = new Set([408, 429, 503]);
const IN_USE = 'IDEMPOTENCY_KEY_IN_USE';
const FIRST_DELAY_SECONDS = 0.5;
const MAX_DELAY_SECONDS = 30;

/** Return a value as a segment of a path. */
export function segment(text: string): string {
  if (!text) throw new TypeError('an id must not be empty');
  return encodeURIComponent(text);
}

/** Return some of the fields of an object. */
export function pick(from: object, names: string[]): Record<string, unknown> {
  const values = from as Record<string, unknown>;
  return Object.fromEntries(names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]));
}

export const sleep = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

export class Transport {
  constructor(private readonly options: TransportOptions) {}

  /** Return what the service responds; throw a WebhookServiceError. */
  async call<T>(call: Call): Promise<T> {
    const request = this.request(call);
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.send(call, request)) as T;
      } catch (error) {
        const delay = attempt < this.options.attempts ? delayBeforeRetry(call, attempt, error) : null;
        if (delay === null) throw error;
        await sleep(delay);
      }
    }
  }

  /** Return the request, which is the same each time it is sent: a new key is made here. */
  private request(call: Call): { url: string; init: RequestInit } {
    const headers: Record<string, string> = { Accept: 'application/json, application/problem+json' };
    for (const [name, value] of Object.entries(call.headers ?? {})) {
      if (value !== undefined) headers[name] = typeof value === 'object' ? pairs(value) : String(value);
    }
    let body: string | Uint8Array | undefined;
    if (call.raw !== undefined) {
      body = call.raw;
      headers['Content-Type'] = call.contentType ?? 'application/json';
    } else if (call.body) {
      body = JSON.stringify(call.body);
      headers['Content-Type'] = 'application/json';
    }
    if (call.keyed) headers['Idempotency-Key'] = call.idempotencyKey ?? crypto.randomUUID();
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(call.query ?? {})) {
      for (const one of Array.isArray(value) ? value : [value]) {
        query.append(name, one instanceof Date ? one.toISOString() : String(one));
      }
    }
    const url = this.options.url + call.path + (query.size ? `?${query}` : '');
    const init = { method: call.method, headers: { ...headers, ...this.options.headers }, body: body as BodyInit };
    return { url, init };
  }

  private async send(call: Call, request: { url: string; init: RequestInit }): Promise<unknown> {
    const milliseconds = (this.options.timeoutSeconds + (call.waitSeconds ?? 0)) * 1000;
    let response: Response;
    let text: string;
    try {
      const signal = AbortSignal.timeout(milliseconds);
      response = await this.options.fetch(request.url, { ...request.init, signal, redirect: 'manual' });
      text = await response.text();
    } catch (error) {
      throw new ConnectionFailed(`no response: ${String((error as Error).cause ?? error)}`, { cause: error });
    }
    if (!call.statuses.includes(response.status)) throw new ApiError(response.status, response.headers, text);
    return text ? JSON.parse(text) : undefined;
  }
}

/** Only a call that reads or has a key is repeated: of others nobody knows whether they had their effect. */
function delayBeforeRetry(call: Call, attempt: number, error: unknown): number | null {
  if (!(call.reads || call.keyed) || !isPassing(error as WebhookServiceError)) return null;
  if (error instanceof ApiError && error.retryAfterSeconds !== null) return error.retryAfterSeconds;
  const longest = Math.min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempt - 1));
  return longest * (0.5 + Math.random() / 2);
}

function isPassing(error: WebhookServiceError): boolean {
  if (error instanceof ConnectionFailed) return true;
  return error instanceof ApiError && (AGAIN.has(error.status) || error.reason === IN_USE);
}

function pairs(values: Record<string, string>): string {
  return Object.entries(values).map(([key, value]) => `${key}=${value}`).join(', ');
}

/** Everything in a list, which is read page by page as it is looped over with `for await`. */
export class Pages<Item, Page extends { items: Item[]; next_cursor: string | null }> implements AsyncIterable<Item> {
  constructor(
    private readonly transport: Transport,
    private readonly call: Call,
  ) {}

  /** Return each page as the service sends it. */
  async *pages(): AsyncGenerator<Page> {
    let call = this.call;
    for (;;) {
      const page = await this.transport.call<Page>(call);
      yield page;
      if (page.next_cursor === null) return;
      call = { ...call, query: { ...call.query, cursor: page.next_cursor } };
    }
  }

  /** Return the first page, whose `next_cursor` continues the list later. */
  firstPage(): Promise<Page> {
    return this.transport.call<Page>(this.call);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item> {
    for await (const page of this.pages()) yield* page.items;
  }
}
