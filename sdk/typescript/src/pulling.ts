/** Pulls deliveries of a subscription whose `destination` is `pull`: each is leased until its result is reported. */
import { ApiError, ConnectionFailed, WebhookServiceError } from './errors.js';
import type { SubscriptionsResource } from './resources.js';
import type { components } from './schema.js';
import { sleep } from './transport.js';

type Schemas = components['schemas'];

export interface PullOptions {
  /** The most to lease at once. Default: 10. */
  maxDeliveries?: number;
  /** How long the service waits for the first one. Default: 20. */
  waitSeconds?: number;
  /** Default: 60. */
  leaseSeconds?: number;
  /** Ends the loop. */
  signal?: AbortSignal;
}

const REPORTS = 5;
const MAX_DELAY_SECONDS = 30;
// Refusals that pass, or in which nobody knows; others end the loop.
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/** The lease ended before the result was reported: the delivery is retried, here or elsewhere. */
export class LeaseExpired extends WebhookServiceError {}

/** A delivery that is leased. Report a result before its lease ends. */
export class Pulled {
  private readonly began = Date.now();

  constructor(
    private readonly subscriptions: SubscriptionsResource,
    private readonly subscriptionId: string,
    readonly delivery: Schemas['PulledDelivery'],
  ) {}

  get id(): string {
    return this.delivery.id;
  }

  get eventType(): string | null {
    return this.delivery.event_type;
  }

  /** The headers as they would be sent to a target, signatures included. */
  get headers(): Record<string, string> {
    return this.delivery.headers;
  }

  /** The exact bytes of the payload. */
  get payload(): Uint8Array {
    return Uint8Array.from(atob(this.delivery.payload_base64), (character) => character.charCodeAt(0));
  }

  /** Return the payload, decoded. */
  json(): unknown {
    return JSON.parse(new TextDecoder().decode(this.payload));
  }

  /** Report that it is delivered. */
  succeed(): Promise<void> {
    return this.report({ outcome: 'success', duration_ms: Date.now() - this.began });
  }

  /** Report that the attempt failed; it is retried by the retry policy. */
  fail(message?: string): Promise<void> {
    return this.report({ outcome: 'failure', message: message?.slice(0, 500), duration_ms: Date.now() - this.began });
  }

  /** Extend the lease, to this long from now on. */
  extend(leaseSeconds = 60): Promise<void> {
    return this.report({ outcome: 'extend', lease_seconds: leaseSeconds });
  }

  private async report(result: Omit<Schemas['PullResult'], 'delivery_id' | 'lease_token'>): Promise<void> {
    const results = [{ ...result, delivery_id: this.delivery.id, lease_token: this.delivery.lease_token }];
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await this.subscriptions.report(this.subscriptionId, { results });
        const status = response.results[0]?.status;
        if (status === 'recorded') return;
        throw new LeaseExpired(`the result of delivery ${this.id} was not recorded: ${status}`);
      } catch (error) {
        if (attempt === REPORTS || !isPassing(error)) throw error;
        await sleep(pause(attempt)); // a repeated report changes nothing
      }
    }
  }
}

/** Yield deliveries for as long as it is looped over; wait while there are none, and while the service is away. */
export async function* pull(
  subscriptions: SubscriptionsResource,
  subscriptionId: string,
  options: PullOptions = {},
): AsyncGenerator<Pulled> {
  let failures = 0;
  while (!options.signal?.aborted) {
    let found: Schemas['PulledDeliveries'];
    try {
      found = await subscriptions.pull(subscriptionId, {
        max_deliveries: options.maxDeliveries ?? 10,
        wait_seconds: options.waitSeconds ?? 20,
        lease_seconds: options.leaseSeconds ?? 60,
      });
    } catch (error) {
      if (!isPassing(error)) throw error;
      await sleep(pause(++failures));
      continue;
    }
    failures = 0;
    for (const delivery of found.deliveries) yield new Pulled(subscriptions, subscriptionId, delivery);
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof ConnectionFailed || (error instanceof ApiError && PASSING.has(error.status));
}

function pause(failures: number): number {
  return Math.min(MAX_DELAY_SECONDS, 0.5 * 2 ** (failures - 1));
}
