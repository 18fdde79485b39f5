/** The client. */
import { pull, type Pulled, type PullOptions } from './pulling.js';
import { Api } from './resources.js';
import { Transport } from './transport.js';
import { VERSION } from './version.js';

export interface ClientOptions {
  /** Address of the service. Default: the variable WEBHOOK_URL, or http://127.0.0.1:8080. */
  url?: string;
  /** Default: the variable WEBHOOK_API_KEY. */
  apiKey?: string;
  /** Tenant to act in; requires a key with role admin. */
  tenant?: string;
  /** Default: 30. */
  timeoutSeconds?: number;
  /** How often requests are sent that read or have an Idempotency-Key; no others are repeated. Default: 5. */
  attempts?: number;
  /** Another fetch, such as one with a proxy. */
  fetch?: typeof fetch;
}

/** Calls the REST API: `client.events.publish({ event_type: 'order.created', payload: { order: 42 } })`. */
export class Client extends Api {
  constructor(options: ClientOptions = {}) {
    const key = options.apiKey ?? variable('WEBHOOK_API_KEY');
    const headers: Record<string, string> = { 'User-Agent': `webhook-service-sdk-typescript/${VERSION}` };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (options.tenant) headers['X-Tenant'] = options.tenant;
    super(
      new Transport({
        url: (options.url ?? variable('WEBHOOK_URL') ?? 'http://127.0.0.1:8080').replace(/\/+$/, ''),
        headers,
        attempts: options.attempts ?? 5,
        timeoutSeconds: options.timeoutSeconds ?? 30,
        fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      }),
    );
  }

  /** Yield the deliveries of a subscription whose `destination` is `pull`, for as long as it is looped over. */
  pull(subscriptionId: string, options: PullOptions = {}): AsyncGenerator<Pulled> {
    return pull(this.subscriptions, subscriptionId, options);
  }
}

function variable(name: string): string | undefined {
  return typeof process === 'undefined' ? undefined : process.env[name]; // edge runtimes may have none
}
