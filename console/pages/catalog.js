// The event catalog: which types of events there are, and what is in them.
import { html } from "../lib/html.js";
import { base, get, published } from "../lib/api.js";
import { count } from "../lib/format.js";
import { link, param } from "../lib/router.js";
import { Badge, Button, Card, Code, Curl, Empty, Facts, Listed, Loaded, Moment, Page, Table } from "../lib/ui.js";
import { useList, useQuery } from "../lib/query.js";
import { VERSION } from "../lib/words.js";

const PATH = "/api/v1/event-types";
const DOCUMENT = published ? base : "/api/v1/catalog";
const OPENAPI = { format: "openapi" };
const REF = "#/components/schemas/";

/** Return the event types of an OpenAPI document, which is all that a portal gets. @param {any} found */
function described({ webhooks, components }) {
  return Object.entries(webhooks).map(([name, { post }]) => {
    const media = post.requestBody.content["application/json"];
    const key = media.schema.$ref.slice(REF.length);
    const schema = JSON.parse(JSON.stringify(components.schemas[key]).replaceAll(REF + key, "#"));
    const version = { schema, example: media.example ?? null, description: post.requestBody.description || "", status: post.deprecated ? "deprecated" : "live", sunset_at: post["x-sunset-at"] };
    return { id: name, name, description: post.description || "", versions: [version] };
  });
}

/** @param {string} name @param {AbortSignal} abort */
async function load(name, abort) {
  if (base) return described(await get(DOCUMENT, published ? OPENAPI : { event_type: name }, abort)).find((one) => one.name === name) || null;
  const [found] = (await get(PATH, { name }, abort)).items;
  return found ? { ...found, versions: (await get(`${PATH}/${found.id}/versions`, {}, abort)).items } : null;
}

/** @param {string} cursor @param {AbortSignal} [abort] */
const page = async (cursor, abort) =>
  base ? { items: described(await get(DOCUMENT, OPENAPI, abort)), next_cursor: null } : get(PATH, { limit: 50, cursor }, abort);

export default function Catalog() {
  const name = param("type");
  return name ? html`<${Type} key=${name} name=${name} />` : html`<${Types} />`;
}

function Types() {
  const list = useList(page, []);
  return html`
    <${Page} title="Event catalog" about="The types of events, and what is in them."
      actions=${published ? ["OpenAPI", "AsyncAPI"].map((name) => html`<${Button} href=${`${base}?format=${name.toLowerCase()}`}>${name}<//>`) : !base && html`<${Curl} items=${[
        { label: "List", method: "GET", path: PATH },
        { label: "Export as OpenAPI", method: "GET", path: DOCUMENT, query: { format: "openapi" } },
        { label: "Create an event type", method: "POST", path: PATH, body: { name: "invoice.paid", schema: { type: "object", required: ["id"] } } },
      ]} />`}>
      <${Listed} list=${list} noun="event types" empty=${html`<${Empty} icon="book" title="No event types yet"><p>The catalog says which events there are, and checks payloads against their schemas.</p><//>`}>
        <${Table} label="Event types" rows=${list.items} stale=${list.stale} columns=${[
          { title: "Event type", cell: (one) => html`<a class="cellmain mono" data-row href=${link(`/catalog?type=${encodeURIComponent(one.name)}`)}>${one.name}</a><div class="cellsub">${one.description}</div>` },
          !base && { title: "Version", kind: "num", cell: (one) => one.current_version ?? "draft" },
          !base && { title: "Validation", kind: "lo", cell: (one) => one.effective_validation },
          !base && { title: "Did not match", kind: "num lo", cell: (one) => count(one.invalid_events.count) },
        ]} />
      <//>
    <//>
  `;
}

/** @param {{name: string}} props */
function Type({ name }) {
  const query = useQuery((abort) => load(name, abort), [name]);
  const found = query.data;
  return html`
    <${Page} title=${name} name=${`Event type: ${name}`} back=${{ href: "/catalog", label: "Event catalog" }} about=${found?.description}
      actions=${!base && found && html`<${Curl} items=${[
        { label: "Its versions", method: "GET", path: `${PATH}/${found.id}/versions` },
        { label: "Export as OpenAPI", method: "GET", path: DOCUMENT, query: { event_type: name } },
      ]} />`}>
      ${found === null
        ? html`<${Card}><${Empty} icon="search" title="The catalog has no such event type" actions=${html`<${Button} href=${link("/catalog")}>Event catalog<//>`} /><//>`
        : html`
            <${Loaded} query=${query} rows=${6}>
              ${(type) => html`
                ${type.invalid_events?.count > 0 &&
                html`
                  <${Card} title="Events that did not match">
                    <${Facts} items=${[["Count", count(type.invalid_events.count)], ["Last one", html`<${Moment} at=${type.invalid_events.last_at} />`], ["Validation", type.effective_validation]]} />
                    <ul>${type.invalid_events.last_errors.map((one) => html`<li class="mono">${one}</li>`)}</ul>
                  <//>
                `}
                ${type.versions.map((one) => html`<${Version} key=${one.number} version=${one} />`)}
              `}
            <//>
          `}
    <//>
  `;
}

/** @param {{version: any}} props */
const Version = ({ version }) => html`
  <${Card} title=${version.number ? `Version ${version.number}` : "Schema"} actions=${html`<${Badge} look=${VERSION[version.status]} />`}>
    ${version.description && html`<p>${version.description}</p>`}
    ${version.sunset_at && html`<${Facts} items=${[["Ends", html`<${Moment} at=${version.sunset_at} />`]]} />`}
    <${Code} label=${`Schema${version.number ? ` of version ${version.number}` : ""}`} text=${JSON.stringify(version.schema, null, 2)} />
    ${version.example !== null &&
    html`<h3 class="labelled">Example</h3><${Code} label=${`Example${version.number ? ` of version ${version.number}` : ""}`} text=${JSON.stringify(version.example, null, 2)} />`}
  <//>
`;
