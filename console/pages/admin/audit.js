// The audit log: who changed what.
import { html } from "../../lib/html.js";
import { get } from "../../lib/api.js";
import { go, here, param } from "../../lib/router.js";
import { Button, Curl, Empty, Listed, Page, QuerySelect, QueryText } from "../../lib/ui.js";
import { useList } from "../../lib/query.js";
import { AuditTable } from "./entries.js";
import { OnlyAdmins } from "./only.js";

const PATH = "/api/v1/admin/audit";
const NAMES = ["resource_type", "resource_id", "actor", "action", "tenant_id", "from", "to"];

export default function Audit() {
  const filter = Object.fromEntries(NAMES.map((name) => [name, param(name)]));
  const list = useList((cursor, abort) => get(PATH, { ...filter, limit: 50, cursor }, abort), [here.value.query.toString()], { every: 10_000 });
  const narrowed = NAMES.some((name) => filter[name]);
  return html`
    <${OnlyAdmins} title="Audit log">
      <${Page} title="Audit log" about="Who changed what, and which operator acted in another tenant. Written in the transaction of the change."
        actions=${html`<${Curl} items=${[{ label: "List", method: "GET", path: PATH, query: filter }]} />`}>
        <div class="filters">
          <${QuerySelect} name="resource_type" label="Type" options=${[["", "Everything"], ["subscription", "Subscriptions"], ["delivery", "Deliveries"], ["job", "Jobs"], ["tenant", "Tenants"], ["api_key", "API keys"], ["session", "Sessions"], ["portal_link", "Portal links"]]} />
          <${QueryText} name="resource_id" label="Id of what was changed" placeholder="Id of what was changed" />
          <${QueryText} name="actor" label="Who" placeholder="Who: the id of a key" />
          <${QueryText} name="tenant_id" label="Tenant" placeholder="Tenant" />
          ${narrowed && html`<${Button} kind="quiet" onClick=${() => go("/audit")}>Remove the filters<//>`}
        </div>
        <${Listed} list=${list} noun="entries" empty=${html`<${Empty} icon="book" title=${narrowed ? "No entry matches" : "Nothing has been changed yet"}><p>Changes to subscriptions, deliveries, jobs, tenants, and keys are listed here, newest first.</p><//>`}>
          <${AuditTable} entries=${list.items} resource stale=${list.stale} />
        <//>
      <//>
    <//>
  `;
}
