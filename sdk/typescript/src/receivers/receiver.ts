/** Receives deliveries: verifies each, and handles it once. */
import { VerificationFailed } from '../errors.js';
import { header, verify, type HeadersLike, type VerifyOptions } from '../verify.js';

/** A genuine delivery. */
export interface Received {
  id: string;
  eventId: string | null;
  eventType: string | null;
  attempt: number;
  timestamp: number;
  body: Uint8Array;
  /** Return the payload, decoded. */
  json(): unknown;
}

/** Remembers deliveries. Implement it over your database or cache if there are several processes. */
export interface Seen {
  /** Note that a delivery is being handled; return `done` or `handled` if it was before, or is. */
  begin(id: string): Promise<'new' | 'done' | 'handled'> | 'new' | 'done' | 'handled';
  done(id: string): Promise<void> | void;
  forget(id: string): Promise<void> | void;
}

/** Remembers the latest deliveries of this process. */
export class SeenInMemory implements Seen {
  private readonly states = new Map<string, 'done' | 'handled'>();

  constructor(private readonly remembered = 100_000) {}

  begin(id: string): 'new' | 'done' | 'handled' {
    const state = this.states.get(id);
    if (state === undefined) this.states.set(id, 'handled');
    return state ?? 'new';
  }

  done(id: string): void {
    this.states.delete(id); // to the end
    this.states.set(id, 'done');
    for (const [oldest, state] of this.states) {
      if (this.states.size <= this.remembered) break;
      if (state === 'done') this.states.delete(oldest);
    }
  }

  forget(id: string): void {
    this.states.delete(id);
  }
}

export interface ReceiverOptions extends VerifyOptions {
  /** The `secret_key` of the subscription, its `public_keys`, or several of them. */
  secrets: string | string[];
  /** Default: in memory. */
  seen?: Seen;
}

export type Handler = (received: Received) => Promise<unknown> | unknown;

/** What to respond. */
export interface Answer {
  status: number;
  text: string;
}

/** Return a function that verifies a delivery, has it handled once, and says what to respond. */
export function receiver(options: ReceiverOptions, handler: Handler) {
  const seen = options.seen ?? new SeenInMemory();
  return async (headers: HeadersLike, body: Uint8Array): Promise<Answer> => {
    let verified;
    try {
      verified = await verify(body, headers, options.secrets, options);
    } catch (error) {
      if (error instanceof VerificationFailed) return { status: 401, text: error.message };
      throw error;
    }
    const received: Received = {
      ...verified,
      eventId: header(headers, 'x-webhook-event-id'),
      eventType: header(headers, 'x-event-type'),
      attempt: Number(header(headers, 'x-webhook-attempt') ?? 1),
      body,
      json: () => JSON.parse(new TextDecoder().decode(body)) as unknown,
    };
    if (received.eventType === 'url_verification') {
      return { status: 200, text: String((received.json() as { challenge?: string }).challenge ?? '') };
    }
    const state = await seen.begin(received.id);
    if (state !== 'new') return { status: state === 'done' ? 204 : 409, text: '' };
    try {
      await handler(received);
    } catch (error) {
      await seen.forget(received.id); // the next attempt is handled again
      throw error;
    }
    await seen.done(received.id);
    return { status: 204, text: '' };
  };
}
