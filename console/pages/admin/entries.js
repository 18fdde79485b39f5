// Entries of the audit log in a list.
import { html } from "../../lib/html.js";
import { brief } from "../../lib/format.js";
import { link } from "../../lib/router.js";
import { Table, Time } from "../../lib/ui.js";
import { actorName, sentence } from "../../lib/words.js";

const PAGES = { subscription: "/subscriptions/", delivery: "/deliveries/", job: "/jobs/" };

const shown = (value) => (value === undefined ? "" : value === null ? "none" : Array.isArray(value) ? value.map(shown).join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value));

/** @param {{change: any}} props */
const Change = ({ change }) => html`
  <div class="break"><span class="mono">${change.field}</span>${"before" in change || "after" in change ? html` <span class="mute">${shown(change.before) || "none"}</span> → ${shown(change.after) || "none"}` : html` <span class="mute">changed, not shown</span>`}</div>
`;

/** @param {{entries: any[], label?: string, resource?: boolean, stale?: boolean}} props */
export const AuditTable = ({ entries, label = "Audit log", resource = false, stale }) => html`
  <${Table}
    label=${label}
    rows=${entries}
    stale=${stale}
    columns=${[
      { title: "When", cell: (entry) => html`<${Time} at=${entry.created_at} />` },
      {
        title: "Who",
        cell: (entry) => html`<span class="cellmain">${entry.actor_name || actorName(entry.actor)}</span>${entry.actor_role && html`<div class="cellsub">${entry.actor_role} of ${entry.actor_tenant_id}</div>`}`,
      },
      {
        title: "What",
        cell: (entry) => {
          const [type, verb] = entry.action.split(".");
          const to = PAGES[entry.resource_type];
          return html`
            <span class="cellmain">${sentence(verb || type)}</span>
            ${resource && html`<div class="cellsub">${sentence(entry.resource_type)} ${to ? html`<a class="mono" href=${link(to + entry.resource_id)}>${brief(entry.resource_id)}</a>` : html`<span class="mono">${brief(entry.resource_id)}</span>`}${entry.affected ? ` and ${entry.affected} more` : ""}</div>`}
          `;
        },
      },
      resource && { title: "Tenant", kind: "lo", cell: (entry) => entry.tenant_id },
      { title: "Changes", kind: "lo wide", cell: (entry) => (entry.changes.length ? entry.changes.map((change) => html`<${Change} change=${change} />`) : html`<span class="mute">–</span>`) },
    ]}
  />
`;
