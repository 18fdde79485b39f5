// Search deliveries.
import { html, useState } from "../../lib/html.js";
import { allowed, curl, download, get } from "../../lib/api.js";
import { absolute, compact } from "../../lib/format.js";
import { link, param, params, setQuery } from "../../lib/router.js";
import { Button, Curl, Empty, Failure, Listed, Page, toast, visible } from "../../lib/ui.js";
import { useAction, useList, useQuery } from "../../lib/query.js";
import { DELIVERY } from "../../lib/words.js";
import { Filters, STATES, narrowed, useFilter } from "./filters.js";
import { DeliveryTable } from "./table.js";
import { Recover } from "./recover.js";

const PATH = "/api/v1/deliveries";
const ROWS = 25;

/** Whether a delivery of the live stream may match a search. @param {Record<string, any>} filter @param {any} one */
function mayMatch(filter, one) {
  const among = (values, value) => !values?.length || values.includes(value);
  const types = filter.event_type || [];
  return (
    among(filter.status, one.status) &&
    among(filter.subscription_id, one.subscription_id) &&
    (!types.length || types.some((type) => (type.endsWith(".*") ? one.event_type?.startsWith(type.slice(0, -1)) : type === one.event_type)))
  );
}

export default function Deliveries() {
  const filter = useFilter();
  const key = JSON.stringify(filter);
  const oldest = filter.order === "oldest";
  const list = useList((cursor, abort) => get(PATH, { ...filter, limit: ROWS, cursor }, abort), [key], { every: oldest ? 0 : 4000, recorded: (one) => mayMatch(filter, one) });
  const { status, order, ...unstated } = filter;
  const counts = useQuery((abort) => get(`${PATH}/summary`, { ...unstated, group_by: "status" }, abort), [JSON.stringify(unstated)], { every: 10_000 });
  const [recovering, recover] = useState(false);
  const save = useAction(async () => {
    await download(PATH, { ...filter, format: "ndjson" }, "deliveries.ndjson");
    toast("The deliveries have been saved");
  });
  const chosen = params("status");
  const number = (state) => {
    const found = counts.data?.groups.find((group) => group.value === state)?.deliveries || 0;
    return counts.data ? `${compact(found)}${counts.data.next_cursor ? "+" : ""}` : "";
  };
  const view = (state) => (chosen.length === 1 && chosen[0] === state ? "page" : undefined);
  const to = (state) => {
    const query = new URLSearchParams(location.search);
    query.delete("status");
    if (state) query.append("status", state);
    return link(query.size ? `/deliveries?${query}` : "/deliveries");
  };
  return html`
    <${Page}
      title="Deliveries"
      about="One event on its way to one subscription, with all its attempts."
      actions=${html`
        ${allowed("recover") && html`<${Button} kind="primary" icon="retry" onClick=${() => recover(true)}>Recover all that match<//>`}
        <${Button} icon="download" busy=${save.busy} onClick=${save.run}>NDJSON<//>
        <${Curl} items=${[
          { label: "Search", method: "GET", path: PATH, query: filter },
          { label: "Count by state", method: "GET", path: `${PATH}/summary`, query: { ...unstated, group_by: "status" } },
          { label: "Everything at once", method: "GET", path: PATH, query: { ...filter, format: "ndjson" } },
        ]} />
      `}
    >
      <${Filters} />
      <nav class="views" aria-label="States">
        <a href=${to("")} aria-current=${chosen.length ? undefined : "page"}>All</a>
        ${STATES.map((state) => html`<a key=${state} href=${to(state)} aria-current=${view(state)} ref=${view(state) && visible}>${DELIVERY[state].label}<span class="num">${number(state)}</span></a>`)}
      </nav>
      <${Failure} error=${save.error} compact />
      <${Listed} list=${list} noun="deliveries"
        after=${list.page?.scanned_to && html`<p class="small mute center">Searched back to ${absolute(list.page.scanned_to)}. Few of very many match: “Show more” goes on from there.</p>`}
        empty=${html`<${Nothing} page=${list.page} />`}>
        <${DeliveryTable} items=${list.items} stale=${list.stale} onChanged=${list.replace} />
      <//>
      ${recovering && html`<${Recover} search=${filter} from=${list.page?.from} kind=${chosen.every((one) => ["pending", "scheduled"].includes(one)) && chosen.length ? "cancel" : "retry"} onClose=${() => recover(false)} />`}
    <//>
  `;
}

/** @param {{page: any}} props */
function Nothing({ page }) {
  const all = param("since") === "all";
  if (narrowed()) {
    return html`
      <${Empty} icon="search" title="No delivery matches"
        actions=${html`
          ${!all && html`<${Button} onClick=${() => setQuery({ since: "all", from: null, to: null })}>Search any time<//>`}
          <${Button} href=${link("/deliveries")}>Remove all filters<//>
        `}>
        <p>Searched ${page.from ? `from ${absolute(page.from).slice(0, 17)}` : "everything that is kept"}${page.to ? ` to ${absolute(page.to).slice(0, 17)}` : ""}.</p>
      <//>
    `;
  }
  return html`
    <${Empty} icon="send" title="No deliveries yet"
      actions=${html`
        ${!all && html`<${Button} onClick=${() => setQuery({ since: "all", from: null, to: null })}>Search any time<//>`}
        <${Button} href=${link("/events?send=1")} kind="primary" icon="send">Send an event<//>
      `}>
      <p>An event makes a delivery for each subscription that wants its type. With curl:</p>
      <pre class="wrap">${curl("POST", "/api/v1/events", { event_type: "order.created", payload: { order: 42 } })}</pre>
    <//>
  `;
}
