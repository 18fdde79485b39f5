// Tenants: their quotas, and what they use of them.
import { html, useState } from "../../lib/html.js";
import { call, get, tenant } from "../../lib/api.js";
import { bytes, compact, count } from "../../lib/format.js";
import { Bar, Button, Check, Confirm, Curl, Dialog, Empty, Failure, IconButton, Input, Listed, Page, Table, toast } from "../../lib/ui.js";
import { useAction, useList } from "../../lib/query.js";
import { OnlyAdmins } from "./only.js";

const PATH = "/api/v1/admin/tenants";
/** Quotas with their names, formats, and the lists behind them. @type {[string, string, (value: number) => string, string][]} */
const QUOTAS = [
  ["subscriptions", "Subscriptions", count, "/subscriptions?"],
  ["events_per_second", "Events per second", (value) => `${compact(Math.round(value * 10) / 10)}/s`, "/events?"],
  ["waiting_deliveries", "Waiting deliveries", compact, "/deliveries?since=all&status=pending&status=scheduled&status=in_flight&"],
  ["stored_bytes", "Stored bytes", bytes, "/events?since=all&"],
  ["scheduled_events", "Scheduled events", compact, "/events?scheduled=true&"],
  ["scheduled_bytes", "Scheduled bytes", bytes, "/events?scheduled=true&"],
];
// More would push the actions out of sight.
const COLUMNS = ["Subscriptions", "Events", "Waiting", "Stored", "Scheduled"];

/** @param {{used: number, limit: number, format: (value: number) => string, label: string, href: string}} props */
function Use({ used, limit, format, label, href }) {
  const share = limit ? used / limit : 0;
  return html`
    <div class="num small"><a href=${href} aria-label=${`${label}: ${format(used)}`}>${format(used)}</a> <span class="mute">of ${format(limit)}</span></div>
    <${Bar} label=${`${label}: ${format(used)} of ${format(limit)}`} total=${limit} parts=${[[share > 0.9 ? "bad" : share > 0.7 ? "warn" : "accent", Math.min(used, limit)]]} />
  `;
}

export default function Tenants() {
  const list = useList((cursor, abort) => get(PATH, { limit: 50, cursor }, abort), [], { every: 10_000 });
  const [editing, edit] = useState(/** @type {any} */ (null));
  const [deleting, remove] = useState(/** @type {any} */ (null));
  return html`
    <${OnlyAdmins} title="Tenants">
      <${Page} title="Tenants" about="Customers or teams, isolated from each other: none sees or slows another."
        actions=${html`
          <${Button} kind="primary" icon="plus" onClick=${() => edit({})}>New tenant<//>
          <${Curl} items=${[
            { label: "List", method: "GET", path: PATH },
            { label: "Create", method: "POST", path: PATH, body: { id: "acme", name: "Acme Ltd" } },
            { label: "Change its quotas", method: "PATCH", path: `${PATH}/acme`, body: { quotas: { events_per_second: 200 } } },
          ]} />
        `}>
        <${Listed} list=${list} noun="tenants" empty=${html`<${Empty} icon="people" title="No tenants"><p>Create one for each customer or team.</p><//>`}>
          <${Table} label="Tenants" rows=${list.items} stale=${list.stale} columns=${[
            { title: "Tenant", cell: (item) => html`<span class="cellmain">${item.name || item.id}</span><div class="cellsub"><span class="mono">${item.id}</span> · weight ${item.weight}</div>` },
            ...COLUMNS.map((title, index) => ({ title, kind: index ? "lo" : "", cell: (item) => (item.usage ? QUOTAS.map(([name, label, format, path]) => label.startsWith(title) && html`<${Use} href=${`${path}tenant=${item.id}`} used=${item.usage[name]} limit=${item.limits[name]} format=${format} label=${label} />`) : html`<span class="mute">not known yet</span>`) })),
            {
              title: "Actions",
              unseen: true,
              kind: "num",
              cell: (item) => html`
                <span class="row end">
                  ${item.id !== tenant.value && html`<${Button} kind="small" href=${`/?tenant=${item.id}`} title=${`Act in ${item.id}`}>Act in it<//>`}
                  <${Button} kind="small" onClick=${() => edit(item)}>Edit<//>
                  ${item.id !== "default" && html`<${IconButton} icon="trash" label=${`Delete the tenant ${item.id}`} onClick=${() => remove(item)} />`}
                </span>
              `,
            },
          ]} />
        <//>
        ${editing && html`<${Edit} item=${editing} onClose=${() => edit(null)} onSaved=${list.refresh} />`}
        ${deleting && html`<${Confirm} title=${`Delete the tenant ${deleting.id}?`} label="Delete the tenant" danger onClose=${() => remove(null)} act=${async () => { await call("DELETE", `${PATH}/${deleting.id}`); toast("The tenant is deleted"); list.refresh(); }}><p>Its API keys are revoked. Its id cannot be used again. This cannot be undone.</p><//>`}
      <//>
    <//>
  `;
}

/** @param {{item: any, onClose: () => void, onSaved: () => void}} props */
function Edit({ item, onClose, onSaved }) {
  const fresh = !item.id;
  const [value, set] = useState(() => ({
    id: item.id || "",
    name: item.name || "",
    description: item.description || "",
    weight: String(item.weight ?? 1),
    publishes_catalog: Boolean(item.publishes_catalog),
    ...Object.fromEntries(QUOTAS.map(([name]) => [name, item.quotas?.[name] === null || item.quotas === undefined ? "" : String(item.quotas[name])])),
  }));
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  const quotas = Object.fromEntries(QUOTAS.map(([name]) => [name, value[name] === "" ? null : Number(value[name])]));
  const body = { ...(fresh ? { id: value.id } : {}), name: value.name, description: value.description, weight: Number(value.weight), quotas, ...(fresh ? {} : { publishes_catalog: value.publishes_catalog }) };
  const request = fresh ? ["POST", PATH] : ["PATCH", `${PATH}/${item.id}`];
  const act = useAction(async () => {
    await call(request[0], request[1], { body });
    toast(fresh ? "The tenant has been created" : "The tenant has been changed");
    onSaved();
    onClose();
  });
  const wrong = (name) => act.error?.of?.(name);
  const submit = (event) => {
    event.preventDefault();
    act.run();
  };
  const text = (name, label, hint, more = {}) => html`<${Input} label=${label} hint=${hint} error=${wrong(name)} ...${more} value=${value[name]} onInput=${put(name)} />`;
  const footer = html`<${Button} onClick=${onClose}>Close<//><${Button} kind="primary" type="submit" form="tenant" busy=${act.busy}>${fresh ? "Create the tenant" : "Save"}<//>`;
  return html`
    <${Dialog} title=${fresh ? "New tenant" : `Tenant ${item.id}`} wide onClose=${onClose} footer=${footer}>
      <form id="tenant" class="stack" onSubmit=${submit}>
        <div class="pair">
          ${fresh && text("id", "Id", "a–z 0–9 _ -. It cannot be changed, and is never used twice.", { required: true, class: "mono", pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", spellcheck: false })}
          ${text("name", "Name", "For people.")}
        </div>
        ${text("description", "Description", "")}
        <div class="pair">
          ${text("weight", "Weight", "How many times the share of a tenant of weight 1 it gets when there is not enough.", { type: "number", min: 1, required: true })}
          ${QUOTAS.map(([name, label, format]) => html`<${Input} key=${name} label=${label} hint=${item.limits ? `Empty: the default. Now ${format(item.limits[name])}.` : "Empty: the default."} error=${wrong(`quotas.${name}`)} type="number" min="0" step="any" value=${value[name]} onInput=${put(name)} />`)}
        </div>
        ${!fresh && html`<${Check} label=${`Publish the event catalog at /catalogs/${item.id}`} checked=${value.publishes_catalog} onChange=${(checked) => set({ ...value, publishes_catalog: checked })} />`}
      </form>
      <${Failure} compact error=${act.error} />
    <//>
  `;
}
