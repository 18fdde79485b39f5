// The pages of a portal link: signed in by the secret in the address, once, and then by a token that only this frame has.
import { html, useEffect } from "../lib/html.js";
import { NOBODY, base, call, session } from "../lib/api.js";
import { Card, Empty } from "../lib/ui.js";

const KEPT = `portal ${base}`;
const ASK_MS = 60_000;
let timer = 0;

/** @param {any} found */
function signedIn(found) {
  session.value = found;
  const { accent, accent_dark: dark } = found.look || {};
  const { style } = document.documentElement;
  if (accent) style.setProperty("--brand", accent);
  if (dark) style.setProperty("--brand-dark", dark);
  if (accent || dark) style.setProperty("--accent-soft", "color-mix(in srgb, var(--accent) 12%, var(--surface))");
  clearTimeout(timer);
  timer = setTimeout(ask, Math.max(0, Date.parse(found.expires_at) - Date.now() - ASK_MS));
}

/** Exchange the secret of a link. @param {string} path @param {string} secret */
async function exchange(path, secret) {
  const found = await call("POST", `${path}/session`, { body: { secret } });
  signedIn(found);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(found));
  } catch {
    // Browsers may refuse to keep it; then a reload needs another link.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) || "null");
  } catch {
    return null;
  }
}

/** Ask the page around this one for another link. Only a page of the link's origin can be there: the browser sees to it. */
function ask() {
  if (parent !== window) parent.postMessage({ type: "webhook-portal:ended" }, "*");
}

/** Sign in by the secret in the address, or as before the page was reloaded. */
export async function enter() {
  const secret = location.hash.slice(1);
  const before = kept();
  if (secret) history.replaceState(null, "", location.pathname + location.search);
  addEventListener("message", (event) => {
    if (event.source !== parent || parent === window || event.data?.type !== "webhook-portal:link") return;
    const { origin, pathname, hash } = new URL(event.data.url, location.href);
    if (origin === location.origin) exchange(pathname, hash.slice(1)).catch(() => {});
  });
  try {
    if (secret) return await exchange(base, secret);
  } catch (problem) {
    // Somebody went back to an address that was used here before.
    if (problem.status !== 401) throw problem;
  }
  if (before) signedIn(before);
  else session.value = NOBODY;
}

export function Ended() {
  useEffect(ask, []);
  return html`
    <main class="signin"><${Card}>
      <${Empty} icon="clock" title="This link has expired"><p>Open this page again from the app that you came from.</p><//>
    <//></main>
  `;
}
