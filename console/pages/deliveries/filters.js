// The filters of a search for deliveries: as the API has them, in the address.
import { html, useMemo, useState } from "../../lib/html.js";
import { absolute, brief, iso, ofInput, toInput, zoned } from "../../lib/format.js";
import { here, param, params, setQuery } from "../../lib/router.js";
import { Button, Chip, Dialog, Input, Options, Select } from "../../lib/ui.js";
import { nameOf, subscriptions } from "../../lib/names.js";
import { DELIVERY, ERRORS, HOLDS, REASONS, errorName } from "../../lib/words.js";

/** Parameters that may be repeated, with their labels. @type {[string, string][]} */
const LISTS = [
  ["subscription_id", "Subscription"],
  ["event_type", "Event type"],
  ["tag", "Tag"],
  ["status_code", "Status code"],
  ["error_kind", "Error"],
  ["reason", "Reason"],
  ["held_by", "Held by"],
  ["idempotency_key", "Idempotency key"],
  ["provider_id", "Provider id"],
];
// What may contain a comma is entered a line each.
const LINES = ["tag", "idempotency_key", "provider_id"];
const PERIODS = { "1h": 3600, "24h": 86400, "7d": 7 * 86400 };
const NAMES = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", all: "Any time" };

/** Return the query of the API for what the address says, without its page. */
export function useFilter() {
  const query = here.value.query;
  const text = query.toString();
  return useMemo(() => {
    const found = /** @type {Record<string, any>} */ ({});
    for (const [name] of LISTS) if (query.has(name)) found[name] = query.getAll(name);
    for (const name of ["status", "min_attempts", "from", "to", "order"]) if (query.has(name)) found[name] = name === "status" ? query.getAll(name) : query.get(name);
    const since = query.get("since");
    if (!found.from && since) found.from = iso(since === "all" ? 0 : Date.now() - (PERIODS[since] || PERIODS["24h"]) * 1000);
    return found;
  }, [text]);
}

/** @param {{onClose: () => void}} props */
function Panel({ onClose }) {
  const [value, set] = useState(() => {
    const found = Object.fromEntries(LISTS.map(([name]) => [name, params(name).join(LINES.includes(name) ? "\n" : ", ")]));
    return { ...found, min_attempts: param("min_attempts"), from: toInput(param("from")), to: toInput(param("to")), order: param("order") };
  });
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  const apply = (event) => {
    event.preventDefault();
    const changes = /** @type {Record<string, any>} */ ({ min_attempts: value.min_attempts, order: value.order });
    for (const [name] of LISTS) changes[name] = value[name].split(LINES.includes(name) ? "\n" : ",").map((one) => one.trim()).filter(Boolean);
    for (const name of ["from", "to"]) changes[name] = ofInput(value[name]);
    if (changes.from) changes.since = null;
    setQuery(changes, { replace: false });
    onClose();
  };
  const text = (name, label, hint, more) => html`
    <${Input} label=${label} hint=${hint} ...${LINES.includes(name) ? { as: "textarea", rows: 1 } : more} value=${value[name]} onInput=${put(name)} />
  `;
  const select = (name, label, options) => {
    const found = [["", "Any"], ...options];
    const known = found.some(([key]) => key === value[name]);
    return html`<${Select} label=${label} value=${value[name]} onChange=${put(name)} options=${known ? found : [...found, [value[name], value[name]]]} />`;
  };
  const footer = html`
    <${Button} onClick=${onClose}>Close<//>
    <${Button} kind="primary" type="submit" form="filters">Search<//>
  `;
  return html`
    <${Dialog} title="Filters" wide onClose=${onClose} footer=${footer}>
      <form id="filters" class="filtergrid" onSubmit=${apply}>
        ${select("subscription_id", "Subscription", [...subscriptions().values()].map((one) => [one.id, nameOf(one)]))}
        ${text("event_type", "Event type", "order.* stands for all that begin so")}
        ${text("tag", "Tag", "Such as order=42, one a line")}
        ${text("status_code", "Status code", "Such as 503, or 5xx", { inputmode: "text" })}
        ${select("error_kind", "Error", Object.keys(ERRORS).map((kind) => [kind, errorName(kind)]))}
        ${select("reason", "Reason of the end", Object.entries(REASONS))}
        ${select("held_by", "Held by", Object.entries(HOLDS))}
        ${text("idempotency_key", "Idempotency key", "Kept for a day by default")}
        ${text("provider_id", "Id of the provider", "Such as Stripe’s evt_…")}
        ${text("min_attempts", "Attempts at least", "", { type: "number", min: 0, max: 1000000 })}
        ${text("from", "Accepted from", zoned(), { type: "datetime-local" })}
        ${text("to", "Accepted before", zoned(), { type: "datetime-local" })}
        ${select("order", "Order", [["oldest", "Oldest first"]])}
      </form>
    <//>
  `;
}

/** @param {{children?: any}} props */
export function Filters({ children }) {
  const [open, set] = useState(false);
  const since = param("from") || param("to") ? "custom" : param("since") || "24h";
  const period = (event) => {
    const value = event.currentTarget.value;
    if (value === "custom") set(true);
    else setQuery({ since: value === "24h" ? null : value, from: null, to: null }, { replace: false });
  };
  const known = subscriptions();
  const shown = (name, value) => {
    if (name === "subscription_id") return known.has(value) ? nameOf(known.get(value)) : brief(value);
    return { error_kind: errorName(value), reason: REASONS[value], held_by: HOLDS[value] }[name] || value;
  };
  const chips = LISTS.flatMap(([name, label]) => params(name).map((value) => ({ name, label, value })));
  return html`
    <div class="filters">
      <select aria-label="Period" onChange=${period}>
        <${Options} value=${since} options=${[...Object.entries(NAMES), ["custom", "From … to …"]]} />
      </select>
      <${Button} icon="filter" data-filters onClick=${() => set(true)}>Filters<//>
      ${chips.map(({ name, label, value }) => html`<${Chip} key=${name + value} name=${label} value=${shown(name, value)} onRemove=${() => setQuery({ [name]: params(name).filter((one) => one !== value) }, { replace: false })} />`)}
      ${param("from") && html`<${Chip} name="from" value=${absolute(param("from")).slice(0, 17)} onRemove=${() => setQuery({ from: null })} />`}
      ${param("to") && html`<${Chip} name="to" value=${absolute(param("to")).slice(0, 17)} onRemove=${() => setQuery({ to: null })} />`}
      ${param("min_attempts") && html`<${Chip} name="attempts ≥" value=${param("min_attempts")} onRemove=${() => setQuery({ min_attempts: null })} />`}
      ${children}
    </div>
    ${open && html`<${Panel} onClose=${() => set(false)} />`}
  `;
}

/** Whether the address narrows the search beyond its period. */
export const narrowed = () => LISTS.some(([name]) => param(name)) || Boolean(param("status") || param("min_attempts"));

export const STATES = Object.keys(DELIVERY);
