// The public REST API: requests, problem documents, who is signed in, and the tenant that is acted in.
import { signal } from "./html.js";

/**
 * @typedef {{key_id: string, name: string | null, role: "admin" | "write" | "read" | "ingest" | "portal", tenant_id: string, capabilities?: string[], limited?: boolean}} Caller
 * @typedef {{required: boolean, caller: Caller | null, expires_at: string | null, version: string, development: boolean, oidc?: boolean, trace_url?: string | null, token?: string, origin?: string | null, look?: {name: string | null, accent?: string | null, accent_dark?: string | null, has_logo?: boolean}}} Session
 * @typedef {{query?: Record<string, any>, body?: any, signal?: AbortSignal, headers?: Record<string, string>}} Options
 */

/** @type {Session} */
export const NOBODY = { required: true, caller: null, expires_at: null, version: "", development: false };
/** Who is signed in; null until that is known. @type {{value: Session | null}} */
export const session = signal(null);
/** The tenant that an operator acts in; empty for the key's own. */
export const tenant = signal("");

/** Whether the next change is copied as a command, and not made. */
export const copying = signal(false);
/** The commands that were copied. @type {{value: string[]}} */
export const copied = signal([]);
const COPIED = "COPIED";

/** Where the pages of a portal link are, or the catalog that a tenant publishes; empty in the console. */
export const base = /^\/(portal\/[0-9a-f-]{36}|catalogs\/[\w-]+)/.exec(location.pathname)?.[0] || "";
/** Whether it is a published catalog: one page, without a key. */
export const published = base.startsWith("/c");

/** What the API refused, or that it could not be reached. */
export class Problem extends Error {
  /** @param {{status?: number, reason?: string, title?: string, detail?: string, errors?: {field: string, message: string}[], request_id?: string}} document */
  constructor(document) {
    super(document.detail || document.title || "The request failed.");
    this.name = "Problem";
    this.status = document.status || 0;
    this.reason = document.reason || "";
    this.errors = document.errors || [];
    this.requestId = document.request_id || "";
  }

  /** Whether nothing went wrong: the request was copied. */
  get isCopy() {
    return this.reason === COPIED;
  }

  /** Return what is wrong with a field, if something is. @param {string} field */
  of(field) {
    return this.errors.find((error) => error.field === field || error.field.startsWith(`${field}.`))?.message;
  }
}

/**
 * Return a path with a query; lists repeat their parameter, and what is empty is left out.
 * @param {string} path
 * @param {Record<string, any>} [query]
 */
export function url(path, query = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") found.append(name, String(one));
    }
  }
  const text = found.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Make a request; throw a Problem unless the response is 2xx.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 */
export async function send(method, path, { query, body, signal: abort, headers = {} } = {}) {
  if (copying.value && method !== "GET" && path.startsWith("/api/")) {
    copied.value = [...copied.value, curl(method, path, body, query, headers)];
    throw new Problem({ reason: COPIED });
  }
  /** @type {Record<string, string>} */
  const sent = { "X-Webhook-Console": "1", ...headers };
  if (tenant.value && path.startsWith("/api/")) sent["X-Tenant"] = tenant.value;
  // Only a portal has it, and no cookie is asked for then.
  if (session.value?.token) sent.Authorization = `Bearer ${session.value.token}`;
  if (body !== undefined && !sent["Content-Type"]) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url(path, query), {
      method,
      headers: sent,
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      signal: abort,
      credentials: base ? "omit" : "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new Problem({ reason: "UNREACHABLE", detail: "The service cannot be reached. Is it running?" });
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  if (response.status === 401 && session.value?.caller && path.startsWith("/api/")) {
    session.value = { ...session.value, required: true, caller: null };
  }
  throw new Problem({ status: response.status, title: response.statusText, ...document });
}

/** Make a request and return its JSON. @param {string} method @param {string} path @param {Options} [options] @returns {Promise<any>} */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

/** @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [abort] @returns {Promise<any>} */
export const get = (path, query, abort) => call("GET", path, { query, signal: abort });

/**
 * Return every item of a list, page after page, up to `most`.
 * @param {string} path @param {Record<string, any>} query @param {AbortSignal} [abort] @param {number} [most]
 */
export async function all(path, query, abort, most = 1000) {
  const items = [];
  let cursor = "";
  do {
    const page = await get(path, { limit: 200, ...query, cursor }, abort);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return { items, more: Boolean(cursor) };
}

/** Find out whether a key is required, and who is signed in. */
export async function open() {
  session.value = await get("/console/session");
}

/**
 * Sign in; throw a Problem if the key is not valid.
 * @param {string} given
 */
export async function signIn(given) {
  session.value = await call("POST", "/console/session", { body: { key: given } });
}

/** Leave for the page of the OIDC issuer; throw a Problem if it cannot be asked. */
export async function leaveToSignIn() {
  const { url } = await call("POST", "/console/oidc");
  location.assign(url);
}

/** Sign out here and at the gateway; throw a Problem if the session may still be valid. */
export async function signOut() {
  await call("DELETE", "/console/session");
  session.value = { ...session.value, required: true, caller: null };
}

/**
 * Whether the caller may do something: what the role write allows, for portals by their capabilities; or what only admin does.
 * @param {"write" | "admin" | "create" | "manage" | "secrets" | "test" | "recover"} what
 */
export function allowed(what) {
  const { role, capabilities = [], limited } = session.value?.caller || {};
  if (role === "portal") return what === "create" ? !limited && capabilities.includes("manage") : capabilities.includes(what);
  return role === "admin" || (role === "write" && what !== "admin");
}

/**
 * Return the command that makes a request.
 * @param {string} method @param {string} path @param {any} [body] @param {Record<string, any>} [query] @param {Record<string, string>} [headers]
 */
export function curl(method, path, body, query, headers = {}) {
  const parts = [`curl -sS${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + url(path, query))}`];
  if (session.value?.required) parts.push('-H "Authorization: Bearer $WEBHOOK_API_KEY"');
  if (tenant.value) parts.push(`-H ${quoted(`X-Tenant: ${tenant.value}`)}`);
  const named = { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers };
  for (const [name, value] of Object.entries(named)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push(`-d ${quoted(typeof body === "string" ? body : JSON.stringify(masked(body)))}`);
  return parts.join(" \\\n  ");
}

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return a body without the secrets of a subscription, which must not be copied by accident. @param {Record<string, any>} body */
function masked(body) {
  const found = { ...body };
  for (const name of ["headers", "template_secrets"]) {
    if (found[name]) found[name] = Object.fromEntries(Object.entries(found[name]).map(([key, value]) => [key, value === null ? null : "…"]));
  }
  if (found.verification_secrets) found.verification_secrets = ["…"];
  if (found.secret_key) found.secret_key = "…";
  return found;
}

/** Have the browser save a file. @param {Blob} content @param {string} name */
export function save(content, name) {
  const at = URL.createObjectURL(content);
  Object.assign(document.createElement("a"), { href: at, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(at), 10_000);
}

/** Save what a request returns as a file. @param {string} path @param {Record<string, any>} query @param {string} name */
export async function download(path, query, name) {
  save(await (await send("GET", path, { query })).blob(), name);
}
