// Names of subscriptions, of which deliveries have only the ids.
import { html, signal } from "./html.js";
import { all, session, tenant } from "./api.js";
import { brief, place } from "./format.js";
import { link } from "./router.js";

/** @type {{value: Map<string, any>}} */
const known = signal(new Map());
let asked = "";
let askedAt = 0;
// A subscription that was created since is known within so long.
const FRESH_MS = 15_000;

/** Return what is known of subscriptions by their ids, and look again now and then. */
export function subscriptions() {
  const owner = `${session.value?.caller?.key_id} in ${tenant.value}`;
  if (asked !== owner || Date.now() - askedAt > FRESH_MS) {
    if (asked !== owner && asked) known.value = new Map();
    asked = owner;
    askedAt = Date.now();
    all("/api/v1/subscriptions", {}).then(
      ({ items }) => asked === owner && (known.value = new Map(items.map((item) => [item.id, item]))),
      () => null,
    );
  }
  return known.value;
}

/** Return where deliveries of a subscription go. @param {Api.Subscription} subscription */
export const leadsTo = (subscription) => (subscription.target_url ? place(subscription.target_url) : "consumers that pull");

/** Return the name of a subscription, or where it leads. @param {Api.Subscription} subscription */
export const nameOf = (subscription) => subscription.name || (subscription.target_url ? leadsTo(subscription) : `Pulled …${subscription.id.slice(-6)}`);

/** A subscription by its id. @param {{id: string}} props */
export function Subscription({ id }) {
  const found = subscriptions().get(id);
  return html`<a class="break" href=${link(`/subscriptions/${id}`)} title=${found?.target_url || id}>${found ? nameOf(found) : html`<span class="mono">${brief(id)}</span>`}</a>`;
}
