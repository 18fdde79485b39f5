// Webhooks that come in from providers: which subscriptions take them, and how they are verified.
import { html } from "../../lib/html.js";
import { all, allowed, get } from "../../lib/api.js";
import { count } from "../../lib/format.js";
import { link, setQuery, param } from "../../lib/router.js";
import { Badge, Button, Card, Curl, Empty, Loaded, Page, QuerySelect, Table, Time } from "../../lib/ui.js";
import { useQuery } from "../../lib/query.js";
import { Subscription, leadsTo, nameOf } from "../../lib/names.js";
import { SUBSCRIPTION, sentence } from "../../lib/words.js";
import { VERIFY } from "./receiving.js";

const PROVIDERS = [
  ["github", "Repository → Settings → Webhooks → Add webhook. Content type application/json."],
  ["stripe", "Developers → Webhooks → Add endpoint. Its signing secret begins with whsec_."],
  ["shopify", "Settings → Notifications → Webhooks. The secret is shown below the list."],
  ["slack", "Your app → Event Subscriptions → Request URL. The signing secret is under Basic Information."],
];

const REFUSALS = "/api/v1/stats/refusals";

export default function Inbound() {
  const query = useQuery((abort) => all("/api/v1/subscriptions", {}, abort), [], { every: 15_000 });
  const refused = useQuery((abort) => get(REFUSALS, {}, abort), [], { every: 15_000 });
  const verify = param("verify");
  const takes = (item) => item.kind === "normal" && (item.verify !== "auto" || item.has_ingest_token || item.has_verification_secret);
  const found = (query.data?.items || []).filter((item) => takes(item) && (!verify || item.verify === verify));
  return html`
    <${Page} title="Inbound" about="Webhooks of providers come in at a URL of a subscription, are verified, stored, and delivered to it."
      actions=${html`<${Curl} items=${[{ label: "Send a webhook to a subscription", method: "POST", path: "/api/v1/webhooks/ingest/SUBSCRIPTION_ID", body: { hello: "world" } }, { label: "Refused events", method: "GET", path: REFUSALS }]} />`}>
      <div class="filters">
        <${QuerySelect} name="verify" label="Verification" options=${[["", "Every verification"], ...Object.entries(VERIFY).map(([key, [label]]) => [key, label])]} />
      </div>
      <${Card} kind="flush">
        <${Loaded} query=${query}>
          ${() =>
            found.length
              ? html`
                  <${Table} label="Subscriptions that take webhooks in" rows=${found} columns=${[
                    { title: "Subscription", cell: (item) => html`<a class="cellmain" data-row href=${link(`/subscriptions/${item.id}?view=inbound`)}>${nameOf(item)}</a><div class="cellsub">delivers to ${leadsTo(item)}</div>` },
                    { title: "Verification", cell: (item) => html`${VERIFY[item.verify][0]}<div class="cellsub">${item.has_verification_secret ? "with the provider’s secret" : item.verify === "none" ? "" : "with the signing secret"}</div>` },
                    { title: "URL", kind: "lo", cell: (item) => html`<span class="mono small break">POST …/api/v1/webhooks/ingest/${item.id}${item.has_ingest_token && "/{token}"}</span>` },
                    { title: "State", cell: (item) => html`<${Badge} look=${SUBSCRIPTION[item.status]} />` },
                  ]} />
                `
              : html`
                  <${Empty} icon="door" title=${verify ? "No subscription verifies so" : "Nothing comes in from providers yet"}
                    actions=${verify ? html`<${Button} onClick=${() => setQuery({ verify: null })}>Show all<//>` : allowed("create") && html`<${Button} kind="primary" icon="plus" href=${link("/subscriptions/new")}>New subscription<//>`}>
                    <p>Create a subscription for where the webhooks should go. On its page, under Inbound, create a URL with a token for the provider. Under Settings choose the provider and enter its secret.</p>
                  <//>
                `}
        <//>
      <//>
      <${Card} title="Refused in the last 24 hours">
        <${Loaded} query=${refused}>
          ${({ items }) =>
            items.length
              ? html`
                  <${Table} label="Refused events" rows=${items} columns=${[
                    { title: "Reason", cell: (item) => sentence(item.reason.toLowerCase()) },
                    { title: "Subscription", cell: (item) => item.subscription_id && html`<${Subscription} id=${item.subscription_id} />` },
                    { title: "Events", kind: "num", cell: (item) => count(item.events) },
                    { title: "Last", cell: (item) => html`<${Time} at=${item.last_at} />` },
                  ]} />
                `
              : html`<p class="mute">Nothing was refused.</p>`}
        <//>
      <//>
      <${Card} title="Where providers want the URL">
        <dl class="facts">${PROVIDERS.map(([key, where]) => html`<div><dt>${VERIFY[key][0]}</dt><dd class="small">${where}</dd></div>`)}</dl>
      <//>
    <//>
  `;
}
