/** Verifies that a delivery is from the service, by Standard Webhooks. Runs on Node.js and on edge runtimes. */
import { VerificationFailed } from './errors.js';

const TOLERANCE_SECONDS = 300;
const PUBLIC = 'whpk_';
const SECRET_PREFIXES = ['v1,whsec_', 'whsec_'];

/** A delivery that is genuine. `id` is the same for every attempt: recognize duplicates by it. */
export interface Verified {
  id: string;
  timestamp: number;
}

export interface VerifyOptions {
  /** How old a delivery may be, or how far in the future. Default: 300. */
  toleranceSeconds?: number;
  /** Unix time in seconds. Default: now. */
  now?: number;
}

export type HeadersLike = Headers | Record<string, string | string[] | undefined>;

/**
 * Return the id and the time of a delivery; throw VerificationFailed unless one of the secrets signed it.
 *
 * `body` is the exact bytes that were received. `secrets` are the `secret_key` of the subscription (HMAC), or its
 * `public_keys` (`whpk_…`, Ed25519); while they are rotated give the old one, too.
 */
export async function verify(
  body: string | Uint8Array,
  headers: HeadersLike,
  secrets: string | string[],
  options: VerifyOptions = {},
): Promise<Verified> {
  const [id, timestamp, signature] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => {
    const found = header(headers, name);
    if (!found) throw new VerificationFailed(`the header ${name} is missing`);
    return found;
  }) as [string, string, string];
  if (!/^\d+$/.test(timestamp)) throw new VerificationFailed('webhook-timestamp must be Unix time in seconds');
  const now = options.now ?? Date.now() / 1000;
  if (Math.abs(now - Number(timestamp)) > (options.toleranceSeconds ?? TOLERANCE_SECONDS)) {
    throw new VerificationFailed('webhook-timestamp is too old, or in the future');
  }
  const keys = (typeof secrets === 'string' ? [secrets] : secrets).filter(Boolean);
  if (!keys.length) throw new TypeError('secrets must have a secret');
  const signed = concat(new TextEncoder().encode(`${id}.${timestamp}.`), bytes(body));
  const given = signature.split(/\s+/).map((one) => one.split(',') as [string, string?]);
  for (const key of keys) {
    const isPublic = key.startsWith(PUBLIC);
    for (const [version, encoded] of given) {
      if (version !== (isPublic ? 'v1a' : 'v1')) continue;
      const decoded = base64(encoded ?? '');
      if (decoded && (await (isPublic ? isByEd25519(key, decoded, signed) : isByHmac(key, decoded, signed)))) {
        return { id, timestamp: Number(timestamp) };
      }
    }
  }
  throw new VerificationFailed('no signature in webhook-signature was made with one of the secrets');
}

/** Return a header, whatever the case of its name. */
export function header(headers: HeadersLike, name: string): string | null {
  if (headers instanceof Headers) return headers.get(name);
  const found = Object.entries(headers).find(([other]) => other.toLowerCase() === name)?.[1];
  return (Array.isArray(found) ? found.join(', ') : found) ?? null;
}

async function isByHmac(secret: string, given: Uint8Array, signed: Uint8Array): Promise<boolean> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', hmacKey(secret) as BufferSource, algorithm, false, ['verify']);
  return crypto.subtle.verify('HMAC', key, given as BufferSource, signed as BufferSource);
}

/** Return the key: what comes after the prefix in base64, or the bytes of a secret without one. */
function hmacKey(secret: string): Uint8Array {
  const prefix = SECRET_PREFIXES.find((one) => secret.startsWith(one));
  if (prefix === undefined) return new TextEncoder().encode(secret);
  const decoded = base64(secret.slice(prefix.length));
  if (!decoded) throw new TypeError(`the secret must be base64 after ${prefix}`);
  return decoded;
}

async function isByEd25519(publicKey: string, given: Uint8Array, signed: Uint8Array): Promise<boolean> {
  const raw = base64(publicKey.slice(PUBLIC.length));
  if (raw?.length !== 32) throw new TypeError('a public key must be whpk_ and the base64 of 32 bytes');
  const key = await crypto.subtle.importKey('raw', raw as BufferSource, { name: 'Ed25519' }, false, ['verify']);
  return crypto.subtle.verify({ name: 'Ed25519' }, key, given as BufferSource, signed as BufferSource);
}

function base64(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

function bytes(body: string | Uint8Array): Uint8Array {
  return typeof body === 'string' ? new TextEncoder().encode(body) : body;
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const found = new Uint8Array(first.length + second.length);
  found.set(first);
  found.set(second, first.length);
  return found;
}
