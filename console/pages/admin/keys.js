// API keys: who may use the service, and as what.
import { html, useState } from "../../lib/html.js";
import { call, get, session, tenant } from "../../lib/api.js";
import { ofInput, zoned } from "../../lib/format.js";
import { param, setQuery } from "../../lib/router.js";
import { Badge, Button, Card, Code, Confirm, Curl, Dialog, Empty, Failure, Icon, IconButton, Input, Listed, Loaded, Page, QueryText, Table, Time, toast } from "../../lib/ui.js";
import { useAction, useList, useQuery } from "../../lib/query.js";
import { OnlyAdmins } from "./only.js";

const PATH = "/api/v1/admin/api-keys";
/** @type {[string, string, string][]} */
const ROLES = [
  ["read", "Read", "Only reads."],
  ["ingest", "Ingest", "Only sends events."],
  ["pull", "Pull", "Only pulls deliveries, and reports on them."],
  ["write", "Write", "Changes subscriptions and deliveries; includes ingest, read, and pull."],
  ["admin", "Admin", "Everything, including tenants and API keys. For operators."],
];

/** @param {any} key @returns {import("../../lib/words.js").Look} */
function stateOf(key) {
  if (key.revoked_at) return { tone: "bad", icon: "slash", label: "Revoked" };
  if (key.expires_at && Date.parse(key.expires_at) < Date.now()) return { tone: "mute", icon: "clock", label: "Expired" };
  return { tone: "ok", icon: "check", label: "Valid" };
}

export default function Keys() {
  const owner = param("tenant_id");
  const list = useList((cursor, abort) => get(PATH, { limit: 50, cursor, tenant_id: owner }, abort), [owner], { every: 20_000 });
  const [creating, create] = useState(false);
  const [revoking, revoke] = useState(/** @type {any} */ (null));
  return html`
    <${OnlyAdmins} title="Keys and members">
      <${Page} title="Keys and members" about="Programs and people with a key each, and members, who sign in with your organization and have none."
        actions=${html`
          <${Button} kind="primary" icon="plus" onClick=${() => create(true)}>New key<//>
          <${Curl} items=${[
            { label: "List", method: "GET", path: PATH },
            { label: "Create", method: "POST", path: PATH, body: { tenant_id: tenant.value || "default", name: "shop, production", role: "ingest" } },
            { label: "Revoke", method: "DELETE", path: `${PATH}/ID` },
          ]} />
        `}>
        <div class="filters"><${QueryText} name="tenant_id" label="Tenant" placeholder="Tenant" /></div>
        <${Listed} list=${list} noun="keys"
          empty=${html`<${Empty} icon="key" title="No API keys yet" actions=${html`<${Button} kind="primary" icon="plus" onClick=${() => create(true)}>New key<//>${owner && html`<${Button} onClick=${() => setQuery({ tenant_id: null })}>Show all<//>`}`}><p>${session.value?.required ? "Give each program a key of its own, with the least role that it needs." : "In development no key is needed. Elsewhere every request has one."}</p><//>`}>
          <${Table} label="Keys and members" rows=${list.items} stale=${list.stale} columns=${[
            { title: "Key", cell: (key) => html`<span class="cellmain">${key.name}</span><div class="cellsub">${key.oidc_subject ? "member" : html`<span class="mono">${key.prefix}…</span>`}</div>` },
            { title: "Role", cell: (key) => ROLES.find(([role]) => role === key.role)?.[1] },
            { title: "Tenant", kind: "lo", cell: (key) => key.tenant_id },
            { title: "State", cell: (key) => html`<${Badge} look=${stateOf(key)} />` },
            { title: "Last used", kind: "num lo", cell: (key) => html`<${Time} at=${key.last_used_at} none="never" />` },
            { title: "Expires", kind: "num lo", cell: (key) => html`<${Time} at=${key.expires_at} none="never" />` },
            { title: "Created", kind: "num lo", cell: (key) => html`<${Time} at=${key.created_at} />` },
            { title: "Actions", unseen: true, kind: "num", cell: (key) => !key.revoked_at && html`<${IconButton} icon="trash" label=${`Revoke ${key.name}`} onClick=${() => revoke(key)} />` },
          ]} />
        <//>
        <${Sessions} />
        ${creating && html`<${Create} onClose=${() => { create(false); list.refresh(); }} />`}
        ${revoking && html`<${Confirm} title=${`Revoke “${revoking.name}”?`} label="Revoke" danger onClose=${() => revoke(null)} act=${async () => { await call("DELETE", `${PATH}/${revoking.id}`); toast(`${revoking.name} is revoked`); list.refresh(); }}><p>${revoking.oidc_subject ? "Their sessions end within 5 seconds, and they cannot sign in here again." : "It is refused everywhere within 5 seconds."} This cannot be undone.</p><//>`}
      <//>
    <//>
  `;
}

/** @param {{onClose: () => void}} props */
function Create({ onClose }) {
  const [value, set] = useState({ name: "", role: "ingest", pull_subscription_ids: "", tenant_id: tenant.value || session.value?.caller?.tenant_id || "default", expires_at: "", requests_per_second: "" });
  const [created, show] = useState(/** @type {any} */ (null));
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  const body = { tenant_id: value.tenant_id, name: value.name, role: value.role, ...(value.role === "pull" && value.pull_subscription_ids.trim() ? { pull_subscription_ids: value.pull_subscription_ids.split(/[\s,]+/).filter(Boolean) } : {}), ...(value.expires_at ? { expires_at: ofInput(value.expires_at) } : {}), ...(value.requests_per_second ? { requests_per_second: Number(value.requests_per_second) } : {}) };
  const act = useAction(async () => show(await call("POST", PATH, { body })));
  const wrong = (name) => act.error?.of?.(name);
  const submit = (event) => {
    event.preventDefault();
    act.run();
  };
  const text = (name, label, hint, more = {}) => html`<${Input} label=${label} hint=${hint} error=${wrong(name)} ...${more} value=${value[name]} onInput=${put(name)} />`;
  if (created) {
    return html`
      <${Dialog} title="The key has been created" onClose=${onClose} footer=${html`<${Button} kind="primary" onClick=${onClose}>Done<//>`}>
        <div class="note ok"><${Icon} name="lock" /><span>Save this key now: it is shown only once.</span></div>
        <${Code} wrap label="API key" text=${created.key} />
      <//>
    `;
  }
  const footer = html`<${Button} onClick=${onClose}>Close<//><${Button} kind="primary" type="submit" form="key" busy=${act.busy}>Create the key<//>`;
  return html`
    <${Dialog} title="New API key" onClose=${onClose} footer=${footer}>
      <form id="key" class="stack" onSubmit=${submit}>
        ${text("name", "Name", "Who or what uses it.", { required: true })}
        <fieldset class="stack">
          <legend>Role</legend>
          ${ROLES.map(([role, label, hint]) => html`<label class="check" key=${role}><input type="radio" name="role" checked=${value.role === role} onChange=${() => set({ ...value, role })} /><span><span class="strong">${label}</span> <span class="hint">${hint}</span></span></label>`)}
        </fieldset>
        ${value.role === "pull" && text("pull_subscription_ids", "Subscriptions", "Ids of the only ones that it pulls from, separated by commas. Empty: all of its tenant.", { class: "mono", spellcheck: false })}
        <div class="pair">
          ${text("tenant_id", "Tenant", "", { required: true, class: "mono", spellcheck: false })}
          ${text("expires_at", "Expires", `${zoned()}. Empty: never.`, { type: "datetime-local" })}
          ${text("requests_per_second", "Requests per second", "Empty: the service’s default.", { type: "number", min: 0.001, step: "any" })}
        </div>
      </form>
      <${Failure} compact error=${act.error} />
    <//>
  `;
}

/** Who is signed in to the console. */
function Sessions() {
  const path = "/api/v1/admin/sessions";
  const query = useQuery((abort) => get(path, { limit: 100 }, abort), [], { every: 20_000 });
  const [ending, end] = useState(/** @type {any} */ (null));
  // A gateway that needs no keys has no sessions.
  if (query.error?.status === 404 || (query.data && !query.data.items.length)) return null;
  return html`
    <${Card} kind="flush" title="Signed in to the console">
      <${Loaded} query=${query} rows=${2}>
        ${(data) => html`
          <${Table} label="Sessions" rows=${data.items} columns=${[
            { title: "Key", cell: (one) => html`<span class="cellmain">${one.key_name || one.key_id}</span><div class="cellsub">${one.user_agent}</div>` },
            { title: "Role", cell: (one) => ROLES.find(([role]) => role === one.role)?.[1] || one.role },
            { title: "Tenant", kind: "lo", cell: (one) => one.tenant_id },
            { title: "State", cell: (one) => html`<${Badge} look=${stateOf(one)} />` },
            { title: "Since", kind: "num lo", cell: (one) => html`<${Time} at=${one.created_at} />` },
            { title: "Ends", kind: "num lo", cell: (one) => html`<${Time} at=${one.expires_at} />` },
            { title: "Actions", unseen: true, kind: "num", cell: (one) => !one.revoked_at && html`<${IconButton} icon="door" label=${`End the session of ${one.key_name || one.key_id}`} onClick=${() => end(one)} />` },
          ]} />
        `}
      <//>
    <//>
    ${ending && html`<${Confirm} title="End this session?" label="End the session" danger onClose=${() => end(null)} act=${async () => { await call("DELETE", `${path}/${ending.id}`); toast("The session has ended"); query.refresh(); }}><p>Its browser has to sign in again.</p><//>`}
  `;
}
