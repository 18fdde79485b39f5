/** Client for the webhook delivery service: publish events, manage subscriptions, and verify what they get. */
import type { components } from './schema.js';

export { Client, type ClientOptions } from './client.js';
export { ApiError, ConnectionFailed, VerificationFailed, WebhookServiceError, type FieldError } from './errors.js';
export { LeaseExpired, Pulled, type PullOptions } from './pulling.js';
export { Pages } from './transport.js';
export { verify, type Verified, type VerifyOptions } from './verify.js';
export { VERSION } from './version.js';

/** The objects of the API by their names, such as `Schemas['Subscription']`. */
export type Schemas = components['schemas'];
